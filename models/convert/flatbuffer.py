"""Reading FlatBuffers, Google's binary format of nested tables, by the numbers of their fields."""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FlatbufferError(ValueError):
    """The bytes are not a flatbuffer, or point outside themselves."""


class Table:
    """One table of a buffer. A field that the table leaves out has the default that the caller gives.

    Offsets are unsigned and point forwards, so that no reading goes round in circles; every access is checked
    against the buffer's size.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position
        self._fields = position - self._read("<i", position)
        if self._fields < 0:
            raise FlatbufferError("a table's list of fields lies outside the buffer")
        self._fields_size = self._read("<H", self._fields)

    def number(self, field: int, layout: str, default: int = 0) -> int:
        """A field that is an integer. layout: as `struct` spells it, for example ``i`` or ``B``."""
        place = self._place(field)
        return default if place is None else self._read(f"<{layout}", place)

    def table(self, field: int) -> "Table | None":
        place = self._place(field)
        return None if place is None else Table(self._data, self._target(place))

    def tables(self, field: int) -> Iterator["Table"]:
        """A field that is a list of tables."""
        start, count = self._vector(field)
        for place in range(start, start + 4 * count, 4):
            yield Table(self._data, self._target(place))

    def array(self, field: int, dtype: str) -> NDArray[Any]:
        """A field that is a list of numbers, empty where it is left out. It shares the buffer's memory."""
        start, count = self._vector(field)
        try:
            return np.frombuffer(self._data, np.dtype(dtype), count, start)
        except ValueError as error:
            raise FlatbufferError("a list reaches past the end of the buffer") from error

    def text(self, field: int) -> str:
        return self.array(field, "u1").tobytes().decode("utf-8", "replace")

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry + 2 > self._fields_size:
            return None
        offset = self._read("<H", self._fields + entry)
        return self._position + offset if offset else None

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._place(field)
        if place is None:
            return 0, 0
        start = self._target(place)
        return start + 4, self._read("<I", start)

    def _target(self, place: int) -> int:
        return place + self._read("<I", place)

    def _read(self, layout: str, place: int) -> int:
        try:
            return int(struct.unpack_from(layout, self._data, place)[0])
        except struct.error as error:
            raise FlatbufferError("an offset points outside the buffer") from error


def root(data: bytes, identifier: bytes) -> Table:
    """The table that a buffer holds. identifier: the four bytes that name its kind. Raises `FlatbufferError`."""
    if data[4:8] != identifier:
        raise FlatbufferError(f"the file does not say that it is {identifier.decode()}")
    return Table(data, int.from_bytes(data[:4], "little"))
