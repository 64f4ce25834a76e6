# Generated from exercises/02_inference/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(best_constant):
    import torch

    def near(value, wanted):
        return abs(float(value) - wanted) < 1e-7

    q = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    log_w = torch.tensor([-1.0, -2.5, -5.0], dtype=torch.float64)
    answer = best_constant(q, log_w) if callable(best_constant) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    usable = usable and all(isinstance(part, (torch.Tensor, float)) for part in answer)
    assert usable, "`best_constant` does not return two numbers yet: c and the variance."
    c, variance = answer
    why = None
    if near(c, -1.85):
        why = "This c is the ELBO, the mean of log w: it is not best when s(z) varies in length."
    elif near(c, -1.4023141597):
        why = "This c is the logarithm of the mean weight, the log-evidence."
    elif near(c, -3.6596638655):
        why = "The lengths are averaged over all codes alike, but the draws come from q."
    elif near(c, -2.2439867982):
        why = "The variance contains the square of s(z), and your lengths are not squared."
    elif near(c, -2.275):
        why = "This c is the best for the first logit alone: add up the variances of all logits."
    elif near(c, -2.8333333333):
        why = "This c is the plain mean of log w over the codes, and the draws come from q."
    elif not near(c, -2.65):
        why = "This is not the best constant in the small world of three codes."
    elif near(variance, 1.12635):
        why = "This is the mean square of the estimate: a variance subtracts the squared mean."
    elif near(variance, 0.243):
        why = "This is the mean over the logits: the total variance is their sum."
    elif near(variance, 1.0746):
        why = "This variance belongs to c = ELBO, not to the constant that you return."
    elif not near(variance, 0.729):
        why = "The constant is right and the total variance with it is not."
    assert why is None, why
