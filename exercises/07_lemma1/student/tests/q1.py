# Generated from exercises/07_lemma1/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(weights):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return abs(torch.as_tensor(left - right).item()) < 1e-9

    p_y, p_data = numbers([0.8, 0.2]), numbers([0.5, 0.3, 0.2])
    D, theta = numbers([0.7, 0.4, 0.1]), numbers([0.2, -0.1, 0.5]).requires_grad_()
    p = torch.stack([theta.softmax(0), p_data])
    L_phi = (p_y[:, None] * p * torch.stack([1 - D, D]).log()).sum()
    L_theta = (p_y[:, None] * p * torch.stack([D, 1 - D]).log()).sum()
    on_data, on_generated = (p[1] * D.log()).sum(), (p[0] * (1 - D).log()).sum()

    answer = weights(0.2) if callable(weights) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 3
    usable = usable and all(isinstance(v, (int, float, torch.Tensor)) for v in answer)
    assert usable, "`weights` still has dots in it, or does not return the three numbers A, B, C."
    A, B, C = (float(value) for value in answer)
    why = None
    if not near(A * on_data + B * on_generated, L_phi):
        why = "A and B do not give L_phi in a world with p(y=1) = 0.2."
        if near(B * on_data + A * on_generated, L_phi):
            why = "A and B look exchanged: y = 1 is data, y = 0 is generated."
        elif near(A, 1) or near(B, 1):
            why = "A weight p(y) is missing: the expectations run over y too."
        elif near(A, B):
            why = "A and B are equal, but the domains are not equally frequent here: p(y=1) = 0.2."
    assert why is None, why
    (slope,) = torch.autograd.grad(-L_theta, theta, retain_graph=True)
    (along,) = torch.autograd.grad((p[0] * D.log()).sum(), theta)
    if not torch.allclose(C * along, slope, rtol=0, atol=1e-9):
        why = "C grad E_pg log D is not the gradient of -L_theta in a world with p(y=1) = 0.2."
        if torch.allclose(-C * along, slope, rtol=0, atol=1e-9):
            why = "The size of C is right and its sign is not: -L_theta falls when log D rises."
        elif near(abs(C), A):
            why = "C carries the weight of the wrong domain: ask which of the two depends on theta."
        elif near(abs(C), 1) or near(abs(C), 0.5):
            why = "C does not know p(y): what weight does a generated sample carry in L_theta?"
    assert why is None, why
