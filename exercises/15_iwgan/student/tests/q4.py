# Generated from exercises/15_iwgan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(conditional_loss):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    a = numbers([0.5, -1.0, 1.5, 0.2, -0.4, 0.8]).requires_grad_()
    c, p_c = torch.tensor([1, 0, 1, 3, 0, 1]), numbers([0.4, 0.3, 0.2, 0.1])
    value = conditional_loss(a, c, p_c, 0.6) if callable(conditional_loss) else None
    usable = isinstance(value, torch.Tensor) and value.numel() == 1
    assert usable, "`conditional_loss` does not return a scalar tensor yet."

    def like(number):
        return abs(value.item() - number) < 1e-6

    why = None
    if not like(0.34312333):
        why = f"The loss is {value.item():.6f}, which is not the surrogate of this batch."
        if like(-0.34312333):
            why = "The sign is turned: this is a loss to descend, and log D is negative."
        elif like(0.57187222):
            why = "p(y=0) is missing in front."
        elif like(0.24506843) or like(0.07145185):
            why = "The shares run over the whole batch, and a group has one class."
        elif like(0.36100732):
            why = "These are the shares of a softmax of D: the printed weights are its odds."
        elif like(0.36583702):
            why = "All draws of a class have the same share here."
        elif like(0.18049360) or like(0.05718722):
            why = "This is a mean over the draws of a group, but the shares sum to one already."
        elif like(0.36090421):
            why = "The classes count by their number in the batch, and they should by p(c)."
        elif like(0.29300800) or like(0.39067733) or like(1.17203198):
            why = "All classes count the same here, and they should by p(c)."
    assert why is None, why
    assert value.requires_grad, "No gradient reaches the logits: only the shares are constant."
    (slope,) = torch.autograd.grad(value.reshape(()), a)
    by_hand = [-0.01340873, -0.06217104, -0.01761181, -0.02700996, -0.09277115, -0.01486311]
    if not torch.allclose(slope, numbers(by_hand), rtol=0, atol=1e-6):
        why = "The value is right and the gradient is not: what must be held constant?"
    assert why is None, why
