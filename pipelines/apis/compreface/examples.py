"""Examples: the pictures by which subjects are known."""

import uuid
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from pydantic import Field

from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.errors import InvalidSubject
from prosopon.deployments.state.galleries.faces import FaceRecord, NewFace
from prosopon.models.faces.attributes.quality import QUALITY
from prosopon.models.pictures.decoding import media_type
from prosopon.pipelines.apis.compreface.errors import ExampleNotFound
from prosopon.pipelines.apis.compreface.faces import FacesOf
from prosopon.pipelines.apis.compreface.parameters import (
    Asked,
    DetSize,
    ImageId,
    Page,
    PageSize,
    RecognitionKey,
    RecognitionKeyInPath,
    Threshold,
)
from prosopon.pipelines.apis.compreface.wire import Deleted, Example, Examples
from prosopon.pipelines.http.bodies import AN_ID, json_body, off_the_loop
from prosopon.pipelines.http.downloads import download, etag_of, not_modified
from prosopon.pipelines.http.forms import Upload
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.http.uploads import picture
from prosopon.pipelines.services import Served, Services

_FOR_EVER = "public, max-age=31536000, immutable"
_BINARY: dict[int | str, dict[str, Any]] = {200: {"content": {"image/*": {}, "application/octet-stream": {}}}}

router = api_router(tags=["examples"])

Subject = Annotated[str | None, Query(description="empty or left out: of all subjects", examples=["Ann"])]
Ids = Annotated[list[uuid.UUID], Field(max_length=10_000, examples=[[AN_ID]])]
KeyInPath = Annotated[
    str, Path(description="a key of the scope recognition", examples=["00000000-0000-0000-0000-000000000002"])
]


@router.post("/recognition/faces", status_code=201)
async def add(
    key: RecognitionKey,
    services: Served,
    answer: Response,
    file: Annotated[Upload, picture("file")],
    subject: Annotated[str, Query(description="is created where it is not there", examples=["Ann"])],
    det_prob_threshold: Threshold = None,
    det_size: DetSize = None,
) -> Example:
    """Enrol the only face of a picture. `X-Face-Quality` tells how far it can be trusted, 0..1."""
    if not subject.strip():
        raise InvalidSubject("Subject name is empty")
    asked = Asked(0, det_prob_threshold, {"quality": QUALITY}, False, det_size)
    found = services.recognition.trusted((await FacesOf(services, asked).one(file)).faces[0])
    answer.headers["X-Face-Quality"] = f"{found[QUALITY].value:.3f}"
    image = Blob(file.data, await off_the_loop(len(file.data), media_type, file.data))
    face = NewFace(key.gallery, subject, uuid.uuid4(), found.embedding, image)
    return _example(await services.galleries.add(face))


@router.get("/recognition/faces")
async def list_page(
    key: RecognitionKey, services: Served, page: Page = 0, size: PageSize = 20, subject: Subject = None
) -> Examples:
    """Examples, oldest first, one page at a time."""
    found = await services.galleries.list_faces(key.gallery, page, size, subject or None)
    return Examples(
        faces=[_example(face) for face in found.faces],
        page_number=page,
        page_size=size,
        total_pages=found.pages,
        total_elements=found.total,
    )


@router.delete("/recognition/faces")
async def delete_all(key: RecognitionKey, services: Served, subject: Subject = None) -> Deleted:
    """Delete every example of a subject, or of all, and the subjects that are left without."""
    if (
        subject is not None and not subject.strip()
    ):  # What a client forgot to fill in must not mean everybody.
        raise InvalidSubject("Subject name is empty")
    return Deleted(deleted=await services.galleries.delete_all_faces(key.gallery, subject))


@router.post("/recognition/faces/delete")
async def delete_several(
    key: RecognitionKey, services: Served, ids: Annotated[list[uuid.UUID], json_body(Ids, values=11_000)]
) -> list[Example]:
    """Delete several examples; unknown ids are ignored."""
    gone = await services.galleries.delete_faces(key.gallery, ids)
    return [_example(face) for face in gone]


@router.delete("/recognition/faces/{image_id}")
async def delete(key: RecognitionKey, services: Served, image_id: ImageId) -> Example:
    """Delete one example and its image."""
    gone = await services.galleries.delete_faces(key.gallery, [image_id])
    if not gone:
        raise ExampleNotFound(image_id)
    return _example(gone[0])


@router.get("/recognition/faces/{image_id}/img", responses=_BINARY, response_class=Response)
async def image(request: Request, key: RecognitionKey, services: Served, image_id: ImageId) -> Response:
    """The stored image."""
    return await _image(request, services, key.gallery, image_id)


@router.get("/static/{api_key}/images/{image_id}", responses=_BINARY, response_class=Response)
async def image_by_path(
    request: Request, key: RecognitionKeyInPath, services: Served, api_key: KeyInPath, image_id: ImageId
) -> Response:
    """The stored image, with the key in the path: for an ``<img>`` element."""
    return await _image(request, services, key.gallery, image_id)


async def _image(request: Request, services: Services, gallery: int, image_id: uuid.UUID) -> Response:
    """The stored bytes; an empty body where there are none, as documented."""
    blob = await services.galleries.image(gallery, image_id)
    if blob is None:
        return Response(b"", media_type="application/octet-stream")
    etag = etag_of(blob.sha256)
    answer = not_modified(request, etag, _FOR_EVER) or download(request, blob, etag, _FOR_EVER)
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def _example(face: FaceRecord) -> Example:
    return Example(image_id=face.image_id, subject=face.subject)
