"""MobileStyleGAN as it is served: latents to styles, styles to pictures, on ONNX Runtime.

torch is imported where weights are converted, or where the network runs on a card: a replica is ready a second sooner
without, and smaller.
"""

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from prosopon.models.convert.openvino_ir import read, to_onnx
from prosopon.models.faces.detections import Float32, RGBImages
from prosopon.models.generation.latents import Z_DIM
from prosopon.models.generation.mobile_stylegan_shape import LAYER_RESOLUTIONS, RESOLUTION, STYLES, W_DIM
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.plans import DEFAULT, Form, Plans, Precision
from prosopon.models.runtime.prepared import prepare
from prosopon.models.runtime.session import Compute, create_session, run

MEAN_SAMPLES = 8192


class MobileStyleGanMapper:
    """The mapping network: z ``(N, 512)``, standard normal, to w ``(N, 512)``."""

    name = "mobilestylegan-mapper"
    preprocessing = 1

    def __init__(self, xml: Path, weights: Path, compute: Compute) -> None:
        self.fingerprint = fingerprint(self.name, self.preprocessing, xml, weights)
        model = prepare([xml, weights], "onnx", 1, lambda: to_onnx(read(xml, weights), ("z",), ("w",)))
        self._session = create_session(model, compute)
        kept = prepare([xml, weights], f"mean{MEAN_SAMPLES}", 1, self._mean_as_bytes, ".npy")
        stream = io.BytesIO(kept if isinstance(kept, bytes) else kept.read_bytes())
        self.mean_w: Float32 = np.load(stream, allow_pickle=False)
        """``(512,)``: the mean w of `MEAN_SAMPLES` latents, towards which pictures are truncated."""

    def map(self, z: Float32) -> Float32:
        """z ``(N, 512)`` to w ``(N, 512)``, both float32."""
        if not len(z):
            return np.empty((0, W_DIM), np.float32)
        return run(self._session, np.ascontiguousarray(z, np.float32))[0]

    def truncate(self, w: Float32, psi: float) -> Float32:
        """w ``(..., 512)`` drawn towards the mean: psi 1 leaves it, psi 0 gives the mean face."""
        return (self.mean_w + np.float32(psi) * (w - self.mean_w)).astype(np.float32)

    def _mean_as_bytes(self) -> bytes:
        z = np.random.default_rng(0).standard_normal((MEAN_SAMPLES, Z_DIM), dtype=np.float32)
        stream = io.BytesIO()
        np.save(stream, self.map(z).mean(axis=0, dtype=np.float64).astype(np.float32), allow_pickle=False)
        return stream.getvalue()


def plans(xml: Path, weights: Path, resolution: int, name: str) -> Plans:
    """How the synthesis network can be run. In bfloat16 pictures differ less than by a JPEG of quality 95."""

    def converted() -> bytes:
        from prosopon.models.generation.mobile_stylegan_network import export_styled, load_synthesis

        return export_styled(load_synthesis(xml, weights, resolution))

    def whole() -> Path | bytes:
        return prepare([xml, weights], f"synthesis{resolution}", 1, converted)

    forms: dict[Precision, Form] = {"float32": whole, "bfloat16": whole}
    return Plans(f"{name}-{resolution}", forms, (1, STYLES, W_DIM), xml.parent, one_stream=True)


class MobileStyleGan:
    """The synthesis network at one resolution, 1024 or 512 pixels.

    512 px is what 1024 px averages to over 2x2 pixels, exactly: the network's last step is an inverse Haar
    transform, of which 512 px keeps the low band.
    """

    name = "mobilestylegan-generator"
    preprocessing = 1
    layer_resolutions = LAYER_RESOLUTIONS

    def __init__(self, xml: Path, weights: Path, compute: Compute, resolution: int = RESOLUTION) -> None:
        """Raises ValueError for another resolution, `models.convert.openvino_ir.IrError` for other files, `DeviceError`
        where CUDA was asked for and is not to be had."""
        self.resolution = resolution
        self.fingerprint = fingerprint(self.name, self.preprocessing, xml, weights)
        self._run: Callable[[Float32], Float32]
        self.plan = DEFAULT
        if compute.device == "cuda":
            from prosopon.models.generation.mobile_stylegan_network import load_synthesis, on_card

            self._run = on_card(load_synthesis(xml, weights, resolution), compute.torch_device())
            return

        self.plan, network = plans(xml, weights, resolution, self.fingerprint).open(compute)
        self._run = lambda w: network(w)[0]

    def synthesise(self, w: Float32) -> Float32:
        """w ``(N, 512)`` or w+ ``(N, 23, 512)`` to ``(N, 3, R, R)`` float32 RGB, about -1..1.

        Raises ValueError for another shape, or for numbers that are not finite.
        """
        return self._run(styles(w))

    def generate(self, w: Float32) -> RGBImages:
        """As `synthesise`, to ``(N, R, R, 3)`` uint8 RGB."""
        return to_pixels(self.synthesise(w))


class MobileStyleGanPyramid:
    """The synthesis network at both of its resolutions. Below 512 px it has no output of its own.

    512 px take up to a quarter less time than 1024 px; what could be had of the levels below is far from what shrinking
    gives (`python -m tests.benchmarks.pyramid`). OpenVINO keeps 0.9 GB for each network: where it runs them, 512 px are
    the means of 1024 px, so that half of the time does not take more memory than ONNX Runtime's two networks.
    """

    name = MobileStyleGan.name
    layer_resolutions = LAYER_RESOLUTIONS
    resolutions: tuple[int, ...] = (RESOLUTION // 2, RESOLUTION)

    def __init__(self, xml: Path, weights: Path, compute: Compute) -> None:
        """Raises `models.convert.openvino_ir.IrError` for other files."""
        half, whole = self.resolutions
        self._whole = MobileStyleGan(xml, weights, compute, whole)
        shares = self._whole.plan.startswith("openvino")
        self._half = None if shares else MobileStyleGan(xml, weights, compute, half)
        self.fingerprint = self._whole.fingerprint

    def generate(self, w: Float32, resolution: int) -> RGBImages:
        """w+ ``(N, 23, 512)`` to ``(N, R, R, 3)`` uint8 RGB, R 512 or 1024."""
        if resolution == RESOLUTION:
            return self._whole.generate(w)
        return self._half.generate(w) if self._half else to_pixels(means_of_four(self._whole.synthesise(w)))


def means_of_four(images: Float32) -> Float32:
    """``(N, 3, 2R, 2R)`` to ``(N, 3, R, R)``, both float32: the mean of each two by two pixels."""
    half = images.shape[-1] // 2
    shrunk = [
        [cv2.resize(plane, (half, half), interpolation=cv2.INTER_AREA) for plane in image] for image in images
    ]
    return np.array(shrunk, np.float32).reshape(-1, 3, half, half)


def styles(w: Float32) -> Float32:
    """w ``(N, 512)`` or w+ ``(N, 23, 512)`` as w+, checked."""
    if w.ndim == 2 and w.shape[1] == W_DIM:
        w = np.broadcast_to(w[:, None], (len(w), STYLES, W_DIM))
    if w.ndim != 3 or w.shape[1:] != (STYLES, W_DIM):
        raise ValueError(f"styles are (N, {W_DIM}) or (N, {STYLES}, {W_DIM}), not {w.shape}")
    if not np.isfinite(w).all():
        raise ValueError("styles must be finite")
    return np.ascontiguousarray(w, np.float32)


def to_pixels(images: Float32) -> RGBImages:
    """``(N, 3, H, W)`` in -1..1 to ``(N, H, W, 3)`` uint8."""
    levels = images * np.float32(127.5)
    levels += np.float32(128)
    np.clip(levels, 0, 255, out=levels)
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(0, 2, 3, 1))
