"""Faces that are small in a large picture are found where a client asks for that, `det_size`."""

import io
from pathlib import Path

import pytest
from PIL import Image

from tests.conformance.client import new_client
from tests.support.in_process import InProcess

pytestmark = pytest.mark.slow

WIDE, HIGH, FACES = 2600, 1500, ((150, 200), (1300, 800), (2300, 1300))


@pytest.fixture
def crowd(london: list[Path]) -> bytes:
    """Somebody three times, some 30 pixels wide: of London's portraits the face takes about a third of the side."""
    person = Image.open(london[7]).convert("RGB").resize((90, 90), Image.Resampling.LANCZOS)
    scene = Image.new("RGB", (WIDE, HIGH), (120, 125, 130))
    for place in FACES:
        scene.paste(person, place)
    stream = io.BytesIO()
    scene.save(stream, "JPEG", quality=95)
    return stream.getvalue()


@pytest.mark.parametrize("size", ["0", str(WIDE)])
def test_compreface(faces_in_process: InProcess, crowd: bytes, london: list[Path], size: str) -> None:
    client = new_client(faces_in_process, "recognition", "detection")
    enrolled = client.post(
        "/recognition/faces", params={"subject": "Eve"}, files={"file": london[7].read_bytes()}
    )
    assert enrolled.status_code == 201, enrolled.text
    # As it is configured, in 640 pixels, these faces are 7 wide: CompreFace answers that there are none.
    assert client.post("/detection/detect", files={"file": crowd}).json()["code"] == 28
    for route in ("/detection/detect", "/recognition/recognize"):
        found = client.post(route, params={"det_size": size}, files={"file": crowd}).json()["result"]
        assert len(found) == len(FACES), route
        for x, y in FACES:
            inside = [
                face["box"]
                for face in found
                if x <= face["box"]["x_min"] < face["box"]["x_max"] <= x + 90
                and y <= face["box"]["y_min"] < face["box"]["y_max"] <= y + 90
            ]
            assert len(inside) == 1, (route, x, y)
    assert {face["subjects"][0]["subject"] for face in found} == {"Eve"}


@pytest.mark.parametrize("size", ["-1", "much"])
def test_a_size_that_is_none_is_refused_or_left_out(
    faces_in_process: InProcess, crowd: bytes, size: str
) -> None:
    client = new_client(faces_in_process, "detection")
    answer = client.post("/detection/detect", params={"det_size": size}, files={"file": crowd})
    assert answer.status_code == 400
