# Generated from exercises/09_cycles/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(translator):
    from unigen_edu import data

    digits = data.load("mnist-mini", "test").images(slice(0, 600)).squeeze(1).double()
    a, b, new = digits[:250], 1.0 - 0.6 * digits[250:500], digits[500:]
    try:
        u, v = (float(number) for number in translator(a, b))
    except (TypeError, ValueError):
        u = None
    assert u is not None, "`translator` does not return two numbers, u and v, yet."
    error = float((u * new + v - (1.0 - 0.6 * new)).abs().mean())
    mean, spread = float(abs(u * a.mean() + v - b.mean())), abs(u) * float(a.std() / b.std())
    why = None
    if not error < 0.03 * 0.6:
        why = f"The pairing error is {error:.3f} on new digits, and it should be below 0.018."
        if abs(u) < 1e-9:
            why = "A constant map answers every image alike, and then no cycle closes."
        elif abs(u - 1) < 1e-9 and abs(v) < 1e-9:
            why = "You leave the images as they are: the law of B is another one."
        elif mean < 0.03 and 0.9 < spread < 1.1:
            why = "Of two maps with this mean and spread yours is the wrong one: what else differs?"
        elif mean < 0.03 and abs(abs(u) - 0.36) < 0.06:
            why = "The spread is a standard deviation, and yours looks like a variance."
        elif mean < 0.03:
            why = "The mean of B is matched and its spread is not."
        elif 0.9 < spread < 1.1:
            why = "The spread of B is matched and its mean is not."
    assert why is None, why
