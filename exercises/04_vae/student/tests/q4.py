# Generated from exercises/04_vae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(bits):
    import torch

    answer = bits if isinstance(bits, dict) else {}
    usable = set(answer) == {"A", "B", "C", "D", "E", "F"}
    usable = usable and all(
        value is None or isinstance(value, (int, float, torch.Tensor)) for value in answer.values()
    )
    assert usable, "`bits` still has dots in it: give each letter a number, and one of them `None`."
    grey, own, why = 'E', {'B': -1.367, 'C': -3.293, 'D': -4.587, 'F': -2.94}, None
    if answer[grey] is not None:
        why = f"{grey} has a number, but Bernoulli terms with grey targets are no density."
    for letter, value in answer.items():
        if why is None and letter != grey:
            if value is None:
                why = f"{letter} leads to a bound on a log-density, on a scale of its own."
            elif abs(float(value) - own.get(letter, 99)) < 0.005:
                why = f"{letter} is still on its own scale, where pixels lie closer together."
            elif letter == 'A' and abs(float(value) - 1.973) < 0.005:
                why = f"{letter} pays for its pixels only: the code has a price too."
            elif float(value) < 0:
                why = f"{letter} is negative: mind the sign, and the direction in which c goes in."
            elif float(value) > 10:
                why = f"{letter} is worse than knowing nothing: is it for *one* pixel, in bits?"
    assert why is None, why
