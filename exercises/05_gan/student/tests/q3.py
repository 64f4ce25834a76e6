# Generated from exercises/05_gan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(generator_loss):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    p_data = numbers([0.35, 0.15, 0.3, 0.2])
    theta = numbers([0.3, -0.2, -0.4, 0.5]).requires_grad_()
    p = theta.softmax(-1)
    a = (p_data / p).log().detach()
    divergences = {
        "KL(p_g||p_data)": (p * (p / p_data).log()).sum(),
        "KL(p_data||p_g)": (p_data * (p_data / p).log()).sum(),
        "chi2": ((p - p_data) ** 2 / p_data).sum(),
        "Hellinger": ((p.sqrt() - p_data.sqrt()) ** 2).sum(),
    }

    def slope(value):
        return torch.autograd.grad(value, theta, retain_graph=True)[0]

    def near(left, right):
        return torch.allclose(left, right, rtol=0, atol=1e-9)

    why = None
    for name, divergence in divergences.items():
        answer = generator_loss(name, a) if callable(generator_loss) else None
        usable = isinstance(answer, torch.Tensor) and answer.shape == (4,)
        assert usable, f"`generator_loss` does not return one number for each logit yet: {name}."
        wanted, found = slope(divergence), slope((p * answer.detach()).sum())
        others = [slope(other) for key, other in divergences.items() if key != name]
        times = float((found * wanted).sum() / wanted.square().sum())
        if why is not None or near(found, wanted):
            continue
        why = f"For {name} the gradient of the frozen loss is not that of the divergence."
        if near(found, 0 * wanted):
            why = f"For {name} your loss is constant, and a constant has no gradient."
        elif near(found, -wanted):
            why = f"For {name} the sign is wrong: the generator would climb."
        elif any(near(found, other) or near(found, -other) for other in others):
            why = f"For {name} your loss follows another divergence of the list."
        elif abs((p * answer - p * divergence).sum().item()) < 1e-9:
            why = f"For {name} the loss has the divergence's value: match gradients, with D frozen."
        elif near(found, times * wanted):
            why = f"For {name} the direction is right and the factor {times:.3g} is wrong."
    assert why is None, why
