"""YuNet on annotated photographs."""

import pytest

from configs.settings import DetectionSettings
from models.roles import FaceDetector
from models.session import Compute
from models.yunet import YuNet
from tests.unit.detector_contract import DetectorContract
from tests.weights import weights


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return YuNet(weights("yunet").path, Compute(), DetectionSettings())


class TestYuNet(DetectorContract):
    pass
