"""What a running application consists of, for those who join it."""

from dataclasses import dataclass

from configs.settings import Settings
from pipelines.generation import GeneratorHandles
from pipelines.recognition import RecognitionHandles
from pipelines.swaps import SwapHandles


@dataclass(frozen=True, slots=True)
class Graphs:
    """The settings and the handles of the graphs that are served; None where no API needs one."""

    settings: Settings
    recognition: RecognitionHandles | None = None
    generation: GeneratorHandles | None = None
    swaps: SwapHandles | None = None
