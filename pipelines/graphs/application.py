"""What a running application consists of, for those who join it."""

from dataclasses import dataclass

from prosopon.configs.settings import Settings
from prosopon.pipelines.graphs.generation import GeneratorHandles
from prosopon.pipelines.graphs.recognition import RecognitionHandles
from prosopon.pipelines.graphs.swaps import SwapHandles


@dataclass(frozen=True, slots=True)
class Graphs:
    """The settings and the handles of the graphs that are served; None where no API needs one."""

    settings: Settings
    recognition: RecognitionHandles | None = None
    generation: GeneratorHandles | None = None
    swaps: SwapHandles | None = None
