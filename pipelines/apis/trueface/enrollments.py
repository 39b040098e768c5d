"""Enrollments: people, with the pictures by which they are known."""

import uuid
from typing import Annotated

import numpy as np

from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.galleries.enrollments import EnrolledPicture
from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.decoding import media_type
from prosopon.pipelines.apis.trueface.bodies import Sent, fields, with_pictures
from prosopon.pipelines.apis.trueface.faces import Caller, faces_in
from prosopon.pipelines.apis.trueface.wire import (
    ChangedEnrollment,
    EnrollmentId,
    EnrollmentToDelete,
    Envelope,
    NewEnrollment,
)
from prosopon.pipelines.graphs.recognition import ENROLLED, LowQuality
from prosopon.pipelines.graphs.side_by_side import all_of
from prosopon.pipelines.http.bodies import off_the_loop
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.services import Served, Services

CLEARLY_ANOTHER = 0.1
"""Similarity below which two pictures show clearly different people."""

router = api_router(prefix="/enroll", tags=["enrollments"])


@router.post("")
async def enroll(
    caller: Caller, services: Served, sent: Annotated[Sent[NewEnrollment], with_pictures(NewEnrollment)]
) -> Envelope[EnrollmentId]:
    """Enroll a person with 1 to 10 pictures: all of them or, where one has no face, none."""
    pictures = await _enrolled(services, sent.pictures)
    enrollment, new = uuid.uuid4(), sent.fields
    await services.enrollments.enroll(caller.tenant, enrollment, new.name, new.collection_id, pictures)
    warning = _warning(services, list(sent.pictures), [picture.embedding for picture in pictures])
    return _answer(enrollment, "enrollment processed successfully", warning)


@router.put("")
async def add_pictures(
    caller: Caller,
    services: Served,
    sent: Annotated[Sent[ChangedEnrollment], with_pictures(ChangedEnrollment)],
) -> Envelope[EnrollmentId]:
    """Add 1 to 10 pictures to an enrollment: all of them or none."""
    enrollment = sent.fields.enrollment_id
    stored = await services.enrollments.embeddings(caller.tenant, enrollment)
    pictures = await _enrolled(services, sent.pictures)
    await services.enrollments.add_pictures(caller.tenant, enrollment, pictures)
    names = [*(f"the enrollment's picture {number}" for number in range(len(stored))), *sent.pictures]
    warning = _warning(services, names, [*stored, *(picture.embedding for picture in pictures)])
    return _answer(enrollment, "enrollment updated successfully", warning)


@router.delete("")
async def delete(
    caller: Caller, services: Served, given: Annotated[EnrollmentToDelete, fields(EnrollmentToDelete)]
) -> Envelope[str]:
    """Delete a person: pictures, embeddings, and the place in every collection."""
    await services.enrollments.delete(caller.tenant, given.enrollment_id)
    return Envelope(data=f"Enrollment {given.enrollment_id} has been deleted")


def _answer(enrollment: uuid.UUID, message: str, warning: str) -> Envelope[EnrollmentId]:
    return Envelope(data=EnrollmentId(enrollment_id=str(enrollment)), message=message + warning)


async def _enrolled(services: Services, images: dict[str, bytes]) -> list[EnrolledPicture]:
    """Every picture's biggest face. Raises the first picture's error, in the order of the fields."""

    async def one(field: str, image: bytes) -> EnrolledPicture:
        face = (await faces_in(services, field, image, ENROLLED)).faces[0]
        try:
            services.recognition.trusted(face)
        except LowQuality as error:
            raise LowQuality(f"'{field}': {error}") from None
        blob = Blob(image, await off_the_loop(len(image), media_type, image))
        return EnrolledPicture(uuid.uuid4(), face.embedding, blob)

    return await all_of(one(*item) for item in images.items())


def _warning(services: Services, names: list[str], embeddings: list[Float32]) -> str:
    """What is said where two pictures show clearly different people: those two that are the least alike."""
    vectors = np.stack(embeddings)
    similarities = np.stack([services.recognition.similarities(vector, vectors) for vector in vectors])
    first, second = np.unravel_index(np.argmin(similarities), similarities.shape)
    if similarities[first, second] >= CLEARLY_ANOTHER:
        return ""
    one, other = names[min(first, second)], names[max(first, second)]
    return f"; warning: {other} and {one} seem to show different people"
