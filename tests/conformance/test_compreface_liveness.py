"""`face_plugins=liveness`: an addition to CompreFace."""

import pytest

from tests.conformance.client import new_client, part
from tests.paths import DATA, require
from tests.support.in_process import InProcess


@pytest.mark.parametrize(
    ("name", "value"), [("image_T1.jpg", "real"), ("image_F1.jpg", "fake"), ("image_F2.jpg", "fake")]
)
def test_the_liveness_plugin_tells_live_faces_from_attacks(
    faces_in_process: InProcess, name: str, value: str
) -> None:
    answer = new_client(faces_in_process, "detection").post(
        "/detection/detect",
        params={"face_plugins": "liveness,age", "status": "true"},
        files={"file": part(require(DATA / "minivision") / name)},
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    (face,) = body["result"]
    assert set(face) == {"box", "age", "liveness", "execution_time"}
    assert set(face["liveness"]) == {"probability", "value"}
    assert face["liveness"]["value"] == value and 0.5 <= face["liveness"]["probability"] <= 1
    assert (
        face["execution_time"]["liveness"] > 0 and body["plugins_versions"]["liveness"] == "prosopon-liveness"
    )


def test_a_face_without_surroundings_is_scored_with_a_warning(faces_in_process: InProcess) -> None:
    answer = new_client(faces_in_process, "detection").post(
        "/detection/detect",
        params={"face_plugins": "liveness"},
        files={"file": part(require(DATA / "fairface") / "100.jpg")},
    )
    liveness = answer.json()["result"][0]["liveness"]
    assert set(liveness) == {"probability", "value", "warning"}
    assert "close to the face" in liveness["warning"]
