# Generated from exercises/13_f_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(missing_half):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def ask(*arguments):
        answer = missing_half(*arguments) if callable(missing_half) else None
        usable = isinstance(answer, torch.Tensor) and answer.shape == arguments[0].shape
        assert usable, "`missing_half` does not return one number for each element of l yet."
        return answer

    def near(left, right):
        return torch.allclose(left, right, rtol=0, atol=1e-9)

    # With the power 1 and the size 2, A(l) = a_0 + 2 (e^l - 1): Pearson's, when a_0 = 0.
    l, r = numbers([-1.2, 0.0, 0.3, 0.9]), numbers([-1.2, 0.0, 0.3, 0.9]).exp()
    pearson = r.square() - 1
    answer, shifted = ask(l, [1.0], [2.0], 0.0), ask(l, [1.0], [2.0], 0.7)
    why = None
    if not near(answer, pearson):
        why = "With A(l) = 2 (e^l - 1), which is Pearson's, your B is not that of Pearson."
        if near(answer, 2 * (r - 1)):
            why = "Your B is A: then the bound has no maximum, for nothing charges for boldness."
        elif near(answer, 2 * r * (r - 1)):
            why = "Your B is r f'(r): minus f(r) is missing."
        elif near(answer, (r - 1).square()):
            why = "Your B is f itself, the height, and the model pays r f'(r) - f(r)."
        elif near(answer, 2 * l):
            why = "Your powers have moved the wrong way: the slope of B is that of A times e^l."
        elif near(answer, r.square()):
            why = "Your B has the right slope and a wrong B(0): f(1) = 0 fixes it."
    elif not near(shifted, pearson + 0.7):
        why = "With a_0 = 0.7 your B does not fit any more: a line 0.7 (u - 1) has joined f."
        if near(shifted, pearson):
            why = "Your B ignores a_0: a line 0.7 (u - 1) in f adds to both averages."
        elif near(shifted, pearson + 0.7 * r):
            why = "Your B multiplies a_0 by e^l: what is r f'(r) - f(r) for f = 0.7 (u - 1)?"
    assert why is None, why
    if not bool(torch.isfinite(ask(l, [-1.0, 0.0], [1.0, 1.0], 0.0)).all()):
        why = (
            "With the powers -1 and 0 (Jeffreys' divergence) your B is not finite: a division by 0."
        )
    elif not near(ask(l, [-1.0, 0.0], [1.0, 1.0], 0.0), l + r - 1):
        why = "With the powers -1 and 0 (Jeffreys' divergence) your B is wrong: add the two parts."
    elif not bool(torch.isfinite(ask(numbers([800.0]), [-1.5], [1.0], 0.0)).all()):
        why = "At l = 800 with the power -1.5 your B is not finite: e^l overflows, do not form it."
    assert why is None, why
