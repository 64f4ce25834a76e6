# Generated from exercises/capstone/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(verdict):
    import math

    wrong = {'sd': 0.03052485, 'population': 0.01137594, 'over_real': 0.1565, 'over_elbo': 12}
    elbo_few = [-1.49, -1.468, -1.46, -1.484, -1.405, -1.478]
    elbo_many = [-1.469, -1.38, -1.498, -1.429, -1.382, -1.511]
    answer = verdict if isinstance(verdict, dict) else {}
    for name in ("excess", "error", "impossible"):
        number = answer.get(name)
        usable = isinstance(number, (int, float)) and math.isfinite(number)
        assert usable, f'"{name}" is not a number yet.'
    known = isinstance(answer.get("by_claim"), str) and answer["by_claim"] in ("few", "many")
    assert known, '"by_claim" needs one of: few, many.'
    known = isinstance(answer.get("better"), str)
    known = known and answer["better"] in ("few", "many", "not shown")
    assert known, '"better" needs one of: few, many, not shown.'

    def near(value, other):
        return abs(value - other) < 3e-4

    why = None
    if near(answer["excess"], wrong["over_real"]):
        why = "This excess compares with log p(x), and the ELBO is asked for."
    elif answer["excess"] < 0:
        why = "A claim below the ELBO on average: was it claim minus ELBO?"
    elif near(answer["error"], wrong["sd"]):
        why = "This is the spread of single runs, and the standard error of a mean is smaller."
    elif near(answer["error"], wrong["population"]):
        why = "The standard deviation is divided by n, and the question asks for n - 1."
    elif answer["impossible"] not in range(13):
        why = "There are twelve runs to count."
    elif answer["impossible"] == wrong["over_elbo"]:
        why = "This counts the claims above the exact ELBO, which had to be known for it."
    elif answer["better"] == ("few" if sum(elbo_many) > sum(elbo_few) else "many"):
        why = "This arm has the lower mean ELBO: did its claims mislead you?"
    assert why is None, why
