"""StyleGAN2 of an operator's own file as it is served: latents to styles, styles to pictures, on torch."""

from pathlib import Path

import numpy as np
import torch

from prosopon.models.convert.stylegan2_pickle import StyleGanFileError, read_generator
from prosopon.models.faces.detections import Float32, RGBImages
from prosopon.models.generation.latents import Z_DIM
from prosopon.models.generation.mobile_stylegan import to_pixels
from prosopon.models.generation.stylegan2_network import mapping_of, synthesis_of
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.session import Compute


class StyleGan2Mapper:
    """The mapping network: z ``(N, 512)``, standard normal, to w ``(N, 512)``."""

    name = "stylegan2-mapper"
    preprocessing = 1

    def __init__(self, path: Path, compute: Compute, label: int | None = None) -> None:
        """label: the class whose faces a network with classes makes.

        Raises `StyleGanFileError`, or `DeviceError` where CUDA was asked for and is not to be had.
        """
        generator = read_generator(path)
        name = f"{self.name}-class-{label}" if generator.settings.get("c_dim") else self.name
        self.fingerprint = fingerprint(name, self.preprocessing, path)
        self._device = compute.torch_device()
        network, mean = mapping_of(generator, label)
        self._network = network.to(self._device)
        self.mean_w: Float32 = mean.numpy().astype(np.float32)
        """``(512,)``, as training averaged it."""
        if self.mean_w.shape != (Z_DIM,) or network.z_dim != Z_DIM:
            raise StyleGanFileError(f"latents must have {Z_DIM} numbers, in z and in w")

    @torch.inference_mode()
    def map(self, z: Float32) -> Float32:
        """z ``(N, 512)`` to w ``(N, 512)``, both float32."""
        w = self._network(torch.from_numpy(np.ascontiguousarray(z, np.float32)).to(self._device))
        return np.asarray(w.cpu().numpy(), np.float32)


class StyleGan2:
    """The synthesis network at the resolution that it was trained for."""

    name = "stylegan2-generator"
    preprocessing = 1

    def __init__(self, path: Path, compute: Compute) -> None:
        """Raises `StyleGanFileError`, or `DeviceError` where CUDA was asked for and is not to be had."""
        self.fingerprint = fingerprint(self.name, self.preprocessing, path)
        self._device = compute.torch_device()
        network = synthesis_of(read_generator(path))
        if self._device.type == "cuda":
            network.halve_precision()
        self._network = network.to(self._device)
        self.resolutions: tuple[int, ...] = (network.resolution,)
        self.layer_resolutions = tuple(4 << (style // 2) for style in range(network.styles))
        """As NVIDIA counts them, two styles to a resolution."""

    @torch.inference_mode()
    def synthesise(self, w: Float32) -> Float32:
        """w+ ``(N, styles, 512)`` to ``(N, 3, R, R)`` float32 RGB, about -1..1.

        Raises ValueError for another shape, or for numbers that are not finite.
        """
        if w.ndim != 3 or w.shape[1:] != (len(self.layer_resolutions), Z_DIM):
            raise ValueError(f"styles are (N, {len(self.layer_resolutions)}, {Z_DIM}), not {w.shape}")
        if not np.isfinite(w).all():
            raise ValueError("styles must be finite")
        images = self._network(torch.from_numpy(np.ascontiguousarray(w, np.float32)).to(self._device))
        return np.asarray(images.float().cpu().numpy(), np.float32)

    def generate(self, w: Float32, resolution: int) -> RGBImages:
        """As `synthesise`, to ``(N, R, R, 3)`` uint8 RGB at the only resolution that there is."""
        return to_pixels(self.synthesise(w))
