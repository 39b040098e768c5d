"""Greedy non-maximum suppression, shared by the detectors."""

import cv2
import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32

MAX_CANDIDATES = 1000
"""Only so many candidates, the best, are compared: a threshold of 0 passes every cell of the map."""


def suppress(boxes: Float32, scores: Float32, threshold: float) -> NDArray[np.intp]:
    """Positions of the boxes that no better box overlaps by more than `threshold` (IoU), best first.

    boxes: ``(N, 4)`` x1 y1 x2 y2; scores: ``(N,)``.
    """
    best = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    if len(best) < 2:
        return best
    corner, size = boxes[best, :2], boxes[best, 2:] - boxes[best, :2]
    # Scores only order the boxes here, and the order is made already: ranks cannot tie or reach the
    # threshold.
    ranks = np.arange(len(best), 0, -1, dtype=np.float32)
    kept = cv2.dnn.NMSBoxes(np.hstack([corner, size]).tolist(), ranks.tolist(), 0.0, threshold)
    return best[np.asarray(kept, np.intp).reshape(-1)]
