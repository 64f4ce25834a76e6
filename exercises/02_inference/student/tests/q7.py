# Generated from exercises/02_inference/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(linear_vae):
    import torch

    def near(left, right):
        right = torch.tensor(right, dtype=torch.float64)
        return left.shape == right.shape and torch.allclose(left, right, rtol=0, atol=1e-7)

    lam = torch.tensor([9.0, 5.0, 3.0, 0.4], dtype=torch.float64)
    answer = linear_vae(lam, 0.5, 2.0) if callable(linear_vae) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    usable = usable and all(isinstance(part, torch.Tensor) for part in answer)
    assert usable, "`linear_vae` does not return two tensors yet: lengths and nats."
    lengths, nats = answer
    why = None
    if lengths.shape != (4,) or nats.shape != (4,):
        why = "Both results have one number for each eigenvalue, here four."
    elif bool(lengths.isnan().any()) or bool((lengths < 0).any()):
        why = "A length is negative or NaN: what is the best column where lam_j is small?"
    elif not near(lengths[:3], [8**0.5, 2.0, 2**0.5]):
        why = "The lengths are not the best ones for sigma^2 = 0.5 and beta = 2."
        if near(lengths[:3], [8.5**0.5, 4.5**0.5, 2.5**0.5]):
            why = "These lengths are right for beta = 1: a dear code changes the decoder, too."
        elif near(lengths[:3], [8.0, 4.0, 2.0]):
            why = "These are the squares of the lengths."
        elif near(lengths[:3], [8.75**0.5, 4.75**0.5, 2.75**0.5]):
            why = "Here beta makes the noise smaller: does a dear code mean less noise or more?"
        elif near(lengths[:3], [3.0, 5**0.5, 3**0.5]):
            why = "A part of each variance is explained by the noise: the column has the rest."
    elif not near(lengths[3:], [0.0]):
        why = "The last eigenvalue is below the noise that the loss sees: is that column needed?"
    elif not near(nats[:3], [1.0986122886681098, 0.8047189562170503, 0.5493061443340549]):
        why = "The lengths are right, and the nats in the living coordinates are not."
        if near(nats[:3], [2.1972245773362196, 1.6094379124341003, 1.0986122886681098]):
            why = "The nats are twice too large: a factor 1/2 is missing, or beta is still in them."
        elif near(nats[:3], [1.4451858789480825, 1.1512925464970229, 0.8958797346140275]):
            why = "These nats are right for beta = 1: the spread of q depends on beta."
        elif bool((nats < 0).any()):
            why = "A KL divergence is never negative: mind the sign of the logarithm."
    elif not near(nats[3:], [0.0]):
        why = "A dead coordinate costs nothing: its q is the prior."
    assert why is None, why
