"""How commands print tables."""

from textwrap import fill

from rich.console import Console
from rich.table import Table

_WIDE = 1000


def show(table: Table, foldable: bool = False) -> None:
    """Print it: on a terminal in its width, into a file or a pipe as wide as it is, with nothing cut off.

    foldable: the last column is prose, which stands below the first on a terminal that is too narrow for both.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    elif (
        foldable
        and console.measure(table, options=console.options.update(width=_WIDE)).maximum > console.width
    ):
        table = _folded(table)
    console.print(table)


def _folded(table: Table) -> Table:
    first, *others, last = table.columns
    names = [str(name) for name in first.cells]
    width = max(map(len, names))
    folded = Table(title=table.title, show_lines=True)
    folded.add_column(first.header, no_wrap=True)
    for column in others:
        folded.add_column(column.header, justify=column.justify, no_wrap=column.no_wrap)
    for name, prose, *rest in zip(names, last.cells, *(column.cells for column in others), strict=True):
        folded.add_row(f"{name}\n[dim]{fill(str(prose), width)}[/dim]" if prose else name, *rest)
    return folded
