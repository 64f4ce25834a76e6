# Generated from exercises/12_joint/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(sleep_of_generator):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(found, right):
        return abs(found.item() - right) < 1e-6

    p_z, pi_1 = numbers([0.6, 0.4]), 0.4
    theta = numbers([[0.4, -0.3, 0.8], [-0.6, 0.5, 0.1]]).requires_grad_()
    encoder = numbers([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    p_g = p_z @ theta.detach().softmax(-1)
    p_data = numbers([0.5, 0.3, 0.2])
    a = (pi_1 * p_data / ((1 - pi_1) * p_g)).log()

    given = (theta, encoder.log(), p_z, a, pi_1)
    found = sleep_of_generator(*given) if callable(sleep_of_generator) else None
    usable = isinstance(found, torch.Tensor) and found.numel() == 1
    assert usable, "`sleep_of_generator` does not return a scalar tensor yet."
    assert found.requires_grad, "The result has lost its gradient: the generator is not frozen."
    found = found.reshape(())
    why = None
    (slope,) = torch.autograd.grad(found, theta)
    wanted = numbers(
        [[-0.24704957, -0.07243397, 0.31948354], [-0.0250814, 0.02693078, -0.00184938]]
    )
    right_slope = bool(torch.allclose(slope, wanted, rtol=0, atol=1e-6))
    if not near(found, 0.31227857):
        why = f"The value is {found.item():.6f}, and not KL(Q||P)."
        if near(found, 0.71774367):
            why = "The value is off by the prior's log-odds: the batches are not half data."
        elif near(found, 1.12320878):
            why = "The prior's log-odds have the wrong sign: data are the rarer domain here."
        elif right_slope:
            why = "The gradient is right and the value is not: which constant is missing?"
        elif near(found, -0.83282913):
            why = "The logit has the wrong sign: D says how likely an image is *data*."
        elif near(found, -0.76380795):
            why = "The logit compares data with samples, and you took it for log p_data itself."
        elif near(found, 0.79810212):
            why = "log D is not the logarithm of a ratio: the logit is."
        elif near(found, 0.22993186):
            why = "This is KL(P||Q), what a VAE descends: in sleep the pairs are generated."
    elif not right_slope:
        why = "The value is right and the gradient is not: which of its parts contain theta?"
    assert why is None, why
