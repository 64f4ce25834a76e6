# Generated from exercises/06_domain_adaptation/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(players):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return abs(float(left) - right) < 1e-6

    p_y, p_x = numbers([0.5, 0.3, 0.2]), numbers([[0.7, 0.3], [0.2, 0.8], [0.4, 0.6]])
    encoder = numbers([[0.5, 0.3, 0.1, 0.1], [0.1, 0.1, 0.2, 0.6]])
    q = numbers([[0.7, 0.5, 0.3, 0.2], [0.1, 0.2, 0.4, 0.5], [0.2, 0.3, 0.3, 0.3]])

    answer = players(p_y, p_x, encoder, q) if callable(players) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    usable = usable and all(isinstance(v, (int, float, torch.Tensor)) for v in answer)
    usable = usable and all(torch.as_tensor(v).numel() == 1 for v in answer)
    assert usable, "`players` does not return two numbers yet: L_phi and L_theta."
    L_phi, L_theta = answer
    why = None
    if not near(L_phi, -1.03765038):
        why = "L_phi is not the expected log-probability of the true domain."
        if near(L_phi, 1.03765038):
            why = "L_phi has the sign of a loss: it is maximised here."
        elif near(L_phi, -3.32145402) or near(L_phi, -1.10715134):
            why = "The domains count equally in L_phi, although p(y) is not uniform."
        elif near(L_phi, -0.90956341):
            why = "L_phi is the mean of a logarithm, and yours is the logarithm of a mean."
    elif not near(L_theta, -1.26716600):
        why = "L_phi is right and L_theta is not the same expectation with q^r."
        if near(L_theta, -0.57401882):
            why = "Your q^r does not sum to one over y: it is a mean of the others, not their sum."
        elif near(L_theta, 1.03765038):
            why = "L_theta is minus L_phi: that is gradient reversal, and not the reversed labels."
        elif near(L_theta, -1.23519509):
            why = "Turning the rows of q round leaves the middle hospital where it was."
        elif near(L_theta, -1.37069553):
            why = "Your q^r looks at one neighbour only: every other domain counts."
        elif near(L_theta, -1.33348521):
            why = "You averaged the logarithms of the others; q^r is a mean of probabilities."
    assert why is None, why
