# Generated from exercises/10_lemma2/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(diagnose):
    import torch

    from unigen_edu.exact.vae import VAEWorld

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    names = (
        "correct",
        "not reversed",
        "shared encoder",
        "stale line 2",
        "posterior only",
        "not frozen",
    )
    world = VAEWorld.random(20, n_x=3, n_z=2, p_y=(0.6, 0.4))
    theta_old = numbers([[0.5, -1.0, 0.8], [-0.7, 0.4, 0.9]])
    runs = [
        (
            "Ada",
            [[0.020314, -0.026319, 0.006005], [0.017656, 0.068600, -0.086256]],
            [[0.083980, -0.083980], [0.240328, -0.240328], [0.411629, -0.411629]],
            "shared encoder",
        ),
        (
            "Blaise",
            [[0.006729, -0.005810, -0.000918], [0.012149, 0.007858, -0.020007]],
            [[0.004184, -0.004184], [0.021273, -0.021273], [0.032782, -0.032782]],
            "stale line 2",
        ),
        (
            "Chen",
            [[0.022351, -0.057355, 0.035004], [0.062818, 0.073135, -0.135953]],
            [[0.025121, -0.025121], [0.144886, -0.144886], [0.087228, -0.087228]],
            "not frozen",
        ),
    ]
    sentences = {
        "correct": "{who}'s pair is not a multiple of the VAE's: look at both gradients.",
        "not reversed": "{who} does train on data: a judge that is not reversed trains on samples.",
        "shared encoder": "{who}'s samples do not reach the encoder: it is not shared.",
        "stale line 2": "{who} did not use line 2 at theta_old: there the theta-gradient differs.",
        "posterior only": "{who} did not take the posterior's KL alone: look at theta.",
        "not frozen": "{who}'s images are frozen: look for another mistake.",
    }
    found = []
    for who, g_theta, g_eta, truth in runs:
        assert callable(diagnose), "`diagnose` is not a function any more."
        name = diagnose(numbers(g_theta), numbers(g_eta), world, theta_old)
        known = isinstance(name, str) and name in names
        assert known, "`diagnose` does not return one of the six names yet."
        found.append((who, name, truth))
    why = None
    if len({name for _, name, _ in found}) == 1:
        why = "All three get the same name although their gradients differ: are both used?"
    for who, name, truth in found:
        if why is None and name != truth:
            why = sentences[name].format(who=who)
    assert why is None, why
