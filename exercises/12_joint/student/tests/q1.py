# Generated from exercises/12_joint/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(parts):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(found, right):
        return all(abs(f - r) < 1e-6 for f, r in zip(found, right, strict=True))

    Q = numbers([[0.30, 0.05], [0.10, 0.15], [0.05, 0.35]])
    P = numbers([[0.10, 0.30], [0.20, 0.10], [0.25, 0.05]])

    answer = parts(Q, P, 0.3) if callable(parts) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 4
    usable = usable and all(isinstance(v, (int, float, torch.Tensor)) for v in answer)
    usable = usable and all(torch.as_tensor(v).numel() == 1 for v in answer)
    assert usable, "`parts` does not return four numbers yet."
    found = [float(v) for v in answer]
    right = [0.0046289, 0.15430467, 0.00420815, 0.15472541]
    why = None
    if not near(found[::2], right[::2]):
        why = "I(x;y) and I(z;y) are not the JSD of the images and of the codes with weights p(y)."
        if near(found[::2], right[2::-2]):
            why = "Images and codes look exchanged: the rows of a table are images."
        elif near(found[::2], [0.00555556, 0.00500837]):
            why = "The judges see 30 % inferred pairs here, and yours see as many of each."
        elif near(found[::2], [0.00470833, 0.00420815]):
            why = "pi_1 is the share of *inferred* pairs, and P is their law."
        elif near(found[::2], [right[0] + right[1]] * 2):
            why = "This is all that a judge of pairs learns: sum over what a judge does not see."
        elif near(found[::2], [0.00550834, 0.00500837]):
            why = "Both divergences of a JSD go to the mixture with weights p(y)."
    elif not near(found[1::2], right[1::2]):
        why = "The judges are right, and what they leave over is not: the parts should add up."
        if min(found[1::2]) < 0:
            why = "A conditional information is never negative: which of the two sees more?"
        elif near(found[1::2], right[3::-2]):
            why = "What the judge of images leaves over is about codes, and the other way round."
        elif near(found[1::2], [0.80900911, 0.81074644]):
            why = "This is the mean KL divergence of the conditionals, the part of KL(P||Q)."
        elif near(found[1::2], [0.14685577, 0.1507023]):
            why = "The leftover is averaged over data only: generated pairs count as well."
    assert why is None, why
