# Generated from exercises/03_wake_sleep/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(rule):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return torch.allclose(left, right, rtol=0, atol=1e-9)

    a = numbers([0.3, 0.7, 1.4]).requires_grad_()
    log_p = {  # for the states d of the second column
        "spin": (lambda d: a * d - (a.exp() + (-a).exp()).log(), (-1.0, 1.0)),
        "count": (lambda d: a * d - a.exp(), (0.0, 1.0, 3.0)),
        "cold": (lambda d: torch.nn.functional.logsigmoid((8 * d - 4) * a), (0.0, 1.0)),
        "noisy-or": (lambda d: (1 - (-a).exp()).log() if d else -a, (0.0, 1.0)),
    }
    for unit, (f, states) in log_p.items():
        found = rule(unit, a.detach()) if callable(rule) else None
        usable = isinstance(found, (tuple, list)) and len(found) == 2 and ... not in found
        usable = usable and all(isinstance(part, torch.Tensor) for part in found)
        assert usable, "`rule` does not return two tensors yet: expected and factor."
        expected, factor = found
        shaped = expected.shape == factor.shape == a.shape
        assert shaped, f"{unit}: both tensors should have the shape of a."
        slopes = [torch.autograd.grad(f(d).sum(), a)[0] for d in states]
        good = all(near(factor * (d - expected), g) for d, g in zip(states, slopes, strict=True))
        jump = (slopes[1] - slopes[0]) / (states[1] - states[0])
        why = None
        if not good:
            why = f"{unit}: factor (d - expected) is not the derivative of log p(d)."
            if near(factor, -jump):
                why = f"{unit}: the sign is turned, as if you had differentiated minus log p(d)."
            elif near(factor, jump):
                why = f"{unit}: the factor is right, and expected is not the mean of the unit."
                if unit == "spin" and bool(((expected > 0) & (expected < 1)).all()):
                    why = "spin: expected looks like a probability, but this unit draws -1 or +1."
                elif unit == "count" and near(expected, a):
                    why = "count: a is the logarithm of what this unit expects."
            elif unit == "cold" and near(factor, torch.ones_like(a)):
                why = "cold: a unit that reacts four times as steeply has no factor in your rule."
            elif unit == "noisy-or" and near(factor, torch.ones_like(a)):
                why = "noisy-or: the plain delta rule needs a sigmoid, so try d = 0 and d = 1 here."
        assert why is None, why
