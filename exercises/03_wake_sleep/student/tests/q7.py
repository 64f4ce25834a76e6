# Generated from exercises/03_wake_sleep/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(short_sighted):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return left.shape == right.shape and torch.allclose(left, right, rtol=0, atol=1e-6)

    p_xh = numbers([[0.18, 0.02], [0.05, 0.10], [0.03, 0.27], [0.20, 0.15]])
    p_data, c = numbers([0.1, 0.4, 0.3, 0.2]), torch.tensor([0, 1, 0, 1])

    def losses(r_sleep, r_bound):
        sleep = -(p_xh * r_sleep[c].log()).sum()
        q = r_bound[c]
        return float(sleep), -float((p_data[:, None] * q * (p_xh / q).log()).sum())

    answer = short_sighted(p_xh, p_data, c) if callable(short_sighted) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2 and ... not in answer
    usable = usable and all(isinstance(part, torch.Tensor) for part in answer)
    assert usable, "`short_sighted` does not return two tables yet: r_sleep and r_bound."
    r_sleep, r_bound = (part.detach() for part in answer)
    shaped = r_sleep.shape == r_bound.shape == (2, 2)
    assert shaped, "Each table should have one row for each c, shape (C, H)."
    for name, r in (("r_sleep", r_sleep), ("r_bound", r_bound)):
        proper = near(r.sum(1), torch.ones(2, dtype=torch.float64)) and bool((r > 0).all())
        assert proper, f"{name}: each row should be a distribution over h."
    sleep, bound = losses(r_sleep, r_bound)
    first, second = (r[:, 0] for r in (r_sleep, r_bound))
    why = None
    lowest_sleep, lowest_bound = 0.68671959, 1.65335822
    if sleep > lowest_sleep + 1e-6:
        why = f"r_sleep has the sleep loss {sleep:.4f} here, and a smaller one is possible."
        if near(first, numbers([0.3, 0.41269841])):
            why = "r_sleep weighs the pictures as the data do: by night, who draws them?"
        elif near(first, numbers([0.5, 0.45238095])):
            why = "r_sleep weighs the pictures of one c equally, and they are not equally frequent."
        elif near(first, numbers([0.25, 0.40945856])):
            why = "r_sleep averages logarithms, and its own logarithm stands elsewhere."
    elif bound > lowest_bound + 1e-6:
        why = f"r_bound has minus the mean ELBO {bound:.4f} here, and a smaller one is possible."
        if near(second, first):
            why = "r_bound is the same mean as r_sleep, but the two directions average differently."
        elif near(second, numbers([0.3, 0.41269841])):
            why = "r_bound averages the posteriors themselves: look again at where the log stands."
        elif near(second, numbers([0.39187324, 0.44528932])):
            why = "The exponent of r_bound adds up p_data(x) over one c: it should be a mean."
        elif near(second, numbers([0.39187324, 0.49835833])):
            why = "r_bound weighs the pictures as dreams do: the bound is averaged over the data."
        elif near(second, numbers([0.5, 0.44948974])):
            why = "r_bound weighs the pictures of one c equally, and they are not equally frequent."
    assert why is None, why
