"""Names for groups found without labels: the best one-to-one matching with the classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["best_matching", "matched_accuracy"]


def matched_accuracy(category: Tensor, label: Tensor) -> float:
    """Share of pairs that agree after the best one-to-one matching of categories with classes.

    A code that says nothing reaches the share of the most frequent class and a little luck.

    Args:
        category, label: (N,) int64, from 0.
    """
    rows, columns = int(category.max()) + 1, int(label.max()) + 1
    counts = torch.bincount(category * columns + label, minlength=rows * columns)
    return best_matching(counts.reshape(rows, columns).tolist()) / len(label)


def best_matching(gain: list[list[int]]) -> int:
    """The largest sum of entries of a table, at most one from each row and column.

    Kuhn's Hungarian method: rows enter one by one, each along the cheapest path of exchanges. A
    price on every row and column keeps the cost of each exchange, given the prices, at least 0.
    """
    if len(gain) > len(gain[0]):
        gain = [list(column) for column in zip(*gain, strict=True)]
    columns = len(gain[0])
    row_price, column_price = [0.0] * len(gain), [0.0] * columns
    owner = [-1] * columns  # the row that holds a column
    for newcomer in range(len(gain)):
        distance, came_from, seen = [math.inf] * columns, [-1] * columns, [False] * columns
        row, last, travelled = newcomer, -1, 0.0
        while row >= 0:  # to the nearest column that nobody holds, as Dijkstra finds it
            for j in range(columns):
                step = travelled - gain[row][j] - row_price[row] - column_price[j]
                if not seen[j] and step < distance[j]:
                    distance[j], came_from[j] = step, last
            last = min((j for j in range(columns) if not seen[j]), key=lambda j: distance[j])
            seen[last], travelled, row = True, distance[last], owner[last]
        row_price[newcomer] += travelled
        for j in range(columns):
            if seen[j] and owner[j] >= 0:
                row_price[owner[j]] += travelled - distance[j]
            if seen[j]:
                column_price[j] -= travelled - distance[j]
        while last >= 0:  # along the path, every row passes on to the next column
            owner[last] = owner[came_from[last]] if came_from[last] >= 0 else newcomer
            last = came_from[last]
    return sum(gain[row][j] for j, row in enumerate(owner) if row >= 0)
