# Generated from exercises/12_joint/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(autoencoder_terms):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(found, right):
        return abs(found.item() - right) < 1e-6

    p_data, p_z = numbers([0.5, 0.3, 0.2]), numbers([0.7, 0.3])
    a = numbers([0.8, -1.2])
    decoder = numbers([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]])
    eta = numbers([[1.4, -0.3], [0.2, 0.9], [-1.1, 0.6]]).requires_grad_()
    given = (eta, decoder.log(), a, p_data, p_z, 0.4, 0.5)

    answer = autoencoder_terms(*given) if callable(autoencoder_terms) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    usable = usable and all(isinstance(part, (float, torch.Tensor)) for part in answer)
    assert usable, "`autoencoder_terms` does not return two numbers yet: kl and jsd."
    kl, jsd = (torch.as_tensor(part) for part in answer)
    why = None
    if kl.numel() != 1 or jsd.numel() != 1:
        why = "Both terms should be scalars: sum over the pairs and average over y."
    elif not near(jsd, 0.05901143):
        why = f"jsd is {jsd.item():.6f}, not the JSD with weights p(y) of the two laws of pairs."
        if near(jsd, 0.01104960):
            why = "This is the JSD of the codes: the theorem wants that of all that is in the KL."
        elif near(jsd, 0.06086931):
            why = "The JSD has equal weights, and p(y) is not uniform."
        elif near(jsd, 0.05805612):
            why = "pi_1 belongs to the pairs whose code comes from the prior."
        elif near(jsd, 0.07978698):
            why = "The images are not equally frequent: p_data belongs to both laws."
    elif not near(kl, 0.25743970):
        why = f"kl is {kl.item():.6f}, not the averaged KL divergence to the targets."
        if near(kl, 0.24534350):
            why = "The target has no price: the reconstruction is part of the score of y = 0."
        elif near(kl, 0.29357210):
            why = "The price has the wrong sign: a pair that reconstructs badly should be rare."
        elif near(kl, 0.30899044):
            why = "The weight lam of the reconstruction is missing."
        elif near(kl, 0.30049446):
            why = "Both domains pay for the reconstruction, and only y = 0 should."
        elif near(kl, 0.06637320):
            why = "The verdict is not reversed: y = 0 wants to be taken for the prior."
        elif near(kl, 0.15118138):
            why = "The half with y = 1 is missing: its value is no gradient, but it is not zero."
        elif near(kl, 1.20771483):
            why = "A target does not sum to one over all pairs (the gradient forgives that)."
        elif near(kl, 0.29645822):
            why = "The target has lost its prior, the frozen mixture of both laws of pairs."
        elif near(kl, 0.21768082):
            why = "Each target is one law of *pairs*, and yours is normalised for each image."
    elif not (kl - jsd).requires_grad:
        why = "No gradient reaches eta: only the targets are frozen."
    assert why is None, why
    encoder = p_data[:, None] * eta.softmax(-1)
    score = torch.nn.functional.logsigmoid(a) + 0.5 * decoder.log().T
    (wanted,) = torch.autograd.grad(-0.6 * (encoder * score).sum(), eta)
    (found,) = torch.autograd.grad(kl - jsd, eta)
    if not torch.allclose(found, wanted, rtol=0, atol=1e-9):
        why = "The values are right and the gradient is not: is the target, and only that, frozen?"
    assert why is None, why
