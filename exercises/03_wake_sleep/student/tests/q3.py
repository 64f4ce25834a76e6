# Generated from exercises/03_wake_sleep/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(weights):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return torch.allclose(left, right, rtol=0, atol=1e-9)

    p_xh = numbers([[0.20, 0.05, 0.05], [0.10, 0.30, 0.02], [0.08, 0.04, 0.16]])
    p_data, eta = numbers([0.5, 0.2, 0.3]), numbers([[0.2, 0.5, 0.0], [1.0, 0.3, -0.4], [0, 0, 1]])
    q = eta.softmax(1)
    p_x = p_xh.sum(1)
    posterior = p_xh / p_x[:, None]
    laws = {"data": p_data, "dreams": p_x}

    def wanted(pictures, direction):
        """The gradient in the logits of q, by autograd."""
        e = eta.clone().requires_grad_()
        r = e.softmax(1)
        seek = (r * (r / posterior).log()).sum(1)
        cover = (posterior * (posterior / r).log()).sum(1)
        kl = seek if direction == "seek" else cover
        return torch.autograd.grad((laws[pictures] * kl).sum(), e)[0]

    def step(W):
        """-E_P[W grad log q] in the logits of q."""
        pulled = p_data[:, None] * q * W
        return q * pulled.sum(1, keepdim=True) - pulled

    for pictures in laws:
        for direction in ("seek", "cover"):
            W = weights(pictures, direction, p_xh, p_data, q) if callable(weights) else None
            usable = isinstance(W, torch.Tensor) and W.shape == q.shape
            assert usable, "`weights` does not return a tensor of shape (X, H) yet."
            found, right = step(W), wanted(pictures, direction)
            other = "dreams" if pictures == "data" else "data"
            turned = "cover" if direction == "seek" else "seek"
            where = f'"{pictures}", "{direction}": '
            why = None
            if not near(found, right):
                why = where + "the weighted pairs do not give this gradient."
                if near(found, -right):
                    why = where + "the sign is turned, since pairs with W > 0 become more probable."
                elif near(found, wanted(other, direction)):
                    why = where + f"this is the step on {other}: the law of x is not the asked one."
                elif near(found, wanted(pictures, turned)):
                    why = where + "this is the other direction of the KL divergence."
                elif near(found, wanted(other, turned)):
                    why = where + "both the pictures and the direction are exchanged."
                elif near(found, right * p_data[:, None]):
                    why = where + "a p_data(x) is too many: the pairs bring it with them already."
                elif near(found, torch.zeros_like(found)):
                    why = where + "W depends on x alone, and such a weight moves nothing."
            assert why is None, why
