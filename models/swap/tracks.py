"""Faces followed through a film: which of one frame is which of the next, and where each is when nothing trembles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.swap import geometry
from prosopon.models.swap.types import FaceGeometry

_NEAR, _SIZE = 0.5, 1.6
"""Of two faces in frames that follow each other, that are the same: distance of their middles, in sides of the box, and
ratio of these sides, at most."""
_GAP = 3
"""Frames in which a face may be missed."""
_CUT = 28.0
"""Mean difference of thumbnails, of 255, from which another shot begins."""
_THUMBNAIL = (32, 32)
_SAME = 0.45
"""Cosine from which faces of two shots are one person's."""
_GROWN = 1.5
"""How many times larger a face must be to be embedded anew."""
_SMOOTHED = 0.36
"""Seconds over which positions are smoothed; half of that where a face moves by itself."""
_MOVES = 0.15
"""Distance from the landmarks of eyes and lips, in distances between the eyes, within which vertices move by
themselves."""

Embed = Callable[[RGBImage, FaceGeometry], Float32]


@dataclass(slots=True, eq=False)
class Track:
    """faces: by the number of their frame; embedding: of unit length, of the largest, None where nobody embeds."""

    faces: dict[int, FaceGeometry] = field(default_factory=dict)
    embedding: Float32 | None = None
    embedded: float = 0.0

    @property
    def last(self) -> int:
        return next(reversed(self.faces))

    @property
    def area(self) -> float:
        """Of all its boxes together."""
        return sum(_area(face) for face in self.faces.values())


class Tracks:
    """Frames are added one after the other."""

    def __init__(self, embed: Embed | None) -> None:
        """embed: by which persons are found again after a cut; None: they are not."""
        self._embed = embed
        self.all: list[Track] = []
        self._open: list[Track] = []
        self._thumbnail: Float32 | None = None
        self.first: list[Track] = []
        """Of the first frame that has faces, in their order."""
        self._frames = 0

    def add(self, frame: RGBImage, faces: Sequence[FaceGeometry]) -> None:
        number, self._frames = self._frames, self._frames + 1
        thumbnail = cv2.resize(frame, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        if self._thumbnail is not None and float(np.abs(thumbnail - self._thumbnail).mean()) > _CUT:
            self._open = []
        self._thumbnail = thumbnail
        self._open = [track for track in self._open if number - track.last <= _GAP + 1]
        taken = self._matched(faces)
        for index, face in enumerate(faces):
            track = taken.get(index)
            if track is None:
                track = Track()
                self.all.append(track)
                self._open.append(track)
            track.faces[number] = face
            if self._embed is not None and _area(face) > _GROWN * track.embedded:
                track.embedding, track.embedded = self._embed(frame, face), _area(face)
            taken[index] = track
        if not self.first:
            self.first = [taken[index] for index in range(len(faces))]

    def _matched(self, faces: Sequence[FaceGeometry]) -> dict[int, Track]:
        """Which face goes on which track, the nearest first."""
        pairs = sorted(
            (
                (_apart(track.faces[track.last], face), index, track)
                for track in self._open
                for index, face in enumerate(faces)
            ),
            key=lambda pair: pair[0],
        )
        taken: dict[int, Track] = {}
        for distance, index, track in pairs:
            if distance < _NEAR and index not in taken and track not in taken.values():
                taken[index] = track
        return taken

    def biggest(self) -> Track | None:
        return max(self.all, key=lambda track: track.area, default=None)

    def of(self, targets: Sequence[Track]) -> list[list[Track]]:
        """For each target its own track and, of the others, those that show the same person at another time."""
        found = [[target] for target in targets]
        others = [track for track in self.all if track not in targets and track.embedding is not None]
        alike = sorted(
            (
                (float(target.embedding @ track.embedding), index, track)
                for index, target in enumerate(targets)
                for track in others
                if target.embedding is not None and track.embedding is not None
            ),
            key=lambda item: -item[0],
        )
        taken: list[Track] = []
        for cosine, index, track in alike:
            free = all(track.faces.keys().isdisjoint(own.faces) for own in found[index])
            if cosine >= _SAME and free and track not in taken:
                found[index].append(track)
                taken.append(track)
        return found


def steady(track: Track, rate: float) -> dict[int, FaceGeometry]:
    """Where the face is in each frame from its first to its last, without trembling; rate: frames a second.

    Frames in which it was missed are filled. Savitzky & Golay's filter (1964) follows a movement without lagging
    behind; what moves by itself, eyes and lips, is smoothed over half the time.
    """
    frames = np.array(list(track.faces))
    every = np.arange(frames[0], frames[-1] + 1)
    known = np.stack([_numbers(face) for face in track.faces.values()])
    filled = np.stack([np.interp(every, frames, column) for column in known.T], axis=1)
    smooth = _smoothed(filled, rate * _SMOOTHED)
    quick = _smoothed(filled, rate * _SMOOTHED / 2)
    columns = np.flatnonzero(np.repeat(_moving(), 3)) + _MESH
    smooth[:, columns] = quick[:, columns]
    return {int(number): _face(row) for number, row in zip(every, smooth, strict=True)}


def _smoothed(values: NDArray[np.floating[Any]], length: float) -> NDArray[np.floating[Any]]:
    """Columns over frames; length: of the filter, in frames."""
    # Half a second of the start of every process that knows of swaps.
    from scipy.signal import savgol_filter

    window = min(2 * round((length - 1) / 2) + 1, len(values) - 1 + len(values) % 2)
    return np.asarray(savgol_filter(values, window, 2, axis=0)) if window > 3 else values.copy()


_MESH = 14
"""Where a face's mesh begins among its numbers: after its box and its five landmarks."""


@cache
def _moving() -> NDArray[np.bool_]:
    """``(468,)``: the vertices around eyes and lips."""
    moving = [*geometry.EYES[0], *geometry.EYES[1], *geometry.LIPS, *geometry.MOUTH]
    apart, _ = cKDTree(geometry.mean_face()[moving]).query(geometry.mean_mesh())
    return np.asarray(apart < _MOVES)


def _numbers(face: FaceGeometry) -> Float32:
    return np.concatenate([face.box, face.landmarks.ravel(), face.mesh.ravel()])


def _face(numbers: NDArray[np.floating[Any]]) -> FaceGeometry:
    numbers = numbers.astype(np.float32)
    return FaceGeometry(numbers[:4], numbers[4:_MESH].reshape(5, 2), numbers[_MESH:].reshape(-1, 3))


def _sides(face: FaceGeometry) -> Float32:
    return np.asarray(np.maximum(face.box[2:] - face.box[:2], 1e-3), np.float32)


def _area(face: FaceGeometry) -> float:
    return float(np.prod(_sides(face)))


def _apart(one: FaceGeometry, other: FaceGeometry) -> float:
    """Distance of the middles in sides; infinite where the sizes differ too much."""
    sides, others = _sides(one), _sides(other)
    if max(float((sides / others).max()), float((others / sides).max())) > _SIZE:
        return float("inf")
    middles = (one.box[:2] + one.box[2:] - other.box[:2] - other.box[2:]) / 2
    return float(np.abs(middles / np.sqrt(sides * others)).max())
