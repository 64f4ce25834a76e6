# Generated from exercises/05_gan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(certified):
    import math

    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    p_data, p_g = numbers([0.4, 0.2, 0.1, 0.3, 0.0]), numbers([0.1, 0.1, 0.2, 0.2, 0.4])
    answer = None
    if callable(certified):
        answer = certified(p_data, p_g, torch.tensor([0, 0, 1, 1, 2]))
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2 and ... not in answer
    assert usable, "`certified` does not return two numbers yet: the bound and what it misses."
    bound, missed = (float(part) for part in answer)

    def near(value, right):
        return abs(value - right) < 1e-6

    why = None
    if math.isnan(bound) or math.isnan(missed):
        why = "The answer is not a number: where one of the two never comes, 0 log 0 counts as 0."
    elif not near(bound, 0.19095425):
        why = f"The bound is {bound:.6f}, which is not the best for a critic of the feature."
        if near(bound, 0.20883941):
            why = "This is the JSD of the states, which needs a critic that is free at each x."
        elif near(bound, -1.00438586):
            why = "This looks like the score V: the bound of the JSD is another number."
        elif near(bound, 0.38190850):
            why = "This is twice the bound: V is about twice the JSD, apart from log 4."
        elif near(bound, 0.27548875):
            why = "This is the bound in bits: use natural logarithms."
        elif near(bound, 0.18977538):
            why = "This critic averages D* over a feature's states as if they came equally often."
    elif not near(missed, 0.01788516):
        why = "The bound is right and what it misses is not: compare it with the JSD of the states."
        if near(missed, -0.01788516):
            why = "The second number should not be negative: the bound lies below the JSD."
        elif near(missed, 0.03577031):
            why = "The second number is a gap between scores V; the question asks for one in JSD."
        elif near(missed, 0.20883941):
            why = "The second number is the JSD itself: what part of it does the bound not show?"
    assert why is None, why
