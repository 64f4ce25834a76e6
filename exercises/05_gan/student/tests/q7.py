# Generated from exercises/05_gan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(factor):
    import math

    found = []
    for loss in ("non-saturating", "minimax"):
        value = factor(3, 0.4, 0.3, loss) if callable(factor) else None
        number = isinstance(value, (int, float))
        usable = number or (hasattr(value, "numel") and value.numel() == 1)
        assert usable, "`factor` does not return a number yet."
        found.append(float(value))

    def like(*values):
        return all(abs(x - y) < 1e-6 for x, y in zip(found, values, strict=True))

    why = None
    if not like(0.16, 0.64):
        why = "kappa should be 0.16 (non-saturating) and 0.64 (minimax) for 3, 0.4 and 0.3."
        if like(0.64, 0.16):
            why = "The two losses are exchanged: expand log D and log(1 - D) once more."
        elif like(0.4, 0.4):
            why = "This is right for batches with as many data as samples; here pi_1 is 0.3."
        elif like(0.72, 0.88):
            why = "This is one step, but a round has m of them against the same D."
        elif like(0.72**3, 0.88**3):
            why = "This D replies after each of the m steps, but within a round it is frozen."
        elif like(1.84, 1.36):
            why = "The deviation grows here: does a mode that is made too often cost more, or less?"
        elif like(-0.84, -0.36):
            why = "This is the change of the deviation: kappa multiplies the deviation itself."
        elif like(math.exp(-0.84), math.exp(-0.36)):
            why = "The exponential acts on p_g, and its first order is what remains for epsilon."
        elif like(-0.2, -0.2):
            why = "D replies to p_g with its full weight here: how much of a batch are samples?"
    assert why is None, why
