# Generated from exercises/03_wake_sleep/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(after):
    names = ["q_1_given_A", "p_A_given_1", "night_left", "wake_left"]
    answer, numbers = after if isinstance(after, dict) else {}, {}
    for name in names:
        try:
            numbers[name] = float(answer[name])
        except (KeyError, TypeError, ValueError):
            raise AssertionError(f'"{name}" is not a number yet.') from None
    typical = {'q_1_given_A': {'likelihood': 0.625,
                 'joint': 0.46875,
                 'evidence': 0.585938,
                 'uniform': 0.714286},
 'p_A_given_1': {'before': 0.625, 'data': 0.8},
 'night_left': {'zero': 0.0, 'reversed': 0.157153},
 'wake_left': {'zero': 0.0, 'pictures': 0.500402}}
    sentences = {
        "q_1_given_A": {
            "likelihood": "q(1|A) looks like p(A|1): recognition goes the other way round.",
            "joint": "q(1|A) looks like the probability of the pair A1: it is not divided yet.",
            "evidence": "q(1|A) is divided by p_data(A), but by night A comes from dreams.",
            "uniform": "q(1|A) treats both causes as equally frequent, and they are not.",
        },
        "p_A_given_1": {
            "before": "p(A|1) has not changed: a day on dreams teaches nothing, so take real A's.",
            "data": "p(A|1) looks like p_data(A): what has the cause to do with the picture?",
        },
        "night_left": {
            "zero": "KL(Q||P) compares pairs, and a perfect recogniser repairs half of a pair.",
            "reversed": "The divergence left after the night is reversed: Q comes first in it.",
        },
        "wake_left": {
            "zero": "After the day the divergence is zero, but the question asks for the loss.",
            "pictures": "The wake loss is about pairs: yours leaves the causes out.",
        },
    }
    why = None
    for name in names:
        for kind, value in typical[name].items():
            if why is None and abs(numbers[name] - value) < 1.5e-3:
                why = sentences[name][kind]
        if why is None and name in names[:2] and not 0 < numbers[name] < 1:
            why = f'"{name}" should be a probability between 0 and 1.'
        if why is None and numbers[name] < 0:
            why = f'"{name}" is negative, which neither a KL divergence nor this loss can be.'
    q, p = numbers["q_1_given_A"], numbers["p_A_given_1"]
    if why is None and abs(p - q) < 1.5e-3:
        why = "p(A|1) is your q(1|A) once more: who is given, and who is drawn?"
    d = [int(part) for part in ['4/5', '3/4', '5/8', '1/4'][0].split("/")]
    if why is None and abs(p - q * d[0] / d[1]) < 1.5e-3:
        why = "p(A|1) looks like the probability of the pair A1 by day: it is not divided yet."
    assert why is None, why
