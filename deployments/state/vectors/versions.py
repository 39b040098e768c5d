"""Versions of galleries, in memory that the processes of one machine share: who has a copy of a gallery sees, without
asking anybody, whether it still is what is written.

A version changes after what searches read has changed and before the write is acknowledged. So a copy that is as old as
the version, read after a request has come, lacks nothing that was acknowledged before.
"""

import hashlib
import os
import secrets
from pathlib import Path

import numpy as np

_SLOTS = 4096
"""Galleries whose ids differ by a multiple share a version: a copy is then older than it need be, never too new."""
_HEADER = 2
"""The machine, the writer; then a count of changes for each slot. Each is written whole."""
_BYTES = (_HEADER + _SLOTS) * 8

Version = tuple[int, int]
"""The writer, a number of its own for every start, and how many changes it has made."""


def _machine() -> int | None:
    """This machine since it was started, whatever containers it runs; None where the system does not tell."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return None
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "little")


class Versions:
    """The writer's: there is one for a file at a time."""

    def __init__(self, path: Path) -> None:
        self._table = None
        machine = _machine()
        if machine is None:
            return
        # Never replaced by another file: those who have mapped it go on reading this one.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, _BYTES)
        finally:
            os.close(descriptor)
        self._table = np.memmap(path, np.uint64, "r+")
        self._table[1] = secrets.randbits(64) | 1
        self._table[0] = machine

    def of(self, gallery: int) -> Version:
        """`UNKNOWN` where nobody could compare it."""
        return UNKNOWN if self._table is None else _version(self._table, gallery)

    def changed(self, gallery: int) -> None:
        """By one thread at a time."""
        if self._table is not None:
            self._table[_HEADER + gallery % _SLOTS] += np.uint64(1)


UNKNOWN: Version = (0, 0)
"""Of no copy."""


class SharedVersions:
    """What another process of the same machine reads of them; `UNKNOWN` for all while there is no file of this
    machine's."""

    def __init__(self, path: Path) -> None:
        self._path, self._machine = path, _machine()
        self._table: np.ndarray | None = None
        self._file: tuple[int, int] | None = None

    def of(self, gallery: int) -> Version:
        try:
            found = self._path.stat()
        except OSError:
            return UNKNOWN
        # A file that has been removed would never change again.
        file = found.st_dev, found.st_ino
        if self._table is None or self._file != file:
            self._table, self._file = self._opened(), file
        if self._table is None or self._table[0] != self._machine:
            return UNKNOWN
        return _version(self._table, gallery)

    def _opened(self) -> np.ndarray | None:
        try:
            table = np.memmap(self._path, np.uint64, "r")
        except (OSError, ValueError):
            return None
        return table if table.nbytes == _BYTES else None


def _version(table: np.ndarray, gallery: int) -> Version:
    return int(table[1]), int(table[_HEADER + gallery % _SLOTS])
