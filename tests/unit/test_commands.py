"""What the commands print."""

from pathlib import Path

import pytest
from rich.table import Table

from prosopon.models.weights.catalogue import ARTIFACTS
from prosopon.pipelines.commands.models import licenses, list_models
from prosopon.pipelines.commands.support.tables import show


@pytest.fixture
def terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TTY_COMPATIBLE": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)


def test_a_table_in_a_pipe_has_every_row_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", "summary")
    table.add_row("detector", "word " * 50)
    show(table)
    assert "detector │ " + ("word " * 50).strip() in capsys.readouterr().out


def test_the_weights_are_read_on_a_terminal_of_80_columns(
    tmp_path: Path, terminal_of_80_columns: None, capsys: pytest.CaptureFixture[str]
) -> None:
    list_models(tmp_path)
    licenses()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert all(len(line) <= 80 and line.endswith("│") and "…" not in line for line in lines)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
    for artifact in ARTIFACTS:
        state = "ready" if artifact.files[0].ours else "missing"
        assert any(row[:2] == [artifact.name, artifact.role] and row[-1] == state for row in rows)
        assert any(row[0] and artifact.summary.startswith(row[0]) for row in rows)


def test_a_row_that_does_not_fit_the_terminal_becomes_a_block(
    terminal_of_80_columns: None, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("id", "state", "message")
    table.add_row("1" * 32, "succeeded", "")
    table.add_row("2" * 32, "failed", "x" * 100)
    show(table)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    rows = [tuple(cell.strip() for cell in line.split("│")[1:-1]) for line in lines]
    assert rows[:5] == [
        ("id", "1" * 32),
        ("state", "succeeded"),
        ("message", ""),
        ("id", "2" * 32),
        ("state", "failed"),
    ]
    assert "".join(value for _, value in rows[5:]) == "x" * 100
