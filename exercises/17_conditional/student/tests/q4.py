# Generated from exercises/17_conditional/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(bound_loss):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    elbo = numbers([[-2.0, -1.2, -3.1], [-1.5, -2.5, -0.9], [-0.7, -1.9, -2.2]]).requires_grad_()
    logits = numbers([[0.3, -0.8, 0.9], [1.2, 0.1, -0.4], [-0.5, 0.6, 0.2]]).requires_grad_()
    p_c = numbers([0.5, 0.2, 0.3])
    left = torch.tensor([[True, True, False], [True, True, True], [False, True, False]])
    answer = bound_loss(elbo, logits, p_c, left) if callable(bound_loss) else None
    usable = isinstance(answer, torch.Tensor) and answer.shape == (3,)
    assert usable, "`bound_loss` does not return one number for each image yet, shape (3,)."
    finite = bool(torch.isfinite(answer).all())
    assert finite, "The loss is not finite: a class ruled out contributes 0 times infinity."

    def near(right):
        return torch.allclose(answer, numbers(right), rtol=0, atol=1e-7)

    why = None
    if not near([2.16014041, 1.71960252, 3.50943791]):
        why = "At least one image is wrong: the three have two classes left, all of them, and one."
        if near([0.54856606, 1.71960252, 1.40510628]):
            why = "The classifier does not sum to one over the classes left: is it told S?"
        elif near([1.23815888, 0.76052543, 1.9]):
            why = "The prior p(c) is missing: the bound is on x together with its class."
        elif near([1.80346546, 1.71960252, 1.9]):
            why = "The prior is scaled to S as well: that bounds log p(x | c in S), another number."
        elif near([2.72218962, 2.59703489, 3.50943791]):
            why = "The entropy of the classifier is missing: it pays for doubt."
        elif near([3.28423882, 3.47446727, 3.50943791]):
            why = "The entropy has the wrong sign: doubt makes the loss smaller."
        elif near([2.05814537, 1.70357368, 3.50943791]):
            why = "The classes left are averaged with equal weights: the classifier weighs them."
        elif near([-2.16014041, -1.71960252, -3.50943791]):
            why = "This is the bound and not the loss: its sign is wrong."
        elif near([2.05645588, 1.38648247, 3.50943791]):
            why = "This is the loss with the best classifier: the one that is given must appear."
        elif near([2.71720482, 1.71960252, 2.11110228]):
            why = "All classes are summed: those that are ruled out have no part in it."
    assert why is None, why
    if not answer.requires_grad:
        why = "No gradient reaches the classifier or the ELBO."
        raise AssertionError(why)
    slopes = torch.autograd.grad(answer.sum(), (elbo, logits), allow_unused=True)
    if any(slope is None or not bool(slope.any()) for slope in slopes):
        why = "A gradient is cut: both the ELBO and the classifier learn from this loss."
    elif not all(bool(torch.isfinite(slope).all()) for slope in slopes):
        why = "The loss is finite and its gradient is not: mask before the logarithm, not after."
    elif float(slopes[1][2].abs().max()) > 1e-9:
        why = "With one class left the classifier is not asked, and yet its logits get a gradient."
    assert why is None, why
