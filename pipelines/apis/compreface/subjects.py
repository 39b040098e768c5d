"""Subjects: people, by their names. A name is found without regard to case."""

from typing import Annotated

from prosopon.pipelines.apis.compreface.parameters import RecognitionKey, SubjectPath
from prosopon.pipelines.apis.compreface.wire import (
    Deleted,
    NewSubjectName,
    Subject,
    SubjectName,
    Subjects,
    Updated,
)
from prosopon.pipelines.http.bodies import json_body
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.services import Served

router = api_router(prefix="/recognition/subjects", tags=["subjects"])


@router.post("", status_code=201)
async def add(
    key: RecognitionKey, services: Served, body: Annotated[SubjectName, json_body(SubjectName)]
) -> Subject:
    """Create a subject without an example."""
    await services.galleries.create_subject(key.gallery, body.subject)
    return Subject(subject=body.subject)


@router.get("")
async def list_all(key: RecognitionKey, services: Served) -> Subjects:
    """Every subject of the face collection."""
    return Subjects(subjects=await services.galleries.subjects(key.gallery))


@router.delete("")
async def delete_all(key: RecognitionKey, services: Served) -> Deleted:
    """Delete every subject with all examples and images."""
    return Deleted(deleted=await services.galleries.delete_all_subjects(key.gallery))


@router.put("/{subject:path}")
async def rename(
    key: RecognitionKey,
    services: Served,
    subject: SubjectPath,
    body: Annotated[NewSubjectName, json_body(NewSubjectName)],
) -> Updated:
    """Rename a subject; where the new name exists, the two are merged. False where the two names are the same."""
    renamed = await services.galleries.rename_subject(key.gallery, subject, body.subject)
    return Updated(updated=renamed)


@router.delete("/{subject:path}")
async def delete(key: RecognitionKey, services: Served, subject: SubjectPath) -> Subject:
    """Delete a subject with all its examples and images."""
    deleted = await services.galleries.delete_subject(key.gallery, subject)
    return Subject(subject=deleted.name)
