"""Searching and filling galleries: `python -m tests.benchmarks.gallery_search`.

First galleries of random embeddings, which have no structure that an index could use: how much longer one
search takes than in an empty gallery, how often its best ten are those of brute force, memory, and how long
opening takes. Then many faces of many subjects through the write path: its throughput, and whether the
nearest subjects are right.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import sqlalchemy as sa

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.database import Records, now
from prosopon.deployments.state.galleries.store import GalleryStore, NewFace, Query
from prosopon.deployments.state.keys import KeyStore
from prosopon.deployments.state.maintenance import reindex
from prosopon.models.faces.detections import Float32
from prosopon.models.matching.vectors import normalize

DIM = 128
FINGERPRINT = "benchmark"
TARGETS = {1_000: 5, 100_000: 15, 1_000_000: 60}
"""Milliseconds above an empty gallery's, at the median."""


def memory_mb() -> tuple[float, float]:
    """Of this process alone, and of mapped files: pages of the database that the kernel may take back."""
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - shared) * 4096 / 2**20, shared * 4096 / 2**20


def random_unit(rng: np.random.Generator, count: int) -> Float32:
    return normalize(rng.standard_normal((count, DIM), dtype=np.float32))


def fill_records(settings: StateSettings, sizes: list[int], seed: int) -> dict[int, int]:
    """Galleries by size, filled in the database alone: what is measured here is not the write path."""
    records, rng = Records(settings.database), np.random.default_rng(seed)
    galleries = {size: KeyStore(records).create(str(size))[0].gallery for size in (0, *sizes)}
    time_, subject = now(), 0
    for size in sizes:
        for start in range(0, size, 20_000):
            embeddings = random_unit(rng, min(20_000, size - start))
            with records.write() as db:
                subjects = [
                    {"id": subject + 1 + i, "gallery_id": galleries[size], "name": f"s{subject + 1 + i}",
                     "explicit": False, "created": time_}
                    for i in range(len(embeddings))
                ]  # fmt: skip
                db.execute(sa.insert(schema.subjects), subjects)
                faces = [
                    {"image_id": uuid4(), "gallery_id": galleries[size], "subject_id": subject + 1 + i,
                     "embedding": embedding.tobytes(), "fingerprint": FINGERPRINT, "created": time_}
                    for i, embedding in enumerate(embeddings)
                ]  # fmt: skip
                db.execute(sa.insert(schema.faces), faces)
            subject += len(embeddings)
    with records.write() as db:
        db.execute(sa.update(schema.galleries).values(fingerprint=FINGERPRINT))
    records.close()
    return galleries


def stored(store: GalleryStore, gallery: int) -> tuple[list[str], Float32]:
    """Subjects and embeddings of a gallery, as the records have them."""
    query = (
        sa.select(schema.subjects.c.name, schema.faces.c.embedding)
        .join(schema.subjects, schema.subjects.c.id == schema.faces.c.subject_id)
        .where(schema.faces.c.gallery_id == gallery)
    )
    with store.records.read() as db:
        names, embeddings = zip(*db.execute(query), strict=True)
    return list(names), np.frombuffer(b"".join(embeddings), np.float32).reshape(-1, DIM)


def nearest_subjects(
    names: list[str], embeddings: Float32, probes: Float32, count: int
) -> Iterator[list[str]]:
    """Brute force, in float64 where it decides."""
    for probe in probes:
        scores = embeddings @ probe
        rows = (
            np.argpartition(-scores, 50 * count)[: 50 * count]
            if len(scores) > 50 * count
            else np.arange(len(scores))
        )
        exact = embeddings[rows].astype(np.float64) @ probe.astype(np.float64)
        best = dict.fromkeys(names[row] for row in rows[np.argsort(-exact)])
        yield list(best)[:count]


def latency(store: GalleryStore, gallery: int, probes: Float32) -> tuple[float, float]:
    """Median and 99th percentile of one search, in ms."""
    taken = []
    for probe in probes:
        started = time.perf_counter()
        store.search([Query(gallery, probe, 10)])
        taken.append((time.perf_counter() - started) * 1000)
    return float(np.percentile(taken, 50)), float(np.percentile(taken, 99))


def agreement(store: GalleryStore, gallery: int, probes: Float32) -> float:
    names, embeddings = stored(store, gallery)
    same = 0
    for probe, expected in zip(probes, nearest_subjects(names, embeddings, probes, 10), strict=True):
        (matches,) = store.search([Query(gallery, probe, 10)])
        assert not isinstance(matches, Exception)
        same += len(set(expected) & {match.subject for match in matches})
    return same / (10 * len(probes))


def search(home: Path, sizes: list[int], probe_count: int) -> bool:
    settings = StateSettings(home=home)
    started = time.perf_counter()
    galleries = fill_records(settings, sizes, seed=0)
    print(f"records of {sum(sizes):,} faces: {time.perf_counter() - started:.1f} s", flush=True)
    started = time.perf_counter()
    reindex(settings, lambda done, total: None)
    print(f"reindex of {sum(sizes):,} faces: {time.perf_counter() - started:.1f} s", flush=True)
    before, started = memory_mb(), time.perf_counter()
    store = GalleryStore(settings, FINGERPRINT, DIM)
    opened = time.perf_counter() - started
    own, mapped = (after - then for after, then in zip(memory_mb(), before, strict=True))
    data = store.repaired.faces * DIM * 4 / 2**20
    print(
        f"open, load and check {store.repaired.faces:,} faces: {opened:.1f} s; {store.repaired}\n"
        f"memory: {own:.0f} MB more of its own, {mapped:.0f} MB more of the database mapped; "
        f"{store.view_bytes / 2**20:.0f} MB in views, {data:.0f} MB of float32 data",
        flush=True,
    )
    probes = random_unit(np.random.default_rng(1), probe_count)
    latency(store, galleries[0], probes[:10])
    empty = latency(store, galleries[0], probes)
    print(
        f"{'faces':>10} {'p50 ms':>8} {'p99 ms':>8} {'over empty':>11} {'target':>7} {'top-10 agreement':>17}"
    )
    print(f"{0:>10,} {empty[0]:8.2f} {empty[1]:8.2f}")
    passed = True
    for size in sizes:
        p50, p99 = latency(store, galleries[size], probes)
        agreed = agreement(store, galleries[size], probes[:50])
        target = TARGETS.get(size)
        shown = "" if target is None else f"<= {target}"
        print(
            f"{size:>10,} {p50:8.2f} {p99:8.2f} {p50 - empty[0]:11.2f} {shown:>7} {agreed:17.2%}", flush=True
        )
        passed &= agreed >= 0.99 and (target is None or p50 - empty[0] <= target)
    for together in (4, 16, 64):
        queries = [Query(galleries[sizes[-1]], probe, 10) for probe in probes[:together]]
        started = time.perf_counter()
        store.search(queries)
        per_query = (time.perf_counter() - started) * 1000 / together
        print(f"{together} searches of {sizes[-1]:,} faces together: {per_query:.1f} ms each")
    store.close()
    return passed


def write(home: Path, faces: int, subjects: int, batch: int) -> bool:
    store = GalleryStore(StateSettings(home=home), FINGERPRINT, DIM)
    gallery, rng = KeyStore(store.records).create("write")[0].gallery, np.random.default_rng(2)
    centres = random_unit(rng, subjects)
    started, taken = time.perf_counter(), []
    for first in range(0, faces, batch):
        owners = [i % subjects for i in range(first, min(first + batch, faces))]
        noise = 0.06 * rng.standard_normal((len(owners), DIM), dtype=np.float32)
        new = [
            NewFace(gallery, f"person {owner}", uuid4(), embedding, Blob(b"%d" % (first + i)))
            for i, (owner, embedding) in enumerate(zip(owners, centres[owners] + noise, strict=True))
        ]
        one = time.perf_counter()
        results = store.add_faces(new)
        taken.append(time.perf_counter() - one)
        assert not any(isinstance(result, Exception) for result in results)
    total = time.perf_counter() - started
    print(
        f"{faces:,} faces of {subjects:,} subjects written in batches of {batch}, with an image each: {total:.0f} s, "
        f"{faces / total:.0f} a second; a batch p50 {np.percentile(taken, 50) * 1000:.0f} ms, "
        f"p99 {np.percentile(taken, 99) * 1000:.0f} ms"
    )
    started = time.perf_counter()
    store.close()
    print(f"close: {time.perf_counter() - started:.1f} s")
    started = time.perf_counter()
    store = GalleryStore(StateSettings(home=home), FINGERPRINT, DIM)
    print(f"open: {time.perf_counter() - started:.1f} s; {store.repaired}")
    picked = rng.choice(subjects, 100, replace=False)
    probes = normalize(centres[picked] + 0.06 * rng.standard_normal((100, DIM), dtype=np.float32))
    agreed = agreement(store, gallery, probes)
    right = 0
    for owner, probe in zip(picked.tolist(), probes, strict=True):
        (matches,) = store.search([Query(gallery, probe, 1)])
        assert not isinstance(matches, Exception)
        right += matches[0].subject == f"person {owner}"
    p50, p99 = latency(store, gallery, probes)
    print(f"nearest ten subjects as by brute force: {agreed:.2%}; nearest subject right: {right} of 100")
    print(f"one search: p50 {p50:.1f} ms, p99 {p99:.1f} ms; {store.view_bytes / 2**20:.0f} MB in views")
    page_started = time.perf_counter()
    assert store.list_faces(gallery, faces // 40, 20).total == faces
    print(f"page {faces // 40} of the list: {(time.perf_counter() - page_started) * 1000:.0f} ms")
    store.close()
    return agreed >= 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(TARGETS))
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--faces", type=int, default=200_000, help="through the write path; 0: leave it out")
    parser.add_argument("--subjects", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    passed = True
    with tempfile.TemporaryDirectory(prefix="gallery-search-") as folder:
        if options.sizes:
            passed &= search(Path(folder, "search"), sorted(options.sizes), options.probes)
        if options.faces:
            passed &= write(Path(folder, "write"), options.faces, options.subjects, options.batch)
    print("every target is met" if passed else "a target is missed")
    raise SystemExit(not passed)


if __name__ == "__main__":
    main()
