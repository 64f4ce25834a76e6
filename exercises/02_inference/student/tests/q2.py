# Generated from exercises/02_inference/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(sandwich):
    import torch

    beta = 0.3
    prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    fits = [torch.tensor(t, dtype=torch.float64) for t in ([0.1, 0.6, 0.02], [0.3, 0.05, 0.7])]
    answer = sandwich(beta) if callable(sandwich) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 4
    usable = usable and all(part is not None and part is not ... for part in answer)
    assert usable, "`sandwich` does not return the four numbers a, b, c, d yet."
    a, b, c, d = (float(part) for part in answer)

    worlds = []
    for fit in fits:
        tilted = prior * fit**beta
        q, posterior = tilted / tilted.sum(), prior * fit / (prior @ fit)
        log_w = (prior * fit / q).log()
        values = tilted.sum().log(), q @ fit.log(), posterior @ fit.log()
        price = q @ (q / prior).log()
        worlds.append([float(t) for t in (*values, q @ log_w, posterior @ log_w, price)])

    def always(wrong):
        return all(abs(wrong(*world)) < 1e-9 for world in worlds)

    why = None
    if not always(lambda A, s, t, low, high, price: a * A + b * s - low):
        why = "a A + b A' is not the ELBO of q_beta at beta = 0.3."
        if always(lambda A, s, t, low, high, price: a * A + b * s - (low + price)):
            why = "This is the data fit alone: the code has a price, too, its KL to the prior."
        elif always(lambda A, s, t, low, high, price: a * A + b * s + price):
            why = "This is minus the price of the code alone: the data fit is missing."
        elif always(lambda A, s, t, low, high, price: a * A - b * s - low):
            why = "The sign of b is wrong: what is left of the likelihood counts for you."
        elif abs(a - 1) < 1e-9 and abs(b) < 1e-9:
            why = "A(beta) knows only a part of the likelihood: look at beta = 0, where it is 0."
        elif abs(a - 1) < 1e-9 and abs(b - 1) < 1e-9:
            why = "A part of log p(x|z) is counted twice: q_beta contains its power beta already."
    elif not always(lambda A, s, t, low, high, price: c * A + d * t - high):
        why = "c A + d A'(1) is not the bound from above at beta = 0.3."
        if always(lambda A, s, t, low, high, price: c * A - d * t - high):
            why = "The sign of d is wrong: both ends of the sandwich average the same log w."
        elif abs(c - 1) < 1e-9 and abs(d) < 1e-9:
            why = "Without its slope A(beta) is no bound from above: look at beta = 0."
        elif abs(c - 1) < 1e-9 and abs(d - 1) < 1e-9:
            why = "A part of log p(x|z) is counted twice: q_beta contains its power beta already."
        elif abs(c) < 1e-9 and abs(d - 1) < 1e-9:
            why = "This is the data fit under the posterior: log w has the prior and q in it, too."
    assert why is None, why
