# Generated from exercises/04_vae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(reductions):
    def near(left, right):
        return abs(left - right) < 1e-9

    n, J, tau2 = 6, 2, 0.25
    answer = reductions(n, J, tau2) if callable(reductions) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 3 and ... not in answer
    assert usable, (
        "`reductions` still has dots in it, or does not return three numbers, A, B and T."
    )
    A, B, T = (float(value) for value in answer)
    why = None
    if not near(A, 12):
        why = "A is not right for n = 6, J = 2 and tau^2 = 0.25."
        if near(A, 2):
            why = "A looks like the factor of one pixel: the log-likelihood of an image is a sum."
        elif near(A, 24):
            why = "A is twice too large: look at the exponent of a normal density."
        elif near(A, 0.75):
            why = "A is multiplied by the variance: small errors cost more where tau is small."
        elif near(A, 6):
            why = "A depends on tau as a standard deviation would, and tau2 is the variance."
        elif near(A, 3):
            why = "A does not know tau^2, which says how many nats a squared error costs."
        elif near(A, 1 / 3):
            why = "A divides by n: the mean has done that already and must be undone."
    elif not near(B, 2):
        why = "B is not right for n = 6, J = 2 and tau^2 = 0.25."
        if near(B, 1):
            why = "B = 1 would be right for a KL term that is summed over the coordinates."
        elif near(B, 0.5):
            why = "B divides by J once more: the mean has done that already and must be undone."
        elif near(B, 6) or near(B, 3):
            why = "B knows the number of pixels, and the KL term does not."
    elif not near(T, 1.5):
        why = "T is not the variance whose VAE has the minimisers of mse + kl."
        if near(T, 0.25):
            why = "T looks like tau^2, but mse + kl does not contain tau^2 at all."
        elif near(T, 0.5):
            why = "T = 1/2 would be right for sums: what do the two means change?"
        elif near(T, 3):
            why = "In T the mean over pixels is undone, but a factor is left: compare both terms."
        elif near(T, 1 / 6) or near(T, 2 / 3) or near(T, 1 / 3):
            why = "T is upside down: the mean over pixels makes errors cheap, so is T large?"
        elif near(T, 6):
            why = "T multiplies by J, but kl is too small by that factor, which makes codes cheap."
    assert why is None, why
