"""What a long job skipped and why: JSON lines beside the state."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path


@contextmanager
def report(
    path: Path | None, home: Path, job: str
) -> Iterator[tuple[Path, Callable[[Mapping[str, object]], None]]]:
    """The report's file and what writes a line into it; a file without lines is gone with the block.

    path: None names it after the job and the time, in the home.
    """
    path = path or home / f"{job}-{datetime.now():%Y%m%d-%H%M%S}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = 0
    try:
        with path.open("w", encoding="utf-8") as file:

            def write(row: Mapping[str, object]) -> None:
                nonlocal lines
                lines += 1
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()

            yield path, write
    finally:
        if not lines:
            path.unlink()
