# Generated from exercises/15_iwgan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(exact_weight):
    import torch

    # p_g = (0.5, 0.3, 0.2), p_data = (0.2, 0.3, 0.5), tau_1 = 0.25 and pi_1 = 0.6.
    a = torch.tensor([2 / 15, 1 / 3, 5 / 6], dtype=torch.float64).log()
    answer = exact_weight(a, 0.6, 0.25) if callable(exact_weight) else None
    usable = isinstance(answer, torch.Tensor) and answer.shape == (3,)
    assert usable, "`exact_weight` does not return one weight for each logit yet."

    def like(*values):
        wanted = torch.tensor(values, dtype=torch.float64)
        return torch.allclose(answer.detach(), wanted, rtol=0, atol=1e-5)

    why = None
    if not like(0.0752941, 0.25, 0.8636364):
        why = "The weight at the second state should be 0.25, where p_g and p_data are equal."
        if like(0.1333333, 0.3333333, 0.8333333):
            why = "These are the printed weights q^r / q, which need batches that follow p(y)."
        elif like(0.0533333, 0.1333333, 0.3333333):
            why = "p(y) times the printed weight is exact only for batches that follow p(y)."
        elif like(0.08, 0.2, 0.5):
            why = "The printed weight is multiplied with the share of the wrong domain."
        elif like(0.1, 0.25, 0.625):
            why = "This uses the shares of the old batches in the place of p(y)."
        elif like(0.64, 1.0, 1.9):
            why = "The reversed discriminator is missing: this is p_0 / p_g alone."
        elif like(0.0564706, 0.15, 0.4090909):
            why = "e^a is taken for p_data / p_g, but the batches were uneven."
        elif like(0.0501961, 0.1166667, 0.2575758) or like(0.0908497, 0.2013889, 0.4040404):
            why = "The odds of the batches enter the wrong way round."
        elif abs(answer.sum().item() - 1) < 1e-9:
            why = "These are shares that sum to one: the question asks for the weights themselves."
    assert why is None, why
