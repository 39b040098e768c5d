"""`prosopon init`: a configuration to change."""

from pathlib import Path
from typing import Annotated

import typer


def init(
    config: Annotated[Path, typer.Argument(help="the file to write", dir_okay=False)] = Path(
        "serve_config.yaml"
    ),
) -> None:
    """Write a configuration that says what can be changed, for `prosopon serve` to take. A file that is there stays."""
    from prosopon.pipelines.commands.support.configuration import TEMPLATE

    try:
        with config.open("x") as file:
            file.write(TEMPLATE.read_text())
    except FileExistsError:
        raise typer.BadParameter(f"{config} is there already: it stays as it is") from None
    typer.echo(f"{config} is written; start with: prosopon serve {config}")
