# Generated from exercises/17_conditional/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(seen_and_hidden):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    p_c = numbers([0.1, 0.4, 0.5])
    p_g = numbers([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])
    p_data = numbers([[0.1, 0.3, 0.6], [0.3, 0.4, 0.3], [0.5, 0.3, 0.2]])
    given = (p_c, [4, 7, 4], p_g, p_data)  # classes 0 and 2 are of one group
    answer = seen_and_hidden(*given) if callable(seen_and_hidden) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    assert usable, "`seen_and_hidden` does not return two numbers yet."
    seen, hidden = (torch.as_tensor(part) for part in answer)
    assert seen.numel() == hidden.numel() == 1, "Both numbers should be scalars."
    seen, hidden = seen.item(), hidden.item()

    def near(left, right):
        return abs(left - right) < 1e-6

    why = None
    if not near(seen, 0.040536534):
        why = f"seen is {seen:.6f}, which is not log 2 minus the best loss of the judge."
        if near(seen, 0.098618176):
            why = "Your judge is told the class: she knows only in which group it is."
        elif near(seen, 0.029491857):
            why = "Your judge is blind: she knows at least the group of the class."
        elif near(seen, 2 * 0.040536534):
            why = "seen is twice too large: both domains have the weight 1/2."
        elif near(seen, 0.004387214):
            why = "The classes of a group are mixed with equal weights, and p(c) is not uniform."
        elif near(seen, 0.035083345):
            why = (
                "The groups are averaged with equal weights: a group has the weight of its classes."
            )
        elif near(seen, 0.652610646):
            why = "This is the best loss itself: seen is what it falls below log 2."
    elif not near(hidden, 0.058081642):
        why = f"seen is right and hidden is not: {hidden:.6f}."
        if near(hidden, 0.098618176):
            why = "hidden is all that a judge who is told can see: a part of it was seen already."
        elif near(hidden, -0.058081642):
            why = "hidden has the wrong sign: whoever is told more sees at least as much."
        elif near(hidden, 0.040536534 - 0.029491857):
            why = "This hidden compares with a blind judge: compare with one who is told the class."
    assert why is None, why
