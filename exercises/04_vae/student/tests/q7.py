# Generated from exercises/04_vae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(diagnose):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    names = {
        "right": "{who}'s encoder is not at rest under D + R: compute its best s^2 and compare.",
        "mean over pixels": "{who}'s code does not rest where the rate costs n times as much.",
        "code detached": "{who}'s means are not zero, so the distortion has reached the encoder.",
        "no noise": "{who}'s s^2 are not one, so something other than the rate has touched them.",
        "no KL term": "{who}'s code is not sure of itself, so something charges for certainty.",
        "slots swapped": "{who} paid for the usual rate: where would the swapped one come to rest?",
    }
    a, lam, tau2, n = numbers([1.5, 0.8]), numbers([3.0, 1.2]), 0.4, 20
    runs = [
        ("Ada", [0.483152, 0.667124], [0.468047, 0.715336], "slots swapped"),
        ("Blaise", [0.566038, 0.769231], [1.0, 1.0], "no noise"),
        ("Chen", [0.146341, 0.092593], [0.780488, 0.925926], "mean over pixels"),
    ]
    found = []
    for who, v, s2, truth in runs:
        assert callable(diagnose), "`diagnose` is not a function any more."
        said = diagnose(numbers(v), numbers(s2), a, lam, tau2, n)
        usable = isinstance(said, str) and said in names
        assert usable, "`diagnose` does not return one of the six names yet."
        found.append((who, said, truth))
    why = None
    if len({said for _, said, _ in found}) == 1:
        why = "All three encoders get the same name although they differ: are v and s2 used?"
    for who, said, truth in found:
        if why is None and said != truth:
            why = names[said].format(who=who)
            if (said, truth) == ("no noise", "mean over pixels"):
                why = f"{who}'s s^2 are near one but not one: so the distortion feels them."
    assert why is None, why
