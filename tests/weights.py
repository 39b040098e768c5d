"""The real weights, for tests: pulled once into the models folder, from the mirror or the package index."""

import shutil
from functools import cache
from pathlib import Path

from prosopon.configs.settings import ModelSettings
from prosopon.models.weights.catalogue import CATALOGUE
from prosopon.models.weights.registry import Registry, Weights, artifacts_for
from tests.paths import MIRROR, require

DLIB = "dlib-resnet29"
"""The embedder of a machine that reaches the package index alone, as tests do where there is no mirror."""


def model_settings() -> ModelSettings:
    """Settings whose mirror is the shared folder of weights, where there is one."""
    return ModelSettings(mirror=MIRROR if MIRROR.is_dir() else None)


def default_embedder() -> str:
    """The artifact that a new home settles on here."""
    name = next(
        a.name for a in artifacts_for(model_settings(), "embedder") if a.name == DLIB or MIRROR.is_dir()
    )
    weights(name)
    return name


def embedding_dim() -> int:
    """Of the default embedder."""
    return {DLIB: 128}.get(default_embedder(), 256)


@cache
def weights(name: str) -> Weights:
    """Verified weights of an artifact; a test that needs what only the mirror has is skipped without it."""
    artifact = CATALOGUE[name]
    if not any(file.sources for file in artifact.files):
        require(MIRROR)
    registry = Registry.of(model_settings())
    registry.pull([artifact])
    return registry.weights(artifact)


def insightface_pack_of_two(folder: Path) -> Path:
    """The folder, with an InsightFace detector and embedder in it, as one of their packs has them."""
    # Imports torch, which tests of what does without it must not.
    from prosopon.models.convert.openvino_ir import read, to_onnx

    shutil.copy(require(MIRROR / "det_500m.onnx"), folder)
    graph = read(MIRROR / "model-y1-0000.xml", MIRROR / "model-y1-0000.bin")
    (folder / "mobilefacenet.onnx").write_bytes(to_onnx(graph))
    return folder
