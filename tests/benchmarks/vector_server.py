"""What a Milvus server's index finds, by kind: python -m tests.benchmarks.vector_server

milvus-lite's gRPC server stands for Milvus: its indexes are faiss's of the same names and parameters, of one segment.
Its times say nothing about Milvus. Embeddings are like those of `archive`; each search asks for the ten nearest faces.
Recall is of what the index alone finds, and of what remains after the exact comparison of its candidates.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import get_args
from uuid import uuid4

import numpy as np

from prosopon.configs.settings import StateSettings, VectorIndexSettings
from prosopon.deployments.state.galleries.faces import NewFace, Query
from prosopon.deployments.state.galleries.store import GalleryStore
from prosopon.deployments.state.keys import KeyStore
from prosopon.deployments.state.vectors.index import ServerIndex, build_parameters, search_parameters
from prosopon.models.faces.detections import Float32
from tests.benchmarks.archive import around, centres_of, people
from tests.integration.processes import milvus

DIM, FOUND = 128, 10


def measure(
    uri: str, home: Path, kind: str, embeddings: Float32, probes: Float32, expected: np.ndarray
) -> None:
    settings = StateSettings(
        home=home, vectors_uri=uri, vector_index=VectorIndexSettings.model_validate({"kind": kind})
    )
    began = time.perf_counter()
    store = GalleryStore(settings, "benchmark", DIM)
    names = {str(i): i for i in range(len(embeddings))}
    records = KeyStore(store.records)
    gallery = next(iter(records.list()), None)
    if gallery is None:
        key = records.create("benchmark")[0]
        for start in range(0, len(embeddings), 2_000):
            part = embeddings[start : start + 2_000]
            store.add_together(
                key.gallery,
                [NewFace(key.gallery, str(start + i), uuid4(), one) for i, one in enumerate(part)],
            )
        gallery = key
    assert isinstance(store._index, ServerIndex)
    store._index.flush()
    alone = exact = 0
    for probe, rows in zip(probes, expected, strict=True):
        (ids,) = store._index.search(gallery.gallery, probe[np.newaxis], FOUND)
        alone += len({int(i) - 1 for i in ids} & set(rows.tolist()))
        (matches,) = store.search([Query(gallery.gallery, probe, FOUND, "face")])
        assert not isinstance(matches, Exception)
        exact += len({names[match.subject] for match in matches} & set(rows.tolist()))
    total = FOUND * len(probes)
    print(
        f"{kind:>9}: recall@{FOUND} {alone / total:7.2%} by the index, {exact / total:7.2%} after the exact comparison "
        f"({time.perf_counter() - began:.0f} s with building)",
        flush=True,
    )
    store.close()


def footprint(embeddings: Float32, probes: Float32) -> None:
    """Bytes a face and one core's time for a search, of faiss's indexes with the parameters that are set."""
    import faiss

    faiss.omp_set_num_threads(1)
    dim, metric = embeddings.shape[1], faiss.METRIC_INNER_PRODUCT
    for kind in ("HNSW", "HNSW_SQ", "IVF_SQ8"):
        settings = VectorIndexSettings.model_validate({"kind": kind})
        build, search = build_parameters(settings), search_parameters(settings, 4 * FOUND)
        if kind == "IVF_SQ8":
            index = faiss.IndexIVFScalarQuantizer(
                faiss.IndexFlat(dim, metric), dim, int(build["nlist"]), faiss.ScalarQuantizer.QT_8bit, metric
            )
            index.train(embeddings)
            index.nprobe = int(search["nprobe"])
        else:
            quantizer = (faiss.ScalarQuantizer.QT_8bit,) if kind == "HNSW_SQ" else ()
            make = faiss.IndexHNSWSQ if quantizer else faiss.IndexHNSWFlat
            index = make(dim, *quantizer, int(build["M"]), metric)
            index.hnsw.efConstruction = int(build["efConstruction"])
            index.hnsw.efSearch = int(search["ef"])
            index.train(embeddings)
        began = time.perf_counter()
        index.add(embeddings)
        added = time.perf_counter() - began
        taken = []
        for probe in probes:
            began = time.perf_counter()
            index.search(probe[np.newaxis], 4 * FOUND)
            taken.append(time.perf_counter() - began)
        size = len(faiss.serialize_index(index)) / len(embeddings)
        print(
            f"{kind:>9}: {size:.0f} bytes a face, {np.median(taken) * 1000:.2f} ms a search and "
            f"{added / len(embeddings) * 1000:.2f} ms a face added, on one core with {len(embeddings):,} faces",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=50_000)
    parser.add_argument("--probes", type=int, default=200)
    options = parser.parse_args()
    owners = people(options.faces)
    centres = centres_of(owners, DIM)
    embeddings = around(centres[owners], np.random.default_rng(2))
    picked = np.random.default_rng(3).choice(owners, options.probes, replace=False)
    probes = around(centres[picked], np.random.default_rng(4))
    expected = np.argsort(-(probes @ embeddings.T), axis=1)[:, :FOUND]
    footprint(embeddings, probes)
    with tempfile.TemporaryDirectory(prefix="vector-server-") as folder, milvus(Path(folder)) as uri:
        for kind in get_args(VectorIndexSettings.model_fields["kind"].annotation):
            if kind != "DISKANN":  # which only Milvus itself has
                measure(uri, Path(folder), kind, embeddings, probes, expected)


if __name__ == "__main__":
    main()
