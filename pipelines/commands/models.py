"""`prosopon models`: which weights there are, getting them, checking them, and what their licences allow."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from prosopon.configs.settings import ModelSettings
    from prosopon.models.weights.catalogue import Artifact

INSIGHTFACE = "insightface/"

app = typer.Typer(help="Weights: list, pull, verify, licences.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(help="Artifacts, by the names that `list` shows.")]
Packs = Annotated[
    str | None, typer.Option("--pack", help="All artifacts of a pack: open, or insightface/NAME.")
]
Roles = Annotated[list[str] | None, typer.Option("--role", help="Of a pack, only these roles. Repeatable.")]
Directory = Annotated[Path | None, typer.Option(help="Folder of the weights (default: $PROSOPON_MODELS).")]
Mirror = Annotated[
    Path | None, typer.Option(help="Folder to copy files from (default: $PROSOPON_MODELS_MIRROR).")
]


@app.command("list")
def list_models(directory: Directory = None) -> None:
    """Every artifact of the catalogue, what it does and whether it is here."""
    from rich.table import Table

    from prosopon.models.weights.catalogue import ARTIFACTS, PACKS
    from prosopon.models.weights.registry import Registry
    from prosopon.pipelines.commands.support.tables import show

    settings = _settings(directory, None)
    registry = Registry.of(settings)
    table = Table(title=f"Weights in {settings.directory}")
    for column in ("name", "role", "pack", "size", "state", "summary"):
        table.add_column(column, justify="right" if column == "size" else "left", no_wrap=column != "summary")
    for artifact in ARTIFACTS:
        packs = ", ".join(pack.name for pack in PACKS.values() if artifact.name in pack.artifacts)
        state = registry.state(artifact)
        table.add_row(
            artifact.name, artifact.role, packs, _megabytes(artifact.size), _coloured(state), artifact.summary
        )
    show(table, foldable=True)


@app.command()
def pull(
    names: Names = None,
    pack: Packs = None,
    role: Roles = None,
    directory: Directory = None,
    mirror: Mirror = None,
) -> None:
    """Fetch weights and convert them to the form that is served. Without a name: the pack `open`.

    Of artifacts between which a pack leaves a choice, the first that can be had. What is here already is left alone;
    an interrupted download goes on where it stopped.
    """
    from rich.console import Console

    from prosopon.models.weights.checksums import ChecksumError
    from prosopon.models.weights.fetch import FetchError
    from prosopon.models.weights.pull import pull as pull_artifacts
    from prosopon.models.weights.pull import pull_first

    console = Console(stderr=True)
    packs = [name for name in (*(names or []), pack or "") if name.startswith(INSIGHTFACE)]
    for name in packs:
        _pull_insightface(name.removeprefix(INSIGHTFACE))
    names = [name for name in names or [] if name not in packs]
    if packs and not names:
        return
    chosen = _selected(names, None if pack in packs else pack, role or [])
    settings = _settings(directory, mirror)
    try:
        received = pull_artifacts([only for only, *others in chosen if not others], settings, console)
        for choice in chosen:
            received += pull_first(choice, settings, console)[1]
    except (FetchError, ChecksumError) as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    console.print(
        f"{len(chosen)} ready in {settings.directory}, {_megabytes(received)} downloaded", highlight=False
    )


@app.command()
def verify(names: Names = None, directory: Directory = None) -> None:
    """Read every file again and compare its sha256. Exit status 1: one is corrupt, or a named one missing."""
    from rich.console import Console

    from prosopon.models.weights.catalogue import ARTIFACTS
    from prosopon.models.weights.registry import Registry, State

    registry = Registry.of(_settings(directory, None))
    bad = False
    for artifact in [choice[0] for choice in _selected(names, None, [])] if names else ARTIFACTS:
        state = registry.state(artifact, fresh=True)
        bad |= state is State.CORRUPT or (bool(names) and state is State.MISSING)
        Console().print(f"{artifact.name}: {_coloured(state)}")
    raise typer.Exit(int(bad))


@app.command()
def licenses() -> None:
    """The licence of every artifact, and of our own weights, and whether it allows commercial use."""
    from rich.table import Table

    from prosopon.models.faces.attributes.table import ATTRIBUTES
    from prosopon.models.swap import occlusion
    from prosopon.models.weights.catalogue import ARTIFACTS
    from prosopon.pipelines.commands.support.tables import show

    table = Table(title="Licences of weights")
    for column in ("name", "licence", "commercial use", "notice"):
        table.add_column(column, no_wrap=column == "name")
    for artifact in ARTIFACTS:
        commercial = "[green]yes[/green]" if artifact.commercial else "[yellow]no[/yellow]"
        table.add_row(artifact.name, artifact.licence, commercial, artifact.notice)
    own = {role.own.name: role.own_summary for role in ATTRIBUTES.roles.values() if role.own}
    own[occlusion.WEIGHTS.name] = occlusion.SUMMARY
    for name, summary in own.items():
        table.add_row(name, "Apache-2.0, the project's", "[green]yes[/green]", summary)
    for name in ("inversion_encoder.npz", "mobilestylegan_previews.npz"):
        notice = "Trained on the faces of MobileStyleGAN: treat it as that."
        table.add_row(name, "Apache-2.0, the project's", "[yellow]no[/yellow]", notice)
    show(table, foldable=True)


def _settings(directory: Path | None, mirror: Path | None) -> "ModelSettings":
    from prosopon.configs.settings import ModelSettings

    given = {"directory": directory, "mirror": mirror}
    return ModelSettings.model_validate({key: path.absolute() for key, path in given.items() if path})


def _selected(names: list[str], pack: str | None, roles: list[str]) -> "list[tuple[Artifact, ...]]":
    """Each with those that will do in its place, the preferred first."""
    from prosopon.models.weights.catalogue import CATALOGUE, PACKS, choices

    if unknown := [name for name in names if name not in CATALOGUE]:
        raise typer.BadParameter(f"no artifact is called {', '.join(unknown)}; see `prosopon models list`")
    if pack and pack not in PACKS:
        raise typer.BadParameter(
            f"no pack is called {pack}; there are: {', '.join(PACKS)}, {INSIGHTFACE}NAME"
        )
    chosen: list[tuple[Artifact, ...]] = [(CATALOGUE[name],) for name in names]
    if pack or not names:
        whole = PACKS[pack or "open"]
        filled = list(dict.fromkeys(CATALOGUE[name].role for name in whole.artifacts))
        if unfilled := set(roles) - set(filled):
            raise typer.BadParameter(f"the pack has no model for {', '.join(sorted(unfilled))}")
        chosen += [choices(whole, role) for role in filled if not roles or role in roles]
    return chosen


def _pull_insightface(pack: str) -> None:
    from prosopon.models.faces.insightface_pack import pull as pull_pack

    typer.echo("InsightFace's models are for non-commercial research only.", err=True)
    pull_pack(pack)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _coloured(state: str) -> str:
    colour = {"ready": "green", "missing": "dim", "corrupt": "red"}[state]
    return f"[{colour}]{state}[/{colour}]"
