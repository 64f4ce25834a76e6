# Generated from exercises/01_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 4
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(prices, critic, conjugate):
    import torch

    def near(left, right):
        left = torch.as_tensor(left, dtype=torch.float64)
        right = torch.as_tensor(right, dtype=torch.float64)
        return left.shape == right.shape and torch.allclose(left, right, rtol=0, atol=1e-9)

    lam = 0.2  # numbers by hand: at u = 6 the number s is 2, at u = 1 it is 1
    found = prices(lam) if callable(prices) else None
    usable = isinstance(found, (tuple, list)) and len(found) == 2 and None not in found
    assert usable, "`prices` does not return two numbers yet."
    invents, misses = (float(price) for price in found)
    why = None
    if near(invents, 0.0) or near(misses, 5.0):
        why = "f has a slope at u = 1: subtract the tangent before you read the prices."
    elif near(invents, 4.0) and near(misses, 1.0):
        why = "The prices are exchanged: where only the model is, the ratio p/q is 0."
    elif not near(invents, 1.0):
        why = "The price of inventing is not right for lam = 0.2: it is the value at u = 0."
    elif not near(misses, 4.0):
        why = "The price of missing is not right for lam = 0.2: how steep is the end of the curve?"
    assert why is None, why
    ratio = torch.tensor([6.0, 1.0], dtype=torch.float64)
    T = critic(lam, ratio) if callable(critic) else None
    assert isinstance(T, torch.Tensor), "`critic` does not return a tensor yet."
    if not near(T, [4.0, 1.0]):
        why = "The critic is not right at the ratios 6 and 1, where s is 2 and 1."
        if near(T, [15.0, 0.0]):
            why = "This is f itself: the best critic is the slope of a tangent."
        elif near(T, [3.0, 0.0]):
            why = "This is the slope after the tangent was removed, but f* belongs to f itself."
        elif near(T, ratio.log()):
            why = "This is the log ratio, the best logit of a classifier, not the best T here."
        elif near(T, [-0.76, 1.0]):
            why = "Check which way the ratio goes: it is data over model."
    assert why is None, why
    t = torch.tensor([4.0, 1.0], dtype=torch.float64)
    star = conjugate(lam, t) if callable(conjugate) else None
    assert isinstance(star, torch.Tensor), "`conjugate` does not return a tensor yet."
    if not near(star, [9.0, 1.0]):
        why = "The conjugate is not right at t = 4 and t = 1."
        if near(star, [-9.0, -1.0]):
            why = "The sign of the conjugate is wrong: a tangent begins at minus f*."
        elif near(star, [24.0, 1.0]):
            why = "This is u t at the best u: f(u) has still to be subtracted."
        elif near(star, [6.0, 1.0]):
            why = "This is the place u of the largest value, not the value."
        elif near(star, critic(lam, t)):
            why = "This is the critic once more: f* is a function of the slope t, not of the ratio."
    assert why is None, why
