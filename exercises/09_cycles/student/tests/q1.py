# Generated from exercises/09_cycles/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(as_reader):
    def near(left, right):
        return abs(left - right) < 1e-5 * max(1, abs(right))

    found = []
    for r in (1, 2):
        try:
            found.append([float(number) for number in as_reader(10.0, 4, 3.0, r)])
        except (TypeError, ValueError):
            found.append([])
    assert all(len(f) == 3 for f in found), "`as_reader` does not return three numbers yet."
    why = None
    for (exponent, scale, k), (right, width, rest), r in zip(
        found, ((7.5, 0.4, 53.7527841), (45.0, 0.4472136, 363.159148)), (1, 2), strict=True
    ):
        if why is not None:
            break
        if not near(exponent, right):
            why = f"The exponent is wrong for r = {r}, W = 10, d = 4 and b = 3."
            if near(exponent, 4 * right):
                why = f"A log-likelihood sums over pixels, and the error is a mean (r = {r})."
            elif near(exponent, 2.5) or near(exponent, 5.0):
                why = f"The exponent does not know the reader's scale b, which is 3 here (r = {r})."
            elif near(exponent, 10 / 12) or near(exponent, 20 / 36):
                why = f"A wide reader punishes less, so it needs a larger exponent (r = {r})."
            elif r == 2 and (near(exponent, 22.5) or near(exponent, 90)):
                why = "The density of a normal distribution has a factor 1/2 inside exp (r = 2)."
            elif r == 2 and near(exponent, 15):
                why = "In the density of a normal distribution b is squared (r = 2)."
        elif not near(scale, width):
            why = f"The scale of the normalised power is wrong for r = {r}."
            if near(scale, 3 * right) or near(scale, 3 * right**0.5):
                why = f"An exponent above one makes a reader stricter, not more lenient (r = {r})."
            elif near(scale, 3.0):
                why = f"That is the scale of q itself, and not that of its power (r = {r})."
            elif r == 2 and near(scale, 3 / 45):
                why = "So a power acts on a Laplace distribution: here b is squared in exp (r = 2)."
            elif r == 2 and near(scale, 0.2):
                why = "The question asks for the standard deviation, not the variance (r = 2)."
        elif not near(k, rest):
            why = f"The constant is wrong for r = {r}."
            if near(k, -rest):
                why = f"The constant has the wrong sign: it comes from minus a logarithm (r = {r})."
            elif near(k, rest / right):
                why = f"The normaliser is raised to the power lambda as well (r = {r})."
            elif near(k, rest / 4):
                why = f"Every one of the d pixels has a normaliser (r = {r})."
            elif near(k, (20.7944154, 165.408936)[r - 1]):
                why = f"The normaliser depends on the scale b (r = {r})."
    assert why is None, why
