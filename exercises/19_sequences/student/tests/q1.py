# Generated from exercises/19_sequences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(diagnose):
    import torch

    shape = (2, 2, 2)
    first = torch.tensor([[0.7, 0.4], [0.3, 0.6]], dtype=torch.float64)[:, :, None].expand(shape)
    second = torch.tensor([[0.2, 0.8], [0.6, 0.4]], dtype=torch.float64)[:, :, None].expand(shape)
    third = torch.tensor([0.9, 0.8], dtype=torch.float64).expand(shape)
    found = diagnose(torch.stack([first, second, third])) if callable(diagnose) else None
    known = isinstance(found, (list, tuple)) and len(found) == 3
    known = known and all(
        isinstance(name, str) and name in ("honest", "told", "peeks") for name in found
    )
    assert known, "`diagnose` does not return one of the three names for each place yet."
    why = None
    if len(set(found)) == 1:
        why = "The three places are not alike: does each get a sum of its own, over its own token?"
    elif found[0] == "told":
        why = "Place 1 is a distribution of its own token: over which token did you sum?"
    elif found[0] == "honest":
        why = "Place 1 sums to one over its own token, but what else has it read?"
    elif found[1] == "told":
        why = "Place 2 is a distribution of its own token: over which token did you sum?"
    elif found[1] == "peeks":
        why = "Place 2 may read the word before it, as the factors of every chain do."
    elif found[2] == "peeks":
        why = "Place 3 has no word after it at which it could peek."
    elif found[2] == "honest":
        why = "Place 3 gives its two words more than one in all: add them up."
    assert why is None, why
