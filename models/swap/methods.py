"""The methods of a swap: which of them makes which face of a picture, and what is done where a face fails."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from prosopon.configs.settings import ModelSettings, SwapSettings
from prosopon.models.faces.detections import RGBImage
from prosopon.models.load import load_regenerator, load_swapper, regenerates
from prosopon.models.runtime.session import Compute
from prosopon.models.swap.geometry import interocular
from prosopon.models.swap.types import FaceSwapper, NoSwap, OutOfTime, Replacement
from prosopon.models.swap.warp import WarpSwapper
from prosopon.models.weights.registry import UnknownModel

_SLOW = frozenset({"regenerate"})
"""Methods that make one face at a time, and take too long for many and for films."""
_WORTH = 24.0
"""Distance between the eyes in pixels, below which a face shows nothing that a generator could make better."""

Loaders = Mapping[str, Callable[[], FaceSwapper]]
Judge = Callable[[RGBImage, Replacement, RGBImage], tuple[float, str]]
"""Of the frame, a face of it that was replaced, and the result: the similarity to the new face, 0 to 1, and what is
wrong, fit for the client; empty where nothing is."""


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """method: what made the faces, each method once; similarity: the lowest of them."""

    picture: RGBImage
    method: str
    similarity: float


class Methods:
    """Each is loaded when it is first wanted. Thread-safe as far as the swappers are."""

    def __init__(self, loaders: Loaders, settings: SwapSettings, judge: Judge) -> None:
        """loaders: what loads each method, the preferred first. judge: by which results are accepted."""
        self.names = tuple(loaders)
        self._loaders, self._loaded = loaders, dict[str, FaceSwapper]()
        self._settings, self._judge = settings, judge
        self._loading = threading.Lock()

    @property
    def quick(self) -> FaceSwapper:
        """The preferred of those that are quick enough for films."""
        return self._swapper(next(name for name in self.names if name not in _SLOW))

    def make(
        self,
        frame: RGBImage,
        replacements: Sequence[Replacement],
        names: Sequence[str],
        hurried: Callable[[], bool],
    ) -> Made:
        """Each face by the first of the methods whose result passes.

        names: of the faces that are put in; hurried: as of `FaceSwap.swap`. Raises `NoSwap` where one passes by none.
        """
        slow, result = self._slow(replacements, hurried), frame
        waiting, made, faults = (
            list(range(len(replacements))),
            dict[int, tuple[str, float]](),
            dict[int, str](),
        )
        for name in self.names:
            for group in _groups(name, waiting, slow):
                swapper = self._swapper(name)
                try:
                    tried = swapper.swap(result, [replacements[number] for number in group])
                except OutOfTime:
                    faults |= dict.fromkeys(group, "it could not be made in time")
                    continue
                judged = {number: self._judge(frame, replacements[number], tried) for number in group}
                passed = [number for number in group if not judged[number][1]]
                if passed and len(passed) < len(group):
                    tried = swapper.swap(result, [replacements[number] for number in passed])
                if passed:
                    result = tried
                made |= {number: (swapper.name, judged[number][0]) for number in passed}
                faults |= {number: fault for number, (_, fault) in judged.items()}
            waiting = [number for number in waiting if number not in made]
        if waiting:
            raise NoSwap("; ".join(f"{names[number]}: {faults[number]}" for number in waiting))
        by = dict.fromkeys(made[number][0] for number in range(len(replacements)))
        return Made(result, " and ".join(by), min(similarity for _, similarity in made.values()))

    def _slow(self, replacements: Sequence[Replacement], hurried: Callable[[], bool]) -> frozenset[int]:
        """Which faces the slow methods may make. Who waits is counted only where there is something to leave out."""
        if _SLOW.isdisjoint(self.names):
            return frozenset()
        best = self._settings.method == "best"
        worth = [
            number
            for number, replacement in enumerate(replacements)
            if not best or interocular(replacement.target.dense) >= _WORTH
        ]
        if not worth or len(worth) > self._settings.most_regenerated or (best and hurried()):
            return frozenset()
        return frozenset(worth)

    def _swapper(self, name: str) -> FaceSwapper:
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = self._loaders[name]()
            return self._loaded[name]


def _groups(name: str, waiting: Sequence[int], slow: frozenset[int]) -> Sequence[Sequence[int]]:
    """Which of the faces that wait for a method it makes, and which of them together."""
    if name in _SLOW:
        return [[number] for number in waiting if number in slow]
    return [waiting] if waiting else []


def loaders(models: ModelSettings, settings: SwapSettings, compute: Compute) -> Loaders:
    """What `swap.method` stands for, and what else is tried. Raises `UnknownModel` where the role swapper has another
    network."""
    wanted = settings.method
    quick: dict[str, Callable[[], FaceSwapper]] = {"warp": WarpSwapper}
    if wanted in ("best", "inswapper"):
        swapper = load_swapper(models, compute)
        if not isinstance(swapper, WarpSwapper):
            wanted, quick = "inswapper", {"inswapper": lambda: swapper}
        elif wanted == "inswapper":
            raise UnknownModel(
                "swap.method inswapper: set models.overrides.swapper or a pack of InsightFace's"
            )
    searching = replace(compute, threads=max(settings.threads, compute.threads))
    slow: dict[str, Callable[[], FaceSwapper]] = {
        "regenerate": lambda: load_regenerator(models, searching, settings.seconds)
    }
    if wanted == "regenerate" or (wanted == "best" and regenerates(models)):
        return {**slow, **quick}
    return {**quick, **slow} if settings.retry and regenerates(models) else quick
