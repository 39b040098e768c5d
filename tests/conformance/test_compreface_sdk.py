"""The public Python client of CompreFace, every call of it, against the running server."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

# The client pins requests-toolbelt 0.9.1, which asks a module of urllib3 1 whether it runs on App Engine.
_contrib: Any = ModuleType("urllib3.contrib.appengine")
_contrib.is_appengine_sandbox = lambda: False
sys.modules.setdefault("urllib3.contrib.appengine", _contrib)
import urllib3.contrib  # noqa: E402

vars(urllib3.contrib).setdefault("appengine", SimpleNamespace(is_appengine_sandbox=lambda: False))

from compreface import CompreFace  # noqa: E402
from compreface.collections import FaceCollection, Subjects  # noqa: E402
from compreface.service import DetectionService, RecognitionService, VerificationService  # noqa: E402

from tests.benchmarks.serving import Server  # noqa: E402
from tests.conformance.client import new_key  # noqa: E402
from tests.paths import smiling  # noqa: E402

OPTIONS: dict[str, Any] = {
    "limit": 0,
    "det_prob_threshold": 0.5,
    "prediction_count": 1,
    "face_plugins": "calculator,age,gender,landmarks",
    "status": True,
}


@pytest.fixture(scope="module")
def compreface(server: Server) -> CompreFace:
    host, port = server.address.split(":")
    return CompreFace(f"http://{host}", port, OPTIONS)


@pytest.fixture
def recognition(compreface: CompreFace, server: Server) -> RecognitionService:
    return compreface.init_face_recognition(new_key(server, "recognition"))


@pytest.fixture
def faces(recognition: RecognitionService) -> FaceCollection:
    return recognition.get_face_collection()


@pytest.fixture
def subjects(recognition: RecognitionService) -> Subjects:
    return recognition.get_subjects()


def test_subjects(subjects: Subjects) -> None:
    assert subjects.add("Ann") == {"subject": "Ann"}
    assert subjects.list() == {"subjects": ["Ann"]}
    assert subjects.update("Ann", "Anna") == {"updated": True}
    assert subjects.delete("Anna") == {"subject": "Anna"}
    subjects.add("Ben")
    assert subjects.delete_all() == {"deleted": 1}


@pytest.mark.parametrize("as_bytes", [False, True])
def test_face_collection(faces: FaceCollection, london: list[Path], as_bytes: bool) -> None:
    picture: Any = london[0].read_bytes() if as_bytes else str(london[0])
    added = faces.add(picture, "Ann", {"det_prob_threshold": 0.6})
    assert added["subject"] == "Ann"
    assert [face["image_id"] for face in faces.list()["faces"]] == [added["image_id"]]
    verified = faces.verify(picture, added["image_id"], OPTIONS)
    assert verified["result"][0]["similarity"] > 0.99
    assert faces.delete(added["image_id"]) == added
    faces.add(picture, "Ann")
    assert faces.delete_all("Ann") == {"deleted": 1}


def test_recognition(recognition: RecognitionService, faces: FaceCollection, london: list[Path]) -> None:
    faces.add(str(london[0]), "Ann")
    (face,) = recognition.recognize(str(smiling(london[0])), OPTIONS)["result"]
    assert face["subjects"][0]["subject"] == "Ann" and face["subjects"][0]["similarity"] > 0.9
    assert {"age", "gender", "landmarks", "embedding", "execution_time"} <= set(face)


def test_detection(compreface: CompreFace, server: Server, london: list[Path]) -> None:
    detection: DetectionService = compreface.init_face_detection(new_key(server, "detection"))
    answer = detection.detect(str(london[0]), OPTIONS)
    assert answer["result"][0]["box"]["probability"] > 0.5
    assert answer["plugins_versions"]["detector"]


def test_verification(compreface: CompreFace, server: Server, london: list[Path]) -> None:
    verification: VerificationService = compreface.init_face_verification(new_key(server, "verification"))
    (result,) = verification.verify(str(london[0]), str(smiling(london[0])), OPTIONS)["result"]
    assert result["face_matches"][0]["similarity"] > 0.9


def test_errors_arrive_in_the_documented_form(
    compreface: CompreFace, server: Server, london: list[Path]
) -> None:
    wrong_service = compreface.init_face_detection(new_key(server, "recognition"))
    assert wrong_service.detect(str(london[0]), OPTIONS)["code"] == 10
