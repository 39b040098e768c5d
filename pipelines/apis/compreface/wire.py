"""What CompreFace's routes take and answer, in the documented words."""

import uuid
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Vectors = Annotated[list[list[float]], Field(min_length=1, description="embeddings of the model in service")]


class Failure(BaseModel):
    message: str
    code: int


class Box(BaseModel):
    """In pixels of the upright picture, inside it."""

    probability: float
    x_max: int
    y_max: int
    x_min: int
    y_min: int


class AgeRange(BaseModel):
    """high, low: in years."""

    probability: float
    high: int
    low: int


class Choice(BaseModel):
    probability: float
    value: str


class LivenessChoice(Choice):
    """warning: why the answer is less reliable than others."""

    warning: str | None = None


class Pose(BaseModel):
    """In degrees."""

    pitch: float
    roll: float
    yaw: float


class SubjectSimilarity(BaseModel):
    subject: str
    similarity: float


class FoundFace(BaseModel):
    """A face with the plugins that were asked for: those that CompreFace documents, and what else is declared.

    execution_time: milliseconds by plugin. quality: 0..1, how far the embedding can be trusted.
    """

    model_config = ConfigDict(extra="allow")

    age: AgeRange | None = None
    gender: Choice | None = None
    mask: Choice | None = None
    liveness: LivenessChoice | None = None
    pose: Pose | None = None
    quality: float | None = None
    embedding: list[float] | None = None
    box: Box
    landmarks: list[tuple[int, int]] | None = None
    landmarks2d106: list[tuple[int, int]] | None = None
    execution_time: dict[str, float] | None = None


class RecognizedFace(FoundFace):
    """subjects: the most similar first."""

    subjects: list[SubjectSimilarity]


class ComparedFace(FoundFace):
    similarity: float


class FaceComparedToExample(ComparedFace):
    """subject: the example's."""

    subject: str


class Detected(BaseModel):
    """result: the biggest face first."""

    result: list[FoundFace]
    plugins_versions: dict[str, str] | None = None


class Recognized(BaseModel):
    """result: the biggest face first."""

    result: list[RecognizedFace]
    plugins_versions: dict[str, str] | None = None


class ComparedToExample(BaseModel):
    """result: the biggest face first."""

    result: list[FaceComparedToExample]
    plugins_versions: dict[str, str] | None = None


class Verification(BaseModel):
    """face_matches: faces of the target, the biggest first."""

    source_image_face: FoundFace
    face_matches: list[ComparedFace]
    plugins_versions: dict[str, str] | None = None


class Verified(BaseModel):
    result: list[Verification]


class Subject(BaseModel):
    subject: str


class Subjects(BaseModel):
    subjects: list[str]


class Updated(BaseModel):
    updated: bool


class Deleted(BaseModel):
    deleted: int


class Example(BaseModel):
    image_id: uuid.UUID
    subject: str


class Examples(BaseModel):
    faces: list[Example]
    page_number: int
    page_size: int
    total_pages: int
    total_elements: int


class EmbeddingRecognition(BaseModel):
    """similarities: the most similar first."""

    embedding: list[float]
    similarities: list[SubjectSimilarity]


class RecognizedEmbeddings(BaseModel):
    result: list[EmbeddingRecognition]


class EmbeddingSimilarity(BaseModel):
    embedding: list[float]
    similarity: float


class ComparedEmbeddings(BaseModel):
    """result: the most similar first."""

    result: list[EmbeddingSimilarity]


class SubjectName(BaseModel):
    subject: str


class NewSubjectName(SubjectName):
    """Or the name alone, as a JSON string."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, given: Any) -> Any:
        return {"subject": given} if isinstance(given, str) else given


class Embeddings(BaseModel):
    embeddings: Vectors


class SourceAndTargets(BaseModel):
    source: Annotated[list[float], Field(min_length=1)]
    targets: Vectors
