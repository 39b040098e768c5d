"""Pictures of masks: the photographs of the `insightface` package, and drawn ones.

A texture is ``(96, 144, 3)`` float32 RGB, 0..255. It spans a mask that is spread out flat: x from ear to ear,
y from the nose to the chin.
"""

import colorsys
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import ArrayLike

from prosopon.models.faces.detections import Float32

HEIGHT, WIDTH = 96, 144

_SURGICAL = (
    *((132, 190, 225), (165, 205, 225), (95, 160, 210)),  # blue
    *((120, 190, 175), (90, 165, 140)),  # green
    *((240, 242, 242), (225, 228, 232)),  # white
    *((240, 190, 205), (45, 45, 48), (150, 155, 160)),  # pink, black, grey
)
_PHOTOGRAPHS = ("mask_blue", "mask_green", "mask_white", "mask_black")


def surgical(rng: np.random.Generator) -> Float32:
    """Three plies with pleats across and sewn borders."""
    colour = np.array(_SURGICAL[rng.integers(len(_SURGICAL))], np.float32) + rng.normal(0, 8, 3)
    texture = _plain(colour)
    for _ in range(int(rng.integers(2, 6))):
        y = int(rng.uniform(0.12, 0.9) * HEIGHT)
        slack = rng.uniform(0, 5) * np.sin(np.linspace(0, np.pi, WIDTH))
        rows = np.clip(y + slack * rng.choice([-1, 1]), 1, HEIGHT - 4).astype(int)
        depth = rng.uniform(0.75, 0.95)
        for offset, gain in ((0, depth), (1, depth), (2, 2 - depth), (3, 1.5 - depth / 2)):
            texture[rows + offset, np.arange(WIDTH)] *= gain
    if rng.random() < 0.6:
        band = int(rng.integers(3, 8))
        edge = rng.uniform(0.88, 1.12)
        for part in (texture[:band], texture[-band:], texture[:, :band], texture[:, -band:]):
            part *= edge
    return _grain(rng, texture, 3)


def photograph(rng: np.random.Generator) -> Float32:
    """One of the mask photographs of the `insightface` package (MIT), perhaps in another colour."""
    texture = _photographs()[rng.integers(len(_PHOTOGRAPHS))].copy()
    if rng.random() < 0.5:
        tint = rng.uniform(0.75, 1.2, 3).astype(np.float32)
        texture *= tint
    return texture


def cloth(rng: np.random.Generator) -> Float32:
    """Cotton: plain, striped, checked, dotted or printed, often with a seam down the middle."""
    colour = _cloth_colour(rng)
    texture = _plain(colour)
    other = _cloth_colour(rng)
    ys, xs = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    pattern = rng.choice(["plain", "plain", "plain", "stripes", "checks", "dots", "blobs", "print"])
    if pattern in ("stripes", "checks"):
        angle, period = rng.uniform(0, np.pi), rng.uniform(5, 24)
        along = np.sin(2 * np.pi * (xs * np.cos(angle) + ys * np.sin(angle)) / period) > rng.uniform(
            -0.5, 0.5
        )
        texture[along] = other
        if pattern == "checks":
            across = np.sin(2 * np.pi * (ys * np.cos(angle) - xs * np.sin(angle)) / period) > 0
            texture[across] = (texture[across] + other) / 2
    elif pattern == "dots":
        period, radius = rng.uniform(9, 22), rng.uniform(0.2, 0.4)
        inside = np.hypot((xs / period) % 1 - 0.5, (ys / period) % 1 - 0.5) < radius
        texture[inside] = other
    elif pattern == "blobs":
        noise = smooth_noise(rng, (HEIGHT, WIDTH), int(rng.integers(4, 14)))
        texture[noise > 0.3] = other
        texture[noise < -0.6] = _cloth_colour(rng)
    elif pattern == "print":
        for _ in range(int(rng.integers(1, 5))):
            center = (int(rng.integers(WIDTH)), int(rng.integers(HEIGHT)))
            axes = (int(rng.integers(4, 26)), int(rng.integers(3, 14)))
            paint = tuple(float(value) for value in _cloth_colour(rng))
            cv2.ellipse(texture, center, axes, float(rng.uniform(0, 180)), 0, 360, paint, -1)
    if rng.random() < 0.5:
        middle = WIDTH // 2
        texture[:, middle - 1 : middle + 1] *= rng.uniform(0.6, 0.95)
        texture[:, middle + 1 : middle + 3] *= rng.uniform(1.0, 1.12)
    if rng.random() < 0.4:
        band, edge = int(rng.integers(3, 9)), rng.uniform(0.7, 1.25)
        texture[:band] *= edge
        texture[-band:] *= edge
    return _grain(rng, texture, float(rng.uniform(1, 9)))


def respirator(rng: np.random.Generator) -> Float32:
    """A cup (N95, KN95, FFP2): a ridge down the middle, perhaps a valve or printed letters."""
    grey = rng.choice([235.0, 220.0, 205.0, 60.0], p=[0.5, 0.25, 0.15, 0.1])
    texture = _plain(np.full(3, grey, np.float32) + rng.normal(0, 5, 3))
    xs = np.abs(np.linspace(-1, 1, WIDTH))
    texture *= (1.05 - rng.uniform(0.1, 0.35) * xs)[None, :, None]
    middle = WIDTH // 2
    texture[:, middle - 1 : middle + 1] *= rng.uniform(0.7, 0.95)
    if rng.random() < 0.5:
        row = int(rng.uniform(0.3, 0.7) * HEIGHT)
        texture[row : row + 2] *= rng.uniform(0.75, 0.95)
    if rng.random() < 0.4:
        side = int(middle + rng.choice([-1, 0, 1]) * rng.uniform(0.1, 0.25) * WIDTH)
        center = (side, int(rng.uniform(0.45, 0.75) * HEIGHT))
        radius = int(rng.uniform(8, 16))
        paint = tuple(float(value) for value in np.full(3, rng.uniform(60, 245)))
        cv2.circle(texture, center, radius, paint, -1, cv2.LINE_AA)
        cv2.circle(texture, center, radius, (110.0, 110.0, 110.0), 1, cv2.LINE_AA)
    return _grain(rng, texture, 4)


def any_mask(rng: np.random.Generator) -> Float32:
    """One of the four kinds, the commonest most often."""
    kinds = (surgical, photograph, cloth, respirator)
    return kinds[int(rng.choice(4, p=[0.38, 0.15, 0.32, 0.15]))](rng)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Float32:
    """``shape`` float32 of mean about zero and values about -1..1, varying over 1/`cells` of the picture."""
    coarse = rng.normal(0, 0.6, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _plain(colour: ArrayLike) -> Float32:
    return np.tile(np.asarray(colour, np.float32), (HEIGHT, WIDTH, 1))


def _grain(rng: np.random.Generator, texture: Float32, strength: float) -> Float32:
    texture = texture + rng.normal(0, strength, texture.shape).astype(np.float32)
    return np.clip(texture, 0, 255).astype(np.float32)


def _cloth_colour(rng: np.random.Generator) -> Float32:
    """Black, white and grey are as common as all colours together."""
    if rng.random() < 0.5:
        return np.full(3, rng.choice([25.0, 40.0, 60.0, 130.0, 200.0, 235.0]) + rng.normal(0, 8), np.float32)
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.2, 0.95), rng.uniform(0.25, 0.95))
    return np.array([red, green, blue], np.float32) * 255


@cache
def _photographs() -> tuple[Float32, ...]:
    found = []
    for name in _PHOTOGRAPHS:
        data = files("insightface").joinpath("data", "images", f"{name}.jpg").read_bytes()
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError(f"{name}.jpg of the insightface package is no picture")
        small = cv2.resize(picture[..., ::-1], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        found.append(np.asarray(small, np.float32))
    return tuple(found)
