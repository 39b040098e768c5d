"""`prosopon tasks`: list, show, retry."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

if TYPE_CHECKING:
    from prosopon.deployments.state.jobs.deliveries import DeliveryStore
    from prosopon.deployments.state.jobs.tasks import TaskStore

app = typer.Typer(help="Face swap tasks: list, show, retry.", no_args_is_help=True)

STATES = ("waiting", "running", "succeeded", "failed")
Config = Annotated[
    Path | None,
    typer.Option(help="A Serve config file that names the database.", exists=True, dir_okay=False),
]
TaskId = Annotated[UUID, typer.Argument(help="The task's id.")]


@app.command("list")
def list_tasks(
    state: Annotated[str | None, typer.Option(help=f"Only those that are {', '.join(STATES)}.")] = None,
    limit: Annotated[int, typer.Option(help="How many to list at most.", min=1)] = 50,
    config: Config = None,
) -> None:
    """The newest tasks."""
    from typing import cast

    from rich.table import Table

    from prosopon.deployments.state.jobs.task_types import State
    from prosopon.pipelines.commands.support.tables import show

    if state not in (None, *STATES):
        raise typer.BadParameter(f"there are {', '.join(STATES)}")
    table = Table(title="Tasks")
    for column in ("id", "kind", "state", "attempts", "points", "key", "created", "took", "message"):
        table.add_column(column, no_wrap=column == "id", justify="right" if column == "points" else "left")
    for task in _stores(config)[0].list(cast(State | None, state), limit):
        took = f"{(task.finished - task.created).total_seconds():.1f} s" if task.finished else ""
        table.add_row(
            task.id.hex,
            task.kind,
            task.state,
            str(task.attempts),
            str(task.points),
            str(task.key),
            f"{task.created:%Y-%m-%d %H:%M:%S}",
            took,
            task.message or "",
        )
    show(table)


@app.command()
def show(task: TaskId, config: Config = None) -> None:
    """A task and the webhook calls that told of it."""
    from rich.console import Console

    from prosopon.deployments.state.errors import TaskNotFound

    tasks, deliveries = _stores(config)
    try:
        record = tasks.find(task)
    except TaskNotFound as error:
        raise typer.BadParameter(str(error)) from None
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for name in record.__dataclass_fields__:
        value = getattr(record, name)
        console.print(f"{name:>10}  {value.hex if isinstance(value, UUID) else value}")
    for call in deliveries.of_task(task):
        outcome = f"delivered {call.delivered}" if call.delivered else f"{call.error or 'not attempted yet'}"
        following = f", next attempt {call.due}" if call.due else "" if call.delivered else ", given up"
        console.print(f"   webhook  {call.attempts} attempts: {outcome}{following}")


@app.command()
def retry(task: TaskId, config: Config = None) -> None:
    """Have a failed task done again, at its points, or end the pause before a task's next attempt."""
    from prosopon.deployments.state.errors import StateError

    try:
        _stores(config)[0].retry(task)
    except StateError as error:
        raise typer.BadParameter(str(error) or type(error).__name__) from None
    typer.echo(f"task {task.hex} is waiting for a worker")


def _stores(config: Path | None) -> "tuple[TaskStore, DeliveryStore]":
    from prosopon.deployments.state.blobs import BlobStore
    from prosopon.deployments.state.database import Records
    from prosopon.deployments.state.jobs.deliveries import DeliveryStore
    from prosopon.deployments.state.jobs.tasks import TaskStore
    from prosopon.pipelines.commands.support.configuration import read_settings

    settings = read_settings(config)
    records = Records(settings.state.database)
    tasks = TaskStore(records, BlobStore(records, settings.state.blobs), settings.swap)
    return tasks, DeliveryStore(records, settings.webhooks)
