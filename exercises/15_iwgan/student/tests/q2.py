# Generated from exercises/15_iwgan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(ladder):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    log_w = numbers([1.0, 4.0, 2.0]).log()
    answer = ladder(log_w) if callable(ladder) else None
    usable = isinstance(answer, torch.Tensor) and answer.shape == (3,)
    assert usable, "`ladder` does not return one number for each k from 1 to n yet."

    def like(*values):
        return torch.allclose(answer.detach(), numbers(values), rtol=0, atol=1e-6)

    why = None
    if not like(0.6931472, 0.8067894, 0.8472979):
        why = "With weights 1, 4 and 2 the second rung averages log(5/2), log(3/2) and log 3."
        if like(0.6931472, 0.7689086, 0.7958680):
            why = "A draw occurs twice in some of your groups: choose k different ones."
        elif like(0.0, 0.9162907, 0.8472979):
            why = "You use the first k draws only, but every choice of k draws is a group."
        elif like(0.6931472, 1.4999366, 1.9459101):
            why = "This is the log of a sum: the bound averages the weights of a group."
        elif like(0.6931472, 0.6931472, 0.6931472):
            why = "All rungs are equal: average the weights first and take the logarithm then."
        elif like(0.8472979, 0.8472979, 0.8472979):
            why = "All rungs are equal: take the logarithm of each group, then average over groups."
        elif like(2.0, 2.2407024, 2.3333333) or like(2.3333333, 2.3333333, 2.3333333):
            why = "These look like weights: the bound is a mean of logarithms."
    assert why is None, why
    far = ladder(log_w - 2000)
    if not torch.allclose(far.detach() + 2000, answer.detach(), rtol=0, atol=1e-9):
        why = "With log-weights near -2000 the answer is off: exp underflows, stay with logs."
    assert why is None, why
