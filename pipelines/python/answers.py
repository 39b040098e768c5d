"""What the Python handles take and give."""

import asyncio
import os
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from prosopon.models.generation.latents import Latent, Mixture
from prosopon.pipelines.graphs.face_analysis import Attribute, Face, Picture
from prosopon.pipelines.graphs.recognition import Candidate, Recognition

Image = bytes | os.PathLike[str]
"""A picture's file: its bytes, or its path, which is read in this process."""

Asked = Attribute | str
"""An attribute of faces, or its name: ``"age"``."""

FaceSource = str | int | uuid.UUID | Latent | Mixture
"""A face to be made: of a text, of a seed, of a registered latent's id, of a latent, or of a mixture of latents."""


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
    return image if isinstance(image, bytes) else await asyncio.to_thread(Path(image).read_bytes)


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
