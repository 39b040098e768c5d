"""Bulk ingestion: decode -> detect -> embed -> write, as a Ray Data pipeline.

    Fetcher (URLs only)  ->  FaceFinder, one a core or a share of a card  ->  write

Which pictures are to be looked at is known before: a picture in the ledger whose stamp is the same is left out, so a
run that was killed goes on where it was, and a run over what is there already reads no file. A few pictures go through
the same stages in this process, without a cluster. Writing is this process's where the vectors are a file, the running
server's where there is one, and a stage of its own with a Milvus server.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from prosopon.configs.settings import Settings
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.galleries.source_ledger import (
    NO_FACE,
    REMOVED,
    digest,
    known_sources,
    source_id,
)
from prosopon.models.load import load_embedder
from prosopon.models.runtime.session import Compute
from prosopon.pipelines.ingestion.cluster import Cluster, join_running, start
from prosopon.pipelines.ingestion.folders import LEFT_OUT, UNREADABLE, LeftOut, shown
from prosopon.pipelines.ingestion.sinks import ServerSink, Sink, StoreSink, Writer, write_table
from prosopon.pipelines.ingestion.sources import Entry, Item, Malformed
from prosopon.pipelines.ingestion.workers import TODO, FaceFinder, Fetcher, Todo, to_row

_ASKED = 2_000
_BUSY_NICENESS = 10
MALFORMED, MISSING, TWICE = "malformed", "missing", "named_twice"
PERMANENT = LEFT_OUT | {NO_FACE, TWICE}
"""Reasons that are no fault of the source."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An entry of the source that brought no face. place: its location, or file and line."""

    place: str
    reason: str
    detail: str
    url: str | None = None
    group: str | None = None


@dataclass(slots=True)
class Summary:
    """What a run did. total: pictures to look at; done: of these; outcomes: by `Outcome`; known: left out, since they
    were looked at before, and how many of these have faces, none, and why."""

    total: int = 0
    done: int = 0
    faces: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def faultless(self) -> bool:
        return not set(self.skipped) - PERMANENT


@dataclass(frozen=True, slots=True)
class Watch:
    """Who follows a run: `skipped` hears of every entry without a face, `progress` whenever something was written."""

    skipped: Callable[[Skipped], None]
    progress: Callable[[Summary], None]


class Ingestion:
    """One run. source: what names the pictures, by `sources.identity`; refresh: also what is known already; address: of
    a Ray cluster to run on.

    named: ids in the ledger of the pictures that the source names and that are there, once they are known; unreadable:
    folders of which that is not known.
    """

    def __init__(
        self,
        settings: Settings,
        watch: Watch,
        source: str | None = None,
        refresh: bool = False,
        address: str | None = None,
    ) -> None:
        self._settings, self._watch, self._source = settings, watch, source
        self._refresh, self._address = refresh, address
        self.named, self.unreadable = set[bytes](), list[str]()
        self.summary = Summary()

    def run(self, entries: Iterable[Entry]) -> Summary:
        """Take the pictures in. Raises `SourceError`, `StateError`, and what Ray Data raises."""
        return self.look_at(self.plan(entries))

    def look_at(self, todo: list[Todo]) -> Summary:
        """Take these pictures in; raises as `run`."""
        if todo:
            self._run(todo)
        return self.summary

    def plan(self, entries: Iterable[Entry]) -> list[Todo]:
        """The pictures that are to be looked at."""
        records = Records(self._settings.state.database)
        try:
            entries, todo = iter(entries), list[Todo]()
            while part := list(islice(entries, _ASKED)):
                stamped = [one for entry in part if (one := self._stamped(entry)) is not None]
                known = known_sources(records, [one.id for one in stamped])
                if self._refresh:
                    known = {source: there for source, there in known.items() if there.reason == REMOVED}
                for one in stamped:
                    there = known.get(one.id)
                    if there is not None and (there.stamp == one.stamp or there.reason == REMOVED):
                        self.summary.known[there.reason or "with_faces"] += 1
                    else:
                        todo.append(one)
        finally:
            records.close()
        self.summary.total = len(todo)
        return todo

    def _stamped(self, entry: Entry) -> Todo | None:
        if isinstance(entry, LeftOut):
            if entry.reason == UNREADABLE:
                self.unreadable.append(os.path.realpath(entry.path))
            self._skip(Skipped(shown(entry.path), entry.reason, entry.detail))
            return None
        if isinstance(entry, Malformed):
            self._skip(Skipped(entry.place, MALFORMED, entry.detail))
            return None
        identity = source_id(entry.location, entry.url)
        if identity.bytes in self.named:
            self._skip(_skipped(entry, TWICE, "the source has named this picture before"))
            return None
        self.named.add(identity.bytes)
        try:
            return Todo(identity, _stamp(entry), entry, self._source)
        except (OSError, ValueError) as error:
            # A file without its folder may be on a disk that is not mounted.
            if isinstance(error, FileNotFoundError) and Path(entry.location).parent.is_dir():
                self.named.remove(identity.bytes)
            self._skip(_skipped(entry, MISSING, str(error)))
            return None

    def _skip(self, skipped: Skipped) -> None:
        self.summary.skipped[skipped.reason] += 1
        self._watch.skipped(skipped)

    def _run(self, todo: list[Todo]) -> None:
        settings = self._settings
        embedder = load_embedder(settings.models, Compute())
        fingerprint, dim = embedder.fingerprint, embedder.dim
        with ExitStack() as stack:
            sink: Sink | None = None
            cluster = join_running(settings, self._address)
            if cluster is not None:
                stack.callback(cluster.close)
            if cluster is not None and cluster.index is not None:
                sink = ServerSink(cluster.index, fingerprint)
            elif settings.state.vectors_are_local:
                sink = StoreSink(settings.state, fingerprint, dim)
            if sink is not None:
                stack.callback(sink.close)
            if cluster is None and sink is not None and len(todo) <= settings.ingestion.alone:
                for table in look_here(todo, settings):
                    self._count(write_table(sink, table))
                return
            if cluster is None:  # Not sooner: a store that somebody else holds is to be heard of at once.
                cluster = start(settings)
                stack.callback(cluster.close)
            dataset = look_at(todo, settings, cluster)
            if sink is None:
                dataset = dataset.map_batches(
                    Writer,
                    fn_constructor_args=(settings.state, fingerprint, dim),
                    compute=_actors(settings.ingestion.writers),
                    num_cpus=0.1,
                    batch_size=None,
                    batch_format="pyarrow",
                )
            self._watch.progress(self.summary)
            for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2):
                self._count(table if sink is None else write_table(sink, table))

    def _count(self, written: pa.Table) -> None:
        for row in written.to_pylist():
            self.summary.done += 1
            self.summary.faces += row["faces"]
            if not row["reason"]:
                self.summary.outcomes[row["outcome"]] += 1
            else:
                self._skip(Skipped(row["location"], row["reason"], row["detail"], row["url"], row["group"]))
        self._watch.progress(self.summary)


def look_here(todo: list[Todo], settings: Settings) -> Iterator[pa.Table]:
    """Tables of rows as `LOOKED_AT` describes them, made in this process as they are read."""
    fetch = Fetcher(settings) if any(one.item.is_remote for one in todo) else None
    find = FaceFinder(settings)
    rows = map(to_row, todo)
    while batch := list(islice(rows, settings.ingestion.batch)):
        table = pa.Table.from_pylist(batch, TODO)
        yield find(fetch(table) if fetch else table)


def look_at(todo: list[Todo], settings: Settings, cluster: Cluster) -> Any:
    """As `look_here`, on a cluster: a data set, which is computed as it is read."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ingestion, batch = settings.ingestion, settings.ingestion.batch
    blocks = -(-len(todo) // batch)
    # Not `from_arrow`: that asks for a whole CPU, for every table, and a running server may leave less.
    dataset = ray.data.from_items([to_row(one) for one in todo], override_num_blocks=blocks)
    whole: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow"}
    if any(one.item.is_remote for one in todo):
        dataset = dataset.map_batches(
            Fetcher,
            fn_constructor_args=(settings,),
            compute=_actors(ingestion.fetchers),
            num_cpus=0.01,
            **whole,
        )
    return dataset.map_batches(
        FaceFinder,
        fn_constructor_args=(settings, _BUSY_NICENESS if cluster.index is not None else 0),
        compute=_actors(min(cluster.workers, blocks)),
        num_cpus=cluster.cpus_each,
        num_gpus=ingestion.num_gpus or None,
        **whole,
    )


def _actors(count: int) -> Any:
    from ray.data import ActorPoolStrategy

    return ActorPoolStrategy(size=count)


def _stamp(item: Item) -> str:
    """What is known without reading the picture. Raises OSError for a file that is not there."""
    said = item.url, item.group or ""
    if item.is_remote:
        return digest("web", *said)
    state = Path(item.location).stat()
    return digest("file", str(state.st_size), str(state.st_mtime_ns), *said)


def _skipped(item: Item, reason: str, detail: str) -> Skipped:
    return Skipped(item.location, reason, detail, item.url, item.group)
