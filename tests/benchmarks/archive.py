"""A public index of a million faces: python -m tests.benchmarks.archive [--faces N]

Synthetic embeddings go through the write path of the bulk ingestion (ledger, subjects, records, index; thumbnails are
left out: they are files, and measure the disk). A tenth of the faces are alone in their group, the others five
together: embeddings of one person, whose faces lie as close as the embedder's do. Then `prosopon serve` opens that
state, and clients in a process of their own search it through the server's FaceIndex with pictures of persons in it,
by face, as FaceCheck does. What is found is compared with brute force.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from prosopon.configs.settings import ModelSettings, StateSettings
from prosopon.deployments.state import schema
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.galleries.face_archive import ArchivedFace, archive_gallery
from prosopon.deployments.state.galleries.faces import Query
from prosopon.deployments.state.galleries.source_ledger import (
    SeenFace,
    SourceFaces,
    SourceLedger,
    digest,
    source_id,
)
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.models.faces.detections import Float32
from prosopon.models.load import load_embedder
from prosopon.models.matching.vectors import normalize
from prosopon.models.runtime.session import Compute
from tests.benchmarks.server import resident
from tests.benchmarks.serving import serving_at

TOGETHER, ALONE = 5, 0.1
SPREAD = 0.35
"""Distance of a face from its person's centre: pairs are 0.5 apart, and below 0.6 dlib's say the same person."""
BATCH = 2_000
CLIENTS = (1, 16)
FOUND = 10


def people(faces: int) -> np.ndarray:
    """``(faces,)``: whose each face is."""
    alone = int(faces * ALONE)
    owners = np.concatenate([np.arange(alone), alone + np.arange(faces - alone) // TOGETHER])
    return np.random.default_rng(0).permutation(owners)


def around(centres: Float32, rng: np.random.Generator) -> Float32:
    noise = normalize(rng.standard_normal(centres.shape, dtype=np.float32))
    return normalize(centres + SPREAD * noise)


def centres_of(owners: np.ndarray, dim: int) -> Float32:
    return normalize(np.random.default_rng(1).standard_normal((owners.max() + 1, dim), dtype=np.float32))


def write(home: Path, owners: np.ndarray, centres: Float32, fingerprint: str) -> None:
    store = GalleryStore(StateSettings(home=home), fingerprint, centres.shape[1])
    ledger, rng, seconds = SourceLedger(store), np.random.default_rng(2), 0.0
    for start in range(0, len(owners), BATCH):
        part = owners[start : start + BATCH]
        embeddings = around(centres[part], rng)
        sources = []
        for number, (owner, embedding) in enumerate(zip(part.tolist(), embeddings, strict=True), start):
            url = f"https://example.org/pictures/{number}"
            origin = ArchivedFace(url, f"person {owner}")
            face = SeenFace(embedding, None)
            sources.append(SourceFaces(source_id(url, url), digest(url), digest(url), origin, (face,)))
        began = time.perf_counter()
        ledger.write(sources)
        seconds += time.perf_counter() - began
    began = time.perf_counter()
    store.close()
    closing = time.perf_counter() - began
    print(
        f"{len(owners):,} faces written in {seconds:.0f} s: {len(owners) / seconds:,.0f} a second; "
        f"the index behind them closed after {closing:.1f} s more; on disk {on_disk(home, 'records.db*', owners)} "
        f"bytes a face in the records, {on_disk(home, 'vectors.db/**/*', owners)} in the index",
        flush=True,
    )


def on_disk(home: Path, pattern: str, owners: np.ndarray) -> str:
    return f"{sum(path.stat().st_size for path in home.glob(pattern) if path.is_file()) / len(owners):.0f}"


def open_time(home: Path, fingerprint: str, dim: int) -> None:
    began = time.perf_counter()
    store = GalleryStore(StateSettings(home=home), fingerprint, dim)
    opened = time.perf_counter() - began
    repaired = store.repaired
    print(
        f"opened in {opened:.1f} s, compared with the index after {time.perf_counter() - began:.1f} s: {repaired}; "
        f"{store.view_bytes / 2**20:.0f} MB in views",
        flush=True,
    )
    store.close()


def nearest(home: Path, gallery: int, probes: Float32) -> list[list[str]]:
    """Image ids of each probe's nearest faces, by brute force over the records."""
    records = Records(StateSettings(home=home).database)
    query = sa.select(schema.faces.c.image_id, schema.faces.c.embedding).where(
        schema.faces.c.gallery_id == gallery
    )
    with records.read() as db:
        ids, embeddings = zip(*db.execute(query), strict=True)
    records.close()
    stored = np.frombuffer(b"".join(embeddings), "<f4").reshape(len(ids), -1)
    found = []
    for probe in probes:
        rows = np.argpartition(-(stored @ probe), 10 * FOUND)[: 10 * FOUND]
        exact = np.linalg.norm(stored[rows].astype(np.float64) - probe, axis=1)
        found.append([str(ids[row]) for row in rows[np.argsort(exact)][:FOUND]])
    return found


async def search(
    index: object, queries: list[Query], clients: int, seconds: float
) -> tuple[list[float], float]:
    """Seconds of each search, of so many clients that search one after the other, and how long that went on."""
    taken: list[float] = []
    began = time.perf_counter()

    async def client(number: int) -> None:
        while time.perf_counter() - began < seconds:
            started = time.perf_counter()
            await index.search.remote([queries[(number + len(taken)) % len(queries)]])  # type: ignore[attr-defined]
            taken.append(time.perf_counter() - started)

    await asyncio.gather(*map(client, range(clients)))
    return taken, time.perf_counter() - began


async def measure(home: Path, gallery: int, probes: Float32, seconds: float) -> None:
    from ray import serve

    index = serve.get_deployment_handle("FaceIndex", "prosopon")
    for first, name in ((0, "all"), (100_000, "the first 100,000")):
        queries = [Query(gallery, probe, FOUND, "face", first) for probe in probes]
        await search(index, queries, 4, 2)
        for clients in CLIENTS:
            taken, went = await search(index, queries, clients, seconds)
            p50, p99 = np.percentile(taken, (50, 99)) * 1000
            print(
                f"{name:>18}, {clients:>2} clients: p50 {p50:6.1f} ms, p99 {p99:6.1f} ms, "
                f"{len(taken) / went:6.1f} a second",
                flush=True,
            )
    same = 0
    for probe, expected in zip(probes, nearest(home, gallery, probes), strict=True):
        (matches,) = await index.search.remote([Query(gallery, probe, FOUND, "face")])
        same += len({str(match.image_id) for match in matches} & set(expected))
    print(f"recall@{FOUND} against brute force: {same / (FOUND * len(probes)):.2%}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    embedder = load_embedder(ModelSettings(), Compute())
    owners = people(options.faces)
    centres = centres_of(owners, embedder.dim)
    picked = np.random.default_rng(3).choice(owners, options.probes, replace=False)
    probes = around(centres[picked], np.random.default_rng(4))
    with tempfile.TemporaryDirectory(prefix="archive-") as folder:
        home = Path(folder)
        write(home, owners, centres, embedder.fingerprint)
        del centres
        open_time(home, embedder.fingerprint, embedder.dim)
        records = Records(StateSettings(home=home).database)
        gallery = archive_gallery(records)
        records.close()
        with serving_at(home, {"apis": ["facecheck"]}) as server:
            print(f"server ready after {server.started_seconds:.1f} s", flush=True)
            from prosopon.pipelines.running import HANDLE_ENVIRONMENT, join

            os.environ.update(HANDLE_ENVIRONMENT)
            join(home=home)
            asyncio.run(measure(home, gallery, probes, options.seconds))
            replica = [
                pid for pid in server.pids() if "FaceIndex" in Path(f"/proc/{pid}/cmdline").read_text()
            ]
            print(
                f"memory: {resident(replica) / 2**20:,.0f} MB in the FaceIndex, of which the database's pages are "
                f"shared; {resident(server.pids()) / 2**20:,.0f} MB in all processes of the server",
                flush=True,
            )


if __name__ == "__main__":
    main()
