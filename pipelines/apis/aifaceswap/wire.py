"""What aifaceswap's routes answer: ``{"code", "data", "message"}``."""

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

from prosopon.deployments.state.jobs.task_types import TYPES, TaskRecord

Data = TypeVar("Data", bound=BaseModel)


class Envelope(BaseModel, Generic[Data]):
    code: Literal[200] = 200
    data: Data
    message: str = "OK"


class Failure(BaseModel):
    code: int
    data: dict[str, Any] = {}
    message: str


class Accepted(BaseModel):
    """points: what the task costs; they are given back when it fails."""

    task_id: str
    points: int


class Faces(BaseModel):
    """faces: x1 y1 x2 y2 in pixels, from left to right: the order that `index` counts."""

    faces: list[tuple[int, int, int, int]]
    points: int


class Task(BaseModel):
    """success: 1 or 0 once it has ended. type: 1 for one face, 2 for several. result_image: until it expires."""

    task_id: str
    type: Literal[1, 2]
    status: Literal["waiting", "running", "succeeded", "failed"]
    success: Literal[0, 1] | None
    result_image: str | None
    message: str | None
    points: int
    created: str
    finished: str | None


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
        message=message,
        points=record.points,
        created=record.created.isoformat(),
        finished=record.finished.isoformat() if record.finished else None,
    )
