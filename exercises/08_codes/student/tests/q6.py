# Generated from exercises/08_codes/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(honest_agreement):
    import torch

    value = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 0, 0, 0, 1, 1, 2, 3, 3, 0, 1, 2])
    label = torch.tensor([1, 1, 0, 2, 2, 0, 1, 1, 1, 0, 0, 0, 2, 1, 0, 0, 2, 2, 1])
    named = torch.arange(19) < 8
    found = honest_agreement(value, label, named) if callable(honest_agreement) else None
    usable = isinstance(found, (int, float, torch.Tensor)) and not isinstance(found, bool)
    assert usable, "`honest_agreement` does not return a number yet."
    found = float(found)
    seen = {
        5 / 11: None,
        11 / 19: "You measure on all images, the ones that named the values among them.",
        6 / 8: "You measure on the images that named the values: this is the flattering number.",
        7 / 11: "A value without a name was counted as right: did it get class 0 by default?",
        5 / 9: "Images whose value has no name count too: leaving them out flatters again.",
        6 / 11: "Look at values 0 and 2: two values of a code may share the name of a class.",
        8 / 11: "The names come from the images that are measured, so they cannot be wrong.",
        5 / 19: "The share is among the images that are not named, not among all of them.",
    }
    nearest = min(seen, key=lambda number: abs(number - found))
    why = None
    if abs(nearest - found) > 1e-9:
        why = f"The agreement is {found:.4f} here: name the four values by hand and count again."
    elif nearest != 5 / 11:
        why = seen[nearest]
    assert why is None, why
