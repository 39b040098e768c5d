"""`prosopon ingest`: fill the public index, which FaceCheck searches, from pictures in bulk."""

import json
import time
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

if TYPE_CHECKING:
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
    limit: Annotated[int | None, typer.Option(help="Only the first so many entries.", min=1)] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be looked at, and do nothing.")] = False,
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

    settings = settle(read_settings(config))
    prepare(settings, address)

    from prosopon.deployments.state.errors import StateError
    from prosopon.models.weights.registry import ModelUnavailable
    from prosopon.pipelines.commands.support.progress import rate_bar
    from prosopon.pipelines.ingestion.run import Ingestion, Watch
    from prosopon.pipelines.ingestion.sources import SourceError, read_source
    from prosopon.pipelines.running import NotRunning

    if report is None:
        report = settings.state.home / f"ingest-{datetime.now():%Y%m%d-%H%M%S}.jsonl"
    report.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        entries = islice(read_source(source, groups), limit)
        with report.open("w", encoding="utf-8") as lines, rate_bar("ingest", "pictures", "faces") as update:

            def show(summary: "Summary") -> None:
                update(summary.done, summary.total, summary.faces)

            watch = Watch(lambda skipped: _write(lines, skipped), show)
            run = Ingestion(settings, watch, refresh, address)
            if dry_run:
                run.summary.total = len(run.plan(entries))
            else:
                run.run(entries)
    except (SourceError, StateError, ModelUnavailable, NotRunning) as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped; run it again to go on", err=True)
        raise typer.Exit(130) from None
    _show(run.summary, time.monotonic() - started, dry_run)
    if run.summary.skipped:
        typer.echo(f"what was skipped, and why: {report}")
    else:
        report.unlink()
    if not run.summary.faultless:
        raise typer.Exit(_FAULTS)


def _write(lines: TextIO, skipped: "Skipped") -> None:
    row = {name: getattr(skipped, name) for name in ("place", "url", "group", "reason", "detail")}
    lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    lines.flush()


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
        console.print(f"{summary.total:,} pictures to look at", highlight=False)
        return
    console.print(
        f"{summary.done:,} pictures looked at, {summary.faces:,} faces, in {seconds:.1f} s: "
        f"{summary.done / seconds:.1f} pictures/s, {summary.faces / seconds:.1f} faces/s",
        highlight=False,
    )
