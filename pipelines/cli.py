"""The command `prosopon`.

A module of `pipelines.commands` is one command, the function of the module's name, or a group of commands,
the Typer application `app` in it.
"""

from importlib import import_module
from pkgutil import iter_modules

import typer

from prosopon.pipelines import commands

app = typer.Typer(
    name="prosopon",
    help="Five documented face APIs answered by one Ray Serve application.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

for _info in (info for info in iter_modules(commands.__path__) if not info.ispkg):
    _module = import_module(f"{commands.__name__}.{_info.name}")
    if hasattr(_module, "app"):
        app.add_typer(_module.app, name=_info.name)
    else:
        app.command(_info.name)(getattr(_module, _info.name))

if __name__ == "__main__":
    app()
