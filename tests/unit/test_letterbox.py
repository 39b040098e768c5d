"""Fitting pictures into a detector's input."""

import numpy as np
import pytest

from prosopon.models.pictures.letterbox import STRIDE, batches, fit, place, shrink


@pytest.mark.parametrize(
    "shape", [(480, 640), (481, 641), (3023, 4031), (10, 5000), (5000, 10), (1, 1), (1281, 700)]
)
def test_the_longer_side_fits_and_nothing_is_enlarged(shape: tuple[int, int]) -> None:
    picture = np.zeros((*shape, 3), np.uint8)
    fitted = fit(picture, 640)
    assert max(fitted.width, fitted.height) == min(640, max(shape))
    assert shrink(picture, fitted).shape == (fitted.height, fitted.width, 3)
    canvas = place(picture, fitted)
    assert canvas.shape == (*fitted.padded, 3)
    assert all(side % STRIDE == 0 for side in fitted.padded)


@pytest.mark.parametrize("shape", [(700, 900), (1500, 2003), (3023, 4031)])
def test_a_point_is_where_the_scale_says(shape: tuple[int, int]) -> None:
    picture = np.zeros((*shape, 3), np.uint8)
    y, x = int(shape[0] * 0.7), int(shape[1] * 0.8)
    picture[y - 20 : y + 20, x - 20 : x + 20] = 255
    fitted = fit(picture, 640)
    weights = shrink(picture, fitted)[..., 0].astype(float)
    rows, columns = np.indices(weights.shape) + 0.5
    total = weights.sum()
    assert (columns * weights).sum() / total / fitted.scale_x == pytest.approx(x, abs=0.5)
    assert (rows * weights).sum() / total / fitted.scale_y == pytest.approx(y, abs=0.5)


def test_fine_stripes_become_grey() -> None:
    picture = np.zeros((2400, 3200, 3), np.uint8)
    picture[:, ::2] = 255
    assert np.abs(shrink(picture, fit(picture, 640)).astype(int) - 127).max() <= 1


def test_pictures_of_one_shape_share_a_batch_in_either_order_of_channels() -> None:
    pictures = [np.full((480, 640, 3), (10, 20, 30), np.uint8), np.zeros((100, 90, 3), np.uint8)]
    pictures.append(pictures[0])
    for bgr, first in ((False, 10), (True, 30)):
        found = {tuple(positions): batch for positions, _, batch in batches(pictures, 640, bgr)}
        assert found.keys() == {(0, 2), (1,)}
        assert found[0, 2].shape == (2, 3, 480, 640) and found[0, 2].dtype == np.float32
        assert (found[0, 2][:, 0] == first).all() and (found[0, 2][:, 1] == 20).all()
        assert found[(1,)].shape == (1, 3, 128, 96)
