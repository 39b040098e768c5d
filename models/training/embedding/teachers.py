"""What the two teachers say of every chip, computed once: embeddings and inner maps.

    python -m prosopon.models.training.embedding.teachers --chips fairface_chips.tar \\
        --mobilefacenet MobileFaceNet.tflite --retail face-reidentification-retail-0095.onnx \\
        --detector centerface.onnx --out /tmp/embedding

Needs the OpenVINO runtime, which reads both graphs and shows their inner tensors. The IR of
face-reidentification-retail-0095 is written as ONNX by this project's own reader. Every chip is framed, given to
the detector and aligned on its five landmarks for each teacher, as serving aligns it; the mirror image of the
aligned chip is embedded too. Rows are written in a random order that `files.txt` tells, and `done-FIRST.txt` holds the
row after the last that is finished, so that training can start on a part of them, and an interrupted run goes on.
"""

import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer

FRAME = 32
"""FairFace's chips end at the face: in a frame of so many pixels the detector sees one inside a picture."""

ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    np.float32,
)
"""Five landmarks in pixels of a 112x112 chip (Deng et al. 2019, ArcFace)."""

RETAIL = 128 * np.array(
    [
        [0.31556875, 0.46157410],
        [0.68262292, 0.45983393],
        [0.50026250, 0.64050536],
        [0.34947187, 0.82469196],
        [0.65343645, 0.82325089],
    ],
    np.float32,
)
"""The same in pixels of a 128x128 chip (Open Model Zoo, face-reidentification-retail-0095)."""


@dataclass(frozen=True)
class Hint:
    """An inner map of a teacher that is kept: `components` principal channels of its `side` x `side` cells."""

    name: str
    teacher: int
    side: int
    components: int


HINTS = (Hint("mobile14", 0, 14, 48), Hint("mobile7", 0, 7, 128), Hint("retail8", 1, 8, 128))
"""The output of MobileFaceNet's middle stage, and of both teachers the last map before the pooling."""


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``(2, 3)`` rotation, uniform scale and shift that bring source ``(5, 2)`` nearest to target."""
    p, q = source - source.mean(axis=0), target - target.mean(axis=0)
    norm = float((p * p).sum()) or 1.0
    a = float((p * q).sum()) / norm
    b = float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()) / norm
    turn = np.array([[a, -b], [b, a]])
    return np.column_stack([turn, target.mean(axis=0) - turn @ source.mean(axis=0)]).astype(np.float32)


class Teachers:
    """Both networks; each call takes two chips, ``(2, S, S, 3)`` uint8 RGB."""

    def __init__(self, mobilefacenet: Path, retail: Path, threads: int) -> None:
        import openvino  # type: ignore[import-not-found]

        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
        mobile = core.read_model(mobilefacenet)
        mobile.add_outputs([_last_map(mobile, 128, 14), _last_map(mobile, 512, 7)])
        self._mobile = core.compile_model(mobile, "CPU", settings)
        other = core.read_model(retail)
        other.reshape([2, 3, 128, 128])
        other.add_outputs("184:2")
        self._retail = core.compile_model(other, "CPU", settings)

    def see(self, small: np.ndarray, large: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Chips of 112 and of 128 pixels to both embeddings ``(2, 192)``, ``(2, 256)`` and the maps of `HINTS`."""
        mobile = self._mobile((small.astype(np.float32) - 127.5) / 128)
        retail = self._retail(np.ascontiguousarray(large[..., ::-1].transpose(0, 3, 1, 2), np.float32))
        embeddings = [mobile[0], retail[0].reshape(2, 256)]
        return embeddings, [mobile[1], mobile[2], retail[1]]


def _last_map(network: Any, channels: int, side: int) -> Any:
    """The last output of that shape: names count what the process has read before, and say nothing."""
    shape = [2, channels, side, side]
    outputs = [op.output(0) for op in network.get_ordered_ops() if op.get_output_size()]
    return [output for output in outputs if list(output.get_partial_shape()) == shape][-1]


def landmarks(detector: Any, chip: np.ndarray) -> np.ndarray | None:
    """``(5, 2)`` of the face nearest to the middle of the chip, in its pixels, or None."""
    frame = (FRAME,) * 4
    wide = cv2.copyMakeBorder(chip, *frame, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    found = detector.detect([wide], 0.25)[0]
    if not len(found.boxes):
        return None
    points = found.landmarks - FRAME
    distance = np.abs(points.mean(axis=1) - chip.shape[0] * 0.5).max(axis=1)
    nearest = int(distance.argmin())
    if distance[nearest] > chip.shape[0] * 0.25:
        return None
    return np.asarray(points[nearest], np.float32)


def main(
    chips: Annotated[Path, typer.Option(help="FairFace's aligned chips, a tar file")],
    mobilefacenet: Annotated[Path, typer.Option(help="MobileFaceNet.tflite")],
    retail: Annotated[Path, typer.Option(help="face-reidentification-retail-0095 as ONNX")],
    detector: Annotated[Path, typer.Option(help="centerface.onnx")],
    out: Annotated[Path, typer.Option(help="Folder for the arrays")],
    first: Annotated[int, typer.Option(help="Start at this row: two runs can share the work")] = 0,
    last: Annotated[int, typer.Option(help="Stop before this row")] = 10**9,
    threads: int = 1,
) -> None:
    from prosopon.configs.settings import DetectionSettings
    from prosopon.models.faces.centerface import CenterFace
    from prosopon.models.runtime.session import Compute

    out.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, np.ndarray] = {}
    with tarfile.open(chips) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is not None:
                pictures[member.name] = np.frombuffer(stream.read(), np.uint8)
    files = sorted(pictures)
    np.random.default_rng(14).shuffle(files)
    (out / "files.txt").write_text("\n".join(files))
    find = CenterFace(detector, Compute(threads=threads), DetectionSettings())
    teachers = Teachers(mobilefacenet, retail, threads)

    def table(name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
        path = out / f"{name}.npy"
        if path.exists():
            return np.load(path, mmap_mode="r+")
        made: np.ndarray = np.lib.format.open_memmap(path, "w+", kind, shape)
        return made

    count = len(files)
    pixels = table("chips", (count, 128, 128, 3), "uint8")
    points = table("landmarks", (count, 5, 2), "float32")
    detected = table("detected", (count,), "bool")
    embeddings = [table("mobile", (count, 2, 192), "float32"), table("retail", (count, 2, 256), "float32")]
    maps = [table(h.name, (count, 2, h.components, h.side, h.side), "int8") for h in HINTS]
    usual = np.array([[45, 56], [82, 56], [64, 77], [49, 96], [79, 96]], np.float32)

    def look(row: int) -> list[np.ndarray]:
        decoded = np.asarray(cv2.imdecode(pictures[files[row]], cv2.IMREAD_COLOR), np.uint8)
        chip = np.ascontiguousarray(decoded[..., ::-1])
        five = landmarks(find, chip)
        pixels[row], detected[row] = chip, five is not None
        points[row] = usual if five is None else five
        small = cv2.warpAffine(chip, similarity(points[row], ARCFACE), (112, 112))
        large = cv2.warpAffine(chip, similarity(points[row], RETAIL), (128, 128))
        found, inner = teachers.see(np.stack([small, small[:, ::-1]]), np.stack([large, large[:, ::-1]]))
        for store, value in zip(embeddings, found, strict=True):
            store[row] = value
        return inner

    basis_path = out / "hints.npz"
    if not basis_path.exists():
        seen = [look(row) for row in range(400)]
        basis: dict[str, np.ndarray] = {}
        for i, hint in enumerate(HINTS):
            values = np.concatenate([inner[i] for inner in seen]).transpose(1, 0, 2, 3).astype(np.float64)
            flat = values.reshape(len(values), -1)
            mean = flat.mean(axis=1)
            variance, axes = np.linalg.eigh(np.cov(flat))
            axes, variance = axes[:, ::-1][:, : hint.components], variance[::-1]
            kept = variance[: hint.components].sum() / variance.sum()
            print(f"{hint.name}: {hint.components} of {len(mean)} channels keep {kept:.3f} of the variance")
            # A byte holds four and a half standard deviations of a component.
            step = 4.5 * np.sqrt(variance[: hint.components]) / 127
            basis |= {f"{hint.name}_mean": mean, f"{hint.name}_axes": axes, f"{hint.name}_step": step}
        np.savez(basis_path, **basis)  # type: ignore[arg-type]
    basis = {name: values.astype(np.float32) for name, values in np.load(basis_path).items()}
    done = out / f"done-{first}.txt"
    for row in range(int(done.read_text()) if done.exists() else first, min(last, count)):
        for hint, store, value in zip(HINTS, maps, look(row), strict=True):
            axes = basis[f"{hint.name}_axes"] / basis[f"{hint.name}_step"]
            centred = value.reshape(2, len(axes), -1) - basis[f"{hint.name}_mean"][:, None]
            steps = axes.T @ centred
            store[row] = np.clip(np.round(steps), -127, 127).astype(np.int8).reshape(store.shape[1:])
        if (row + 1) % 250 == 0 or row + 1 == min(last, count):
            done.write_text(str(row + 1))
            print(f"{row + 1} of {count}, {detected[: row + 1].mean():.3f} detected", flush=True)


if __name__ == "__main__":
    typer.run(main)
