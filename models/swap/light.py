"""Giving one face the light and the complexion of another, and closing the seam."""

from dataclasses import dataclass, replace

import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.swap.filters import blur, gray, smoothstep, spread
from prosopon.models.swap.maps import Maps
from prosopon.models.swap.shading import one_sided, shading
from prosopon.models.swap.skin import Parts

_DARK = 12.0
"""Added to both sides of a ratio of colours, of 255: noise in the dark has no ratio."""
_FAR, _NEAR = 0.4, 0.10
"""Distances, in distances between the eyes, over which light and the shading of cheeks and nose are averaged."""
_MOST = 40.0
"""Difference of colours at a seam, of 255, beyond which it is not one of light."""
_SEAM, _LEAST = 0.5, 0.1
"""How far a seam reaches, in distances between the eyes, and the share of it below which it is believed less."""
_LEAST_GLOSS = 0.7
_WHITE = 265.0
"""Where highlights end, a little above white: they fade into it instead of being cut."""


@dataclass(frozen=True, slots=True, eq=False)
class Tone:
    """How colours of the source become colours of the frame; rasters ``(H, W, 3)`` and ``(H, W)`` float32, 0..255.

    given, wanted: the local mean of skin in the source and in the target; contrast: exponent of a pixel's ratio to
    that mean where it is darker; gloss: gain of what it is brighter by; offset: added last. balance: ``(3,)`` gains
    for the whites of eyes and the teeth, whose colour is not skin's, and pale: where these are, 0..1.
    """

    given: Float32
    wanted: Float32
    contrast: Float32
    offset: Float32
    balance: Float32
    pale: Float32
    gloss: float

    def apply(self, picture: Float32) -> Float32:
        """picture ``(H, W, 3)`` float32 RGB 0..255, cut like the rasters."""
        picture = np.maximum(picture, 0)
        light, given = gray(picture)[..., None], gray(self.given)[..., None]
        wanted = gray(self.wanted)[..., None]
        ratio = (light + _DARK) / (given + _DARK)
        # A highlight adds the same light to dark skin and to fair skin, so less of what fair skin has already.
        above = np.maximum(ratio - 1, 0) * np.clip(((given + _DARK) / (wanted + _DARK)) ** 2, 0.1, 1.2)
        # A highlight that takes all the room above the source's skin shall take all above the target's.
        room_given = np.maximum(_WHITE / (given + _DARK) - 1, 0.05)
        room_wanted = np.maximum(_WHITE / (wanted + _DARK) - 1, 0.05)
        above /= 1 + above * np.maximum(1 / room_wanted - 1 / room_given, 0)
        above *= self.gloss
        below = np.minimum(ratio, 1) ** self.contrast[..., None]
        # How a pixel's tint differs from that of the skin around it: lips, veins, brows.
        tint = (picture + _DARK) / (self.given + _DARK) / ratio
        # The tints of dark skin are too strong on fair skin.
        trust = np.clip(2 * (given + _DARK) / (wanted + _DARK) - 1, 0.03, 1.0)
        # Gloss has the colour of the lamp, which stands out where it comes to lie on other skin.
        other = np.minimum(2 * np.abs(np.log((wanted + _DARK) / (given + _DARK))), 1)
        trust = trust * (1 - other * smoothstep(1.15, 1.6, ratio))
        tint = 1 + trust * (np.clip(tint, 0.7, 1.4) - 1)
        skin = (self.wanted + _DARK) * (below + above) * tint - _DARK + self.offset
        plain = picture * self.balance
        return np.asarray(skin + self.pale[..., None] * (plain - skin), np.float32)


def transfer(
    target: Float32,
    source: Float32,
    target_skin: Float32,
    source_skin: Float32,
    way: Maps,
    face: Parts,
    unit: float,
) -> Tone:
    """The tone that gives the source's bare skin the target's light and local mean, and detail the same ratio to it.

    target, source: ``(H, W, 3)`` float32 RGB 0..255, the source warped onto the target; the skins: ``(H, W)``
    weights; face: the features of both; unit: the distance between the eyes in pixels. Means are only of skin: a
    beard, a brow or a frame on either face does not colour the other.
    """
    share = way.share[..., None]
    lit = shading(source, source_skin, way.given + share * (way.given_mirrored - way.given))
    shaded = shading(target, target_skin, way.wanted)
    wanted, wanted_near = _means(target, shaded, target_skin, unit)
    given, given_near = _means(source, lit, source_skin, unit)
    # Where the source is modelled by a harder light than the target, its shading is softened.
    ours, theirs = _shading(given, given_near, source_skin), _shading(wanted, wanted_near, target_skin)
    softened = float(np.clip((theirs + 0.02) / (ours + 0.02), 0.2, 1.0))
    # The tints of its shades and highlights go where they come from much darker skin.
    fairer = float(np.log((wanted.mean() + _DARK) / (given.mean() + _DARK)))
    coloured = 1 - float(smoothstep(0.2, 0.6, fairer))
    light = ((gray(given) + _DARK) / (gray(given_near) + _DARK))[..., None]
    tint = (given + _DARK) / (given_near + _DARK) / light
    harder = light ** np.float32(softened) * tint ** np.float32(coloured)
    given = np.asarray((given_near + _DARK) * harder - _DARK, np.float32)
    # Half a shadow is no part of a face: the source's goes, the target's comes.
    if way.halves > 0:
        x, y = np.abs(way.place[..., 0]), way.place[..., 1]
        inner = smoothstep(0.9, 0.7, x) * smoothstep(-0.45, -0.3, y) * smoothstep(1.4, 1.2, y)
        given *= one_sided(source, given, source_skin, inner * (1 - face.features), way, unit)
        # Over the target's face there may be anything.
        wanted *= one_sided(target, wanted, target_skin, np.zeros_like(inner), way, unit)
    wanted, given = _lips(target, source, wanted, given, face, unit)
    brighter = np.log((gray(wanted) + _DARK) / (gray(given) + _DARK))
    # The shading of dark skin is stronger against its mean than that of fair skin.
    contrast = np.clip(1 - 0.5 * brighter, 0.5, 1.0).astype(np.float32)
    gloss = _gloss(source, given, source_skin, target, wanted, target_skin)
    balance = _balance(target, source, face.opened, float(np.exp(brighter.mean())))
    return Tone(given, wanted, contrast, np.zeros_like(wanted), balance, face.pale, gloss)


def _gloss(
    source: Float32,
    given: Float32,
    source_skin: Float32,
    target: Float32,
    wanted: Float32,
    target_skin: Float32,
) -> float:
    """How much less the brightest of the target's skin stands out from its mean than of the source's."""

    def brightest(picture: Float32, mean: Float32, skin: Float32) -> float:
        log = np.log((gray(picture) + _DARK) / (gray(mean) + _DARK))[skin > 0.5]
        return float(np.percentile(log, 95)) if len(log) > 50 else 1.0

    ours, theirs = brightest(source, given, source_skin), brightest(target, wanted, target_skin)
    return float(np.clip((max(theirs, 0.0) + 0.03) / (max(ours, 0.0) + 0.03), _LEAST_GLOSS, 1.0))


def _means(picture: Float32, light: Float32, skin: Float32, unit: float) -> tuple[Float32, Float32]:
    """The local means of skin over both distances, in its light."""
    flat = picture / light
    luma = gray(flat)
    # Gloss has the colour of the lamp.
    matte = skin * smoothstep(1.5, 1.15, luma / np.maximum(gray(spread(flat, skin, _FAR * unit)), 1))
    far, near = (spread(flat, matte, sigma * unit) * light for sigma in (_FAR, _NEAR))
    return far, near


def _lips(
    target: Float32, source: Float32, wanted: Float32, given: Float32, face: Parts, unit: float
) -> tuple[Float32, Float32]:
    """The local means with those of the lips in their place, as far as the target is fairer.

    The ratio of lips to dark skin is not that of lips to fair skin.
    """
    lips = np.clip(blur(face.lips, 0.04 * unit) * 1.5 - 0.5, 0, 1) * (1 - face.mouth)
    if lips.sum() < 12:
        return wanted, given
    there, here = (spread(picture, lips, 0.07 * unit) for picture in (target, source))
    difference = float(np.log((wanted.mean() + _DARK) / (given.mean() + _DARK)))
    share = (0.8 * smoothstep(0.2, 0.7, difference) * lips)[..., None]
    return wanted + share * (there - wanted), given + share * (here - given)


def _shading(far: Float32, near: Float32, skin: Float32) -> float:
    """How much the light varies over a face: standard deviation of the logarithm of near means to far ones."""
    log = np.log((gray(near) + _DARK) / (gray(far) + _DARK))
    return float(np.sqrt((log**2 * skin).sum() / max(float(skin.sum()), 1e-3)))


def _balance(target: Float32, source: Float32, eyes: Float32, brighter: float) -> Float32:
    """``(3,)``: what makes the brightest of the source's eyes as bright as that of the target's.

    brighter: how many times as bright the target's skin is. Eyes that are much darker than it says are narrow, shaded
    or behind dark glasses: teeth are not.
    """
    chosen = eyes > 0.5
    if chosen.sum() < 12:
        return np.ones(3, np.float32)
    there, here = (np.percentile(picture[chosen], 80, axis=0) + _DARK for picture in (target, source))
    gain = np.clip(there / here, 0.25, 1.15)
    least = 0.8 * min(brighter, 1.15)
    if gain.mean() < least:
        return np.full(3, least, np.float32)
    # Light is never as coloured as the single pixels of an eye.
    return np.asarray(0.5 * gain + 0.5 * gain.mean(), np.float32)


def close_seam(
    tone: Tone, target: Float32, source: Float32, skin: Float32, mask: Float32, unit: float
) -> Tone:
    """The tone corrected near the mask's border by what still differs there (`seam`)."""
    return replace(tone, offset=tone.offset + seam(target, tone.apply(source), skin, mask, unit))


def seam(target: Float32, face: Float32, skin: Float32, mask: Float32, unit: float) -> Float32:
    """``(H, W, 3)`` float32, to be added to a face so that it meets the target at the mask's border.

    Only where both show skin. The correction dies out slowly towards the middle of the face: one that follows the
    border closely draws the old face's outline, and costs likeness.
    """
    differs = np.asarray(np.clip(target - face, -_MOST, _MOST), np.float32)
    band = 4 * mask * (1 - mask) * skin
    near = np.maximum(blur(band, _SEAM * unit), 0)[..., None]
    return np.asarray(blur(differs * band[..., None], _SEAM * unit) / (near + _LEAST), np.float32)
