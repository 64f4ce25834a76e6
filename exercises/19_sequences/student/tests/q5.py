# Generated from exercises/19_sequences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(worth):
    import math

    import torch

    percent = [1, 1, 1, 1, 1, 1, 4, 1, 22, 1, 3, 1, 11, 23, 3, 25]
    p = torch.tensor(percent, dtype=torch.float64).reshape(2, 2, 2, 2) / 100
    found = worth(p, 1) if callable(worth) else None
    if isinstance(found, torch.Tensor) and found.numel() == 1:
        found = float(found)
    usable = isinstance(found, (int, float)) and math.isfinite(found)
    assert usable, "`worth` does not return a number yet."

    def near(value):
        return abs(found - value) < 1e-6

    why = None
    if not near(1.23711964):
        why = "In this world of four words and m = 1 another beta is the largest."
        if near(1.0):
            why = "This is a decoder that remembers everything, and yours sees one word back."
        elif near(1.28784669):
            why = "This decoder sees its code alone, and yours sees the m words before too."
        elif near(1.11358518):
            why = "A code that ends before the sentence is cheaper, and helps with later words too."
        elif near(0.86719846):
            why = "You pay for the code by a uniform prior, but the prior is the code's own law."
        elif near(1.16274312):
            why = "This beta belongs to only one of the codes: are the others given up earlier?"
        elif near(0.80832926):
            why = "Your fraction looks upside down: what is saved for each nat that is paid?"
        elif found < 1:
            why = "Below beta = 1 the whole sentence as a code pays even for a perfect memory."
    assert why is None, why
