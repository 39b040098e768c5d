"""The command `prosopon`.

A module of `pipelines.commands` is one command, the function of the module's name, or a group of commands,
the Typer application `app` in it. `import_` is the command `import`, whose name Python keeps for itself.
"""

import errno
import os
from importlib import import_module
from importlib.metadata import version
from pkgutil import iter_modules
from typing import Annotated

import typer

from prosopon.pipelines import commands

_OF_THE_MACHINE = {errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EPERM, errno.EROFS}

_HELP = """Five documented face APIs answered by one Ray Serve application.

To begin: [bold]prosopon serve[/bold] downloads the models, prints a key and serves on http://127.0.0.1:8000, where
/console does everything with a mouse. [bold]prosopon init[/bold] writes a configuration to change."""

app = typer.Typer(
    name="prosopon",
    help=_HELP,
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"prosopon {version('prosopon')}")
        raise typer.Exit


@app.callback(help=_HELP)
def _private(
    context: typer.Context,
    _: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, is_flag=True, callback=_show_version
        ),
    ] = False,
) -> None:
    """Whatever a command and the processes that it starts write is for this user alone: keys' digests, embeddings,
    pictures. Models are nobody's secret, and a system's administrator may pull them for others."""
    if context.invoked_subcommand != "models":
        os.umask(0o077)


for _info in (info for info in iter_modules(commands.__path__) if not info.ispkg):
    _module = import_module(f"{commands.__name__}.{_info.name}")
    if hasattr(_module, "app"):
        app.add_typer(_module.app, name=_info.name.rstrip("_"))
    else:
        app.command(_info.name)(getattr(_module, _info.name))


def main() -> None:
    """What the configuration, the state or the machine is at fault for is one line, without a traceback."""
    from prosopon.deployments.state.errors import StateError
    from prosopon.pipelines.commands.support.configuration import ConfigurationError

    try:
        app()
    except (ConfigurationError, StateError) as error:
        raise SystemExit(f"prosopon: {error}") from None
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"prosopon: {where}{error.strerror}") from None


if __name__ == "__main__":
    main()
