"""A copy of a home that can be served: the records as they were at one moment, and every image that they name.

The vector index is left out: a start makes it of the records.
"""

import contextlib
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from prosopon.configs.settings import StateSettings, local_path
from prosopon.deployments.state.errors import StateError


@dataclass(frozen=True, slots=True)
class BackedUp:
    """Bytes of the records, and how many images were copied now; the others were there from an earlier time."""

    records: int
    images: int


def back_up(state: StateSettings, folder: Path) -> BackedUp:
    """Copy the state into a folder, which becomes a home. The server may run. Raises StateError for a state that is not
    in files, and for a folder that is the home itself.

    Images go first, the records then, and the images once more: what was added meanwhile is there, and an image that
    is deleted meanwhile stays, which harms nothing.
    """
    records, images = local_path(state.database), local_path(state.blobs)
    if records is None or images is None:
        raise StateError(
            "the state is on servers: back up the database with pg_dump first and the bucket after it, which is as safe"
        )
    folder = folder.expanduser().absolute()
    if folder == state.home or not Path(records).exists():
        raise StateError(f"there is nothing to back up from {records} into {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    copied = _copy_missing(Path(images), folder / "blobs")
    partial = folder / "records.db.partial"
    partial.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(f"{Path(records).as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(partial)) as target,
    ):
        source.backup(target)
    partial.replace(folder / "records.db")
    copied += _copy_missing(Path(images), folder / "blobs")
    return BackedUp((folder / "records.db").stat().st_size, copied)


def _copy_missing(images: Path, into: Path) -> int:
    """An image's name is its digest: one that is there is the same. How many were copied."""
    copied = 0
    for path in images.rglob("*"):
        name = path.relative_to(images)
        if name.parts[0].startswith(".") or (into / name).exists() or not path.is_file():
            continue
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        partial = into / f"{name}.partial"
        with contextlib.suppress(FileNotFoundError):  # Deleted meanwhile.
            shutil.copyfile(path, partial)
            partial.replace(into / name)
            copied += 1
    return copied
