"""InsightFace's model packs, by the `insightface` library's own conventions, in batches.

The library's classes know what each network wants (means, anchors, strides, templates); the sessions are
ours, so that threads and devices follow the replica's share, and every network takes a batch. Nothing is
downloaded except by `pull`.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import insightface
import numpy as np
import onnx
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.model_zoo.attribute import Attribute
from insightface.model_zoo.scrfd import SCRFD, distance2bbox, distance2kps
from insightface.utils import face_align

from prosopon.configs.settings import DetectionSettings, Role
from prosopon.models.convert.openvino_ir import read, to_onnx
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.faces.nms import suppress
from prosopon.models.faces.probability import curve_of
from prosopon.models.pictures.crops import CropSpec, Point
from prosopon.models.pictures.letterbox import batches
from prosopon.models.roles import Age, Chips, Gender
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.prepared import prepare
from prosopon.models.runtime.session import Compute, create_session, run
from prosopon.models.weights.registry import ModelUnavailable

logger = logging.getLogger(__name__)

LICENCE = "InsightFace's models are for non-commercial research, unless InsightFace has licensed them to you."

ROOT = Path("~/.insightface/models")
"""Where the library keeps its packs."""

_TASKS: dict[Role, tuple[str, ...]] = {
    "detector": ("detection",),
    "embedder": ("recognition",),
    # Head pose is solved from 68 points, so these are preferred where a pack has both.
    "landmarks": ("landmarks-68", "landmarks-106"),
    "age": ("genderage",),
    "gender": ("genderage",),
    "swapper": ("swapper",),
}


def directory(pack: str) -> Path:
    """The folder of a pack given by name or by path."""
    given = Path(pack).expanduser()
    return given if given.is_dir() else ROOT.expanduser() / pack


def pull(pack: str) -> Path:
    """Bring a pack by name from InsightFace's release page, through the library; say its licence.

    A pack that is there, or that is given by its folder, is left as it is.
    """
    folder = directory(pack)
    if not folder.is_dir():
        logger.warning(LICENCE)
        insightface.utils.ensure_available("models", pack, root=str(ROOT.parent.expanduser()))
    return folder


def task_of(path: Path) -> str | None:
    """What an ONNX file of a pack does, by the shapes that the library routes by; None if it is not used."""
    graph = onnx.load(path, load_external_data=False).graph
    given = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in given]
    side = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim][2:]
    width = [dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim][-1:]
    if len(graph.output) >= 5:
        return "detection"
    if side == [192, 192]:
        return {3309: "landmarks-68", 212: "landmarks-106"}.get(width[0])
    if len(inputs) == 2:
        return "swapper" if side == [128, 128] else None
    if side == [96, 96]:
        return "genderage" if width == [3] else None
    square = len(side) == 2 and side[0] == side[1] and side[0] >= 112 and side[0] % 16 == 0
    return "recognition" if len(inputs) == 1 and square else None


def find(pack: str, role: Role) -> Path:
    """The file of a pack that serves a role. Raises `models.weights.registry.ModelUnavailable`."""
    folder = directory(pack)
    if not folder.is_dir():
        raise ModelUnavailable(
            f"the InsightFace pack '{pack}' is not on this machine: "
            f"run `prosopon models pull insightface/{pack}`"
        )
    found = {task_of(path): path for path in sorted(folder.rglob("*.onnx"), reverse=True)}
    for task in _TASKS.get(role, ()):
        if task in found:
            return found[task]
    if role == "swapper":
        return _inswapper(pack)
    raise ModelUnavailable(f"the InsightFace pack '{pack}' has no model for the role '{role}'")


def _inswapper(pack: str) -> Path:
    """The swapper, which is in no pack: the library looks for it beside them. Raises `ModelUnavailable`."""
    path = ROOT.expanduser() / "inswapper_128.onnx"
    if not path.exists():
        raise ModelUnavailable(
            f"inswapper_128.onnx is neither in the InsightFace pack '{pack}' nor in {path.parent}: InsightFace "
            "gives it out on request; put it there, name it by the override swapper: PATH, or swap with the "
            "project's own by the override swapper: warp"
        )
    return path


def serves(pack: str, role: Role) -> bool:
    """Whether a pack that is on this machine has a model for a role."""
    try:
        find(pack, role)
    except ModelUnavailable:
        return False
    return True


def free_batch(path: Path) -> Path | bytes:
    """The model with a dynamic batch: itself where it has one, else a rewritten form kept beside it."""
    model = onnx.load(path)
    given = {tensor.name for tensor in model.graph.initializer}
    fixed = [
        value
        for value in model.graph.input
        if value.name not in given and value.type.tensor_type.shape.dim[0].dim_value
    ]
    if not fixed:
        return path

    def rewrite() -> bytes:
        for value in fixed:
            value.type.tensor_type.shape.dim[0].dim_param = "N"
        del model.graph.value_info[:]
        for output in model.graph.output:
            for dim in output.type.tensor_type.shape.dim[:-1]:
                dim.Clear()
        return bytes(model.SerializeToString())

    return prepare([path], "batch", 1, rewrite)


class InsightFaceDetector:
    """SCRFD (Guo et al. 2021, arXiv:2105.04714), with landmarks."""

    name = "scrfd"
    preprocessing = 2

    def __init__(self, path: Path, compute: Compute, detection: DetectionSettings) -> None:
        """Raises ValueError for a detector without landmarks, which nothing here could align by."""
        self._detection, self.curve = detection, curve_of(self.name)
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(free_batch(path), compute)
        self._conventions = SCRFD(model_file=str(path), session=self._session)
        if not self._conventions.use_kps:
            raise ValueError(f"{path.name} gives no landmarks")

    def detect(
        self, images: Sequence[RGBImage], score_threshold: float, det_size: int | None = None
    ) -> list[Detections]:
        """Faces of each picture, most probable first."""
        least = self.curve.score(score_threshold)
        found: list[Detections | None] = [None] * len(images)
        mean, std = self._conventions.input_mean, self._conventions.input_std
        side = det_size or self._detection.max_side
        for positions, fits, batch in batches(images, side, mean=mean, std=std):
            outputs = run(self._session, batch)
            for row, (position, fitted) in enumerate(zip(positions, fits, strict=True)):
                faces = self._decode(outputs, row, len(positions), batch.shape[2:], least)
                scale = np.array([fitted.scale_x, fitted.scale_y], np.float32)
                boxes = (faces.boxes / np.tile(scale, 2)).astype(np.float32)
                found[position] = self.curve.told(Detections(boxes, faces.scores, faces.landmarks / scale))
        return [faces for faces in found if faces is not None]

    def _decode(
        self, outputs: list[Float32], row: int, rows: int, shape: tuple[int, ...], threshold: float
    ) -> Detections:
        """One picture's faces in input pixels; outputs are three maps (score, box, points) per stride."""
        scores, boxes, points = [], [], []
        anchors, levels = self._conventions._num_anchors, self._conventions.fmc
        for level, stride in enumerate(self._conventions._feat_stride_fpn):
            width = shape[1] // stride
            score, box, point = (
                _of_row(outputs[level + levels * kind], row, rows, anchors) for kind in range(3)
            )
            kept = np.flatnonzero(score[:, 0] >= threshold)
            rows_of, columns_of = np.divmod(kept // anchors, width)
            centres = (np.stack([columns_of, rows_of], axis=1) * stride).astype(np.float32)
            scores.append(score[kept, 0])
            boxes.append(distance2bbox(centres, box[kept] * stride))
            points.append(distance2kps(centres, point[kept] * stride).reshape(-1, 5, 2))
        all_scores, all_boxes = np.concatenate(scores), np.concatenate(boxes).astype(np.float32)
        best = suppress(all_boxes, all_scores, self._detection.nms_threshold)
        landmarks = np.concatenate(points).astype(np.float32)
        return Detections(all_boxes[best], all_scores[best], landmarks[best])


def _of_row(output: Float32, row: int, rows: int, anchors: int) -> Float32:
    """One picture's part of a map. Exports without a batch axis lay rows between cells and anchors."""
    channels = output.shape[-1]
    mine = output[row] if output.ndim == 3 else output.reshape(-1, rows, anchors, channels)[:, row]
    return mine.reshape(-1, channels)


def arcface_template(size: int) -> tuple[Point, Point, Point, Point, Point]:
    """The library's template (`face_align.estimate_norm`) as five points in pixels of a chip of `size`."""
    ratio, shift = (size / 112, 0.0) if size % 112 == 0 else (size / 128, 8 * size / 128)
    a, b, c, d, e = ((float(x) * ratio + shift, float(y) * ratio) for x, y in face_align.arcface_dst)
    return a, b, c, d, e


class InsightFaceEmbedder:
    """ArcFace (Deng et al. 2019): aligned chips to embeddings compared by cosine."""

    name = "arcface"
    preprocessing = 1

    def __init__(self, path: Path, compute: Compute, bgr: bool = False) -> None:
        """bgr: the network was converted to take BGR."""
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._bgr = bgr
        self._session = create_session(free_batch(path), compute)
        conventions = ArcFaceONNX(model_file=str(path), session=self._session)
        self._mean, self._std = np.float32(conventions.input_mean), np.float32(conventions.input_std)
        size = int(conventions.input_size[0])
        self.crop = CropSpec(size, arcface_template(size))
        blank = np.zeros((1, size, size, 3), np.uint8)
        self.dim = self.embed(blank).shape[1]

    def embed(self, chips: Chips) -> Float32:
        """chips ``(N, S, S, 3)`` uint8 RGB, cut as `crop` says, to ``(N, dim)`` float32."""
        if not len(chips):
            return np.empty((0, self.dim), np.float32)
        return run(self._session, _blob(chips[..., ::-1] if self._bgr else chips, self._mean, self._std))[0]


def _blob(chips: Chips, mean: np.float32, std: np.float32) -> Float32:
    pixels = (chips.astype(np.float32) - mean) / std
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def mobilefacenet(xml: Path, weights: Path, compute: Compute) -> InsightFaceEmbedder:
    """InsightFace's MobileFaceNet as converted to OpenVINO's IR, which reversed its channels."""
    model = prepare([xml, weights], "onnx", 1, lambda: to_onnx(read(xml, weights)))
    if isinstance(model, bytes):
        raise OSError(f"{xml.parent} cannot be written to: the converted network must lie beside its source")
    return InsightFaceEmbedder(model, compute, bgr=True)


class InsightFaceLandmarks:
    """2d106det and 1k3d68: 106 points of InsightFace's order, or 68 of iBUG's (depth left out)."""

    name = "insightface-landmarks"
    preprocessing = 1
    crop = CropSpec(192, scale=1.5)

    def __init__(self, path: Path, compute: Compute) -> None:
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(free_batch(path), compute)
        self.count = 68 if task_of(path) == "landmarks-68" else 106
        # The library's rule: what was exported from MXNet normalises by itself. Its class is not used since
        # it unpickles a mean shape.
        first = [node.name for node in onnx.load(path).graph.node[:8]]
        own = "bn_data" in first[:3] or (
            any(name.startswith(("Sub", "_minus")) for name in first)
            and any(name.startswith(("Mul", "_mul")) for name in first)
        )
        self._mean, self._std = (
            (np.float32(0), np.float32(1)) if own else (np.float32(127.5), np.float32(128))
        )

    def predict(self, chips: Chips) -> Float32:
        """chips ``(N, 192, 192, 3)`` uint8 RGB to ``(N, count, 2)`` float32, x y in crop pixels."""
        if not len(chips):
            return np.empty((0, self.count, 2), np.float32)
        output = run(self._session, _blob(chips, self._mean, self._std))[0]
        points = output.reshape(len(chips), -1, 3 if output.shape[1] >= 3000 else 2)[:, -self.count :, :2]
        # The library's crops have pixel corners, ours pixel centres, at integers.
        half = np.float32(self.crop.size / 2)
        return ((points + 1) * half - 0.5).astype(np.float32)


class InsightFaceGenderAge:
    """genderage: two gender scores (female, male) and an age over a hundred."""

    name = "insightface-genderage"
    preprocessing = 1
    crop = CropSpec(96, scale=1.5)

    # The network gives one number. Half of a Laplace distribution whose mean absolute error is eight years
    # lies within this many years of it.
    HALF_WITHIN_YEARS = 8 * float(np.log(2))

    def __init__(self, path: Path, compute: Compute) -> None:
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._session = create_session(free_batch(path), compute)
        conventions = Attribute(model_file=str(path), session=self._session)
        self._mean, self._std = np.float32(conventions.input_mean), np.float32(conventions.input_std)

    def outputs(self, chips: Chips) -> Float32:
        """chips ``(N, 96, 96, 3)`` uint8 RGB to ``(N, 3)`` float32: female, male, and the age over a hundred."""
        if not len(chips):
            return np.empty((0, 3), np.float32)
        return run(self._session, _blob(chips, self._mean, self._std))[0]

    def ages(self, outputs: Float32) -> list[Age]:
        """One `Age` for each row of `outputs`."""
        years = outputs[:, 2] * 100
        lows, highs = years - self.HALF_WITHIN_YEARS, years + self.HALF_WITHIN_YEARS
        return [
            Age(max(0, round(low)), max(0, round(high)), 0.5) for low, high in zip(lows, highs, strict=True)
        ]

    def genders(self, outputs: Float32) -> list[Gender]:
        """One `Gender` for each row of `outputs`. The probability is the logistic of the scores' difference."""
        males = 1 / (1 + np.exp(outputs[:, 0] - outputs[:, 1]))
        return [Gender("male", float(p)) if p > 0.5 else Gender("female", float(1 - p)) for p in males]


def load_detector(pack: str, detection: DetectionSettings, compute: Compute) -> InsightFaceDetector:
    """These raise `models.weights.registry.ModelUnavailable` where the pack is not here or has no such model."""
    return InsightFaceDetector(find(pack, "detector"), compute, detection)


def load_embedder(pack: str, compute: Compute) -> InsightFaceEmbedder:
    return InsightFaceEmbedder(find(pack, "embedder"), compute)


def open_network(role: Role) -> Callable[[Path, Compute], Any]:
    """What opens a pack's file for a role of faces. Raises KeyError for another role."""
    return _NETWORKS[role]


# The same class for two roles: opened and run once for both.
_NETWORKS: dict[Role, Callable[[Path, Compute], Any]] = {
    "embedder": InsightFaceEmbedder,
    "landmarks": InsightFaceLandmarks,
    "age": InsightFaceGenderAge,
    "gender": InsightFaceGenderAge,
}
