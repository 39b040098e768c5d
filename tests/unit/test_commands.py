"""What the commands print."""

import pytest
from rich.table import Table

from pipelines.tables import show


def test_a_table_in_a_pipe_has_every_row_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", "summary")
    table.add_row("detector", "word " * 50)
    show(table)
    assert "detector │ " + ("word " * 50).strip() in capsys.readouterr().out
