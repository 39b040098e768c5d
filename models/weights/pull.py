"""Pulling weights with a progress bar, and converting them to the form that is served."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from prosopon.configs.settings import ModelSettings, Role, Settings
from prosopon.models.load import INSIGHTFACE, prepare_artifact
from prosopon.models.weights import pins
from prosopon.models.weights.catalogue import Artifact, File
from prosopon.models.weights.fetch import FetchError
from prosopon.models.weights.pins import open_choices
from prosopon.models.weights.registry import Registry, State, artifact_for, artifacts_for


def pull(artifacts: Sequence[Artifact], settings: ModelSettings, console: Console) -> int:
    """Bring artifacts to this machine; the bytes downloaded.

    Raises `models.weights.fetch.FetchError` or `models.weights.checksums.ChecksumError`.
    """
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
            file.name: bars.add_task(file.name, total=file.size)
            for artifact in missing
            for file in artifact.files
        }

        def show(file: File, done: int, total: int) -> None:
            bars.update(tasks[file.name], completed=done, total=total)

        received = registry.pull(missing, show)
    for artifact in artifacts:
        with console.status(f"preparing {artifact.name}"):
            prepare_artifact(registry.weights(artifact))
    return received


def pull_missing(settings: Settings, roles: Sequence[Role], console: Console) -> None:
    """Bring what the served roles need and is not here yet, and say how much that was; quiet where nothing is missing.

    Where several artifacts may serve a role, the first that can be had is brought and pinned in the home. Raises
    `FetchError`.
    """
    models, home = settings.models, settings.state.home
    if models.pack.startswith(INSIGHTFACE) and set(roles) - set(models.overrides):
        from prosopon.models.faces.insightface_pack import pull as pull_pack

        pull_pack(models.pack.removeprefix(INSIGHTFACE))
    received = 0
    for role in open_choices(models):
        if role in roles and role not in pins.read(home):
            artifact, size = pull_first(artifacts_for(models, role), models, console)
            pins.write(home, role, artifact.name)
            received += size
    models = pins.with_pins(models, pins.read(home))
    registry = Registry.of(models)
    wanted = (artifact_for(models, role) for role in roles)
    needed = [artifact for artifact in wanted if artifact and registry.state(artifact) is not State.READY]
    if needed:
        received += pull(list(dict.fromkeys(needed)), models, console)
    if received:
        console.print(f"{received / 1e6:.1f} MB of weights downloaded", highlight=False)


def pull_first(
    artifacts: Sequence[Artifact], models: ModelSettings, console: Console
) -> tuple[Artifact, int]:
    """Bring the first that can be had, and the bytes downloaded. Raises `FetchError` where none can."""
    registry, passed, received = Registry.of(models), list[str](), 0
    for artifact in artifacts[:-1]:
        try:
            if registry.state(artifact) is not State.READY:
                received = pull([artifact], models, console)
            break
        except FetchError:
            passed.append(artifact.name)
    else:
        artifact = artifacts[-1]
        received = pull([artifact], models, console)
    if passed:
        console.print(
            f"{', '.join(passed)} cannot be had here (no network, nothing in the mirror): {artifact.name} serves as "
            f"{artifact.role} instead. Later: `prosopon reembed --embedder {passed[0]}`.",
            style="yellow",
            markup=False,
            highlight=False,
        )
    return artifact, received
