"""Whether the disks of this machine take what is still to be written."""

import errno
import tempfile
from pathlib import Path

from prosopon.configs.settings import StateSettings, local_path

_BYTES = 1 << 20


def full(state: StateSettings) -> bool:
    """Whether there is no room for another MiB where records, images or vectors are on this machine.

    It is tried, in a file that is gone at once: what a file system says to be free may be others' (a quota, root's).
    """
    places = (state.database, state.blobs, state.vectors)
    return any(_full(_existing(Path(place))) for place in {local_path(where) for where in places} if place)


def _existing(path: Path) -> Path:
    """The folder that holds the path, or would."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _full(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            # Less than asked for may be written, to the end of what is free.
            return (file.write(bytes(_BYTES)) or 0) < _BYTES
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
