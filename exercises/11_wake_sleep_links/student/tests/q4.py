# Generated from exercises/11_wake_sleep_links/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(whole_day):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return left.shape == right.shape and torch.allclose(left, right, rtol=0, atol=1e-6)

    p_g, p_data = numbers([0.6, 0.3, 0.1]), numbers([0.2, 0.2, 0.6])
    D, p_y = numbers([0.3, 0.5, 0.8]), numbers([0.7, 0.3])

    def wake(law):
        """The loss of the day for a generator with this law."""
        frozen = p_y[0] * p_g + p_y[1] * p_data
        named = torch.stack([frozen * D, frozen - frozen * D])
        return -float((named * (p_y[:, None] * torch.stack([law, p_data])).log()).sum())

    answer = whole_day(p_g, p_data, D, p_y) if callable(whole_day) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2 and ... not in answer
    assert usable, "`whole_day` does not return two things yet: the new p_g and what is left."
    new, left = (torch.as_tensor(part).detach() for part in answer)
    assert new.shape == (3,), "The new p_g should have shape (X,)."
    assert left.numel() == 1, "What is left should be one number."
    proper = bool((new > 0).all()) and abs(float(new.sum()) - 1) < 1e-9
    assert proper, "The new p_g should be a law, positive and with the sum one."
    why = None
    if wake(new) > 2.10041967:
        why = "Another p_g has a smaller loss in this world than yours."
        if near(new, numbers([0.64491363, 0.25911708, 0.09596929])):
            why = "You took the judge as it is: by day the reversed one names y."
        elif near(new, numbers([0.09375000, 0.15625000, 0.75000000])):
            why = "You took the pictures from the data alone: the day draws from the mixture."
        elif near(new, numbers([0.43902439, 0.36585366, 0.19512195])):
            why = "You took the pictures from the generator alone: the day draws from the mixture."
        elif near(new, numbers([0.22857143, 0.23809524, 0.53333333])):
            why = "Your mixture has equal weights, and here p(y) = (0.7, 0.3)."
        elif near(new, numbers([0.48000000, 0.27000000, 0.25000000])):
            why = "You kept all pictures of the day: the generator imitates those named y = 0."
    elif abs(float(left) - 0.44255557) > 1e-6:
        value = float(left)
        why = f"The new p_g is right, and {value:.4f} is not the divergence that is left."
        if abs(value) < 1e-9:
            why = "Something is left, since p(y) and the data do not move with the generator."
        elif abs(value - 0.344112) < 1e-5:
            why = "The divergence is reversed: the pairs of the day come first."
        elif abs(value - 0.620452) < 1e-5:
            why = "This is the divergence before the day, with the old p_g in Q."
        elif abs(value - -0.355562) < 1e-5:
            why = "Q has lost its factor p(y): it is a law of pairs."
        elif abs(value - 2.100420) < 1e-5:
            why = "This is the loss of the day: the divergence lacks the entropy of the pairs."
    assert why is None, why
