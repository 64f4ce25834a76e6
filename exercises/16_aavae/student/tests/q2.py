# Generated from exercises/16_aavae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(weights):
    import math

    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    p_data, p_g = numbers([0.1, 0.2, 0.3, 0.4]), numbers([0.4, 0.3, 0.2, 0.1])
    a = (p_data / p_g).log()
    w = weights(a, 60, 20) if callable(weights) else None
    usable = isinstance(w, torch.Tensor) and w.shape == (4,)
    assert usable, "`weights` does not return a weight for each logit yet."
    pool = 0.75 * p_data + 0.25 * p_g
    trained_on = pool * w
    shape = trained_on / trained_on.sum()
    why = None
    if not torch.allclose(trained_on, 0.75 * p_data, rtol=0, atol=1e-9):
        why = "With B = 60 and M = 20 the weighted pool is not the share B / (B + M) of the data."
        shift = (torch.logit(w.clamp(1e-9, 1 - 1e-9)) - a).mean()
        if torch.allclose(shape, p_data, rtol=0, atol=1e-9):
            why = f"The aim is the data, and the step is {float(trained_on.sum() / 0.75):.3g} times"
            why += " as long as it should be: what if an image can only be data?"
        elif torch.allclose(w, a.sigmoid(), rtol=0, atol=1e-9):
            why = "These weights are right for equal halves, but this pool has more data."
        elif abs(float(shift) + math.log(3)) < 1e-9:
            why = "The correction has the wrong sign: a pool of more data deserves more trust."
        elif torch.allclose(w, (-a).sigmoid(), rtol=0, atol=1e-9):
            why = "These are the weights of a judge that is not reversed: q(0|x) in place of D(x)."
        elif abs(float(shift) - math.log(0.75)) < 1e-9:
            why = "The logit is shifted by the log of a share: what are the odds of the pool?"
        elif torch.allclose(shape, 0.75 * a.sigmoid() * pool / (0.75 * a.sigmoid() * pool).sum()):
            why = "A constant factor changes the step's length, and the aim is wrong as before."
        elif not bool(((w >= 0) & (w <= 1)).all()):
            why = "Some of the weights do not lie between 0 and 1."
    assert why is None, why
    far = weights(numbers([-2000.0, 2000.0]), 60, 20)
    if not torch.allclose(far, numbers([0.0, 1.0]), rtol=0, atol=1e-9):
        why = "At logits of -2000 and 2000 the weights should be 0 and 1: does exp overflow?"
    assert why is None, why
