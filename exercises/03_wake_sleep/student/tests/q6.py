# Generated from exercises/03_wake_sleep/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(measured):
    import torch

    p_xh = torch.tensor([[0.25, 0.05], [0.10, 0.20], [0.12, 0.28]], dtype=torch.float64)
    q = torch.tensor([[0.6, 0.4], [0.5, 0.5], [0.1, 0.9]], dtype=torch.float64)
    x = p_xh.sum(1)
    p = p_xh / x[:, None]
    A, B = (x[:, None] * q * p_xh.log()).sum(), (x[:, None] * q * q.log()).sum()
    C, D = (p_xh * p_xh.log()).sum(), (p_xh * q.log()).sum()
    seek = (x[:, None] * q * (q / p).log()).sum()
    cover = (p_xh * (p / q).log()).sum()
    evidence, posterior = (x * x.log()).sum(), -(p_xh * p.log()).sum()
    values = {
        "jeffreys": seek + cover,
        "elbo": evidence - seek,
        "above": evidence + cover,
        "doubt": -(x[:, None] * q * q.log()).sum(),
        "night": posterior - evidence,
        "middle": 2 * evidence + cover - seek,
        "mixed": posterior - seek,
        "seek": seek,
        "cover": cover,
        "evidence": evidence,
        "posterior": posterior,
    }

    def near(c, value):
        return abs(float(c[0] * A + c[1] * B + c[2] * C + c[3] * D - value)) < 1e-9

    answer, why = measured if isinstance(measured, dict) else {}, None
    names = {'a': 'night', 'b': 'above', 'c': 'evidence', 'd': 'jeffreys', 'e': 'cover'}
    for letter, name in names.items():
        given = answer.get(letter, ...)
        usable = given is None or (
            isinstance(given, (list, tuple))
            and len(given) == 4
            and all(isinstance(v, (int, float)) for v in given)
        )
        assert usable, f'"{letter}" needs a list of four numbers, or None.'
        if given is None or why is not None or near(given, values[name]):
            continue
        why = f'"{letter}": your combination has another value in a machine of three pictures.'
        if near([-v for v in given], values[name]):
            why = f'"{letter}": the sign is turned.'
        elif near([given[2], given[3], given[0], given[1]], values[name]):
            why = f'"{letter}": the recognised causes and those of the dream are exchanged.'
        elif near([given[1], given[0], given[3], given[2]], values[name]):
            why = f'"{letter}": the roles of log p(x, h) and log q(h|x) are exchanged.'
        elif near(given, values["elbo"]) or near(given, values["above"]):
            why = f'"{letter}": your combination contains a log p(x) that the quantity has not.'
    if why is None and all(answer[letter] is None for letter in answer):
        why = "Some of the five can be measured: what is the width of the band in the picture?"
    assert why is None, why
