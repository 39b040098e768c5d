"""How commands print tables."""

from textwrap import fill

from rich.console import Console
from rich.table import Table

_WIDE = 1000


def show(table: Table, foldable: bool = False) -> None:
    """Print it: into a file or a pipe as wide as it is, on a terminal too where it fits, with nothing cut off.

    Where it does not fit, a row becomes a block with a line for each column. foldable: the last column is prose, which
    then stands below the first, and the rows remain rows.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    elif console.measure(table, options=console.options.update(width=_WIDE)).maximum > console.width:
        table = _folded(table) if foldable else _stood_up(table)
    console.print(table)


def _stood_up(table: Table) -> Table:
    upright = Table(title=table.title, show_header=False)
    upright.add_column(style="bold", no_wrap=True)
    upright.add_column(overflow="fold")
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        for column, cell in zip(table.columns, cells, strict=True):
            upright.add_row(column.header, cell)
        upright.add_section()
    return upright


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
