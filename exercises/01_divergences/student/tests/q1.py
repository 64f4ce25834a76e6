# Generated from exercises/01_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(five_numbers):
    import math

    def near(left, right):
        return left == right or abs(left - right) < 1e-9

    def ask(n, m, k):
        values = five_numbers(n, m, k) if callable(five_numbers) else None
        usable = isinstance(values, (tuple, list)) and len(values) == 5
        usable = usable and all(value is not None and value is not ... for value in values)
        assert usable, "`five_numbers` does not return five numbers yet."
        return [float(value) for value in values]

    why = None
    H, forward, backward, jsd, tv = ask(2, 6, 1)
    H_inside, forward_inside, backward_inside, jsd_inside, _ = ask(2, 6, 2)
    if near(H, 1.0) or near(H_inside, 1.0):
        why = "The entropy looks like bits: logarithms are natural here."
    elif not near(H, 0.6931471805599453) or not near(H_inside, 0.6931471805599453):
        why = "The entropy of p is not right: urn 1 is like a fair die with n faces."
    elif math.isfinite(forward) or math.isfinite(backward):
        why = "With n = 2, m = 6, k = 1 each urn can give a ball that the other cannot explain."
    elif math.isfinite(backward_inside):
        why = "The two KL divergences look exchanged when all of urn 1 is inside urn 0."
        if math.isfinite(forward_inside):
            why = "Urn 0 still has balls that urn 1 lacks when n = 2, m = 6, k = 2: ask who pays."
    elif not math.isfinite(forward_inside):
        why = "When all of urn 1 is inside urn 0, q explains every ball of p, if poorly."
    elif not near(forward_inside, 1.0986122886681098):
        why = "KL(p||q) is finite for n = 2, m = 6, k = 2, and has another value."
        if near(forward_inside, -1.0986122886681098):
            why = "A KL divergence is never negative: look at which probability is on top."
    elif near(tv, 5 / 3) or near(tv, 5 / 12):
        why = "TV lies between 0 and 1 and reaches 1 when nothing is shared: check its factor."
    elif not near(tv, 5 / 6):
        why = "TV is not right: a shared ball counts with the difference of its two probabilities."
    elif near(jsd, 2 * 0.5057021323536759):
        why = "Your JSD can exceed log 2, so the two halves were added and not averaged."
    elif near(jsd, 0.5057021323536759 / math.log(2)):
        why = "The JSD looks like bits: logarithms are natural here."
    elif near(jsd, (0.5 + 5 / 6) / 2 * math.log(2)):
        why = "The shared balls are missing from your JSD: p and q differ on them too."
    elif not near(jsd, 0.5057021323536759):
        why = "The JSD is not right for n = 2, m = 6, k = 1: compare each urn with the mixture."
    elif not near(jsd_inside, 0.31825708414740644):
        why = "The JSD is not right for n = 2, m = 6, k = 2: now every ball of urn 1 is shared."
    assert why is None, why
    try:
        ask(10**15, 10**14, 10**13)
    except (MemoryError, RuntimeError, OverflowError):
        why = "With 10^15 balls no table fits into memory: use formulas in n, m and k."
    assert why is None, why
