"""Every notebook runs from top to bottom against the running server, and is committed without outputs."""

import os
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.benchmarks.serving import Server
from tests.conformance.client import new_key
from tests.paths import ROOT, smiling

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PEOPLE = 6
SHOWS = {
    "01_http": f"{PEOPLE} of {PEOPLE} recognised",
    "02_python_handles": f"{PEOPLE} of {PEOPLE} recognised",
    "03_roc": f"{PEOPLE} genuine pairs",
    "04_latents": "/api/face/?guid=",
    "05_bulk_ingest": f"{2 * PEOPLE} faces in",
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, london: list[Path]) -> Path:
    """A folder with a folder for each person, two pictures in each."""
    folder = tmp_path_factory.mktemp("pictures")
    for neutral in london[:PEOPLE]:
        person = folder / neutral.stem.split("_")[0]
        person.mkdir()
        shutil.copy(neutral, person)
        shutil.copy(smiling(neutral), person)
    return folder


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, server: Server, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROSOPON_URL", server.url)
    monkeypatch.setenv("PROSOPON_KEY", new_key(server, "recognition", "verification", "trueface"))
    monkeypatch.setenv("PROSOPON_HOME", str(server.home))
    monkeypatch.setenv("PROSOPON_PICTURES", str(pictures))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = read(path)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(
        output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs
    )
    assert SHOWS[path.stem] in text
    if folder := os.environ.get("PROSOPON_KEEP_NOTEBOOKS"):
        nbformat.write(notebook, Path(folder) / path.name)  # type: ignore[no-untyped-call]


def test_there_is_a_notebook_for_every_expectation() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SHOWS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    nbformat.validate(read(path))
    code = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert code and all(not cell.outputs and cell.execution_count is None for cell in code)
    assert path.stat().st_size < 20_000
