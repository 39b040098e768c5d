"""The records on a real PostgreSQL, with several writers at once."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import sqlalchemy as sa
import yaml
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import BlobMissing, FingerprintMismatch, NotEnoughCredits
from prosopon.deployments.state.galleries.store import FaceRecord, GalleryStore, NewFace, Query
from prosopon.deployments.state.keys import KeyStore
from tests.benchmarks.serving import PROGRAM
from tests.integration.processes import NotInstalled, postgresql, program
from tests.paths import ROOT

DIM = 16


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a fresh PostgreSQL, without a database's name."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(postgresql())
        except NotInstalled as error:
            pytest.skip(str(error))
        yield url


@pytest.fixture
def url(server: str) -> str:
    """URL of a fresh database."""
    return fresh_database(server)


def fresh_database(server: str) -> str:
    name = f"test_{uuid4().hex}"
    engine = sa.create_engine(
        f"{server}/postgres".replace("://", "+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as db:
        db.execute(sa.text(f"create database {name}"))
    engine.dispose()
    return f"{server}/{name}"


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[GalleryStore]:
    opened = GalleryStore(StateSettings(home=tmp_path, database_url=url), "model-1", DIM)
    yield opened
    opened.close()


def faces(gallery: int, count: int, subjects: int = 5) -> list[NewFace]:
    rng = np.random.default_rng()
    return [
        NewFace(
            gallery,
            f"李 {i % subjects}",
            uuid4(),
            rng.standard_normal(DIM).astype("f4"),
            Blob(b"%d" % (i % 3)),
        )
        for i in range(count)
    ]


def test_migrations_build_the_declared_tables(url: str) -> None:
    records = Records(url)
    with records.read() as db:
        assert compare_metadata(MigrationContext.configure(db), schema.metadata) == []
    records.close()


def test_processes_that_open_a_new_database_together_all_succeed(url: str) -> None:
    program = (
        "import sys; from prosopon.deployments.state.database import Records; Records(sys.argv[1]).close()"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, url], cwd=ROOT) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4


def test_enrol_search_rename_delete(store: GalleryStore, url: str, tmp_path: Path) -> None:
    gallery = KeyStore(store.records).create("test")[0].gallery
    new = faces(gallery, 20)
    added = store.add_faces(new)
    assert store.add_faces(new) == added
    (matches,) = store.search([Query(gallery, new[7].embedding, 3)])
    assert not isinstance(matches, Exception)
    assert matches[0].image_id == new[7].image_id
    assert store.image(gallery, new[7].image_id) == Blob(b"1")
    store.rename_subject(gallery, "李 0", "李 1")
    assert store.subjects(gallery) == ["李 1", "李 2", "李 3", "李 4"]
    assert store.list_faces(gallery, 0, 3, "李 1").total == 8
    store.create_subject(gallery, "𝒳" * 512)
    assert store.delete_subject(gallery, "𝒳" * 512).faces == 0
    assert [record.image_id for record in store.delete_faces(gallery, [new[2].image_id, uuid4()])] == [
        new[2].image_id
    ]
    store.close()
    reopened = GalleryStore(StateSettings(home=tmp_path, database_url=url), "model-1", DIM)
    assert reopened.repaired.faces == 19
    assert reopened.delete_all_subjects(gallery) == 4
    assert reopened.blobs.files() == set()
    reopened.close()


def test_writers_of_one_gallery_do_not_get_in_each_others_way(store: GalleryStore) -> None:
    """Threads here stand for replicas: the database alone keeps them apart."""
    gallery = KeyStore(store.records).create("test")[0].gallery
    store._writes.lock = _NoLock()  # type: ignore[assignment]

    def work(_: int) -> int:
        new = faces(gallery, 10, subjects=3)
        assert all(isinstance(result, FaceRecord) for result in store.add_faces(new))
        return len(store.delete_faces(gallery, [face.image_id for face in new[:6]]))

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(30))) == 180
    assert store.list_faces(gallery).total == 120
    with store.records.read() as db:
        refs = db.execute(sa.select(sa.func.sum(schema.blobs.c.refs))).scalar_one()
    assert refs == 120
    assert store.delete_all_faces(gallery) == 120
    assert store.subjects(gallery) == []
    assert store.blobs.files() == set()


class _NoLock:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def test_another_embedder_is_refused(store: GalleryStore, url: str, tmp_path: Path) -> None:
    gallery = KeyStore(store.records).create("test")[0].gallery
    store.add_faces(faces(gallery, 1))
    store.close()
    other = GalleryStore(StateSettings(home=tmp_path, database_url=url), "model-2", DIM)
    (refused,) = other.search([Query(gallery, np.ones(DIM, np.float32), 1)])
    assert isinstance(refused, FingerprintMismatch)
    other.close()


def test_a_balance_is_never_overdrawn_by_concurrent_charges(url: str) -> None:
    keys = KeyStore(Records(url))
    key, secret = keys.create("search", credits=50)
    start = threading.Barrier(8)

    def charge(_: int) -> int:
        start.wait()
        charged = 0
        for _ in range(5):
            try:
                keys.charge(key.id, 3)
                charged += 1
            except NotEnoughCredits:
                pass
        return charged

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(charge, range(8))) == 16
    found = keys.find(secret)
    assert found is not None
    assert found.credits == 2
    assert found.created.tzinfo is not None
    keys._records.close()


def _people(store: GalleryStore, count: int) -> tuple[int, list[NewFace]]:
    """Enrol people, each with a picture; the gallery, and who is in it."""
    gallery = KeyStore(store.records).create("client")[0].gallery
    embeddings = np.random.default_rng(7).standard_normal((count, DIM)).astype("f4")
    new = [
        NewFace(gallery, f"person {i}", uuid4(), embedding, Blob(b"picture %d" % i))
        for i, embedding in enumerate(embeddings)
    ]
    assert all(isinstance(one, FaceRecord) for one in store.add_faces(new))
    return gallery, new


def _all_are_found(store: GalleryStore, gallery: int, people: list[NewFace]) -> None:
    for one, matches in zip(
        people, store.search([Query(gallery, one.embedding, 1) for one in people]), strict=True
    ):
        assert not isinstance(matches, Exception)
        assert (matches[0].subject, matches[0].image_id) == (one.subject, one.image_id)
        assert store.image(gallery, one.image_id) == one.image


def test_a_home_moves_to_servers(url: str, tmp_path: Path) -> None:
    """As docs/operation.md says: the pictures, the records, and the vectors from these."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    one_machine = GalleryStore(StateSettings(home=home), "model-1", DIM)
    gallery, people = _people(one_machine, 30)
    last = KeyStore(one_machine.records).create("the last")[0].id
    one_machine.delete_faces(gallery, [people.pop().image_id])
    with one_machine.records.read() as db:
        highest = db.exec_driver_sql("select seq from sqlite_sequence where name = 'faces'").scalar_one()
    one_machine.close()

    shutil.copytree(home / "blobs", elsewhere / "blobs")
    config = tmp_path / "cluster.yaml"
    state = {"home": str(elsewhere), "database_url": url}
    config.write_text(
        yaml.safe_dump(
            {
                "applications": [
                    {
                        "name": "prosopon",
                        "import_path": "prosopon.pipelines.app:build",
                        "args": {"state": state},
                    }
                ]
            }
        )
    )
    command = [*PROGRAM, "import", "records", str(home), "--config", str(config)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "faces: 29" in told
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1 and "not empty" in again.stderr, "twice is once"

    servers = GalleryStore(StateSettings(home=elsewhere, database_url=url), "model-1", DIM)
    assert servers.repaired.added == 29, "the index is made from the records"
    _all_are_found(servers, gallery, people)
    assert KeyStore(servers.records).create("the next")[0].id > last
    (added,) = servers.add_faces([NewFace(gallery, "new", uuid4(), people[0].embedding)])
    assert isinstance(added, FaceRecord)
    with servers.records.read() as db:
        (ids,) = db.execute(
            sa.select(schema.faces.c.id).where(schema.faces.c.image_id == added.image_id)
        ).one()
    assert ids > highest, "the id of a face that was deleted is not given again"
    servers.close()


def test_a_dump_and_a_copy_of_the_pictures_are_a_backup(server: str, url: str, tmp_path: Path) -> None:
    """As docs/operation.md says: the dump first; a picture that is deleted before the copy is all that is missing."""
    home, restored = tmp_path / "home", tmp_path / "restored"
    store = GalleryStore(StateSettings(home=home, database_url=url), "model-1", DIM)
    gallery, people = _people(store, 20)
    dump = subprocess.run([program("pg_dump"), url], check=True, capture_output=True).stdout
    deleted = people.pop()
    store.delete_faces(gallery, [deleted.image_id])
    shutil.copytree(home / "blobs", restored / "blobs")
    store.close()

    other = fresh_database(server)
    subprocess.run(
        [program("psql"), "-q", "-v", "ON_ERROR_STOP=1", other],
        input=dump,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    back = GalleryStore(StateSettings(home=restored, database_url=other), "model-1", DIM)
    assert back.repaired.added == 20
    _all_are_found(back, gallery, people)
    with pytest.raises(BlobMissing):
        back.image(gallery, deleted.image_id)
    back.close()
