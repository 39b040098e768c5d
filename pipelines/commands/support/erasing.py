"""What commands that delete faces have in common: showing them, and doing it with a bar."""

from collections.abc import Sequence

import typer

from prosopon.configs.settings import Settings
from prosopon.deployments.state.erasure import StoredFace

_SHOWN = 20


def show_faces(faces: Sequence[StoredFace]) -> None:
    """The first of them as a table, and how many there are."""
    from rich.table import Table

    from prosopon.pipelines.commands.support.tables import show

    table = Table(
        title=f"{len(faces):,} faces" if len(faces) <= _SHOWN else f"{_SHOWN} of {len(faces):,} faces"
    )
    for column in ("gallery", "of", "subject", "seen at", "distance", "id"):
        table.add_column(column)
    for face in faces[:_SHOWN]:
        distance = "" if face.distance is None else f"{face.distance:.3f}"
        table.add_row(
            str(face.gallery), face.kind, face.subject, face.origin.url, distance, str(face.image_id)
        )
    show(table)


def carry_out(settings: Settings, faces: Sequence[StoredFace], *, dry_run: bool) -> None:
    """Delete them, unless it is a rehearsal, and say what was done."""
    from prosopon.pipelines.commands.support.progress import progress_bar
    from prosopon.pipelines.ingestion.erasing import erase

    if faces:
        show_faces(faces)
    if dry_run or not faces:
        typer.echo(f"{len(faces):,} faces found; nothing was deleted")
        return
    with progress_bar("delete") as progress:
        erased = erase(settings, faces, progress)
    typer.echo(
        f"{erased.faces:,} faces deleted with their images and vectors; "
        f"{erased.sources:,} pictures are not taken in again"
    )
