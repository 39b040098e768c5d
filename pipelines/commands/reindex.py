"""`prosopon reindex`: the vector index, made anew from the records."""

from pathlib import Path
from typing import Annotated

import typer


def reindex(
    config: Annotated[
        Path | None,
        typer.Option(help="A Serve config file that names the state.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Make the vector index anew from the records. Stop the server first where the index is a file.

    A server does what is needed of this by itself when it starts.
    """
    from prosopon.deployments.state.errors import StateError
    from prosopon.deployments.state.maintenance import reindex as rebuild
    from prosopon.pipelines.commands.support.configuration import read_settings
    from prosopon.pipelines.commands.support.progress import progress_bar

    try:
        with progress_bar("reindex") as progress:
            faces = rebuild(read_settings(config).state, progress)
    except StateError as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{faces} faces in the index")
