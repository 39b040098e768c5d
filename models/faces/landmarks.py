"""What points of a face are called: iBUG's 68 in the order of the 300-W challenge, and the five of a detector.

How many points a predictor gives says which they are: 68 are iBUG's, 98 WFLW's, 106 InsightFace's, 468 MediaPipe's.
"""

import numpy as np
from numpy.typing import NDArray

from prosopon.models.faces.detections import Float32

IBUG, INSIGHTFACE, MESH = 68, 106, 468

# iBUG's points on MediaPipe's mesh: one vertex or, where a point lies between two, both. Contours are those that both
# have (the jaw from ear to ear is the mesh's oval; a brow is the middle between its edges; lids, nostrils, lips); of a
# contour's vertices those were taken that lie nearest to dlib's points, in the median of 200 portraits of `faker`, left
# and right together. Jaw points are of the head, not of its outline: on a turned face those of the far side lie where
# the jaw is, hidden or not.
MESH_OF_IBUG: tuple[tuple[int, ...], ...] = (
    # 0-16: the jaw, from the viewer's left, over the chin.
    (127,), (234,), (93, 132), (132, 58), (172,), (136,), (149,), (148, 176),
    (152,),
    (377, 400), (378,), (365,), (397,), (361, 288), (323, 361), (454,), (356,),
    # 17-26: the brows.
    (70, 46), (63, 53), (105, 52), (66, 65), (107, 55),
    (336, 285), (296, 295), (334, 282), (293, 283), (300, 276),
    # 27-35: the bridge of the nose, its tip (30), and under it. Vertex 4 is the tip of the mesh, which is farther out
    # than people and dlib mark it.
    (168,), (197,), (5,), (5, 94),
    (240,), (97,), (2,), (326,), (460,),
    # 36-47: the lids.
    (33,), (159, 160), (158,), (133,), (153,), (144,),
    (362,), (385,), (386, 387), (263,), (373,), (380,),
    # 48-59: the lips' outer edge.
    (61,), (39,), (37,), (0,), (267,), (269,), (291,),
    (405,), (314,), (17,), (84,), (181,),
    # 60-67: their inner edge.
    (78,), (82,), (13,), (312,), (308,),
    (317,), (14,), (87,),
)  # fmt: skip

_FIRST: NDArray[np.intp] = np.array([vertices[0] for vertices in MESH_OF_IBUG])
_LAST: NDArray[np.intp] = np.array([vertices[-1] for vertices in MESH_OF_IBUG])


def has_ibug(count: int | None) -> bool:
    """Whether iBUG's 68 points can be told from so many."""
    return count in (IBUG, MESH)


def ibug(points: Float32, axes: int = 2) -> Float32:
    """iBUG's points ``(..., 68, axes)`` of a face's points ``(..., 68, D)`` or ``(..., 468, D)``, x and y first.

    Raises ValueError for another number of points.
    """
    count = points.shape[-2]
    if count == MESH:
        return (points[..., _FIRST, :axes] + points[..., _LAST, :axes]) / np.float32(2)
    if count == IBUG:
        return np.ascontiguousarray(points[..., :axes])
    raise ValueError(f"iBUG's {IBUG} landmarks cannot be told from {count} points")


def five_points(landmarks: Float32) -> Float32:
    """``(..., 68, 2)`` iBUG points to the ``(..., 5, 2)`` of `Detections.landmarks`."""
    left_eye = landmarks[..., 36:42, :].mean(axis=-2)
    right_eye = landmarks[..., 42:48, :].mean(axis=-2)
    nose, left_mouth, right_mouth = (landmarks[..., index, :] for index in (30, 48, 54))
    return np.stack([left_eye, right_eye, nose, left_mouth, right_mouth], axis=-2)
