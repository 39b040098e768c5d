"""`prosopon calibrate`: what similarity and scores mean for an embedder, from pictures of strangers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from prosopon.configs.settings import ModelSettings
    from prosopon.models.evaluation.embedded import Embedded, Embedder
    from prosopon.models.evaluation.sets import PortraitSet
    from prosopon.models.matching.calibration import SimilarityCurve
    from prosopon.models.matching.scores import FaceSpace
    from prosopon.models.roles import FaceEmbedder

CHIPS = 6000


def calibrate(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the public sets: fairface, london, fairface_chips.tar.", exists=True),
    ] = None,
    strangers: Annotated[
        Path | None, typer.Option(help="Instead: a folder of pictures, each of somebody else.", exists=True)
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(help="Besides: a folder with a sub-folder for each person, for FaceCheck's scores."),
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="An artifact's name or a file. Default: the configured one.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="Take what the embedder of this fingerprint has; no pictures needed.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="Write into this table of the project instead of this machine's own folder."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A Serve config file that names the models.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Fit similarity to how rarely two people are as near as that, and say how strangers of every group fare.

    0.5, 0.9 and 0.98 are reached by one pair of two people in 100, 1,000 and 10,000, as near as CompreFace's curve
    allows; more or fewer among people of one group, which is what the tables show. FaceCheck's scores are fitted too
    where pictures of the same people are there. The result is kept beside the weights, for this embedder alone.
    """
    from rich.console import Console

    from prosopon.models.evaluation import sets
    from prosopon.models.weights.pins import settle
    from prosopon.pipelines.commands.support.configuration import read_settings
    from prosopon.pipelines.commands.support.evaluating import load, with_model

    settings = settle(read_settings(config))
    models = with_model(settings, "embedder", embedder)
    _, model, embed = load(settings, models)
    console = Console()
    if like is not None:
        _take_over(like, models, model.fingerprint)
        console.print(f"{model.fingerprint} is taken for {like}: nothing was measured.", highlight=False)
        return
    try:
        embedded = embed(_chosen(data, strangers))
        entry = _fitted(embedded)
        if table is None and (scores := _scores(embed, data, strangers, people, embedded)):
            entry["scores"] = scores
    except (sets.SetMissing, ValueError) as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None
    _keep(entry, table, models, model.fingerprint)
    console.print(f"{model.fingerprint}: c0 {entry['c0']}, c1 {entry['c1']}", highlight=False)
    _show(embedded, entry, models, model, console)


def _take_over(like: str, models: "ModelSettings", fingerprint: str) -> None:
    """Keep for an embedder what another has."""
    from prosopon.models.matching import calibration

    known = calibration.packaged().get(like)
    if known is None:
        raise typer.BadParameter(f"not known: there are {', '.join(calibration.packaged())}")
    calibration.keep(calibration.kept(models, fingerprint), known)


def _chosen(data: Path | None, strangers: Path | None) -> "PortraitSet":
    from prosopon.models.evaluation import sets

    if strangers is not None:
        return sets.strangers(strangers)
    if data is not None:
        return sets.fairface(data)
    raise typer.BadParameter("name pictures of strangers, --data or --strangers, or another embedder, --like")


def _fitted(embedded: "Embedded") -> dict[str, Any]:
    """What is kept of the curve of similarity. Raises ValueError where the embeddings tell nobody apart."""
    from prosopon.models.evaluation.verification import pairs_of
    from prosopon.models.matching.calibration import fit

    impostors = pairs_of(embedded).impostors
    curve = fit(impostors)
    assert curve.mean is not None
    return {
        "c0": round(curve.c0, 4),
        "c1": round(curve.c1, 3),
        "mean": round(curve.mean, 4),
        "impostor_pairs": len(impostors),
    }


def _keep(entry: dict[str, Any], table: Path | None, models: "ModelSettings", fingerprint: str) -> None:
    """In a table of several embedders, or beside the weights."""
    import json

    from prosopon.models.matching import calibration

    if table is not None:
        whole = json.loads(table.read_text()) if table.exists() else {}
        calibration.keep(table, {**whole, fingerprint: entry})
    else:
        calibration.keep(calibration.kept(models, fingerprint), entry)


def _show(
    embedded: "Embedded",
    entry: dict[str, Any],
    models: "ModelSettings",
    model: "FaceEmbedder",
    console: "Console",
) -> None:
    from prosopon.models.matching.calibration import NotCalibrated, SimilarityCurve
    from prosopon.models.matching.scores import load_space
    from prosopon.pipelines.commands.support.tables import show

    show(similarity_table(embedded, SimilarityCurve(entry["c0"], entry["c1"])))
    try:
        space = load_space(models, model.fingerprint, model.dim)
    except NotCalibrated:
        console.print("No pictures of the same people: FaceCheck's scores are not known.", highlight=False)
    else:
        show(score_table(embedded, space))


def similarity_table(embedded: "Embedded", curve: "SimilarityCurve") -> "Table":
    """How often two people reach each similarity, over all pairs and within each group."""
    from prosopon.models.evaluation.verification import by_group, pairs_of
    from prosopon.models.matching.calibration import ANCHORS

    people = len(embedded.portraits)
    shown = _table("a similarity", people, [str(step) for step, _ in ANCHORS], [rate for _, rate in ANCHORS])
    rows = [("all", people, pairs_of(embedded).impostors)]
    rows += [(rate.group, rate.people, rate.impostors) for rate in by_group(embedded)]
    for name, count, impostors in rows:
        reached = curve.similarity(impostors)
        shares = (_share((reached >= step).mean()) for step, _ in ANCHORS)
        shown.add_row(name, f"{count:,}", f"{len(impostors):,}", *shares)
    return shown


def score_table(embedded: "Embedded", space: "FaceSpace") -> "Table":
    """How often two people reach each of FaceCheck's bands, over all pairs and within each group."""
    import numpy as np

    from prosopon.models.evaluation.verification import groups, strangers_of, whose
    from prosopon.models.matching.scores import BANDS

    vectors = space.project(embedded.embeddings)
    matrix = space.curve.score(space.all_distances(vectors, vectors))
    shown = _table(
        "a score", len(embedded.portraits), [str(least) for least, _ in BANDS], [r for _, r in BANDS]
    )
    people = whose(embedded)
    everybody = [("", "all", np.arange(len(matrix)))]
    for _, name, members in everybody + groups(embedded):
        within = matrix[strangers_of(people, members)]
        shares = (_share((within >= least).mean()) for least, _ in BANDS)
        shown.add_row(name, f"{len(members):,}", f"{len(within):,}", *shares)
    return shown


def _table(what: str, people: int, steps: list[str], meant: list[float]) -> "Table":
    from rich.table import Table

    shown = Table(title=f"Share of pairs of two people who reach {what} ({people} people)")
    for column in ("pairs within", "people", "pairs", *(f">= {step}" for step in steps)):
        shown.add_column(column, justify="left" if column == "pairs within" else "right", no_wrap=True)
    shown.add_row("meant", "", "", *map(_share, meant))
    return shown


def _share(rate: float) -> str:
    return f"{rate:.2g}" if rate else "none"


def _scores(
    embed: "Embedder", data: Path | None, strangers: Path | None, people: Path | None, embedded: "Embedded"
) -> dict[str, Any] | None:
    """FaceCheck's curve over plain distances, where there are pictures of the same people."""
    from prosopon.models.evaluation import sets
    from prosopon.models.evaluation.verification import genuine_between, pairs_of
    from prosopon.models.matching.scores import as_entry, fit

    if people is not None:
        genuine = pairs_of(embed(sets.people(people))).genuine
    elif data is not None and (data / "london").exists():
        genuine = genuine_between(embed(sets.london(data, "neutral")), embed(sets.london(data, "smiling")))
    else:
        return None
    if strangers is None and data is not None and (data / "fairface_chips.tar").exists():
        embedded = embed(sets.chips(data, CHIPS))
    return as_entry(fit(pairs_of(embedded).impostors, genuine))
