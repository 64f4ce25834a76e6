# Generated from exercises/capstone/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(verdict):
    import math

    wrong = {'sd': 0.22274619, 'population': 0.08301261, 'over_real': 0.113, 'over_elbo': 7}
    elbo_one = [-1.094, -1.439, -1.253, -1.426, -1.349, -1.118]
    elbo_many = [-1.011, -1.015, -1.015, -1.028, -1.016, -1.019]
    answer = verdict if isinstance(verdict, dict) else {}
    for name in ("excess", "error", "impossible"):
        number = answer.get(name)
        usable = isinstance(number, (int, float)) and math.isfinite(number)
        assert usable, f'"{name}" is not a number yet.'
    known = isinstance(answer.get("by_claim"), str) and answer["by_claim"] in ("one", "many")
    assert known, '"by_claim" needs one of: one, many.'
    known = isinstance(answer.get("better"), str)
    known = known and answer["better"] in ("one", "many", "not shown")
    assert known, '"better" needs one of: one, many, not shown.'

    def near(value, other):
        return abs(value - other) < 3e-4

    why = None
    if answer["excess"] < 0:
        why = "A claim below the ELBO on average: was it claim minus ELBO?"
    elif near(answer["excess"], wrong["over_real"]):
        why = "This excess compares with log p(x), and the ELBO is asked for."
    elif near(answer["error"], wrong["sd"]):
        why = "This is the spread of single runs, and the standard error of a mean is smaller."
    elif near(answer["error"], wrong["population"]):
        why = "The standard deviation is divided by n, and the question asks for n - 1."
    elif answer["impossible"] not in range(13):
        why = "There are twelve runs to count."
    elif answer["impossible"] == wrong["over_elbo"]:
        why = "This counts the claims above the exact ELBO, which had to be known for it."
    elif answer["better"] == ("one" if sum(elbo_many) > sum(elbo_one) else "many"):
        why = "This arm has the lower mean ELBO: did its claims mislead you?"
    assert why is None, why
