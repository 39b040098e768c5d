"""Random views of one face, as a camera, a codec and a detector's slips would make them."""

from collections.abc import Sequence

import cv2
import numpy as np

Rng = np.random.Generator


def shaken(rng: Rng, strength: float) -> np.ndarray:
    """``(3, 3)``: a small misalignment of an aligned 112 px chip."""
    turn = np.deg2rad(rng.normal(0, 2 + 3 * strength))
    if rng.random() < 0.15 * strength:
        turn = np.deg2rad(rng.uniform(-25, 25))
    zoom = np.exp(rng.normal(0, 0.025 + 0.025 * strength))
    shift = rng.normal(0, 1 + 1.2 * strength, 2)
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    centre = np.array([55.5, 60.0])
    move = centre + shift - np.array([[cos, -sin], [sin, cos]]) @ centre
    return np.array([[cos, -sin, move[0]], [sin, cos, move[1]], [0, 0, 1]])


def filled(rng: Rng, chip: np.ndarray) -> np.ndarray:
    """The chip with another background where its picture ended (black): one colour, or coarse noise."""
    # The picture is a rectangle, turned: dark hair lies inside the hull of what is not black.
    small = cv2.resize(chip, (32, 32), interpolation=cv2.INTER_AREA)
    points = cv2.findNonZero(cv2.inRange(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), 8, 255))
    if points is None:
        return chip
    outside = np.ones(chip.shape[:2], np.uint8)
    cv2.fillConvexPoly(outside, (cv2.convexHull(points) * (chip.shape[0] / 31)).astype(np.int32), 0)
    cells = 1 if rng.random() < 0.5 else int(rng.integers(2, 12))
    noise = rng.integers(0, 256, (cells, cells, 3), np.uint8)
    ground = cv2.resize(noise, chip.shape[:2][::-1], interpolation=cv2.INTER_LINEAR)
    result = chip.copy()
    cv2.copyTo(ground, outside, result)
    return result


def _cover(rng: Rng, view: np.ndarray, at: np.ndarray) -> None:
    """Draw a mask, glasses or a patch, in place. at: ``(2, 3)`` from the ArcFace chip's pixels to the view's."""

    def place(points: Sequence[tuple[float, float]]) -> np.ndarray:
        moved = np.asarray(points, np.float64) + rng.normal(0, 1.2, (len(points), 2))
        return np.asarray(np.round(16 * (moved @ at[:, :2].T + at[:, 2])), np.int32)

    colour = tuple(int(v) for v in rng.integers(0, 256, 3))
    kind = rng.choice(["mask", "sunglasses", "glasses", "patch", "patch"])
    zoom = float(np.sqrt(abs(np.linalg.det(at[:, :2]))))
    if kind == "mask":
        if rng.random() < 0.6:
            colour = ((225, 235, 240), (150, 190, 220), (30, 30, 34), (245, 245, 245))[int(rng.integers(4))]
        top = rng.uniform(62, 74)
        outline = [(22, top + 2), (38, top - 4), (56, top - 9), (74, top - 4), (90, top + 2)]
        outline += [(86, 96), (72, 112), (56, 116), (40, 112), (26, 96)]
        cv2.fillPoly(view, [place(outline)], colour, cv2.LINE_AA, 4)
        for y in rng.uniform(top + 5, 104, int(rng.integers(0, 4))):
            shade = tuple(int(c * 0.85) for c in colour)
            cv2.polylines(view, [place([(28, y), (56, y - 2), (84, y)])], False, shade, 1, cv2.LINE_AA, 4)
    elif kind in ("sunglasses", "glasses"):
        tone = int(rng.integers(0, 60))
        dark = (tone, tone, tone) if rng.random() < 0.7 else colour
        width, height = rng.uniform(11, 16), rng.uniform(8, 13)
        line = max(1, round(zoom * rng.uniform(1, 3)))
        for x in (38.3, 73.5):
            circle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
            power = rng.uniform(0.5, 1)
            shape = [
                (x + width * np.sign(np.cos(a)) * abs(np.cos(a)) ** power,
                 53 + height * np.sign(np.sin(a)) * abs(np.sin(a)) ** power)
                for a in circle
            ]  # fmt: skip
            if kind == "sunglasses":
                cv2.fillPoly(view, [place(shape)], dark, cv2.LINE_AA, 4)
            else:
                cv2.polylines(view, [place(shape)], True, dark, line, cv2.LINE_AA, 4)
        cv2.polylines(
            view, [place([(38.3 + width, 51), (73.5 - width, 51)])], False, dark, line, cv2.LINE_AA, 4
        )
    else:
        side = view.shape[0]
        x, y = rng.integers(0, side, 2)
        w, h = rng.integers(side // 10, side // 3, 2)
        view[max(0, y - h // 2) : y + h // 2, max(0, x - w // 2) : x + w // 2] = colour


def _light(rng: Rng, view: np.ndarray, strength: float) -> np.ndarray:
    """Exposure, contrast, colour of light, saturation, and light from one side."""
    colours = np.eye(3)
    if rng.random() < 0.12:
        colours = np.tile([0.299, 0.587, 0.114], (3, 1))
    elif rng.random() < 0.5:
        saturation = rng.uniform(0.4, 1.4)
        colours = saturation * np.eye(3) + (1 - saturation) / 3
    contrast = np.exp(rng.normal(0, 0.2 * strength))
    gain = np.exp(rng.normal(0, 0.25 * strength)) * np.exp(rng.normal(0, 0.08 * strength, 3))
    if rng.random() < 0.08 * strength:
        gain = gain * rng.uniform(0.15, 0.5)
    shift = gain * (1 - contrast) * (colours @ np.array(cv2.mean(view)[:3]))
    matrix = np.column_stack([gain[:, None] * contrast * colours, shift])
    view = cv2.transform(view, matrix)
    if rng.random() < 0.2 * strength:
        angle = rng.uniform(0, 2 * np.pi)
        ys, xs = np.mgrid[-1 : 1 : view.shape[0] * 1j, -1 : 1 : view.shape[1] * 1j]
        ramp = 1 / (1 + np.exp(-(np.cos(angle) * xs + np.sin(angle) * ys) * rng.uniform(1, 8)))
        dark = rng.uniform(0.15, 0.8)
        view = (view * (dark + (1 - dark) * ramp)[..., None]).astype(np.uint8)
    return np.asarray(view, np.uint8)


def _coarse(rng: Rng, view: np.ndarray, strength: float) -> np.ndarray:
    """Fewer pixels, blur, noise and JPEG."""
    side = view.shape[0]
    if rng.random() < 0.35 * strength:
        # Faces of 20 to 70 pixels.
        small = int(np.exp(rng.uniform(np.log(20), np.log(70))))
        if small < side:
            way = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
            view = cv2.resize(view, (small, small), interpolation=cv2.INTER_AREA)
            view = cv2.resize(view, (side, side), interpolation=way)
    if rng.random() < 0.2 * strength:
        sigma = side / 112 * rng.uniform(0.5, 2.5)
        view = cv2.GaussianBlur(view, (0, 0), sigma)
    if rng.random() < 0.2 * strength:
        noise = rng.normal(0, rng.uniform(2, 14), view.shape)
        view = np.clip(view + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.35 * strength:
        _, data = cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 90))])
        view = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return np.asarray(view, np.uint8)


def view_of(
    rng: Rng,
    chip: np.ndarray,
    aligned: np.ndarray,
    side: int,
    strength: float,
    to_view: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One view of a chip, and where its pixels come from.

    chip: ``(H, W, 3)`` uint8 RGB. aligned: ``(3, 3)``, from its pixels to those of the (mirrored, perhaps) 112 px
    chip. strength: 0..1. to_view: ``(3, 3)``, from the 112 px chip to a view that is not shaken; the chip resized,
    unless given. Returns ``(side, side, 3)`` uint8 RGB and the ``(3, 3)`` from the 112 px chip to it.
    """
    if rng.random() < 0.4:
        chip = filled(rng, chip)
    if to_view is None:
        # Pixel centres sit at integers.
        scale, half = side / 112, side / 224 - 0.5
        to_view = np.array([[scale, 0, half], [0, scale, half], [0, 0, 1]])
    shake = to_view @ shaken(rng, strength)
    border = int(rng.choice([cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE]))
    matrix = (shake @ aligned)[:2].astype(np.float32)
    view = cv2.warpAffine(chip, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
    if rng.random() < 0.3 * strength:
        _cover(rng, view, shake[:2])
    view = _light(rng, view, strength)
    return _coarse(rng, view, strength), shake
