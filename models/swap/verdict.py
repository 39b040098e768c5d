"""Whether a swap is fit to be delivered, and whether it can be made at all."""

from dataclasses import dataclass

import numpy as np

from prosopon.configs.settings import SwapSettings
from prosopon.models.faces.attributes.mask import CLASSES, MaskClassifierNet
from prosopon.models.faces.attributes.mask import WEIGHTS as MASK_WEIGHTS
from prosopon.models.faces.attributes.quality import WEIGHTS as QUALITY_WEIGHTS
from prosopon.models.faces.attributes.quality import QualityNet
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import FaceEmbedder
from prosopon.models.runtime.session import Compute
from prosopon.models.swap import geometry
from prosopon.models.swap.occlusion import segmenter
from prosopon.models.swap.types import FaceGeometry, Replacement, SourceFace

_MASKED = 0.8
"""Probability from which a face is taken to wear a mask over mouth and nose."""
_COVERED = 0.5
"""Share of both eyes, of the mouth or of the whole face from which there is nothing to go by."""
_UNSEEN = 0.75
"""Share of the face from which it is out of focus or in the dark, and what the segmenter says is no answer."""
_CUT_OFF = 0.15
"""Share of a face's inner points outside the picture from which it is taken to be cut off."""
_ACROSS = 1.05
"""Distance between the eyes, in that from them to the mouth, of a face that looks into the camera."""
_DOUBT = 0.1
"""By how much a judge may take a result for the old face rather than for the new one: a fringe, the hair and the shape
of the head stay, and say whom it was."""
_ALIKE = 0.4
"""Cosine from which two faces are so alike that neither is the nearer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """similarity, replaced: the judge's cosines of the result to the face that was put in and to the one that gave way;
    between: of these two; shift: mean distance of landmarks from where they were, in distances between the eyes."""

    similarity: float
    replaced: float
    between: float
    shift: float

    def fault(self, settings: SwapSettings) -> str:
        """What is wrong, fit for the client; empty where nothing is."""
        if self.shift > settings.most_shift:
            return "the new face does not take the pose of the old one"
        nearer_the_old = self.replaced >= self.similarity + _DOUBT and self.between < _ALIKE
        if self.similarity < settings.least_similarity or nearer_the_old:
            return "the result is not like the face that was put in"
        return ""


def judged(
    judge: FaceEmbedder, frame: RGBImage, replacement: Replacement, result: RGBImage, found: FaceGeometry
) -> Verdict:
    """found: the face in the result, looked for anew."""
    target, source = replacement.target, replacement.source
    seen = ((result, found), (source.picture, source.geometry), (frame, target))
    new, wanted, old = (embedding(judge, picture, face) for picture, face in seen)
    apart = np.linalg.norm(found.dense - target.dense, axis=1).mean()
    shift = float(apart) / max(geometry.interocular(target.dense), 1e-6)
    return Verdict(float(new @ wanted), float(new @ old), float(wanted @ old), shift)


def embedding(embedder: FaceEmbedder, picture: RGBImage, face: FaceGeometry) -> Float32:
    """Of unit length."""
    chip = cut(picture, face.box, face.landmarks, embedder.crop).pixels
    return np.asarray(normalize(embedder.embed(chip[None]))[0], np.float32)


class Gate:
    """Tells before any work why a swap cannot come out well."""

    def __init__(self, settings: SwapSettings) -> None:
        self._settings = settings
        self._masks = MaskClassifierNet(MASK_WEIGHTS, Compute())
        self._quality = QualityNet(QUALITY_WEIGHTS, Compute())

    def impossible(self, frame: RGBImage, replacement: Replacement) -> str:
        """Fit for the client after the name of the face that is put in; empty where nothing is known against it."""
        return self.unfit(replacement.source) or self.covered(frame, replacement.target)

    def unfit(self, source: SourceFace) -> str:
        """As `impossible`, of the face that is put in alone."""
        settings, picture, face = self._settings, source.picture, source.geometry
        eyes, turned = geometry.interocular(face.dense), seen_from(face.landmarks)
        if eyes < settings.least_eyes:
            return f"is too small: {eyes:.0f} pixels between the eyes, {settings.least_eyes:.0f} are needed"
        if turned > settings.most_yaw:
            return (
                f"is seen from the side ({turned:.0f} degrees): take a picture that shows it from the front"
            )
        if _beyond(picture, face) > _CUT_OFF:
            return "is cut off by the edge of its picture"
        if self._masked(picture, face):
            return "is covered by a mask"
        if what := _covered(picture, face):
            return f"is covered: {what}"
        chip = cut(picture, face.box, face.landmarks, self._quality.crop).pixels
        quality = float(self._quality.estimate(chip[None])[0])
        if quality < settings.least_quality:
            return (
                f"is covered, out of focus or too dark to be known by (quality {quality:.2f}, "
                f"{settings.least_quality:g} is needed)"
            )
        return ""

    def covered(self, frame: RGBImage, target: FaceGeometry) -> str:
        """As `impossible`, of the face that gives way alone."""
        if self._masked(frame, target):
            return "cannot be put in: the face in source_image is covered by a mask"
        if what := _covered(frame, target, replaced=True):
            return f"cannot be put in: the face in source_image is covered: {what}"
        return ""

    def _masked(self, picture: RGBImage, face: FaceGeometry) -> bool:
        chip = cut(picture, face.box, face.landmarks, self._masks.crop).pixels
        found: Float32 = self._masks.probabilities(chip[None])[0]
        return bool(found[CLASSES.index("mask_worn_correctly")] > _MASKED)


def _covered(picture: RGBImage, face: FaceGeometry, replaced: bool = False) -> str:
    """What of a face cannot be seen for what lies before it; empty where enough can be.

    replaced: by another, behind whatever lies before it: it needs no eyes.
    """
    covered = segmenter().find(picture, face.dense).covered(face.dense)
    if covered.face > _UNSEEN and not replaced:
        return ""  # Nothing of it is seen: not for what lies before it, but for how it was taken.
    if covered.face > _COVERED:
        return f"{covered.face:.0%} of it"
    if not replaced and covered.eyes > _COVERED:
        return "its eyes"
    if not replaced and covered.mouth > _COVERED:
        return "its mouth"
    return ""


def _beyond(picture: RGBImage, face: FaceGeometry) -> float:
    """Share of the points inside the face's outline that lie outside the picture."""
    height, width = picture.shape[:2]
    points = face.dense[len(geometry.JAW) :]
    return float(((points < -0.5) | (points > (width - 0.5, height - 0.5))).any(axis=1).mean())


def seen_from(landmarks: Float32) -> float:
    """Degrees that a face is turned sideways, about, by a detector's five landmarks ``(5, 2)``.

    A mesh sees a face from the front even where there is half of one; a detector's eyes come together.
    """
    left, right, _, left_mouth, right_mouth = landmarks
    down = np.linalg.norm((left_mouth + right_mouth - left - right) / 2)
    across = np.linalg.norm(right - left)
    return float(np.degrees(np.arccos(np.clip(across / max(float(_ACROSS * down), 1e-6), 0, 1))))
