# Generated from exercises/07_lemma1/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(potential):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def slope_and_step(p_y):
        theta = numbers([0.6, -0.4, 0.1, 0.3]).requires_grad_()
        p_g = theta.softmax(-1)
        F = potential(theta, p_data, p_y) if callable(potential) else None
        usable = isinstance(F, torch.Tensor) and F.numel() == 1
        assert usable, "`potential` does not return a scalar tensor yet."
        assert F.requires_grad, "F has lost its gradient: nothing in it should be detached."
        D = (p_y[1] * p_data / (p_y @ torch.stack([p_g, p_data]))).detach()
        (step,) = torch.autograd.grad(-p_y[0] * (p_g * D.log()).sum(), theta, retain_graph=True)
        (slope,) = torch.autograd.grad(F.reshape(()), theta)
        return slope, step

    def near(left, right):
        return torch.allclose(left, right, rtol=0, atol=1e-9)

    p_data = numbers([0.4, 0.1, 0.2, 0.3])
    skewed, uniform = numbers([0.3, 0.7]), numbers([0.5, 0.5])
    why = None
    slope, step = slope_and_step(skewed)
    slope_uniform, step_uniform = slope_and_step(uniform)
    if not near(slope, step):
        why = "The gradient of F is not that of the step when p(y) = (0.3, 0.7)."
        ratio = float((slope * step).sum() / (step * step).sum())
        if ratio < 0:
            why = "F falls where the step would climb: check the sign."
        elif near(slope_uniform, step_uniform):
            why = "F is right for a uniform p(y) only: where do the weights enter?"
        elif near(slope, ratio * step):
            why = f"F points the right way and is {ratio:.3g} times the size: check its factor."
        elif near(slope_uniform, 2 * step_uniform):
            why = "For uniform p(y), F is twice the size: a loss without p(y) is twice -L_theta."
        elif abs(slope[0].item() - -0.00313517) < 1e-6:
            why = "The KL divergence is reversed: the data come second, as in the lemma's target."
        elif abs(slope[0].item() - -0.01017845) < 1e-6:
            why = "This is the KL part of the lemma alone: minus the JSD has theta in it too."
    assert why is None, why
    floor = float(potential(p_data.log(), p_data, skewed))
    if abs(floor) > 1e-9:
        why = f"F is {floor:.3f}, not zero, at p_g = p_data: a gradient that fits is not enough."
    assert why is None, why
