"""The models of faces that one replica runs: loaded by the declarations of their roles, each network run once."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from prosopon.configs.settings import ModelSettings
from prosopon.deployments.serving.batching import StageMetrics
from prosopon.deployments.serving.messages import FaceChips, Timed
from prosopon.models.faces.attributes.declaration import FaceModel, FaceRole, ModelCard
from prosopon.models.load import Source, find
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips
from prosopon.models.runtime.session import Compute

Item = TypeVar("Item")
Result = TypeVar("Result")


class Each(Protocol):
    """Calls a function with every item, one after the other or side by side, and gives the results in order."""

    def __call__(self, function: Callable[[Item], Result], items: list[Item], /) -> Iterable[Result]: ...


class FaceModels:
    """The models of some roles. Where one network serves several of them, it is loaded and run once."""

    def __init__(self, roles: Iterable[FaceRole[Any]], models: ModelSettings, compute: Compute) -> None:
        """Raises what `models.load.find` raises."""
        networks: dict[Source[Any], Any] = {}
        self._models: dict[str, FaceModel] = {}
        self._stages: dict[str, StageMetrics] = {}
        for role in roles:
            source = find(models, role)
            if source not in networks:
                networks[source] = source.open(compute)
            self._models[role.name] = role.serve(networks[source])
            self._stages[role.name] = StageMetrics(role.stage or role.name)

    def warm_up(self) -> None:
        """The first run allocates: it is not a client's."""
        for model in self._models.values():
            model.read(
                model.run(*(np.zeros((1, crop.size, crop.size, 3), np.uint8) for crop in model.card.crops))
            )

    @property
    def cards(self) -> dict[str, ModelCard]:
        """Role -> card."""
        return {role: model.card for role, model in self._models.items()}

    def crops(self, roles: Iterable[str]) -> list[CropSpec]:
        """What those of the roles that are here want to see."""
        return [crop for role in roles if role in self._models for crop in self._models[role].card.crops]

    def run(
        self, requests: Sequence[tuple[frozenset[str], FaceChips]], each: Each = map
    ) -> list[dict[str, Timed[Any]]]:
        """For each request, which has at least one face, the results of the roles that it asks for."""
        asked = {role for roles, _ in requests for role in roles}
        together: dict[Callable[..., Any], list[str]] = {}
        for role in sorted(asked):
            together.setdefault(self._models[role].run, []).append(role)
        answers: list[dict[str, Timed[Any]]] = [{} for _ in requests]
        groups = list(together.values())
        for found in each(lambda roles: self._run_network(roles, requests), groups):
            for position, role, result in found:
                answers[position][role] = result
        return answers

    def _run_network(
        self, roles: list[str], requests: Sequence[tuple[frozenset[str], FaceChips]]
    ) -> list[tuple[int, str, Timed[Any]]]:
        """The chips of several requests, stacked for one run, and the results dealt out."""
        started = time.perf_counter()
        positions = [place for place, (asked, _) in enumerate(requests) if asked.intersection(roles)]
        model = self._models[roles[0]]
        stacked = [_stack([requests[place][1][crop] for place in positions]) for crop in model.card.crops]
        outputs = model.run(*stacked)
        counts = [len(requests[place][1][model.card.crops[0]]) for place in positions]
        ends = np.cumsum(counts)
        ran = time.perf_counter() - started
        dealt: list[tuple[int, str, Timed[Any]]] = []
        for role in roles:
            started = time.perf_counter()
            results = self._models[role].read(outputs)
            seconds = ran + time.perf_counter() - started
            self._stages[role].observe(seconds, len(positions))
            for place, count, end in zip(positions, counts, ends, strict=True):
                if role in requests[place][0]:
                    value = Timed(results[end - count : end], seconds * 1000 / max(1, int(ends[-1])))
                    dealt.append((place, role, value))
        return dealt


def _stack(batches: list[Chips]) -> Chips:
    return batches[0] if len(batches) == 1 else np.concatenate(batches)
