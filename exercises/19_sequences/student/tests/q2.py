# Generated from exercises/19_sequences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(step_loss):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    log_p = numbers([-1.2, -0.7, -2.3]).requires_grad_()
    log_p_old, cost = numbers([-1.6, -0.4, -1.9]), numbers([0.9, 2.1, 0.4]).requires_grad_()
    loss = step_loss(log_p, log_p_old, cost, 0.5) if callable(step_loss) else None
    usable = isinstance(loss, torch.Tensor) and loss.numel() == 1
    assert usable, "`step_loss` does not return a scalar tensor yet."
    assert loss.requires_grad, "No gradient reaches log_p: a number times which score?"
    given = (log_p, cost)
    slope, leak = torch.autograd.grad(loss.reshape(()), given, allow_unused=True)
    assert slope is not None, "No gradient reaches log_p: a number times which score?"

    def near(values):
        return torch.allclose(slope, numbers(values), rtol=0, atol=1e-6)

    why = None
    if not near([-0.04815905, 0.43895858, -0.36241739]):
        why = "The gradient in log_p is another: which number multiplies the score of a draw?"
        if near([-0.06666667, 0.65833333, -0.59166667]):
            why = "These draws came from an older generator, and you treat them as fresh."
        elif near([-0.09945498, 0.48770533, -0.39660603]):
            why = "The baseline forgets that the other draws are old as well."
        elif near([-0.05656324, 0.32997367, -0.26002752]):
            why = "A draw takes part in its own baseline, and so the estimate is biased."
        elif near([0.03630089, 0.20042428, -0.10644031]):
            why = "This step punishes entropy: J is smaller where the entropy is larger."
        elif near([-0.00592908, 0.31969143, -0.23442885]):
            why = "In your gradient alpha makes no difference: what has the entropy to say?"
        elif near([0.20047840, 0.56242828, -0.25069738]):
            why = "The logarithm inside the entropy is differentiated too: noise without a mean."
        elif near([0.00963181, 0.13168757, 0.47114263]):
            why = "The change of a draw's probability is counted twice: in the weight and outside."
        elif near([-0.07187891, 0.99389486, -1.01030071]):
            why = "The ratio of the two generators is upside down."
        elif near([-0.14447714, 1.31687574, -1.08725218]):
            why = "Your gradient has a constant factor: the estimate is a mean over the draws."
        elif near([0.04815905, -0.43895858, 0.36241739]):
            why = "The sign is wrong: J is descended, so dear draws become less probable."
    elif leak is not None and float(leak.abs().max()) > 1e-12:
        why = "A gradient flows into the cost, which is a number that comes with the draw."
    assert why is None, why
