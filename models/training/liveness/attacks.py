"""Pictures of live people, and of pictures of people: printed, shown on a screen, cut out of paper.

Both go through the same cameras and stand in the same places, so that only what the medium does tells them apart.
Colours are float32 0..1 here, RGB.
"""

# OpenCV tells no types: what its functions give is taken at its word.
# mypy: disable-error-code="no-any-return"

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.training.liveness.sources import Source

KINDS = ("live", "print", "photo", "cutout", "screen", "phone")
"""What the camera sees. The first is live, each other is one kind of attack."""

Random = np.random.Generator
Light = NDArray[Any]
"""Colours 0..1 ``(H, W, 3)``, or a map ``(H, W)``, in floating point; boxes too."""
Item = TypeVar("Item")
ASPECTS = ((3, 4), (4, 3), (1, 1), (9, 16))


@dataclass(frozen=True, slots=True)
class Taken:
    """pixels: ``(H, W, 3)`` uint8 RGB; box: ``(4,)`` float32, the face as a detector would find it."""

    pixels: RGBImage
    box: Float32


def _chance(rng: Random, share: float) -> bool:
    return bool(rng.random() < share)


def _one(rng: Random, items: Sequence[Item]) -> Item:
    return items[int(rng.integers(len(items)))]


def _between(rng: Random, low: float, high: float) -> float:
    """Log-uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _smooth_noise(rng: Random, height: int, width: int, cells: int, channels: int = 1) -> Light:
    """``(H, W, channels)``, mean 0, deviation about 1, features of a `cells`-th of the picture."""
    small = rng.standard_normal((cells + 1, cells + 1, channels)).astype(np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


# --- windows of a source -------------------------------------------------------------------------------------------


def _window(rng: Random, source: Source, reach: float, aspect: float, open_top: bool) -> tuple[float, ...]:
    """x y w h of a part of the source that holds the face, as wide as `reach` times its box where it can be.

    aspect: width over height. open_top: it may reach above the source, whose background gets replaced.
    """
    height, width = source.pixels.shape[:2]
    x1, y1, x2, y2 = source.box
    w = reach * max(x2 - x1, (y2 - y1) * 0.8)
    h = w / aspect
    limit = height * 1.4 if open_top else height
    shrink = min(1.0, width / w, limit / h)
    w, h = w * shrink, h * shrink
    x = (x1 + x2) / 2 - w * rng.uniform(0.4, 0.6)
    y = (y1 + y2) / 2 - h * rng.uniform(0.35, 0.6)
    low = height - h if open_top and h > height else (-0.4 * height if open_top else 0.0)
    return (
        float(np.clip(x, 0, width - w)),
        float(np.clip(y, min(low, height - h), height - h)),
        float(w),
        float(h),
    )


def _cut(image: Light, window: tuple[float, ...], width: int, height: int) -> Light:
    """The window, resampled; repeats the border's pixels where it reaches outside."""
    x, y, w, h = window
    if w > 2 * width:
        image = cv2.resize(image, None, fx=width * 1.5 / w, fy=width * 1.5 / w, interpolation=cv2.INTER_AREA)
        x, y, w, h = (value * width * 1.5 / w for value in (x, y, w, h))
    matrix = np.array([[width / w, 0, -x * width / w], [0, height / h, -y * height / h]], np.float32)
    return cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _box_in(source: Source, window: tuple[float, ...], width: int, height: int) -> Light:
    x, y, w, h = window
    zoom = np.array([width / w, height / h] * 2)
    return ((source.box - np.array([x, y, x, y])) * zoom).astype(np.float32)


def _scene(rng: Random, scenes: Sequence[RGBImage], width: int, height: int) -> Light:
    """A place, out of focus as backgrounds are, maybe with frames, doors and screens in it."""
    view = _one(rng, scenes)
    side = rng.uniform(0.5, 1.0) * min(view.shape[0], view.shape[1] * height / width)
    h, w = side, side * width / height
    w = min(w, view.shape[1])
    x, y = rng.uniform(0, view.shape[1] - w + 1e-3), rng.uniform(0, view.shape[0] - h + 1e-3)
    place = _cut(view.astype(np.float32) / 255, (x, y, w, h), width, height)
    if _chance(rng, 0.5):
        place = place[:, ::-1].copy()
    for _ in range(int(rng.integers(0, 4)) if _chance(rng, 0.5) else 0):
        _hang(rng, place, scenes)
    if _chance(rng, 0.15):
        place = np.full_like(place, rng.uniform(0.1, 1, 3).astype(np.float32)) * (
            1 + 0.08 * _smooth_noise(rng, height, width, 2)
        )
    if _chance(rng, 0.6):
        place = cv2.GaussianBlur(place, (0, 0), _between(rng, 0.5, 5))
    return np.clip(place, 0, 1)


def _hang(rng: Random, place: Light, scenes: Sequence[RGBImage]) -> None:
    """A framed rectangle on the wall: a picture, a screen, a window, a door."""
    height, width = place.shape[:2]
    w, h = int(width * rng.uniform(0.1, 0.6)), int(height * rng.uniform(0.1, 0.8))
    x, y = int(rng.uniform(-w / 2, width - w / 2)), int(rng.uniform(-h / 2, height - h / 2))
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if x2 - x1 < 6 or y2 - y1 < 6:
        return
    view = _one(rng, scenes)
    fill = cv2.resize(view, (x2 - x1, y2 - y1), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    place[y1:y2, x1:x2] = fill if _chance(rng, 0.6) else rng.uniform(0, 1, 3)
    edge = tuple(
        float(v) for v in (np.full(3, rng.uniform(0, 1)) if _chance(rng, 0.6) else rng.uniform(0, 1, 3))
    )
    cv2.rectangle(place, (x, y), (x + w, y + h), edge, int(rng.integers(1, max(3, width // 25))))


def _portrait(
    rng: Random, source: Source, scenes: Sequence[RGBImage], reach: float, face: float, aspect: float
) -> tuple[Light, Light]:
    """A picture of the person and the box in it: before their own background, or another."""
    replace = source.alpha is not None and _chance(rng, 0.45)
    window = _window(rng, source, reach, aspect, replace)
    zoom = face / float(source.box[2] - source.box[0])
    width, height = max(24, round(window[2] * zoom)), max(24, round(window[3] * zoom))
    picture = _cut(source.pixels.astype(np.float32) / 255, window, width, height)
    if replace:
        assert source.alpha is not None
        alpha = _cut(source.alpha, window, width, height)
        alpha[: max(0, round(-window[1] * zoom))] = 0
        place = _scene(rng, scenes, width, height)
        # The place's light falls on the person too.
        light = np.clip(
            place.mean(axis=(0, 1)) / (picture.mean(axis=(0, 1)) + 0.05), 0.6, 1.5
        ) ** rng.uniform(0, 0.7)
        picture = place + alpha[..., None] * (np.clip(picture * light, 0, 1) - place)
    box = _box_in(source, window, width, height)
    if _chance(rng, 0.5):
        picture = picture[:, ::-1].copy()
        box = np.array([width - box[2], box[1], width - box[0], box[3]], np.float32)
    return picture.astype(np.float32), box


# --- media: what becomes of colours ---------------------------------------------------------------------------------


def _saturate(picture: Light, amount: float) -> Light:
    grey = picture.mean(axis=2, keepdims=True)
    return grey + amount * (picture - grey)


def _on_paper(rng: Random, picture: Light) -> Light:
    """The gamut of ink: black is grey, white is the paper's, colours are duller and off."""
    paper = rng.uniform(0.8, 1.0) * np.array([1, rng.uniform(0.95, 1.0), rng.uniform(0.85, 1.02)])
    ink = rng.uniform(0.02, 0.22) * rng.uniform(0.8, 1.2, 3)
    picture = np.clip(_saturate(picture, rng.uniform(0.45, 1.15)), 0, 1)
    cast = rng.normal(0, 0.05, 3)
    if _chance(rng, 0.08):
        picture = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
        cast *= 0.2
    picture = picture ** np.exp(rng.normal(0, 0.18, 3))
    if _chance(rng, 0.25):
        steps = rng.integers(6, 20)
        picture = np.round(picture * steps) / steps
    return np.asarray(ink + (paper - ink) * picture + cast * picture * (1 - picture) * 4, np.float32)


def _on_photo_paper(rng: Random, picture: Light) -> Light:
    """Continuous tones, with a cast and less range than the scene had."""
    picture = np.clip(_saturate(picture, rng.uniform(0.75, 1.35)), 0, 1) ** np.exp(rng.normal(0, 0.15, 3))
    low, high = rng.uniform(0.01, 0.14), rng.uniform(0.82, 1.0)
    return np.asarray(low + (high - low) * picture * rng.uniform(0.93, 1.03, 3), np.float32)


def _on_screen(rng: Random, picture: Light) -> Light:
    """The screen's own gamma and white, brighter or darker than the place, and never quite black."""
    gamma = np.exp(rng.normal(0, 0.22))
    white = np.array([rng.uniform(0.85, 1.02), rng.uniform(0.93, 1.03), rng.uniform(0.98, 1.15)])
    picture = np.clip(_saturate(picture, rng.uniform(0.75, 1.4)), 0, 1) ** gamma
    black = rng.uniform(0.0, 0.1)
    glow = 1 + rng.uniform(0, 0.12) * _smooth_noise(rng, picture.shape[0], picture.shape[1], 2)
    return np.asarray((black + (1 - black) * picture * white * _between(rng, 0.65, 1.5)) * glow, np.float32)


def _overlay(rng: Random, picture: Light) -> Light:
    """Bars, text and buttons of a phone."""
    height, width = picture.shape[:2]
    for top in (True, False):
        if _chance(rng, 0.5):
            bar = int(height * rng.uniform(0.03, 0.12))
            rows = slice(0, bar) if top else slice(height - bar, height)
            picture[rows] = picture[rows] * rng.uniform(0, 0.8) + rng.choice([0.0, 0.1, 0.95]) * 0.5
            for _ in range(int(rng.integers(1, 6))):
                x, y = int(rng.uniform(0, width)), int(rows.start + bar * rng.uniform(0.2, 0.8))
                cv2.circle(picture, (x, y), max(1, bar // 5), (rng.uniform(0.5, 1),) * 3, -1, cv2.LINE_AA)
    return picture


def _bordered(
    rng: Random, picture: Light, box: Light, shares: tuple[float, float], colour: Light
) -> tuple[Light, Light]:
    """With a border on each side, of a share of the longer side."""
    longer = max(picture.shape[:2])
    sides = [int(longer * rng.uniform(*shares)) for _ in range(2)]
    top, left = sides
    bottom = top if _chance(rng, 0.6) else int(top * rng.uniform(0.5, 3))
    wide = cv2.copyMakeBorder(
        picture, top, bottom, left, left, cv2.BORDER_CONSTANT, value=tuple(float(v) for v in colour)
    )
    return wide, box + np.array([left, top, left, top], np.float32)


# --- textures, evaluated where the camera's pixels look --------------------------------------------------------------


def _halftone(rng: Random, seen: Light, u: Light, v: Light) -> Light:
    """Rotated screens of dots, one per ink, as soft thresholds; u, v: where on the paper, in the camera's pixels."""
    period = _between(rng, 1.3, 5.0)
    sharp = rng.uniform(1.0, 4.0)
    strength = rng.uniform(0.25, 0.9)
    out = np.empty_like(seen)
    for channel, degrees in enumerate(rng.permutation([15.0, 75.0, 45.0]) + rng.uniform(-10, 10)):
        a = np.radians(degrees)
        wave = (
            (2 * np.pi / period) * (u * np.cos(a) + v * np.sin(a)),
            (2 * np.pi / period) * (v * np.cos(a) - u * np.sin(a)),
        )
        screen = 0.5 + 0.25 * (np.cos(wave[0]) + np.cos(wave[1]))
        value = np.clip(seen[..., channel], 0, 1)
        dots = 1 / (1 + np.exp(-sharp * 4 * (value - screen)))
        out[..., channel] = seen[..., channel] + strength * (dots - value) * (0.35 if period > 2.5 else 0.6)
    return out


def _dither(rng: Random, seen: Light) -> Light:
    """Scattered droplets: grain that is strongest in the middle tones."""
    height, width = seen.shape[:2]
    size = _between(rng, 1.0, 2.2)
    grain = rng.standard_normal((int(height / size) + 1, int(width / size) + 1, 3)).astype(np.float32)
    grain = cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR)
    middle = np.clip(seen, 0, 1)
    return seen + rng.uniform(0.04, 0.22) * grain * np.sqrt(middle * (1 - middle))


def _lines(rng: Random, seen: Light, v: Light) -> Light:
    """Bands of the print head."""
    period = _between(rng, 3, 40)
    return seen * (
        1 + rng.uniform(0.01, 0.06) * np.cos(2 * np.pi * v / period + rng.uniform(0, 6))[..., None]
    )


def _paper_grain(rng: Random, seen: Light) -> Light:
    height, width = seen.shape[:2]
    fibre = cv2.GaussianBlur(
        rng.standard_normal((height, width)).astype(np.float32), (0, 0), rng.uniform(0.5, 1.2)
    )
    return seen * (1 + rng.uniform(0.005, 0.05) * fibre)[..., None]


def _creases(rng: Random, seen: Light, u: Light, v: Light) -> Light:
    for _ in range(int(rng.integers(1, 4))):
        a = rng.uniform(0, np.pi)
        distance = u * np.cos(a) + v * np.sin(a) - rng.uniform(0.1, 0.9) * float(u.max() + v.max()) / 2
        edge = np.exp(-((distance / _between(rng, 1, 5)) ** 2)) * rng.uniform(-0.25, 0.3)
        side = 1 + rng.uniform(-0.12, 0.12) * (distance > 0)
        seen = seen * ((1 + edge) * side)[..., None]
    return seen


def grid(
    seen: Light,
    u: Light,
    v: Light,
    period: float,
    strength: float,
    rows: float = 0.0,
    shift: float = 0.0,
) -> Light:
    """The screen's grid under the sensor's: where their periods come near, moire.

    seen: ``(H, W, 3)``; u, v: ``(H, W)``, where on the screen each pixel looks, in the camera's pixels, of which the
    screen's take `period`. Each colour's stripe sits at its own third; rows: how strong the lines between rows are.
    """
    k = 2 * np.pi / period
    lines = rows * np.cos(k * v)
    out = np.empty_like(seen)
    for channel in range(3):
        stripes = np.cos(k * u + shift + channel * 2 * np.pi / 3)
        out[..., channel] = seen[..., channel] * (1 + strength * (stripes + lines))
    return out


def _grid(rng: Random, seen: Light, u: Light, v: Light, diagonal: bool) -> Light:
    """`grid`, maybe under a sensor's mosaic, which sees each colour at every second place alone."""
    period, strength = _between(rng, 0.7, 4.0), _between(rng, 0.03, 0.5)
    if _chance(rng, 0.5):
        height, width = u.shape
        u, v = (x[::2, ::2].repeat(2, 0).repeat(2, 1)[:height, :width] for x in (u, v))
    if diagonal:
        u, v = (u + v) * 0.7071, (v - u) * 0.7071
    return grid(seen, u, v, period, strength, rng.uniform(0, 0.7), rng.uniform(0, 6))


def _beat(rng: Random, seen: Light, u: Light, v: Light) -> Light:
    """What is left of moire after the lens: slow, curved, coloured waves."""
    period, a = _between(rng, 5, 60), rng.uniform(0, np.pi)
    bend = rng.normal(0, 0.6) / max(seen.shape[:2])
    along, across = u * np.cos(a) + v * np.sin(a), v * np.cos(a) - u * np.sin(a)
    phase = 2 * np.pi / period * (along + bend * across**2)
    strength = _between(rng, 0.015, 0.2)
    spread = rng.uniform(0, 2.2)
    waves = np.stack([np.cos(phase + channel * spread) for channel in range(3)], axis=-1)
    return np.asarray(seen * (1 + strength * waves), np.float32)


def _refresh(rng: Random, seen: Light) -> Light:
    """Rows that the shutter caught while the screen was dark."""
    height = seen.shape[0]
    rows = np.arange(height) / height
    wave = np.cos(2 * np.pi * (rows / rng.uniform(0.15, 1.5) + rng.uniform(0, 1)))
    hard = 1 / (1 + np.exp(-rng.uniform(2, 12) * wave))
    return seen * (1 - rng.uniform(0.05, 0.4) * hard)[:, None, None].astype(np.float32)


def _reflection(rng: Random, seen: Light, scenes: Sequence[RGBImage]) -> Light:
    """The place before the screen, mirrored in its glass."""
    height, width = seen.shape[:2]
    mirror = _cut(_one(rng, scenes).astype(np.float32) / 255, (0, 0, 480, 480), width, height)
    mirror = cv2.GaussianBlur(mirror, (0, 0), _between(rng, 0.7, 8))
    return seen + _between(rng, 0.03, 0.35) * mirror ** rng.uniform(1, 2.5)


def _glare(rng: Random, seen: Light) -> Light:
    """Lamps and windows seen in something glossy."""
    height, width = seen.shape[:2]
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(int(rng.integers(1, 4))):
        a = rng.uniform(0, np.pi)
        x, y = xs - rng.uniform(0, width), ys - rng.uniform(0, height)
        along, across = x * np.cos(a) + y * np.sin(a), y * np.cos(a) - x * np.sin(a)
        long, short = (_between(rng, 0.02, 0.5) * width for _ in range(2))
        power = rng.choice([2, 4])
        spot = np.exp(-(np.abs(along / long) ** power) - np.abs(across / short) ** power)
        seen = seen + (_between(rng, 0.1, 1.0) * spot)[..., None] * rng.uniform(0.85, 1.0, 3)
    return np.asarray(seen, np.float32)


# --- the medium in the place ------------------------------------------------------------------------------------------


def _hand(rng: Random, picture: Light, alpha: Light) -> None:
    """Fingers at the edge of what is held."""
    height, width = picture.shape[:2]
    edges, _ = cv2.findContours((alpha > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not edges:
        return
    edge = max(edges, key=len)[:, 0]
    skin = np.array([0.85, 0.62, 0.5]) * rng.uniform(0.35, 1.1) * rng.uniform(0.92, 1.08, 3)
    thick = width * rng.uniform(0.025, 0.06)
    x, y = edge[rng.integers(len(edge))].astype(float)
    turn = np.arctan2(height / 2 - y, width / 2 - x) + rng.normal(0, 0.4)
    for finger in range(int(rng.integers(1, 5))):
        offset = (finger - 1.5) * thick * 1.9
        center = (x - offset * np.sin(turn), y + offset * np.cos(turn))
        layer = np.zeros((height, width), np.float32)
        tip = (center[0] + thick * 2.2 * np.cos(turn), center[1] + thick * 2.2 * np.sin(turn))
        start = (center[0] - thick * 6 * np.cos(turn), center[1] - thick * 6 * np.sin(turn))
        cv2.line(
            layer,
            (int(start[0]), int(start[1])),
            (int(tip[0]), int(tip[1])),
            1.0,
            max(2, int(thick * 1.6)),
            cv2.LINE_AA,
        )
        layer = cv2.GaussianBlur(layer, (0, 0), 1.0)
        shade = (0.75 + 0.35 * cv2.GaussianBlur(layer, (0, 0), thick / 2))[..., None] * skin
        picture += layer[..., None] * (shade - picture)


def _head_shape(rng: Random, height: int, width: int, box: Light) -> Light:
    """Paper cut around a head, not too neatly; maybe with holes for the eyes."""
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    around = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    wobble = 1 + sum(rng.normal(0, 0.03) * np.cos(k * around + rng.uniform(0, 6)) for k in range(2, 7))
    if _chance(rng, 0.35):
        wobble = wobble / np.maximum(np.abs(np.cos(around)), np.abs(np.sin(around))) ** 0.8
    reach_x, reach_y = w * rng.uniform(0.55, 0.85), h * rng.uniform(0.6, 0.85)
    points = np.stack(
        [
            (x1 + x2) / 2 + reach_x * wobble * np.cos(around),
            (y1 + y2) / 2 - 0.05 * h + reach_y * wobble * np.sin(around),
        ],
        axis=1,
    )
    shape = np.zeros((height, width), np.float32)
    cv2.fillPoly(shape, [np.round(points * 8).astype(np.int32)], 1.0, cv2.LINE_AA, shift=3)
    if _chance(rng, 0.3):
        for eye in (0.3, 0.7):
            at = (int((x1 + eye * w) * 8), int((y1 + 0.4 * h) * 8))
            cv2.ellipse(
                shape, at, (int(0.1 * w * 8), int(0.05 * h * 8)), 0, 0, 360, 0.0, -1, cv2.LINE_AA, shift=3
            )
    return shape


def _place_medium(
    rng: Random,
    medium: Light,
    alpha: Light,
    box: Light,
    face: float,
    size: tuple[int, int],
    curl: float,
) -> tuple[Light, Light, Light, Light, Light]:
    """The medium as the camera sees it: colours, alpha, box, and where each pixel looks (u, v, in about its own unit).

    size: width and height of the picture. curl: how far the sheet bends, as a share of the face.
    """
    width, height = size
    rows, columns = medium.shape[:2]
    zoom = face / float(box[2] - box[0])
    center = (box[:2] + box[2:]) / 2
    turn = rng.normal(0, 0.1)
    to = np.array([width * rng.uniform(0.4, 0.6), height * rng.uniform(0.38, 0.6)])
    corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    placed = (corners - center) @ rotation.T * zoom + to
    tilt = rng.normal(0, 0.035, (4, 2)) * np.ptp(placed, axis=0).max()
    homography = cv2.getPerspectiveTransform(corners, (placed + tilt).astype(np.float32))
    inverse = np.linalg.inv(homography)
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    if curl:
        period, a = face * rng.uniform(2, 6), rng.normal(0, 0.4)
        bend = (
            curl * face * np.sin(2 * np.pi * (xs * np.cos(a) + ys * np.sin(a)) / period + rng.uniform(0, 6))
        )
        xs, ys = xs + bend * rng.uniform(0.2, 1), ys + bend * rng.uniform(-0.5, 0.5)
    depth = inverse[2, 0] * xs + inverse[2, 1] * ys + inverse[2, 2]
    u = ((inverse[0, 0] * xs + inverse[0, 1] * ys + inverse[0, 2]) / depth).astype(np.float32)
    v = ((inverse[1, 0] * xs + inverse[1, 1] * ys + inverse[1, 2]) / depth).astype(np.float32)
    seen = cv2.remap(medium, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.remap(alpha, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    four = np.array([[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]]], np.float32)
    seen_box = cv2.perspectiveTransform(four[None], homography)[0]
    middle = (seen_box.min(axis=0) + seen_box.max(axis=0)) / 2
    sides = (
        (np.linalg.norm(seen_box[1] - seen_box[0]) + np.linalg.norm(seen_box[2] - seen_box[3])) / 2,
        (np.linalg.norm(seen_box[3] - seen_box[0]) + np.linalg.norm(seen_box[2] - seen_box[1])) / 2,
    )
    half = np.array(sides) / 2
    return seen, mask, np.concatenate([middle - half, middle + half]).astype(np.float32), u * zoom, v * zoom


def _relight(rng: Random, seen: Light, bend: bool) -> Light:
    """Light from one side, another colour than where the picture was once taken; a curved sheet has folds of light."""
    height, width = seen.shape[:2]
    gain = 1 + rng.uniform(0, 0.18) * _smooth_noise(rng, height, width, 1)
    if bend:
        gain = gain * (
            1 + rng.uniform(0.02, 0.15) * _smooth_noise(rng, height, width, int(rng.integers(2, 5)))
        )
    return seen * gain * np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)


def _medium(rng: Random, kind: str, picture: Light, box: Light) -> tuple[Light, Light, Light]:
    """Colours of the flat medium with its border, its outline, and the box in it."""
    border = np.zeros(3, np.float32)
    if kind in ("print", "cutout"):
        picture = _on_paper(rng, picture)
        if kind == "cutout":
            return picture, _head_shape(rng, picture.shape[0], picture.shape[1], box), box
        if _chance(rng, 0.55):
            border += np.float32(np.clip(picture.max(axis=(0, 1)).mean() * rng.uniform(0.9, 1.05), 0, 1))
            picture, box = _bordered(rng, picture, box, (0.01, 0.2), border)
    elif kind == "photo":
        picture = _on_photo_paper(rng, picture)
        if _chance(rng, 0.5):
            picture, box = _bordered(rng, picture, box, (0.01, 0.08), border + rng.uniform(0.8, 1.0))
    else:
        if kind == "phone" and _chance(rng, 0.5):
            picture = _overlay(rng, picture)
        picture = _on_screen(rng, picture)
        if kind == "screen" and _chance(rng, 0.35):
            # A window on a desktop.
            picture, box = _bordered(rng, picture, box, (0.02, 0.25), border + rng.uniform(0, 1, 3))
        shade = rng.uniform(0.6, 0.95) if _chance(rng, 0.15) else rng.uniform(0, 0.15)
        shares = (0.015, 0.1) if kind == "screen" else (0.008, 0.05)
        picture, box = _bordered(rng, picture, box, shares, border + shade)
    alpha = np.ones(picture.shape[:2], np.float32)
    if kind == "phone":
        radius = int(min(alpha.shape) * rng.uniform(0.02, 0.12))
        alpha[:] = 0
        h, w = picture.shape[0], picture.shape[1]
        cv2.rectangle(alpha, (radius, 0), (w - radius, h), 1.0, -1)
        cv2.rectangle(alpha, (0, radius), (w, h - radius), 1.0, -1)
        for x in (radius, w - radius - 1):
            for y in (radius, h - radius - 1):
                cv2.circle(alpha, (x, y), radius, 1.0, -1, cv2.LINE_AA)
    return picture, alpha, box


def _surface(rng: Random, kind: str, seen: Light, u: Light, v: Light, scenes: Sequence[RGBImage]) -> Light:
    """What the medium's surface does to what is seen of it."""
    if kind in ("print", "cutout"):
        way = rng.random()
        if way < 0.5:
            seen = _halftone(rng, seen, u, v)
        elif way < 0.85:
            seen = _dither(rng, seen)
        if _chance(rng, 0.3):
            seen = _lines(rng, seen, v)
        if _chance(rng, 0.5):
            seen = _paper_grain(rng, seen)
        if _chance(rng, 0.15):
            seen = _creases(rng, seen, u, v)
        seen = _relight(rng, seen, bend=True)
        return _glare(rng, seen) if _chance(rng, 0.15) else seen
    if kind == "photo":
        if _chance(rng, 0.3):
            seen = _paper_grain(rng, seen)
        seen = _relight(rng, seen, bend=_chance(rng, 0.6))
        if _chance(rng, 0.3):
            seen = _reflection(rng, seen, scenes)
        return _glare(rng, seen) if _chance(rng, 0.65) else seen
    if _chance(rng, 0.75):
        seen = _grid(rng, seen, u, v, diagonal=kind == "phone" and _chance(rng, 0.7))
    if _chance(rng, 0.5):
        seen = _beat(rng, seen, u, v)
    if _chance(rng, 0.45 if kind == "phone" else 0.15):
        seen = _refresh(rng, seen)
    if _chance(rng, 0.55):
        seen = _reflection(rng, seen, scenes)
    return _glare(rng, seen) if _chance(rng, 0.3) else seen


def _size(rng: Random, face: float) -> tuple[int, int]:
    """Width and height of a picture with a face of that width in it."""
    a, b = ASPECTS[rng.choice(len(ASPECTS), p=[0.45, 0.2, 0.25, 0.1])]
    short = face * _between(rng, 1.7, 4.6)
    zoom = min(short / min(a, b), 440 / max(a, b))
    return max(48, int(a * zoom)), max(48, int(b * zoom))


def attack(
    rng: Random, kind: str, source: Source, scenes: Sequence[RGBImage], others: Sequence[Source]
) -> tuple[Light, Light]:
    """A picture of a picture of the source, and the box in it."""
    face = _between(rng, 45, 150)
    width, height = _size(rng, face)
    dense = face * rng.uniform(0.7, 1.5)
    reach = _between(rng, 1.3, 5)
    picture, box = _portrait(rng, source, scenes, reach, dense, rng.choice([0.6, 0.75, 1.0, 1.33]))
    if _chance(rng, 0.6):
        picture = camera(rng, picture, gentle=True).astype(np.float32) / 255
    medium, alpha, box = _medium(rng, kind, picture, box)
    bends = kind in ("print", "cutout", "photo")
    curl = rng.uniform(0.0, 0.12) if bends and _chance(rng, 0.6) else 0.0
    seen, mask, box, u, v = _place_medium(rng, medium, alpha, box, face, (width, height), curl)
    seen = np.clip(_surface(rng, kind, seen, u, v, scenes), 0, 1.6)
    if kind == "cutout" and _chance(rng, 0.6):
        # Held before the face of somebody.
        other = _one(rng, others)
        place, _ = _portrait(rng, other, scenes, width / face * 1.1, face, width / height)
        place = cv2.resize(place, (width, height))
    elif not source.tight and _chance(rng, 0.3):
        other = _one(rng, others)
        place, _ = _portrait(rng, other, scenes, 6, face, width / height)
        place = cv2.GaussianBlur(cv2.resize(place, (width, height)), (0, 0), rng.uniform(0.5, 3))
    else:
        place = _scene(rng, scenes, width, height)
    if _chance(rng, 0.5):
        shift = np.array([[1, 0, rng.normal(0, 0.08) * face], [0, 1, rng.uniform(0, 0.1) * face]], np.float32)
        shadow = cv2.GaussianBlur(
            cv2.warpAffine(mask, shift, (width, height)), (0, 0), _between(rng, 1.5, 12)
        )
        place = place * (1 - rng.uniform(0.1, 0.6) * shadow)[..., None]
    taken = place + mask[..., None] * (seen - place)
    if 0.05 < mask.mean() < 0.97 and _chance(rng, 0.45):
        _hand(rng, taken, mask)
    return np.asarray(taken, np.float32), box


def live(rng: Random, source: Source, scenes: Sequence[RGBImage]) -> tuple[Light, Light]:
    """A picture of the source itself, and the box in it."""
    face = _between(rng, 45, 150)
    width, height = _size(rng, face)
    picture, box = _portrait(rng, source, scenes, width / face, face, width / height)
    if _chance(rng, 0.5):
        picture = _relight(rng, picture, bend=False)
    if _chance(rng, 0.08):
        # Low light and haze are no attack.
        low = rng.uniform(0, 0.12)
        picture = low + (rng.uniform(0.6, 1) - low) * picture
    if _chance(rng, 0.12):
        _hand(rng, picture, np.ones(picture.shape[:2], np.float32))
    return picture, box


def camera(rng: Random, light: Light, gentle: bool = False) -> RGBImage:
    """A picture of what the lens saw: exposure, white balance, focus, motion, noise, sharpening, compression.

    gentle: a good camera, as most pictures that get printed or shown were taken with.
    """
    height, width = light.shape[:2]
    scale = 0.4 if gentle else 1.0
    light = np.clip(light, 0, 1.6) * np.float32(np.exp(rng.normal(0, 0.2 * scale)))
    light = light * np.exp(rng.normal(0, 0.07 * scale, 3)).astype(np.float32)
    if _chance(rng, 0.3):
        light = light ** np.float32(np.exp(rng.normal(0, 0.18 * scale)))
    if _chance(rng, 0.3):
        light = _saturate(light, rng.uniform(0.6, 1.3))
    if _chance(rng, 0.05):
        light = np.repeat(light.mean(axis=2, keepdims=True), 3, axis=2)
    if _chance(rng, 0.5 * scale):
        light = cv2.GaussianBlur(light, (0, 0), _between(rng, 0.4, 1.8))
    if _chance(rng, 0.12 * scale):
        length = int(rng.integers(3, 8))
        kernel = np.zeros((length, length), np.float32)
        cv2.line(kernel, (0, int(rng.integers(length))), (length - 1, int(rng.integers(length))), 1.0, 1)
        light = cv2.filter2D(light, -1, kernel / kernel.sum())
    light = np.clip(light, 0, 1)
    if _chance(rng, 0.7 * scale):
        noise = rng.standard_normal(light.shape, dtype=np.float32)
        if _chance(rng, 0.4):
            noise = cv2.GaussianBlur(noise, (0, 0), 0.7) * 2
        light = light + noise * (rng.uniform(0, 0.03) + rng.uniform(0, 0.04) * np.sqrt(light))
    if _chance(rng, 0.3):
        soft = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.7, 1.6))
        light = light + rng.uniform(0.3, 1.5) * (light - soft)
    pixels = (np.clip(light, 0, 1) * 255).astype(np.uint8)
    if _chance(rng, 0.25 * scale):
        zoom = rng.uniform(0.45, 0.9)
        small = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        pixels = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    if _chance(rng, 0.85):
        quality = int(rng.integers(70, 97) if gentle else rng.integers(40, 97))
        _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])
    return pixels


def take(
    rng: Random, kind: str, source: Source, scenes: Sequence[RGBImage], others: Sequence[Source]
) -> Taken:
    """One picture of a kind, as a server would get it.

    scenes: as `sources.views` gives them. others: people who hold the attack.
    """
    if kind == "live":
        seen, box = live(rng, source, scenes)
    else:
        seen, box = attack(rng, kind, source, scenes, others)
    pixels = camera(rng, seen)
    # Detectors do not agree to the pixel.
    sides = box[2:] - box[:2]
    box = box + rng.normal(0, 0.025, 4).astype(np.float32) * np.tile(sides, 2)
    return Taken(pixels, box.astype(np.float32))
