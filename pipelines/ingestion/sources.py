"""Where the pictures of a bulk ingestion are: a folder, a glob, a manifest, or a list of URLs.

Files go by their real paths: a picture, or a folder, that has several names is one.

A manifest has the columns `url` (what results show as the picture's place), `path` (a file, relative to the manifest)
and `group` (of the same person or page), as CSV with a header, JSON lines or Parquet. Without a path the picture is
fetched from its url; without a url it is the file's, of which FaceCheck shows the name. A list of URLs is a text file
with one on each line.
"""

import csv
import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from prosopon.deployments.web.client import MAX_URL
from prosopon.pipelines.ingestion.folders import PICTURES, LeftOut, is_picture, judged, shown, walk

MAX_GROUP = 512
_MAX_LINE = 65_536
_ROWS = 4_096


class SourceError(ValueError):
    """There is nothing to read, or not in a form that is understood. The message is fit for the operator."""


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to look at. location: absolute path of a file, or an http(s) URL; url: what results show."""

    location: str
    url: str
    group: str | None = None

    @property
    def is_remote(self) -> bool:
        return is_web(self.location)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that names no picture. place: file and line; detail: why."""

    place: str
    detail: str


Entry = Item | Malformed | LeftOut
Row = Mapping[str, object]


def is_web(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))


def read_source(source: str, folders_are_groups: bool = False) -> Iterator[Entry]:
    """What the source names, in its order. folders_are_groups: a file's folder is its group, unless a manifest says.

    Raises SourceError, at once or while reading.
    """
    path = Path(source).expanduser()
    if is_web(source):
        return iter([_item(source, {"url": source}, Path())])
    if path.is_dir():
        files = walk(path)
    elif path.is_file() and not is_picture(path):
        reader = _MANIFESTS.get(path.suffix.lower())
        if reader is None:
            raise SourceError(
                f"{source}: a manifest is {', '.join(_MANIFESTS)}; a picture {', '.join(sorted(PICTURES))}"
            )
        return reader(path.absolute())
    elif path.is_file():
        files = iter([path])
    else:
        files = _matching(path)
    # Until there is a picture, and if there is none there is nothing to say of what lies there instead.
    first = list[Path | LeftOut]()
    for file in files:
        first.append(file)
        if isinstance(file, Path):
            break
    else:
        raise SourceError(f"{source}: no pictures there")
    return (
        file if isinstance(file, LeftOut) else _file(file, folders_are_groups) for file in chain(first, files)
    )


def first(entries: Iterable[Entry], limit: int | None) -> Iterator[Entry]:
    """Entries with only so many that may be pictures; None is all."""
    left = limit
    for entry in entries:
        if left is not None and not isinstance(entry, LeftOut):
            if not left:
                return
            left -= 1
        yield entry


def identity(source: str) -> str:
    """What a source is called in the records: a web address as it is, a path without links, a folder's with a slash at
    its end."""
    if is_web(source):
        return source
    real = os.path.realpath(Path(source).expanduser())
    return f"{real}{os.sep}" if Path(real).is_dir() else real


def _matching(pattern: Path) -> Iterator[Path | LeftOut]:
    """Magic in a name that exists is taken literally, hence only for what does not exist."""
    plain = next(
        index
        for index, part in enumerate(pattern.parts)
        if glob.has_magic(part) or index + 1 == len(pattern.parts)
    )
    for name in sorted(glob.glob(str(pattern), recursive=True)):  # noqa: PTH207  # Path.glob takes no absolute pattern.
        if (file := Path(name)).is_file():
            yield judged(file, file.parts[plain:-1])


def _file(path: Path, folder_is_group: bool) -> Entry:
    """By its real path: a picture that is reached by several names is one."""
    real = Path(os.path.realpath(path))
    try:
        str(real).encode()
    except UnicodeEncodeError:
        return Malformed(shown(path), "the file's name is not text in UTF-8")
    return Item(str(real), real.as_uri(), path.absolute().parent.name if folder_is_group else None)


def _read_csv(path: Path) -> Iterator[Entry]:
    lines = _lines(path)
    header: list[str] = []
    for number, line in lines:
        try:
            header = [name.strip().lower() for name in _fields(line)]
        except ValueError as error:
            raise SourceError(f"{path.name}:{number}: {error}") from None
        break
    _require_columns(path, header)

    def parse(line: str) -> Row:
        fields = _fields(line)
        if len(fields) != len(header):
            raise ValueError(f"{len(fields)} fields under a header of {len(header)}")
        return dict(zip(header, fields, strict=True))

    return _items(path, lines, parse)


def _fields(line: str) -> list[str]:
    """A line by itself, so that one quotation mark that is never closed takes no other line with it."""
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from None


def _read_jsonl(path: Path) -> Iterator[Entry]:
    def parse(line: str) -> Row:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError("not JSON") from None
        if not isinstance(row, dict):
            raise ValueError("not a JSON object")
        return row

    return _items(path, _lines(path), parse)


def _read_urls(path: Path) -> Iterator[Entry]:
    lines = ((number, line) for number, line in _lines(path) if not line.lstrip().startswith("#"))
    return _items(path, lines, lambda line: {"url": line})


def _read_parquet(path: Path) -> Iterator[Entry]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def rows() -> Iterator[tuple[int, Row]]:
        try:
            with pq.ParquetFile(path) as file:
                columns = [
                    name for name in file.schema_arrow.names if name.lower() in ("url", "path", "group")
                ]
                _require_columns(path, [name.lower() for name in columns])
                number = 0
                for batch in file.iter_batches(_ROWS, columns=columns):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, {name.lower(): value for name, value in row.items()}
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{path.name}: {error}") from None

    return (_item(f"{path.name}:{number}", row, path.parent) for number, row in rows())


_MANIFESTS: dict[str, Callable[[Path], Iterator[Entry]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
    ".txt": _read_urls,
}


def _require_columns(path: Path, names: list[str]) -> None:
    if not {"url", "path"} & set(names):
        raise SourceError(f"{path.name}: no column `url` or `path`; there are: {', '.join(names) or 'none'}")
    if len(set(names)) < len(names):
        raise SourceError(f"{path.name}: two columns of one name")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, numbered from 1; bytes that are no UTF-8 become surrogates, which `_item` refuses."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            number = 0
            while line := file.readline(_MAX_LINE):
                number += 1
                while line[-1:] != "\n" and (more := file.readline(_MAX_LINE)):
                    line = line[:_MAX_LINE] + "\0" + more[-1:]
                if stripped := line.strip("\r\n \t"):
                    yield number, stripped
    except OSError as error:
        raise SourceError(f"{path.name}: {error}") from None


def _items(path: Path, lines: Iterator[tuple[int, str]], parse: Callable[[str], Row]) -> Iterator[Entry]:
    for number, line in lines:
        place = f"{path.name}:{number}"
        try:
            if len(line) > _MAX_LINE:
                raise ValueError(f"the line is longer than {_MAX_LINE:,} characters")
            row = parse(line)
        except ValueError as error:
            yield Malformed(place, str(error))
        else:
            yield _item(place, row, path.parent)


def _item(place: str, row: Mapping[str, Any], folder: Path) -> Entry:
    try:
        url, path, group = (_text(name, row.get(name)) for name in ("url", "path", "group"))
    except ValueError as error:
        return Malformed(place, str(error))
    if url and len(url) > MAX_URL:
        return Malformed(place, f"the url is longer than {MAX_URL} characters")
    if group and len(group) > MAX_GROUP:
        return Malformed(place, f"the group is longer than {MAX_GROUP} characters")
    if path and not is_web(path):
        file = Path(os.path.realpath(folder / path))
        return Item(str(file), url or file.as_uri(), group)
    if location := path or url:
        if is_web(location):
            return Item(location, url or location, group)
        return Malformed(place, f"{location[:100]!r} is not an http or https URL, and there is no path")
    return Malformed(place, "neither a path nor a url")


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f"the {name} is no text")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"the {name} is not text in UTF-8")
    return value.strip() or None
