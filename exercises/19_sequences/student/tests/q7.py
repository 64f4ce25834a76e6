# Generated from exercises/19_sequences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(noise):
    import math

    import torch

    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    c = torch.tensor([2.0, 0.5, 1.2], dtype=torch.float64)
    s = torch.eye(3, dtype=torch.float64) - p
    found = noise(p, c, s, 3) if callable(noise) else None
    if isinstance(found, torch.Tensor) and found.numel() == 1:
        found = float(found)
    usable = isinstance(found, (int, float)) and math.isfinite(found)
    assert usable, "`noise` does not return a number yet."

    def near(value):
        return abs(found - value) < 1e-6

    why = None
    if not near(0.10460867):
        why = "For three draws in this small world the variance is another number."
        if near(0.03245600):
            why = "You compute as if the mean cost were known, but it is estimated with noise."
        elif near(0.31166067):
            why = "This is the variance without a baseline, of the mean of n draws."
        elif near(0.07698233):
            why = "With baselines from another batch, yes, but here two draws serve each other."
        elif near(0.23094700):
            why = "This is the variance of a single draw's term: G is a mean of n of them."
        elif near(0.27036667):
            why = "This is the second moment of G: the square of its mean has to go."
        elif near(0.04649274):
            why = "Here the own draw is in its baseline, which makes the step shorter and biased."
    assert why is None, why
