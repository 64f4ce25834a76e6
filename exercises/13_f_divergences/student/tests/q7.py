# Generated from exercises/13_f_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(landscape):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    p_data = numbers([0.4, 0.1, 0.2, 0.3])

    def slope_and_step(share):
        theta = numbers([0.6, -0.4, 0.1, 0.3]).requires_grad_()
        p = theta.softmax(-1)
        F = landscape(theta, p_data, share) if callable(landscape) else None
        usable = isinstance(F, torch.Tensor) and F.numel() == 1
        assert usable, "`landscape` does not return a scalar tensor yet."
        assert F.requires_grad, "F has lost its gradient: nothing in it is frozen."
        D = (share * p_data / (share * p_data + (1 - share) * p)).detach()
        (step,) = torch.autograd.grad(-(p * D).sum(), theta, retain_graph=True)
        (slope,) = torch.autograd.grad(F.reshape(()), theta)
        return slope, step

    def near(left, right):
        return torch.allclose(left, right, rtol=0, atol=1e-9)

    slope, step = slope_and_step(0.3)
    slope_half, step_half = slope_and_step(0.5)
    why = None
    if not near(slope, step):
        why = "The gradient of F is not that of the step when a share 0.3 is data."
        ratio = float((slope * step).sum() / (step * step).sum())
        if near(slope, ratio * step) and ratio < 0:
            why = "F falls where the step climbs: check the sign."
        elif near(slope, ratio * step):
            why = f"F points the right way and is {ratio:.3g} times the size: check its factor."
        elif abs(slope[0].item() - -0.01697107) < 1e-6:
            why = "This is what -E log D descends: her score is D itself, so h is another one."
        elif abs(slope[0].item() - -0.00134364) < 1e-6:
            why = "This mixture holds the share pi of samples: pi is the share of the data."
        elif abs(slope[0].item() - -0.03170685) < 1e-6:
            why = (
                "This is KL(p_data || p_theta): the mixture in D's denominator has been forgotten."
            )
        elif near(slope_half, step_half):
            why = "F is right for the share 1/2 only: where does the share enter?"
    assert why is None, why
    floor = float(landscape(p_data.log(), p_data, 0.3))
    if abs(floor) > 1e-9:
        why = (
            f"F is {floor:.3f}, not zero, at p_theta = p_data: a gradient that fits is not enough."
        )
    assert why is None, why
