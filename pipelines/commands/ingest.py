"""`prosopon ingest`: fill the public index, which FaceCheck searches, from pictures in bulk."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prosopon.pipelines.words import counted

if TYPE_CHECKING:
    from prosopon.configs.settings import Settings
    from prosopon.pipelines.ingestion.run import Skipped, Summary

_FAULTS = 3


def ingest(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, a glob, a manifest with the columns url, path and group (.csv, .jsonl, .parquet), "
            "or a list of URLs (.txt)."
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(help="A Serve config file that names state and models.", exists=True, dir_okay=False),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Where to list what was skipped, as JSON lines. Default: in the state's folder."),
    ] = None,
    groups: Annotated[
        bool, typer.Option("--folders-are-groups", help="Pictures of one folder are of one person or page.")
    ] = False,
    refresh: Annotated[
        bool, typer.Option(help="Look again at pictures that seem unchanged, and fetch known URLs again.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Only this many entries, the first ones.", min=1)] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be looked at, and do nothing.")] = False,
    prune: Annotated[
        bool,
        typer.Option(
            help="Then take pictures out of the index that the source used to name and no longer does."
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option(help="Then go on, and do it again whenever the folder or the manifest changes.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster to run on, as host:port. Default: the running server's."),
    ] = None,
) -> None:
    """Put every face of the source's pictures into the index that FaceCheck searches.

    Can be stopped and started again at any time: what is in the index is not added twice, pictures that have changed
    take the place of their older versions. A running server need not be stopped: its searches see what is added.

    Exit status: 0 where every picture was looked at, 3 where some could not be, 1 where the run failed.
    """
    from prosopon.models.weights.pins import settle
    from prosopon.pipelines.commands.support.configuration import read_settings
    from prosopon.pipelines.ingestion.cluster import prepare

    if prune and limit:
        raise typer.BadParameter(
            "with --limit it is not known what the source no longer names: --prune needs all"
        )
    if watch and (dry_run or limit):
        raise typer.BadParameter("--watch is for whole runs")
    settings = settle(read_settings(config))
    prepare(settings, address)

    def run(skipped: "Callable[[Skipped], None]") -> bool:
        return _run(settings, source, groups, refresh, limit, dry_run, prune, address, skipped)

    if not _again_and_again(run, settings, report, source if watch else None):
        raise typer.Exit(_FAULTS)


def _again_and_again(
    run: "Callable[[Callable[[Skipped], None]], bool]",
    settings: "Settings",
    report: Path | None,
    watched: str | None,
) -> bool:
    """Run once, and again whenever what is watched changes; whether every picture could be looked at the last time."""
    from prosopon.deployments.state.errors import StateError
    from prosopon.models.weights.registry import ModelUnavailable
    from prosopon.pipelines.commands.support import reports
    from prosopon.pipelines.ingestion.changes import changes
    from prosopon.pipelines.ingestion.sources import SourceError
    from prosopon.pipelines.running import NotRunning

    told = set[tuple[str, str]]()
    try:
        with reports.report(report, settings.state.home, "ingest") as (file, write):

            def skipped(one: "Skipped") -> None:
                """Once, however often a run is repeated."""
                if (one.place, one.reason) not in told:
                    told.add((one.place, one.reason))
                    write(
                        {name: getattr(one, name) for name in ("place", "url", "group", "reason", "detail")}
                    )

            faultless = run(skipped)
            if told:
                typer.echo(f"what was skipped or pruned, and why: {file}")
            if watched is not None:
                typer.echo("watching; Ctrl-C ends it", err=True)
                for _ in changes(watched, settings.state.home):
                    try:
                        faultless = run(skipped)
                    except (
                        SourceError,
                        StateError,
                        NotRunning,
                    ) as error:  # The next change may bring better.
                        typer.echo(f"{error}", err=True)
    except (SourceError, StateError, ModelUnavailable, NotRunning) as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped; run it again to go on", err=True)
        raise typer.Exit(130) from None
    return faultless


def _run(
    settings: "Settings",
    source: str,
    groups: bool,
    refresh: bool,
    limit: int | None,
    dry_run: bool,
    prune: bool,
    address: str | None,
    skipped: "Callable[[Skipped], None]",
) -> bool:
    """Once through the source; whether every picture could be looked at."""
    from contextlib import closing

    from prosopon.deployments.state.database import Records
    from prosopon.pipelines.commands.support.progress import progress_bar, rate_bar
    from prosopon.pipelines.ingestion import pruning
    from prosopon.pipelines.ingestion.run import Ingestion, Skipped, Watch
    from prosopon.pipelines.ingestion.sources import first, identity, read_source

    started, name = time.monotonic(), identity(source)
    with rate_bar("ingest", "pictures", "faces") as update:

        def show(summary: "Summary") -> None:
            update(summary.done, summary.total, summary.faces)

        ingestion = Ingestion(settings, Watch(skipped, show), name, refresh, address)
        todo = ingestion.plan(first(read_source(source, groups), limit))
        update(0, len(todo), 0)
        if not dry_run:
            ingestion.look_at(todo)
    _show(ingestion.summary, time.monotonic() - started, dry_run)
    if prune:
        with closing(Records(settings.state.database)) as records:
            gone = pruning.gone(records, name, ingestion.named, ingestion.unreadable)
        faces = sum(len(picture.faces) for picture in gone)
        if gone and not dry_run:
            with progress_bar("prune") as progress:
                faces = pruning.prune(settings, gone, progress)
            for one in gone:
                detail = f"the source no longer names it; it had {len(one.faces)} faces"
                skipped(Skipped(one.place, pruning.PRUNED, detail, one.origin.url, one.origin.group))
        would = "would be " if dry_run else ""
        typer.echo(f"{counted(len(gone), 'picture')} {would}pruned, {counted(faces, 'face')}")
    return ingestion.summary.faultless


def _show(summary: "Summary", seconds: float, dry_run: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("pictures", "", show_edge=False)
    for name, count in sorted(summary.outcomes.items()):
        table.add_row(name, f"{count:,}")
    for reason, count in sorted(summary.known.items()):
        table.add_row(f"known before: {reason.replace('_', ' ')}", f"{count:,}")
    for reason, count in sorted(summary.skipped.items()):
        table.add_row(f"skipped: {reason.replace('_', ' ')}", f"{count:,}")
    console = Console()
    console.print(table)
    if dry_run:
        console.print(f"{counted(summary.total, 'picture')} to look at", highlight=False)
        return
    console.print(
        f"{counted(summary.done, 'picture')} looked at, {counted(summary.faces, 'face')}, in {seconds:.1f} s: "
        f"{summary.done / seconds:.1f} pictures/s, {summary.faces / seconds:.1f} faces/s",
        highlight=False,
    )
