"""A mapper and a generator as one: mixtures of latents to pictures of faces."""

from collections.abc import Sequence

import numpy as np

from prosopon.models.faces.detections import Float32, RGBImage
from prosopon.models.generation.latents import Latent, LatentError, Mixture, in_z, sum_in_z
from prosopon.models.pictures.encoding import resized
from prosopon.models.roles import FaceGenerator, LatentMapper
from prosopon.models.runtime.fingerprint import combined


class Faces:
    """Latents to faces.

    psi, truncated_pixels: styles of layers up to this resolution are drawn towards the mean by psi, as StyleGAN
    does (Karras et al. 2019, appendix B: psi 0.7 up to 32 pixels). What is in w+ already is taken as it is.

    batch: pictures that the network makes at once, always: a shorter batch is filled up, because a picture's last bits
    depend on how large its batch is, and the same request must give the same bytes.
    """

    def __init__(
        self,
        mapper: LatentMapper,
        generator: FaceGenerator,
        psi: float,
        truncated_pixels: int,
        batch: int = 1,
    ) -> None:
        self._mapper, self._generator, self._batch = mapper, generator, batch
        resolutions = np.array(generator.layer_resolutions)
        self._psi = np.where(resolutions <= truncated_pixels, psi, 1.0).astype(np.float32)[:, None]
        self.layers = len(resolutions)
        self.name = generator.name
        self.generator_fingerprint = generator.fingerprint
        self.fingerprint = combined(
            mapper.fingerprint, generator.fingerprint, f"psi-{psi:g}-{truncated_pixels}"
        )

    def styles(self, mixture: Mixture) -> Float32:
        """w+ ``(layers, 512)`` float32. Raises `LatentError` where a latent is for a generator of other layers."""
        for part in mixture:
            if part.latent.layers not in (0, self.layers):
                raise LatentError(
                    f"the latent has {part.latent.layers} layers and the generator in service {self.layers}"
                )
        if in_z(mixture):
            return self._mapped(sum_in_z(mixture))
        total = np.zeros((self.layers, mixture[0].latent.numbers.shape[-1]), np.float64)
        for part in mixture:
            total += part.amount * self._in_w(part.latent)
        return total.astype(np.float32)

    def pictures(self, wanted: Sequence[tuple[Mixture, int]]) -> list[RGBImage]:
        """For each mixture and side in pixels one ``(dim, dim, 3)`` uint8 RGB. Raises `LatentError`.

        It is shrunk from the smallest picture that the network makes and that is not smaller itself.
        """
        made: dict[int, RGBImage] = {}
        for resolution in self._generator.resolutions:
            chosen = [number for number, (_, dim) in enumerate(wanted) if self._enough(dim) == resolution]
            for start in range(0, len(chosen), self._batch):
                batch = chosen[start : start + self._batch]
                styles = [self.styles(wanted[number][0]) for number in batch]
                styles += styles[-1:] * (self._batch - len(batch))
                pictures = self._generator.generate(np.stack(styles), resolution)
                for number, picture in zip(batch, pictures, strict=False):
                    made[number] = resized(picture, wanted[number][1])
        return [made[number] for number in range(len(wanted))]

    def _enough(self, dim: int) -> int:
        resolutions = self._generator.resolutions
        return next((resolution for resolution in resolutions if resolution >= dim), resolutions[-1])

    def _in_w(self, latent: Latent) -> Float32:
        return latent.numbers.astype(np.float32) if latent.layers else self._mapped(latent.numbers)

    def _mapped(self, z: np.ndarray) -> Float32:
        mean = self._mapper.mean_w
        w = self._mapper.map(z.astype(np.float32)[None])[0]
        styles: Float32 = mean + self._psi * (w - mean)
        return styles
