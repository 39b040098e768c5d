"""CenterFace on annotated photographs."""

import numpy as np
import onnxruntime
import pytest

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.centerface import Candidates, CenterFace, Heads, decode, make_dynamic
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
    points = np.zeros((5, 2, 2), np.float32)
    points[2, :, 0] = 0.5, 0.75  # nose: y, x in units of the box
    candidates = Candidates(
        rows=np.array([3, 3]),
        columns=np.array([5, 6]),
        scores=np.array([0.9, 0.8], np.float32),
        scale=np.log(np.array([[5.0, 5.0], [3.0, 3.0]], np.float32)),  # cells: height, width
        offset=np.array([[0.25, 0], [-0.25, 0]], np.float32),  # y, x
        landmarks=points,
    )
    faces = decode(candidates, 0.3)
    # The neighbour's box overlaps by half and is suppressed. Centre: (5 - 0.25 + 0.5, 3 + 0.25 + 0.5) * 4.
    np.testing.assert_allclose(faces.boxes, [[15, 5, 27, 25]], atol=1e-4)
    np.testing.assert_allclose(faces.landmarks[0, 2], [15 + 0.75 * 12, 5 + 0.5 * 20], atol=1e-4)
    np.testing.assert_allclose(faces.scores, [0.9])


def test_graph_and_heads_give_what_the_published_graph_does() -> None:
    path = weights("centerface").path
    published = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    prepared, heads = create_session(make_dynamic(path), Compute()), Heads(path)
    # The published graph has a fixed shape.
    batch = np.random.default_rng(0).uniform(0, 255, (10, 3, 32, 32)).astype(np.float32)
    [features] = run(prepared, batch)
    for cells, heatmap, scale, offset, landmarks in zip(features, *run(published, batch), strict=True):
        every = heads.candidates(cells, 0)
        assert np.array_equal(every.rows * 8 + every.columns, np.arange(64))
        for ours, theirs in zip(
            (every.scores, every.scale, every.offset, every.landmarks),
            (heatmap, scale, offset, landmarks),
            strict=True,
        ):
            np.testing.assert_allclose(ours.reshape(-1, 64), theirs.reshape(-1, 64), atol=1e-4, rtol=1e-4)
        middle = float(np.median(heatmap))
        assert np.array_equal(
            np.unique(heads.candidates(cells, middle).rows * 8 + heads.candidates(cells, middle).columns),
            np.flatnonzero(heatmap.ravel() >= middle),
        )
    assert len(prepared.get_inputs()) == 1
