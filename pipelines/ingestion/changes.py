"""Waiting until a source of pictures changes."""

from collections.abc import Iterator
from pathlib import Path

from prosopon.pipelines.ingestion.sources import is_web

_AT_LEAST_MS = 600_000
"""Once in this time a source counts as changed: network mounts, and folders behind links, tell nothing."""


def changes(source: str, home: Path) -> Iterator[None]:
    """Once whenever files of a folder, or a manifest, have changed and have been still for a moment, until Ctrl-C.

    home: of the state; what is written there is no change.
    """
    from watchfiles import watch

    place = Path(source).expanduser().absolute()
    folder = _existing(place)
    inside = home.expanduser().absolute()
    manifest = None if is_web(source) or not place.is_file() else place

    def matters(_: object, name: str) -> bool:
        path = Path(name)
        return not path.is_relative_to(inside) and (manifest is None or path == manifest)

    for _ in watch(
        folder,
        watch_filter=matters,
        rust_timeout=_AT_LEAST_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        yield


def _existing(place: Path) -> Path:
    """The folder to watch: a manifest is replaced rather than written, and a glob has none of its own."""
    while not place.is_dir():
        place = place.parent
    return place
