"""What `prosopon calibrate` and `prosopon evaluate` share: models by name, and where results are kept."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from prosopon.configs.settings import ModelSettings, Role, Settings
    from prosopon.models.evaluation.embedded import Embedder
    from prosopon.models.roles import FaceDetector, FaceEmbedder


def with_model(settings: "Settings", role: "Role", name: str | None) -> "ModelSettings":
    """The settings with another artifact, or file, for a role, pulled if need be."""
    from rich.console import Console

    from prosopon.models.weights.catalogue import CATALOGUE
    from prosopon.models.weights.fetch import FetchError
    from prosopon.models.weights.pull import pull

    if name is None:
        return settings.models
    overrides = {**settings.models.overrides, role: name}
    models = settings.models.model_copy(update={"overrides": overrides})
    if name in CATALOGUE:
        try:
            pull([CATALOGUE[name]], models, Console(stderr=True))
        except FetchError as error:
            typer.echo(f"{error}", err=True)
            raise typer.Exit(1) from None
    return models


def cache_of(models: "ModelSettings") -> Path:
    """Where faces that were embedded once are kept."""
    return models.directory / "evaluation"


def load(settings: "Settings", models: "ModelSettings") -> "tuple[FaceDetector, FaceEmbedder, Embedder]":
    """The models on one core, and what embeds sets of pictures with them."""
    from prosopon.models.evaluation.embedded import Embedder
    from prosopon.models.load import load_detector, load_embedder
    from prosopon.models.runtime.session import Compute

    compute = Compute()
    compute.limit_libraries()
    detector = load_detector(models, settings.detection, compute)
    embedder = load_embedder(models, compute)
    return (
        detector,
        embedder,
        Embedder(detector, embedder, cache_of(models), settings.detection.score_threshold),
    )
