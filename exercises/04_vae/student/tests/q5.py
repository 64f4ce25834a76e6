# Generated from exercises/04_vae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(combine):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    # Six images here, two there; two coordinates, two parameters, c = 0.52.
    arguments = (
        numbers([6.0, 2.0]),
        numbers([[1.0, 2.0], [3.0, -2.0]]),
        numbers([[0.7, 0.2], [0.1, 1.2]]),
        numbers([[[0.4, 0.8], [0.2, -0.4]], [[-0.8, 1.6], [1.0, 0.6]]]),
        0.52,
    )
    answer = combine(*arguments) if callable(combine) else None
    usable = isinstance(answer, torch.Tensor) and answer.shape == (2,)
    assert usable, "`combine` does not return a gradient of shape (M,) yet."
    looks = [
        ([2.6, 0.1], "Your machines count equally, but six images are not as many as two."),
        ([2.0, 0.0], "Your machines count equally, but six images are not as many as two."),
        ([1.8, 1.2], "The gradients are averaged over machines, not over images."),
        ([2.05, 1.75], "The maximum is taken on each machine, and it belongs to the whole batch."),
        ([2.0, 1.85], "Nothing is free here: a coordinate below c should add no gradient."),
        ([1.9, 0.85], "The case is the wrong way round: free is what costs less than c."),
        ([1.5, 1.0], "Everything is free here: compare each coordinate with c, not their total."),
        ([12.8, 16.0], "The sizes are used as they are, so this is a sum over images, not a mean."),
        ([2.9, 0.7], "The sizes weigh the rates' gradients, but not the distortion's."),
        ([0.1, 1.0], "The distortion is missing."),
    ]
    why = None
    if not torch.allclose(answer.to(torch.float64), numbers([1.6, 2.0]), rtol=0, atol=1e-9):
        why = "This is not the gradient that one machine would find for these eight images."
        for found, sentence in looks:
            if torch.allclose(answer.to(torch.float64), numbers(found), rtol=0, atol=1e-6):
                why = sentence
    assert why is None, why
