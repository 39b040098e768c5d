"""`prosopon erase`: everything that is stored of a person, given a picture."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer


def erase(
    picture: Annotated[
        Path, typer.Argument(help="A picture of the person; the biggest face counts.", exists=True)
    ],
    similarity: Annotated[
        float, typer.Option(help="From which similarity on a face is the person's.", min=0.5, max=1)
    ] = 0.9,
    dry_run: Annotated[bool, typer.Option(help="Show what would be deleted, and delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="A Serve config file that names state and models.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Delete a person's faces from every gallery, collection and index, and the searches that were made with them.

    Records, embeddings, vectors and stored pictures go; no later ingestion brings the pictures back. A running server
    need not be stopped. Backups, and copies that others made, are beyond it.
    """
    from prosopon.configs.settings import Settings
    from prosopon.deployments.state.blobs import BlobStore
    from prosopon.deployments.state.database import Records
    from prosopon.deployments.state.erasure import of_person, others, searches_of
    from prosopon.deployments.state.jobs.search_runs import SearchRuns
    from prosopon.models.load import load_detector, load_embedder
    from prosopon.models.matching.calibration import load_similarity
    from prosopon.models.matching.vectors import normalize
    from prosopon.models.runtime.session import Compute
    from prosopon.pipelines.commands.reembed import embed_biggest_faces
    from prosopon.pipelines.commands.support.configuration import read_settings
    from prosopon.pipelines.commands.support.erasing import carry_out, show_faces
    from prosopon.pipelines.ingestion.cluster import prepare

    settings: Settings = read_settings(config)
    prepare(settings, None)
    detector = load_detector(settings.models, settings.detection, Compute())
    embedder = load_embedder(settings.models, Compute())
    (embedding,) = embed_biggest_faces([picture.read_bytes()], detector, embedder, settings)
    if embedding is None:
        raise typer.BadParameter(f"no face is found in {picture}")
    farthest = load_similarity(settings.models, embedder.fingerprint).distance(similarity)
    records = Records(settings.state.database)
    try:
        unit = normalize(embedding[None])[0]
        found = of_person(records, unit, embedder.fingerprint, farthest)
        searches = searches_of(records, unit, embedder.fingerprint, farthest)
        if missed := others(records, embedder.fingerprint):
            message = f"{missed:,} faces of another embedder cannot be compared: run `prosopon reembed` first"
            typer.echo(message, err=True)
        if not dry_run and not yes and (found or searches):
            show_faces(found)
            typer.confirm(f"Delete {len(found):,} faces and {len(searches):,} searches?", abort=True)
        carry_out(settings, found, dry_run=dry_run)
        if searches and not dry_run:
            keep = timedelta(hours=settings.facecheck.keep_hours)
            runs = SearchRuns(records, BlobStore(records, settings.state.blobs), keep)
            typer.echo(f"{runs.delete(searches):,} searches deleted")
    finally:
        records.close()
