# Generated from exercises/06_domain_adaptation/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(error_range):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return abs(float(left) - right) < 1e-6

    p_hat, p_T = numbers([0.50, 0.35, 0.15]), numbers([0.15, 0.75, 0.10])
    answer = error_range(p_hat, p_T) if callable(error_range) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    usable = usable and all(isinstance(v, (int, float, torch.Tensor)) for v in answer)
    usable = usable and all(torch.as_tensor(v).numel() == 1 for v in answer)
    assert usable, "`error_range` does not return two numbers yet: the smallest and the largest."
    low, high = answer
    why = None
    if float(low) > float(high) + 1e-9:
        why = "The smallest error is larger than the largest: is the order right?"
    elif not near(low, 0.40):
        why = "The smallest error is not right for answers .5, .35, .15 and classes .15, .75, .1."
        if near(low, 0.0):
            why = "The smallest error is zero only if the answers have the shares of the classes."
        elif near(low, 0.80):
            why = "The smallest error is twice too large: one wrong answer spoils two shares."
        elif near(low, 0.60):
            why = "This looks like the largest share of *right* answers."
        elif near(low, 0.05):
            why = "The smallest difference of a share is a lower bound, and others are larger."
    elif not near(high, 0.90):
        why = "The largest error is not right for answers .5, .35, .15 and classes .15, .75, .1."
        if near(high, 1.0):
            why = "Not every answer can be wrong: 35 % are called 1 and 75 % are of class 1."
        elif near(high, 1 - (0.075 + 0.2625 + 0.015)):
            why = "This is the error of answers that ignore the class: worse is possible."
        elif near(high, 0.75):
            why = "The largest shares of answers and of classes do not belong to the same class."
        elif near(high, 0.10):
            why = "This looks like the smallest share of *right* answers."
    assert why is None, why
