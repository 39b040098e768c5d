"""What the Python handles take and give."""

import asyncio
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from prosopon.models.generation.latents import Latent, Mixture
from prosopon.pipelines.graphs.face_analysis import Face, Picture, Plugin
from prosopon.pipelines.graphs.recognition import Candidate, Recognition

Image = bytes | os.PathLike[str]
"""A picture's file: its bytes, or its path, which is read in this process."""

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
    plugins: frozenset[Plugin],
    *,
    limit: int = 0,
    score_threshold: float | None = None,
) -> Picture:
    """`FaceAnalyzer.analyze`. Raises `NotServed` where a plugin's model is not in service."""
    faces = recognition.faces
    if missing := [plugin.value for plugin in plugins if not faces.available(plugin)]:
        raise NotServed(f"no model is in service for {', '.join(sorted(missing))}")
    return await faces.analyze(await read(image), plugins, limit=limit, score_threshold=score_threshold)
