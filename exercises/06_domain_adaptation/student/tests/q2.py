# Generated from exercises/06_domain_adaptation/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(coefficients):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    u, v = 1.55, 1.0
    p_y, p_x = numbers([0.3, 0.7]), numbers([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    D = numbers([0.3, 0.6, 0.5, 0.9])
    q = torch.stack([1 - D, D])
    start = numbers([[0.4, -0.3, 0.8, 0.0], [-0.6, 0.5, 0.1, 0.9], [0.7, 0.2, -0.9, -0.4]])
    p_0 = p_y @ p_x @ start.softmax(-1)
    names = ["kl_reversed", "kl", "jsd", "shift", "evidence_reversed", "evidence"]

    answer = coefficients if isinstance(coefficients, dict) else {}
    usable = all(isinstance(answer.get(name), (int, float)) for name in names)
    assert usable, "`coefficients` still has dots in it: give each of the six names a number."
    losses, rows = [], []
    for step in (0.0, 1.0, -2.0):
        laws = p_x @ (start + step * numbers([[1.0, 0.0, -1.0, 0.5]])).softmax(-1)
        mixture, entropy = p_y @ laws, -(laws * laws.log()).sum(-1)
        log_score = {"": q.log(), "_reversed": q.flip(0).log()}
        mean = {end: p_y @ (laws * s).sum(-1) for end, s in log_score.items()}
        losses.append(float(v * mean[""] - u * mean["_reversed"]))
        row = {
            "jsd": p_y @ (-entropy - (laws * mixture.log()).sum(-1)),
            "shift": (mixture * (mixture / p_0).log()).sum(),
        }
        for end, s in log_score.items():
            target = (s + p_0.log()).log_softmax(-1)
            row["kl" + end] = p_y @ (-entropy - (laws * target).sum(-1))
            row["evidence" + end] = p_y @ (s + p_0.log()).logsumexp(-1)
        rows.append({name: float(row[name]) for name in names})

    def gaps(c):
        sides = [sum(c[name] * row[name] for name in names) for row in rows]
        return [side - loss for side, loss in zip(sides, losses, strict=True)]

    def constant(c):
        return max(gaps(c)) - min(gaps(c)) < 1e-9

    def turned(*which):
        changed = {name: -answer[name] for name in which}
        return constant({**answer, **changed}) and any(abs(c) > 1e-9 for c in changed.values())

    why = None
    if max(abs(gap) for gap in gaps(answer)) > 1e-9:
        why = "The gap between the sides changes with theta: a term with theta in it is wrong."
        if constant(answer):
            why = "The sides differ by the same number at every theta: an evidence is wrong."
        elif abs(gaps(answer)[0]) < 1e-9:
            why = "The sides agree at theta_0 only: at another theta the mixture has moved, too."
        elif constant({**answer, "kl": answer["kl_reversed"], "kl_reversed": answer["kl"]}):
            why = "The two posteriors are exchanged: which scores has the flipped part?"
        elif turned("kl"):
            why = "Reversal pushes the features away from q(f|y): c2 has the wrong sign."
        elif turned("jsd", "shift"):
            why = "JSD and shift have the wrong sign: take the parts one at a time."
        elif abs(abs(answer["jsd"]) - u - v) < 1e-9:
            why = "Both parts brake in your c3: under reversal all divergences change their sign."
        elif min(abs(answer["jsd"] + u), abs(answer["jsd"] - v)) < 1e-9:
            why = "Only one of the parts is in your c3: each brings a JSD."
    assert why is None, why
