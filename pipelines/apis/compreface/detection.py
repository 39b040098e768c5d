"""Faces in pictures, and how similar those of two pictures are: without a face collection."""

import asyncio
from typing import Annotated

from prosopon.pipelines.apis.compreface.embeddings import SourceAndTargetsBody, compared, unit_vectors
from prosopon.pipelines.apis.compreface.faces import FacesOf
from prosopon.pipelines.apis.compreface.parameters import DetectionKey, FacesAsked, VerificationKey
from prosopon.pipelines.apis.compreface.wire import (
    ComparedEmbeddings,
    ComparedFace,
    Detected,
    FoundFace,
    Verification,
    Verified,
)
from prosopon.pipelines.http.forms import Upload
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.http.uploads import picture, pictures
from prosopon.pipelines.services import Served

router = api_router()


@router.post("/detection/detect", tags=["detection"], response_model_exclude_none=True)
async def detect(
    key: DetectionKey, services: Served, file: Annotated[Upload, picture("file")], asked: FacesAsked
) -> Detected:
    """Every face of the picture."""
    faces = FacesOf(services, asked, embed=False)
    found = await faces.all(file)
    result = [FoundFace(**faces.described(face, found)) for face in found.faces]
    return Detected(result=result, plugins_versions=faces.versions())


@router.post("/verification/verify", tags=["verification"], response_model_exclude_none=True)
async def verify(
    key: VerificationKey,
    services: Served,
    files: Annotated[list[Upload], pictures("source_image", "target_image")],
    asked: FacesAsked,
) -> Verified:
    """How similar each face of the target is to the only face of the source."""
    faces = FacesOf(services, asked)
    source, target = await asyncio.gather(faces.one(files[0]), faces.all(files[1]))
    similarities = services.recognition.to_faces(source.faces[0].embedding, target)
    verification = Verification(
        source_image_face=FoundFace(**faces.described(source.faces[0], source)),
        face_matches=[
            ComparedFace(**faces.described(face, target), similarity=similarity)
            for face, similarity in zip(target.faces, similarities, strict=True)
        ],
        plugins_versions=faces.versions(),
    )
    return Verified(result=[verification])


@router.post("/verification/embeddings/verify", tags=["verification"])
async def verify_embeddings(
    key: VerificationKey, services: Served, body: SourceAndTargetsBody
) -> ComparedEmbeddings:
    """How similar each target embedding is to the source."""
    source = unit_vectors(services, "source", [body.source])[0]
    return compared(services, source, unit_vectors(services, "targets", body.targets), body.targets)
