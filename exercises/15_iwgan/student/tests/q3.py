# Generated from exercises/15_iwgan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(leading_gap):
    # k = 50 draws of which 20 are effective.
    value = leading_gap(20.0, 50) if callable(leading_gap) else None
    usable = isinstance(value, (int, float)) or (hasattr(value, "numel") and value.numel() == 1)
    assert usable, "`leading_gap` does not return a number yet."
    value = float(value)

    def like(number):
        return abs(value - number) < 1e-9

    why = None
    if not like(0.015):
        why = "With 20 effective draws of 50 the leading gap should be 0.015 nats."
        if like(0.025):
            why = "This has the mean square of the weights in the place of their variance."
        elif like(0.03):
            why = "A factor is missing: what is the second term in the expansion of the logarithm?"
        elif like(0.75):
            why = "This does not shrink with k when the share of effective draws stays the same."
        elif like(-0.015):
            why = "The gap is log Z - L_k, and the bound lies below."
        elif like(0.006):
            why = "The gap grows when fewer draws are effective, and this goes the other way."
        elif like(0.01):
            why = "This ignores n_eff, but equal weights, with n_eff = k, have no gap at all."
    assert why is None, why
