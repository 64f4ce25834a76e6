# Generated from exercises/15_iwgan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q8"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q8(dropped_coefficients):
    import torch

    from unigen_edu.exact.continuous import GaussianGANWorld, normal_quadrature

    # p_g is a normal distribution with two parameters, the data are a mixture, D = D*, k = 2.
    world = GaussianGANWorld.counterexample(k=2)
    noise, weight = normal_quadrature(61)
    x = world.x(noise).detach().requires_grad_()
    logit = world.a(x)
    (rise,) = torch.autograd.grad(logit.sum(), x)
    logit, x = logit.detach(), x.detach()
    along = torch.stack([torch.ones_like(x), x - world.theta0[0]], 1)  # dx/dtheta
    pairs = torch.cartesian_prod(torch.arange(61), torch.arange(61))
    answer = None
    if callable(dropped_coefficients):
        answer = dropped_coefficients(logit[pairs])
    usable = isinstance(answer, torch.Tensor) and answer.shape == (61 * 61, 2)
    assert usable, "`dropped_coefficients` does not return one coefficient for each draw yet."
    pull = (answer.detach()[..., None] * (rise[:, None] * along)[pairs]).sum(1)
    found = (weight[pairs].prod(1)[:, None] * pull).sum(0)

    def like(*values):
        wanted = torch.tensor(values, dtype=torch.float64)
        return torch.allclose(found, wanted, rtol=0, atol=2e-5)

    why = None
    if not like(-0.0307461, 0.2713688):
        why = "For k = 2 your bracket is not the dropped one, computed from the densities."
        if like(0.0307461, -0.2713688):
            why = "The sign is turned: dropped is the gradient of the bound minus what is kept."
        elif like(-0.5907477, 0.1297723):
            why = "This gives both brackets together: take away what equation (7) keeps."
        elif like(-0.5600016, -0.1415966) or like(0.5600016, 0.1415966):
            why = "This is the bracket that equation (7) keeps, or its negative."
        elif like(-0.4365819, 0.1811908):
            why = "This would be right if the gradient of the bound had the shares themselves."
        elif like(-0.1541658, -0.0514185):
            why = "The slope of log D in the logit is not D."
        elif like(-0.4084635, 0.0667492) or like(-0.8169271, 0.1334984):
            why = "This treats both draws alike, as the dropped bracket of k = 1 does."
    assert why is None, why
