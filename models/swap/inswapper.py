"""`inswapper_128` of InsightFace: a network draws the new face at 128 pixels; it is set back at full resolution.

The library's class knows the network's conventions; its paste-back is not used.
"""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from insightface.model_zoo.inswapper import INSwapper

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.faces.insightface_pack import arcface_template
from prosopon.models.matching.vectors import normalize
from prosopon.models.pictures.crops import CropSpec, cut
from prosopon.models.roles import FaceEmbedder
from prosopon.models.runtime.fingerprint import combined, fingerprint
from prosopon.models.runtime.session import Compute, create_session
from prosopon.models.swap import geometry, light, mask, skin
from prosopon.models.swap.filters import smoothstep
from prosopon.models.swap.occlusion import segmenter
from prosopon.models.swap.paint import Window, paint
from prosopon.models.swap.region import region_around, sampled
from prosopon.models.swap.types import FaceGeometry, Replacement, SourceFace, check_frame
from prosopon.models.weights.registry import UnknownModel

SIZE = 128
_FADE = 6.0
"""Pixels of the network's picture over which its border fades: what it draws there is cut off."""


class INSwapper128:
    """``(1, 3, 128, 128)`` float32 RGB 0..1 and a latent ``(1, 512)`` to ``(1, 3, 128, 128)`` RGB 0..1."""

    name = "inswapper-128"
    preprocessing = 1
    crop = CropSpec(SIZE, arcface_template(SIZE))

    def __init__(self, path: Path, embedder: FaceEmbedder, compute: Compute) -> None:
        """embedder: the recognition model whose embeddings the network was trained with (w600k_r50 of buffalo_l).

        Raises `models.weights.registry.UnknownModel` where the file is no such network, or takes other embeddings.
        """
        session = create_session(path, compute)
        shapes = [tuple(value.shape) for value in session.get_inputs()]
        if len(shapes) != 2 or shapes[0][-2:] != (SIZE, SIZE) or len(session.get_outputs()) != 1:
            raise UnknownModel(f"{path.name} is not a swapper of {SIZE} pixels: its inputs are {shapes}")
        with contextlib.redirect_stdout(io.StringIO()):  # The library prints its input's shape.
            self._conventions = INSwapper(model_file=str(path), session=session)
        latent = shapes[1][-1]
        if self._conventions.emap.shape != (embedder.dim, latent):
            raise UnknownModel(
                f"{path.name} maps embeddings by {self._conventions.emap.shape}; "
                f"'{embedder.name}' gives {embedder.dim} numbers and the network takes {latent}"
            )
        self._embedder = embedder
        self.fingerprint = combined(fingerprint(self.name, self.preprocessing, path), embedder.fingerprint)

    def swap(self, frame: RGBImage, replacements: Sequence[Replacement]) -> RGBImage:
        """As `FaceSwapper.swap`."""
        check_frame(frame)
        result = frame.copy()
        latents: dict[int, Float32] = {}
        for replacement in replacements:
            source = replacement.source
            if id(source) not in latents:
                latents[id(source)] = self.latent(source)
            face, matrix = self.draw(result, replacement.target, latents[id(source)])
            paste(result, replacement.target, face, matrix)
        return result

    def latent(self, source: SourceFace) -> Float32:
        """``(1, 512)`` float32 of unit length: the embedding as the network wants it."""
        box, five = source.geometry.box, source.geometry.landmarks
        chip = cut(source.picture, box, five, self._embedder.crop).pixels
        embedding = normalize(self._embedder.embed(chip[None]))
        return np.asarray(normalize(np.asarray(embedding @ self._conventions.emap, np.float32)), np.float32)

    def draw(self, frame: RGBImage, target: FaceGeometry, latent: Float32) -> tuple[RGBImage, Float32]:
        """The new face ``(128, 128, 3)`` uint8 RGB and the ``(2, 3)`` transform from the frame to it."""
        crop = cut(frame, target.box, target.landmarks, self.crop)
        pixels = np.ascontiguousarray(crop.pixels.transpose(2, 0, 1)[None], np.float32)
        drawn = self._conventions.forward(pixels, latent)[0].transpose(1, 2, 0)
        return np.clip(np.nan_to_num(drawn) * 255 + 0.5, 0, 255).astype(np.uint8), crop.matrix


def paste(frame: RGBImage, target: FaceGeometry, face: RGBImage, matrix: Float32) -> None:
    """Blend a face that was drawn in an aligned crop into the frame, in place, at the frame's resolution.

    face: ``(S, S, 3)`` uint8 RGB; matrix: ``(2, 3)`` from pixels of the frame to pixels of it. The mask is that of
    the target's face, as far as the crop shows it; hair, hats and hands over the face stay, and what differs at the
    seam is evened out.
    """
    vertices = geometry.with_forehead(target.dense)
    region = region_around(vertices, 0.35 * geometry.interocular(vertices), frame)
    if region is None:
        return
    small = region.shrunk(frame)
    points = region.to_small(vertices)
    unit = geometry.interocular(points)
    places = region.places(matrix)
    size = len(face)
    drawn = sampled(face, places)

    flat = geometry.mean_face()[:, :2]
    place, inside = geometry.interpolate(points, flat, region.small)
    border = np.minimum(places, size - 1 - places).min(axis=2)
    soft = mask.face_mask(points, place, inside.astype(np.float32)) * smoothstep(1.0, _FADE, border)
    features = skin.parts(points, region.small)
    front = mask.before(segmenter().find(frame, target.dense).on(region), small, points)
    target_skin = skin.likelihood(small, points, features.features) * (1 - front)
    drawn_skin = skin.likelihood(drawn, points, features.features)
    alpha = soft * (1 - mask.stays(front, np.zeros_like(front), small, unit))
    bare = 1 - features.features
    offset = light.seam(small, drawn, target_skin * drawn_skin * bare, alpha, unit)

    def rendered(window: Window, scale: float) -> Float32:
        return sampled(face, region.enlarged(places, window, scale)) + region.enlarged(offset, window, scale)

    zoom = float(np.sqrt(abs(np.linalg.det(matrix[:, :2].astype(np.float64)))))
    paint(frame, region, np.asarray(alpha, np.float32), rendered, min(1.0, 1.25 * zoom))
