"""Filters over small float rasters that the steps of a swap share."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32


def blur(image: Float32, sigma: float) -> Float32:
    """Gaussian blur. A wide one is made on a smaller raster: nothing finer than sigma is left to lose."""
    if sigma < 0.3:
        return image
    if image.ndim == 3 and image.shape[2] > 4:  # OpenCV resizes up to four channels.
        return np.concatenate([blur(image[..., :4], sigma), blur(image[..., 4:], sigma)], axis=2)
    factor = int(sigma / 3)
    if factor < 2:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)
    height, width = image.shape[:2]
    size = (max(1, width // factor), max(1, height // factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * size[0] / width, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def weighted_blur(image: Float32, weights: Float32, sigma: float, floor: float = 1e-4) -> Float32:
    """Normalised convolution (Knutsson & Westin 1993): the local mean of ``(H, W, C)`` under weights ``(H, W)``.

    floor: the weight of zero that is mixed in everywhere, so that the mean fades where no weight is near.
    """
    total = np.maximum(blur(weights, sigma), 0) + np.float32(floor)
    return blur(image * weights[..., None], sigma) / total[..., None]


def spread(image: Float32, weights: Float32, sigma: float) -> Float32:
    """The local mean under weights, from farther and farther away where nothing near has any."""
    height, width = weights.shape
    factor = max(1, int(sigma / 3))
    size = (max(1, width // factor), max(1, height // factor))
    if float(weights.sum()) < 1e-3:
        weights = np.ones_like(weights)
    weighted = cv2.resize(image * weights[..., None], size, interpolation=cv2.INTER_AREA)
    small = np.asarray(cv2.resize(weights, size, interpolation=cv2.INTER_AREA), np.float32)
    sigma *= size[0] / width
    result = np.asarray(np.broadcast_to(weighted.sum(axis=(0, 1)) / small.sum(), weighted.shape), np.float32)
    for scale, prior in ((4.0, 0.002), (2.0, 0.02), (1.0, 0.05)):
        near = np.maximum(blur(small, sigma * scale), 0)[..., None]
        result = np.asarray((blur(weighted, sigma * scale) + prior * result) / (near + prior), np.float32)
    return np.asarray(cv2.resize(result, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def gray(picture: Float32) -> Float32:
    """``(H, W)``: the luma of ``(H, W, 3)`` RGB (ITU-R BT.601)."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float32)


def guided(guide: Float32, signal: Float32, radius: int, epsilon: float) -> Float32:
    """The guided filter (He et al. 2010) with a guide of one channel: edges of the guide stay sharp."""

    def mean(raster: Float32) -> Float32:
        return np.asarray(cv2.blur(raster, (2 * radius + 1, 2 * radius + 1)), np.float32)

    mean_guide, mean_signal = mean(guide), mean(signal)
    slope = (mean(guide * signal) - mean_guide * mean_signal) / (
        mean(guide * guide) - mean_guide**2 + epsilon
    )
    return mean(slope) * guide + mean(mean_signal - slope * mean_guide)


def disc(radius: float) -> NDArray[np.uint8]:
    """What to dilate by to grow by so many pixels."""
    size = 2 * round(radius) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def smoothstep(low: float, high: float, value: NDArray[np.floating[Any]] | float) -> Float32:
    """0 below low, 1 above high, smooth between; falls where high is below low."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
