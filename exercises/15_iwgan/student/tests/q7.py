# Generated from exercises/15_iwgan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(verdict):
    wrong = {'gan': 0.341667,
 'middle': 0.19,
 'unpaired': 0.377076,
 'population': 0.252102,
 'spread_gan': 0.325602,
 'one_sided': 0.34375,
 'exactly': 0.46875,
 'control_steps': 2756.756757,
 'fewer': 245.033113}
    answer = verdict if isinstance(verdict, dict) else {}
    names = ("difference", "spread", "luck", "steps")
    usable = all(isinstance(answer.get(name), (int, float)) for name in names)
    assert usable, "`verdict` still has dots in it: give each of the four names a number."

    def like(name, key):
        return abs(answer[name] - wrong[key]) <= 0.003 * abs(wrong[key]) + 1e-9

    why = None
    if like("difference", "gan"):
        why = "This difference also pays for the additional draws: compare with the other arm."
    elif like("spread", "spread_gan"):
        why = "This is the spread of the differences from the GAN, which makes fewer draws."
    elif like("spread", "unpaired"):
        why = "This spread ignores the pairing: take the difference within each seed first."
    elif like("spread", "population"):
        why = "This spread divides by the number of seeds, but their mean was estimated, too."
    elif answer["spread"] < 0 or not 0 <= answer["luck"] <= 1:
        why = "A spread is not negative, and a probability lies between 0 and 1."
    elif like("luck", "one_sided"):
        why = "This probability counts one direction only: signs could have favoured either arm."
    elif like("luck", "exactly"):
        why = "This is the probability of exactly such a split: more one-sided ones count, too."
    elif like("steps", "control_steps"):
        why = "This compares the GAN with the arm of equal weights: the question is on the IWGAN."
    elif like("steps", "fewer"):
        why = "A step of the GAN takes less time, so in the same time it makes more of them."
    assert why is None, why
