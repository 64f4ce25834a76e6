# Generated from exercises/11_wake_sleep_links/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(judged):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return torch.allclose(left, right, rtol=0, atol=1e-9)

    theta = numbers([[0.5, -0.7, 0.2], [-0.3, 0.4, 0.9]]).requires_grad_()
    eta = numbers([[0.6, -0.2], [0.1, 0.8], [-0.9, 0.3]]).requires_grad_()
    P = numbers([0.5, 0.2, 0.3])[:, None] * eta.softmax(1)
    Q = numbers([0.6, 0.4]) * theta.softmax(1).T
    pi_1 = 0.3
    a = (pi_1 * P / ((1 - pi_1) * Q)).log().detach()
    kl = {"day": (P * (P / Q).log()).sum(), "night": (Q * (Q / P).log()).sum()}
    sides = {"theta": (theta, Q), "eta": (eta, P)}

    def slope(scalar, leaf):
        return torch.autograd.grad(scalar, leaf, retain_graph=True)[0]

    corners = [(who, when) for who in sides for when in kl]
    for who, when in corners:
        corner = f"{who} by {when}"
        f = judged(corner, a, pi_1) if callable(judged) else None
        usable = isinstance(f, torch.Tensor) and f.shape == a.shape
        assert usable, "`judged` does not return a tensor of the shape of a yet."
        leaf, law = sides[who]
        found, right = slope((law * f.detach()).sum(), leaf), slope(kl[when], leaf)
        other = slope(kl["night" if when == "day" else "day"], leaf)
        size = float((found * right).sum() / (right * right).sum())
        why = None
        if not near(found, right):
            why = f'"{corner}": the judged pairs do not give this gradient.'
            if near(found, -right):
                why = f'"{corner}": the sign is turned.'
            elif near(found, other) or near(found, -other):
                why = f'"{corner}": this is the other divergence, in the same parameter.'
            elif near(found, torch.zeros_like(found)):
                why = f'"{corner}": this f moves nothing, as it does when it is constant.'
            elif near(found, size * right):
                why = f'"{corner}": the direction is right, but the size is {size:.3g} times that.'
            elif near(found, slope(-(law * torch.nn.functional.logsigmoid(a)).sum(), leaf)):
                why = f'"{corner}": this is the usual loss of a GAN, a softened divergence.'
        assert why is None, why
