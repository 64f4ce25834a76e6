# Generated from exercises/05_gan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(density_ratio):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    # p_data = (0.5, 0.3, 0.2), p_g = (0.2, 0.3, 0.5), batches of 100 data and 50 samples, s = 0.1:
    # training to the optimum gave these three D.
    D = numbers([0.75, 0.6, 0.4])
    answer = density_ratio(D, 100, 50, 0.1) if callable(density_ratio) else None
    usable = isinstance(answer, torch.Tensor) and answer.shape == (3,)
    assert usable, "`density_ratio` does not return one number for each state yet."

    def like(values):
        return torch.allclose(answer.detach(), numbers(values), rtol=0, atol=1e-4)

    why = None
    if not like([2.5, 1.0, 0.4]):
        why = "The ratios should be 2.5, 1 and 0.4 in a world with p_data / p_g = 0.5 / 0.2, ..."
        if like([3.0, 1.5, 0.66667]):
            why = "These are the plain odds of D, which fit equal numbers and hard labels only."
        elif like([1.5, 0.75, 0.33333]):
            why = "The smoothing is missing: with s > 0, how high is D where only data come?"
        elif like([5.0, 2.0, 0.8]):
            why = "The numbers of the batch are missing: twice as many data push D up everywhere."
        elif like([10.0, 4.0, 1.6]):
            why = "The numbers of the batch enter the wrong way round: with more data, D is higher."
        elif like([13 / 6, 5 / 6, 0.3]):
            why = "Here both labels are smoothed, but a generated sample keeps the label 0."
        elif like([0.4, 1.0, 2.5]):
            why = "This is the ratio upside down, p_g / p_data."
        elif like([0.916291, 0.0, -0.916291]):
            why = "This looks like the logarithm of the ratio."
    assert why is None, why
