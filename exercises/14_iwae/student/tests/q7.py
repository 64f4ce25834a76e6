# Generated from exercises/14_iwae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(table_gradient):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    eta, joint = numbers([0.3, -0.4, 0.1]), numbers([0.10, 0.05, 0.20])
    draws = torch.tensor([[0, 2, 2], [1, 0, 2]])
    answer = table_gradient(eta, joint.log(), draws) if callable(table_gradient) else None
    usable = isinstance(answer, torch.Tensor) and answer.shape == (2, 3)
    assert usable, "`table_gradient` does not return a gradient for each group yet, shape (G, Z)."
    answer = answer.detach().to(torch.float64)
    looks = [
        (
            [[0.49536480, 0.72223928, -1.21760407], [0.52324173, -0.39290517, -0.13033656]],
            "Unbiased, but noisy: the baseline of each draw is not subtracted.",
        ),
        (
            [[-0.23750499, -0.00906571, 0.24657070], [-0.19019828, -0.16842694, 0.35862521]],
            "The law of the groups is there, but q is in the weights too.",
        ),
        (
            [[-0.09540832, -0.05547783, 0.15088615], [-0.10293088, -0.03565448, 0.13858536]],
            "The group and its baseline are not averaged over k and k - 1 draws, respectively.",
        ),
        (
            [[-0.49950558, -0.22354411, 0.72304969], [-0.39736959, -0.15662482, 0.55399441]],
            "The part from the weights has the wrong sign: q is in their denominator.",
        ),
        (
            [[-0.05891931, 0.16399009, -0.10507078], [0.02930853, -0.12478006, 0.09547153]],
            "Your baseline is the mean of logarithms, and it should be the logarithm of the mean.",
        ),
        (
            [[0.26200058, 0.21447841, -0.47647899], [0.20717131, -0.01180212, -0.19536919]],
            "The weights are differentiated, but the law of the groups depends on eta too.",
        ),
        (
            [[0.0081652, 0.0684709, -0.0766361], [0.00565768, -0.06007635, 0.05441867]],
            "This is the mean over the draws, where the scores of a product add up.",
        ),
        (
            [[-0.02449559, -0.2054127, 0.22990829], [-0.01697303, 0.18022905, -0.16325602]],
            "The sign is that of a loss: the question asks for the gradient of the bound.",
        ),
    ]
    right = numbers([[0.02449559, 0.2054127, -0.22990829], [0.01697303, -0.18022905, 0.16325602]])
    why = None
    if not torch.allclose(answer, right, rtol=0, atol=1e-6):
        why = "This is not the estimate for the two groups of the check."
        if not torch.allclose(answer.sum(1), numbers(0.0), atol=1e-6):
            why = "A softmax does not feel the sum of its logits, so each row should sum to zero."
        for found, sentence in looks:
            if torch.allclose(answer, numbers(found), rtol=0, atol=1e-6):
                why = sentence
    assert why is None, why
    small = table_gradient(eta, joint.log() - 2000, draws)
    if not torch.allclose(small.detach().to(torch.float64), right, rtol=0, atol=1e-6):
        why = "With log p(x, z) near -2000 the answer is lost: exp underflows, stay with logs."
    assert why is None, why
