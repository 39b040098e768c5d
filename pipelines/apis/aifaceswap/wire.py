"""What aifaceswap's routes answer, ``{"code", "data", "message"}``, and what its webhooks are sent."""

from typing import Annotated, Any, Generic, Literal, TypeVar

import orjson
from pydantic import BaseModel, Field

from prosopon.deployments.state.jobs.task_types import Kind, TaskEnd, TaskRecord

Data = TypeVar("Data", bound=BaseModel)
TYPES: dict[Kind, Literal[1, 2]] = {"faceswap": 1, "multi_faceswap": 2}
"""What clients and webhooks are told."""


_POINTS = (
    "what the task costs; given back when it fails. A film that must be fetched costs more by its length, "
    "once that is known"
)


class Envelope(BaseModel, Generic[Data]):
    code: Annotated[Literal[200], Field(description="the HTTP status")] = 200
    data: Annotated[Data, Field(description="the answer")]
    message: Annotated[str, Field(description="OK")] = "OK"


class Failure(BaseModel):
    code: Annotated[int, Field(description="the HTTP status")]
    data: Annotated[dict[str, Any], Field(description="nothing")] = {}
    message: Annotated[str, Field(description="what went wrong")]


class Accepted(BaseModel):
    task_id: Annotated[str, Field(description="for task/ID")]
    points: Annotated[int, Field(description=_POINTS)]


class Faces(BaseModel):
    faces: Annotated[
        list[tuple[int, int, int, int]],
        Field(description="x1 y1 x2 y2 in pixels, from left to right: the order that `index` counts"),
    ]
    points: Annotated[int, Field(description="what the call cost; nothing where no face is found")]


class Task(BaseModel):
    """type: 1 for one face, 2 for several. Times are ISO 8601."""

    task_id: Annotated[str, Field(description="as it was answered")]
    type: Annotated[Literal[1, 2], Field(description="1 for one face, 2 for several")]
    status: Annotated[
        Literal["waiting", "running", "succeeded", "failed"], Field(description="how far it is")
    ]
    success: Annotated[Literal[0, 1] | None, Field(description="once the task has ended")]
    result_image: Annotated[
        str | None, Field(description="a URL, until the result expires; of a film, where the source was one")
    ]
    similarity: Annotated[
        float | None,
        Field(
            description="0 to 1: how like those that were put in the result's faces are, where it was measured"
        ),
    ]
    method: Annotated[str | None, Field(description="how the result was made, where it is known")]
    progress: Annotated[
        float | None, Field(description="0 to 1: how much of a film is done; null of a picture")
    ]
    message: Annotated[str | None, Field(description="why there is no result")]
    points: Annotated[int, Field(description=_POINTS)]
    created: Annotated[str, Field(description="ISO 8601")]
    finished: Annotated[str | None, Field(description="ISO 8601, once it has ended")]


def notification(end: TaskEnd) -> bytes:
    """What the webhook of a task is sent: a JSON document."""
    document: dict[str, object] = {
        "success": int(end.message is None),
        "type": TYPES[end.kind],
        "task_id": end.id.hex,
        "result_image": end.result_url or "",
    }
    if end.message is not None:
        document["message"] = end.message
    return orjson.dumps(document)


def described(record: TaskRecord) -> Task:
    ended = {"succeeded": 1, "failed": 0}
    message = record.message if record.state != "succeeded" else None
    if record.state == "succeeded" and record.result_url is None:
        message = "the result was kept for its time and is deleted"
    return Task(
        task_id=record.id.hex,
        type=TYPES[record.kind],
        status=record.state,
        success=ended.get(record.state),  # type: ignore[arg-type]
        result_image=record.result_url,
        similarity=record.similarity,
        method=record.method,
        progress=1.0 if record.progress is not None and record.state == "succeeded" else record.progress,
        message=message,
        points=record.points,
        created=record.created.isoformat(),
        finished=record.finished.isoformat() if record.finished else None,
    )
