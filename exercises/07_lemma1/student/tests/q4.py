# Generated from exercises/07_lemma1/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(lemma_terms):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return abs(left.item() - right) < 1e-6

    p_y = numbers([0.5, 0.3, 0.2])
    theta = numbers([[0.4, -0.3, 0.8, 0.0], [-0.6, 0.5, 0.1, 0.9], [0.7, 0.2, -0.9, -0.4]])
    a = numbers([[0.6, 0.1, 0.9, 0.4], [0.2, 0.8, 0.3, 0.5], [0.9, 0.3, 0.1, 0.7]])
    theta.requires_grad_()

    answer = lemma_terms(theta, a.log(), p_y) if callable(lemma_terms) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    assert usable, "`lemma_terms` does not return two numbers yet: kl and jsd."
    kl, jsd = (torch.as_tensor(part) for part in answer)
    why = None
    if kl.numel() != 1 or jsd.numel() != 1:
        why = "Both terms should be scalars: average the rows with p(y)."
    elif not near(jsd, 0.10629838):
        why = f"jsd is {jsd.item():.6f}, not the JSD with weights p(y) of the three rows."
        if near(jsd, 0.12039901):
            why = "The JSD has equal weights: both its mixture and its average need p(y)."
        elif near(jsd, 0.11767898):
            why = "The JSD is reversed: it averages KL(p(x|y) || p(x)), the mixture second."
        elif near(jsd, 0.02657459):
            why = "The JSD is a sum over x, and yours looks like a mean."
        elif near(jsd, 0.14767067) or near(kl, 0.55296212):
            why = "Check the axis of the softmax: each row of theta is one distribution over x."
    elif not near(kl, 0.08247457):
        why = f"kl is {kl.item():.6f}, not the averaged KL divergence to the target."
        if near(kl, 0.07108362):
            why = "The KL divergence is reversed: the model comes first and the target second."
        elif near(kl, 0.79351538):
            why = "The target does not sum to one: Z_y is missing (the gradient forgives that)."
        elif near(kl, 0.07399599):
            why = "The target has lost its prior: it is a(y, x) p_theta0(x), scaled to sum to one."
        elif near(kl, 0.09144117):
            why = "The KL divergences are averaged with equal weights, not with p(y)."
        elif near(kl, 0.02061864):
            why = "The KL divergence is a sum over x, and yours looks like a mean."
        elif near(kl, 0.07925897):
            why = "The prior is the mixture with weights p(y), and yours has equal weights."
    elif not (kl - jsd).requires_grad:
        why = "No gradient reaches theta: only the target is frozen, p_theta(x|y) is not."
    assert why is None, why
    loss = -(p_y @ (theta.softmax(-1) * a.log()).sum(-1))
    (wanted,) = torch.autograd.grad(loss, theta)
    (found,) = torch.autograd.grad(kl - jsd, theta)
    if not torch.allclose(found, wanted, rtol=0, atol=1e-9):
        why = "The values are right and the gradient is not: is the target, and only that, frozen?"
    assert why is None, why
