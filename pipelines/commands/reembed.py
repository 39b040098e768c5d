"""`prosopon reembed`: embeddings of the model in service, computed again from the stored images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from prosopon.configs.settings import Settings
    from prosopon.models.faces.detections import Float32, RGBImage
    from prosopon.models.roles import FaceDetector, FaceEmbedder


def reembed(
    config: Annotated[
        Path | None,
        typer.Option(help="A Serve config file that names state and models.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Compute stored embeddings again, from the stored images, with the configured embedder. Stop the
    server first.

    Needed after the embedder was changed. A run that was stopped goes on where it was.
    """
    from prosopon.deployments.state.errors import StateError
    from prosopon.deployments.state.maintenance import reembed as recompute
    from prosopon.models.load import load_detector, load_embedder
    from prosopon.models.runtime.session import Compute
    from prosopon.pipelines.commands.support.configuration import read_settings
    from prosopon.pipelines.commands.support.progress import progress_bar

    settings, compute = read_settings(config), Compute()
    detector = load_detector(settings.models, settings.detection, compute)
    embedder = load_embedder(settings.models, compute)

    def embed(images: Sequence[bytes]) -> "list[Float32 | None]":
        return embed_biggest_faces(images, detector, embedder, settings)

    try:
        with progress_bar("reembed") as progress:
            result = recompute(settings.state, embedder.fingerprint, embedder.dim, embed, progress)
    except StateError as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{result.faces} faces embedded by {embedder.name}")
    if result.lost:
        typer.echo(
            f"{len(result.lost)} faces have no stored image in which a face is found; they are not searched any "
            f"more: {', '.join(map(str, result.lost[:20]))}",
            err=True,
        )


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
