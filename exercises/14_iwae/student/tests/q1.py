# Generated from exercises/14_iwae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(ceiling):
    def near(left, right):
        return abs(left - right) < 1e-9

    answer = ceiling(2, 5) if callable(ceiling) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 3 and ... not in answer
    assert usable, "`ceiling` still has dots in it, or does not return three numbers."
    alpha, beta, gamma = (float(value) for value in answer)
    why = None
    if not near(alpha + beta, 1):
        why = "alpha and beta do not sum to one, so even two tight bounds would not give log p(x)."
        if near(alpha + beta, -1) or near(alpha - beta, 1):
            why = "The signs of alpha and beta are wrong: two tight bounds must give log p(x)."
    elif not near(alpha / 2 + beta / 5, 0):
        why = "A part of the gap of order 1/k is left: divide it by 2 and by 5, and add."
        if near(5 * beta + 2 * alpha, 0) or near(5 * alpha + 2 * beta, 0):
            why = "You look for weights whose gaps cancel: whose gap is the larger one, L_2 or L_5?"
            if near(alpha, 5 / 3):
                why = "alpha and beta look exchanged: the tighter bound deserves the larger weight."
        elif near(alpha, 0.5) or near(alpha, 0) or near(alpha, 2 / 7) or near(alpha, 5 / 7):
            why = "An average lies between the two bounds, and the ceiling lies above both."
        elif near(alpha / 4 + beta / 25, 0):
            why = "You cancel a gap of order 1/k squared: the leading one is of order 1/k."
        elif near(alpha + beta / 4, 0) or near(alpha / 3 + beta / 6, 0):
            why = "The gap is counted in k - 1 or k + 1 draws: which does the rule say?"
        elif near(alpha / 2**0.5 + beta / 5**0.5, 0):
            why = "You cancel a gap of order 1/sqrt(k), and a bias is not a standard deviation."
    elif not near(gamma, 20 / 3):
        why = "gamma is not the factor between L_5 - L_2 and chi^2."
        if near(gamma, 10 / 3):
            why = "gamma is too small by two: the gap is half of chi^2 over k."
        elif near(gamma, -20 / 3) or near(gamma, -10 / 3):
            why = "gamma has the wrong sign: L_m is above L_k, and chi^2 is positive."
        elif near(gamma, 3 / 20) or near(gamma, 3 / 10):
            why = "gamma is upside down: small differences of bounds stand for a larger chi^2."
    assert why is None, why
