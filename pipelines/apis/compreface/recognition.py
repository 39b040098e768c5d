"""Who is in a picture, and whose an embedding is: by the examples of the face collection."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Annotated

from prosopon.deployments.state.galleries.faces import FaceRecord
from prosopon.models.faces.detections import Float32
from prosopon.pipelines.apis.compreface.embeddings import EmbeddingsBody, compared, grouped, unit_vectors
from prosopon.pipelines.apis.compreface.errors import ExampleNotFound
from prosopon.pipelines.apis.compreface.faces import FacesOf
from prosopon.pipelines.apis.compreface.parameters import (
    DetectFaces,
    FacesAsked,
    GroupThreshold,
    ImageId,
    PredictionCount,
    RecognitionKey,
)
from prosopon.pipelines.apis.compreface.wire import (
    ComparedEmbeddings,
    ComparedToExample,
    EmbeddingRecognition,
    FaceComparedToExample,
    Grouped,
    Recognized,
    RecognizedEmbeddings,
    RecognizedFace,
    SubjectSimilarity,
)
from prosopon.pipelines.http.bodies import off_the_loop
from prosopon.pipelines.http.forms import Upload
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.http.uploads import picture
from prosopon.pipelines.services import Served, Services

router = api_router(prefix="/recognition", tags=["recognition"])

File = Annotated[Upload, picture("file")]


@router.post("/recognize", response_model_exclude_none=True)
async def recognize(
    key: RecognitionKey,
    services: Served,
    file: File,
    asked: FacesAsked,
    prediction_count: PredictionCount = 1,
    detect_faces: DetectFaces = True,
) -> Recognized:
    """Who is in the picture."""
    faces = FacesOf(services, asked)
    found = await faces.all(file, whole_picture=not detect_faces)
    subjects = await _best(services, key.gallery, [face.embedding for face in found.faces], prediction_count)
    result = [
        RecognizedFace(**faces.described(face, found), subjects=matches)
        for face, matches in zip(found.faces, subjects, strict=True)
    ]
    return Recognized(result=result, plugins_versions=faces.versions())


@router.post("/faces/{image_id}/verify", response_model_exclude_none=True)
async def verify(
    key: RecognitionKey, services: Served, file: File, asked: FacesAsked, image_id: ImageId
) -> ComparedToExample:
    """How similar each face of the picture is to one example."""
    example, embedding = await _example(services, key.gallery, image_id)
    faces = FacesOf(services, asked)
    found = await faces.all(file)
    similarities = services.recognition.to_faces(embedding, found)
    result = [
        FaceComparedToExample(**faces.described(face, found), similarity=similarity, subject=example.subject)
        for face, similarity in zip(found.faces, similarities, strict=True)
    ]
    return ComparedToExample(result=result, plugins_versions=faces.versions())


@router.post("/embeddings/recognize")
async def recognize_embeddings(
    key: RecognitionKey, services: Served, body: EmbeddingsBody, prediction_count: PredictionCount = 1
) -> RecognizedEmbeddings:
    """Who the embeddings belong to."""
    vectors = unit_vectors(services, "embeddings", body.embeddings)
    subjects = await _best(services, key.gallery, list(vectors), prediction_count)
    result = [
        EmbeddingRecognition(embedding=embedding, similarities=matches)
        for embedding, matches in zip(body.embeddings, subjects, strict=True)
    ]
    return RecognizedEmbeddings(result=result)


@router.post("/embeddings/group")
async def group_embeddings(
    key: RecognitionKey, services: Served, body: EmbeddingsBody, threshold: GroupThreshold = 0.9
) -> Grouped:
    """Which embeddings are of one person, so that unknown faces can be named together. An addition."""
    vectors = unit_vectors(services, "embeddings", body.embeddings)
    return Grouped(groups=await off_the_loop(vectors.nbytes, grouped, services, vectors, threshold))


@router.post("/embeddings/faces/{image_id}/verify")
async def verify_embeddings(
    key: RecognitionKey, services: Served, body: EmbeddingsBody, image_id: ImageId
) -> ComparedEmbeddings:
    """How similar each embedding is to one example."""
    vectors = unit_vectors(services, "embeddings", body.embeddings)
    _, example = await _example(services, key.gallery, image_id)
    return compared(services, example, vectors, body.embeddings)


async def _best(
    services: Services, gallery: int, embeddings: Sequence[Float32], count: int
) -> list[list[SubjectSimilarity]]:
    found = await services.recognition.candidates(gallery, embeddings, count)
    return [
        [SubjectSimilarity(subject=one.subject, similarity=round(one.similarity, 5)) for one in candidates]
        for candidates in found
    ]


async def _example(services: Services, gallery: int, image_id: uuid.UUID) -> tuple[FaceRecord, Float32]:
    """The example and its embedding ``(D,)``. Raises `ExampleNotFound`."""
    record, embedding = await asyncio.gather(
        services.galleries.face(gallery, image_id),
        services.galleries.embedding(gallery, image_id),
    )
    if record is None or embedding is None:
        raise ExampleNotFound(image_id)
    return record, embedding
