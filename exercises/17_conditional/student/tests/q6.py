# Generated from exercises/17_conditional/source.ipynb by `make exercises`. Do not edit.
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

    names = "correct", "blind judge", "uniform labels", "moving samples", "no samples", "rescaled"
    shown = {'p_data': [[0.4, 0.15, 0.25, 0.2], [0.15, 0.15, 0.25, 0.45]],
 'p_c': [0.7, 0.3],
 'theta': [[-1.9, -0.4, 0.2, 0.1], [-0.5, -1.2, -0.2, 0.9]],
 'D': [[0.6, 0.95, 0.05, 0.9], [0.1, 0.8, 0.2, 0.1]],
 'Ada': [[0.030035, 0.024106, -0.059646, 0.005505],
         [-0.001731, 0.010275, -0.013623, 0.005079]],
 'Blaise': [[0.0657, 0.03119, -0.12608, 0.029191],
            [-0.010673, 0.055805, 0.004087, -0.049219]],
 'Chen': [[0.02233, 0.0021, -0.022124, -0.002306],
          [-0.000825, 0.004655, 0.000226, -0.004056]]}
    truths = {'Ada': 'blind judge', 'Blaise': 'rescaled', 'Chen': 'no samples'}
    p_data, p_c, theta, D = (numbers(shown[name]) for name in ("p_data", "p_c", "theta", "D"))
    runs = [(who, shown[who], truth) for who, truth in truths.items()]
    sentences = {
        "correct": "{who} made no mistake: compute the step of the formula and compare directions.",
        "blind judge": "{who}'s weights are the same for all classes: whom did the judge see?",
        "uniform labels": "{who}'s generated images have other class frequencies than the data.",
        "moving samples": "{who}'s update has a part that no frozen pool gives.",
        "no samples": "{who}'s update does not depend on the generated images at all.",
        "rescaled": "{who}'s classes are each in order, and their balance is not.",
    }
    found = []
    for who, update, truth in runs:
        assert callable(diagnose), "`diagnose` is not a function any more."
        name = diagnose(numbers(update), theta, D, p_data, p_c)
        assert name in names, "`diagnose` does not return one of the six names yet."
        found.append((who, name, truth))
    why = None
    if len({name for _, name, _ in found}) == 1:
        why = "All three get the same name although their updates differ: is the update used?"
    else:
        wrong = [(who, truth) for who, name, truth in found if name != truth]
        again = [
            diagnose(factor * numbers(update), theta, D, p_data, p_c)
            for factor in (0.1, 10.0)
            for _, update, _ in runs
        ]
        turned = [diagnose(-numbers(update), theta, D, p_data, p_c) for _, update, _ in runs]
        if wrong and again != 2 * [name for _, name, _ in found]:
            why = "Ten times the learning rate changes your verdict: compare directions, not sizes."
        elif wrong and turned == [truth for _, _, truth in runs]:
            why = "Your verdicts fit the opposite updates: a descent goes against the gradient."
        elif wrong:
            why = sentences[wrong[0][1]].format(who=wrong[0][0])
    assert why is None, why
