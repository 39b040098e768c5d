"""Vectors: the writer, and the Milvus Lite process."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError

from prosopon.configs.settings import StateSettings, VectorIndexSettings
from prosopon.deployments.state.errors import IndexUnavailable
from prosopon.deployments.state.vectors.index import (
    MAX_RESULTS,
    Ids,
    IndexWriter,
    LiteIndex,
    collection_name,
    search_parameters,
)
from prosopon.deployments.state.vectors.lite_worker import LiteCollection
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.vectors import normalize

DIM = 24


def unit(rng: np.random.Generator, count: int) -> Float32:
    return normalize(rng.standard_normal((count, DIM), dtype=np.float32))


def test_a_milvus_lite_file_keeps_what_it_was_given(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), str(tmp_path / "vectors.db")
    index = LiteIndex(path, "model", DIM)
    index.upsert(np.arange(1, 3001), np.ones(3000, np.int64), unit(rng, 3000))
    index.upsert(np.arange(1, 11), np.ones(10, np.int64), unit(rng, 10))
    index.delete(np.array([5, 6, 99_999]))
    expected = [i for i in range(1, 3001) if i not in (5, 6)]
    assert sorted(index.ids().tolist()) == expected
    os.kill(index.pid, signal.SIGKILL)
    with pytest.raises(IndexUnavailable, match="gone"):
        index.ids()
    assert sorted(index.ids().tolist()) == expected
    index.flush()
    index.upsert(np.array([5]), np.array([1]), unit(rng, 1))
    index.close()
    index = LiteIndex(path, "model", DIM)
    assert sorted(index.ids().tolist()) == sorted([*expected, 5])
    index.clear()
    assert index.ids().tolist() == []
    index.close()


def one_row(path: Path) -> None:
    index = LiteIndex(str(path), "model", DIM)
    index.upsert(np.array([1]), np.array([1]), unit(np.random.default_rng(0), 1))
    index.flush()
    index.close()


def test_a_damaged_index_is_set_aside_and_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "vectors.db"
    for _ in range(2):  # What was set aside before gives way.
        one_row(path)
        (schema,) = path.rglob("schema.json")
        schema.write_text("{")
        index = LiteIndex(str(path), "model", DIM)
        assert index.ids().tolist() == []
        index.close()
        assert (tmp_path / "vectors.db.damaged" / schema.relative_to(path)).read_text() == "{"


def test_what_is_not_only_an_index_is_never_touched(tmp_path: Path) -> None:
    path = tmp_path / "vectors.db"
    one_row(path)
    (path / "records.db").write_text("everything")
    next(path.rglob("schema.json")).write_text("{")
    index = LiteIndex(str(path), "model", DIM)
    with pytest.raises(IndexUnavailable):
        index.ids()
    index.close()
    assert (path / "records.db").read_text() == "everything"
    file = tmp_path / "a file"
    file.write_text("of somebody")
    with pytest.raises(IndexUnavailable):
        LiteIndex(str(file), "model", DIM)
    assert file.read_text() == "of somebody"


def test_a_full_disk_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "vectors.db"
    one_row(path)
    collection = LiteCollection(str(path), collection_name("model"), DIM, 1)
    full = RuntimeError("cannot write a segment")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(RuntimeError, match="segment"):
        collection._start_anew(full)
    assert collection.ids().tolist() == [1]


@pytest.mark.parametrize(
    "uri", ["{home}", "{home}/..", "{home}/blobs", "{home}/blobs/v", "{home}/records.db"]
)
def test_an_index_has_a_folder_of_its_own(uri: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(ValidationError, match="vectors_uri"):
        StateSettings(home=home, vectors_uri=uri.format(home=home))
    with pytest.raises(ValidationError, match="vectors_uri"):
        StateSettings(home=home, database_url=f"sqlite:///{tmp_path}/v/r.db", vectors_uri=f"{tmp_path}/v")
    for good in ("vectors.db", str(home / "v"), str(tmp_path / "v"), "http://127.0.0.1:19530"):
        StateSettings(home=home, vectors_uri=good)


def test_the_milvus_lite_process_ends_with_its_parent(tmp_path: Path) -> None:
    index = LiteIndex(str(tmp_path / "vectors.db"), "model", DIM)
    pid = index.pid
    index._calls.close()
    deadline = time.monotonic() + 10
    while index._process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert index._process.poll() == 0, pid
    index.close()


class Flaky:
    """An index that fails a few times, as a server does that is being restarted."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, list[tuple[str, list[int]]]()

    def _call(self, name: str, ids: Ids) -> None:
        if self.failures:
            self.failures -= 1
            raise IndexUnavailable("not now")
        self.calls.append((name, ids.tolist()))

    def upsert(self, ids: Ids, galleries: Ids, embeddings: Float32) -> None:
        self._call("upsert", ids)

    def delete(self, ids: Ids) -> None:
        self._call("delete", ids)


def test_the_writer_tries_again_and_keeps_the_order() -> None:
    index = Flaky(failures=2)
    writer = IndexWriter(index)  # type: ignore[arg-type]
    one = np.array([1], np.int64)
    writer.upsert(one, one, np.ones((1, DIM), np.float32))
    assert writer.delete(one).wait(10)
    assert index.calls == [("upsert", [1]), ("delete", [1])]
    writer.close()


def test_a_writer_whose_index_is_gone_says_that_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IndexWriter, "_QUEUED", 2)
    writer = IndexWriter(Flaky(failures=10**9))  # type: ignore[arg-type]
    assert writer.has_room(0)
    for i in range(3):
        assert writer.has_room(5)
        writer.delete(np.array([i], np.int64))
    assert not writer.has_room(0.1)


def test_closing_does_not_wait_for_an_index_that_is_gone() -> None:
    writer = IndexWriter(Flaky(failures=10**9))  # type: ignore[arg-type]
    assert not writer.delete(np.array([1], np.int64)).wait(0.1)
    started = time.monotonic()
    writer.close()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("kind", get_args(VectorIndexSettings.model_fields["kind"].annotation))
def test_no_index_is_searched_for_fewer_candidates_than_are_wanted(kind: str) -> None:
    settings = VectorIndexSettings.model_validate({"kind": kind})
    for limit in (1, 10, 1_000, MAX_RESULTS):
        parameters = search_parameters(settings, limit)
        assert all(int(parameters[name]) >= limit for name in ("ef", "search_list") if name in parameters)
    chosen = VectorIndexSettings.model_validate({"kind": kind, "search": {"ef": 7}})
    assert search_parameters(chosen, 5)["ef"] == 7


class Refusing(Flaky):
    """An index that can be reached and takes everything but one face."""

    def upsert(self, ids: Ids, galleries: Ids, embeddings: Float32) -> None:
        if 13 in ids:
            raise IndexUnavailable("such a face cannot be indexed")
        super().upsert(ids, galleries, embeddings)

    def alive(self) -> None:
        pass


def test_a_change_that_an_index_refuses_keeps_no_other_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IndexWriter, "_LONGEST_PAUSE", 0.01)
    index = Refusing(failures=0)
    writer = IndexWriter(index)  # type: ignore[arg-type]
    refused, taken = (np.array([number], np.int64) for number in (13, 14))
    poisoned = writer.upsert(refused, refused, np.ones((1, DIM), np.float32))
    assert writer.upsert(taken, taken, np.ones((1, DIM), np.float32)).wait(10)
    assert index.calls == [("upsert", [14])]
    assert not poisoned.is_set()
    writer.close()


def test_embeddings_are_read_as_they_were_written(tmp_path: Path) -> None:
    rng, index = np.random.default_rng(3), LiteIndex(str(tmp_path / "vectors.db"), "model", DIM)
    first, second = unit(rng, 500), unit(rng, 2)
    ids = np.arange(1, 501)
    index.upsert(ids, np.ones(500, np.int64), first)
    index.upsert(np.array([7, 3]), np.ones(2, np.int64), second)
    index.delete(np.array([5]))
    found, embeddings = index.embeddings(np.array([3, 5, 7, 9, 10_000]))
    assert found.tolist() == [3, 7, 9]
    np.testing.assert_array_equal(embeddings, np.stack([second[1], second[0], first[8]]))
    index.delete(np.array([9]))
    assert index.embeddings(np.array([9]))[0].tolist() == []
    index.close()


def test_the_newest_row_counts_wherever_it_lies(tmp_path: Path) -> None:
    """Through changes, files that are written and starts, in an order that a seed drew."""
    rng, path = np.random.default_rng(8), str(tmp_path / "vectors.db")
    kept: dict[int, Float32] = {}
    collection = LiteCollection(path, "faces", DIM, 5)
    for _ in range(60):
        ids = rng.choice(400, int(rng.integers(1, 60)), replace=False)
        match rng.integers(5):
            case 0:
                collection.delete(ids)
                kept = {id: row for id, row in kept.items() if id not in ids}
            case 1:
                collection.flush()
            case 2:
                collection._database.close()
                collection = LiteCollection(path, "faces", DIM, 5)
            case _:
                rows = unit(rng, len(ids))
                collection.upsert(ids, np.ones(len(ids), np.int64), rows)
                kept |= dict(zip(ids.tolist(), rows, strict=True))
        assert collection.ids().tolist() == sorted(kept)
        found, embeddings = collection.embeddings(np.arange(0, 400, 3))
        assert found.tolist() == [id for id in range(0, 400, 3) if id in kept]
        np.testing.assert_array_equal(
            embeddings, np.array([kept[id] for id in found.tolist()]).reshape(-1, DIM)
        )
    assert 0 < len(kept) < 400
    collection._database.close()


def test_milvus_client_leaves_the_log_of_its_process_alone() -> None:
    """In a process of its own: the library is imported once."""
    program = (
        "import io, logging, logging.handlers\n"
        "stream = io.StringIO()\n"
        "buffered = logging.handlers.MemoryHandler(1, target=logging.StreamHandler(stream))\n"
        "logging.getLogger('ray.serve').addHandler(buffered)\n"
        "from prosopon.deployments.state.vectors.index import _pymilvus\n"
        "assert _pymilvus().MilvusClient\n"
        "logging.getLogger('ray.serve').error('a call')\n"
        "assert stream.getvalue() == 'a call\\n', stream.getvalue()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
