# Generated from exercises/01_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(information):
    import math

    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    # Urn 0 holds (0.3, 0.1, 0.6, 0): this is the classifier that knows it.
    D, p_1 = numbers([4 / 7, 2 / 3, 1 / 4, 1]), numbers([0.4, 0.2, 0.2, 0.2])
    p_y = numbers([0.9, 0.1])

    answer = information(D, p_1, p_y) if callable(information) else None
    usable = isinstance(answer, (torch.Tensor, float)) and torch.as_tensor(answer).numel() == 1
    assert usable, "`information` does not return one number yet."
    value = float(answer)
    wrong = {
        0.13371816082303: "This is the JSD with even weights, but in use the weights are p(y).",
        0.04518219357630: "The weights are exchanged: p_y[0] belongs to urn 0.",
        -0.21613069491917: (
            "This looks like the score of D itself, but D was trained on even draws: "
            "in use its odds are off by a factor."
        ),
    }
    why = None
    if math.isnan(value) or math.isinf(value):
        why = "A ball with D = 1 makes your answer infinite or NaN: urn 0 never draws it."
    elif abs(value - 0.06743672577488) > 1e-9:
        why = "This is not the information that a ball carries about its urn in the small world."
        for other, sentence in wrong.items():
            if abs(value - other) < 1e-6:
                why = sentence
        if abs(value + 0.06743672577488) < 1e-9:
            why = "Information is never negative: mind the sign."
        elif abs(value + 0.54121366832) < 1e-6:
            why = "This is the mean score of D, made for even draws: change its odds first."
        elif abs(value + 0.25764624762) < 1e-6:
            why = "This is the mean score of the best guess: a guess without the ball scores, too."
        elif abs(value - 0.25764624762) < 1e-6:
            why = "This is what stays uncertain after a look at the ball, not what was learned."
    assert why is None, why
