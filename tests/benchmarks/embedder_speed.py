"""Milliseconds per face of dlib's own network and of its ONNX form: python -m tests.benchmarks.embedder_speed

Both run on one thread, in turns, so that other load on the machine falls on both; the median of the turns
counts.
"""

import statistics
import time
from collections.abc import Callable

import dlib
import numpy as np

from prosopon.models.pictures.crops import cut
from prosopon.models.runtime.session import Compute
from tests.benchmarks.embeddings import detector, embedder, portraits
from tests.paths import DATA
from tests.weights import weights

TURNS = 12


def milliseconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    Compute().limit_libraries()
    ours = embedder("dlib-resnet29")
    reference = dlib.face_recognition_model_v1(str(weights("dlib-resnet29").path))
    paths = sorted((DATA / "faker").glob("*.jpg"))[:8]
    chips = np.stack(
        [cut(p, f.boxes[0], f.landmarks[0], ours.crop).pixels for _, p, f in portraits(paths, detector())]
    )
    single = chips[:1]
    times: dict[str, list[float]] = {"dlib": [], "onnx, one face": [], f"onnx, batch of {len(chips)}": []}
    for turn in range(TURNS + 1):
        measured = (
            milliseconds(lambda: reference.compute_face_descriptor(single[0])),
            milliseconds(lambda: ours.embed(single)),
            milliseconds(lambda: ours.embed(chips)) / len(chips),
        )
        if turn:
            for name, value in zip(times, measured, strict=True):
                times[name].append(value)
    base = statistics.median(times["dlib"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name}: {median:.1f} ms per face, {base / median:.1f} times dlib's speed")


if __name__ == "__main__":
    main()
