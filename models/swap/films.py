"""One face put into every frame of a film: first it is followed through all of them, then it is replaced."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from prosopon.models.faces.detections import RGBImage
from prosopon.models.pictures.film import Film
from prosopon.models.pictures.picture import Picture
from prosopon.models.pictures.timed_film import TimedFilm
from prosopon.models.swap.tracks import Embed, Tracks, steady
from prosopon.models.swap.types import FaceGeometry, FaceSwapper, Replacement, SourceFace

_FOLLOWING = 0.3
"""Of the time, that following takes."""
_JUDGED = 5
"""Frames of each face that are judged."""

Progress = Callable[[float], None]
"""Is told 0 to 1. What it raises ends the work."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame that is judged. index: of the face that was put in."""

    index: int
    frame: RGBImage
    replacement: Replacement
    result: RGBImage


def follow(
    film: Film, look: Callable[[RGBImage], Sequence[FaceGeometry]], embed: Embed, progress: Progress
) -> tuple[Tracks, bool]:
    """The faces of a film, from left to right in its first frame that has any, and whether frames have alpha."""
    tracks, transparent = Tracks(embed), False
    for number, frame in enumerate(film.frames()):
        picture = Picture(frame.pixels)
        shown = picture.over_white()
        tracks.add(shown, look(shown))
        transparent = transparent or picture.transparent
        progress(_FOLLOWING * (number + 1) / film.header.frames)
    return tracks, transparent


def replace_faces(
    film: Film,
    targets: Sequence[Sequence[dict[int, FaceGeometry]]],
    sources: Sequence[SourceFace],
    swapper: FaceSwapper,
    judge: Callable[[Seen], None],
    transparent: bool,
    progress: Progress,
) -> bytes:
    """The film's file with sources in the places of targets.

    targets: for each source, where it is put in (`steady`), by the numbers of frames. judge: is shown some frames of
    each. A frame in which none is found stays as it is.
    """
    places = [{number: face for track in own for number, face in track.items()} for own in targets]
    judged = [set(_spread(sorted(own))) for own in places]
    with TimedFilm(film.header, film.clock, transparent=transparent) as made:
        for number, frame in enumerate(film.frames()):
            present = [index for index, own in enumerate(places) if number in own]
            pixels = frame.pixels
            if present:
                picture = Picture(frame.pixels)
                shown = picture.over_white()
                replacements = [Replacement(places[index][number], sources[index]) for index in present]
                result = swapper.swap(shown, replacements)
                for index, replacement in zip(present, replacements, strict=True):
                    if number in judged[index]:
                        judge(Seen(index, shown, replacement, result))
                pixels = picture.repainted(result).pixels
            made.add(pixels, frame.moment)
            progress(_FOLLOWING + (1 - _FOLLOWING) * (number + 1) / film.header.frames)
        data = made.finish()
    return film.with_sound(data) if film.sound else data


def _spread(numbers: Sequence[int]) -> list[int]:
    """Some of them, evenly; the first is not among them, in which a face may just come into the picture."""
    places = (np.arange(_JUDGED) + 0.5) / _JUDGED * len(numbers)
    return [numbers[int(place)] for place in places]


def steady_targets(
    film: Film, tracks: Tracks, wanted: Sequence[int] | None
) -> list[list[dict[int, FaceGeometry]]]:
    """wanted: which faces of `Tracks.first`, None is the biggest of the film. There must be as many."""
    biggest = tracks.biggest()
    targets = [biggest] if wanted is None and biggest else [tracks.first[index] for index in wanted or ()]
    rate = film.header.frames / max(film.header.seconds, 1e-3)
    return [[steady(track, rate) for track in own] for own in tracks.of(targets)]


def typical(similarities: Sequence[float]) -> float:
    return max(0.0, median(similarities))
