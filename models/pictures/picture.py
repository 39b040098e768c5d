"""A picture with what its file has besides colours, so that a changed one can be written as the same kind of file."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from prosopon.models.faces.detections import RGBImage

_PROFILE_SPACE = slice(16, 20)
"""Where an ICC profile names the space of its colours (ICC.1:2022, 7.2)."""


@dataclass(frozen=True, slots=True)
class Picture:
    """pixels: ``(H, W, 3)`` uint8 RGB, or ``(H, W, 4)`` with alpha, not multiplied by it. grey: whether the file has no
    colours. profile: its ICC profile, or nothing."""

    pixels: NDArray[np.uint8]
    grey: bool = False
    profile: bytes = b""

    @property
    def transparent(self) -> bool:
        return bool(self.pixels.shape[2] == 4)

    def over_white(self) -> RGBImage:
        """``(H, W, 3)`` uint8 RGB."""
        if not self.transparent:
            return self.pixels
        over = Image.new("RGBA", self.pixels.shape[1::-1], "white")
        over.alpha_composite(Image.fromarray(self.pixels))
        return np.array(over.convert("RGB"))

    def repainted(self, shown: RGBImage) -> "Picture":
        """The same kind of picture, which over white looks like `shown`; where that is as before, so are its pixels,
        and so is what cannot be seen."""
        if not self.transparent:
            return replace(self, pixels=shown)
        pixels = self.pixels.copy()
        changed = (shown != self.over_white()).any(axis=2) & (pixels[..., 3] > 0)
        alpha = pixels[changed, 3:] / 255
        pixels[changed, :3] = np.clip((shown[changed] - 255 * (1 - alpha)) / alpha, 0, 255).round()
        return replace(self, pixels=pixels)

    def encoded(self, suffix: str, options: list[int]) -> bytes:
        """A file's bytes. suffix: the format as OpenCV names it, ``.png``, ``.webp`` or ``.jpg``; options: OpenCV's.

        A JPEG shows what is transparent over white. Grey stays grey where the format has it, but not beside alpha. A
        profile is kept where it is of the file's kind of colours.
        """
        pixels = self.over_white() if suffix == ".jpg" else self.pixels
        grey = self.grey and suffix != ".webp" and pixels.shape[2] == 3
        if grey:
            stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        else:
            stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
        kept = self.profile[_PROFILE_SPACE] == (b"GRAY" if grey else b"RGB ")
        profiles = [np.frombuffer(self.profile, np.uint8)] if kept else []
        encoded, data = cv2.imencodeWithMetadata(
            suffix, stored, [int(cv2.IMAGE_METADATA_ICCP)] * kept, profiles, options
        )
        if not encoded:
            raise RuntimeError(f"a picture of {pixels.shape} could not be written as {suffix}")
        return bytes(data)
