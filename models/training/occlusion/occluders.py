"""What is rendered before faces: glasses, hands, hair, fabrics, things, other people. Each is a `Layer`."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.training.mask.render import Wear, wear_with_alpha
from prosopon.models.training.mask.textures import cloth
from prosopon.models.training.occlusion.canvas import (
    Floats,
    Layer,
    Random,
    View,
    brightness,
    capsule,
    complexion,
    filled,
    lit,
    noise,
    plain,
    ramp,
    random_light,
    rounded_box,
    turned,
    view,
)
from prosopon.models.training.occlusion.faces import FRAME, SIDE, Face

Occluder = Callable[[Random, Face, Face], Layer]
"""Of a face and of another, whose pixels may be used."""

_HAIR = (
    (20, 17, 15), (38, 28, 22), (62, 42, 28), (96, 66, 40), (150, 112, 70),
    (196, 164, 112), (130, 60, 35), (150, 148, 145), (215, 212, 208),
)  # fmt: skip
_FRAMES = (
    (18, 17, 18), (45, 30, 20), (95, 60, 30), (170, 140, 80), (165, 168, 172),
    (90, 92, 96), (120, 25, 30), (35, 50, 95), (230, 228, 224),
)  # fmt: skip
_FRAME_SHARES = (0.42, 0.12, 0.08, 0.1, 0.1, 0.07, 0.04, 0.04, 0.03)


def _of(rng: Random, colours: Sequence[tuple[int, ...]], shares: Sequence[float] | None = None) -> Float32:
    chosen = colours[int(rng.choice(len(colours), p=shares))]
    return np.asarray(np.array(chosen) + rng.normal(0, 6, 3), np.float32)


def _paint(rng: Random) -> Float32:
    """``(3,)``: any colour; black, white and grey are as common as all others."""
    return np.asarray(cloth(rng)[40, 40], np.float32)


def glasses(rng: Random, face: Face, other: Face) -> Layer:
    """Clear lenses, perhaps tinted a little, perhaps with reflections."""
    return _glasses(rng, face, other, rng.uniform(0, 0.15) if rng.random() < 0.5 else 0.0)


def sunglasses(rng: Random, face: Face, other: Face) -> Layer:
    return _glasses(rng, face, other, rng.uniform(0.45, 1.0))


def _glasses(rng: Random, face: Face, other: Face, tint: float) -> Layer:
    where = view(face)
    light = brightness(face)
    middle, down = rng.uniform(0.49, 0.6), rng.uniform(-0.04, 0.16)
    half = (rng.uniform(0.33, min(0.48, middle - 0.06)), rng.uniform(0.2, 0.42))
    tilt = rng.normal(0, 0.03)
    x, y = turned(where.x, where.y, (rng.normal(0, 0.03), down), tilt)
    across = np.abs(x)
    # Cat's eyes rise outwards, aviators droop.
    slant = rng.choice([0.0, rng.uniform(0.1, 0.35), -rng.uniform(0.1, 0.3)], p=[0.6, 0.2, 0.2])
    kind = rng.random()
    lens_x, lens_y = across - middle, y + slant * (across - middle)
    if kind < 0.3:
        radius = min(half) * rng.uniform(0.95, 1.15)
        lens = np.asarray(np.hypot(lens_x, lens_y * rng.uniform(0.95, 1.15)) - radius, np.float32)
    elif kind < 0.4:  # one shield
        lens = rounded_box(x, y, (middle + half[0], half[1]), half[1] * 0.6)
    else:
        lens = rounded_box(lens_x, lens_y, half, min(half) * rng.uniform(0.25, 0.95))
    thick = rng.uniform(0.02, 0.05) if rng.random() < 0.6 else rng.uniform(0.05, 0.13)
    rim = np.asarray(np.abs(lens) - thick / 2, np.float32)
    style = rng.random()
    if style < 0.12:  # rimless
        rim = np.full_like(rim, 9)
    elif style < 0.28:  # rims above alone
        rim = np.maximum(rim, y - rng.uniform(-0.1, 0.1))
    bow = rng.uniform(-0.12, 0.04)
    gap = np.maximum(
        across - (middle - half[0] + 0.05), np.abs(y - bow + 0.3 * x * x) - max(thick, 0.035) / 2
    )
    outer = middle + half[0]
    temple_y = rng.uniform(-0.16, -0.02) + rng.uniform(-0.1, 0.1) * (across - outer)
    temple = np.maximum(
        np.abs(y - temple_y) - max(0.7 * thick, 0.03) / 2 * rng.uniform(1, 2.2), outer - 0.02 - across
    )
    temple = np.maximum(temple, across - rng.uniform(1.02, 1.3))
    frame = np.minimum(np.minimum(rim, gap.astype(np.float32)), temple.astype(np.float32))
    colour = plain(_of(rng, _FRAMES, _FRAME_SHARES) * light)
    if rng.random() < 0.3:  # tortoise
        colour = colour * (1 + 0.5 * noise(rng, int(rng.integers(8, 30))))[..., None]
    shine = rng.uniform(0, 90) * light * ramp(0.2, 0.9, noise(rng, int(rng.integers(3, 9))))
    solid = Layer(
        np.clip(colour + shine[..., None], 0, 255),
        filled(frame, where.unit) * np.float32(rng.uniform(0.75, 1)),
    )
    glass = _lenses(rng, where, filled(lens, where.unit), y, half[1], tint, light, other)
    return glass.then(solid)


def _lenses(
    rng: Random,
    where: View,
    inside: Float32,
    y: Float32,
    half: float,
    tint: float,
    light: float,
    other: Face,
) -> Layer:
    """Tint and reflections: how much of a pixel they are is alpha."""
    dark = plain(_of(rng, ((10, 10, 12), (30, 22, 16), (20, 28, 34), (70, 40, 20), (60, 70, 90))) * light)
    if tint > 0.4 and rng.random() < 0.2:  # a mirror
        dark = plain(np.array(rng.uniform(40, 255, 3), np.float32) * light)
    paler = rng.uniform(0.2, 0.7) if rng.random() < 0.4 else 0.0  # towards the cheeks
    shade = tint * np.clip(1 - paler * (y / half * 0.5 + 0.5), 0, 1)
    layer = Layer(dark, np.asarray(inside * shade, np.float32))
    if rng.random() < 0.35 or (tint > 0.4 and rng.random() < 0.4):
        # What stands before the glasses: a window, a lamp, the sky, a street.
        if rng.random() < 0.35:
            seen = _elsewhere(rng, other)
            strength = rng.uniform(0.1, 0.6) * ramp(0.1, 0.6, noise(rng, int(rng.integers(3, 7))))
        else:
            seen = plain(np.array([255, 255, 255], np.float32) * rng.uniform(0.75, 1, 3)) * min(
                1.0, light * 1.3
            )
            shape = np.zeros((SIDE, SIDE), np.float32)
            for _ in range(int(rng.integers(1, 4))):
                at = (rng.choice([-1, 1]) * rng.uniform(0.3, 0.75), rng.uniform(-0.2, 0.35))
                across, down = turned(where.x, where.y, at, float(rng.uniform(-0.8, 0.8)))
                size = (rng.uniform(0.03, 0.3), rng.uniform(0.03, 0.25))
                blot = filled(rounded_box(across, down, size, min(size) * rng.uniform(0.1, 1)), where.unit)
                shape = np.maximum(shape, blot * rng.uniform(0.4, 1))
            strength = cv2.GaussianBlur(shape, (0, 0), float(rng.uniform(0.3, 3)))
        layer = layer.then(Layer(seen, np.asarray(inside * strength, np.float32)))
    return layer


def _elsewhere(rng: Random, other: Face) -> Float32:
    """``(160, 160, 3)``: a part of another picture, enlarged, turned and in other light."""
    zoom, angle = rng.uniform(1.0, 3.0), rng.uniform(0, 360)
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), angle, zoom)
    matrix[:, 2] += rng.uniform(-40, 40, 2)
    seen = cv2.warpAffine(other.pixels, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(np.clip(seen * rng.uniform(0.5, 1.4, 3), 0, 255), np.float32)


_TOUCHED = (
    (0.0, 1.0), (0.0, 1.5), (-0.8, 0.7), (0.8, 0.7), (-0.5, 0.0),
    (0.5, 0.0), (0.0, -0.7), (0.0, 0.5), (-0.9, -0.3), (0.9, -0.3),
)  # fmt: skip


def hand(rng: Random, face: Face, other: Face) -> Layer:
    """Fingers of one or more joints, a palm and a forearm, in the colour of the face or of another."""
    where = view(face)
    own, gain = (
        (complexion(face), rng.uniform(0.75, 1.15)) if rng.random() < 0.75 else (complexion(other), 1.0)
    )
    skin = np.asarray(own * gain * (1 + rng.normal(0, 0.03, 3)), np.float32)
    light, ambient = random_light(rng), rng.uniform(0.35, 0.85)
    # From below and from the sides more often than from above.
    heading = rng.choice([rng.normal(-np.pi / 2, 0.6), rng.uniform(-np.pi, np.pi)], p=[0.7, 0.3])
    way = np.array([np.cos(heading), np.sin(heading)])
    side = np.array([-way[1], way[0]])
    scale = rng.uniform(0.75, 1.25)
    tip = np.array(_TOUCHED[int(rng.integers(len(_TOUCHED)))]) + rng.normal(0, 0.2, 2)
    radius = 0.135 * scale * rng.uniform(0.85, 1.15)
    count = int(rng.choice([1, 2, 3, 4, 4, 4]))
    reach = scale * rng.uniform(0.7, 1.3)
    bend, spread = rng.normal(0, 0.35), abs(rng.normal(0, 0.12))
    knuckles = tip - way * reach
    layer = Layer(plain(skin), np.zeros((SIDE, SIDE), np.float32))
    grain = 1 + 0.05 * noise(rng, 40) + 0.08 * noise(rng, 8)
    flush = np.array([1.0, rng.uniform(0.82, 0.97), rng.uniform(0.8, 0.97)], np.float32)
    straight = _straight(where)

    def rod(start: Floats, end: Floats, radii: tuple[float, float], colour: Float32, nail: bool) -> None:
        nonlocal layer
        apart, normal_x, normal_y, along = capsule(*straight, start, end, radii)
        gain = lit(np.clip(normal_x, -1, 1), np.clip(normal_y, -1, 1), light, ambient)
        # Where fingers meet it is darker.
        gain = gain * (1 - 0.35 * ramp(-0.35 * radii[1], 0.0, apart)) * grain
        shown = plain(colour) * gain[..., None]
        if nail:
            shown = np.where((along > 0.8)[..., None], shown * flush, shown)
            placed = end + (end - start) / (np.linalg.norm(end - start) + 1e-6) * radii[1] * 0.25
            nail_x, nail_y = turned(*straight, (float(placed[0]), float(placed[1])), heading)
            shape = filled(
                rounded_box(nail_x, nail_y, (0.6 * radii[1], 0.5 * radii[1]), 0.4 * radii[1]), where.unit
            )
            polish = _paint(rng) if painted else colour * np.array([1.12, 1.02, 1.05], np.float32)
            shown = shown + (shape * nails)[..., None] * (polish * (0.6 + 0.4 * gain[..., None]) - shown)
        layer = layer.then(Layer(np.asarray(shown, np.float32), filled(apart, where.unit)))

    nails, painted = (0.9 if rng.random() < 0.5 else 0.0), rng.random() < 0.2
    wrist = knuckles - way * 1.1 * scale
    sleeve = _paint(rng) * brightness(face) if rng.random() < 0.5 else skin
    rod(wrist - way * 3, wrist, (0.6 * scale, 0.5 * scale), np.asarray(sleeve, np.float32), False)
    rod(wrist, knuckles - way * 0.3 * scale, (0.5 * scale, 0.62 * scale), np.asarray(skin, np.float32), False)
    for finger in rng.permutation(count):
        offset = (finger - (count - 1) / 2) * 2.05 * radius
        length = reach * (1.0, 0.95, 1.05, 0.8)[finger] * rng.uniform(0.9, 1.05)
        turn = bend + spread * (finger - (count - 1) / 2)
        direction = np.cos(turn) * way + np.sin(turn) * side
        base = knuckles + side * offset
        joint = base + (0.5 * length) * direction
        turn += rng.normal(0, 0.15)
        end = joint + (0.5 * length) * (np.cos(turn) * way + np.sin(turn) * side)
        colour = np.asarray(skin * rng.uniform(0.93, 1.07), np.float32)
        rod(base, joint, (radius * 1.08, radius), colour, False)
        rod(joint, end, (radius, radius * 0.82), colour, True)
    if rng.random() < 0.4:  # the thumb
        turn = rng.choice([-1, 1]) * rng.uniform(0.5, 1.2)
        direction = np.cos(turn) * way + np.sin(turn) * side
        base = knuckles - way * 0.5 * scale + side * np.sign(turn) * 0.4 * scale
        rod(base, base + direction * 0.75 * scale, (radius * 1.3, radius), np.asarray(skin, np.float32), True)
    return layer


def _straight(where: View) -> tuple[Float32, Float32]:
    """The face's coordinates without stretching: a hand is not pressed together as the face turns."""
    ys, xs = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    apart = np.stack([xs - where.origin[0], ys - where.origin[1]], axis=-1) / where.unit
    return np.asarray(apart @ where.axes[0], np.float32), np.asarray(apart @ where.axes[1], np.float32)


def arm(rng: Random, face: Face, other: Face) -> Layer:
    """A bare or a clothed arm across the face."""
    where = view(face)
    skin = complexion(other if rng.random() < 0.4 else face) * rng.uniform(0.7, 1.15)
    colour = plain(skin.astype(np.float32)) if rng.random() < 0.6 else _fabric(rng, face)
    heading, at = rng.uniform(0, np.pi), rng.uniform(0.3, 1.5) * rng.choice([-1, 1])
    way = np.array([np.cos(heading), np.sin(heading)])
    middle = np.array([0, 0.4]) + np.array([-way[1], way[0]]) * at
    radius = rng.uniform(0.3, 0.6)
    apart, normal_x, normal_y, _ = capsule(
        *_straight(where), middle - 4 * way, middle + 4 * way, (radius, radius)
    )
    gain = lit(np.clip(normal_x, -1, 1), np.clip(normal_y, -1, 1), random_light(rng), rng.uniform(0.3, 0.6))
    gain = gain * (1 + 0.06 * noise(rng, 20))
    return Layer(np.asarray(colour * gain[..., None], np.float32), filled(apart, where.unit))


def _hair_colour(rng: Random, face: Face) -> Float32:
    """Often that of the hair in the picture: what is no skin above the face."""
    where = view(face)
    above = (face.skin < 0.2) & (where.y < -0.9) & (np.abs(where.x) < 1.0)
    above[:FRAME] = False
    if above.sum() > 60 and rng.random() < 0.6:
        return np.asarray(np.median(face.pixels[above], axis=0) * rng.uniform(0.8, 1.3), np.float32)
    return np.asarray(_of(rng, _HAIR) * brightness(face), np.float32)


def hair(rng: Random, face: Face, other: Face) -> Layer:
    """Strands: a fringe, curtains at the sides, locks, or a few loose hairs."""
    where = view(face)
    colour = _hair_colour(rng, face)
    kind = rng.choice(["fringe", "side", "lock", "loose"], p=[0.4, 0.25, 0.2, 0.15])
    count = {"fringe": 220, "side": 160, "lock": 60, "loose": 9}[kind]
    count = int(count * rng.uniform(0.4, 1.3))
    share = np.sort(rng.random(count)) if rng.random() < 0.5 else rng.random(count)
    sign = rng.choice([-1, 1])
    if kind == "fringe":
        low, high = np.sort(rng.uniform(-1.3, 1.3, 2)) if rng.random() < 0.4 else (-1.3, 1.3)
        roots = np.stack([low + (high - low) * share, np.full(count, rng.uniform(-1.9, -1.3))], axis=1)
        ragged = np.interp(share, np.linspace(0, 1, 9), rng.normal(rng.uniform(-0.7, 0.05), 0.14, 9))
        sweep = rng.normal(0, 0.3) + rng.normal(0, 0.25) * (share - 0.5)
        tips = np.stack([roots[:, 0] + sweep, ragged + rng.normal(0, 0.05, count)], axis=1)
    elif kind == "side":
        roots = np.stack([sign * rng.uniform(0.2, 1.0) + 0.25 * (share - 0.5), np.full(count, -1.6)], axis=1)
        edge = sign * (rng.uniform(0.55, 0.95) + rng.uniform(0.2, 0.6) * share)
        tips = np.stack([edge, rng.uniform(0.6, 2.2) + rng.normal(0, 0.15, count)], axis=1)
    else:
        start, end = rng.uniform(-1.1, 1.1), rng.uniform(-1.0, 1.0)
        wide = rng.uniform(0.05, 0.3) if kind == "lock" else 0.7
        taper = rng.uniform(0.1, 1.0)
        roots = np.stack([start + wide * (share - 0.5), np.full(count, rng.uniform(-1.8, -1.2))], axis=1)
        tips = np.stack(
            [end + wide * taper * (share - 0.5), rng.uniform(-0.6, 1.6) + rng.normal(0, 0.1, count)], axis=1
        )
    bulge = rng.normal(0, 0.3) + rng.normal(0, 0.06, count)
    curl, phase = (rng.uniform(0.01, 0.06) if rng.random() < 0.4 else 0.0), rng.uniform(0, 6)
    t = np.linspace(0, 1, 12)[None, :, None]
    middle = (roots + tips) / 2 + np.stack([bulge * sign, -np.abs(bulge) * 0.2], axis=1)
    curves = (1 - t) ** 2 * roots[:, None] + 2 * t * (1 - t) * middle[:, None] + t**2 * tips[:, None]
    curves[..., 0] += curl * np.sin(14 * t[..., 0] + phase + 2 * share[:, None])
    alpha = np.zeros((SIDE, SIDE), np.float32)
    shown = plain(colour)
    shine = rng.uniform(0.1, 0.5)
    fixed = np.round(
        where.pixels(curves.reshape(-1, 2).astype(np.float32)).reshape(count, -1, 2) * 16
    ).astype(np.int32)
    thickness = 1 if kind == "loose" else int(rng.integers(1, 3))
    for strand in fixed:
        gain = float(np.exp(rng.normal(0, shine)))
        cv2.polylines(
            shown, [strand], False, tuple(float(v) for v in colour * gain), thickness, cv2.LINE_AA, 4
        )
        cv2.polylines(alpha, [strand], False, 1.0, thickness, cv2.LINE_AA, 4)
    if kind == "loose":
        alpha *= np.float32(rng.uniform(0.5, 1))
    shown = shown * (1 + 0.25 * noise(rng, 4))[..., None]
    return Layer(np.clip(shown, 0, 255), cv2.GaussianBlur(alpha, (0, 0), 0.4))


def surroundings(rng: Random, face: Face, other: Face) -> Layer:
    """Another's real hair, hat or scarf, moved over this face's border."""
    where = view(other)
    inside = np.zeros((SIDE, SIDE), np.uint8)
    hull = cv2.convexHull(np.round(other.mesh * 16).astype(np.int32))
    cv2.fillConvexPoly(inside, hull, 1, cv2.LINE_8, 4)
    free = cv2.GaussianBlur((1 - other.skin) * (1 - inside), (0, 0), 0.7)
    free = free * ramp(0.9, 0.6, where.y)  # not the clothes
    down = rng.uniform(0.25, 0.9)
    aside = rng.normal(0, 0.35)
    own = view(face)
    # From this face's pixels to the other's, which lie higher and aside.
    scale = where.unit / own.unit * rng.uniform(0.8, 1.1)
    turn = where.axes.T @ own.axes * scale
    shift = where.origin - turn @ (own.origin + own.unit * (np.array([aside, down]) @ own.axes))
    matrix = np.column_stack([turn, shift]).astype(np.float32)
    options = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
    alpha = cv2.warpAffine(np.asarray(free, np.float32), matrix, (SIDE, SIDE), **options)
    colour = cv2.warpAffine(other.pixels.astype(np.float32), matrix, (SIDE, SIDE), **options)
    alpha = ramp(0.3, 0.8, alpha) * ramp(1.0, 0.6, own.y)
    gain = brightness(face) / brightness(other)
    return Layer(np.clip(colour * gain, 0, 255), np.asarray(alpha, np.float32))


def _fabric(rng: Random, face: Face) -> Float32:
    """``(160, 160, 3)``: cloth in folds, in the light of the picture."""
    texture = cloth(rng)
    angle, zoom = rng.uniform(0, 360), rng.uniform(0.6, 2.2)
    matrix = cv2.getRotationMatrix2D((48, 48), angle, zoom)
    matrix[:, 2] += SIDE / 2 - 48
    spread = cv2.warpAffine(texture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    folds = noise(rng, int(rng.integers(3, 14)))
    ys, xs = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE
    way = rng.uniform(0, np.pi)
    waves = np.sin((xs * np.cos(way) + ys * np.sin(way)) * rng.uniform(8, 50) + 3 * folds)
    gain = 1 + rng.uniform(0, 0.25) * folds + rng.uniform(0, 0.2) * waves
    return np.asarray(np.clip(spread * gain[..., None] * brightness(face), 0, 255), np.float32)


def fabric(rng: Random, face: Face, other: Face) -> Layer:
    """Scarves and veils over what lies below a line, hats and bandages above one, hoods around, blindfolds between."""
    where = view(face)
    kind = rng.choice(["below", "above", "around", "between"], p=[0.35, 0.3, 0.25, 0.1])
    wave = rng.uniform(0, 0.08) * noise(rng, int(rng.integers(3, 8))) + rng.normal(0, 0.08) * where.x
    if kind == "below":
        line = rng.uniform(0.2, 1.4)
        apart = line + rng.uniform(-0.25, 0.1) * where.x**2 + wave - where.y
    elif kind == "above":
        apart = where.y - rng.uniform(-1.1, -0.3) + rng.uniform(-0.15, 0.25) * where.x**2 + wave
    elif kind == "around":
        wide, high = rng.uniform(0.75, 1.1), rng.uniform(1.0, 1.5)
        ring = np.hypot(where.x / wide, (where.y - rng.uniform(0.25, 0.45)) / high)
        apart = (1 - ring) * min(wide, high) + wave
    else:
        apart = np.abs(where.y - rng.uniform(-0.1, 0.15)) - rng.uniform(0.2, 0.45) + wave
    colour = _fabric(rng, face)
    # A rolled border, and shade under it.
    colour = colour * (1 + rng.uniform(-0.3, 0.3) * ramp(-0.15, 0.0, apart.astype(np.float32)))[..., None]
    return Layer(np.clip(colour, 0, 255), filled(apart.astype(np.float32), where.unit))


def mask(rng: Random, face: Face, other: Face) -> Layer:
    wear = Wear.CORRECT if rng.random() < 0.7 else Wear.INCORRECT
    picture, alpha = wear_with_alpha(rng, face.pixels, face.dense, wear)
    return Layer(picture.astype(np.float32), np.clip(alpha, 0, 1))


def thing(rng: Random, face: Face, other: Face) -> Layer:
    """Microphones, cups, phones, sticks, balls and signs."""
    where = view(face)
    light, sun = brightness(face), random_light(rng)
    kind = rng.choice(
        ["microphone", "cup", "phone", "stick", "ball", "sign"], p=[0.25, 0.2, 0.2, 0.12, 0.1, 0.13]
    )
    at = np.array([rng.normal(0, 0.5), rng.uniform(-0.2, 1.6)])
    x, y = _straight(where)
    colour = plain(_paint(rng) * light)
    if kind == "microphone":
        at = np.array([rng.normal(0, 0.45), rng.uniform(0.9, 1.7)])
        radius = rng.uniform(0.2, 0.42)
        down = at + np.array([rng.normal(0, 1.2), rng.uniform(0.8, 2.5)])
        grip, normal_x, normal_y, _ = capsule(x, y, at, down, (radius * 0.7, radius * 0.5))
        metal = plain(rng.uniform(10, 90) * light * np.ones(3, np.float32))
        stem = Layer(metal * lit(normal_x, normal_y, sun, 0.3)[..., None], filled(grip, where.unit))
        head, normal_x, normal_y, _ = capsule(x, y, at, at, (radius, radius))
        mesh = 1 + rng.uniform(0, 0.35) * np.sin(x * where.unit * 2.4) * np.sin(y * where.unit * 2.4)
        paint = plain(_paint(rng) if rng.random() < 0.35 else rng.uniform(15, 150) * np.ones(3)) * light
        ball = paint * (lit(normal_x, normal_y, sun, 0.35) * mesh)[..., None]
        return stem.then(Layer(np.clip(ball, 0, 255).astype(np.float32), filled(head, where.unit)))
    if kind == "stick":
        end = at + rng.normal(0, 1.5, 2)
        radius = rng.uniform(0.02, 0.09)
        apart, normal_x, normal_y, _ = capsule(x, y, at, end, (radius, radius))
        gain = lit(np.clip(normal_x, -1, 1), np.clip(normal_y, -1, 1), sun, 0.5)
    elif kind == "ball":
        radius = rng.uniform(0.25, 0.8)
        apart, normal_x, normal_y, _ = capsule(x, y, at, at, (radius, radius))
        gain = lit(normal_x, normal_y, sun, rng.uniform(0.2, 0.7))
        if rng.random() < 0.4:
            colour = _elsewhere(rng, other)
    else:
        angle = float(rng.normal(0, 0.25) if kind == "cup" else rng.normal(0, 0.6))
        across, down = turned(x, y, (float(at[0]), float(at[1])), angle)
        half = (rng.uniform(0.35, 0.75), rng.uniform(0.5, 1.1))
        if kind == "cup":
            across = across / (1 - rng.uniform(0, 0.25) * np.clip(down / half[1], -1, 1))
        elif kind == "phone":
            half = (rng.uniform(0.4, 0.7), rng.uniform(0.9, 1.5))
        corner = rng.uniform(0.02, 0.15)
        apart = rounded_box(across, down, half, corner)
        gain = 1 + 0.1 * noise(rng, 4)
        if kind == "cup":
            gain = lit(np.clip(across / half[0], -1, 1), np.zeros_like(across), sun, rng.uniform(0.3, 0.7))
        if rng.random() < 0.6:  # a print, a screen, a label, a lens
            inner = filled(
                rounded_box(
                    across, down, (half[0] * rng.uniform(0.5, 0.95), half[1] * rng.uniform(0.3, 0.95)), corner
                ),
                where.unit,
            )
            print_ = _elsewhere(rng, other) if rng.random() < 0.5 else plain(_paint(rng) * light)
            colour = colour + inner[..., None] * (print_ - colour)
        if kind == "phone":
            lens = np.hypot(across - half[0] * 0.5, down + half[1] * 0.7) - rng.uniform(0.06, 0.14)
            colour = colour * (1 - 0.8 * filled(lens.astype(np.float32), where.unit))[..., None]
    shown = np.clip(colour * gain[..., None], 0, 255)
    return Layer(np.asarray(shown, np.float32), filled(np.asarray(apart, np.float32), where.unit))


def patch(rng: Random, face: Face, other: Face) -> Layer:
    """A shape of one colour or cut from another picture: bars, stickers, blots, drawings."""
    where = view(face)
    colour = plain(_paint(rng)) if rng.random() < 0.6 else _elsewhere(rng, other)
    at = (rng.normal(0, 0.6), rng.uniform(-0.9, 1.6))
    x, y = turned(
        *_straight(where), at, float(rng.uniform(-0.2, 0.2) if rng.random() < 0.6 else rng.uniform(0, 3))
    )
    half = (rng.uniform(0.15, 1.6), rng.uniform(0.12, 0.7))
    apart = rounded_box(x, y, half, min(half) * rng.uniform(0.02, 1))
    if rng.random() < 0.4:
        apart = apart + 0.25 * noise(rng, int(rng.integers(4, 12)))
    return Layer(colour, filled(np.asarray(apart, np.float32), where.unit))


def person(rng: Random, face: Face, other: Face) -> Layer:
    """Another's head that covers a part of the face."""
    where, own = view(other), view(face)
    head = np.hypot(where.x / 1.15, (where.y - 0.25) / 1.55) - 1
    alpha = filled(np.asarray(head, np.float32), where.unit)
    angle, apart = rng.uniform(0, 2 * np.pi), rng.uniform(1.3, 2.4)
    scale = rng.uniform(0.75, 1.6)
    center = own.origin + own.unit * np.array([np.cos(angle), 1.2 * np.sin(angle)]) * apart * max(
        1.0, scale * 0.8
    )
    zoom = scale * own.unit / where.unit
    matrix = cv2.getRotationMatrix2D(tuple(float(v) for v in where.origin), float(rng.normal(0, 20)), zoom)
    matrix[:, 2] += center - where.origin
    alpha = cv2.warpAffine(alpha, matrix, (SIDE, SIDE))
    colour = cv2.warpAffine(other.pixels, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE).astype(
        np.float32
    )
    return Layer(
        np.clip(colour * rng.uniform(0.7, 1.2), 0, 255).astype(np.float32), np.asarray(alpha, np.float32)
    )


KINDS: dict[str, Occluder] = {
    "glasses": glasses, "sunglasses": sunglasses, "hand": hand, "arm": arm, "hair": hair, "surroundings": surroundings,
    "mask": mask, "fabric": fabric, "thing": thing, "patch": patch, "person": person,
}  # fmt: skip
SHARES = (0.24, 0.08, 0.17, 0.03, 0.11, 0.09, 0.08, 0.07, 0.08, 0.03, 0.02)
