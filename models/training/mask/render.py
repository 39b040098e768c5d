"""Putting a mask on a face: the face's outline gives its shape, the face's own light gives its shading."""

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.training.mask.textures import HEIGHT, WIDTH, any_mask, cloth, smooth_noise


class Wear(IntEnum):
    """The classes of the network, in the order of its outputs."""

    WITHOUT = 0
    INCORRECT = 1
    CORRECT = 2


@dataclass(frozen=True, slots=True)
class Outline:
    """Where a mask lies, in upright coordinates. top, bottom: ``(K, 2)`` points of its edges, x ascending."""

    top: Float32
    bottom: Float32
    middle: float
    """x of the nose ridge."""


def upright(points: Float32) -> Float32:
    """``(2, 2)`` rotation that makes the line through the eyes horizontal. points: ``(68, 2)``."""
    x, y = points[42:48].mean(axis=0) - points[36:42].mean(axis=0)
    length = float(np.hypot(x, y)) or 1.0
    return np.array([[x, y], [-y, x]], np.float32) / np.float32(length)


def _between(points: Float32, position: float) -> Float32:
    """The point at a fractional index of a polyline."""
    index = int(np.clip(np.floor(position), 0, len(points) - 2))
    return np.asarray(points[index] + (position - index) * (points[index + 1] - points[index]), np.float32)


def _edge(points: list[Float32]) -> Float32:
    """Points as an ``(K, 2)`` curve with ascending x, which heads turned aside would break."""
    curve = np.array(points, np.float32)
    curve[:, 0] = np.maximum.accumulate(curve[:, 0] + np.arange(len(curve)) * 1e-3)
    return curve


def outline_correct(rng: np.random.Generator, points: Float32) -> Outline:
    """Over the nose and under the chin."""
    return _outline(
        rng, points, top=_between(points[27:31], rng.uniform(0.5, 2.1)), side=rng.uniform(0.8, 2.4)
    )


def outline_under_nose(rng: np.random.Generator, points: Float32) -> Outline:
    """Mouth and chin covered, the nose free."""
    lip = points[33] + rng.uniform(-0.1, 0.75) * (points[51] - points[33])
    return _outline(rng, points, top=lip, side=rng.uniform(2.0, 3.8))


def outline_chin(rng: np.random.Generator, points: Float32) -> Outline:
    """Pulled down: the chin, or the neck under it, alone."""
    top = points[57] + rng.uniform(0.1, 0.95) * (points[8] - points[57])
    return _outline(rng, points, top=top, side=rng.uniform(3.8, 5.2), sag=rng.uniform(0.12, 0.35))


def outline_forehead(rng: np.random.Generator, points: Float32) -> Outline:
    """Pushed up over the brows."""
    size = _size(points)
    low = points[17:27, 1].min() - rng.uniform(-0.02, 0.12) * size
    high = low - rng.uniform(0.3, 0.55) * size
    left, right = points[0, 0], points[16, 0]
    middle = float(points[27, 0])
    bow = rng.uniform(0, 0.08) * size
    top = _edge([np.array(p) for p in ((left, high + bow), (middle, high), (right, high + bow))])
    bottom = _edge([np.array(p) for p in ((left, low), (middle, low - bow), (right, low))])
    return Outline(top, bottom, middle)


def _size(points: Float32) -> float:
    """From the brows to the chin."""
    return float(points[8, 1] - points[19:25, 1].mean())


def _outline(
    rng: np.random.Generator, points: Float32, top: Float32, side: float, sag: float | None = None
) -> Outline:
    """A mask whose upper edge runs from one side of the jaw over `top` to the other.

    side: where the upper edge meets the jaw, as an index of its points counted from either ear.
    sag: how far the lower edge hangs under the chin, as a share of the face.
    """
    size = _size(points)
    jaw = points[:17]
    uneven = rng.normal(0, 0.25, 2)
    left, right = _between(jaw, side + uneven[0]), _between(jaw[::-1], side + uneven[1])
    inset = rng.uniform(-0.02, 0.1) * size
    left, right = left + np.array([inset, 0]), right - np.array([inset, 0])
    # The cheeks: the edge leaves the nose steeply and then runs towards the ear.
    drop, share = rng.uniform(0.1, 0.75), rng.uniform(0.25, 0.6)
    cheeks = [
        np.array([top[0] + share * (end[0] - top[0]), top[1] + drop * (end[1] - top[1])])
        for end in (left, right)
    ]
    flat = rng.uniform(0, 0.06) * size
    ridge = [top - np.array([flat, 0]), top + np.array([flat, 0])]
    upper = _edge([left, cheeks[0], *ridge, cheeks[1], right])
    loose = rng.uniform(-0.03, 0.05) * size
    hang = (rng.uniform(-0.02, 0.1) if sag is None else sag) * size
    lower = []
    for index in np.linspace(side + rng.uniform(1.0, 2.5), 16 - side - rng.uniform(1.0, 2.5), 9):
        point = _between(jaw, float(np.clip(index, 0, 16)))
        away = point - points[30]
        near_chin = 1 - abs(index - 8) / 8
        lower.append(point + away / (float(np.hypot(*away)) + 1e-6) * loose + (0, hang * near_chin))
    lower = [np.array([min(left[0], lower[0][0]), lower[0][1]]), *lower]
    lower.append(np.array([max(right[0], lower[-1][0]), lower[-1][1]]))
    return Outline(upper, _edge(lower), float(top[0]))


def render(
    rng: np.random.Generator, pixels: RGBImage, points: Float32, outline: Outline, texture: Float32
) -> tuple[RGBImage, Float32]:
    """The picture with the mask on, and ``(H, W)`` float32 where the mask is, 0..1, without its straps.

    outline: in the coordinates that ``points @ upright(points).T`` has.
    """
    rotation = upright(points)
    height, width = pixels.shape[:2]
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    across, down = rotation[0, 0] * xs + rotation[0, 1] * ys, rotation[1, 0] * xs + rotation[1, 1] * ys
    top = _curve(outline.top, across)
    bottom = _curve(outline.bottom, across)
    first, last = float(outline.top[0, 0]), float(outline.top[-1, 0])
    alpha = np.ones_like(across)
    for distance in (down - top, bottom - down, across - first, last - across):
        alpha *= np.clip(distance + 0.5, 0, 1)
    if alpha.sum() < 30:
        return pixels, alpha
    u = np.interp(across, [first, np.clip(outline.middle, first + 2, last - 2), last], [0, 0.5, 1]).astype(
        np.float32
    )
    v = np.clip((down - top) / np.maximum(bottom - top, 1), 0, 1)
    # A face is round: what lies at its sides is seen aslant.
    u = 0.5 + np.arcsin(np.clip((2 * u - 1) * 0.9, -1, 1)) / (2 * np.arcsin(0.9))
    colour = cv2.remap(
        texture, (u * (WIDTH - 1)).astype(np.float32), v * np.float32(HEIGHT - 1), cv2.INTER_LINEAR
    )
    colour = colour * _shading(rng, pixels, alpha, u, v)[..., None] * _cast(rng, pixels)
    size = _size(points @ rotation.T)
    image = _loops(rng, pixels, points, outline, rotation, texture, size)
    shadow = cv2.GaussianBlur(alpha, (0, 0), max(0.6, rng.uniform(0.015, 0.05) * size))
    shadow = np.roll(shadow, int(rng.integers(0, 3)), axis=0) * (1 - alpha) * rng.uniform(0.1, 0.7)
    image = image * (1 - shadow[..., None])
    alpha = cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.3, 0.9))
    image = image + alpha[..., None] * (colour - image)
    return np.asarray(np.clip(image, 0, 255), np.uint8), alpha


def _curve(edge: Float32, x: Float32) -> Float32:
    grid = np.arange(np.floor(x.min()), np.ceil(x.max()) + 2, dtype=np.float32)
    line = np.interp(grid, edge[:, 0], edge[:, 1]).astype(np.float32)
    line = cv2.GaussianBlur(line[None], (0, 0), max(1.0, 0.03 * float(np.ptp(edge[:, 0]))))[0]
    return np.asarray(np.interp(x, grid, line), np.float32)


def _shading(rng: np.random.Generator, pixels: RGBImage, alpha: Float32, u: Float32, v: Float32) -> Float32:
    """Gain of every pixel: the light on the face, the roundness of the mask, and creases."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    soft = cv2.GaussianBlur(grey, (0, 0), 0.06 * len(grey)) + 8
    weight = float(alpha.sum())
    relative = soft / (float((soft * alpha).sum()) / weight)
    # White cloth is lighter than skin: the face's bright pixels say how much light there is.
    bright = float(np.percentile(grey[alpha > 0.5], 90)) if (alpha > 0.5).any() else 128.0
    exposure = np.clip(bright / 190 * rng.uniform(0.9, 1.35), 0.2, 1.15)
    side = rng.uniform(-0.3, 0.3) * (2 * u - 1)
    edges = -rng.uniform(0, 0.35) * (2 * u - 1) ** 2
    below = -rng.uniform(-0.1, 0.35) * v**2
    creases = rng.uniform(0, 0.12) * smooth_noise(rng, alpha.shape, int(rng.integers(6, 20)))
    gain = exposure * relative ** rng.uniform(0.2, 1.0) * (1 + side + edges + below + creases)
    return np.asarray(np.clip(gain, 0.05, 1.4), np.float32)


def _cast(rng: np.random.Generator, pixels: RGBImage) -> Float32:
    """The colour of the light, as far as the mean colour of the picture tells."""
    mean = pixels.reshape(-1, 3).mean(axis=0) + 20
    return np.asarray((mean / mean.mean()) ** rng.uniform(0, 0.6), np.float32)


def _loops(
    rng: np.random.Generator,
    pixels: RGBImage,
    points: Float32,
    outline: Outline,
    rotation: Float32,
    texture: Float32,
    size: float,
) -> Float32:
    """The picture with thin straps from the mask's corners towards the ears, where there are any."""
    image = pixels.astype(np.float32)
    if rng.random() < 0.25:
        return image
    paint = tuple(float(value) for value in texture[:4].mean(axis=(0, 1)) * rng.uniform(0.5, 1.1))
    thickness = max(1, round(rng.uniform(0.004, 0.018) * size))
    for end, ear in ((0, points[0]), (-1, points[16])):
        away = np.array([-1.0 if end == 0 else 1.0, 0.0]) * rng.uniform(0, 0.08) * size
        for corner, rise in ((outline.top[end], -0.05), (outline.bottom[end], 0.12)):
            start = corner @ rotation
            stop = ear + away + (0, (rise + rng.normal(0, 0.03)) * size)
            line = np.round(np.array([start, stop]) * 16).astype(np.int32)
            cv2.polylines(image, [line], False, paint, thickness, cv2.LINE_AA, 4)
    return image


OUTLINES = {
    Wear.CORRECT: ((outline_correct, 1.0),),
    Wear.INCORRECT: ((outline_under_nose, 0.6), (outline_chin, 0.33), (outline_forehead, 0.07)),
}


def wear_mask(rng: np.random.Generator, pixels: RGBImage, points: Float32, wear: Wear) -> RGBImage:
    """A random mask on a face. points: ``(68, 2)`` x y, iBUG order."""
    return wear_with_alpha(rng, pixels, points, wear)[0]


def wear_with_alpha(
    rng: np.random.Generator, pixels: RGBImage, points: Float32, wear: Wear
) -> tuple[RGBImage, Float32]:
    """As `wear_mask`, and where the mask is, as `render` tells."""
    makers, shares = zip(*OUTLINES[wear], strict=True)
    outline = makers[int(rng.choice(len(makers), p=shares))](rng, points @ upright(points).T)
    return render(rng, pixels, points, outline, any_mask(rng))


def distract(rng: np.random.Generator, pixels: RGBImage, points: Float32) -> RGBImage:
    """Something that is no mask: a scarf, a hand, a microphone, sunglasses or a thing before the face."""
    size = _size(points)
    image = pixels.astype(np.float32)
    height, width = image.shape[:2]
    skin = tuple(
        float(v) for v in np.clip(pixels[_inside(points[30], pixels)] * rng.uniform(0.7, 1.1), 0, 255)
    )
    paint = tuple(float(value) for value in cloth(rng)[40, 40])
    kind = rng.choice(["scarf", "hand", "microphone", "sunglasses", "thing"], p=[0.3, 0.2, 0.15, 0.15, 0.2])
    layer = np.zeros((height, width), np.float32)
    cover = np.tile(np.array(skin if kind == "hand" else paint, np.float32), (height, width, 1))
    if kind == "scarf":
        chin = points[8, 1] + rng.uniform(-0.06, 0.15) * size
        wave = smooth_noise(rng, (1, width), 5)[0] * 0.06 * size
        layer = np.clip(np.arange(height)[:, None] - (chin + wave)[None], 0, 1).astype(np.float32)
        cover = cv2.resize(cloth(rng), (width, height), interpolation=cv2.INTER_AREA)
    elif kind == "hand":
        where = points[int(rng.choice([48, 54, 8, 5, 11, 3, 13]))] + rng.normal(0, 0.06, 2) * size
        angle = rng.uniform(0, 180)
        for finger in range(int(rng.integers(2, 5))):
            step = (
                finger
                * 0.1
                * size
                * np.array([np.cos(np.radians(angle + 90)), np.sin(np.radians(angle + 90))])
            )
            axes = (rng.uniform(0.2, 0.4) * size, rng.uniform(0.045, 0.06) * size)
            _ellipse(layer, where + step, axes, angle)
    elif kind == "microphone":
        where = points[57] + np.array([rng.uniform(-0.4, 0.4), rng.uniform(0.1, 0.35)]) * size
        cover[:] = rng.uniform(10, 90)
        _ellipse(layer, where, (rng.uniform(0.1, 0.18) * size, rng.uniform(0.1, 0.18) * size), 0)
    elif kind == "sunglasses":
        cover[:] = rng.uniform(5, 70)
        for eye in (points[36:42], points[42:48]):
            _ellipse(
                layer, eye.mean(axis=0), (0.2 * size, rng.uniform(0.11, 0.17) * size), rng.uniform(-8, 8)
            )
    else:
        where = points[int(rng.choice([0, 16, 19, 24, 2, 14, 27]))] + rng.normal(0, 0.15, 2) * size
        _ellipse(layer, where, tuple(rng.uniform(0.08, 0.35, 2) * size), rng.uniform(0, 180))
    cover = cover * (1 + 0.15 * smooth_noise(rng, (height, width), 6))[..., None]
    layer = cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.3, 1.0))[..., None]
    return np.asarray(np.clip(image + layer * (cover - image), 0, 255), np.uint8)


def _inside(point: Float32, pixels: RGBImage) -> tuple[int, int]:
    x, y = np.clip(point, 0, (pixels.shape[1] - 1, pixels.shape[0] - 1)).astype(int)
    return int(y), int(x)


def _ellipse(layer: Float32, center: Float32, axes: tuple[float, ...], angle: float) -> None:
    where = (int(center[0] * 16), int(center[1] * 16))
    sides = (max(16, int(axes[0] * 16)), max(16, int(axes[1] * 16)))
    cv2.ellipse(layer, where, sides, float(angle), 0, 360, (1.0,), -1, cv2.LINE_AA, 4)
