# Generated from exercises/11_wake_sleep_links/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(target):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return left.shape == right.shape and torch.allclose(left, right, rtol=0, atol=1e-9)

    def scaled(law):
        return law / law.sum()

    p_g, a = numbers([0.1, 0.4, 0.3, 0.2]), numbers([0.9, -1.2, 0.4, 2.0])
    D = a.sigmoid()
    losses = {"logit": -a, "usual": -D.log(), "minimax": (1 - D).log(), "score": -D}

    def step(loss):
        """The slope of E[loss] in the logits of p_g."""
        return p_g * (loss - p_g @ loss)

    for name, loss in losses.items():
        t = target(name, p_g, a) if callable(target) else None
        usable = isinstance(t, torch.Tensor) and t.shape == (4,)
        assert usable, "`target` does not return a tensor of shape (X,) yet."
        t = t.detach()
        why = None
        if not bool((t > 0).all()) or abs(float(t.sum()) - 1) > 1e-9:
            why = f'"{name}": t should be a law, positive and with the sum one.'
        elif not near(step((p_g / t).log()), step(loss)):
            why = f'"{name}": the slope of KL(p_g || t) is not that of the loss.'
            if near(step((p_g / t).log()), -step(loss)):
                why = f'"{name}": the sign is turned, so t sits where the loss is large.'
            elif near(step(t.log()), -step(loss)):
                why = f'"{name}": p_g has a logarithm of its own in KL(p_g || t), at theta_0 too.'
            for other, its in losses.items():
                if other != name and near(step((p_g / t).log()), step(its)):
                    why = f'"{name}": this is the target of the loss "{other}".'
        assert why is None, why
    far = numbers([-1000.0, 3.0, 900.0, 1000.0])
    for name in losses:
        t = target(name, p_g, far)
        good = bool(torch.isfinite(t).all()) and abs(float(t.sum()) - 1) < 1e-9
        assert good, f'"{name}": with logits near 1000 the answer is not a law, so stay with logs.'
