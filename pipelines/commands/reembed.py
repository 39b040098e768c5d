"""`prosopon reembed`: embeddings of the model in service, computed again from the stored images."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from prosopon.configs.settings import Settings
    from prosopon.models.faces.detections import Float32, RGBImage
    from prosopon.models.roles import FaceDetector, FaceEmbedder

_BUSY_NICENESS = 10
"""Beside a server, whose clients wait."""


def reembed(
    config: Annotated[
        Path | None,
        typer.Option(help="A Serve config file that names state and models.", exists=True, dir_okay=False),
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(help="Change to this embedder (an artifact's name), for this home and for good."),
    ] = None,
) -> None:
    """Compute stored embeddings again, from the stored images, with the embedder of this home.

    Needed after the embedder was changed. Works while the server serves, which refuses a gallery until all of its faces
    have been through and serves everything else. A run that was stopped goes on where it was.
    """
    from prosopon.models.weights.pins import settle
    from prosopon.pipelines.commands.support.configuration import read_settings
    from prosopon.pipelines.ingestion.cluster import join_running, prepare

    settings = read_settings(config)
    if embedder is not None:
        _change(settings, embedder)
    settings = settle(settings)
    prepare(settings, None)

    from prosopon.deployments.state.errors import StateError
    from prosopon.deployments.state.maintenance import reembed as recompute
    from prosopon.models.load import load_detector, load_embedder
    from prosopon.models.runtime.session import Compute
    from prosopon.pipelines.commands.support.progress import progress_bar
    from prosopon.pipelines.ingestion.sinks import RunningEmbeddings

    compute = Compute()
    detector = load_detector(settings.models, settings.detection, compute)
    model = load_embedder(settings.models, compute)

    def embed(images: Sequence[bytes]) -> "list[Float32 | None]":
        return embed_biggest_faces(images, detector, model, settings)

    try:
        with ExitStack() as stack:
            galleries = None
            if cluster := join_running(settings, None):
                stack.callback(cluster.close)
                if cluster.index is not None:
                    os.nice(_BUSY_NICENESS)
                    galleries = RunningEmbeddings(cluster.index)
                    stack.callback(galleries.close)
            progress = stack.enter_context(progress_bar("reembed"))
            result = recompute(
                settings.state, model.fingerprint, model.dim, embed, progress, galleries=galleries
            )
    except StateError as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{result.faces} faces embedded by {model.name}")
    if result.lost:
        typer.echo(
            f"{len(result.lost)} faces have no stored image in which a face is found; they are no longer "
            f"searched: {', '.join(map(str, result.lost[:20]))}",
            err=True,
        )


def _change(settings: "Settings", embedder: str) -> None:
    """Bring the artifact and pin it in the home."""
    from rich.console import Console

    from prosopon.models.weights import pins
    from prosopon.models.weights.catalogue import CATALOGUE
    from prosopon.models.weights.fetch import FetchError
    from prosopon.models.weights.pull import pull

    if embedder not in CATALOGUE or CATALOGUE[embedder].role != "embedder":
        raise typer.BadParameter(f"no embedder is called {embedder}; see `prosopon models list`")
    if "embedder" not in pins.open_choices(settings.models):
        raise typer.BadParameter("the configuration names an embedder or another pack: change it there")
    try:
        pull([CATALOGUE[embedder]], settings.models, Console(stderr=True))
    except FetchError as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None
    pins.write(settings.state.home, "embedder", embedder)


def embed_biggest_faces(
    images: Sequence[bytes], detector: "FaceDetector", embedder: "FaceEmbedder", settings: "Settings"
) -> "list[Float32 | None]":
    """Image files to the embedding of the biggest face of each, ``(D,)`` float32; None where there is
    none."""
    import numpy as np

    from prosopon.models.pictures.crops import cut

    pictures = [_decode(image, settings) for image in images]
    decoded = [picture for picture in pictures if picture is not None]
    found = iter(detector.detect(decoded, settings.detection.score_threshold) if decoded else [])
    embeddings: list[Float32 | None] = []
    for picture in pictures:
        if picture is None or not len(faces := next(found).largest_first()):
            embeddings.append(None)
            continue
        chip = cut(picture, faces.boxes[0], faces.landmarks[0], embedder.crop).pixels
        embeddings.append(embedder.embed(chip[np.newaxis])[0])
    return embeddings


def _decode(image: bytes, settings: "Settings") -> "RGBImage | None":
    from prosopon.models.pictures.decoding import ImageError, decode

    try:
        return decode(image, settings.images)
    except ImageError:
        return None
