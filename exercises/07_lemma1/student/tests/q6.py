# Generated from exercises/07_lemma1/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 4
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(diagnose):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    names = ("correct", "stale target", "moving prior", "plain JSD", "minimax", "no reversal")
    p_data, p_y = numbers([0.1, 0.1, 0.25, 0.55]), numbers([0.2, 0.8])
    logits = numbers([-1.5, 0.3, 0.0, -0.45])
    theta, theta_old = numbers([-0.4, 0.9, -0.9, -0.5]), numbers([-1.2, 0.1, -2.5, 0.8])
    runs = [
        ("Ada", [0.015487, -0.020699, -0.000257, 0.005469], 'minimax'),
        ("Blaise", [0.037668, -0.041197, -0.002729, 0.006259], 'moving prior'),
        ("Chen", [0.026846, -0.014091, -0.005141, -0.007614], 'stale target'),
    ]
    sentences = {
        "correct": "{who}'s gradient is not that of -L_theta: compute that one and compare.",
        "stale target": "{who}'s prior is not the one at theta_old: stale is frozen too early.",
        "moving prior": "{who}'s prior is frozen: moving means that the gradient flows through it.",
        "plain JSD": "{who}'s JSD has the weights p(y): the mistake is elsewhere.",
        "minimax": "{who} did not differentiate log(1 - D): compare size and direction.",
        "no reversal": "{who} reversed the discriminator: without it the step turns round.",
    }
    found = []
    for who, g, truth in runs:
        assert callable(diagnose), "`diagnose` is not a function any more."
        name = diagnose(numbers(g), theta, theta_old, logits, p_data, p_y)
        assert name in names, "`diagnose` does not return one of the six names yet."
        found.append((who, name, truth))
    why = None
    if len({name for _, name, _ in found}) == 1:
        why = "All three runs get the same name although their gradients differ: is g used?"
    else:
        for who, name, truth in found:
            if why is None and name != truth:
                why = sentences[name].format(who=who)
    assert why is None, why
