# Generated from exercises/12_joint/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(matched_pairs):
    import torch

    p_data = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    answer = matched_pairs(p_data, 0.7) if callable(matched_pairs) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 3
    usable = usable and all(isinstance(part, torch.Tensor) for part in answer)
    assert usable, "`matched_pairs` does not return three tables yet: prior, generator, encoder."
    p_z, generator, encoder = (part.double() for part in answer)
    n = p_z.numel()
    shapes = (tuple(p_z.shape), tuple(generator.shape), tuple(encoder.shape))
    why = None
    if shapes != ((n,), (n, 3), (3, n)):
        why = f"For {n} codes the generator should be ({n}, 3) and the encoder (3, {n})."
    elif any(not bool((part >= 0).all()) for part in (p_z, generator, encoder)):
        why = "A table has a negative entry, or one that is not a number."
    elif any(float((part.sum(-1) - 1).abs().max()) > 1e-9 for part in (p_z, generator, encoder)):
        why = "A row does not sum to one: each is a distribution."
    assert why is None, why
    generated, inferred = (p_z[:, None] * generator).T, p_data[:, None] * encoder
    returned = float((p_data[:, None] * encoder * generator.T).sum())
    if float((generated - inferred).abs().max()) > 1e-9:
        why = "The pairs do not match: the encoder has to be the posterior of the generator."
        if float((generated.sum(1) - p_data).abs().max()) > 1e-9:
            why = "The pairs do not match, since the generator does not even make the data."
        elif float((inferred.sum(0) - p_z).abs().max()) > 1e-9:
            why = "The pairs do not match, since the codes of data do not follow the prior."
    elif abs(returned - 1.0) < 1e-9:
        why = "Every image returns for certain here: that needs no noise at all."
    elif abs(returned - 0.38) < 1e-9:
        why = "Here the codes say nothing about the images, which gives the least r of all."
    elif abs(returned - 0.54516129) < 1e-6:
        why = "An image passes the noise twice, and you counted it once."
    elif abs(returned - 0.68380000) < 1e-6:
        why = "Obeying with probability r is not returning with probability r: follow an image."
    elif abs(returned - 0.81400000) < 1e-6:
        why = "You forgot that an image may return by luck, when a code is not obeyed."
    elif abs(returned - 0.7) > 1e-9:
        why = f"The pairs match, and an image returns with probability {returned:.4f}, not 0.7."
    assert why is None, why
