# Generated from exercises/14_iwae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(two_teachers):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    leaves = [numbers(value).requires_grad_() for value in (0.8, 0.9, -0.6)]
    noise = numbers([[0.5, -1.0], [-0.3, 0.8], [1.2, 0.1]])  # k = 3 draws, two groups
    answer = two_teachers(*leaves, 1.5, 0.7, 0.3, noise) if callable(two_teachers) else None
    usable = isinstance(answer, torch.Tensor) and answer.shape == (2,)
    assert usable, "`two_teachers` does not return one number for each group yet, shape (N,)."

    def near(left, right):
        return torch.allclose(left.detach(), numbers(right), rtol=0, atol=2e-6)

    why, value = None, numbers([-2.05154192, -2.15117108])
    if not near(answer, value.tolist()):
        why = "The values are not log (1/k) sum w of the two groups, with all constants."
        if near(answer, (value + numbers(3.0).log()).tolist()):
            why = "The weights are summed and not averaged: log k is missing."
        elif near(answer, (value + numbers(1.5).log()).tolist()):
            why = "The sum of the weights is divided by k - 1, and there are k draws."
        elif near(answer, (-value).tolist()):
            why = "The sign is that of a loss: the question asks for the bound."
    elif not answer.requires_grad:
        why = "The values are right, but no gradient reaches the parameters."
    assert why is None, why
    weighted = answer @ numbers([1.0, -0.5])
    found = torch.autograd.grad(weighted, leaves, allow_unused=True)
    slopes = torch.stack([numbers(0.0) if slope is None else slope.reshape(()) for slope in found])
    looks = {
        (-0.140263, -0.163220): "This is L_k alone, the squared shares: where is alpha?",
        (-0.067836, -0.265580): "This is W_k alone: where is alpha?",
        (-0.118535, -0.193928): "The two teachers look exchanged: alpha belongs to L_k.",
        (
            -0.208098,
            -0.428800,
        ): "These are plain shares along the path, which is right for one alpha only.",
        (
            -1.117222,
            -0.372477,
        ): "This is the standard gradient of L_k: with the score, without alpha.",
        (
            0.301220,
            -0.151169,
        ): "Right on average, but the scores are still there: use the path only.",
        (
            -0.998687,
            -0.178549,
        ): "The score of q was counted, although it has been put into the path.",
        (
            0.005406,
            0.136940,
        ): "The wake part has the wrong sign: a score with a factor *is* a path.",
        (-0.070418, -0.088046): "A share too many: the logarithm of a sum brings one of its own.",
        (
            0.206424,
            -0.687528,
        ): "A share is missing: each draw's coefficient vanishes with its share.",
        (0.0, 0.0): "No gradient reaches the encoder: the path through the codes is cut.",
    }
    if not near(slopes[0], -0.529039):
        why = "The decoder gets another gradient than the shares give it: it has one teacher only."
    elif not near(slopes[1:], [-0.089564, -0.234872]):
        why = "The encoder's gradient is not the sum that the question asks for."
        for pair, sentence in looks.items():
            if near(slopes[1:], pair):
                why = sentence
    assert why is None, why
