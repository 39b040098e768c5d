"""`prosopon import` as an operator runs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.serving import Server
from tests.conformance.client import new_client, part
from tests.paths import ROOT, smiling

pytestmark = pytest.mark.slow
PEOPLE = 5


def run(home: Path, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prosopon.pipelines.cli", "import", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PROSOPON_HOME": str(home), "COLUMNS": "200"},
        timeout=300,
    )


def counts(ended: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """What the table says, by its first column."""
    rows = (line.split("│") for line in ended.stdout.splitlines() if "│" in line)
    return {row[0].strip(): int(row[1].strip().replace(",", "")) for row in rows if len(row) == 2}


def test_a_running_server_knows_at_once_who_was_imported(
    server: Server, tmp_path: Path, london: list[Path], group_picture: Path
) -> None:
    people = london[:PEOPLE]
    for person in people:
        (tmp_path / person.stem).mkdir()
        shutil.copy(person, tmp_path / person.stem)
    shutil.copy(group_picture, tmp_path / people[0].stem)
    client = new_client(server, "recognition")
    ended = run(server.home, "folder", tmp_path, "--key", client.key)
    assert ended.returncode == 3, ended.stderr
    assert counts(ended) == {"enrolled": PEOPLE, "skipped: several faces": 1}
    for person in people:
        answer = client.post("/recognition/recognize", files={"file": part(smiling(person))})
        best = answer.json()["result"][0]["subjects"][0]
        assert best["subject"] == person.stem and best["similarity"] > 0.9
    again = run(server.home, "folder", tmp_path, "--key", client.key)
    assert counts(again) == {"enrolled": 0, "enrolled before": PEOPLE, "skipped: several faces": 1}
    assert client.get("/recognition/faces").json()["total_elements"] == PEOPLE


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    ended = run(tmp_path / "home", "folder", tmp_path, "--key", "00000000-0000-0000-0000-000000000000")
    assert ended.returncode == 2 and "unknown" in ended.stderr
