"""detect -> swap on whole files: what a swap worker runs, and what its speed is measured against."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from math import ceil

import cv2
import numpy as np

from prosopon.configs.settings import DetectionSettings, FilmLimits, ImageLimits, ModelSettings, SwapSettings
from prosopon.models.faces.detections import Detections, Float32, RGBImage
from prosopon.models.faces.landmarks import MESH
from prosopon.models.load import load_detector, load_landmarks, load_swap_judge
from prosopon.models.pictures.decoding import ImageError, check, decode, decode_picture
from prosopon.models.pictures.film import Film
from prosopon.models.pictures.film_headers import FilmHeader, read_film
from prosopon.models.pictures.picture import Picture
from prosopon.models.roles import FaceDetector, FaceEmbedder, LandmarkPredictor
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.films import Progress, Seen, follow, replace_faces, steady_targets, typical
from prosopon.models.swap.geometry import interocular
from prosopon.models.swap.methods import Loaders, Methods, loaders
from prosopon.models.swap.types import FaceGeometry, NoSwap, Replacement, SourceFace, face_geometries
from prosopon.models.swap.verdict import Gate, Verdict, embedding, judged

_LANDMARKS = "mediapipe-face-mesh"
"""Where the pack has other landmarks."""
# Quality 95 keeps the chroma of skin; PNG with OpenCV's own choice of filter and level, the fastest of its levels.
_ENCODINGS: dict[str, tuple[str, str, list[int]]] = {
    "png": (".png", "image/png", []),
    "webp": (".webp", "image/webp", [cv2.IMWRITE_WEBP_QUALITY, 95]),
    "jpg": (".jpg", "image/jpeg", [cv2.IMWRITE_JPEG_QUALITY, 95]),
}
_MAX_SIDE = {"webp": 16383, "jpg": 65500}
_OF_SOURCE = {"image/jpeg": "jpg", "image/webp": "webp"}
_OPENING = 50
"""Frames of a film in which faces are looked for that are to be counted."""


@dataclass(frozen=True, slots=True)
class SwappedPicture:
    """A file. suffix: for its name, with the dot. similarity: 0 to 1, by the judge's cosine, of the
    result to the face that was put in, the lowest of several. method: what made it."""

    data: bytes
    media_type: str
    suffix: str
    similarity: float
    method: str


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """boxes: x1 y1 x2 y2 in whole pixels inside the picture, in the order in which swaps count faces."""

    width: int
    height: int
    boxes: tuple[tuple[int, int, int, int], ...]


class FaceSwap:
    """Thread-safe as far as its models are. Pictures must be files that `models.pictures.decoding.decode` takes."""

    def __init__(
        self,
        detector: FaceDetector,
        landmarks: LandmarkPredictor,
        swappers: Loaders,
        judge: FaceEmbedder,
        detection: DetectionSettings,
        limits: ImageLimits,
        settings: SwapSettings,
    ) -> None:
        """swappers: what loads each method, as `Methods` has them. judge: by which results are accepted."""
        self._detector, self._landmarks, self._judge = detector, landmarks, judge
        self.methods = Methods(swappers, settings, self._judged)
        self._gate = Gate(settings)
        self._threshold, self._limits, self._settings = detection.score_threshold, limits, settings

    @classmethod
    def load(
        cls,
        models: ModelSettings,
        detection: DetectionSettings,
        limits: ImageLimits,
        settings: SwapSettings,
        compute: Compute,
    ) -> "FaceSwap":
        """Raises what `models.load` raises."""
        landmarks = load_landmarks(models, compute)
        if landmarks.count != MESH:
            overrides = {**models.overrides, "landmarks": _LANDMARKS}
            landmarks = load_landmarks(models.model_copy(update={"overrides": overrides}), compute)
        detector = load_detector(models, detection, compute)
        judge = load_swap_judge(models, compute)
        swappers = loaders(models, settings, compute)
        return cls(detector, landmarks, swappers, judge, detection, limits, settings)

    def faces(self, picture: bytes) -> FoundFaces:
        """Of a film, those of the first frame that has any. Raises `ImageError`."""
        header = read_film(picture, self._settings.films)
        if header is None:
            return self._counted(decode(picture, self._limits))
        with Film(picture, header, self._limits, self._settings.films) as film:
            for frame in islice(film.frames(), _OPENING):
                found = self._counted(Picture(frame.pixels).over_white())
                if found.boxes:
                    break
        return found

    def _counted(self, pixels: RGBImage) -> FoundFaces:
        height, width = pixels.shape[:2]
        corners = np.rint(self._detect(pixels).boxes).astype(int).clip(0, (width, height, width, height))
        return FoundFaces(width, height, tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in corners.tolist()))

    def swap(
        self,
        picture: bytes,
        faces: Sequence[bytes],
        indices: Sequence[int] | None,
        progress: Progress = lambda share: None,
        hurried: Callable[[], bool] = lambda: False,
    ) -> SwappedPicture:
        """The picture or film with faces put in: each of `faces` (the biggest in its file) in place of the face of the
        picture that its index counts, as `faces` orders them; without indices, one in place of the biggest.

        progress: is told how much of a film is done; hurried: whether `swap.method` best takes what is quick, asked
        where it could take something else. Raises `ImageError`, `NoSwap` and what progress and hurried do.
        """
        with _naming("source_image"):
            header = read_film(picture, self._settings.films)
        if header is not None:
            return self._film(picture, header, faces, indices, progress)
        with _naming("source_image"):
            original = decode_picture(picture, self._limits)
        frame = original.over_white()
        targets = self._targets(frame, indices)
        names = face_names(len(faces))
        replacements = [
            Replacement(target, self._source(face, name))
            for target, face, name in zip(targets, faces, names, strict=True)
        ]
        for replacement, name in zip(replacements, names, strict=True):
            if why := self._gate.impossible(frame, replacement):
                raise NoSwap(f"{name} {why}")
        made = self.methods.make(frame, replacements, names, hurried)
        file = self._encode(original.repainted(made.picture), picture)
        return SwappedPicture(*file, made.similarity, made.method)

    def _film(
        self,
        data: bytes,
        header: FilmHeader,
        faces: Sequence[bytes],
        indices: Sequence[int] | None,
        progress: Progress,
    ) -> SwappedPicture:
        names = face_names(len(faces))
        sources = [self._source(face, name) for face, name in zip(faces, names, strict=True)]
        for source, name in zip(sources, names, strict=True):
            if why := self._gate.unfit(source):
                raise NoSwap(f"{name} {why}")
        similarities: list[list[float]] = [[] for _ in sources]
        faults: list[list[str]] = [[] for _ in sources]

        def judge(seen: Seen) -> None:
            similarity, fault = self._judged(seen.frame, seen.replacement, seen.result)
            similarities[seen.index].append(similarity)
            faults[seen.index].append(fault)

        with (
            _naming("source_image"),
            Film(data, header, self._limits, self._settings.films) as film,
        ):
            tracks, transparent = follow(film, self._look, self._embed, progress)
            check_range(indices or (0,), len(tracks.first))
            targets = steady_targets(film, tracks, indices)
            swapper = self.methods.quick
            made = replace_faces(film, targets, sources, swapper, judge, transparent, progress)
        for name, found in zip(names, faults, strict=True):
            # A face may pass through shadow or out of the picture.
            if 2 * sum(map(bool, found)) > len(found):
                raise NoSwap(f"{name}: {Counter(filter(None, found)).most_common(1)[0][0]}")
        similarity = min(map(typical, similarities))
        suffix = f".{header.media_type.partition('/')[2]}"
        return SwappedPicture(made, header.media_type, suffix, similarity, swapper.name)

    def _look(self, frame: RGBImage) -> Sequence[FaceGeometry]:
        return face_geometries(frame, self._detect(frame), self._landmarks)

    def _embed(self, frame: RGBImage, face: FaceGeometry) -> Float32:
        return embedding(self._judge, frame, face)

    def _judged(self, frame: RGBImage, replacement: Replacement, result: RGBImage) -> tuple[float, str]:
        """As `Judge`."""
        verdict = self._verdict(frame, replacement, result)
        similarity = max(0.0, verdict.similarity) if verdict else 0.0
        if interocular(replacement.target.dense) < self._settings.least_eyes:
            return similarity, ""  # The smallest faces are unlike themselves too.
        return similarity, verdict.fault(self._settings) if verdict else "no face is left in the result"

    def _verdict(self, frame: RGBImage, replacement: Replacement, result: RGBImage) -> Verdict | None:
        found = self._detect(result)
        if not len(found):
            return None
        nearest = np.abs(found.boxes - replacement.target.box).sum(axis=1).argmin()
        face = face_geometries(result, found.take(np.array([nearest])), self._landmarks)[0]
        return judged(self._judge, frame, replacement, result, face)

    def _targets(self, frame: RGBImage, indices: Sequence[int] | None) -> Sequence[FaceGeometry]:
        found = self._detect(frame)
        check_range(indices or (0,), len(found))
        biggest = found.largest_first().take(np.arange(1))
        wanted = biggest if indices is None else found.take(np.array(indices, np.intp))
        return face_geometries(frame, wanted, self._landmarks)

    def _source(self, face: bytes, name: str) -> SourceFace:
        with _naming(name):
            pixels = decode(face, self._limits)
        found = self._detect(pixels)
        if not len(found):
            raise NoSwap(f"no face is found in {name}")
        found = found.largest_first().take(np.arange(1))
        return SourceFace(pixels, face_geometries(pixels, found, self._landmarks)[0])

    def _detect(self, pixels: RGBImage) -> Detections:
        # One picture at a time: in a batch its padding could differ, and with it the order of faces.
        return self._detector.detect([pixels], self._threshold)[0].left_to_right()

    def _encode(self, picture: Picture, source: bytes) -> tuple[bytes, str, str]:
        """The file, its media type and its suffix."""
        wanted: str = self._settings.format
        if wanted == "source":
            wanted = _OF_SOURCE.get(check(source, self._limits), "png")
        if max(picture.pixels.shape) > _MAX_SIDE.get(wanted, 1 << 30):
            wanted = "png"  # The format holds no longer side.
        suffix, media_type, options = _ENCODINGS[wanted]
        return picture.encoded(suffix, options), media_type, suffix


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """What is wrong with a picture is told with its name."""
    try:
        yield
    except ImageError as error:
        raise ImageError(error.reason, f"{name}: {error}") from error


def film_points(data: bytes, faces: int, limits: FilmLimits) -> int:
    """What the length of a film costs; nothing where it is a picture. Raises `ImageError` for a film that is damaged or
    past the limits."""
    header = read_film(data, limits)
    return faces * limits.points_per_second * ceil(header.seconds) if header else 0


def check_source(data: bytes, limits: ImageLimits, films: FilmLimits) -> str:
    """As `pictures.decoding.check`, of what may be a picture or a film."""
    header = read_film(data, films)
    return header.media_type if header else check(data, limits)


def check_range(indices: Sequence[int], found: int) -> None:
    """Raises `NoSwap` for an index of none of the faces that are found."""
    if not found:
        raise NoSwap("no face is found in source_image")
    if max(indices) >= found:
        raise NoSwap(
            f"index {max(indices)} is out of range: source_image has {found} face{'s' * (found > 1)}, counted from 0"
        )


def face_names(count: int) -> list[str]:
    """What messages to clients call the faces that are put in."""
    return ["face_image"] if count == 1 else [f"face_image number {number}" for number in range(1, count + 1)]
