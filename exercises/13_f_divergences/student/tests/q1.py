# Generated from exercises/13_f_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(by_hand):
    answer = by_hand if isinstance(by_hand, dict) else {}
    given = [answer.get(name) for name in ("divergence", "bound")]
    usable = all(isinstance(value, (int, float)) for value in given)
    assert usable, "`by_hand` still has dots in it: give each of the two names a plain number."
    wrong = {'exchanged': 9.72,
 'not zero at one': 5.21875,
 'other average': 12.023438,
 'no conjugate': 3.0,
 'f for its conjugate': 5.541667,
 'sign of the one': 4.333333,
 'laws exchanged': -3.916667}

    def looks_like(value, name):
        return abs(value - wrong[name]) < 2e-3

    divergence, bound = given
    why = None
    if looks_like(divergence, "exchanged"):
        why = "The divergence has P and Q exchanged: the ratio is that of the data to the model."
    elif looks_like(divergence, "not zero at one"):
        why = "The divergence of equal laws would not be zero like that: f has a constant too."
    elif looks_like(divergence, "other average"):
        why = "The divergence averages f over the model, and yours averages it over the data."
    elif divergence <= 0:
        why = "The divergence of two different laws is positive, and yours is not."
    elif looks_like(bound, "no conjugate"):
        why = "The bound subtracts f' over the model: what it should subtract is the conjugate."
    elif looks_like(bound, "f for its conjugate"):
        why = "The bound subtracts f itself over the model: what does r f'(r) - f(r) give?"
    elif looks_like(bound, "sign of the one"):
        why = "The bound has the right powers and a constant with the wrong sign."
    elif looks_like(bound, "laws exchanged"):
        why = "The two averages of the bound are exchanged: f' is averaged over the data."
    elif bound > divergence:
        why = "Your bound exceeds your divergence, and a bound never does."
    assert why is None, why
