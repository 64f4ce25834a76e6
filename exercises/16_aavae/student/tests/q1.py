# Generated from exercises/16_aavae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(guarantee):
    import math

    wrong = {'off': {'no half': 0.102486,
         'no pinsker': 0.289875,
         'loss, not excess': 0.944878,
         'no root': 0.018333,
         'absolute': 0.295161},
 'needed': {'excess': 0.0009521,
            'no half': 0.3278083,
            'no square': 0.3676364,
            'absolute': 0.3244591}}
    answer = guarantee if isinstance(guarantee, dict) else {}
    for name in ("off", "needed"):
        number = answer.get(name)
        usable = isinstance(number, (int, float)) and math.isfinite(number)
        assert usable, f'"{name}" is not a number yet.'
    off, needed = answer["off"], answer["needed"]
    why = None

    def near(value, other):
        return abs(value / other - 1) < 2e-3

    if near(off, wrong["off"]["no half"]):
        why = "`off` is measured against the VAE's whole gradient: how long is the ideal step?"
    elif near(off, wrong["off"]["no pinsker"]):
        why = "In `off` a factor of Pinsker's inequality is missing: KL >= 2 (p - q)^2."
    elif near(off, wrong["off"]["loss, not excess"]):
        why = "`off` comes from the whole loss, but even the best discriminator has a loss."
    elif near(off, wrong["off"]["no root"]):
        why = "`off` is linear in the loss: a KL divergence is of second order in the distance."
    elif near(off, wrong["off"]["absolute"]):
        why = "`off` should be a relative error: divide by the length of the ideal step."
    elif off <= 0:
        why = "`off` is a bound of a length, and must be positive."
    elif abs(needed - wrong["needed"]["excess"]) < 5e-5:
        why = "`needed` is the part above the best loss: the question asks for the loss itself."
    elif abs(needed - wrong["needed"]["no half"]) < 5e-5:
        why = "`needed` compares with the VAE's whole gradient: how long is the ideal step?"
    elif abs(needed - wrong["needed"]["no square"]) < 5e-5:
        why = "`needed` is linear in the error, but the loss is of second order in it."
    elif abs(needed - wrong["needed"]["absolute"]) < 5e-5:
        why = "`needed` takes the percentage as a length: percent of what?"
    elif not 0.324 < needed < 0.34:
        why = "`needed` should lie between the best possible loss and the present one."
    assert why is None, why
