# Generated from exercises/17_conditional/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(by_hand):
    answer = by_hand if isinstance(by_hand, dict) else {}
    given = [answer.get(name) for name in ("D_0", "D_1", "share_0")]
    usable = all(isinstance(value, (int, float)) for value in given)
    assert usable, "`by_hand` still has dots in it: give each of the three names a plain number."
    wrong = {'D_0 exchanged': 0.266667,
 'D_1 exchanged': 0.64,
 'half': 0.5,
 'over both classes': 0.366667,
 'share of the labels': 0.2,
 'share tilted': 0.856637,
 'share of the weights': 0.830189,
 'share of D': 0.670732}

    def looks_like(value, name):
        return abs(value - wrong[name]) < 1e-3

    D_0, D_1, share = given
    why = None
    if not all(0 < value < 1 for value in given):
        why = "All three numbers are probabilities or shares, between 0 and 1."
    elif looks_like(D_0, "D_0 exchanged") or looks_like(D_1, "D_1 exchanged"):
        why = "D looks exchanged: it is the probability that the pair of image and label is data."
    elif looks_like(D_0, "half") or looks_like(D_1, "half"):
        why = "D is 1/2 for the images alone, but the pairs (x, c) of data and samples differ."
    elif looks_like(D_0, "over both classes"):
        why = "D_0 compares class 0 with all of the batch: D is told the class, compare within it."
    elif abs(D_0 + D_1 - 1) < 1e-3:
        why = "D_0 and D_1 add up to 1, as if D were a law over classes: it is one over y."
    elif looks_like(share, "share of the labels"):
        why = "This share is that of the labels drawn: each draw also has a weight, e^a."
    elif looks_like(share, "share tilted"):
        why = "This share is right for draws whose labels have the law p(c): these have another."
    elif looks_like(share, "share of the weights"):
        why = "This share compares the weights of single draws: how many draws has each class?"
    elif looks_like(share, "share of D"):
        why = "This share uses D for the weight: the softmax of the logits has e^a = D/(1 - D)."
    elif looks_like(share, "half"):
        why = "The classes do not get equal shares: neither draws nor weights are equal."
    assert why is None, why
