# Generated from exercises/11_wake_sleep_links/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(three_uses):
    import torch

    def near(left, right):
        return abs(float(left) - float(right)) < 1e-9

    values = {"p_g": 0.6, "p_data": 0.1, "a": 0.8, "b": -0.4}
    leaves = {k: torch.tensor(v, dtype=torch.float64).requires_grad_() for k, v in values.items()}
    pi_1 = 0.3
    g, d = (torch.stack([leaves[k], 1 - leaves[k]]) for k in ("p_g", "p_data"))
    D = torch.stack([leaves["a"], leaves["b"]]).sigmoid()
    pairs = torch.stack([(1 - pi_1) * g, pi_1 * d])
    S = -(pairs * torch.stack([1 - D, D]).log()).sum()
    R = -(pairs * torch.stack([D, 1 - D]).log()).sum()
    right = [
        -torch.autograd.grad(S, leaves["a"], retain_graph=True)[0],
        torch.autograd.grad(S, leaves["p_g"], retain_graph=True)[0],
        torch.autograd.grad(R, leaves["p_g"])[0],
    ]
    answer = ...
    if callable(three_uses):
        answer = three_uses(0.6, 0.1, float(D[0].detach()), float(D[1].detach()), pi_1)
    usable = isinstance(answer, (tuple, list)) and len(answer) == 3 and ... not in answer
    assert usable, "`three_uses` does not return its three numbers yet."
    push, cooperate, reverse = (float(v) for v in answer)
    why = None
    if not near(push, right[0]):
        why = "push is not minus the slope of S in a(A), in a world with p(y=1) = 0.3."
        if near(push, -right[0]):
            why = "push has the wrong sign: the logit is that of data, so real A's raise it."
        elif abs(push - -0.38298) < 1e-4:
            why = "push has lost p(y): how often does each kind of A come by night?"
        elif abs(push - -0.19149) < 1e-4:
            why = "push takes both domains as equally frequent, and here p(y=1) = 0.3."
    elif not near(cooperate, right[1]):
        why = "cooperate is not the slope of S in p, in a world with p(y=1) = 0.3."
        if near(cooperate, -right[1]):
            why = "cooperate has the sign of the minimax step: S itself is asked for."
        elif near(cooperate, right[2]):
            why = "cooperate is the slope of the reversed loss: S is not reversed."
        elif near(cooperate * 0.7, right[1]):
            why = "cooperate has lost its weight: how often is a picture generated?"
        elif near(cooperate * 7 / 3, right[1]):
            why = "cooperate has the weight of the data: which domain depends on p?"
    elif not near(reverse, right[2]):
        why = "reverse is not the slope of the reversed loss in p."
        if near(reverse, -right[1]):
            why = "reverse is the minimax slope: to reverse q is not to turn the sign of S."
        elif near(reverse, -right[2]):
            why = "reverse is the slope of L_theta: the loss is minus that."
        elif near(reverse * 0.7, right[2]) or near(reverse * 7 / 3, right[2]):
            why = "reverse has the wrong weight: how often is a picture generated?"
    assert why is None, why
