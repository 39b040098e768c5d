"""What CompreFace's routes take and answer, in the documented words."""

import uuid
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Vectors = Annotated[list[list[float]], Field(min_length=1, description="embeddings of the model in service")]
Versions = Annotated[dict[str, str] | None, Field(description="models by plugin, where status was asked for")]
Points = list[tuple[int, int]]


class Failure(BaseModel):
    message: Annotated[str, Field(description="what went wrong, for people")]
    code: Annotated[int, Field(description="what went wrong, for programs: CompreFace's codes")]


class Box(BaseModel):
    """In pixels of the upright picture, inside it."""

    probability: Annotated[float, Field(description="of its being a face")]
    x_max: Annotated[int, Field(description="right edge")]
    y_max: Annotated[int, Field(description="lower edge")]
    x_min: Annotated[int, Field(description="left edge")]
    y_min: Annotated[int, Field(description="upper edge")]


class AgeRange(BaseModel):
    probability: Annotated[float, Field(description="of the range")]
    high: Annotated[int, Field(description="in years")]
    low: Annotated[int, Field(description="in years")]


class Choice(BaseModel):
    probability: Annotated[float, Field(description="of the value")]
    value: Annotated[str, Field(description="the likeliest")]


class LivenessChoice(Choice):
    warning: Annotated[str | None, Field(description="why the answer is less reliable than others")] = None


class Pose(BaseModel):
    """In degrees."""

    pitch: Annotated[float, Field(description="up and down")]
    roll: Annotated[float, Field(description="to the shoulders")]
    yaw: Annotated[float, Field(description="to the sides")]


class SubjectSimilarity(BaseModel):
    subject: Annotated[str, Field(description="its name")]
    similarity: Annotated[float, Field(description="0 to 1; above 0.5 for one person")]


class FoundFace(BaseModel):
    """A face with the plugins that were asked for: those that CompreFace documents, and what else is declared."""

    model_config = ConfigDict(extra="allow")

    age: Annotated[AgeRange | None, Field(description="plugin age")] = None
    gender: Annotated[Choice | None, Field(description="plugin gender")] = None
    mask: Annotated[Choice | None, Field(description="plugin mask")] = None
    liveness: Annotated[LivenessChoice | None, Field(description="plugin liveness")] = None
    pose: Annotated[Pose | None, Field(description="plugin pose")] = None
    quality: Annotated[
        float | None, Field(description="plugin quality: 0..1, how far the embedding can be trusted")
    ] = None
    embedding: Annotated[list[float] | None, Field(description="plugin calculator")] = None
    box: Annotated[Box, Field(description="where the face is")]
    landmarks: Annotated[
        Points | None,
        Field(description="plugin landmarks: x and y of eyes, nose and corners of the mouth"),
    ] = None
    landmarks2d106: Annotated[
        Points | None, Field(description="plugin landmarks2d106: x and y of 106 points")
    ] = None
    execution_time: Annotated[
        dict[str, float] | None, Field(description="milliseconds by plugin, where status was asked for")
    ] = None


class RecognizedFace(FoundFace):
    subjects: Annotated[list[SubjectSimilarity], Field(description="the most similar first")]


class ComparedFace(FoundFace):
    similarity: Annotated[float, Field(description="0 to 1; above 0.5 for one person")]


class FaceComparedToExample(ComparedFace):
    subject: Annotated[str, Field(description="the example's")]


class Detected(BaseModel):
    result: Annotated[list[FoundFace], Field(description="the biggest face first")]
    plugins_versions: Versions = None


class Recognized(BaseModel):
    result: Annotated[list[RecognizedFace], Field(description="the biggest face first")]
    plugins_versions: Versions = None


class ComparedToExample(BaseModel):
    result: Annotated[list[FaceComparedToExample], Field(description="the biggest face first")]
    plugins_versions: Versions = None


class Verification(BaseModel):
    source_image_face: Annotated[FoundFace, Field(description="the only face of the source")]
    face_matches: Annotated[list[ComparedFace], Field(description="faces of the target, the biggest first")]
    plugins_versions: Versions = None


class Verified(BaseModel):
    result: Annotated[list[Verification], Field(description="one for each source, of which there is one")]


class Subject(BaseModel):
    subject: Annotated[str, Field(description="its name")]


class Subjects(BaseModel):
    subjects: Annotated[list[str], Field(description="their names")]


class Updated(BaseModel):
    updated: Annotated[bool, Field(description="false where the name is as it was")]


class Deleted(BaseModel):
    deleted: Annotated[int, Field(description="how many")]


class Example(BaseModel):
    image_id: Annotated[uuid.UUID, Field(description="of the example")]
    subject: Annotated[str, Field(description="whom it shows")]


class Examples(BaseModel):
    faces: Annotated[list[Example], Field(description="of this page")]
    page_number: Annotated[int, Field(description="counts from 0")]
    page_size: Annotated[int, Field(description="examples on a full page")]
    total_pages: Annotated[int, Field(description="of all examples")]
    total_elements: Annotated[int, Field(description="how many examples there are")]


class Grouped(BaseModel):
    groups: Annotated[
        list[list[int]],
        Field(description="of one person each: places in the list that was sent; the biggest first"),
    ]


class EmbeddingRecognition(BaseModel):
    embedding: Annotated[list[float], Field(description="as it was sent")]
    similarities: Annotated[list[SubjectSimilarity], Field(description="the most similar first")]


class RecognizedEmbeddings(BaseModel):
    result: Annotated[list[EmbeddingRecognition], Field(description="in the order of the embeddings")]


class EmbeddingSimilarity(BaseModel):
    embedding: Annotated[list[float], Field(description="as it was sent")]
    similarity: Annotated[float, Field(description="0 to 1; above 0.5 for one person")]


class ComparedEmbeddings(BaseModel):
    result: Annotated[list[EmbeddingSimilarity], Field(description="the most similar first")]


class SubjectName(BaseModel):
    subject: Annotated[str, Field(description="its name", examples=["Bea"])]


class NewSubjectName(SubjectName):
    """Or the name alone, as a JSON string."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, given: Any) -> Any:
        return {"subject": given} if isinstance(given, str) else given


class Embeddings(BaseModel):
    embeddings: Annotated[Vectors, Field(description="to be recognised")]


class SourceAndTargets(BaseModel):
    source: Annotated[list[float], Field(min_length=1, description="an embedding of the model in service")]
    targets: Annotated[Vectors, Field(description="what it is compared to")]
