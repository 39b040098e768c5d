"""`prosopon evaluate`: how good the models are, on public sets and on a reader's own pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prosopon.configs.settings import ModelSettings, Settings
    from prosopon.models.evaluation.embedded import Embedder
    from prosopon.models.evaluation.verification import Pairs
    from prosopon.models.matching.calibration import SimilarityCurve
    from prosopon.models.roles import FaceDetector, FaceEmbedder

_THRESHOLDS = (0.5, 0.9, 0.98)
_REPEATS = 20


def evaluate(
    embedders: Annotated[
        list[str] | None, typer.Argument(help="Artifacts or files. Default: the configured embedder.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the public sets: fairface, london, compreface_samples.", exists=True),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(help="Your own pictures: a sub-folder for each person.", exists=True, file_okay=False),
    ] = None,
    faces: Annotated[
        Path | None,
        typer.Option(
            help="Your own pictures, each of somebody else, with labels.csv (file, race, gender, age): what is told of "
            "them, by group. No embedder is measured unless --data or --people are given too.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    attributes: Annotated[
        bool, typer.Option(help="Also age, gender, mask and liveness, by group, of the same pictures.")
    ] = False,
    detector: Annotated[str | None, typer.Option(help="Another detector than the configured one.")] = None,
    groups: Annotated[
        bool, typer.Option(help="Also by race and sex, and by age, where these are known.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="A picture of the ROC curves, .png or .svg.")] = None,
    output: Annotated[Path | None, typer.Option(help="All figures, as JSON.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A Serve config file that names the models.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Measure models as they serve: found, aligned and embedded by the product's own code, on one core.

    Public sets: strangers of FairFace against 102 people of one studio, whose probes are degraded in ten ways, and
    annotated photographs for the detector. Pictures are embedded once and kept beside the weights.
    """
    import json

    from prosopon.models.evaluation.sets import SetMissing
    from prosopon.models.weights.pins import settle
    from prosopon.pipelines.commands.support.configuration import read_settings
    from prosopon.pipelines.commands.support.evaluating import load, with_model

    if data is None and people is None and faces is None:
        raise typer.BadParameter("name what to measure on: --data, --people or --faces")
    settings = settle(read_settings(config))
    settings = settings.model_copy(update={"models": with_model(settings, "detector", detector)})
    results: list[dict[str, Any]] = []
    curves: dict[str, Pairs] = {}
    try:
        measured = list[str | None](embedders or ()) or [None]
        for name in measured if data is not None or people is not None else ():
            models = with_model(settings, "embedder", name)
            finder, model, embed = load(settings, models)
            result, of_model = _embedding(model, embed, _similarity(models, model), data, people, groups)
            results.append(result)
            curves |= of_model
        if data is not None:
            results[0]["detection"] = _detection(finder, data, settings.detection.score_threshold)
            results[0]["landmarks"] = _landmarks(settings, finder, data)
        told = _attributes(settings, data, people, faces) if attributes or faces is not None else {}
    except SetMissing as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None
    if results:
        _print(results)
    if told:
        results.append({"attributes": told})
        _print_attributes(told)
    if output is not None:
        output.write_text(json.dumps(results, indent=2) + "\n")
    if plot is not None:
        _draw(curves, plot)


def _similarity(models: "ModelSettings", model: "FaceEmbedder") -> "SimilarityCurve | None":
    from prosopon.models.matching.calibration import NotCalibrated, load_similarity

    try:
        return load_similarity(models, model.fingerprint)
    except NotCalibrated:
        return None


def _embedding(
    model: "FaceEmbedder",
    embed: "Embedder",
    similarity: "SimilarityCurve | None",
    data: Path | None,
    people: Path | None,
    groups: bool,
) -> "tuple[dict[str, Any], dict[str, Pairs]]":
    """Figures of an embedder, and the pairs they are of, by what a plot calls them."""
    from prosopon.models.evaluation import sets

    result: dict[str, Any] = {"embedder": model.name, "fingerprint": model.fingerprint, **_about(model)}
    curves = {}
    for title, pairs, missed in _sets(embed, data, people):
        result.setdefault("sets", {})[title] = _rates(pairs, similarity, missed)
        curves[f"{model.name}, {title}"] = pairs
    if groups:
        chosen = sets.people(people) if people is not None else sets.fairface(_known(data))
        result["groups"] = _by_group(embed, chosen, similarity)
    return result, curves


def _detection(finder: "FaceDetector", data: Path, threshold: float) -> dict[str, Any]:
    from prosopon.models.evaluation.detection import on_annotated

    found = on_annotated(finder, data / "compreface_samples", threshold)
    return {
        "detector": finder.name,
        "milliseconds": _milliseconds_of_detector(finder),
        "pictures": found.pictures,
        "faces": found.faces,
        "found": found.found,
        "other boxes": found.extra,
        "least probability of a face": round(found.least, 4),
    }


def _landmarks(settings: "Settings", finder: "FaceDetector", data: Path) -> list[dict[str, Any]]:
    """A row for the detector's own points and one for the served model's, where it is on this machine."""
    from functools import partial

    import numpy as np

    from prosopon.models.evaluation.landmarks import on_noses
    from prosopon.models.faces.attributes.landmarks import ROLE
    from prosopon.models.faces.landmarks import has_ibug
    from prosopon.models.load import face_model_available, load_landmarks
    from prosopon.models.runtime.session import Compute

    models = {}
    if face_model_available(settings.models, ROLE):
        model = load_landmarks(settings.models, Compute())
        if has_ibug(model.count):
            models[model.name] = model
    found = on_noses(finder, models, data / "compreface_samples", settings.detection.score_threshold)
    rows = []
    for name, error in found.items():
        spent = None
        if name in models:
            size = models[name].crop.size
            chip = np.zeros((1, size, size, 3), np.uint8)
            spent = _median_milliseconds(partial(models[name].predict, chip))
        rows.append(
            {
                "model": name,
                "ms a face": spent,
                "noses": error.noses,
                "mean error": round(error.mean, 3),
                "most": round(error.most, 3),
            }
        )
    return rows


def _attributes(
    settings: "Settings", data: Path | None, people: Path | None, faces: Path | None
) -> dict[str, Any]:
    """Set -> faces, pictures without one, milliseconds by attribute, calibration of gender, and rates by group."""
    from prosopon.models.evaluation import sets
    from prosopon.models.evaluation.attributes import ask, gender_calibration, groups, rates
    from prosopon.models.load import load_detector
    from prosopon.models.runtime.session import Compute

    chosen = []
    if faces is not None:
        chosen.append(sets.strangers(faces))
    if people is not None:
        chosen.append(sets.people(people))
    if data is not None:
        chosen += [sets.fairface(data), sets.london(data, "neutral"), sets.london(data, "smiling")]
        masks = (data / "mask" / kind for kind in ("with_mask", "without_mask"))
        chosen += [sets.strangers(folder) for folder in masks if folder.is_dir()]
    Compute().limit_libraries()
    detector = load_detector(settings.models, settings.detection, Compute())
    found = {}
    for portraits in chosen:
        answers = ask(settings.models, detector, portraits, settings.detection.score_threshold)
        found[portraits.name] = {
            "faces": len(answers.told),
            "missed": answers.missed,
            "milliseconds": answers.milliseconds,
            "gender ECE": gender_calibration(answers.told),
            "groups": {
                name: {"faces": len(members), **rates(members)} for name, members in groups(answers.told)
            },
        }
    return found


def _known(data: Path | None) -> Path:
    if data is None:
        raise typer.BadParameter("--groups needs --people with a labels.csv, or --data")
    return data


def _sets(embed: "Embedder", data: Path | None, people: Path | None) -> "list[tuple[str, Pairs, int]]":
    """Title, pairs, and genuine pairs in which no face was found."""
    from functools import partial

    from prosopon.models.evaluation import sets
    from prosopon.models.evaluation.degradations import DEGRADATIONS
    from prosopon.models.evaluation.verification import Pairs, genuine_between, pairs_of

    found = []
    if people is not None:
        found.append((people.resolve().name, pairs_of(embed(sets.people(people))), 0))
    if data is not None:
        impostors = pairs_of(embed(sets.fairface(data))).impostors
        enrolled, smiling = embed(sets.london(data, "neutral")), sets.london(data, "smiling")
        probes = {"smiling": embed(smiling)}
        for name, change in DEGRADATIONS.items():
            probes[name] = embed(smiling, partial(change), name.replace(" ", ""))
        for name, looked in probes.items():
            found.append((name, Pairs(genuine_between(enrolled, looked), impostors), looked.missed))
    return found


def _rates(pairs: "Pairs", similarity: "SimilarityCurve | None", missed: int) -> dict[str, Any]:
    from prosopon.models.evaluation.verification import (
        FALSE_MATCH_RATES,
        accuracy,
        equal_error_rate,
        true_match_rate,
    )

    rates: dict[str, Any] = {
        "genuine": len(pairs.genuine),
        "impostors": len(pairs.impostors),
        "missed": missed,
    }
    rates["EER"] = round(equal_error_rate(pairs), 5)
    for rate in FALSE_MATCH_RATES:
        rates[f"TMR at {rate:g}"] = round(true_match_rate(pairs, rate, missed), 4)
    for least in _THRESHOLDS if similarity is not None else ():
        assert similarity is not None
        passed = int((similarity.similarity(pairs.genuine) >= least).sum())
        rates[f"above {least}"] = round(passed / max(1, len(pairs.genuine) + missed), 4)
        rates[f"accuracy at {least}"] = round(accuracy(pairs, similarity.distance(least)), 4)
    return rates


def _by_group(embed: "Embedder", chosen: Any, similarity: "SimilarityCurve | None") -> dict[str, Any]:
    """False match rates at the product's thresholds, within each group."""
    from prosopon.models.evaluation.verification import by_group

    told: dict[str, Any] = {}
    for rate in by_group(embed(chosen)):
        row: dict[str, Any] = {"people": rate.people, "pairs": len(rate.impostors)}
        for least in _THRESHOLDS if similarity is not None else ():
            assert similarity is not None
            row[f"FMR at {least}"] = float((similarity.similarity(rate.impostors) >= least).mean())
        told[rate.group] = row
    return told


def _about(model: Any) -> dict[str, Any]:
    """Time of one face on one core, and what the catalogue says."""
    import numpy as np

    from prosopon.models.weights.catalogue import CATALOGUE

    chip = np.random.default_rng(0).integers(0, 256, (1, model.crop.size, model.crop.size, 3), np.uint8)
    artifact = CATALOGUE.get(model.name)
    return {
        "milliseconds": _median_milliseconds(lambda: model.embed(chip)),
        "numbers": model.dim,
        "megabytes": round(artifact.size / 1e6, 1) if artifact else None,
        "licence": artifact.licence if artifact else "the operator's own file",
    }


def _milliseconds_of_detector(detector: Any) -> float:
    import numpy as np

    picture = np.zeros((480, 640, 3), np.uint8)
    # What looks again where no face is found is left out: an ordinary picture is looked at once.
    plain = getattr(detector, "plain", detector)
    return _median_milliseconds(lambda: plain.detect([picture], 0.5))


def _median_milliseconds(work: Any) -> float:
    import time

    work()
    times = []
    for _ in range(_REPEATS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return round(1000 * sorted(times)[_REPEATS // 2], 1)


def _print(results: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from prosopon.pipelines.commands.support.tables import show

    about = Table(title="Embedders on one core")
    for column in ("embedder", "ms a face", "numbers", "MB", "licence"):
        about.add_column(column, no_wrap=True)
    for result in results:
        cells = [result[name] for name in ("embedder", "milliseconds", "numbers", "megabytes", "licence")]
        about.add_row(*(str(cell) for cell in cells))
    show(about)
    for result in results:
        first = next(iter(result["sets"].values()))
        table = Table(title=f"{result['embedder']}: pairs of one person against strangers")
        for column in ("probes", *first):
            table.add_column(column, no_wrap=True, justify="left" if column == "probes" else "right")
        for title, rates in result["sets"].items():
            table.add_row(title, *(str(rates[name]) for name in first))
        degraded = [rates for title, rates in result["sets"].items() if title != "smiling"]
        if len(degraded) > 1:
            means = {
                name: round(sum(rates[name] for rates in degraded) / len(degraded), 4)
                for name in first
                if name.startswith(("TMR", "above", "EER", "accuracy"))
            }
            table.add_section()
            table.add_row("mean of the degraded", *(str(means.get(name, "")) for name in first))
        show(table)
        if told := result.get("groups"):
            group = Table(title=f"{result['embedder']}: strangers of one group")
            columns = next(iter(told.values()))
            for column in ("group", *columns):
                group.add_column(column, no_wrap=True)
            for name, row in told.items():
                group.add_row(
                    name, *(f"{row[c]:.2g}" if isinstance(row[c], float) else str(row[c]) for c in columns)
                )
            show(group)
    if told := results[0].get("detection"):
        table = Table(title="Detection on annotated photographs")
        for column in told:
            table.add_column(column, no_wrap=True)
        table.add_row(*map(str, told.values()))
        show(table)
    if points := results[0].get("landmarks"):
        table = Table(title="Tips of noses on annotated photographs: errors in distances between the eyes")
        for column in points[0]:
            table.add_column(column, no_wrap=True)
        for row in points:
            table.add_row(*("" if value is None else str(value) for value in row.values()))
        show(table)


def _print_attributes(told: dict[str, Any]) -> None:
    from rich.table import Table

    from prosopon.pipelines.commands.support.tables import show

    for name, found in told.items():
        spent = ", ".join(f"{each} {ms} ms" for each, ms in found["milliseconds"].items())
        error = (
            "" if found["gender ECE"] is None else f"; gender's calibration error {found['gender ECE']:.3f}"
        )
        table = Table(
            title=f"{name}: {found['faces']} faces, {found['missed']} pictures without; {spent}{error}"
        )
        columns = list(found["groups"]["all"])
        for column in ("group", *columns):
            table.add_column(column, no_wrap=True, justify="left" if column == "group" else "right")
        for group, row in found["groups"].items():
            table.add_row(group, *(str(row.get(column, "")) for column in columns))
        show(table)


def _draw(curves: "dict[str, Pairs]", path: Path) -> None:
    """Receiver operating characteristics: true match rate over false match rate, which is logarithmic."""
    import numpy as np

    try:
        import matplotlib
    except ImportError:
        typer.echo("--plot needs matplotlib: pip install matplotlib", err=True)
        raise typer.Exit(1) from None

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5.5))
    rates = np.logspace(-5, 0, 200)
    for name, pairs in curves.items():
        thresholds = np.quantile(pairs.impostors, rates)
        genuine = np.sort(pairs.genuine)
        axes.plot(rates, np.searchsorted(genuine, thresholds) / len(genuine), label=name, linewidth=1)
    axes.set(xscale="log", xlabel="false match rate", ylabel="true match rate", ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
