# Generated from exercises/08_codes/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(proved):
    import math

    import torch

    p_c = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    losses = [0.9, 0.4, 1.15]
    entropy = 1.75 * math.log(2)

    def near(left, right):
        return abs(float(left) - right) < 1e-9

    answer = proved(p_c, losses) if callable(proved) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 3
    usable = usable and isinstance(answer[2], (tuple, list, torch.Tensor)) and len(answer[2]) == 3
    assert usable, "`proved` does not return two numbers and a list with one number per reader yet."
    low, high, faults = answer
    why = None
    if not near(high, entropy):
        why = "The highest value is not what this code can tell at most."
        if near(high, math.log(4)):
            why = "The ceiling of log K is for equally frequent codes, and these are not."
        elif near(high, 1.75):
            why = "You count in bits: the losses are in nats, and so is the interval."
    elif not near(low, entropy - 0.4):
        why = "The lowest value does not follow from the bound of the chapter."
        if near(low, entropy - 0.9) or near(low, entropy - 1.15) or near(low, entropy - 2.45 / 3):
            why = "Each reader proves a bound of its own: which of them says most?"
        elif near(low, 0.4) or near(low, -0.4):
            why = "A loss alone is no information: it has to be compared with H(c)."
    elif any(float(fault) < -1e-9 for fault in faults):
        why = "A reader cannot be better than the best possible one: a fault is not negative."
    elif not all(near(fault, loss - 0.4) for fault, loss in zip(faults, losses, strict=True)):
        why = "The faults are wrong: what do the three losses say about the best possible loss?"
        if all(near(fault, loss) for fault, loss in zip(faults, losses, strict=True)):
            why = "Those are the losses: even the best reader has one, if images hide their code."
        elif all(near(fault, 0) for fault in faults):
            why = "All read the same images: two readers of different loss are not both best."
        elif near(faults[1], 0.4 - entropy) or near(faults[1], entropy - 0.4):
            why = "H(c) is the loss of a reader that looks at nothing, not that of the best one."
    assert why is None, why
