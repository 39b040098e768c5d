"""The stages of the bulk ingestion as Ray Data runs them: Arrow tables in, Arrow tables out.

What a picture's row carries from stage to stage: `TODO`, then its bytes where a URL was fetched, then `LOOKED_AT`.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from prosopon.configs.settings import DeploymentSettings, Settings
from prosopon.deployments.detector import cut_faces
from prosopon.deployments.serving.batching import compute_for
from prosopon.deployments.state.blobs import Blob
from prosopon.deployments.state.galleries.face_archive import ArchivedFace
from prosopon.deployments.state.galleries.source_ledger import NO_FACE, SeenFace, SourceFaces, digest
from prosopon.deployments.web.client import BadAnswer, TooLarge, UrlRefused, WebClient, WebError
from prosopon.models.faces.detections import RGBImage
from prosopon.models.load import load_detector, load_embedder
from prosopon.models.pictures.decoding import ImageError, decode
from prosopon.models.pictures.thumbnails import MEDIA_TYPE, THUMBNAIL, encode_thumbnail
from prosopon.pipelines.ingestion.sources import Item, is_web

TODO = pa.schema(
    [("id", pa.string()), ("stamp", pa.string()), ("location", pa.string()), ("url", pa.string()),
     ("group", pa.string()), ("source", pa.string())]
)  # fmt: skip
_FETCHED = pa.schema([*TODO, ("data", pa.binary()), ("reason", pa.string()), ("detail", pa.string())])
LOOKED_AT = pa.schema(
    [*TODO, ("version", pa.string()), ("reason", pa.string()), ("detail", pa.string()),
     ("embeddings", pa.list_(pa.binary())), ("thumbnails", pa.list_(pa.binary()))]
)  # fmt: skip
"""version: null where the picture could not be read or looked at, which another run may do."""


@dataclass(frozen=True, slots=True)
class Todo:
    """A picture to look at; id and stamp: its identity and state for the ledger; source: which names it."""

    id: UUID
    stamp: str
    item: Item
    source: str | None = None


def to_row(todo: Todo) -> dict[str, str | None]:
    """As `TODO` describes it."""
    item = todo.item
    row = {"id": str(todo.id), "stamp": todo.stamp, "location": item.location, "url": item.url}
    return {**row, "group": item.group, "source": todo.source}


class Fetcher:
    """Fetches what is on the web, with the client that goes nowhere private; leaves files to the next stage."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._client = WebClient(settings.fetch)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        self._loop.run_until_complete(self._fetch_all([row for row in rows if is_web(row["location"])]))
        return pa.Table.from_pylist(rows, _FETCHED)

    async def _fetch_all(self, rows: list[dict[str, Any]]) -> None:
        turns = asyncio.Semaphore(self._settings.ingestion.concurrent_fetches)

        async def fetch(row: dict[str, Any]) -> None:
            async with turns:
                await self._fetch(row)

        await asyncio.gather(*map(fetch, rows))

    async def _fetch(self, row: dict[str, Any]) -> None:
        reasons = {UrlRefused: "url_refused", TooLarge: "too_large", BadAnswer: "bad_answer"}
        try:
            fetched = await self._client.get_picture(row["location"], self._settings.images.max_bytes)
        except WebError as error:
            row |= {"reason": reasons.get(type(error), "unreachable"), "detail": str(error)}
        else:
            row["data"] = fetched.data


class FaceFinder:
    """Reads, decodes, detects, embeds and makes thumbnails; every face of a picture.

    niceness: added to the process's, where it shares its machine with who answers requests.
    """

    def __init__(self, settings: Settings, niceness: int = 0) -> None:
        ingestion = settings.ingestion
        compute = compute_for(DeploymentSettings(num_cpus=ingestion.num_cpus, num_gpus=ingestion.num_gpus))
        os.nice(niceness)
        self._limits, self._threshold = settings.images, settings.detection.score_threshold
        self._detector = load_detector(settings.models, settings.detection, compute)
        self._embedder = load_embedder(settings.models, compute)
        # On a CPU a batch takes as long as its pictures do one by one, and more memory.
        self._together = ingestion.batch if ingestion.num_gpus else 1

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        for start in range(0, len(rows), self._together):
            self._look(rows[start : start + self._together])
        return pa.Table.from_pylist(rows, LOOKED_AT)

    def _look(self, rows: Sequence[dict[str, Any]]) -> None:
        pictures = [(row, picture) for row in rows if (picture := self._open(row)) is not None]
        if not pictures:
            return
        try:
            self._embed([row for row, _ in pictures], [picture for _, picture in pictures])
        except Exception as error:  # One picture that a model cannot take does not end a run over millions.
            for row, _ in pictures:
                row |= {"version": None, "reason": "failed", "detail": repr(error)}

    def _open(self, row: dict[str, Any]) -> RGBImage | None:
        """Sets the version as soon as the bytes are known, and why there is no picture, if there is none."""
        if row.get("reason"):
            return None
        data = row.pop("data", None)
        try:
            if data is None:
                data = self._read(row["location"])
            row["version"] = digest(data, row["url"], row["group"] or "")
            return decode(data, self._limits)
        except ImageError as error:
            row |= {"reason": str(error.reason), "detail": str(error)}
        except (OSError, ValueError) as error:
            row |= {"reason": "unreadable", "detail": str(error)}
        return None

    def _read(self, location: str) -> bytes:
        """At most one byte more than is accepted: enough to be refused by."""
        with Path(location).open("rb") as file:
            return file.read(self._limits.max_bytes + 1)

    def _embed(self, rows: Sequence[dict[str, Any]], pictures: Sequence[RGBImage]) -> None:
        crops = (self._embedder.crop, THUMBNAIL)
        found = [
            cut_faces(picture, faces, self._threshold, 0, crops, time.perf_counter())
            for picture, faces in zip(pictures, self._detector.detect(pictures, self._threshold), strict=True)
        ]
        chips = np.concatenate([one.chips[self._embedder.crop] for one in found])
        embeddings = iter(self._embedder.embed(chips) if len(chips) else ())
        for row, one in zip(rows, found, strict=True):
            if not len(one.faces):
                row |= {"reason": NO_FACE, "detail": "no face was found"}
            row["embeddings"] = [next(embeddings).astype("<f4").tobytes() for _ in range(len(one.faces))]
            row["thumbnails"] = [encode_thumbnail(chip) for chip in one.chips[THUMBNAIL]]


def to_sources(rows: Sequence[dict[str, Any]]) -> Iterator[SourceFaces]:
    """What the ledger takes, of the rows of a `LOOKED_AT` table that have a version."""
    for row in rows:
        faces = zip(row["embeddings"] or (), row["thumbnails"] or (), strict=True)
        yield SourceFaces(
            UUID(row["id"]),
            row["stamp"],
            row["version"],
            ArchivedFace(row["url"], row["group"], _elsewhere(row["location"], row["url"]), row["source"]),
            tuple(
                SeenFace(np.frombuffer(embedding, "<f4"), Blob(thumbnail, MEDIA_TYPE))
                for embedding, thumbnail in faces
            ),
            row["reason"],
        )


def _elsewhere(location: str, url: str) -> str | None:
    """The location where the url does not say it."""
    said = location if is_web(location) else Path(location).as_uri()
    return None if said == url else location
