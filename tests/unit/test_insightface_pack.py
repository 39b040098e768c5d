"""InsightFace's conventions, with the detector and the embedder of the mirror as a pack of two."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from insightface.model_zoo.scrfd import SCRFD

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces import insightface_pack
from prosopon.models.faces.detections import RGBImage
from prosopon.models.faces.probability import curve_of
from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.registry import ModelUnavailable
from tests.paths import DATA, require
from tests.weights import insightface_pack_of_two, weights


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(insightface_pack_of_two(tmp_path_factory.mktemp("pack")))


def picture(path: Path) -> RGBImage:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_files_are_told_apart_by_what_they_take(pack: str) -> None:
    assert insightface_pack.find(pack, "detector").name == "det_500m.onnx"
    assert insightface_pack.find(pack, "embedder").name == "mobilefacenet.onnx"
    assert not insightface_pack.serves(pack, "age")
    with pytest.raises(ModelUnavailable, match="no model for the role 'landmarks'"):
        insightface_pack.find(pack, "landmarks")


def test_a_missing_pack_names_the_command_that_brings_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(insightface_pack, "ROOT", tmp_path)
    with pytest.raises(ModelUnavailable, match="prosopon models pull insightface/buffalo_x"):
        insightface_pack.load_embedder("buffalo_x", Compute())


def test_detection_agrees_with_the_library_in_a_batch(pack: str) -> None:
    detector = insightface_pack.load_detector(pack, DetectionSettings(max_side=640), Compute())
    paths = sorted(require(DATA / "compreface_samples").glob("*.jpg"))[:6]
    images = [picture(path) for path in paths]
    # The library's threshold is of the network's own score.
    threshold = float(curve_of("scrfd").probability(np.array([0.5], np.float32))[0])
    together = detector.detect(images, threshold)
    library = SCRFD(model_file=str(insightface_pack.find(pack, "detector")))
    for image, faces in zip(images, together, strict=True):
        alone = detector.detect([image], threshold)[0]
        np.testing.assert_allclose(alone.boxes, faces.boxes, atol=0.1)
        boxes, points = library.detect(image[..., ::-1], input_size=(640, 640))
        assert len(boxes) == len(faces)
        for box, five in zip(boxes, points, strict=True):
            nearest = np.abs(faces.boxes - box[:4]).sum(axis=1).argmin()
            size = (box[2] - box[0] + box[3] - box[1]) / 2
            assert np.abs(faces.boxes[nearest] - box[:4]).max() / size < 0.06
            assert np.abs(faces.landmarks[nearest] - five).max() / size < 0.06


def test_embeddings_tell_people_apart(pack: str) -> None:
    detector = insightface_pack.load_detector(pack, DetectionSettings(), Compute())
    embedder = insightface_pack.mobilefacenet(*weights("mobilefacenet-y1").paths, Compute())
    people = sorted(require(DATA / "london").glob("*_neutral.jpg"))[:30]
    galleries = []
    for expression in ("neutral", "smiling"):
        images = [picture(path.with_name(path.name.replace("neutral", expression))) for path in people]
        faces = [detector.detect([image], 0.4)[0].largest_first() for image in images]
        chips = [
            cut(i, f.boxes[0], f.landmarks[0], embedder.crop).pixels
            for i, f in zip(images, faces, strict=True)
        ]
        embeddings = embedder.embed(np.stack(chips))
        galleries.append(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))
    cosine = galleries[1] @ galleries[0].T
    assert embedder.dim == 128
    assert (cosine.argmax(axis=1) == np.arange(30)).all()
    assert np.diag(cosine).mean() > 0.6
    assert cosine[~np.eye(30, dtype=bool)].mean() < 0.25


def test_a_pack_that_is_there_is_not_fetched_again(pack: str, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr("insightface.utils.ensure_available", refuse)
    assert insightface_pack.pull(pack) == Path(pack)
