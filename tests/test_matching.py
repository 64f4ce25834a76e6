"""The matching of groups with classes against scipy's, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from unigen_edu.matching import best_matching, matched_accuracy


@pytest.mark.parametrize("largest", [2, 10, 1000])  # many ties, some, none
@pytest.mark.parametrize("seed", range(10))
def test_the_matching_is_as_good_as_scipys(seed, largest):
    rng = np.random.default_rng(seed)
    gain = rng.integers(0, largest, rng.integers(1, 13, 2))
    rows, columns = linear_sum_assignment(gain, maximize=True)
    assert best_matching(gain.tolist()) == gain[rows, columns].sum()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("categories", "classes"), [(5, 5), (3, 6), (6, 3), (1, 4), (25, 25)])
def test_the_matching_is_the_optimal_one(seed, categories, classes):
    g = torch.Generator().manual_seed(seed)
    category = torch.randint(categories, (60,), generator=g)
    label = torch.randint(classes, (60,), generator=g)
    counts = torch.zeros(categories, classes)
    counts.index_put_((category, label), torch.ones(60), accumulate=True)
    rows, columns = linear_sum_assignment(counts.numpy(), maximize=True)
    expected = counts[rows, columns].sum().item() / 60
    assert matched_accuracy(category, label) == pytest.approx(expected)


def test_the_matching_by_hand():
    label = torch.tensor([0, 0, 1, 1, 2, 2])
    assert matched_accuracy((label + 1) % 3, label) == 1.0  # other names, same partition
    # Greedy would give category 0 to class 0 (3 of 3) and lose both others.
    category = torch.tensor([0, 0, 0, 0, 0, 1, 1])
    label = torch.tensor([0, 0, 0, 1, 1, 0, 0])
    assert matched_accuracy(category, label) == pytest.approx(4 / 7)
    assert matched_accuracy(torch.zeros(4, dtype=torch.int64), torch.tensor([0, 1, 1, 1])) == 0.75
