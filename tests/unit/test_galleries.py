"""Galleries: against a plain model of what they promise, across restarts, crashes and changes of the
embedder."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest
import sqlalchemy as sa

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import (
    FingerprintMismatch,
    GalleryNotFound,
    ImageIdTaken,
    InvalidEmbedding,
    InvalidSubject,
    StateError,
    SubjectExists,
    SubjectNotFound,
)
from prosopon.deployments.state.galleries.faces import DeletedSubject
from prosopon.deployments.state.galleries.memory_search import MemorySearch
from prosopon.deployments.state.galleries.store import FaceRecord, GalleryStore, NewFace, Query
from prosopon.deployments.state.keys import KeyStore
from prosopon.models.faces.detections import Float32
from tests.support.copied_galleries import Copied
from tests.support.killed import KILLS, said_until_killed

DIM = 16
STEPS = 200
"""Calls of every kind, in one order that chance has chosen."""
Open = Callable[..., GalleryStore]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    opened: list[GalleryStore] = []

    def opening(fingerprint: str = "model-1", dim: int = DIM) -> GalleryStore:
        while opened:
            opened.pop().close()
        opened.append(GalleryStore(StateSettings(home=tmp_path), fingerprint, dim))
        return opened[-1]

    yield opening
    while opened:
        opened.pop().close()


def new_gallery(store: GalleryStore) -> int:
    return KeyStore(store.records).create("test", ["recognition"])[0].gallery


def random_embedding(rng: np.random.Generator, dim: int = DIM) -> Float32:
    return rng.standard_normal(dim).astype(np.float32)


def face(gallery: int, subject: str, embedding: Float32, image: bytes | None = b"image") -> NewFace:
    return NewFace(gallery, subject, uuid4(), embedding, Blob(image, "image/jpeg") if image else None)


def enrol(store: GalleryStore, *faces: NewFace) -> list[FaceRecord]:
    results = store.add_faces(faces)
    assert all(isinstance(result, FaceRecord) for result in results), results
    return results  # type: ignore[return-value]


def count_refs(store: GalleryStore) -> dict[str, int]:
    with store.records.read() as db:
        return {row.sha256: row.refs for row in db.execute(sa.select(schema.blobs))}


def check_agreement(store: GalleryStore) -> None:
    """Record, blob and vector of every face are there once, and nothing else is."""
    with store.records.read() as db:
        faces = db.execute(sa.select(schema.faces.c.id, schema.faces.c.blob)).all()
    refs: dict[str, int] = {}
    for row in faces:
        if row.blob:
            refs[row.blob] = refs.get(row.blob, 0) + 1
    assert count_refs(store) == refs
    assert store.blobs.files() == set(refs)
    for sha256 in refs:
        store.blobs.read(sha256)
    ids = store._index.ids().tolist()
    assert sorted(ids) == sorted(row.id for row in faces)
    assert isinstance(store._search, MemorySearch) and len(store._search) == len(faces)


def settle(store: GalleryStore) -> None:
    """Until the index has caught up."""
    assert store._writer.delete(np.array([-1], np.int64)).wait(30)


def test_any_sequence_of_calls_does_what_a_plain_model_does(open_store: Open, tmp_path: Path) -> None:
    """Searched by the store and, before and after they are renewed, by copies as another process has them."""
    store, rng, pick = open_store(), np.random.default_rng(1), random.Random(1)
    copied = Copied(StateSettings(home=tmp_path).versions, lambda: store)
    galleries = [new_gallery(store), new_gallery(store)]
    expected: dict[int, dict[UUID, tuple[str, Float32, bytes]]] = {gallery: {} for gallery in galleries}
    subjects: dict[int, list[str]] = {gallery: [] for gallery in galleries}
    names = ["Ann", "ann", "Bö b", "a/b", "李雷", "x" * 512]

    def stored(gallery: int, name: str) -> str | None:
        """The name under which a subject is there: people are found without regard to case."""
        return next((subject for subject in subjects[gallery] if subject.lower() == name.lower()), None)

    def forget_emptied(gallery: int, before: set[str]) -> None:
        left = {subject for subject, _, _ in expected[gallery].values()}
        subjects[gallery] = [name for name in subjects[gallery] if name in left or name not in before]

    for step in range(STEPS):
        gallery, name = pick.choice(galleries), pick.choice(names)
        faces = expected[gallery]
        action = pick.choice(
            ["add", "add", "add", "delete", "rename", "create", "delete_subject", "clear", "reopen"]
        )
        with_faces = {subject for subject, _, _ in faces.values()}
        if action == "add":
            batch = [
                face(gallery, pick.choice(names), random_embedding(rng), bytes([pick.randrange(4)]))
                for _ in range(5)
            ]
            enrol(store, *batch)
            assert enrol(store, *batch) == enrol(store, *batch)
            for new in batch:
                assert new.image
                if stored(gallery, new.subject) is None:
                    subjects[gallery].append(new.subject)
                faces[new.image_id] = (
                    stored(gallery, new.subject) or "",
                    new.embedding / np.linalg.norm(new.embedding),
                    new.image.data,
                )
        elif action == "delete" and faces:
            ids = pick.sample(list(faces), min(3, len(faces)))
            deleted = store.delete_faces(gallery, [ids[0], uuid4(), *ids])
            assert [(record.image_id, record.subject) for record in deleted] == [
                (i, faces[i][0]) for i in ids
            ]
            for image_id in ids:
                del faces[image_id]
            forget_emptied(gallery, with_faces)
        elif action == "rename":
            renamed, source = pick.choice(names), stored(gallery, name)
            if source is None:
                with pytest.raises(SubjectNotFound):
                    store.rename_subject(gallery, name, renamed)
                continue
            assert store.rename_subject(gallery, name, renamed) == (name != renamed)
            if name == renamed:
                continue
            target = stored(gallery, renamed)
            if target in (None, source):
                subjects[gallery][subjects[gallery].index(source)] = target = renamed
            else:
                subjects[gallery].remove(source)
            expected[gallery] = {i: (target if s == source else s, e, b) for i, (s, e, b) in faces.items()}
        elif action == "create":
            if stored(gallery, name) is not None:
                with pytest.raises(SubjectExists):
                    store.create_subject(gallery, name)
            else:
                store.create_subject(gallery, name)
                subjects[gallery].append(name)
        elif action == "delete_subject":
            gone = stored(gallery, name)
            if gone is None:
                with pytest.raises(SubjectNotFound):
                    store.delete_subject(gallery, name)
                continue
            of_subject = [i for i, (subject, _, _) in faces.items() if subject == gone]
            assert store.delete_subject(gallery, name) == DeletedSubject(gone, len(of_subject))
            for image_id in of_subject:
                del faces[image_id]
            subjects[gallery].remove(gone)
        elif action == "clear" and step % 3 == 0:
            cleared = stored(gallery, name)
            of_subject = [i for i, (subject, _, _) in faces.items() if subject == cleared]
            assert store.delete_all_faces(gallery, name) == len(of_subject)
            for image_id in of_subject:
                del faces[image_id]
            subjects[gallery] = [subject for subject in subjects[gallery] if subject != cleared]
        elif action == "reopen" and step % 5 == 0:
            store = open_store()

        for checked in galleries:
            assert store.subjects(checked) == subjects[checked]
            listed = store.list_faces(checked, 0, 1000)
            assert {r.image_id: r.subject for r in listed.faces} == {
                i: s for i, (s, _, _) in expected[checked].items()
            }
            probe = random_embedding(rng)
            probe /= np.linalg.norm(probe)
            distances = sorted(
                (float(np.linalg.norm(e - probe)), s, i) for i, (s, e, _) in expected[checked].items()
            )
            best: dict[str, float] = {}
            for distance, subject, _ in distances:
                best.setdefault(subject, distance)
            queries = [Query(checked, probe * 3, 3), Query(checked, probe, 4, "face")]
            for by_subject, by_face in filter(
                None, (store.search(queries), copied.search(queries), copied.renewed(queries))
            ):
                assert not isinstance(by_subject, Exception)
                assert not isinstance(by_face, Exception)
                assert [match.subject for match in by_subject] == list(best)[:3]
                assert [match.distance for match in by_subject] == pytest.approx(
                    list(best.values())[:3], abs=1e-5
                )
                assert [match.image_id for match in by_face] == [image_id for _, _, image_id in distances[:4]]
    assert copied.answered > STEPS
    settle(store)
    check_agreement(store)
    image_id, (_, embedding, data) = next(iter(expected[galleries[0]].items()))
    found = store.embedding(galleries[0], image_id)
    assert found is not None
    np.testing.assert_allclose(found, embedding, atol=1e-6)
    assert store.image(galleries[0], image_id) == Blob(data, "image/jpeg")
    assert store.image(galleries[1], image_id) is None
    assert store.embedding(galleries[1], image_id) is None
    assert store.face(galleries[1], image_id) is None
    for gallery in galleries:
        assert store.delete_all_subjects(gallery) == len(subjects[gallery])
    settle(store)
    check_agreement(store)


def test_one_bad_face_does_not_keep_others_out_and_leaves_nothing(open_store: Open) -> None:
    store, rng = open_store(), np.random.default_rng(2)
    gallery = new_gallery(store)
    good = face(gallery, "good", random_embedding(rng), b"good")
    bad_embeddings = [
        np.zeros(DIM, np.float32),
        np.full(DIM, np.nan, np.float32),
        np.full(DIM, np.inf, np.float32),
        np.ones(DIM + 1, np.float32),
        np.ones((1, DIM), np.float32),
    ]
    bad = [face(gallery, "bad", embedding, b"bad") for embedding in bad_embeddings]
    bad_names = ("", "  ", "x" * 513, "nul\0", "\ud800")
    bad += [face(gallery, name, random_embedding(rng), b"bad") for name in bad_names]
    bad.append(face(12345, "bad", random_embedding(rng), b"bad"))
    results = store.add_faces([*bad, good])
    kinds = [InvalidEmbedding] * 5 + [InvalidSubject] * 5 + [GalleryNotFound, FaceRecord]
    assert [type(result) for result in results] == kinds
    assert store.subjects(gallery) == ["good"]
    settle(store)
    check_agreement(store)


def test_an_image_id_belongs_to_one_gallery(open_store: Open) -> None:
    store, rng = open_store(), np.random.default_rng(2)
    one, two = new_gallery(store), new_gallery(store)
    first = face(one, "a", random_embedding(rng))
    second = NewFace(two, "b", first.image_id, random_embedding(rng), Blob(b"other"))
    record, refused = store.add_faces([first, second])
    assert isinstance(record, FaceRecord)
    assert isinstance(refused, ImageIdTaken)
    assert isinstance(store.add_faces([second])[0], ImageIdTaken)
    settle(store)
    check_agreement(store)
    assert store.subjects(two) == []


def test_unknown_galleries_are_refused_everywhere(open_store: Open) -> None:
    store = open_store()
    calls: list[Callable[[], object]] = [
        lambda: store.subjects(9),
        lambda: store.create_subject(9, "a"),
        lambda: store.rename_subject(9, "a", "b"),
        lambda: store.delete_subject(9, "a"),
        lambda: store.delete_all_subjects(9),
        lambda: store.delete_faces(9, [uuid4()]),
        lambda: store.delete_all_faces(9),
        lambda: store.list_faces(9),
        lambda: store.face(9, uuid4()),
        lambda: store.image(9, uuid4()),
        lambda: store.embedding(9, uuid4()),
    ]
    for call in calls:
        with pytest.raises(GalleryNotFound):
            call()


def test_names_no_subject_can_have_are_not_found(open_store: Open) -> None:
    store = open_store()
    gallery = new_gallery(store)
    for name in ("", "x" * 10_000, "nul\0", "\ud800"):
        with pytest.raises(InvalidSubject):
            store.create_subject(gallery, name)
        with pytest.raises(SubjectNotFound):
            store.delete_subject(gallery, name)
        with pytest.raises(SubjectNotFound):
            store.rename_subject(gallery, name, "fine")
        assert store.list_faces(gallery, subject=name).total == 0
        assert store.delete_all_faces(gallery, name) == 0


def test_people_are_found_without_regard_to_case_and_called_as_they_were_first(open_store: Open) -> None:
    store, rng = open_store(), np.random.default_rng(3)
    gallery = new_gallery(store)
    enrol(store, *(face(gallery, name, random_embedding(rng)) for name in ("Zoë", "ZOË", "zoë", "Bob")))
    assert store.subjects(gallery) == ["Zoë", "Bob"]
    assert store.list_faces(gallery, subject="zOË").total == 3
    with pytest.raises(SubjectExists):
        store.create_subject(gallery, "bob")
    assert store.rename_subject(gallery, "zoë", "ZoË") and store.subjects(gallery) == ["ZoË", "Bob"]
    assert not store.rename_subject(gallery, "ZoË", "ZoË")
    assert store.delete_subject(gallery, "BOB") == DeletedSubject("Bob", 1)
    assert store.delete_all_faces(gallery, "zoë") == 3 and store.subjects(gallery) == []


def test_addresses_of_pages_keep_their_case(open_store: Open) -> None:
    store, rng = open_store(), np.random.default_rng(3)
    with store.records.write() as db:
        tenant = store.records.ensure_tenant(db, "acme")
        pages = store.records.ensure_gallery(db, tenant, "facecheck", "index")
    names = ["https://example.org/A", "https://example.org/a"]
    enrol(store, *(face(pages, name, random_embedding(rng)) for name in names))
    assert store.subjects(pages) == names


def test_a_folder_of_a_url_is_no_subjects_name(open_store: Open) -> None:
    store, rng = open_store(), np.random.default_rng(3)
    gallery = new_gallery(store)
    for name in (".", ".."):
        with pytest.raises(InvalidSubject):
            store.create_subject(gallery, name)
        (refused,) = store.add_faces([face(gallery, name, random_embedding(rng))])
        assert isinstance(refused, InvalidSubject)
    store.create_subject(gallery, "...")
    with pytest.raises(InvalidSubject):
        store.rename_subject(gallery, "...", "..")


def test_a_gallery_from_before_keeps_its_names(open_store: Open) -> None:
    """Names that differ in case alone, and those that are refused now, are found by themselves."""
    store, rng = open_store(), np.random.default_rng(3)
    gallery = new_gallery(store)
    enrol(store, *(face(gallery, name, random_embedding(rng)) for name in ("one", "two", "three")))
    with store.records.write() as db:
        subjects = schema.subjects
        for name, before in (("one", "Bob"), ("two", "bob"), ("three", ".")):
            named = sa.update(subjects).where(subjects.c.name == name)
            db.execute(named.values(name=before, folded=before.lower()))
    for name, places in (("Bob", [0]), ("bob", [1]), ("BOB", [0]), (".", [2])):
        listed = store.list_faces(gallery, subject=name).faces
        assert [record.id - 1 for record in listed] == places, name
    assert store.rename_subject(gallery, ".", "dot")
    assert store.delete_all_faces(gallery, "bob") == 1
    assert store.subjects(gallery) == ["Bob", "dot"]


def test_pages_hold_every_face_once(open_store: Open) -> None:
    store, rng = open_store(), np.random.default_rng(3)
    gallery = new_gallery(store)
    records = enrol(store, *[face(gallery, f"s{i % 3}", random_embedding(rng), None) for i in range(25)])
    pages = [store.list_faces(gallery, page, 10) for page in range(4)]
    assert [len(page.faces) for page in pages] == [10, 10, 5, 0]
    assert [record for page in pages for record in page.faces] == records
    assert {(page.total, page.pages) for page in pages} == {(25, 3)}
    assert store.list_faces(gallery, 10**30, 10**30).faces == []
    assert store.list_faces(gallery, 0, 2, "s1").total == 8
    with pytest.raises(ValueError, match="page"):
        store.list_faces(gallery, 0, 0)


def test_a_subject_with_many_faces_does_not_hide_the_others(open_store: Open) -> None:
    store, rng = open_store(), np.random.default_rng(4)
    gallery = new_gallery(store)
    probe = random_embedding(rng)
    near = [face(gallery, "twin", probe + 0.01 * random_embedding(rng), None) for _ in range(300)]
    far = [face(gallery, f"s{i}", random_embedding(rng), None) for i in range(30)]
    enrol(store, *near, *far)
    (matches,) = store.search([Query(gallery, probe, 20)])
    assert not isinstance(matches, Exception)
    assert matches[0].subject == "twin"
    assert len({match.subject for match in matches}) == len(matches) == 20
    everyone, nobody = store.search([Query(gallery, probe, 5000), Query(gallery, probe, 0)])
    assert len(everyone) == 31  # type: ignore[arg-type]
    assert nobody == []


def test_another_embedder_is_refused_until_the_gallery_is_empty(open_store: Open) -> None:
    rng, store = np.random.default_rng(5), open_store()
    gallery, empty = new_gallery(store), new_gallery(store)
    enrolled = enrol(store, face(gallery, "a", random_embedding(rng)))[0]
    store = open_store("model-2", 8)
    other = random_embedding(rng, 8)
    for result in (*store.search([Query(gallery, other, 1)]), *store.add_faces([face(gallery, "b", other)])):
        assert isinstance(result, FingerprintMismatch)
        assert "prosopon reembed" in str(result)
    with pytest.raises(FingerprintMismatch):
        store.embedding(gallery, enrolled.image_id)
    assert store.search([Query(empty, other, 1)]) == [[]]
    assert store.image(gallery, enrolled.image_id) == Blob(b"image", "image/jpeg")
    assert store.delete_all_faces(gallery) == 1
    enrol(store, face(gallery, "b", other))
    (matches,) = store.search([Query(gallery, other, 1)])
    assert [match.subject for match in matches] == ["b"]  # type: ignore[union-attr]


@pytest.mark.parametrize("damage", ["removed", "garbage"])
def test_a_lost_index_is_made_again_from_the_records(open_store: Open, tmp_path: Path, damage: str) -> None:
    rng, store = np.random.default_rng(6), open_store()
    gallery = new_gallery(store)
    enrol(store, *[face(gallery, f"s{i}", random_embedding(rng)) for i in range(50)])
    store.close()
    if damage == "removed":
        shutil.rmtree(tmp_path / "vectors.db")
    else:
        for file in (tmp_path / "vectors.db").rglob("*"):
            if file.is_file():
                file.write_bytes(b"garbage")
    store = open_store()
    settle(store)
    assert (store.repaired.faces, store.repaired.added) == (50, 50)
    check_agreement(store)
    assert open_store().repaired.added == 0


def test_an_index_that_knows_too_much_is_corrected(open_store: Open) -> None:
    rng, store = np.random.default_rng(7), open_store()
    gallery = new_gallery(store)
    records = enrol(store, *[face(gallery, f"s{i}", random_embedding(rng)) for i in range(10)])
    settle(store)
    with store.records.write() as db:
        db.execute(sa.delete(schema.faces).where(schema.faces.c.id == records[3].id))
        store.blobs.release(db, [Blob(b"image").sha256])
    ids = np.array([77777], np.int64)
    store._index.upsert(ids, np.array([gallery]), random_embedding(rng)[np.newaxis])
    store = open_store()
    settle(store)
    assert store.repaired.removed == 2
    check_agreement(store)


def test_one_process_at_a_time_holds_a_milvus_lite_file(
    open_store: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store()
    monkeypatch.setattr("prosopon.deployments.state.vectors.index._LOCK_SECONDS", 0.2)
    with pytest.raises(StateError, match="in use"):
        GalleryStore(StateSettings(home=tmp_path), "model-1", DIM)


_ENROLLING = """
import json, sys
from pathlib import Path
from uuid import uuid4
import numpy as np
from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.galleries.store import GalleryStore, NewFace
from prosopon.deployments.state.keys import KeyStore
store = GalleryStore(StateSettings(home=Path(sys.argv[1])), "model-1", 16)
gallery, rng = int(sys.argv[2]), np.random.default_rng()
print("ready", flush=True)
while True:
    batch = [
        NewFace(gallery, f"s{rng.integers(20)}", uuid4(), rng.standard_normal(16).astype("f4"), Blob(rng.bytes(64)))
        for _ in range(rng.integers(1, 9))
    ]
    added = store.add_faces(batch)
    print(json.dumps({"added": [str(record.image_id) for record in added]}), flush=True)
    if rng.random() < 0.3:
        going = [batch[0].image_id]
        print(json.dumps({"deleting": [str(i) for i in going]}), flush=True)
        store.delete_faces(gallery, going)
        print(json.dumps({"deleted": [str(i) for i in going]}), flush=True)
"""


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_or_doubled_by_kill_9(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    gallery = new_gallery(store)
    store.close()
    acknowledged: set[str] = set()
    deleted: set[str] = set()
    pick = random.Random(8)
    for _ in range(KILLS):
        arguments = [str(tmp_path), str(gallery)]
        for line in said_until_killed(_ENROLLING, arguments, pick.randrange(8), pick.uniform(0.0, 0.4)):
            ((event, ids),) = json.loads(line).items()
            if event == "added":
                acknowledged |= set(ids)
            elif event == "deleting":
                acknowledged -= set(ids)
            else:
                deleted |= set(ids)
    store = open_store()
    settle(store)
    check_agreement(store)
    page = store.list_faces(gallery, 0, 1_000_000)
    stored = [str(record.image_id) for record in page.faces]
    assert len(stored) == len(set(stored))
    assert len(acknowledged) > 30
    assert acknowledged <= set(stored)
    assert not deleted & set(stored)
    print(f"{len(acknowledged)} acknowledged, {len(stored)} stored, repaired {store.repaired}")
    for image_id in sorted(acknowledged)[:200]:
        found = store.embedding(gallery, UUID(image_id))
        assert found is not None
        (matches,) = store.search([Query(gallery, found, 1, "face")])
        assert not isinstance(matches, Exception)
        assert [str(match.image_id) for match in matches] == [image_id]
        assert matches[0].distance == pytest.approx(0, abs=1e-6)
        assert store.image(gallery, UUID(image_id)) is not None


def test_a_search_of_the_first_faces_knows_no_later_ones(open_store: Open) -> None:
    store, rng = open_store(), np.random.default_rng(3)
    gallery, other = new_gallery(store), new_gallery(store)
    mine = [face(gallery, f"s{i}", random_embedding(rng), None) for i in range(12)]
    enrol(store, *mine[:4], face(other, "x", random_embedding(rng), None), *mine[4:])
    for reopened in (False, True):
        store = open_store() if reopened else store
        (nearest,) = store.search([Query(gallery, mine[9].embedding, 12, "face", first=6)])
        assert not isinstance(nearest, StateError)
        assert {match.image_id for match in nearest} == {new.image_id for new in mine[:6]}
        both = store.search([Query(gallery, mine[9].embedding, 1, first=n) for n in (9, 10)])
        assert [matches[0].subject == "s9" for matches in both if not isinstance(matches, StateError)] == [
            False,
            True,
        ]
    store.delete_faces(gallery, [mine[0].image_id])
    (nearest,) = store.search([Query(gallery, mine[6].embedding, 1, first=6)])
    assert not isinstance(nearest, StateError) and nearest[0].subject == "s6"


def test_a_start_reads_embeddings_from_the_vector_index_and_what_it_lacks_from_the_records(
    open_store: Open,
) -> None:
    store, rng = open_store(), np.random.default_rng(5)
    gallery = new_gallery(store)
    one, other, third = (random_embedding(rng) for _ in range(3))
    there, changed, lacking = enrol(
        store, face(gallery, "a", one), face(gallery, "b", other), face(gallery, "c", third)
    )
    store.close()
    # Told apart by what no working store would do: the records have another embedding than the index.
    store = open_store()
    assert store.repaired.added == 0  # Waits until it is known: a repair after what follows would undo it.
    store._index.delete(np.array([lacking.id]))
    with store.records.write() as db:
        values = {"embedding": np.eye(DIM, dtype="<f4")[0].tobytes()}
        db.execute(sa.update(schema.faces).where(schema.faces.c.id == changed.id).values(values))
    store = open_store()
    results = store.search([Query(gallery, probe, 1) for probe in (one, other, third)])
    assert [
        (found[0].image_id, round(found[0].distance, 5)) for found in results if isinstance(found, list)
    ] == [
        (there.image_id, 0),
        (changed.image_id, 0),
        (lacking.image_id, 0),
    ]
    assert (store.repaired.faces, store.repaired.added, store.repaired.removed) == (3, 1, 0)
