# Generated from exercises/17_conditional/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(weighted_loss):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return abs(left - right) < 1e-7

    a = numbers([0.6, -1.1, 0.2, 1.4, -0.5, 0.3]).requires_grad_()
    group = torch.tensor([1, 0, 1, 0, 1, 2])  # two draws, three draws, and one
    answer = weighted_loss(a, group) if callable(weighted_loss) else None
    usable = isinstance(answer, torch.Tensor) and answer.numel() == 1
    assert usable, "`weighted_loss` does not return a scalar tensor yet."
    value = answer.item()
    why = None
    if not near(value, 0.240617347):
        why = f"The loss is {value:.6f} in the batch of the check, which is not right."
        if near(value, 0.224887138) or near(value, 2 * 0.224887138) or near(value, 0.224887138 / 2):
            why = "The shares are those of one group made of the whole batch: classes compete."
        elif near(value, 2 * 0.240617347):
            why = "The loss is twice too large: the generated domain has the weight 1/2."
        elif near(value, 0.242788673):
            why = "A large group counts more than a small one: each group stands for one label."
        elif near(value, 0.721852042):
            why = "The loss is a sum over the groups and not their mean."
        elif near(value, 0.338022147):
            why = "All draws of a group have the same share: the softmax of the logits is missing."
        elif near(value, 0.279040170):
            why = "The shares are proportional to D: they are the softmax of the logits."
        elif near(value, 0.437928385):
            why = "The shares prefer the worst draws: a large logit has a large share."
        elif near(value, 0.120308674):
            why = "The loss is divided by the number of draws: the shares have done that already."
    elif not answer.requires_grad:
        why = "No gradient reaches the logits: only the shares are frozen."
    assert why is None, why
    (slope,) = torch.autograd.grad(answer.reshape(()), a)
    if not bool(torch.isfinite(slope).all()):
        why = "The gradient is not finite."
    elif abs(slope[1].item() - -0.009485561) > 1e-7:
        why = "The value is right and the gradient is not: are the shares frozen?"
    assert why is None, why
    far = weighted_loss(numbers([1000.0, 998.0, -1000.0, -1000.0]), torch.tensor([0, 0, 1, 1]))
    if not bool(torch.isfinite(far).all()):
        why = "With logits of 1000 and -1000 the loss is not finite: exp or log has overflowed."
    elif abs(far.item() - 250) > 1e-6:
        why = "A group far below the others is lost: take the softmax in each group by itself."
    assert why is None, why
