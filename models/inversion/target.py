"""What an inversion is asked for and how long it may take; imports no network."""

from dataclasses import dataclass

from prosopon.models.faces.detections import Float32, RGBImage

VERSION = 3
"""Changes whenever the same picture may come to other styles."""
SIDE = 512
"""Of an aligned picture, in pixels."""


class NoFace(ValueError):
    """No face is seen in the picture. The message is fit for the client."""


@dataclass(frozen=True, slots=True)
class Target:
    """A face to find. chip: ``(512, 512, 3)`` uint8 RGB, aligned; landmarks: ``(5, 2)`` float32, in its pixels."""

    chip: RGBImage
    landmarks: Float32
    aligned: bool = True


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a refinement spends its time: at most `seconds` and `steps`, but at least `least_steps`.

    rate: Adam's at the beginning, in standard deviations; it falls to a tenth along a cosine. shares: up to which
    share of the steps pictures of which side are looked at, the cheapest first.
    """

    seconds: float = 30.0
    steps: int = 150
    least_steps: int = 20
    rate: float = 0.1
    shares: tuple[tuple[int, float], ...] = ((128, 0.5), (256, 0.88), (512, 1.0))

    def progress(self, step: int, seconds: float) -> float:
        """0 at the beginning, 1 at the end."""
        return max(step / self.steps, min(seconds / self.seconds, step / self.least_steps))
