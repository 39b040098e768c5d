"""`prosopon index`: faces leave the public index, which FaceCheck searches."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

app = typer.Typer(
    help="The public index, which FaceCheck searches: take faces out of it.", no_args_is_help=True
)

Config = Annotated[
    Path | None,
    typer.Option(help="A Serve config file that names state and models.", exists=True, dir_okay=False),
]


@app.callback()
def _group() -> None:
    """One command is a group too."""


@app.command()
def remove(
    url: Annotated[
        list[str] | None, typer.Option(help="Of a page or a picture, as results show it. Repeatable.")
    ] = None,
    group: Annotated[list[str] | None, typer.Option(help="Of a manifest, or a folder's. Repeatable.")] = None,
    face: Annotated[list[UUID] | None, typer.Option(help="Id of a face. Repeatable.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Show what would be removed, and remove nothing.")] = False,
    config: Config = None,
) -> None:
    """Remove faces with their thumbnails and vectors, for good: no later ingestion brings them back.

    To remove a person wherever the face is, give a picture to `prosopon erase`.
    """
    from prosopon.deployments.state.database import Records
    from prosopon.deployments.state.erasure import of_origin
    from prosopon.deployments.state.galleries.face_archive import archive_gallery
    from prosopon.pipelines.commands.support.configuration import read_settings
    from prosopon.pipelines.commands.support.erasing import carry_out
    from prosopon.pipelines.ingestion.cluster import prepare

    if not (url or group or face):
        raise typer.BadParameter("say what to remove: --url, --group or --face")
    settings = read_settings(config)
    prepare(settings, None)
    records = Records(settings.state.database)
    try:
        found = of_origin(records, archive_gallery(records), url or (), group or (), face or ())
    finally:
        records.close()
    carry_out(settings, found, dry_run=dry_run)
