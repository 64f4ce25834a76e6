# Generated from exercises/10_lemma2/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(masses):
    import math

    def cost(alpha, eps):
        return alpha * math.log(alpha / eps) + (1 - alpha) * math.log((1 - alpha) / (1 - eps))

    def near(value, wanted):
        return abs(value - wanted) < 2e-6

    answer = masses(0.3, 0.4) if callable(masses) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    usable = usable and not any(part is ... or part is None for part in answer)
    assert usable, "`masses` does not return two numbers yet: the least and the greatest mass."
    low, high = (float(part) for part in answer)
    assert math.isfinite(low + high), "The masses for gap = 0.3 and alpha = 0.4 are not finite."
    why = None
    if low > high:
        why = "The greatest mass comes first: the question asks for the least one first."
    elif not (0 < low < 0.4 < high < 1):
        why = "A model that makes as much of A as there is in the data is always allowed."
        if low < 0 or high > 1:
            why = "A mass is a probability: one of yours lies outside the interval from 0 to 1."
    assert why is None, why
    if not (near(cost(0.4, low), 0.3) and near(cost(0.4, high), 0.3)):
        why = "At your two masses the left side of the inequality is not the gap of 0.3."
        if near(cost(low, 0.4), 0.3) or near(cost(high, 0.4), 0.3):
            why = "The divergence is reversed: the data come first, the model's mass second."
        elif near(low, 0.4 * math.exp(-0.75)):
            why = "The images outside A are missing: mass that A does not get goes to them."
        elif near(0.4 - low, math.sqrt(0.15)) or near(high - 0.4, math.sqrt(0.15)):
            why = "This is Pinsker's inequality: true, and weaker than what was asked."
        elif near(low, 0.4 * math.exp(-0.3)):
            why = "This would be true if the whole gap belonged to every image of A alike."
        elif cost(0.4, low) < 0.3 and cost(0.4, high) < 0.3:
            why = "Both masses are allowed, but there are more extreme ones: has it converged?"
    assert why is None, why
    whole = [float(part) for part in masses(1.0, 1.0)]
    if not (near(whole[0], math.exp(-1)) and near(whole[1], 1)):
        why = "With alpha = 1 the set A is all of the data, and one term drops out: 0 log 0 = 0."
    assert why is None, why
