# Generated from exercises/11_wake_sleep_links/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(best_encoder):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return left.shape == right.shape and torch.allclose(left, right, rtol=0, atol=1e-7)

    p_z, beta = numbers([0.5, 0.3, 0.2]), 0.5
    lik = numbers([[0.7, 0.2, 0.4], [0.3, 0.8, 0.6]])

    answer = best_encoder(lik.log(), p_z, beta) if callable(best_encoder) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2 and ... not in answer
    usable = usable and all(isinstance(part, torch.Tensor) for part in answer)
    assert usable, "`best_encoder` does not return two tensors yet: q and the value."
    q, value = (part.detach() for part in answer)
    assert q.shape == (2, 3), "q should have one row for each picture, shape (X, Z)."
    assert value.shape == (2,), "The value should be one number for each picture, shape (X,)."
    proper = near(q.sum(1), torch.ones(2, dtype=torch.float64)) and bool((q >= 0).all())
    assert proper, "Each row of q should be a distribution over z."

    def J(q):
        kl = (q * (q.clamp(min=1e-300) / p_z).log()).sum(1)
        return (q * lik.log()).sum(1) - beta * kl

    def scaled(table):
        return table / table.sum(1, keepdim=True)

    g = torch.Generator().manual_seed(1)
    noise = 0.01 * torch.randn(60, 2, 3, generator=g, dtype=torch.float64)
    around = torch.stack([J(scaled(q * n.exp())) for n in noise])  # J in the neighbourhood
    why = None
    if bool((q < 1e-9).any()):
        why = "This q leaves a code out, which is best only in the limit of beta to 0."
    elif bool((around > J(q) + 1e-9).any()):
        why = "With beta = 0.5, other rows near your q have a larger J."
        if near(q, scaled(p_z * lik)):
            why = "This q is the posterior: it is best for beta = 1, and here beta = 0.5."
        elif near(q, scaled(p_z**beta * lik)):
            why = "Here the prior has been sharpened or flattened: which factor should it be?"
        elif near(q, scaled(p_z * lik**beta)):
            why = "A small beta should make the likelihood count more, and here it counts less."
        elif near(q, scaled(lik ** (1 / beta))):
            why = "The prior is missing: as beta grows, q should go to p(z)."
    elif not near(value, J(q)):
        why = "q is right and the value is not that of J at this q."
        if near(beta * value, J(q)):
            why = "The value lacks a factor: J at beta near 0 should go to the largest log p(x|z)."
        elif near(value, (p_z * lik).sum(1).log()):
            why = "The value is log p_g(x), which is the largest J for beta = 1 only."
        elif near(value, (q * lik.log()).sum(1)):
            why = "The value leaves the KL divergence out."
        elif near(value, -J(q)):
            why = "The value has the wrong sign: J is maximised."
    assert why is None, why
