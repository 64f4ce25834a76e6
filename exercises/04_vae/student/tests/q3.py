# Generated from exercises/04_vae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(bumpy_elbo):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    logits = numbers([0.4, -0.3]).requires_grad_()
    mean = numbers([1.1, -0.9]).requires_grad_()
    log_s = numbers([-0.9, -0.5]).requires_grad_()
    noise = torch.linspace(-8, 8, 801, dtype=torch.float64)
    law = (-(noise**2) / 2).softmax(0)  # a fine grid: means over the noise are exact
    answer = bumpy_elbo(logits, mean, log_s, 1.6, 0.8, noise) if callable(bumpy_elbo) else None
    usable = isinstance(answer, torch.Tensor) and answer.shape == (801,)
    assert usable, "`bumpy_elbo` does not return one estimate for each noise yet, shape (N,)."

    value = float((law @ answer).detach())
    looks = {
        -2.515831: "Each bump is compared with its own density: q(z) is that of the whole mixture.",
        -1.880376: "Your log q is that of the code *and* the bump, and q(z) is that of the code.",
        -1.844425: "Every bump counts equally in your mean, but they are not picked equally often.",
        -1.900232: "Your bumps have equal weights: use the softmax of the logits.",
        -3.688850: "The bumps are added up without their weights.",
        -0.363914: "The prior is missing: log p(x, z) has two parts.",
        -0.344089: "The likelihood is missing: log p(x, z) has two parts.",
        -2.804281: "The bumps are too wide: exp(log_s) is a standard deviation, not a variance.",
        -2.038088: "The bumps are too narrow: exp(log_s) is a standard deviation already.",
        -2.972221: "The decoder's mean is z squared, and yours looks like z.",
        1.937748: "The sign is that of a loss: the question asks for the bound.",
    }
    why = None
    if abs(value - -1.937748) > 1e-5:
        why = f"The mean over the noise is {value:.4f}, not the ELBO, which has all constants."
        for number, sentence in looks.items():
            if abs(value - number) < 1e-5:
                why = sentence
    elif not answer.requires_grad:
        why = "The value is right, but no gradient reaches the parameters of the encoder."
    assert why is None, why
    found = torch.autograd.grad(law @ answer, [logits, mean, log_s], allow_unused=True)
    wanted = ([-0.12302329, 0.12302329], [-0.85145831, 0.46454335], [-0.42014158, -0.67537795])
    names = (
        "The logits get the wrong gradient: no pick, and nothing detached, may stand in the way.",
        "The means get the wrong gradient: let it flow through the code.",
        "The scales get the wrong gradient: let it flow through the code.",
    )
    for name, slope, right in zip(names, found, wanted, strict=True):
        if why is None and (slope is None or not torch.allclose(slope, numbers(right), atol=1e-5)):
            why = name
    assert why is None, why
