"""Whether a face is live or shown to the camera: our own small network, see `models/weights/LIVENESS.md`."""

from models.crops import CropSpec

CONTEXT = CropSpec(80, scale=2.7, square=False, inside=True)
"""The face and what is around it: MiniFASNet V2's crop."""

DETAIL = CropSpec(96, scale=1.2, inside=True)
"""The face alone, where a medium's texture shows."""
