"""What the Python handles take and give."""

import asyncio
import io
import os
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from prosopon.models.generation.latents import Latent, Mixture
from prosopon.pipelines.graphs.face_analysis import Attribute, Face, Picture
from prosopon.pipelines.graphs.recognition import Candidate, Recognition

Image = bytes | str | os.PathLike[str] | BinaryIO | NDArray[np.uint8] | PIL.Image.Image
"""A picture: its file, as bytes, as a path, which is read in this process, or open, which is read from where it is to
its end; an array ``(H, W, 3)`` uint8 RGB or ``(H, W)`` grey, not to be changed before the answer is there; or a picture
of Pillow's, turned as its EXIF says."""

Asked = Attribute | str
"""An attribute of faces, or its name: ``"age"``."""

FaceSource = str | int | uuid.UUID | Latent | Mixture
"""A face to be made: of a text, of a seed, of a registered latent's id, of a latent, or of a mixture of latents."""


_OF_PNG = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}


class NotServed(LookupError):
    """The application's settings leave out the graph that the method needs."""


@dataclass(frozen=True, slots=True)
class RecognisedFace:
    """A face and who it may be, the most similar subject first; nobody in an empty gallery."""

    face: Face
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class VerifiedFace:
    """similarity: to the source's face, 0..1; from 0.5 on the two are taken for one person."""

    face: Face
    similarity: float


@dataclass(frozen=True, slots=True)
class Verification:
    """The source's only face, and every face of the target, the biggest first."""

    source: Face
    targets: tuple[VerifiedFace, ...]


async def read(image: Image) -> bytes:
    """A picture's file: what is none yet becomes a PNG. Raises TypeError for what is no picture, and ValueError for an
    array of another shape or kind."""
    return image if isinstance(image, bytes) else await asyncio.to_thread(_read, image)


def _read(image: Image) -> bytes:
    match image:
        case bytes() | bytearray() | memoryview():
            return bytes(image)
        case str() | os.PathLike():
            return Path(image).read_bytes()
        case np.ndarray():
            if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
                raise ValueError(
                    f"a picture is (H, W, 3) or (H, W) uint8, this array is {image.shape} {image.dtype}"
                )
            return _png(PIL.Image.fromarray(image))
        case PIL.Image.Image():
            return _png(PIL.ImageOps.exif_transpose(image))
    if not hasattr(image, "read"):
        raise TypeError(
            f"a picture is a path, bytes, an open file, an array or of Pillow's, no {type(image).__name__}"
        )
    data = image.read()
    if not isinstance(data, bytes):
        raise TypeError("the file is open for text: open it with the mode 'rb'")
    return data


def _png(picture: PIL.Image.Image) -> bytes:
    file = io.BytesIO()
    if picture.mode not in _OF_PNG:
        picture = picture.convert("RGB")
    picture.save(file, "PNG", compress_level=1)  # It is decoded on the same machine, and lossless matters.
    return file.getvalue()


async def analyzed(
    recognition: Recognition,
    image: Image,
    attributes: Collection[Asked],
    *,
    limit: int = 0,
    score_threshold: float | None = None,
) -> Picture:
    """`FaceAnalyzer.analyze`. Raises what `known` raises."""
    wanted = known(recognition, attributes)
    return await recognition.faces.analyze(
        await read(image), wanted, limit=limit, score_threshold=score_threshold
    )


def known(recognition: Recognition, attributes: Collection[Asked]) -> frozenset[Attribute]:
    """Raises `NotServed` where one has no model in service, KeyError where no attribute has the name."""
    faces = recognition.faces
    wanted = frozenset(faces.attributes[one] if isinstance(one, str) else one for one in attributes)
    if missing := [attribute.name for attribute in wanted if not faces.available(attribute)]:
        raise NotServed(f"no model is in service for {', '.join(sorted(missing))}")
    return wanted
