"""`prosopon ingest` as an operator runs it: real pictures, bad manifests and kills. `test_facecheck_restart` has a
running server."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import sqlalchemy as sa
import yaml

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.deployments.state.vectors.index import open_index
from tests.paths import DATA, ROOT, require

pytestmark = pytest.mark.slow
KILLS = 6
"""`make soak` has the long series."""
PROGRAM = ("-m", "prosopon.pipelines.cli")
IMPATIENT = (
    "-c",
    "from prosopon.deployments.state.vectors import index; from prosopon.pipelines.cli import main; "
    "index._LOCK_SECONDS = 0.5; main()",
)
"""As `PROGRAM`, but waits no longer than that for who holds the index; it would for 20 seconds."""


@dataclass(frozen=True)
class Run:
    status: int
    output: str
    skipped: Counter[str]


def command(home: Path, source: Path | str, *options: str, program: Sequence[str] = PROGRAM) -> list[str]:
    return [
        sys.executable,
        *program,
        "ingest",
        str(source),
        "--report",
        str(home / "report.jsonl"),
        *options,
    ]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PROSOPON_HOME": str(home), "COLUMNS": "200"}


def ingest(home: Path, source: Path | str, *options: str, program: Sequence[str] = PROGRAM) -> Run:
    home.mkdir(exist_ok=True)
    ended = subprocess.run(
        command(home, source, *options, program=program),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(home),
        timeout=300,
    )
    report = home / "report.jsonl"
    lines = report.read_text().splitlines() if report.exists() else []
    return Run(
        ended.returncode, ended.stdout + ended.stderr, Counter(json.loads(line)["reason"] for line in lines)
    )


@dataclass(frozen=True)
class Face:
    image_id: str
    subject: str
    embedding: bytes
    thumbnail: str
    extra: str


def stored(home: Path, searched: bool = False) -> set[Face]:
    """Every face of the records, after a look whether index and thumbnails agree with them. searched: whether there are
    files of searches, too."""
    settings = StateSettings(home=home)
    records = Records(settings.database)
    query = sa.select(schema.faces, schema.subjects.c.name).join(
        schema.subjects, schema.subjects.c.id == schema.faces.c.subject_id
    )
    with records.read() as db:
        rows = db.execute(query).all()
    records.close()
    files = {path.name for path in (home / "blobs").rglob("*") if path.is_file()}
    thumbnails = {row.blob for row in rows}
    assert thumbnails <= files if searched else thumbnails == files
    if rows:
        GalleryStore(settings, rows[0].fingerprint, len(rows[0].embedding) // 4).close()
        index = open_index(settings, rows[0].fingerprint, len(rows[0].embedding) // 4)
        assert sorted(index.ids().tolist()) == sorted(row.id for row in rows)
        index.close()
    faces = [
        Face(str(row.image_id), row.name, row.embedding, row.blob, json.dumps(row.extra)) for row in rows
    ]
    assert len(set(faces)) == len(faces)
    return set(faces)


@pytest.fixture
def pictures(tmp_path: Path, london: list[Path], group_picture: Path) -> Path:
    return folders(tmp_path / "pictures", [*london[:6], group_picture])


def folders(at: Path, pictures: Sequence[Path]) -> Path:
    """Copies of pictures, each in a folder of its own."""
    for picture in pictures:
        (at / picture.stem).mkdir(parents=True)
        shutil.copy(picture, at / picture.stem)
    return at


def test_every_face_once_and_the_newest_version_of_a_picture(
    tmp_path: Path, pictures: Path, london: list[Path]
) -> None:
    home = tmp_path / "home"
    first = ingest(home, pictures, "--folders-are-groups")
    assert (first.status, first.skipped) == (0, Counter())
    assert "log level" not in first.output, "what Ray says of itself is nobody's"
    faces = stored(home)
    assert Counter(face.subject for face in faces) == {
        **{f"group {portrait.stem}": 1 for portrait in london[:6]},
        "group t1": 6,
    }
    again = ingest(home, pictures, "--folders-are-groups", "--refresh")
    assert (again.status, stored(home)) == (0, faces)

    shutil.copy(london[7], pictures / "t1" / "t1.jpg")
    changed = ingest(home, pictures, "--folders-are-groups")
    assert "known before: with faces" in changed.output and "1 picture looked at" in changed.output
    now = stored(home)
    assert {face for face in now if face.subject != "group t1"} <= faces
    assert [face.subject for face in now - faces] == ["group t1"]


def test_pictures_that_are_gone_leave_the_index_and_other_files_are_counted(
    tmp_path: Path, pictures: Path, london: list[Path]
) -> None:
    home, gone = tmp_path / "home", pictures / london[0].stem / london[0].name
    (pictures / "@eaDir").mkdir()
    shutil.copy(london[1], pictures / "@eaDir" / "small.jpg")
    shutil.copy(london[1], pictures / ".hidden.jpg")
    (pictures / "notes.txt").write_text("ours")
    first = ingest(home, pictures)
    assert (first.status, first.skipped) == (0, {"thumbnail": 1, "hidden": 1, "other_format": 1})
    faces = stored(home)
    kept = gone.read_bytes()
    gone.unlink()
    link = tmp_path / "link"
    link.symlink_to(pictures)
    rehearsed = ingest(home, link, "--prune", "--dry-run")
    assert "1 picture would be pruned, 1 face" in rehearsed.output and stored(home) == faces
    pruned = ingest(home, link, "--prune")
    assert pruned.status == 0 and "1 picture pruned, 1 face" in pruned.output
    assert pruned.skipped["pruned"] == 1
    assert {face.subject for face in faces - stored(home)} == {gone.as_uri()}
    gone.write_bytes(kept)
    assert "1 picture looked at" in ingest(home, link).output
    assert stored(home) == faces


@pytest.mark.timeout(600)
def test_a_folder_that_is_watched_is_followed(tmp_path: Path, pictures: Path, london: list[Path]) -> None:
    home = tmp_path / "home"
    home.mkdir()
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(
        command(home, pictures, "--watch", "--prune"),
        stdout=log,
        stderr=log,
        cwd=ROOT,
        env=environment(home),
        start_new_session=True,
    )

    def until(count: int) -> None:
        deadline = time.monotonic() + 200
        while written(home) != count:
            assert process.poll() is None and time.monotonic() < deadline, Path(log.name).read_text()
            time.sleep(0.2)

    def said(text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in Path(log.name).read_text():
            assert time.monotonic() < deadline, Path(log.name).read_text()
            time.sleep(0.2)

    try:
        until(7)
        said("watching")
        shutil.copy(london[7], pictures)
        until(8)
        shutil.rmtree(pictures / london[0].stem)
        until(7)
        said("1 picture pruned")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, Path(log.name).read_text()
    finally:
        kill_session(process.pid)
        log.close()
    assert len(stored(home)) == 5 + 6 + 1


def test_what_is_wrong_with_a_manifest_is_said_and_the_rest_taken(tmp_path: Path, london: list[Path]) -> None:
    malformed, home = require(DATA / "malformed"), tmp_path / "home"
    half = tmp_path / "half.jpg"
    half.write_bytes(london[2].read_bytes()[: london[2].stat().st_size // 2])
    with web_server({"/face.jpg": london[1].read_bytes(), "/page": b"<html>"}) as (address, requests):
        rows: list[dict[str, str]] = [
            {"url": "https://example.org/ann", "path": str(london[0]), "group": "Ann"},
            {"url": "https://example.org/twice", "path": str(london[0]), "group": "Ann"},
            {"url": "https://example.org/ann", "path": str(london[0]), "group": "Ann"},
            {"path": "nowhere.jpg"},
            {"path": str(malformed / "corrupted.png")},
            {"path": str(half)},
            {"path": str(malformed)},
            {"url": f"http://{address}/face.jpg"},
            {"url": f"http://{address}/page"},
            {"url": f"http://{address}/missing.jpg"},
            {"url": "http://127.0.0.2/face.jpg"},
            {"url": "http://169.254.169.254/latest/meta-data"},
            {"url": "file:///etc/passwd"},
            {"group": "nobody"},
        ]
        manifest = tmp_path / "manifest.csv"
        with manifest.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["url", "path", "group"])
            writer.writeheader()
            writer.writerows(rows)
            file.write('https://example.org/x,"never closed\n')
        # On a cluster, as what is more than a few pictures.
        config = with_settings(home, {"fetch": {"allow": ["127.0.0.1"]}, "ingestion": {"alone": 0}})
        run = ingest(home, manifest, "--config", str(config))
        assert run.status == 3, run.output
        assert run.skipped == {
            "named_twice": 1,
            "missing": 1,
            "not_an_image": 1,
            "corrupt": 1,
            "unreadable": 1,
            "bad_answer": 2,
            "url_refused": 2,
            "malformed": 3,
        }
        subjects = Counter(face.subject for face in stored(home))
        assert subjects == {"group Ann": 2, f"http://{address}/face.jpg": 1}
        requests.clear()
        # Without one, which knows what a cluster has found.
        with_settings(home, {"fetch": {"allow": ["127.0.0.1"]}})
        again = ingest(home, manifest, "--config", str(config))
        assert again.status == 3 and "known before: with faces" in again.output
        assert sorted(requests) == ["/missing.jpg", "/page"]
        assert "known before: corrupt" in again.output


def test_a_source_that_is_none_and_a_home_in_use_are_refused(tmp_path: Path, pictures: Path) -> None:
    home = tmp_path / "home"
    nothing = ingest(home, tmp_path / "nothing")
    assert nothing.status == 1 and "no pictures there" in nothing.output
    store = GalleryStore(StateSettings(home=home), "somebody", 4)
    try:
        busy = ingest(home, pictures, program=IMPATIENT)
    finally:
        store.close()
    assert busy.status == 1 and "Traceback" not in busy.output and "in use" in busy.output
    assert stored(home) == set()


@pytest.mark.timeout(900)
def test_killed_again_and_again_it_ends_as_if_nothing_had_been(
    tmp_path: Path, london: list[Path], group_picture: Path
) -> None:
    print(f"\n{kill_ingestion(tmp_path, [*london[:47], group_picture], 47 + 6, KILLS)}")


def kill_ingestion(folder_of_all: Path, pictures: Sequence[Path], faces: int, kills: int) -> str:
    """What was seen. Raises AssertionError where killed runs and an undisturbed one leave different faces.

    The first half of the kills hits runs without a cluster, as those of few pictures are; the others runs on one.
    """
    folder, dice = folder_of_all / "pictures", random.Random(0)
    folder.mkdir()
    for picture in pictures:
        shutil.copy(picture, folder)
    cluster = {"ingestion": {"batch": 2, "alone": 0}}
    alone = {"ingestion": {"batch": 2, "alone": len(pictures)}}
    whole = folder_of_all / "undisturbed"
    began = time.monotonic()
    assert ingest(whole, folder, "--config", str(with_settings(whole, cluster))).status == 0
    usual = time.monotonic() - began
    home, counts = folder_of_all / "killed", list[int]()
    for kill in range(kills):
        on_cluster = kill >= kills // 2
        config = with_settings(home, cluster if on_cluster else alone)
        process = subprocess.Popen(
            command(home, folder, "--config", str(config)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=environment(home),
            start_new_session=True,
        )
        if kill % 2 and on_cluster:
            time.sleep(dice.uniform(0, usual))
        else:  # while it writes
            deadline = time.monotonic() + 120
            while written(home) <= (counts or [0])[-1] and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(dice.uniform(0, 0.3))
        kill_session(process.pid)
        process.wait()
        counts.append(written(home))
    assert ingest(home, folder, "--config", str(config)).status == 0
    assert len(set(counts)) > kills // 3, counts
    found = stored(home)
    assert found == stored(whole)
    assert len(found) == faces
    return f"pictures in the ledger after each kill: {counts}; an undisturbed run took {usual:.1f} s"


def with_settings(home: Path, args: dict[str, object]) -> Path:
    home.mkdir(exist_ok=True)
    config = home / "settings.yaml"
    config.write_text(yaml.safe_dump({"applications": [{"args": {"state": {"home": str(home)}, **args}}]}))
    return config


def written(home: Path) -> int:
    """Entries of the ledger."""
    if not (home / "records.db").exists():
        return 0
    records = Records(StateSettings(home=home).database)
    with records.read() as db:
        count = int(db.execute(sa.select(sa.func.count()).select_from(schema.sources)).scalar_one())
    records.close()
    return count


def kill_session(leader: int) -> None:
    """Every process of the session at once: the command, Ray's and the index's."""
    listing = subprocess.run(
        ["ps", "-eo", "pid=,sid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    rows = [tuple(map(int, line.split())) for line in listing.splitlines()]
    doomed = {leader}
    while grown := {pid for pid, session, parent in rows if session in doomed or parent in doomed} - doomed:
        doomed |= grown
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


class web_server:
    """Files over HTTP on loopback. Gives its address, and the list of what was asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                data = files.get(self.path)
                self.send_response(200 if data is not None else 404)
                self.send_header("Content-Type", "image/jpeg" if self.path.endswith("jpg") else "text/html")
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, *_: object) -> None: ...

        self._server, self._requests = ThreadingHTTPServer(("127.0.0.1", 0), Handler), requests

    def __enter__(self) -> tuple[str, list[str]]:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{self._server.server_port}", self._requests

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
