"""Latents that are kept for clients: the oldest leave, and a photograph's comes back with its photograph."""

import asyncio
from pathlib import Path
from typing import Any, cast

import numpy as np

from prosopon.configs.settings import Deployments
from prosopon.deployments.serving.messages import GeneratorCard, InversionRequest, Inverted
from prosopon.deployments.state.blobs import BlobStore
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.latents import LatentStore
from prosopon.deployments.state.results import ResultCache
from prosopon.models.generation.latents import Latent
from prosopon.pipelines.graphs.generation import Generation
from prosopon.pipelines.graphs.results import Results

LAYERS = 4
FOUND = np.random.default_rng(0).normal(size=(LAYERS, 512)).astype("f4").astype("f8")


class Searching:
    """An inverter that counts its searches."""

    def __init__(self) -> None:
        self.searches = 0

    async def invert(self, _: InversionRequest) -> Inverted:
        self.searches += 1
        return Inverted(Latent(FOUND), True)


def test_a_photographs_latent_that_has_left_comes_back_under_its_id(tmp_path: Path) -> None:
    records = Records(f"sqlite:///{tmp_path / 'records.db'}")
    blobs = BlobStore(records, f"file://{tmp_path / 'blobs'}")
    latents, inverter = LatentStore(records, 1), Searching()

    async def ask() -> None:
        generation = Generation(
            cast(Any, None), cast(Any, None), cast(Any, inverter), GeneratorCard("g", "f", "g", LAYERS), latents,
            Results(ResultCache(records, blobs, 1 << 20)), Deployments(),
        )  # fmt: skip
        first = await generation.invert(b"photograph")
        for _ in range(51):  # The store looks every fiftieth time.
            last = latents.add(Latent(np.zeros(512)), "g")
        assert latents.find(first.latent) is None and latents.find(last) is not None
        again = await generation.invert(b"photograph")
        assert again == first and again.aligned
        found = await generation.registered(again.latent)
        assert found is not None and np.array_equal(found.numbers, FOUND)
        other = await generation.invert(b"another photograph")
        assert other.latent != first.latent
        assert inverter.searches == 2, "what was searched for once is not searched for again"

    asyncio.run(ask())
    records.close()
