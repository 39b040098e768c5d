"""How commands print tables."""

from rich.console import Console
from rich.table import Table

_WIDE = 1000


def show(table: Table) -> None:
    """Print it: on a terminal in its width, into a file or a pipe as wide as it is, with nothing cut off."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    console.print(table)
