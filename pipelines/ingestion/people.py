"""A folder for each person: what `prosopon import folder` enrols."""

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid5

from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import InvalidSubject
from prosopon.deployments.state.galleries.face_records import pictured
from prosopon.deployments.state.galleries.names import check_new, folded
from prosopon.pipelines.ingestion.enrolling import COPY, Entry, Example, Known, Skipped
from prosopon.pipelines.ingestion.folders import UNREADABLE, LeftOut, judged, shown, walk

OUTSIDE, BAD_NAME, SOMEBODY_ELSE = "outside", "bad_name", "somebody_else"
_NAMESPACE = UUID("0f1a9b52-8d7e-4f0a-9a7c-3c3f3f1f7c52")

Found = tuple[str | None, Path | LeftOut]
"""A file below the folder with the person whose folder it is in; None for one that lies beside the people."""


def people_in(folder: Path) -> list[Found]:
    """Every file of a folder of people, in the order of names.

    A person's name is the folder's, in Unicode's form C, which names typed elsewhere have too (macOS stores form D).
    """
    found: list[Found] = []
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            found += [(unicodedata.normalize("NFC", child.name), file) for file in walk(child)]
        elif child.is_dir():
            found += [(None, judged(file, (child.name,))) for file in child.rglob("*") if file.is_file()]
        else:
            found.append((None, judged(child)))
    return found


def examples(found: list[Found], records: Records, gallery: int, max_bytes: int) -> Iterator[Entry]:
    """What is to be enrolled into a gallery, and what is not.

    A picture that the gallery has, however it came there and whatever the person was renamed to, is not enrolled again.
    max_bytes: of a file; of a longer one no more is read than that.
    """
    taken: dict[str, Example] = {}
    for subject, file in found:
        if isinstance(file, LeftOut):
            yield Skipped(shown(file.path), subject, file.reason, file.detail)
        elif subject is None:
            yield Skipped(shown(file), None, OUTSIDE, "the picture lies in no person's folder")
        else:
            yield _example(subject, file, records, gallery, max_bytes, taken)


def _example(
    subject: str, file: Path, records: Records, gallery: int, max_bytes: int, taken: dict[str, Example]
) -> Entry:
    """taken: what was found in this run, by the picture's hash."""
    place = shown(file)
    try:
        check_new(subject)
        with file.open("rb") as opened:
            picture = opened.read(max_bytes + 1)
    except InvalidSubject as error:
        return Skipped(place, None, BAD_NAME, str(error))
    except OSError as error:
        return Skipped(place, subject, UNREADABLE, str(error))
    sha256 = hashlib.sha256(picture).hexdigest()
    if first := taken.get(sha256):
        reason = COPY if folded(first.subject) == folded(subject) else SOMEBODY_ELSE
        return Skipped(place, subject, reason, f"the same file as {first.place}")
    there = pictured(records, gallery, sha256)
    if there is None:
        taken[sha256] = Example(place, subject, uuid5(_NAMESPACE, f"{gallery}/{sha256}"), None)
        return replace(taken[sha256], picture=picture)
    if folded(there) == folded(subject):
        return Known()
    return Skipped(place, subject, SOMEBODY_ELSE, f"the gallery has this picture as {there!r}")
