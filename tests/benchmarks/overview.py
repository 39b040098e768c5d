"""The README's picture, made by the models themselves: python -m tests.benchmarks.overview

People of the Face Research Lab London Set (CC BY 4.0) recognised, smiling, from neutral pictures; faces that nobody
has, between two texts; the face of one synthetic portrait (faker, CC0) in others.
"""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from prosopon.configs.settings import DetectionSettings, ImageLimits, ModelSettings, SwapSettings
from prosopon.models.faces.attributes.age import AGE
from prosopon.models.faces.detections import RGBImage
from prosopon.models.generation.latents import between, latent_of_seed, seed_of
from prosopon.models.load import load_detector, load_embedder, load_face_network
from prosopon.models.matching.calibration import load_similarity
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.pictures.decoding import decode
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.face_swap import FaceSwap
from tests.benchmarks.bare import generator
from tests.paths import DATA, ROOT, require

SIDE, COLUMNS, CAPTION = 220, 4, 34
PEOPLE = {"Ann": "001", "Bea": "010", "Chloe": "003", "Dan": "033"}
SWAPS = ("female_12", "female_1", "female_30")
FACE = "female_0"
_COMPUTE, _MODELS = Compute(), ModelSettings()


@cache
def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def picture_of(path: Path) -> RGBImage:
    return decode(require(path).read_bytes(), ImageLimits())


def recognised() -> list[Image.Image]:
    detector, embedder = (
        load_detector(_MODELS, DetectionSettings(), _COMPUTE),
        load_embedder(_MODELS, _COMPUTE),
    )
    age, curve = (
        load_face_network(_MODELS, AGE.role, _COMPUTE),
        load_similarity(_MODELS, embedder.fingerprint),
    )

    def look(path: Path) -> tuple[RGBImage, np.ndarray, np.ndarray, str]:
        pixels = picture_of(path)
        faces = detector.detect([pixels], 0.5)[0]
        box, landmarks = faces.boxes[0], faces.landmarks[0]
        chip = cut(pixels, box, landmarks, embedder.crop).pixels
        years = age.ages(age.outputs(cut(pixels, box, landmarks, age.crop).pixels[None]))[0]
        return pixels, box, normalize(embedder.embed(chip[None]))[0], f"{years.low}-{years.high}"

    gallery = {name: look(DATA / "london" / f"{number}_neutral.jpg")[2] for name, number in PEOPLE.items()}
    tiles = []
    for number in PEOPLE.values():
        pixels, box, probe, years = look(DATA / "london" / f"{number}_smiling.jpg")
        distances = {name: float(np.linalg.norm(probe - one)) for name, one in gallery.items()}
        best = min(distances, key=distances.__getitem__)
        similarity = float(curve.similarity(np.float32(distances[best])))
        scale = SIDE / pixels.shape[0]
        tile = Image.fromarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
        draw = ImageDraw.Draw(tile)
        draw.rectangle([float(v) * scale for v in box], outline=(40, 200, 120), width=3)
        draw.rectangle((0, SIDE - 26, SIDE, SIDE), fill=(20, 24, 28))
        draw.text((8, SIDE - 22), f"{best}  {similarity:.2f}   age {years}", fill="white", font=font(15))
        tiles.append(tile)
    return tiles


def made_up() -> list[Image.Image]:
    faces = generator(_COMPUTE, _MODELS)
    start, end = (latent_of_seed(seed_of(text)) for text in ("example", "yeet"))
    amounts = np.linspace(1, 0, COLUMNS)
    return [Image.fromarray(one) for one in faces.pictures([(between(start, end, a), SIDE) for a in amounts])]


def swapped() -> list[Image.Image]:
    swap = FaceSwap.load(_MODELS, DetectionSettings(), ImageLimits(), SwapSettings(), _COMPUTE)
    folder = DATA / "faker"
    face = require(folder / f"{FACE}.jpg").read_bytes()
    pictures = [decode(face, ImageLimits())]
    for name in SWAPS:
        result = swap.swap((folder / f"{name}.jpg").read_bytes(), [face], None)
        pictures.append(decode(result.data, ImageLimits(max_bytes=1 << 30)))
    return [Image.fromarray(cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA)) for one in pictures]


def main() -> None:
    rows = {
        "Who is it? Recognised from one other picture, with similarity and age": recognised(),
        'Faces that nobody has: from the text "example" to the text "yeet"': made_up(),
        "The first face in other pictures": swapped(),
    }
    sheet = Image.new("RGB", (COLUMNS * SIDE, len(rows) * (SIDE + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (caption, tiles) in enumerate(rows.items()):
        top = number * (SIDE + CAPTION)
        draw.text((8, top + 8), caption, fill=(20, 24, 28), font=font(17))
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (column * SIDE, top + CAPTION))
    path = ROOT / "docs" / "overview.jpg"
    sheet.save(path, quality=85, optimize=True)
    print(path, sheet.size)


if __name__ == "__main__":
    main()
