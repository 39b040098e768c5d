"""YuNet on annotated photographs."""

import pytest

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.yunet import YuNet
from prosopon.models.roles import FaceDetector
from prosopon.models.runtime.session import Compute
from tests.unit.detector_contract import DetectorContract
from tests.weights import weights


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return YuNet(weights("yunet").path, Compute(), DetectionSettings())


class TestYuNet(DetectorContract):
    pass
