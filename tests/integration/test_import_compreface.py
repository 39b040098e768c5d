"""`prosopon import compreface` out of a real PostgreSQL, laid out as CompreFace's migrations leave it."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

from prosopon.configs.settings import Settings, StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.pipelines.ingestion.enrolling import FaceReader
from tests.conformance.client import Client, part
from tests.integration.test_import import counts, run
from tests.integration.test_postgres import server, url
from tests.paths import smiling
from tests.support.in_process import in_process

__all__ = ["server", "url"]  # fixtures

pytestmark = pytest.mark.slow

# The tables as the changelogs 0.0.3 to 0.2.7 leave them, without users, statistics and tokens.
_TABLES = """
create table app (id bigint primary key, name varchar(255) not null, guid varchar(36) not null unique,
                  api_key varchar(36) not null unique);
create table model (id bigint primary key, name varchar(255) not null, guid varchar(36) not null unique,
                    app_id bigint not null references app on delete cascade on update cascade,
                    api_key varchar(36) not null unique, type varchar(1) not null, created_date timestamp,
                    unique (name, app_id));
create table subject (id uuid primary key,
                      api_key varchar(36) references model (api_key) on delete cascade on update cascade,
                      subject_name varchar(255), unique (api_key, subject_name));
create table img (id uuid primary key, content bytea not null);
create table embedding (id uuid primary key,
                        subject_id uuid references subject on delete cascade on update cascade,
                        embedding float8[] not null, calculator varchar(255) not null,
                        img_id uuid references img);
"""
_DEMO = "00000000-0000-0000-0000-00000000000"


class CompreFace:
    """The database of one, with the demo application that every installation gets."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._db = psycopg.connect(url, autocommit=True)
        self._db.execute(_TABLES)
        self._models = 0
        self._db.execute("insert into app values (0, 'Demo app', %s, %s)", (f"{_DEMO}1", f"{_DEMO}2"))
        for last, kind in ((2, "R"), (3, "D"), (4, "V")):
            self.service(f"{_DEMO}{last}", "Demo" + kind, kind, app=0)
        self.example(f"{_DEMO}2", "Matthew McConaughey", None, np.ones(512), "Facenet2018")
        self._db.execute("insert into app values (1, 'Doors', %s, %s)", (str(uuid4()), str(uuid4())))

    def close(self) -> None:
        self._db.close()

    def service(self, key: str, name: str, kind: str, app: int = 1) -> str:
        self._models += 1
        row = (self._models, name, str(uuid4()), app, key, kind)
        self._db.execute("insert into model values (%s, %s, %s, %s, %s, %s, now())", row)
        return key

    def subject(self, key: str, name: str) -> UUID:
        self._db.execute(
            "insert into subject values (%s, %s, %s) on conflict do nothing", (uuid4(), key, name)
        )
        found = self._db.execute(
            "select id from subject where api_key = %s and subject_name = %s", (key, name)
        )
        row = found.fetchone()
        assert row is not None
        identity: UUID = row[0]
        return identity

    def example(
        self,
        key: str,
        subject: str,
        picture: Path | None,
        embedding: np.ndarray | None = None,
        calculator: str = "facenet.Calculator@20180402-114759",
    ) -> str:
        """The id by which clients know it."""
        image, identity = uuid4() if picture else None, uuid4()
        if picture:
            self._db.execute("insert into img values (%s, %s)", (image, picture.read_bytes()))
        row = (
            identity,
            self.subject(key, subject),
            [1.0] if embedding is None else embedding.tolist(),
            calculator,
            image,
        )
        self._db.execute("insert into embedding values (%s, %s, %s, %s, %s)", row)
        return str(identity)


@pytest.fixture
def compreface(url: str) -> Iterator[CompreFace]:
    opened = CompreFace(url)
    yield opened
    opened.close()


def test_clients_go_on_with_their_keys_ids_and_pictures(
    tmp_path: Path, london: list[Path], models_mirror: None, compreface: CompreFace
) -> None:
    front, back, detection, verification = (
        compreface.service(str(uuid4()), name, kind)
        for name, kind in (("front", "R"), ("back", "R"), ("count", "D"), ("check", "V"))
    )
    ids = [compreface.example(front, person.stem, person) for person in london[:3]]
    elsewhere = compreface.example(back, london[0].stem, london[3])
    compreface.subject(back, "Nobody Yet")
    home = tmp_path / "home"
    shown = run(home, "compreface", compreface.url, "--dry-run")
    assert shown.returncode == 0 and "Doors / front" in shown.stdout
    ended = run(home, "compreface", compreface.url)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert counts(ended)["enrolled"] == 4
    since = compreface.example(front, london[0].stem, smiling(london[0]))
    again = counts(run(home, "compreface", compreface.url))
    assert (again["enrolled"], again["enrolled before"]) == (1, 4)

    with in_process(home, {"apis": ["compreface"]}) as here, here.connect() as http:
        client = Client(http, front)
        faces = client.get("/recognition/faces").json()["faces"]
        assert {face["image_id"]: face["subject"] for face in faces} == {
            **dict(zip(ids, (person.stem for person in london[:3]), strict=True)),
            since: london[0].stem,
        }
        assert client.get(f"/recognition/faces/{ids[1]}/img").content == london[1].read_bytes()
        answer = client.post("/recognition/recognize", files={"file": part(smiling(london[2]))})
        (best,) = answer.json()["result"][0]["subjects"]
        assert best["subject"] == london[2].stem and best["similarity"] > 0.9
        other = Client(http, back)
        assert sorted(other.get("/recognition/subjects").json()["subjects"]) == [london[0].stem, "Nobody Yet"]
        assert [face["image_id"] for face in other.get("/recognition/faces").json()["faces"]] == [elsewhere]
        upload = {"file": part(london[0])}
        assert Client(http, detection).post("/detection/detect", files=upload).status_code == 200
        assert Client(http, detection).get("/recognition/faces").status_code == 404, (
            "a key of another service"
        )
        pair = {"source_image": part(london[0]), "target_image": part(smiling(london[0]))}
        assert Client(http, verification).post("/verification/verify", files=pair).status_code == 200
        assert Client(http, f"{_DEMO}2").get("/recognition/faces").json()["code"] == 10, "an unknown key"


def stored(home: Path) -> dict[str, np.ndarray]:
    """Embeddings by image id."""
    records = Records(StateSettings(home=home).database)
    with records.read() as db:
        rows = db.execute(sa.select(schema.faces.c.image_id, schema.faces.c.embedding)).all()
    records.close()
    return {str(row.image_id): np.frombuffer(row.embedding, "<f4") for row in rows}


def test_embeddings_are_kept_of_the_calculator_that_is_in_service_and_of_no_other(
    tmp_path: Path, london: list[Path], models_mirror: None, compreface: CompreFace
) -> None:
    home, chance = tmp_path / "home", np.random.default_rng(5)
    reader = FaceReader(Settings(state=StateSettings(home=home)))
    key = compreface.service(str(uuid4()), "front", "R")

    def ours(picture: Path) -> np.ndarray:
        """The embedding in service, of any length and a little off, so that it can be told from one made anew."""
        embedding = reader.read(picture.read_bytes())[1]
        assert embedding is not None
        unit = embedding / np.linalg.norm(embedding)
        return 3 * (unit + chance.normal(0, 0.1 / np.sqrt(len(unit)), len(unit)))

    def example(person: Path, picture: Path | None, embedding: np.ndarray, calculator: str) -> str:
        return compreface.example(key, person.stem, picture, embedding, calculator)

    vectors = [ours(person) for person in london[:3]]
    given = {
        example(person, person, vector, "the same"): vector
        for person, vector in zip(london[:3], vectors, strict=True)
    }
    without = ours(london[3])
    alone = example(london[3], None, without, "the same")
    remade = example(london[4], london[4], chance.standard_normal(reader.dim), "another")
    example(london[5], None, chance.standard_normal(reader.dim), "another")
    ended = run(home, "compreface", compreface.url, "--keep-embeddings")
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert counts(ended) == {
        "enrolled": 5,
        "of these with their embedding": 4,
        "skipped: no picture": 1,
    }
    found = stored(home)
    assert set(found) == {*given, alone, remade}
    for image_id, vector in {**given, alone: without}.items():
        assert found[image_id] @ vector / np.linalg.norm(vector) > 0.99999
    anew = reader.read(london[4].read_bytes())[1]
    assert anew is not None and found[remade] @ anew / np.linalg.norm(anew) > 0.9999


def test_what_is_no_compreface_is_told_in_one_line(tmp_path: Path, url: str) -> None:
    for address, said in (
        (url, "not the database of a CompreFace"),
        ("postgresql://nobody@127.0.0.1:9/x", "cannot be read"),
        ("mysql://x/y", "is a PostgreSQL"),
    ):
        ended = run(tmp_path / "home", "compreface", address)
        assert ended.returncode == 1 and said in ended.stderr and "Traceback" not in ended.stderr
