# Generated from exercises/14_iwae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(diagnose):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    log_w = numbers([[-1.0, 0.5], [0.3, -0.7], [-2.0, 1.2]])
    usual = [[-0.099262, -0.150832], [-0.364222, -0.045430], [-0.036516, -0.303738]]
    ada = [[-0.012513, -0.103139], [-0.519401, 0.023451], [0.031913, -0.420312]]
    chen = [[-0.060809, -0.272525], [-0.243686, -0.089647], [-0.013055, -0.320278]]
    runs = [
        ("Ada", -0.345073, ada, "shares attached"),
        ("Blaise", -0.464496, usual, "k - 1"),
        ("Chen", -0.158396, chen, "average over the batch"),
    ]
    sentences = {
        "right": "{who}'s loss is not -L_k: compare the value and the gradient, both.",
        "average after the logarithm": "{who}'s draws do not all receive the same gradient.",
        "average over the batch": "{who}'s images all get the same total: none speaks for another.",
        "shares attached": "{who}'s gradient is not that of shares times log w, shares included.",
        "shares detached": "{who}'s gradient or value is not that of constant shares times log w.",
        "k - 1": "{who}'s value is not off by log(k / (k - 1)): compare it with the right one.",
        "sum": "{who}'s value is not off by log k: compare it with the right one.",
        "best draw": "{who} listens to more than one draw of each image.",
    }
    found = []
    for who, value, gradient, truth in runs:
        assert callable(diagnose), "`diagnose` is not a function any more."
        said = diagnose(value, numbers(gradient), log_w)
        usable = isinstance(said, str) and said in sentences
        assert usable, "`diagnose` does not return one of the eight names yet."
        found.append((who, said, truth))
    why = None
    if len({said for _, said, _ in found}) == 1:
        why = "All three programs get the same name although they differ: is everything used?"
    for who, said, truth in found:
        if why is None and said != truth:
            why = sentences[said].format(who=who)
            if (said, truth) == ("right", "k - 1"):
                why = f"{who}'s gradient is right and the value is not, and both are evidence."
            elif (said, truth) == ("shares detached", "shares attached"):
                why = f"{who}'s value is that of both share losses: use the gradient too."
    assert why is None, why
