"""Photographs to latents and back: python -m tests.benchmarks.inversion [--seconds 30] [--steps 150] [--sheet]

Ten pictures of `faker` and ten of `london`, one after the other. The judge is a network that no inversion uses,
MobileFaceNet: the cosine between a photograph and the face of its latent. For comparison: the encoder's guess alone,
and two photographs of one person. `--identity` names the network that the search looks through. `--sheet` draws three
of them: the aligned photograph, the face of its latent, and halfway from there to that of the text `example`.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

from prosopon.configs.settings import DetectionSettings, GenerationSettings, ImageLimits
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.mobilefacenet import MobileFaceNet
from prosopon.models.generation.latents import Latent, between, latent_of_seed, seed_of
from prosopon.models.inversion.face_inverter import FaceInverter
from prosopon.models.inversion.target import SIDE, Schedule, Target
from prosopon.models.load import load_detector
from prosopon.models.pictures.crops import cut
from prosopon.models.pictures.decoding import decode
from prosopon.models.runtime.session import Compute
from prosopon.models.weights.catalogue import LED_BY
from tests.benchmarks.bare import compute_of, generator
from tests.paths import DATA, ROOT, smiling
from tests.weights import model_settings, weights

SHEET = ROOT / "docs" / "checkface_inversions.jpg"
SHOWN = ("faker/female_81", "faker/male_27", "london/061_neutral")


@dataclass(frozen=True)
class Outcome:
    """similarity: by the judge; pixels: mean absolute difference at 256 px, 0..255; structure: SSIM there, of gray."""

    similarity: float
    pixels: float
    structure: float


class Judge:
    def __init__(self, compute: Compute) -> None:
        self._detector = load_detector(model_settings(), DetectionSettings(), compute)
        self._model = MobileFaceNet(weights("mobilefacenet").path, compute)

    def embed(self, picture: RGBImage) -> Float32:
        """Of unit length. Raises IndexError where no face is found."""
        found = self._detector.detect([picture], 0.3)[0].largest_first()
        chip = cut(picture, found.boxes[0], found.landmarks[0], self._model.crop).pixels
        embedding = self._model.embed(chip[None])[0]
        return embedding / np.linalg.norm(embedding)

    def compare(self, photograph: RGBImage, target: Target, made: RGBImage) -> Outcome:
        wanted, found = (small(pixels, 256) for pixels in (target.chip, made))
        gray = [pixels @ np.array([0.299, 0.587, 0.114]) for pixels in (wanted, found)]
        return Outcome(
            float(self.embed(photograph) @ self.embed(made)),
            float(np.abs(wanted.astype(float) - found).mean()),
            float(structural_similarity(*gray, data_range=255)),
        )


def small(picture: RGBImage, side: int) -> RGBImage:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))


def chosen(count: int) -> list[Path]:
    portraits = sorted((DATA / "faker").glob("*.jpg"))[::20]
    people = sorted((DATA / "london").glob("*_neutral.jpg"))[::10]
    return [*portraits[:count], *people[:count]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=GenerationSettings().inversion_seconds)
    parser.add_argument("--steps", type=int, default=GenerationSettings().inversion_steps)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--identity", choices=LED_BY, default=LED_BY[0])
    parser.add_argument("--count", type=int, default=10, help="of each folder")
    parser.add_argument("--sheet", action="store_true")
    options = parser.parse_args()
    compute, models = compute_of("cpu", options.threads), model_settings()
    weights(options.identity)
    started = time.perf_counter()
    inverter = FaceInverter(models, DetectionSettings(), compute, [options.identity])
    print(f"loaded in {time.perf_counter() - started:.1f} s")
    faces = generator(compute, models)
    judge, schedule = Judge(compute), Schedule(options.seconds, options.steps)

    def face(w: Float32, amount: float = 1) -> RGBImage:
        """Mixed with that of the text `example`."""
        mixture = between(Latent(w.astype(np.float64)), latent_of_seed(seed_of("example")), amount)
        return faces.pictures([(mixture, SIDE)])[0]

    results: dict[str, list[tuple[Outcome, Outcome]]] = {"faker": [], "london": []}
    columns: list[RGBImage] = []
    times: list[float] = []
    paths = chosen(options.count)
    print(f"{'':24}{'judge':>7}{'pixels':>8}{'SSIM':>7}{'steps':>7}{'s':>7}{'CPU s':>7}   the guess alone")
    for path in paths:
        photograph = decode(path.read_bytes(), ImageLimits())
        started, worked = time.perf_counter(), time.process_time()
        target = inverter.target(photograph)
        w = inverter.invert([target], schedule)[0]
        seconds, cpu = time.perf_counter() - started, time.process_time() - worked
        times.append(cpu)
        guess = inverter.prior.to_w(inverter.guess([target])).numpy()[0]
        made = face(w)
        found, first = judge.compare(photograph, target, made), judge.compare(photograph, target, face(guess))
        results[path.parent.name].append((found, first))
        print(
            f"{path.parent.name + '/' + path.stem:24}{found.similarity:>7.2f}{found.pixels:>8.1f}"
            f"{found.structure:>7.2f}{inverter.refine.steps:>7}{seconds:>7.1f}{cpu:>7.1f}   "
            f"{first.similarity:.2f} {first.pixels:.1f} {first.structure:.2f}",
            flush=True,
        )
        if len(columns) < 3 and path.parent.name + "/" + path.stem in SHOWN:
            row = [target.chip, made, face(w, 0.5)]
            columns.append(np.hstack([small(pixels, 200) for pixels in row]))
    for folder, outcomes in results.items():
        found, first = (np.array([o.similarity for o in side]) for side in zip(*outcomes, strict=True))
        print(f"{folder}: judge {found.mean():.3f} mean, {found.min():.3f} least; guess {first.mean():.3f}")
    print(f"CPU seconds of an inversion: {np.mean(times):.1f} mean, {max(times):.1f} most")
    pairs = [
        judge.embed(decode(path.read_bytes(), ImageLimits()))
        @ judge.embed(decode(smiling(path).read_bytes(), ImageLimits()))
        for path in paths
        if path.parent.name == "london"
    ]
    print(f"two photographs of one person (london, neutral and smiling): {np.mean(pairs):.3f} mean")
    if options.sheet and columns:
        Image.fromarray(np.vstack(columns)).save(SHEET, quality=85, optimize=True)
        print(SHEET)


if __name__ == "__main__":
    main()
