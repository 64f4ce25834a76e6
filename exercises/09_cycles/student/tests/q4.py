# Generated from exercises/09_cycles/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(diagnose):
    import torch

    from unigen_edu.exact.codes import CycleWorld

    names = {
        "correct",
        "reader detached",
        "sample detached",
        "minimax",
        "shuffled",
        "slots exchanged",
    }
    world = CycleWorld.random(9, n_x=3, n_z=2, strength=1.5)
    runs = {
        "Ada": [[0.036377, -0.135396, 0.099019], [0.132046, -0.128696, -0.003350]],
        "Blaise": [[-0.045270, -0.154173, 0.199443], [0.279938, -0.245311, -0.034627]],
        "Chen": [[-0.007227, -0.146675, 0.153902], [0.200082, -0.185805, -0.014277]],
    }
    found = {}
    for who, g in runs.items():
        g = torch.tensor(g, dtype=torch.float64)
        name = diagnose(g, world) if callable(diagnose) else None
        usable = isinstance(name, str) and name in names
        assert usable, "`diagnose` does not return one of the six names yet."
        found[who] = name
    why = None
    if len(set(found.values())) == 1:
        why = "All three gradients get the same name although they differ: is g used?"
    elif "correct" in found.values():
        who = next(who for who in found if found[who] == "correct")
        why = f"{who}'s gradient is not that of the loss: compute that one and compare."
    elif found["Ada"] == "reader detached":
        why = "Ada's G does read: it is in its other role that her gradient lacks something."
    elif found["Ada"] != "sample detached":
        why = "Ada's mistake leaves the cycle from A and the discriminator's term as they are."
    elif found["Blaise"] == "shuffled":
        why = "Blaise's G was shown the right images: something else is wrong in the cycle from A."
    elif found["Blaise"] != "slots exchanged":
        why = "Blaise's mistake is in the cycle from A, and nowhere else."
    elif found["Chen"] != "minimax":
        why = "Chen's two cycles are as they should be: look at the third term with theta."
    assert why is None, why
