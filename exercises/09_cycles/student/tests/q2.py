# Generated from exercises/09_cycles/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(roles):
    def near(left, right):
        return abs(left - right) < 1e-6

    try:
        answer = [float(number) for number in roles(4, 0.3, 0.6, 2.0, 0.25)]
    except (TypeError, ValueError):
        answer = []
    assert len(answer) == 3, "`roles` does not return three numbers yet."
    generating, reading, dead_end = answer
    why = None
    if near(generating, -0.7142857) and near(reading, -0.7520387):
        why = "The two roles are exchanged: a generator has its parameter in the law of the sample."
    elif not near(generating, -0.7520387):
        why = "The generating part is wrong for K = 4, t = 0.3, s = 0.6, lambda = 2 and w = 1/4."
        if near(generating, 0.7520387):
            why = "The generating part has the wrong sign: F reads kept names better than others."
        elif near(generating, -0.2027326):
            why = "That is the part for two images: how likely is one wrong name when K = 4?"
        elif near(generating, -0.1256572):
            why = "While G generates, F reads: its table has the probability s."
        elif near(generating, -1.5040774) or near(generating, -3.0081548):
            why = "The share w is missing, or it is one half: here w = 1/4."
        elif near(generating, -0.3760193):
            why = "The weight of the cycle is missing: here lambda = 2."
    elif not near(reading, -0.7142857):
        why = "The reading part is wrong: here the samples come from F, and t is in the logarithm."
        if near(reading, 0.7142857):
            why = "The reading part has the wrong sign: G should keep more names, as F does."
        elif near(reading, 0):
            why = "G reads as well: in the cycle from A its table stands inside the logarithm."
        elif near(reading, -1.0):
            why = "G pays for wrong names too: 1 - t is shared by the other images."
        elif near(reading, 0.625):
            why = "In the reading part t and s are exchanged: F draws the names that G must find."
        elif any(near(reading, -10 * factor / 7) for factor in (0.25, 1, 2)):
            why = "The factor of the reading part is not w lambda."
    elif not near(dead_end, 1.0986123):
        why = "The loss at t = s = 0 is wrong for K = 4."
        if near(dead_end, 0):
            why = "With K = 4 the way back is not certain: a wrong name can be any of the others."
        elif near(dead_end, 0.5493061):
            why = "That is one cycle, and there are two."
        elif near(dead_end, 1.3862944) or near(dead_end, 0.6931472):
            why = "At t = s = 0 one name is excluded, so the guess is among fewer than K."
    assert why is None, why
