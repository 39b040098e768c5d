"""Every notebook runs from top to bottom against the running server, leaves nothing behind, and is committed
with what it shows."""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import pytest
import sqlalchemy as sa
from nbclient import NotebookClient

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from tests.benchmarks.serving import Server
from tests.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PEOPLE = 6
SHOWS = {
    "01_http": f"{PEOPLE} of {PEOPLE} recognised",
    "02_python_handles": f"{PEOPLE} of {PEOPLE} recognised",
    "03_roc": f"{3 * PEOPLE} genuine pairs",
    "04_latents": "/api/face/?guid=",
    "05_bulk_ingest": f"{3 * PEOPLE} faces in",
}


def kept(server: Server) -> dict[str, int]:
    """How much is stored of people and latents, and how many keys work."""
    tables = (schema.subjects, schema.faces, schema.latents, schema.sources)
    with closing(Records(StateSettings(home=server.home).database)) as records, records.read() as db:
        counts = {table.name: db.scalar(sa.select(sa.func.count()).select_from(table)) for table in tables}
        working = sa.select(sa.func.count()).where(schema.keys.c.revoked.is_(None))
        return counts | {"keys": db.scalar(working)}


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROSOPON_URL", server.url)
    monkeypatch.setenv("PROSOPON_HOME", str(server.home))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    before = kept(server)
    notebook = read(path)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}})
    client.execute()
    if folder := os.environ.get("PROSOPON_KEEP_NOTEBOOKS"):
        nbformat.write(notebook, Path(folder) / path.name)  # type: ignore[no-untyped-call]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(
        output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs
    )
    assert SHOWS[path.stem] in text
    assert kept(server) == before, "what the notebook stored, it has removed"


def test_there_is_a_notebook_for_every_expectation() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SHOWS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_can_be_read_where_it_is_shown(path: Path) -> None:
    nbformat.validate(read(path))
    code = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs and not [output for output in outputs if output.output_type == "error"]
    assert SHOWS[path.stem] in path.read_text() and str(Path.home()) not in path.read_text()
    assert path.stat().st_size < 1_000_000
