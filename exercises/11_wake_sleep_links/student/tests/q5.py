# Generated from exercises/11_wake_sleep_links/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(place):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    p_z, p_data = numbers([0.5, 0.3, 0.2]), numbers([0.35, 0.15, 0.30, 0.20])
    theta = numbers([[0.9, -0.4, 0.1, 0.6], [-0.5, 0.8, 0.3, -0.2], [0.2, 0.0, -1.0, 1.1]])
    eta = numbers([[0.3, -0.2, 0.9], [1.0, 0.1, -0.6], [-0.8, 0.7, 0.2], [0.4, 1.2, -0.1]])
    runs = [
        (
            "Ada",
            [
                [-0.00664, 0.03091, -0.00763, -0.01664],
                [0.00792, -0.06559, 0.03070, 0.02697],
                [0.05632, -0.02062, 0.03868, -0.07439],
            ],
            [
                [0.09637, -0.01095, -0.08542],
                [-0.06744, 0.06139, 0.00605],
                [0.05490, -0.01626, -0.03863],
                [0.05625, -0.10332, 0.04707],
            ],
            ("wake", "sleep"),
        ),
        (
            "Blaise",
            [
                [0.00346, 0.06118, -0.01701, -0.04764],
                [0.02279, -0.13151, 0.06340, 0.04532],
                [0.06959, -0.01030, 0.02775, -0.08705],
            ],
            [
                [0.04138, 0.00245, -0.04383],
                [-0.01668, 0.01348, 0.00320],
                [0.02040, 0.01177, -0.03217],
                [0.01705, -0.02894, 0.01189],
            ],
            ("first slot", "bound"),
        ),
        (
            "Chen",
            [
                [0.04418, 0.09580, -0.13924, -0.00073],
                [-0.04788, -0.08040, 0.07613, 0.05214],
                [0.08207, -0.03601, 0.01230, -0.05836],
            ],
            [
                [0.08321, -0.06175, -0.02146],
                [-0.05763, 0.05572, 0.00191],
                [0.00681, 0.12687, -0.13369],
                [0.02048, -0.06042, 0.03994],
            ],
            ("legible", "printed wake"),
        ),
    ]
    names = (("wake", "first slot", "legible"), ("bound", "sleep", "printed wake"))
    said = []
    for _, move_theta, move_eta, _ in runs:
        found = None
        if callable(place):
            found = place(numbers(move_theta), numbers(move_eta), theta, eta, p_z, p_data)
        usable = isinstance(found, (tuple, list)) and len(found) == 2
        usable = usable and all(name in known for name, known in zip(found, names, strict=True))
        assert usable, "`place` does not return two of the names yet, of theta first."
        said.append(tuple(found))
    sentences = {
        "wake": "{who}'s generator did not imitate pairs of the day: who drew its pairs?",
        "first slot": "{who}'s generator did not compare its own pairs with those of the day.",
        "legible": "{who}'s generator was not after legible codes alone: the data had a say.",
        "bound": "{who}'s encoder did not follow the bound, with its prior and its entropy.",
        "sleep": "{who}'s encoder did not learn from dreams: who drew its pictures?",
        "printed wake": "{who}'s encoder did not look at log p(x|z) alone.",
    }
    why = None
    if len(set(said)) == 1:
        why = "All three machines get the same names although they moved differently."
    elif all(found[0] != truth[0] for found, (*_, truth) in zip(said, runs, strict=True)):
        why = "No machine is placed rightly in theta: does a move go up or down the gradient?"
    for (who, *_, truth), found in zip(runs, said, strict=True):
        for name, right in zip(found, truth, strict=True):
            if why is None and name != right:
                why = sentences[name].format(who=who)
    assert why is None, why
