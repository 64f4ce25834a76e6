"""The known maps between domains are what they say, pixel by pixel."""

from __future__ import annotations

import pytest
import torch

from unigen_edu import data
from unigen_edu.errors import UnigenError
from unigen_edu.transforms import SHEAR, TRANSFORMS, coloured, grey_to_rgb, inverted, slanted


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return data.load("mnist-mini", "test").x[:64]


def test_inverting_twice_changes_nothing(digits):
    assert torch.equal(inverted(inverted(digits)), digits)
    assert inverted(digits).max() == 255 - digits.min()


def test_a_slanted_upright_stroke_leans_to_the_right_by_the_shear():
    x = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    x[..., 13:15] = 255  # a vertical bar in the middle
    moved = slanted(x)[0, 0].double()
    columns = torch.arange(28, dtype=torch.float64)
    centre = (moved * columns).sum(1) / moved.sum(1)
    rows = torch.arange(28, dtype=torch.float64)
    # Row 0 is the top: there the bar must have moved to the right, at the bottom to the left.
    wanted = 13.5 - SHEAR * (rows - 13.5)
    assert (centre - wanted).abs().max() < 0.05
    assert (moved.sum(1) - 2 * 255).abs().max() <= 2  # bilinear: no ink is made or lost


def test_slanting_keeps_nearly_all_ink(digits):
    kept = slanted(digits).double().sum() / digits.double().sum()
    assert 0.97 < kept <= 1.001


def test_the_ground_of_a_coloured_digit_shows_where_the_image_is_black(digits):
    black = torch.zeros_like(digits)
    ground = coloured(black, seed=3).int()
    found = coloured(digits, seed=3).int()
    assert found.shape == (64, 3, 28, 28)
    assert ((ground - digits.int()).abs() - found).abs().max() <= 1  # rounding
    where = (digits == 0).expand(-1, 3, -1, -1)
    assert torch.equal(found[where], ground[where])
    assert not torch.equal(ground[0], ground[1])
    assert not torch.equal(coloured(digits, seed=4).int(), found)


def test_colours_pass_and_grey_becomes_three_equal_channels(digits):
    rgb = grey_to_rgb(digits)
    assert torch.equal(rgb[:, 0], digits[:, 0])
    assert torch.equal(rgb[:, 0], rgb[:, 2])
    assert grey_to_rgb(rgb) is rgb
    with pytest.raises(UnigenError, match="have 3 channels: choose a grey data set"):
        coloured(rgb)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_keeps_labels_and_leaves_its_input_alone(name):
    base = data.load("mnist-mini", "test")
    before = base.x.clone()
    found = data.load(f"mnist-mini/{name}", "test")
    assert torch.equal(found.labels, base.labels)
    assert torch.equal(base.x, before)
    assert found.name == f"mnist-mini/{name}"
    assert len(found) == len(base)
