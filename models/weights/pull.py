"""Pulling weights with a progress bar, and converting them to the form that is served."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from prosopon.configs.settings import ModelSettings, Role
from prosopon.models.load import INSIGHTFACE, prepare_artifact
from prosopon.models.weights.catalogue import Artifact, File
from prosopon.models.weights.fetch import FetchError
from prosopon.models.weights.registry import Registry, State, artifact_for


def pull(artifacts: Sequence[Artifact], settings: ModelSettings, console: Console) -> None:
    """Bring artifacts to this machine. Raises `FetchError` or `models.weights.checksums.ChecksumError`."""
    registry = Registry.of(settings)
    missing = [artifact for artifact in artifacts if registry.state(artifact) is not State.READY]
    for artifact in missing:
        commercial = "" if artifact.commercial else " [yellow]Not for commercial use.[/yellow]"
        notice = f" {artifact.notice}" if artifact.notice else ""
        console.print(
            f"[bold]{artifact.name}[/bold]: {artifact.licence}.{commercial}{notice}", highlight=False
        )
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        tasks = {
            file.sha256: bars.add_task(file.name, total=file.size)
            for artifact in missing
            for file in artifact.files
        }

        def show(file: File, done: int, total: int) -> None:
            bars.update(tasks[file.sha256], completed=done, total=total)

        registry.pull(missing, show)
    for artifact in artifacts:
        with console.status(f"preparing {artifact.name}"):
            prepare_artifact(registry.weights(artifact))


def pull_missing(settings: ModelSettings, roles: Sequence[Role], console: Console) -> None:
    """Bring what the given roles need under these settings and is not here yet; quiet where nothing is
    missing.

    A role whose model no source gives is said so and left absent when the pack does not promise it
    (liveness); otherwise raises `FetchError`.
    """
    if settings.pack.startswith(INSIGHTFACE) and set(roles) - set(settings.overrides):
        from prosopon.models.faces.insightface_pack import pull as pull_pack

        pull_pack(settings.pack.removeprefix(INSIGHTFACE))
    registry = Registry.of(settings)
    wanted = {role: artifact_for(settings, role) for role in roles}
    missing = {
        role: artifact
        for role, artifact in wanted.items()
        if artifact and registry.state(artifact) is not State.READY
    }
    optional = {role: artifact for role, artifact in missing.items() if role == "liveness"}
    if needed := [artifact for role, artifact in missing.items() if role not in optional]:
        pull(needed, settings, console)
    for role, artifact in optional.items():
        try:
            pull([artifact], settings, console)
        except FetchError as error:
            console.print(f"The role '{role}' stays absent. {error}", style="yellow", markup=False)
