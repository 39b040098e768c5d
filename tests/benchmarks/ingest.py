"""Bulk ingestion of real pictures against the bare models: python -m tests.benchmarks.ingest

The limit is decode + detect + embed in two processes of one thread each, both cores busy, with the same pictures,
before and after; the higher one counts. The ingestion is `prosopon ingest` in its own process over an empty state. Its
throughput is taken twice: from the first picture that was written to the last, which is what a long run has, and of
the whole command, which also starts Ray and loads the models.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from tests.benchmarks.bare import Recognise
from tests.benchmarks.limits import limit
from tests.paths import DATA

FOLDERS = ("london", "faker", "fairface")


class EveryFace(Recognise):
    """The same work on any number of faces, none among them."""

    def __call__(self, data: bytes) -> np.ndarray:
        try:
            return super().__call__(data)
        except ValueError:  # nothing to stack
            return np.empty((0, self.embedder.dim), np.float32)


def pictures(share: int) -> list[Path]:
    """Every so-manyth picture of each folder, shuffled, so that all kinds come at all times."""
    files = [
        path
        for folder in FOLDERS
        for path in sorted(path for path in (DATA / folder).rglob("*") if path.suffix in (".jpg", ".png"))[
            ::share
        ]
    ]
    np.random.default_rng(0).shuffle(files)  # type: ignore[arg-type]
    return files


def written(home: Path) -> tuple[int, int]:
    """Pictures and faces in the records."""
    if not (home / "records.db").exists():
        return 0, 0
    records = Records(StateSettings(home=home).database)
    with records.read() as db:
        sources = db.execute(sa.select(sa.func.count()).select_from(schema.sources)).scalar_one()
        faces = db.execute(sa.select(sa.func.count()).select_from(schema.faces)).scalar_one()
    records.close()
    return int(sources), int(faces)


class Clock(threading.Thread):
    """When how many pictures and faces were there."""

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self._home, self._ended = home, threading.Event()
        self.seen: list[tuple[float, int, int]] = []

    def run(self) -> None:
        while not self._ended.wait(0.25):
            count = written(self._home)
            if count[0] and (not self.seen or self.seen[-1][1:] != count):
                self.seen.append((time.monotonic(), *count))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def ingest(files: Sequence[Path], folder: Path) -> float:
    """Pictures a second between the first that was written and the last."""
    manifest = folder / "manifest.csv"
    manifest.write_text("path\n" + "".join(f"{file}\n" for file in files))
    environment = {**os.environ, "PROSOPON_HOME": str(folder / "home"), "COLUMNS": "120"}
    clock, began = Clock(folder / "home"), time.monotonic()
    clock.start()
    ended = subprocess.run(
        [sys.executable, "-m", "prosopon.pipelines.cli", "ingest", str(manifest)],
        env=environment,
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - began
    clock.stop()
    print(re.sub(r"ingest .*\n", "", ended.stdout + ended.stderr))
    (first, pictures_first, faces_first), (last, pictures_last, faces_last) = clock.seen[0], clock.seen[-1]
    steady = last - first
    print(f"whole command: {len(files) / seconds:.1f} pictures/s; first written after {first - began:.1f} s")
    print(
        f"while it writes: {(pictures_last - pictures_first) / steady:.1f} pictures/s, "
        f"{(faces_last - faces_first) / steady:.1f} faces/s"
    )
    sizes = [path.stat().st_size for path in (folder / "home" / "blobs").rglob("*") if path.is_file()]
    print(f"{np.mean(sizes):.0f} bytes a thumbnail")
    return (pictures_last - pictures_first) / steady


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=int, default=1, help="take every so-manyth picture")
    parser.add_argument("--seconds", type=float, default=20, help="for the limit")
    options = parser.parse_args()
    files = pictures(options.share)
    contents = [file.read_bytes() for file in files]
    before = limit(EveryFace, contents, options.seconds)
    with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
        rate = ingest(files, Path(folder))
    after = limit(EveryFace, contents, options.seconds)
    print(
        f"{len(files)} pictures; model-bound limit (2 processes x 1 thread): {before:.1f} pictures/s before, "
        f"{after:.1f} after; of the higher: {rate / max(before, after):.2f}"
    )


if __name__ == "__main__":
    main()
