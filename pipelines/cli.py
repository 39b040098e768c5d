"""The command `prosopon`.

A module of `pipelines.commands` is one command, the function of the module's name, or a group of commands,
the Typer application `app` in it. `import_` is the command `import`, whose name Python keeps for itself.
"""

import errno
import os
from importlib import import_module
from pkgutil import iter_modules

import typer

from prosopon.pipelines import commands

_OF_THE_MACHINE = {errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EPERM, errno.EROFS}

app = typer.Typer(
    name="prosopon",
    help="Five documented face APIs answered by one Ray Serve application.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def _private(context: typer.Context) -> None:
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
    """What the state or the machine is at fault for is one line, without a traceback."""
    from prosopon.deployments.state.errors import StateError

    try:
        app()
    except StateError as error:
        raise SystemExit(f"prosopon: {error}") from None
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise SystemExit(f"prosopon: {where}{error.strerror}") from None


if __name__ == "__main__":
    main()
