"""Presentation attack detection: MiniFASNet V2 and V1SE of Silent-Face-Anti-Spoofing (Minivision 2020)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from prosopon.models.faces.detections import Float32
from prosopon.models.pictures.crops import CropSpec
from prosopon.models.roles import Chips
from prosopon.models.runtime.fingerprint import fingerprint
from prosopon.models.runtime.prepared import prepare
from prosopon.models.runtime.session import Compute, create_session, run

SIZE = 80
LIVE = 1
"""The class of a live face; 0 and 2 are kinds of attack."""


def live_probability(logits: Iterable[Float32]) -> Float32:
    """The mean over the networks of the softmax of the live class.

    logits: ``(N, 3)`` float32 each; returns ``(N,)`` float32.
    """
    probabilities = []
    for batch in logits:
        powers = np.exp(batch - batch.max(axis=1, keepdims=True))
        probabilities.append(powers[:, LIVE] / powers.sum(axis=1))
    return np.asarray(np.mean(probabilities, axis=0), np.float32)


class MiniFASNetEnsemble:
    """V2 on a close crop and V1SE on a wide one; the answer is the mean of both.

    v2, v1se: the published ``.pth`` files, exported to ONNX once and kept beside them, or ONNX files.
    """

    # The networks learned from crops of the box's own shape that lie in the picture (`AffineCrop` in the
    # original's generate_patches.py): with black borders they take a live face for an attack.
    crops: tuple[CropSpec, ...] = (
        CropSpec(SIZE, scale=2.7, square=False, inside=True),
        CropSpec(SIZE, scale=4.0, square=False, inside=True),
    )
    preprocessing = 1

    def __init__(self, v2: Path, v1se: Path, compute: Compute) -> None:
        self.name = "minifasnet"
        self.fingerprint = fingerprint(self.name, self.preprocessing, v2, v1se)
        self._sessions = [
            create_session(_onnx_form(v2, "V2"), compute),
            create_session(_onnx_form(v1se, "V1SE"), compute),
        ]

    def score(self, chips: Sequence[Chips]) -> Float32:
        """``(N,)`` float32, probability that the face is live.

        chips: for each of `crops` a batch ``(N, 80, 80, 3)`` uint8 RGB of the same faces.
        """
        if not len(chips[0]):
            return np.empty(0, np.float32)
        return live_probability(
            run(session, network_input(batch))[0]
            for session, batch in zip(self._sessions, chips, strict=True)
        )


def network_input(chips: Chips) -> Float32:
    """``(N, 80, 80, 3)`` uint8 RGB to ``(N, 3, 80, 80)`` float32 BGR, 0..255.

    The networks learned without scaling: the division by 255 is commented out in the original's `to_tensor`.
    """
    return np.ascontiguousarray(chips[..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32)


def export(pth: Path, architecture: Literal["V2", "V1SE"]) -> bytes:
    """ONNX of a published file, see `models.convert.minifasnet_network`."""
    # torch is slow to import and large: a replica that finds the prepared form does without it.
    from prosopon.models.convert import minifasnet_network as network

    return network.to_onnx(network.load_network(pth, network.ARCHITECTURES[architecture]))


def _onnx_form(path: Path, architecture: Literal["V2", "V1SE"]) -> Path | bytes:
    if path.suffix == ".onnx":
        return path
    return prepare([path], "minifasnet", 1, lambda: export(path, architecture))
