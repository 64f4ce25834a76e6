# Generated from exercises/16_aavae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(near_the_data):
    import torch

    answer = near_the_data(2.0, 1.0) if callable(near_the_data) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    usable = usable and not any(part is ... or part is None for part in answer)
    assert usable, "`near_the_data` does not return two numbers yet: left and speed."
    left, speed = (float(part) for part in answer)
    p_data = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    eps = 1e-6 * torch.tensor([1.0, -2.0, 3.0, -1.5], dtype=torch.float64)
    p_g = p_data * (1 + eps)
    pool, logit = (p_data + p_g) / 2, -torch.log1p(eps)

    def aim_and_step(s, b):
        weight = pool * torch.sigmoid(s * logit + b)
        aim, step = weight / weight.sum(), weight.sum() * p_g - weight  # in the logits of p_g
        return (aim - p_data)[0] / (p_data * eps)[0], step[0]

    seen, step = (float(part) for part in aim_and_step(2.0, 1.0))
    ratio = step / float(aim_and_step(1.0, 0.0)[1])

    def near(value, wrong):
        return abs(value - wrong) < 1e-4

    why = None
    if not near(left, seen):
        why = "`left` is not the error that remains when the model is fitted with s = 2 and b = 1."
        if near(left, -0.5):
            why = "This `left` is the chapter's, without an offset: b changes the judge's slope."
        elif near(left, -seen):
            why = "`left` has the wrong sign: does this judge aim short of the data, or past them?"
        elif near(left, 0.1067761):
            why = "The aim is normalised: a judge that trusts all images more does not move it."
        elif near(left, -0.9621172):
            why = "Look at the slope of log D in the logit: where D is near 1 it is small."
        elif near(left, -0.5378828):
            why = "The pool is not the data: half of it are samples, with an error of their own."
    assert why is None, why
    if not near(speed, ratio):
        why = "`left` is right, and `speed` is not the ratio of the two gradients at s = 2, b = 1."
        if near(speed, 1.5):
            why = "This `speed` is that of the chapter, without an offset."
        elif near(speed, ratio / 0.7310586):
            why = "`speed` lacks the mean weight: a step is not normalised, unlike an aim."
        elif near(speed, ratio / 2):
            why = "`speed` compares with the step of D*, which has a half in it already."
        elif near(speed, 1 - left):
            why = "A step and a fit differ: the length of a step depends on the weight of the pool."
    assert why is None, why
