"""YuNet (Wu et al. 2023, doi:10.1007/s11633-023-1423-y): a tiny detector, anchor-free at three strides."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prosopon.configs.settings import DetectionSettings
from prosopon.models.faces.centerface import to_picture
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.faces.nms import suppress
from prosopon.models.faces.probability import curve_of
from prosopon.models.pictures.letterbox import batches
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute, create_session

STRIDES = (8, 16, 32)
OUTPUTS = tuple(f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox", "kps"))


def decode(
    maps: Sequence[tuple[int, Float32, Float32, Float32, Float32]],
    width: int,
    score_threshold: float,
    nms_threshold: float,
) -> Detections:
    """Faces of one picture, in pixels of the network's input.

    maps: per stride, the stride and the class and objectness scores ``(cells,)``, the box ``(cells, 4)`` as
    shift of the centre and log of the size, and the points ``(cells, 10)`` as shifts x y, all in units of the
    stride and from the cell's upper left corner; width: of the input, pixels. The score is the geometric mean
    of class and objectness.
    """
    boxes, scores, points = [], [], []
    for stride, cls, obj, box, kps in maps:
        score = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))
        cells = np.flatnonzero(score >= score_threshold)
        rows, columns = np.divmod(cells, width // stride)
        corner = np.stack([columns, rows], axis=1).astype(np.float32)
        center = (box[cells, :2] + corner) * stride
        half = np.exp(box[cells, 2:]) * (stride / 2)
        boxes.append(np.concatenate([center - half, center + half], axis=1))
        scores.append(score[cells])
        points.append((kps[cells].reshape(-1, 5, 2) + corner[:, None]) * stride)
    all_boxes, all_scores = np.concatenate(boxes).astype(np.float32), np.concatenate(scores)
    kept = suppress(all_boxes, all_scores, nms_threshold)
    return Detections(all_boxes[kept], all_scores[kept], np.concatenate(points)[kept].astype(np.float32))


class YuNet:
    """Input ``(N, 3, H, W)`` float32 BGR 0..255, sides multiples of 32. Safe to call from several threads."""

    name = "yunet"
    preprocessing = 2

    def __init__(self, path: Path, compute: Compute, detection: DetectionSettings) -> None:
        self._detection, self.curve = detection, curve_of(self.name)
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(path, compute)
        self._input = self._session.get_inputs()[0].name

    def detect(
        self, images: Sequence[RGBImage], score_threshold: float, det_size: int | None = None
    ) -> list[Detections]:
        """Faces of each picture, most probable first. Pictures whose inputs have one shape share a batch."""
        least = self.curve.score(score_threshold)
        found: list[Detections | None] = [None] * len(images)
        for positions, fits, batch in batches(images, det_size or self._detection.max_side, bgr=True):
            outputs = dict(zip(OUTPUTS, self._session.run(OUTPUTS, {self._input: batch}), strict=True))
            for i, (position, fitted) in enumerate(zip(positions, fits, strict=True)):
                maps = [
                    (
                        stride,
                        outputs[f"cls_{stride}"][i, :, 0],
                        outputs[f"obj_{stride}"][i, :, 0],
                        outputs[f"bbox_{stride}"][i],
                        outputs[f"kps_{stride}"][i],
                    )
                    for stride in STRIDES
                ]
                faces = decode(maps, batch.shape[3], least, self._detection.nms_threshold)
                found[position] = to_picture(self.curve.told(faces), fitted)
        return [faces for faces in found if faces is not None]
