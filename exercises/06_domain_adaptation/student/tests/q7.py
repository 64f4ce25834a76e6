# Generated from exercises/06_domain_adaptation/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(confusion):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return abs(left.item() - right) < 1e-6

    p_y, p_x = numbers([0.3, 0.7]), numbers([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    theta = numbers([[2.2, -0.3, 1.4, 0.0], [-0.6, 0.5, 0.1, 0.9], [-1.7, 0.2, 2.4, -0.4]])
    theta.requires_grad_()

    found = confusion(theta, p_x, p_y) if callable(confusion) else None
    usable = isinstance(found, torch.Tensor) and found.numel() == 1
    assert usable, "`confusion` does not return a scalar tensor yet."
    assert found.requires_grad, "The result has lost its gradient: only r is frozen."
    laws = p_x @ theta.softmax(-1)
    verdict = (p_y[:, None] * laws / (p_y @ laws)).detach()
    loss = -((p_y @ laws) * (p_y @ verdict.log())).sum()
    (wanted,) = torch.autograd.grad(loss, theta)
    (slope,) = torch.autograd.grad(found.reshape(()), theta)
    right_slope = torch.allclose(slope, wanted, rtol=0, atol=1e-9)
    why = None
    if near(found, 0.0):
        why = "The KL divergence is zero: with this r the encoder would be where it wants to be."
    elif not near(found, 0.00903488):
        why = f"The value is {found.item():.6f}, and not KL(p_theta(f) || r)."
        if right_slope:
            why = "The gradient is right and the value is not: does r sum to one?"
        elif near(found, 0.00484919):
            why = "In r the domains count equally, although p(y) is not uniform."
        elif near(found, 0.00843589):
            why = "The divergence is reversed: what moves comes first."
        elif near(found, 0.13205012):
            why = "The score of a feature is a mean of K logarithms, and your r looks like a sum."
        elif near(found, 0.25115384):
            why = "A prior too much: the p_0 in the verdict and the p_0 of Bayes' rule meet."
        elif near(found, 0.31738005):
            why = "This is the divergence to the scores alone: the prior p_0 is missing."
    elif not right_slope:
        why = "The value is right and the gradient is not: is r, and only r, frozen?"
    assert why is None, why
