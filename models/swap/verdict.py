"""Whether a swap is fit to be delivered, and whether it can be made at all."""

from dataclasses import dataclass

import numpy as np

from prosopon.configs.settings import SwapSettings
from prosopon.models.faces.attributes.mask import CLASSES, MaskClassifierNet
from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import cut
from prosopon.models.roles import FaceEmbedder
from prosopon.models.swap import geometry
from prosopon.models.swap.types import FaceGeometry, Replacement, SourceFace

_MASKED = 0.8
"""Probability from which a face is taken to wear a mask over mouth and nose."""
_ACROSS = 1.05
"""Distance between the eyes, in that from them to the mouth, of a face that looks into the camera."""
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
        nearer_the_old = self.replaced >= self.similarity and self.between < _ALIKE
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


def impossible(
    frame: RGBImage, replacement: Replacement, masks: MaskClassifierNet, settings: SwapSettings
) -> str:
    """Why a replacement cannot come out well: fit for the client after the name of the face that is put in; empty where
    it can."""
    return unfit(replacement.source, masks, settings) or covered(frame, replacement.target, masks)


def unfit(source: SourceFace, masks: MaskClassifierNet, settings: SwapSettings) -> str:
    """As `impossible`, of the face that is put in alone."""
    eyes = geometry.interocular(source.geometry.dense)
    turned = seen_from(source.geometry.landmarks)
    if eyes < settings.least_eyes:
        return f"is too small: {eyes:.0f} pixels between the eyes, {settings.least_eyes:.0f} are needed"
    if turned > settings.most_yaw:
        return f"is seen from the side ({turned:.0f} degrees): take a picture that shows it from the front"
    if _masked(source.picture, source.geometry, masks):
        return "is covered by a mask"
    return ""


def covered(frame: RGBImage, target: FaceGeometry, masks: MaskClassifierNet) -> str:
    """As `impossible`, of the face that gives way alone."""
    if _masked(frame, target, masks):
        return "cannot be put in: the face in source_image is covered by a mask"
    return ""


def seen_from(landmarks: Float32) -> float:
    """Degrees that a face is turned sideways, about, by a detector's five landmarks ``(5, 2)``.

    A mesh sees a face from the front even where there is half of one; a detector's eyes come together.
    """
    left, right, _, left_mouth, right_mouth = landmarks
    down = np.linalg.norm((left_mouth + right_mouth - left - right) / 2)
    across = np.linalg.norm(right - left)
    return float(np.degrees(np.arccos(np.clip(across / max(float(_ACROSS * down), 1e-6), 0, 1))))


def _masked(picture: RGBImage, face: FaceGeometry, masks: MaskClassifierNet) -> bool:
    chip = cut(picture, face.box, face.landmarks, masks.crop).pixels
    found: Float32 = masks.probabilities(chip[None])[0]
    return bool(found[CLASSES.index("mask_worn_correctly")] > _MASKED)
