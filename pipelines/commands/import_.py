"""`prosopon import`: move in, with people that are known elsewhere."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from prosopon.configs.settings import Settings
    from prosopon.pipelines.ingestion.compreface import Service
    from prosopon.pipelines.ingestion.enrolling import Summary, Watch

app = typer.Typer(help="Move in: people and pictures from elsewhere, into galleries.", no_args_is_help=True)

_FAULTS = 3

Config = Annotated[
    Path | None,
    typer.Option(help="A Serve config file that names state and models.", exists=True, dir_okay=False),
]
Report = Annotated[
    Path | None,
    typer.Option(help="Where to list what was skipped, as JSON lines. Default: in the state's folder."),
]


@app.command()
def folder(
    path: Annotated[
        Path, typer.Argument(help="A folder with a folder for each person.", exists=True, file_okay=False)
    ],
    key: Annotated[
        str,
        typer.Option(
            help="The API key in whose gallery they are enrolled; of the scope `recognition`.",
            envvar="PROSOPON_KEY",
        ),
    ],
    biggest: Annotated[
        bool, typer.Option("--biggest", help="Of several faces in a picture the biggest is the person's.")
    ] = False,
    config: Config = None,
    report: Report = None,
) -> None:
    """Enrol the pictures of a folder for each person, in CompreFace's gallery of a key.

    The folder's name is the person's. Can be stopped and started again at any time: what the gallery has is not
    enrolled twice. A running server need not be stopped.

    Exit status: 0 where every picture is enrolled, 3 where some are not, 1 where the run failed.
    """
    settings = _settings(config)
    from prosopon.deployments.state.database import Records
    from prosopon.deployments.state.keys import KeyStore
    from prosopon.pipelines.ingestion.enrolling import Enroller
    from prosopon.pipelines.ingestion.people import examples, people_in

    with closing(Records(settings.state.database)) as records:
        known = KeyStore(records).find(key)
        if known is None or not known.allows("recognition"):
            raise typer.BadParameter("the key is unknown, revoked or not of the scope `recognition`")
        found = people_in(path)
        entries = examples(found, records, known.gallery, settings.images.max_bytes)
        with (
            _watched(settings, report, "import-folder", len(found)) as watch,
            Enroller(settings, watch, biggest) as enroller,
        ):
            enroller.enrol(known.gallery, entries)


@app.command()
def compreface(
    url: Annotated[
        str,
        typer.Argument(
            help="Of CompreFace's database, postgresql://user:password@host:port/frs. It is only read.",
            envvar="COMPREFACE_DATABASE",
        ),
    ],
    keep_embeddings: Annotated[
        bool,
        typer.Option(
            "--keep-embeddings",
            help="Keep embeddings of a calculator that is the embedder in service, as stored pictures show.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what there is, and do nothing.")] = False,
    config: Config = None,
    report: Report = None,
) -> None:
    """Take over the keys, subjects and pictures of a CompreFace, so that its clients change the base URL alone.

    Keys keep their values, and each becomes a tenant of its own; examples keep their ids. Pictures are enrolled again
    with the embedder in service. Can be stopped and started again at any time, and once more for what has come since.

    Exit status: 0 where everything is here, 3 where something is not, 1 where the run failed.
    """
    settings = _settings(config)
    from prosopon.deployments.state.database import Records
    from prosopon.deployments.state.errors import StateError
    from prosopon.deployments.state.keys import KeyStore
    from prosopon.pipelines.ingestion.compreface import (
        CompreFaceDatabase,
        CompreFaceError,
        move_in,
        same_calculators,
    )
    from prosopon.pipelines.ingestion.enrolling import Enroller, Skipped

    try:
        with (
            closing(Records(settings.state.database)) as records,
            closing(CompreFaceDatabase(url)) as database,
        ):
            services = database.services()
            _show_services(services)
            if dry_run:
                return
            wanted = [service for service in services if not service.is_demo]
            total = sum(service.examples for service in wanted)
            with (
                _watched(settings, report, "import-compreface", total) as watch,
                Enroller(settings, watch, biggest=True) as enroller,
            ):
                calculators: list[str] = []
                if keep_embeddings:
                    compared = database.compared(enroller.reader)
                    calculators = same_calculators(compared)
                    _show_calculators(compared, calculators)
                for service in wanted:
                    try:
                        key, _ = KeyStore(records).adopt(service.key, service.name, [service.scope])
                    except StateError as error:
                        enroller.skip(Skipped(service.name, None, "key", str(error)))
                        continue
                    if service.scope == "recognition":
                        move_in(database, service, key, records, enroller, calculators)
    except CompreFaceError as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None


def _show_calculators(compared: Mapping[str, float | None], kept: Sequence[str]) -> None:
    for name, cosine in compared.items():
        told = "cannot be compared" if cosine is None else f"cosine {cosine:.3f}"
        then = "kept" if name in kept else "made again of the pictures"
        typer.echo(f"embeddings of {name}: {told}, {then}", err=True)


def _show_services(services: "Sequence[Service]") -> None:
    from rich.table import Table

    from prosopon.pipelines.commands.support.tables import show

    table = Table("service", "of", "key", "examples", "")
    for service in services:
        remark = "left out: its key is the same in every installation" if service.is_demo else ""
        table.add_row(service.name, service.scope, f"{service.key[:8]}-...", f"{service.examples:,}", remark)
    show(table)


@app.command()
def records(
    home: Annotated[
        Path,
        typer.Argument(
            help="The home, or the backup, whose records are copied.", exists=True, file_okay=False
        ),
    ],
    config: Config = None,
) -> None:
    """Copy the records of one machine's home into the empty PostgreSQL database of a cluster.

    No server may run on either. The pictures are `blobs/` of the home; `prosopon reindex` makes the vectors.
    """
    from prosopon.configs.settings import StateSettings
    from prosopon.deployments.state.database import Records
    from prosopon.deployments.state.errors import StateError
    from prosopon.deployments.state.moving import move_records
    from prosopon.pipelines.commands.support.configuration import read_settings

    settings = read_settings(config)

    here = StateSettings(home=home, database_url=f"sqlite:///{home.absolute() / 'records.db'}")
    try:
        with closing(Records(here.database)) as source, closing(Records(settings.state.database)) as target:
            moved = move_records(source, target, lambda name, count: typer.echo(f"{name}: {count:,}"))
    except StateError as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{moved:,} rows are copied")


def _settings(config: Path | None) -> "Settings":
    from prosopon.models.weights.pins import settle
    from prosopon.pipelines.commands.support.configuration import read_settings
    from prosopon.pipelines.ingestion.cluster import prepare

    settings = settle(read_settings(config))
    prepare(settings, None)
    return settings


@contextmanager
def _watched(settings: "Settings", path: Path | None, job: str, total: int) -> Iterator["Watch"]:
    """Shows a run's progress and result, and ends the command with the status that says how it went."""
    from prosopon.deployments.state.errors import StateError
    from prosopon.models.weights.registry import ModelUnavailable
    from prosopon.pipelines.commands.support.progress import rate_bar
    from prosopon.pipelines.commands.support.reports import report
    from prosopon.pipelines.ingestion.enrolling import Summary, Watch

    started, last = time.monotonic(), Summary()
    try:
        with report(path, settings.state.home, job) as (file, write):
            with rate_bar("import", "pictures", "enrolled") as update:

                def show(summary: "Summary") -> None:
                    nonlocal last
                    last = summary
                    update(summary.done, total, summary.enrolled)

                yield Watch(lambda skipped: write(asdict(skipped)), show)
            _show(last, time.monotonic() - started)
            if last.skipped:
                typer.echo(f"what was skipped, and why: {file}")
    except (StateError, ModelUnavailable) as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped; run it again to go on", err=True)
        raise typer.Exit(130) from None
    if not last.faultless:
        raise typer.Exit(_FAULTS)


def _show(summary: "Summary", seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("pictures", "", show_edge=False)
    table.add_row("enrolled", f"{summary.enrolled:,}")
    if summary.kept:
        table.add_row("of these with their embedding", f"{summary.kept:,}")
    if summary.known:
        table.add_row("enrolled before", f"{summary.known:,}")
    for reason, count in sorted(summary.skipped.items()):
        table.add_row(f"skipped: {reason.replace('_', ' ')}", f"{count:,}")
    console = Console()
    console.print(table)
    console.print(
        f"{summary.done:,} pictures in {seconds:.1f} s, {summary.enrolled / seconds:.1f} enrolled/s",
        highlight=False,
    )
