# Generated from exercises/13_f_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(best_bound):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    theta = numbers([[0.4, -0.3, 0.6], [-0.5, 0.8, 0.1]]).requires_grad_()
    eta = numbers([[0.7, -0.2], [-0.6, 0.5], [0.3, 0.1]]).requires_grad_()
    log_d, log_e = numbers([-0.9, -0.2, -1.6]), numbers([0.3, -0.8])
    p_data, p_z = numbers([0.5, 0.3, 0.2]), numbers([0.7, 0.3])
    given = (0.4, theta, eta, log_d, log_e, p_data, p_z)
    answer = best_bound(*given) if callable(best_bound) else None
    usable = isinstance(answer, torch.Tensor) and answer.numel() == 1
    assert usable, "`best_bound` does not return a scalar tensor yet."
    value = answer.item()

    def near(number):
        return abs(value - number) < 1e-7

    why = None
    if not near(0.04103168):
        why = "In the small world of the check this is not the largest bound."
        if near(-0.02424420):
            why = "This is V with c = 1: the scale of d/e has not been set to its best value."
        elif near(0.01872334):
            why = "Your c makes the mean of c r over Q equal to 1, which is the best for KL only."
        elif near(0.07172057) or near(0.05023812):
            why = "The ratio contains p(z), which nobody can evaluate here: e(z) takes its place."
        elif near(-0.22858824):
            why = "Your c is upside down: check the sign of dV/dc on both sides of it."
        elif near(-0.18757246):
            why = "e(z) is multiplied to the ratio: it stands for the prior, below the line."
        elif near(-0.83882033):
            why = "The two averages are exchanged: f' belongs to P, the data with inferred codes."
        elif near(0.12097612):
            why = "The average over Q draws codes with e(z): the simulator draws them from p(z)."
    elif not answer.requires_grad:
        why = "No gradient reaches theta and eta: nothing in the ratio may be frozen."
    assert why is None, why
    slopes = torch.autograd.grad(answer.reshape(()), (theta, eta), allow_unused=True)
    slopes = [torch.zeros(()) if slope is None else slope for slope in slopes]
    h = 1e-5
    for name, position, slope in (("theta", 1, slopes[0]), ("eta", 2, slopes[1])):
        shift = numbers([[0.3, -0.5, 0.2], [0.1, 0.4, -0.6]])
        shift = shift if name == "theta" else shift.reshape(3, 2)
        ends = []
        for sign in (1, -1):
            moved = [part.detach() if isinstance(part, torch.Tensor) else part for part in given]
            moved[position] = moved[position] + sign * h * shift
            ends.append(best_bound(*moved).item())
        if abs((ends[0] - ends[1]) / (2 * h) - float((slope * shift).sum())) > 1e-6:
            why = f"The value is right and its gradient in {name} is not: part of it is frozen."
    assert why is None, why
