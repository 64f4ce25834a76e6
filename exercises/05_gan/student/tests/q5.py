# Generated from exercises/05_gan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 4
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(diagnose):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    names = ("correct", "minimax", "no detach", "sigmoid twice", "swapped labels", "sum")
    theta, phi = numbers([0.4, 0.9, -0.3]), numbers([0.5, -1.1, 0.2])
    z_d, z_g = numbers([0.3, -1.2, 0.8, 1.7]), numbers([-0.6, 0.1, 1.4, -1.9])
    runs = [
        ("Ada", [-0.263216, 0.289628, -0.474715], "no detach"),
        ("Blaise", [0.892331, -0.984448, 2.034580], "minimax"),
        ("Chen", [0.060908, 0.008155, 0.046376], "sigmoid twice"),
    ]
    sentences = {
        "correct": "{who}'s gradient is not the one of J_G on z_g: compute that one and compare.",
        "minimax": "{who}'s generator does not minimise log(1 - D): mind its sign.",
        "no detach": "{who}'s gradient has no part that comes from J_D: which noise does J_D use?",
        "sigmoid twice": "{who} gave the logits to softplus, and not probabilities.",
        "swapped labels": "{who}'s generator does not ask to be recognised.",
        "sum": "{who}'s gradient is not B times the intended one.",
    }
    found = []
    for who, g, truth in runs:
        assert callable(diagnose), "`diagnose` is not a function any more."
        name = diagnose(numbers(g), theta, phi, z_d, z_g)
        usable = isinstance(name, str) and name in names
        assert usable, "`diagnose` does not return one of the six names yet."
        found.append((who, name, truth))
    why = None
    if len({name for _, name, _ in found}) == 1:
        why = "All three students get the same name although their gradients differ: is g used?"
    else:
        for who, name, truth in found:
            if why is None and name != truth:
                why = sentences[name].format(who=who)
    assert why is None, why
