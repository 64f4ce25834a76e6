# Generated from exercises/02_inference/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(draws_needed):
    def near(value, wanted):
        return abs(value - wanted) < 1e-6 * max(1.0, abs(wanted))

    def ask(*world):
        value = draws_needed(*world) if callable(draws_needed) else None
        usable = value is not None and value is not ... and not isinstance(value, (tuple, str))
        assert usable, "`draws_needed` does not return a number yet."
        return float(value)

    prior, other = ask(3, 0.1, 0.5, 0.1), ask(3, 0.2, 0.1, 0.5)
    why = None
    if near(prior, 34.10944):
        why = "The accuracy is a standard deviation, and you used it like a variance."
    elif near(prior, 441.0944):
        why = "The mean square is not yet the variance: the mean has to be subtracted."
    elif near(prior, 192.0) or near(prior, 64.0):
        why = "The bits are independent, so it is their mean squares that multiply."
    elif near(prior, 201.6787795691):
        why = "This is the lower bound by the KL divergence: the exact number is larger."
    elif near(prior, 2043.3470507544580):
        why = "The posterior and q look exchanged: the weight has q below the line."
    elif not near(prior, 341.0944):
        why = "Not the number of prior draws for L = 3, eps = 0.1 and an accuracy of 0.1."
    elif near(other, 6.061824):
        why = "Your number does not depend on a: the draws come from q, not from the prior."
    elif not near(other, 1.4869684499314):
        why = "Right for the prior, a = 0.5, and not for a = 0.1 with eps = 0.2."
    assert why is None, why
