# Generated from exercises/16_aavae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(settled):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return torch.allclose(left, numbers(right), rtol=0, atol=1e-7)

    D_star, cost = numbers([0.25, 0.5, 0.8]), numbers([1.0, 2.0, 0.5])
    answer = settled(D_star, cost, 1.5) if callable(settled) else None
    usable = isinstance(answer, torch.Tensor) and answer.shape == (3,)
    assert usable, "`settled` does not return a value for each image yet."
    assert bool(torch.isfinite(answer).all()), "Some of the values are not finite numbers."
    inside = bool(((answer > 0) & (answer < 1)).all())
    assert inside, "D(x) should lie between 0 and 1: which of the two roots does?"
    k = 1.5 * cost
    slope = -D_star / answer + (1 - D_star) / (1 - answer) + k
    why = None
    if float(slope.abs().max()) > 1e-7:
        why = "At your D(x) the objective still has a slope: it has not settled."
        if near(answer, [0.25, 0.5, 0.8]):
            why = "This is D*, as if nothing had leaked."
        elif bool((answer > D_star).all()):
            why = "The leak pushes the wrong way: a smaller D makes the autoencoder's loss smaller."
        elif near(answer, [0.06922778, 0.04742587, 0.65391532]):
            why = "Your divergence is reversed: in the cross-entropy the logarithms are those of D."
        elif near(answer, [0.13397460, 0.19098301, 0.69377423]):
            why = "The strength is missing: this is the case of a plain sum of the two losses."
        elif near(answer, [0.10000000, 0.12500000, 0.45714286]):
            why = "The term with D squared is missing: this holds for a small D only."
    assert why is None, why
    if not near(settled(D_star, cost, 0.0), [0.25, 0.5, 0.8]):
        why = "Without a leak the discriminator should be D*, and yours is not: is it 0 by 0?"
    elif not near(settled(D_star, numbers([1e-12] * 3), 1.0), [0.25, 0.5, 0.8]):
        why = "With a tiny leak digits get lost: the difference of two nearly equal numbers."
    assert why is None, why
