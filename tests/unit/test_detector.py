"""What the Detector finds out about faces beside finding them."""

import asyncio
from dataclasses import astuple
from functools import cache
from typing import Any

import numpy as np
import pytest

from prosopon.configs.settings import (
    DeploymentSettings,
    DetectionSettings,
    ImageLimits,
    ModelSettings,
)
from prosopon.deployments.detector import Detector
from prosopon.deployments.face_model import FaceModelReplica
from prosopon.deployments.serving.messages import DetectRequest, FacesFound, Rejected
from prosopon.models.faces.attributes.declaration import ModelCard
from prosopon.models.faces.attributes.table import ATTRIBUTES
from prosopon.models.load import available
from tests.paths import DATA, require


@cache
def _here() -> list[str]:
    return [role for role in ATTRIBUTES.roles if available(ModelSettings(), role)]


@pytest.fixture(scope="module")
def detector(models_mirror: None) -> Any:
    settings = DeploymentSettings(max_batch_size=8)
    return Detector.func_or_class(
        ModelSettings(),
        DetectionSettings(),
        ImageLimits(),
        settings,
        [ATTRIBUTES.roles[role] for role in _here()],
    )


def picture(name: str) -> bytes:
    return require(DATA / "compreface_samples" / name).read_bytes()


def same(one: Any, other: Any) -> bool:
    """Up to what a network's batch changes in its last digits."""
    if isinstance(one, np.ndarray):
        return bool(np.allclose(one, other, atol=1e-3))
    return all(
        value == (pytest.approx(there, abs=1e-4) if isinstance(there, float) else there)
        for a, b in zip(one, other, strict=True)
        for value, there in zip(astuple(a), astuple(b), strict=True)
    )


@pytest.mark.parametrize("role", ATTRIBUTES.roles)
def test_a_colocated_model_says_what_its_own_deployment_says(detector: Any, role: str) -> None:
    if role not in _here():
        pytest.skip(f"the weights of {role} are not here")
    apart = FaceModelReplica.func_or_class([ATTRIBUTES.roles[role]], ModelSettings(), DeploymentSettings())
    card: ModelCard = apart.describe()[role]
    assert detector.describe()[role] == card

    async def ask() -> tuple[FacesFound, Any]:
        found = await detector.detect(
            DetectRequest(picture("000_5.jpg"), crops=card.crops, roles=frozenset({role}))
        )
        return found, await apart.predict(frozenset({role}), found.chips)

    found, expected = asyncio.run(ask())
    assert len(found.faces) == 5 == len(expected[role].value)
    assert list(found.results) == [role]
    assert same(found.results[role].value, expected[role].value)


def test_every_request_of_a_batch_gets_what_it_asked_for(detector: Any) -> None:
    crop = detector.describe()["mask"].crops[0]
    requests = [
        DetectRequest(picture("000_5.jpg"), roles=frozenset({"age", "landmarks"})),
        DetectRequest(b"no picture", roles=frozenset({"age"})),
        DetectRequest(picture("017_0.jpg"), roles=frozenset({"age"})),  # Nobody is in it.
        DetectRequest(picture("004_A.jpg"), limit=1, crops=(crop,)),
        DetectRequest(picture("004_A.jpg"), limit=1, roles=frozenset(_here())),
    ]
    many, bad, empty, plain, full = detector._detect_batch(requests)
    assert isinstance(bad, Rejected)
    assert not empty.results and not len(empty.faces)
    assert not plain.results and list(plain.chips) == [crop]
    assert not many.chips and not full.chips, "what was cut for the models alone does not travel"
    assert set(many.results) == {"age", "landmarks"} and set(full.results) == set(_here())
    for request, answer in zip(requests, (many, bad, empty, plain, full), strict=True):
        if isinstance(answer, FacesFound):
            (alone,) = detector._detect_batch([request])
            assert len(alone.faces) == len(answer.faces)
            for role, result in alone.results.items():
                assert len(result.value) == len(answer.faces)
                assert same(result.value, answer.results[role].value), role
