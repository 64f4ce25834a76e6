# Generated from exercises/19_sequences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(by_token):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    p_g, p_data = numbers([[0.10, 0.25], [0.45, 0.20]]), numbers([[0.5, 0.0], [0.1, 0.4]])
    D = numbers([[0.9, 0.3], [0.4, 0.5]])
    found = by_token(p_g, p_data, D, 0.3) if callable(by_token) else None
    usable = isinstance(found, torch.Tensor) and found.shape == (2,)
    assert usable, "`by_token` does not return a number for each word yet."

    def near(values):
        return torch.allclose(found, numbers(values), rtol=0, atol=1e-6)

    why = None
    if not near([0.03614123, 0.24694961]):
        why = "In this world of two words, with p(y=1) = 0.3, the parts are others."
        if near([0.00575786, 0.02873788]):
            why = "The discriminator is not reversed: what looks like data is explained as y = 0."
        elif near([0.07438476, 0.42553718]):
            why = "p(y) is not uniform here: how large are the two parts of the mixture?"
        elif near([0.00093349, 0.05187504]):
            why = "The target is made of samples only, but it is drawn from both domains."
        elif near([0.69295648, 0.24694961]):
            why = "Your target does not sum to one, and the first word pays for it."
        elif near([0.03727836, 0.29977263]):
            why = "This divergence has p_g in the other slot."
        elif near([0.03614123, 0.02035250]):
            why = "You judge each word by itself, without the words before it."
        elif near([0.03614123, 0.28309084]):
            why = "These are the divergences up to and including each word: what does one add?"
        elif near([0.03614123, 0.31620584]):
            why = "The second word follows a first word, but whose beginnings are averaged over?"
        elif near([0.24694961, 0.03614123]):
            why = "The two words are exchanged."
    assert why is None, why
