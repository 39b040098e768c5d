"""A face that is enrolled says how far it can be trusted, and may be refused."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from tests.conformance.client import new_key
from tests.support.in_process import InProcess, in_process

LEAST = 0.6


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, models_mirror: None) -> Iterator[InProcess]:
    """CompreFace and Trueface where a bad picture is not enrolled."""
    args = {"apis": ["compreface", "trueface"], "galleries": {"least_quality": LEAST}}
    with in_process(tmp_path_factory.mktemp("strict"), args) as running:
        yield running


def soft(picture: bytes) -> bytes:
    """The same picture, far out of focus; a face is still found."""
    with Image.open(io.BytesIO(picture)) as sharp, io.BytesIO() as file:
        sharp.filter(ImageFilter.GaussianBlur(sharp.width / 40)).save(file, "jpeg")
        return file.getvalue()


def test_a_bad_picture_is_refused_and_a_good_one_says_its_quality(
    strict: InProcess, london: list[Path]
) -> None:
    good = london[0].read_bytes()
    with strict.connect() as client:
        client.headers["x-api-key"] = new_key(strict, "recognition")
        url, params = "/api/v1/recognition/faces", {"subject": "Ann"}
        taken = client.post(url, params=params, files={"file": ("a.jpg", good)})
        assert taken.status_code == 201 and float(taken.headers["X-Face-Quality"]) > LEAST
        refused = client.post(url, params=params, files={"file": ("a.jpg", soft(good))})
        assert refused.status_code == 400 and refused.json()["code"] == 28
        assert "quality" in refused.json()["message"] and "0.60" in refused.json()["message"]
        assert client.get(url).json()["total_elements"] == 1
        seen = client.post(
            "/api/v1/recognition/recognize",
            params={"face_plugins": "quality"},
            files={"file": ("a.jpg", soft(good))},
        ).json()["result"][0]
        assert 0 <= seen["quality"] < LEAST
