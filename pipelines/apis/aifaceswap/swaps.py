"""Faces put into pictures: by tasks, which survive anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.jobs.task_types import Kind, NewTask, TaskInput
from prosopon.deployments.state.keys import Key
from prosopon.models.swap.face_swap import check_range, face_names, film_points
from prosopon.pipelines.apis.aifaceswap.errors import naming
from prosopon.pipelines.apis.aifaceswap.fields import FieldError, Fields, sent
from prosopon.pipelines.apis.aifaceswap.sources import Sources
from prosopon.pipelines.apis.aifaceswap.wire import Accepted, Envelope, Faces
from prosopon.pipelines.http.keys import BEARER, caller
from prosopon.pipelines.http.routing import api_router
from prosopon.pipelines.services import Served, Services

POINTS_EXTRACT = 2
POINTS_SWAP = 2
POINTS_PICTURE = 1
POINTS_FACE = 2

Caller = Annotated[Key, caller("aifaceswap", BEARER)]

router = api_router(tags=["swaps"])


@router.post("/faceswap")
async def faceswap(
    key: Caller,
    services: Served,
    sources: Sources,
    fields: Annotated[Fields, sent("source_image", "face_image", "webhook", files=2)],
) -> Envelope[Accepted]:
    """Put a face in the place of the biggest one of a picture, or of a film: a gif, an animated webp or an mp4."""
    names = ("source_image", "face_image")
    pictures = [
        await sources.checked(fields.picture(name), name, film=name == "source_image") for name in names
    ]
    return await _submit(services, key, sources, fields, _Swap("faceswap", POINTS_SWAP, pictures))


@router.post("/multi_faceswap")
async def multi_faceswap(
    key: Caller,
    services: Served,
    sources: Sources,
    fields: Annotated[Fields, sent("source_image", "face_images", "index", "webhook")],
) -> Envelope[Accepted]:
    """Put faces in the places of some of a picture's or a film's, as `extract_face` counts them."""
    source = await sources.checked(fields.picture("source_image"), "source_image", film=True)
    faces = fields.pictures("face_image")
    most = services.settings.swap.max_faces
    if len(faces) > most:
        raise FieldError(f"'face_image' has {len(faces)} faces; at most {most} are accepted")
    indices = fields.numbers("index")
    _check_indices(indices, len(faces))
    names = face_names(len(faces))
    pictures = [await sources.checked(*face) for face in zip(faces, names, strict=True)]
    points = POINTS_PICTURE + POINTS_FACE * len(faces)
    await services.swaps.check_balance(key, points)
    if isinstance(source, Blob):  # What must be fetched first is judged by the task.
        with naming("source_image"):
            found = await services.swaps.faces(source.data)
        check_range(indices, len(found.boxes))
    swap = _Swap("multi_faceswap", points, [source, *pictures], tuple(indices))
    return await _submit(services, key, sources, fields, swap)


@router.post("/extract_face")
async def extract_face(
    key: Caller, services: Served, sources: Sources, fields: Annotated[Fields, sent("img", files=1)]
) -> Envelope[Faces]:
    """Where the faces of a picture are, from left to right; of a film, in its first frame that has any."""
    picture = await sources.checked(fields.picture("img"), "img", film=True)
    await services.swaps.check_balance(key, POINTS_EXTRACT)
    data = await sources.data(picture, "img")
    with naming("img"):
        found = await services.swaps.faces(data)
    points = POINTS_EXTRACT if found.boxes else 0
    # Charged with the answer in hand: what fails, or dies, before it costs nothing.
    if points:
        await services.swaps.charge(key, points)
    return Envelope(data=Faces(faces=list(found.boxes), points=points))


@dataclass(frozen=True, slots=True)
class _Swap:
    """pictures: as `NewTask` orders its inputs."""

    kind: Kind
    points: int
    pictures: Sequence[Blob | str]
    indices: tuple[int, ...] | None = None


async def _submit(
    services: Services, key: Key, sources: Sources, fields: Fields, swap: _Swap
) -> Envelope[Accepted]:
    webhook = fields.text("webhook")
    if webhook is not None:
        with naming("webhook"):
            webhook = services.swaps.checked_url(webhook)
    source, *faces = swap.pictures
    length = 0
    if isinstance(source, Blob):  # What must be fetched first is charged once it is there.
        length = film_points(source.data, len(faces), services.settings.swap.films)
    task = NewTask(
        tenant=key.tenant,
        key=key.id,
        kind=swap.kind,
        points=swap.points + length,
        film_points=length,
        inputs=tuple(
            TaskInput(blob=picture.sha256) if isinstance(picture, Blob) else TaskInput(url=picture)
            for picture in swap.pictures
        ),
        results_url=sources.results_url,
        indices=swap.indices,
        webhook=webhook,
        uploads={picture.sha256: picture for picture in swap.pictures if isinstance(picture, Blob)},
    )
    identity = await services.swaps.accept(task)
    return Envelope(data=Accepted(task_id=identity.hex, points=task.points))


def _check_indices(indices: list[int], faces: int) -> None:
    """What is wrong with indices whatever the picture shows."""
    if len(indices) != faces:
        raise FieldError(
            f"'index' has {len(indices)} number{'s' * (len(indices) != 1)} for {faces} "
            f"face image{'s' * (faces != 1)}: one is needed for each"
        )
    if repeated := sorted({index for index in indices if indices.count(index) > 1}):
        raise FieldError(f"'index' repeats {', '.join(map(str, repeated))}")
    if min(indices) < 0:
        raise FieldError(f"'index' {min(indices)} is out of range: faces are counted from 0")
