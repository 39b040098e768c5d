"""What photographs do to faces: chips as they are cut from worse pictures, and in other light."""

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.age_gender import CROP
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.pictures.crops import similarity_transform

SIZE = CROP.size
TEMPLATE = np.asarray(CROP.template, np.float32)
BLACK = 8
"""Brightest channel of a pixel that may lie outside the picture from which a chip was cut."""


def aligned(landmarks: Float32) -> Float32:
    """``(2, 3)``: what serving does to a picture with these five landmarks ``(5, 2)``."""
    return similarity_transform(landmarks, TEMPLATE)


def jitter(rng: np.random.Generator) -> Float32:
    """``(2, 3)``: a small turn, zoom, shift and stretch about the middle of a chip, and a mirror image."""
    angle, zoom = rng.normal(0, 0.09), np.exp(rng.normal(-0.02, 0.07))
    stretch = np.exp(rng.normal(0, 0.03))
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    turn = np.array([[cos * stretch, -sin], [sin * stretch, cos]])
    if rng.random() < 0.5:
        turn[:, 0] *= -1
    middle = np.full(2, SIZE / 2 - 0.5)
    return np.column_stack([turn, middle + rng.normal(0, 3.0, 2) - turn @ middle]).astype(np.float32)


def then(first: Float32, second: Float32) -> Float32:
    """The ``(2, 3)`` transform that does one, then the other."""
    return (
        second[:, :2] @ np.column_stack([first[:, :2], first[:, 2]]) + [[0, 0, v] for v in second[:, 2]]
    ).astype(np.float32)


def surroundings(chip: RGBImage) -> RGBImage:
    """The black corners outside the picture, filled with blurred colours of its border."""
    dark = np.ascontiguousarray((chip.max(axis=2) < BLACK).astype(np.uint8))
    outside = np.zeros((SIZE + 2, SIZE + 2), np.uint8)
    last = SIZE - 1
    for seed in ((0, 0), (last, 0), (0, last), (last, last), (SIZE // 2, 0), (SIZE // 2, last)):
        if dark[seed[1], seed[0]] and not outside[seed[1] + 1, seed[0] + 1]:
            cv2.floodFill(dark, outside, seed, 1, flags=4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8))
    inside = 1 - cv2.dilate(outside[1:-1, 1:-1], np.ones((7, 7), np.uint8))
    if inside.all() or inside.mean() < 0.3:
        return chip
    weight = inside.astype(np.float32)
    window = (61, 61)
    usual = chip[inside == 1].mean(axis=0) * 1e-3  # where the window does not reach the picture
    blurred = (cv2.blur(chip * weight[..., None], window) + usual) / (
        cv2.blur(weight, window)[..., None] + 1e-3
    )
    return np.where(inside[..., None] == 1, chip, blurred.clip(0, 255)).astype(np.uint8)


def degrade(rng: np.random.Generator, chip: RGBImage) -> RGBImage:
    """Low resolution, blur, light, colour, noise, JPEG and a covered part, each now and then."""
    if rng.random() < 0.2:
        small = int(rng.uniform(32, 100))
        shrunk = cv2.resize(chip, (small, small), interpolation=cv2.INTER_AREA)
        chip = cv2.resize(shrunk, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.1:
        chip = cv2.GaussianBlur(chip, (0, 0), float(rng.uniform(0.5, 2.0)))
    if rng.random() < 0.5:
        gamma, gain, shift = np.exp(rng.normal(0, 0.2)), np.exp(rng.normal(0, 0.15)), rng.normal(0, 10)
        level = (np.arange(256) / 255.0) ** gamma
        tints = np.exp(rng.normal(0, 0.06, 3))
        table = (127.5 + (level[:, None] * 255 * tints - 127.5) * gain + shift).clip(0, 255).astype(np.uint8)
        chip = np.ascontiguousarray(cv2.LUT(chip, table.reshape(1, 256, 3)))
    if rng.random() < 0.1:
        grey = cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY)[..., None]
        chip = (grey + (chip.astype(np.float32) - grey) * rng.choice([0.0, 0.5])).astype(np.uint8)
    if rng.random() < 0.06:
        noise = rng.normal(0, rng.uniform(3, 14), chip.shape).astype(np.float32)
        chip = (chip + noise).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        _, data = cv2.imencode(".jpg", chip, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(25, 85))])
        chip = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if rng.random() < 0.1:
        height, width = rng.integers(12, 40, 2)
        y, x = rng.integers(0, SIZE - height), rng.integers(0, SIZE - width)
        chip = chip.copy()
        chip[y : y + height, x : x + width] = rng.integers(0, 256, 3)
    return chip


def augment(rng: np.random.Generator, chip: RGBImage, landmarks: Float32) -> tuple[RGBImage, bool]:
    """A stored chip as another picture would have given it, and whether it is mirrored."""
    if rng.random() < 0.4:
        chip = surroundings(chip)
    matrix = then(aligned(landmarks), jitter(rng))
    mirrored = bool(np.linalg.det(matrix[:, :2].astype(np.float64)) < 0)
    border = cv2.BORDER_CONSTANT if rng.random() < 0.7 else cv2.BORDER_REPLICATE
    return degrade(rng, cv2.warpAffine(chip, matrix, (SIZE, SIZE), borderMode=border)), mirrored


def plain(chip: RGBImage, landmarks: Float32) -> NDArray[np.uint8]:
    """A stored chip as serving cuts it."""
    cut: NDArray[np.uint8] = cv2.warpAffine(chip, aligned(landmarks), (SIZE, SIZE))
    return cut
