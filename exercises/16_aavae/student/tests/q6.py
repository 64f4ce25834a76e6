# Generated from exercises/16_aavae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(report):
    import math

    wrong = {'sign': -1.283333,
 'control': -1.7,
 'unpaired': 4.127671,
 'population': 1.223951,
 'error': 0.547367,
 'one-sided': 0.046875}
    answer = report if isinstance(report, dict) else {}
    for name in ("difference", "spread", "p"):
        number = answer.get(name)
        usable = isinstance(number, (int, float)) and math.isfinite(number)
        assert usable, f'"{name}" is not a number yet.'
    for name in ("told", "merit"):
        known = isinstance(answer.get(name), str) and answer[name] in (
            "ahead",
            "behind",
            "not shown",
        )
        assert known, f'"{name}" needs one of: ahead, behind, not shown.'
    difference, spread, p = answer["difference"], answer["spread"], answer["p"]

    def near(value, other):
        return abs(value - other) < 2e-3

    why = None
    if near(difference, wrong["sign"]):
        why = "The difference has the wrong sign: it is adversary minus told."
    elif near(difference, wrong["control"]):
        why = "This is the difference from the constant judge: here the plain VAE is asked for."
    elif near(spread, wrong["unpaired"]):
        why = "This spread treats the arms as unpaired: most of it is what seeds have in common."
    elif near(spread, wrong["population"]):
        why = "The spread is divided by n, and the question asks for n - 1."
    elif near(spread, wrong["error"]):
        why = "This is the standard error of the mean, not the spread of the differences."
    elif not 0 < p <= 1 or abs(64 * p - round(64 * p)) > 1e-6:
        why = "There are 64 ways to give signs, so p is a share of 64, the observed one included."
    elif abs(p - wrong["one-sided"]) < 1e-6:
        why = "This p is one-sided: a mean as far from zero on the other side counts too."
    elif p <= 0.05 and answer["told"] == "not shown":
        why = "By your own p the difference is shown."
    elif p > 0.05 and answer["told"] != "not shown":
        why = "By your own p nothing is shown, whatever the sign of the mean."
    elif answer["told"] == ("behind" if difference > 0 else "ahead"):
        why = "Your difference and your verdict point to opposite sides: higher is better."
    assert why is None, why
