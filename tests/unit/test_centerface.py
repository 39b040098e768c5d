"""CenterFace on annotated photographs."""

import numpy as np
import onnxruntime
import pytest

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.centerface import CenterFace, decode, make_dynamic
from prosopon.models.roles import FaceDetector
from prosopon.models.runtime.session import Compute, create_session, run
from tests.unit.detector_contract import DetectorContract
from tests.weights import weights


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return CenterFace(weights("centerface").path, Compute(), DetectionSettings())


class TestCenterFace(DetectorContract):
    pass


def test_a_face_is_decoded_from_its_cell() -> None:
    heatmap = np.zeros((8, 12), np.float32)
    scale, offset = np.zeros((2, 8, 12), np.float32), np.zeros((2, 8, 12), np.float32)
    points = np.zeros((10, 8, 12), np.float32)
    heatmap[3, 5], heatmap[3, 6] = 0.9, 0.8
    scale[:, 3, 5:7] = np.log([[5.0], [3.0]])  # cells: height, width
    offset[:, 3, 5] = 0.25, -0.25  # y, x
    points[4:6, 3, 5] = 0.5, 0.75  # nose: y, x in units of the box
    faces = decode(heatmap, scale, offset, points, 0.5, 0.3)
    # The neighbour's box overlaps by half and is suppressed. Centre: (5 - 0.25 + 0.5, 3 + 0.25 + 0.5) * 4.
    np.testing.assert_allclose(faces.boxes, [[15, 5, 27, 25]], atol=1e-4)
    np.testing.assert_allclose(faces.landmarks[0, 2], [15 + 0.75 * 12, 5 + 0.5 * 20], atol=1e-4)
    np.testing.assert_allclose(faces.scores, [0.9])


def test_the_prepared_graph_gives_what_the_published_one_does() -> None:
    path = weights("centerface").path
    published = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    prepared = create_session(make_dynamic(path), Compute())
    # The published graph has a fixed shape.
    batch = np.random.default_rng(0).uniform(0, 255, (10, 3, 32, 32)).astype(np.float32)
    for ours, theirs in zip(run(prepared, batch), run(published, batch), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)
    assert len(prepared.get_inputs()) == 1
