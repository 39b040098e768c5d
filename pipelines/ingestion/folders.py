"""Pictures in folders, and what lies there beside them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PICTURES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ico", ".heic", ".heif",
     ".hif", ".avif")
)  # fmt: skip
"""Suffixes of the files that are taken from a folder."""
THUMBNAILS = frozenset(("@eadir", "thumb", "thumbs", "thumbnails", "_thumb", "_thumbs", "_thumbnails"))
"""Folders, in lower case, in which cameras, NAS servers and photo managers keep small copies."""
HIDDEN, THUMBNAIL, OTHER_FORMAT, UNREADABLE = "hidden", "thumbnail", "other_format", "unreadable"
LEFT_OUT = frozenset((HIDDEN, THUMBNAIL, OTHER_FORMAT))
"""Reasons for which a file is no picture to take that are no fault of the folder."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not taken, or a folder that cannot be read. reason: one of `LEFT_OUT`, or `UNREADABLE`."""

    path: Path
    reason: str
    detail: str


def walk(folder: Path) -> Iterator[Path | LeftOut]:
    """Every file below a folder, in the order of names. Links are followed; a folder with two names is walked once."""
    seen, errors = set[str](), list[OSError]()
    for place, folders, files in os.walk(folder, onerror=errors.append, followlinks=True):
        yield from _unreadable(errors)
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        above = Path(place).relative_to(folder).parts
        for name in sorted(files):
            yield judged(Path(place, name), above)
    yield from _unreadable(errors)


def _unreadable(errors: list[OSError]) -> Iterator[LeftOut]:
    while errors:
        error = errors.pop(0)
        yield LeftOut(Path(os.fsdecode(error.filename)), UNREADABLE, str(error))


def judged(file: Path, above: tuple[str, ...] = ()) -> Path | LeftOut:
    """The file if it is to be taken. above: folders whose names matter for that."""
    if any(part.startswith(".") for part in (*above, file.name)):
        return LeftOut(file, HIDDEN, "the file, or a folder above it, is hidden")
    if any(part.lower() in THUMBNAILS for part in above):
        return LeftOut(file, THUMBNAIL, "it lies in a folder of small copies")
    if not is_picture(file):
        return LeftOut(file, OTHER_FORMAT, f"no picture's suffix: {file.suffix or 'none'}")
    return file


def is_picture(path: Path) -> bool:
    """By the name alone."""
    return path.suffix.lower() in PICTURES


def shown(path: Path) -> str:
    """A path for a report; what is no UTF-8 in it is escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")
