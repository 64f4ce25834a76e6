# Generated from exercises/07_lemma1/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(target):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return left.shape == right.shape and torch.allclose(left, right, rtol=0, atol=1e-9)

    # By hand: the products of row 0 are 4/40, 6/40 and 5/40.
    a, p_0 = numbers([[0.2, 0.6, 0.5], [0.8, 0.4, 0.5]]), numbers([0.5, 0.25, 0.25])
    by_hand = numbers([[4 / 15, 6 / 15, 5 / 15], [16 / 25, 4 / 25, 5 / 25]])
    Z_by_hand = numbers([3 / 8, 5 / 8])

    answer = target(a.log(), p_0) if callable(target) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    assert usable, "`target` does not return two tensors yet: the table q(x|y) and log Z_y."
    q, log_Z = (torch.as_tensor(part) for part in answer)
    why = None
    if q.shape != (2, 3):
        why = f"The table should have one row for each y, shape (2, 3), not {tuple(q.shape)}."
    elif not near(q, by_hand):
        why = "The table is not the one found by hand: q(0|y=0) should be 4/15 here."
        if near(q.sum(0), torch.ones(3, dtype=torch.float64)):
            why = "Your columns sum to one, so this is a distribution over y; q(x|y) is one over x."
        elif near(q.flip(0), by_hand):
            why = "The rows are exchanged: row y of the answer belongs to row y of log_a."
        elif near(q, a / a.sum(-1, keepdim=True)):
            why = "The prior is missing: this is a(y, x) alone, scaled to sum to one."
        elif near(q.exp(), by_hand):
            why = "This looks like the logarithm of the table: return probabilities."
        elif not near(q.sum(-1), torch.ones(2, dtype=torch.float64)):
            why = "The rows do not sum to one: divide each by its own evidence Z_y."
    assert why is None, why
    if not near(log_Z, Z_by_hand.log()):
        why = "The table is right and log Z_y is not: Z_0 should be 3/8 here."
        if near(log_Z, Z_by_hand):
            why = "The second result is Z_y: the question asks for its logarithm."
        elif near(log_Z, -Z_by_hand.log()):
            why = "The second result is minus log Z_y: mind the sign."
        elif near(log_Z, (Z_by_hand / 3).log()):
            why = "Z_y is a sum over x, and yours looks like a mean."
    assert why is None, why
    small = target(a.log() - 2000, p_0)
    if not all(bool(torch.isfinite(part).all()) for part in small):
        why = "With log a near -2000 the answer is not finite: exp underflows, stay with logs."
    assert why is None, why
