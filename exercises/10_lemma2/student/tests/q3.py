# Generated from exercises/10_lemma2/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(verdict):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return torch.allclose(left, numbers(right), rtol=0, atol=1e-6)

    p_data, p_g, p_y = numbers([0.2, 0.3, 0.5]), numbers([0.5, 0.3, 0.2]), numbers([0.6, 0.4])
    answer = verdict(p_data, p_g, p_y, 0.9, 0.3) if callable(verdict) else None
    usable = isinstance(answer, torch.Tensor) and answer.is_floating_point()
    assert usable, "`verdict` does not return a table of weights yet."
    assert answer.shape == (2, 3), "The table needs a row for each tag and a column for each image."
    inside = bool(((answer >= 0) & (answer <= 1)).all())
    assert inside, "A weight is a probability: yours leave the interval from 0 to 1."
    # By hand, for t = 0: data 0.1 x 0.4 x 0.2 against samples 0.7 x 0.6 x 0.5.
    why = None
    if not near(answer[0, :1], [0.008 / 0.218]):
        why = "By hand, the first image with t = 0 has the weight 0.008/0.218, and yours has not."
        if near(answer[0, :1], [0.210 / 0.218]):
            why = "This is the belief in s = 0, so not reversed: what looks like data gets weight."
        elif near(answer[1, :1], [0.008 / 0.218]):
            why = "The rows are exchanged: row 0 belongs to the tag t = 0."
        elif near(answer[0, :1], [0.02 / 0.37]):
            why = "p(y) is missing: here 60 of 100 images are samples before anybody looks."
        elif near(answer[0, :1], [0.04 / 0.46]):
            why = "This judge reads the tag and does not look at the image."
        elif near(answer[:, 0], [0.08 / 0.38, 0.08 / 0.38]):
            why = "This is the discriminator: the tag is not used."
        elif near(answer[0, :1], [0.1 * 0.08 / 0.38]):
            why = "A belief times the tag's probability is no posterior: how likely is t at all?"
        elif near(answer[0, :1], [0.008 / (0.008 + 0.9 * 0.3)]):
            why = "On samples the tag has an error rate of its own, f, and not that of the data."
    assert why is None, why
    told = verdict(p_data, p_g, p_y, 1.0, 0.0)
    if not (near(told[0], [0.0] * 3) and near(told[1], [1.0] * 3)):
        why = "With h = 1 and f = 0 he is told, and the weights should be 0 and 1."
    assert why is None, why
