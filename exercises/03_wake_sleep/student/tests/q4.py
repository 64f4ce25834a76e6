# Generated from exercises/03_wake_sleep/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(agreeing_logit):
    import torch

    def mixed(p_A, p_1, a, b):
        """Both mixed derivatives, by autograd, from the losses."""
        a = torch.tensor(a, dtype=torch.float64, requires_grad=True)
        b = torch.tensor(b, dtype=torch.float64, requires_grad=True)
        p, u = a.sigmoid(), b.sigmoid()
        half = torch.tensor(0.5, dtype=torch.float64)
        night = torch.stack([p_1 * p, (1 - p_1) * half, p_1 * (1 - p), (1 - p_1) * half])
        named = torch.stack([u, 1 - u, half, half])  # A1, A2, B1, B2
        seen = torch.tensor([p_A, p_A, 1 - p_A, 1 - p_A], dtype=torch.float64)
        wake, sleep = -(seen * named) @ night.log(), -night @ named.log()
        (by_day,) = torch.autograd.grad(wake, a, create_graph=True)
        (by_night,) = torch.autograd.grad(sleep, b, create_graph=True)
        return (
            float(torch.autograd.grad(by_day, b)[0]),
            float(torch.autograd.grad(by_night, a)[0]),
        )

    p_A, p_1, b = 0.3, 0.8, 0.8
    answer = agreeing_logit(p_A, p_1, b) if callable(agreeing_logit) else ...
    assert answer is not None, "`agreeing_logit` returns None in a world with such an a."
    try:
        a = float(answer)
    except (TypeError, ValueError):
        raise AssertionError("`agreeing_logit` does not return a number yet.") from None
    day, night = mixed(p_A, p_1, a, b)
    why = None
    if abs(day - night) >= 1e-6 * abs(night):
        why = "At your a the two mixed derivatives still differ in the world p_A = 0.3, p_1 = 0.8."
        if abs(a - 0.25874) < 1e-4:
            why = "This is the probability p(A|1) at which they agree: return its logit."
        elif abs(a - b) < 1e-9:
            why = "With a = b, how often A comes by day and cause 1 by night plays no part."
        elif abs(a + 0.34752) < 1e-4:
            why = "This a belongs to the prior 1/2 of the chapter: here p(h=1) is p_1."
        elif abs(a - 1.83594) < 1e-4:
            why = "p_A is left out: how often does the day bring the picture A at all?"
        elif abs(a + 1.34315) < 1e-4:
            why = "The prior is left out: how often does the night bring cause 1 at all?"
        elif abs(a - 1.05253) < 1e-4:
            why = "The size of a is right and its sign is not: which probability has this logit?"
        elif a > 5 or a < -5:
            why = "At such an a both derivatives are nearly zero, but they are not equal."
    assert why is None, why
    try:
        none = agreeing_logit(0.9, 0.3, 1.0)
    except (ValueError, ZeroDivisionError):
        none = "an error"
    assert none is None, "With p_A = 0.9, p_1 = 0.3, b = 1 there is no such a: return None there."
