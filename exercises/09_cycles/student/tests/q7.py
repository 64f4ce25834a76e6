# Generated from exercises/09_cycles/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(disagreement):
    import torch

    answer = disagreement(0.5) if callable(disagreement) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    usable = usable and all(isinstance(code, torch.Tensor) and code.dim() == 2 for code in answer)
    usable = usable and all(len(code) == 2 and 2 <= code.shape[1] <= 6 for code in answer)
    assert usable, "`disagreement` does not return two tables of shape (2, M) yet, M from 2 to 6."
    why = None
    left = []
    for code, which in zip(answer, ("first", "second"), strict=True):
        if not bool((code >= 0).all()) or abs(float(code.sum()) - 1) > 1e-9:
            why = f"The {which} table is no distribution: all its entries together sum to one."
            break
        if abs(float(code[1].sum()) - 0.5) > 1e-9:
            why = f"In the {which} code p(c_1 = 1) is not mu: row 1 belongs to c_1 = 1."
            break
        others = code.sum(0)
        guess = torch.where(others > 0, code[1] / others, 0.0)
        entropy = (torch.special.entr(guess) + torch.special.entr(1 - guess)) @ others
        left.append((float(others @ (guess * (1 - guess))), float(entropy)))
    assert why is None, why
    squared, log = left[1][0] - left[0][0], left[0][1] - left[1][1]
    if not (squared >= 0.005 and log >= 0.005):
        why = "The two games do not disagree by as much as 0.005 each."
        if min(left[0][0], left[1][0]) < 1e-9:
            why = "In one code the unit follows from the others: both scores call that the worst."
        elif max(left[0][0], left[1][0]) > 0.25 - 1e-9:
            why = "In one code the unit is independent: both scores call that the best."
        elif squared <= -0.005 and log <= -0.005:
            why = "The games disagree, but the wrong way round: exchange the two codes."
        elif squared < 0 < log or log < 0 < squared:
            why = "Both scores prefer the same code: one has less variance and less entropy."
        elif squared > 0 and log > 0:
            why = "The games disagree, by less than 0.005: move the guesses further apart."
    assert why is None, why
