# Generated from exercises/15_iwgan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(diagnose):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    names = (
        "correct",
        "not constant",
        "wrong axis",
        "whole batch",
        "softmax of D",
        "logits pushed",
        "squared shares",
    )
    a = numbers([[0.8, -1.2, 2.1], [-0.6, 0.3, -2.4]])
    runs = [  # row after row
        ("Ada", "wrong axis", [-0.51788, -0.29195, -0.22468, -0.26596, -0.72451, -0.02098]),
        ("Blaise", "not constant", [-0.06323, 0.02868, -0.31908, -0.22098, -0.91588, 0.07556]),
        ("Chen", "logits pushed", [-0.19275, -0.02609, -0.70727, -0.25549, -0.62839, -0.04223]),
    ]
    sentences = {
        "correct": "{who}'s direction is not that of the right loss: compute that one and compare.",
        "not constant": "{who}'s shares were constant: none of the draws is pushed backwards.",
        "wrong axis": "{who}'s shares sum to one within each group, not across the groups.",
        "whole batch": "{who}'s shares do not compete across the whole batch.",
        "softmax of D": "{who}'s shares differ by more than a factor e.",
        "logits pushed": "{who} did use the slope of log D: compare the draws with large logits.",
        "squared shares": "{who}'s shares were not squared: compare the draws with small shares.",
    }
    found = []
    for who, truth, g in runs:
        assert callable(diagnose), "`diagnose` is not a function any more."
        name = diagnose(numbers(g).reshape(2, 3), a)
        usable = isinstance(name, str) and name in names
        assert usable, "`diagnose` does not return one of the seven names yet."
        found.append((who, name, truth))
    why = None
    if len({name for _, name, _ in found}) == 1:
        why = "All three students get the same name although their directions differ: is g used?"
    else:
        for who, name, truth in found:
            if why is None and name != truth:
                why = sentences[name].format(who=who)
    assert why is None, why
