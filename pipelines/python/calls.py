"""What all calls of the handles stand on: the application's graphs, and the loop that they are talked to in."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from prosopon.configs.settings import Settings
from prosopon.deployments.state.database import Records
from prosopon.pipelines.graphs.application import Graphs
from prosopon.pipelines.graphs.generation import Generation
from prosopon.pipelines.graphs.recognition import Recognition
from prosopon.pipelines.graphs.swaps import Swaps
from prosopon.pipelines.python.answers import NotServed
from prosopon.pipelines.python.connection import Answer, Loop
from prosopon.pipelines.python.public_index import PublicIndex

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

Graph = TypeVar("Graph")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Opened:
    """What the handles talk to. None: no API of the settings needs it."""

    settings: Settings
    records: Records
    recognition: Recognition | None
    index: PublicIndex | None
    generation: Generation | None
    swaps: Swaps | None

    @classmethod
    async def of(cls, app: "DeploymentHandle") -> "Opened":
        graphs: Graphs = await app.graphs.remote()
        settings = graphs.settings
        records = await asyncio.to_thread(Records, settings.state.database)
        recognition = index = generation = swaps = None
        if graphs.recognition is not None:
            recognition = await Recognition.connect(graphs.recognition, settings, records)
            if settings.serves("facecheck"):
                index = await asyncio.to_thread(PublicIndex, recognition, settings, records)
        if graphs.generation is not None:
            generation = await Generation.connect(graphs.generation, settings, records)
        if graphs.swaps is not None:
            swaps = await Swaps.connect(graphs.swaps, settings, records)
        return cls(settings, records, recognition, index, generation, swaps)


def served(graph: Graph | None, what: str) -> Graph:
    """Raises `NotServed` where there is none."""
    if graph is None:
        raise NotServed(f"no API of the application's settings {what}")
    return graph


class Calls:
    """What is asked for is made in the loop, by the graphs."""

    _loop: Loop
    _graphs: Opened

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]

    def _submit(self, make: Callable[[], Awaitable[Result]]) -> Answer[Result]:
        """Run what is awaited in the application's loop, in its turn; again where the application is overloaded."""

        async def run() -> Result:
            return await make()

        return self._loop.submit(run)
