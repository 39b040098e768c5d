"""`prosopon backup`: a copy of the state that can be served."""

from pathlib import Path
from typing import Annotated

import typer


def backup(
    folder: Annotated[
        Path,
        typer.Argument(help="Where the copy goes; of one that is there, only what is new.", file_okay=False),
    ],
    config: Annotated[
        Path | None,
        typer.Option(help="A Serve config file that names the state.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Copy records and images into a folder that is a home: to restore, serve it, or move it to where the home was.

    The server may run. Keys are in it as digests, pictures and embeddings as they are: keep it as safe as the home.
    """
    from prosopon.deployments.state.backup import back_up
    from prosopon.pipelines.commands.support.configuration import read_settings

    done = back_up(read_settings(config).state, folder)
    typer.echo(f"{folder}: {done.records:,} bytes of records, {done.images} new images")
