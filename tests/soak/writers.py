"""Clients that write through every API, whatever happens to the server, and remember what was acknowledged."""

import io
import random
import struct
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from PIL import Image

from prosopon.configs.settings import StateSettings, WebhookSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.jobs.deliveries import DeliveryStore
from prosopon.deployments.state.keys import KeyStore, Scope
from tests.conformance.aifaceswap_client import BASE
from tests.conformance.trueface_client import b64
from tests.loopback import Loopback

CREDITS = 100_000
PATIENCE_SECONDS = 120
"""What was acknowledged has ended by then, after the last kill."""


def marked(jpeg: bytes, text: str) -> bytes:
    """The same picture in another file: a comment segment makes every picture a blob of its own."""
    comment = text.encode()
    return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + jpeg[2:]


def small(jpeg: bytes) -> bytes:
    """The picture at half of its sides, so that many swaps take little time."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as picture:
        picture.reduce(2).save(stream, "JPEG")
    return stream.getvalue()


@dataclass
class Context:
    """What all writers share. url: of the server, another after each restart."""

    url: str
    home: Path
    pictures: Sequence[bytes]
    web: Loopback

    def where(self) -> str:
        """The URL for the next request."""
        return self.url


class Writer(threading.Thread, ABC):
    """Writes one thing after the other with a key of its own until it is told to stop."""

    scope: Scope
    credits: int | None = None

    def __init__(self, context: Context) -> None:
        super().__init__(daemon=True)
        self.context = context
        self.stopping = threading.Event()
        self.answers: Counter[str] = Counter()
        self.acknowledged: dict[str, Any] = {}
        self.attempted: Counter[str] = Counter()
        with _records(context.home) as records:
            self.key, self.secret = KeyStore(records).create("soak", [self.scope], credits=self.credits)
        self.begin()

    def begin(self) -> None:
        """Before the first write."""

    def run(self) -> None:
        name = uuid.uuid4().hex
        number = 0
        while not self.stopping.is_set():
            number += 1
            try:
                self.write(f"{name}-{number}", number)
            except httpx.TransportError as error:
                self.answers[type(error).__name__] += 1
                time.sleep(0.2)

    @abstractmethod
    def write(self, name: str, number: int) -> None:
        """One write. What is acknowledged goes into `acknowledged`."""

    @abstractmethod
    def check(self) -> None:
        """Nothing acknowledged is lost or doubled. The server is ready, and nobody writes any more."""

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        return httpx.request(method, self.context.where() + path, headers=headers, timeout=60, **options)

    @property
    def headers(self) -> dict[str, str]:
        return {"x-api-key": self.secret}

    def picture(self, number: int) -> bytes:
        return self.context.pictures[number % len(self.context.pictures)]

    def tell(self, answer: httpx.Response) -> bool:
        """Whether it is one that acknowledges; it is counted."""
        self.answers[str(answer.status_code)] += 1
        if answer.status_code >= 500:
            time.sleep(0.2)
        return answer.is_success


class Enrols(Writer):
    """CompreFace: a subject with one picture after the other."""

    scope = "recognition"

    def write(self, name: str, number: int) -> None:
        image = marked(self.picture(number), name)
        self.attempted[name] += 1
        files = {"file": ("face.jpg", image)}
        answer = self.ask("POST", "/api/v1/recognition/faces", params={"subject": name}, files=files)
        if self.tell(answer):
            self.acknowledged[answer.json()["image_id"]] = (name, image)

    def check(self) -> None:
        faces: list[dict[str, str]] = []
        pages = 1
        while len(faces) < 1000 * pages:
            query = {"size": 1000, "page": pages - 1}
            page = self.ask("GET", "/api/v1/recognition/faces", params=query).json()
            faces += page["faces"]
            if pages >= page["total_pages"]:
                break
            pages += 1
        stored = {face["image_id"]: face["subject"] for face in faces}
        assert len(stored) == len(faces) == page["total_elements"]
        assert max(Counter(stored.values()).values()) == 1, "an enrolment was done twice"
        assert set(stored.values()) <= set(self.attempted)
        for image_id, (subject, image) in self.acknowledged.items():
            assert stored.get(image_id) == subject, f"{image_id} is lost"
            assert self.ask("GET", f"/api/v1/recognition/faces/{image_id}/img").content == image
        # Every record's vector is found, and no vector is without its record.
        with _records(self.context.home) as records, records.read() as db:
            own = schema.faces.c.gallery_id == self.key.gallery
            rows = db.execute(schema.faces.select().where(own)).mappings().all()
        assert {str(row["image_id"]) for row in rows} == set(stored)
        dim = len(rows[0]["embedding"]) // 4
        answer = self.ask(
            "POST",
            "/api/v1/recognition/embeddings/recognize",
            params={"prediction_count": 100_000},
            json={"embeddings": [[1.0] + [0.0] * (dim - 1)]},
        ).json()
        found = Counter(match["subject"] for match in answer["result"][0]["similarities"])
        assert found == Counter(stored.values())


class EnrollsPeople(Writer):
    """Trueface: enrollments of two pictures, every other one deleted again."""

    scope = "trueface"

    def begin(self) -> None:
        self.deleted: set[str] = set()

    def write(self, name: str, number: int) -> None:
        shots = {f"img{turn}": b64(marked(self.picture(number), f"{name}-{turn}")) for turn in range(2)}
        self.attempted[name] += 1
        answer = self.ask("POST", "/v1/enroll", json={**shots, "name": name})
        if not self.tell(answer):
            return
        enrollment = answer.json()["data"]["enrollment_id"]
        self.acknowledged[enrollment] = name
        if number % 2:
            self.deleted.add(enrollment)  # From here on it may be gone, whether that is acknowledged or not.
            answer = self.ask("DELETE", "/v1/enroll", json={"enrollment_id": enrollment})
            if self.tell(answer):
                del self.acknowledged[enrollment]

    def check(self) -> None:
        own = sa.select(schema.galleries.c.id).where(schema.galleries.c.tenant_id == self.key.tenant)
        with _records(self.context.home) as records, records.read() as db:
            table = schema.enrollments
            query = table.select().where(table.c.gallery_id.in_(own))
            there = {str(row.id): row.name for row in db.execute(query)}
            counted = (
                sa.select(schema.subjects.c.name, sa.func.count())
                .join(schema.faces, schema.faces.c.subject_id == schema.subjects.c.id)
                .where(schema.subjects.c.gallery_id.in_(own))
                .group_by(schema.subjects.c.name)
            )
            shots = dict(db.execute(counted).tuples().all())
        for enrollment, name in self.acknowledged.items():
            assert there.get(enrollment) == name or enrollment in self.deleted, f"{name} is lost"
        gone = self.deleted - set(self.acknowledged)
        assert not gone & set(there), "what was deleted has come back"
        assert max(Counter(there.values()).values(), default=1) == 1, "an enrollment was done twice"
        assert set(there.values()) <= set(self.attempted)
        assert {uuid.UUID(name).hex: count for name, count in shots.items()} == {
            uuid.UUID(enrollment).hex: 2 for enrollment in there
        }, "each has its two faces, and no face is without its enrollment"


class SearchesFaces(Writer):
    """FaceCheck: searches that are paid for, each asked until it is done or for ten seconds."""

    scope = "facecheck"
    credits = CREDITS
    PRICE = 3

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self.secret}

    def write(self, name: str, number: int) -> None:
        image = marked(self.picture(number), name)
        self.attempted[name] += 1
        answer = self.ask("POST", "/api/upload_pic", files={"images": ("face.jpg", image)})
        if not self.tell(answer) or answer.json()["error"]:
            return
        search = answer.json()["id_search"]
        self.acknowledged[search] = "uploaded"
        answer = self.ask("POST", "/api/search", json={"id_search": search, "with_progress": True})
        if self.tell(answer) and answer.json()["error"] is None:
            self.acknowledged[search] = "started"

    def check(self) -> None:
        started = [search for search, state in self.acknowledged.items() if state == "started"]
        deadline = time.monotonic() + PATIENCE_SECONDS
        for search in started:
            while True:
                question = {"id_search": search, "status_only": True}
                found = self.ask("POST", "/api/search", json=question).json()
                if found["error"] is None and found["output"]:
                    break
                assert found["error"] is None, found
                assert time.monotonic() < deadline, found
                time.sleep(0.1)
        with _records(self.context.home) as records:
            with records.read() as db:
                own = schema.searches.c.tenant_id == self.key.tenant
                rows = db.execute(schema.searches.select().where(own)).mappings().all()
                pictures = Counter(db.execute(sa.select(schema.search_pictures.c.search_id)).scalars())
            balance = KeyStore(records).balance(self.key.id)
        states = {str(row["id"]): row["state"] for row in rows}
        assert set(self.acknowledged) <= set(states), "a search is lost"
        assert all(states[search] == "done" for search in started)
        assert all(pictures[row["id"]] == 1 for row in rows), "a picture is there twice"
        # A start whose answer was lost in a kill may have been recorded: it is done, and paid for.
        done = sum(state == "done" for state in states.values())
        assert balance == CREDITS - self.PRICE * done, "each search is paid for once"


class Registers(Writer):
    """CheckFace: latents that are registered."""

    scope = "detection"  # Its routes ask for no key.

    def begin(self) -> None:
        self.guesses = random.Random(0)

    def write(self, name: str, number: int) -> None:
        latent = [self.guesses.gauss(0, 1) for _ in range(512)]
        answer = self.ask("POST", "/api/registerlatent/", json={"latent": latent, "type": "soak"})
        if self.tell(answer):
            self.acknowledged[answer.text] = latent
        time.sleep(0.1)

    def check(self) -> None:
        for guid, latent in self.acknowledged.items():
            answer = self.ask("GET", "/api/hashdata/", params={"guid": guid})
            assert answer.status_code == 200, f"{guid} is lost"
            assert answer.json()["qlatent"] == latent


class Swaps(Writer):
    """aifaceswap: urls and files in turn; every tenth picture shows nobody. A webhook is to tell of each."""

    scope = "aifaceswap"
    credits = CREDITS

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}

    def begin(self) -> None:
        web = self.context.web
        for number, picture in enumerate(self.context.pictures[:6]):
            web.add(f"/face{number}", small(picture))
        stream = io.BytesIO()
        Image.new("RGB", (64, 64)).save(stream, "JPEG")
        web.add("/nobody", stream.getvalue())
        web.replies["/hook"] = [200, 500, 200, 200, 503] * 20 + [200]
        with _records(self.context.home) as records:
            self.signing = DeliveryStore(records, WebhookSettings()).secret(self.key.id)

    def write(self, name: str, number: int) -> None:
        web = self.context.web
        source, face = f"/face{number % 3}", "/nobody" if number % 10 == 0 else f"/face{3 + number % 3}"
        hook = web.url + "/hook"
        if number % 2:
            body = {"source_image": web.url + source, "face_image": web.url + face, "webhook": hook}
            answer = self.ask("POST", f"{BASE}/faceswap", json=body)
        else:
            files = {"source_image": web.pictures[source], "face_image": web.pictures[face]}
            answer = self.ask("POST", f"{BASE}/faceswap", data={"webhook": hook}, files=files)
        if self.tell(answer):
            self.acknowledged[answer.json()["data"]["task_id"]] = None
        time.sleep(0.5)

    def check(self) -> None:
        for task_id in self.acknowledged:
            task = self._ended(task_id)
            expected = "no face is found in face_image" if task["status"] == "failed" else None
            assert task["message"] == expected, task
            if task["status"] == "succeeded":
                name = task["result_image"].rsplit("/", 1)[1]
                answer = self.ask("GET", f"{BASE}/result/{name}")
                assert answer.status_code == 200, task_id
                Image.open(io.BytesIO(answer.content)).load()
        # A task whose answer was lost in a kill is a task all the same, or never was one: nothing lies in between.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with _records(self.context.home) as records:
                with records.read() as db:
                    tasks = db.execute(schema.tasks.select()).mappings().all()
                    deliveries = db.execute(schema.deliveries.select()).mappings().all()
                balance = KeyStore(records).balance(self.key.id)
            if all(row["due"] is None for row in (*tasks, *deliveries)) or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        assert {row["state"] for row in tasks} <= {"succeeded", "failed"}
        spent = sum(row["points"] for row in tasks if row["state"] == "succeeded")
        assert balance == CREDITS - spent
        reported, ended = Counter(row["task_id"] for row in deliveries), Counter(row["id"] for row in tasks)
        assert reported == ended, "one report each"
        assert all(row["delivered"] for row in deliveries)
        calls = self.context.web.by_task()
        assert set(calls) == {row["id"].hex for row in tasks}
        for row in tasks:
            reports = calls[row["id"].hex]
            assert all(call.is_signed_with(self.signing) for call in reports)
            said = {(call.headers["webhook-id"], call.body) for call in reports}
            assert len(said) == 1, "the same in every attempt"
            assert reports[0].document["success"] == int(row["state"] == "succeeded")
        self.interrupted = sum(row["attempts"] > 1 for row in tasks)

    def _ended(self, task_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            task: dict[str, Any] = self.ask("GET", f"{BASE}/task/{task_id}").json()["data"]
            if task["success"] is not None:
                return task
            assert time.monotonic() < deadline, task
            time.sleep(0.1)


WRITERS: tuple[type[Writer], ...] = (Enrols, EnrollsPeople, SearchesFaces, Registers, Swaps)


def check_pictures(home: Path, files: Iterable[str]) -> None:
    """Every picture that is kept is one of these files, counted as often as it is named, and no file is left over."""
    with _records(home) as records, records.read() as db:
        counted = {row.sha256: row.refs for row in db.execute(schema.blobs.select())}
        named: Counter[str] = Counter()
        for table in schema.metadata.tables.values():
            for column in table.c:
                if any(key.column is schema.blobs.c.sha256 for key in column.foreign_keys):
                    query = sa.select(column).where(column.is_not(None))
                    named.update(db.execute(query).scalars())
    assert sorted(files) == sorted(counted), "a file without a record, or a record without its file"
    assert {sha256: refs for sha256, refs in counted.items() if refs} == dict(named)


@contextmanager
def _records(home: Path) -> Iterator[Records]:
    records = Records(StateSettings(home=home).database)
    try:
        yield records
    finally:
        records.close()
