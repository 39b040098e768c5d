"""A long job's progress on the terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A function to be called with what is done and the total."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def rate_bar(title: str, *counted: str) -> Iterator[Callable[[int, int, int], None]]:
    """A function to be called with what is done, the total, and how many of something else that brought.

    counted: what is done and what that brings, in the plural; both are shown by the second, since the first call.
    """
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rates]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task, started = bar.add_task(title, total=None, rates=""), list[float]()

        def update(done: int, total: int, brought: int) -> None:
            started[:] = started or [time.monotonic()]
            seconds = time.monotonic() - started[0]
            rates = (
                f"{number / seconds:.1f} {name}/s"
                for number, name in zip((done, brought), counted, strict=True)
            )
            bar.update(task, completed=done, total=total, rates=", ".join(rates) if seconds > 1 else "")

        yield update
