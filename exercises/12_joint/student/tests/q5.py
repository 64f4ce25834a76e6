# Generated from exercises/12_joint/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 4
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(diagnose):
    import torch

    from unigen_edu.exact.joint import VAEGANWorld

    names = (
        "correct",
        "sources forgotten",
        "saturating",
        "no samples",
        "any original",
        "other unit",
    )
    world = VAEGANWorld.random(718630, n_x=4, n_z=2, gamma=1.2)
    noor = [[0.013198, -0.039088, -0.015093, 0.040983], [0.029991, -0.014134, -0.020936, 0.005079]]
    otto = [[0.014704, -0.046199, -0.010894, 0.042389], [0.048415, -0.00788, -0.017337, -0.023198]]
    pia = [[0.006343, -0.049249, -0.014082, 0.056988], [0.043156, -0.014574, -0.022019, -0.006563]]
    runs = [
        ("Noor", noor, 'any original'),
        ("Otto", otto, 'saturating'),
        ("Pia", pia, 'sources forgotten'),
    ]
    sentences = {
        "correct": "{who}'s gradient is not that of L_dec: compute that one and compare.",
        "sources forgotten": "{who} forgot nothing about the sources: the mistake is elsewhere.",
        "saturating": "{who} descended -log D: where D is small, log(1 - D) is nearly flat.",
        "no samples": "{who} let samples play, too: without them a third of the loss is missing.",
        "any original": "{who} knew the originals: otherwise all images have the same target.",
        "other unit": "{who} used the features as they are: look at the size of the similarity.",
    }
    found = []
    for who, g, truth in runs:
        assert callable(diagnose), "`diagnose` is not a function any more."
        name = diagnose(torch.tensor(g, dtype=torch.float64), world)
        assert name in names, "`diagnose` does not return one of the six names yet."
        found.append((who, name, truth))
    why = None
    if len({name for _, name, _ in found}) == 1:
        why = "All three students get the same name although their gradients differ: is g used?"
    else:
        for who, name, truth in found:
            if why is None and name != truth:
                why = sentences[name].format(who=who)
    assert why is None, why
