# Generated from exercises/08_codes/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 4
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(encoder_loss):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    p_x, strength, label = numbers([0.5, 0.3, 0.2]), 0.7, torch.tensor([-1, 1, -1])
    theta_z = numbers([[0.5, -0.5], [1.0, 0.2], [-0.3, 0.9]]).requires_grad_()
    theta_c = numbers([[0.3, 0.0, -0.4], [-0.6, 0.8, 0.1], [0.0, 0.7, -1.0]]).requires_grad_()
    a_z, a_c = numbers([0.4, -1.1]), numbers([0.9, -0.2, 0.5])
    q = [[[5, 2, 1], [4, 1, 2]], [[1, 3, 6], [2, 2, 1]], [[2, 4, 1], [3, 1, 7]]]
    q = numbers(q) / numbers(q).sum(0)
    arguments = (p_x, theta_z, theta_c, a_z, a_c, q.log(), strength, label)

    value = encoder_loss(*arguments) if callable(encoder_loss) else None
    usable = isinstance(value, torch.Tensor) and value.numel() == 1
    assert usable, "`encoder_loss` does not return a scalar tensor yet."
    seen = {
        1.0891395: None,
        2.1782789: "Your value is twice the loss: the factor p(y=0) = 1/2 is missing.",
        1.1241929: "The images look equally frequent: they have the weights p_data(x).",
        1.1351468: "A judge's term is -log(1 - D), and the encoder wants to pass for the prior.",
        1.2560125: "The weight of the reader is missing, or it is one.",
        1.1853158: "For a known class the judge of classes should not be asked.",
        1.1011147: "For a known class the decoder should read that class, not the encoder's guess.",
        1.1972911: "All images are treated as if nobody knew their class, with a correction added.",
        1.0057826: "The term -log p(c|x) of the labelled image is missing.",
        1.0534907: "The decoder should be averaged outside the logarithm: E log q is not log E q.",
        0.4267200: "A judge's logit is not log D: what is D when the logit is a?",
    }
    found = min(seen, key=lambda number: abs(number - value.item()))
    why = None
    if abs(found - value.item()) > 1e-6:
        why = f"The loss is {value.item():.6f}, and that is no usual mistake: check each sum."
    elif found != next(iter(seen)):
        why = seen[found]
    elif not value.requires_grad:
        why = "The value is right and no gradient reaches the encoder: something is detached."
    assert why is None, why
    slopes = torch.autograd.grad(value, (theta_z, theta_c), allow_unused=True)
    for slope, name in zip(slopes, ("theta_z", "theta_c"), strict=True):
        if slope is None or float(slope.abs().min()) < 1e-4:
            why = f"The value is right and its gradient does not reach every row of {name}."
    assert why is None, why
