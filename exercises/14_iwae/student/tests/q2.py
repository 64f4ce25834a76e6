# Generated from exercises/14_iwae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(others):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return left.shape == (3,) and torch.allclose(left, numbers(right), rtol=0, atol=1e-6)

    q, joint = numbers([0.5, 0.3, 0.2]), numbers([0.10, 0.15, 0.02])
    answer = others(q, joint.log(), 3) if callable(others) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    usable = usable and all(isinstance(part, torch.Tensor) for part in answer)
    assert usable, "`others` does not return two tensors yet: unpicked and greedy."
    unpicked, greedy = (part.detach().to(torch.float64) for part in answer)
    why = None
    for name, law in (("unpicked", unpicked), ("greedy", greedy)):
        if why is None and law.shape != (3,):
            why = f"`{name}` should have one probability for each of the three codes."
        elif why is None and not abs(float(law.sum()) - 1) < 1e-6:
            why = f"`{name}` does not sum to one, so it is no law of a code."
            if name == "unpicked" and near(law, [0.3525, 0.14939827, 0.1647684]):
                why = "`unpicked` is divided by k, but only k - 1 codes are not picked."
            elif name == "unpicked" and near(law, [1.0575, 0.44819481, 0.4943052]):
                why = "`unpicked` counts all k - 1 codes, and one of them is chosen."
        elif why is None and float(law.min()) < 0:
            why = f"`{name}` has a negative probability: count the codes of a group again."
    if why is None and not near(unpicked, [0.52875, 0.2240974, 0.2471526]):
        why = "`unpicked` is a law, but not that of a code that was not picked."
        if near(unpicked, [0.4425, 0.45180519, 0.10569481]):
            why = "This is q_k, the law of the code that is picked."
        elif near(unpicked, [0.5, 0.3, 0.2]):
            why = "This is q: the pick prefers some codes, so what it leaves is not fair any more."
        elif near(unpicked, [0.58250, 0.12150, 0.29600]):
            why = "Here the code with the largest weight is taken out, not one by shares."
        elif near(unpicked, [0.37037037, 0.55555556, 0.07407407]):
            why = "This is the posterior, to which the *picked* code tends."
    if why is None and not near(greedy, [0.335, 0.657, 0.008]):
        why = "`greedy` is a law, but not that of the code with the largest weight."
        if near(greedy, [0.4425, 0.45180519, 0.10569481]):
            why = "`greedy` is q_k here, but no dice are thrown among the codes of a group."
        elif near(greedy, [0.485, 0.027, 0.488]):
            why = "`greedy` keeps the smallest weight here."
        elif near(greedy, [0.45, 0.51, 0.04]) or near(greedy, [0.2385, 0.7599, 0.0016]):
            why = "`greedy` is that of a group with one draw more or less: the group has k codes."
        elif near(greedy, [0.0, 1.0, 0.0]):
            why = "The best code of the table is kept only if it is in the group."
    assert why is None, why
