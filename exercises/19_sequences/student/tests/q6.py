# Generated from exercises/19_sequences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(after_sleep):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    joint = numbers(
        [
            [[0.10, 0.02], [0.03, 0.15]],
            [[0.08, 0.20], [0.12, 0.01]],
            [[0.09, 0.06], [0.04, 0.10]],
        ]
    )
    answer = after_sleep(joint) if callable(after_sleep) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    usable = usable and all(isinstance(part, torch.Tensor) for part in answer)
    usable = usable and answer[0].shape == (3, 2) and answer[1].shape == (3,)
    assert usable, "`after_sleep` does not return two tables, (X, L) and (X,), yet."
    means, price = answer

    def near(found, values):
        right = numbers(values)
        return torch.allclose(found.to(right.dtype), right, rtol=0, atol=1e-5)

    why = None
    if not near(means[:, 0], [0.6, 0.31707317, 0.48275862]) or not near(
        means[:, 1], [0.56666667, 0.51219512, 0.55172414]
    ):
        why = "Sleep still has a slope at these probabilities, so it has not settled."
        if near(means[:, 0], [1.0, 0.0, 1.0]):
            why = "You return the most probable state, but a dream may come from any of them."
        elif near(means[:, 0], [0.45, 0.45, 0.45]):
            why = "Your probabilities are the same for every sentence: they ignore what was dreamt."
        elif near(means[:, 0], [0.18, 0.13, 0.14]):
            why = "You use p(h, x) in the place of p(h|x)."
        elif near(means[:, 0], [0.4, 0.68292683, 0.51724138]):
            why = "These are the probabilities of h = 0."
        elif near(means[:, 0], [0.72304448, 0.17134629, 0.48148946]):
            why = "This recognition minimises the bound's own gap, which is not what sleep does."
    elif not near(price, [0.28134958, 0.27112127, 0.05287122]):
        why = "The probabilities are right, and the price is not log p(x) - ELBO(x)."
        if near(price, [0.23367056, 0.19828849, 0.05085754]):
            why = "In the price the slots of the divergence are those of the bound, not of sleep."
        elif near(price, [1.48532238, 1.16271939, 1.29074558]):
            why = "This is -ELBO: the price is measured from log p(x)."
        elif near(price, [0.0, 0.0, 0.0]):
            why = "Nothing to pay would need an exact recognition, which a product cannot be here."
    assert why is None, why
