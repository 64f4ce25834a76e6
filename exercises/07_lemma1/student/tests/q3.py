# Generated from exercises/07_lemma1/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(coefficients):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    beta, lam = 0.45, 2.3
    p_y, p_data = numbers([0.3, 0.7]), numbers([0.1, 0.2, 0.3, 0.4])
    D = numbers([0.3, 0.6, 0.5, 0.9])
    q_r = torch.stack([D, 1 - D])
    p_0 = p_y @ torch.stack([numbers([0.25, 0.25, 0.25, 0.25]), p_data])
    joint = q_r**lam * p_0**beta
    Z = joint.sum(-1)
    names = ["kl", "jsd", "entropy", "shift", "evidence"]

    answer = coefficients if isinstance(coefficients, dict) else {}
    usable = all(isinstance(answer.get(name), (int, float)) for name in names)
    assert usable, "`coefficients` still has dots in it: give each of the five names a number."
    losses, gaps_of = [], []
    for theta in ([0.0, 0.0, 0.0, 0.0], [1.0, -0.5, 0.2, 0.0], [-2.0, 0.3, 1.0, 0.4]):
        p = torch.stack([numbers(theta).softmax(0), p_data])
        mixture, entropy = p_y @ p, -(p * p.log()).sum(-1)
        losses.append(float(-(p_y @ (p * q_r.log()).sum(-1))))
        values = {
            "kl": p_y @ (-entropy - (p * (joint / Z[:, None]).log()).sum(-1)),
            "jsd": p_y @ (-entropy - (p * mixture.log()).sum(-1)),
            "entropy": p_y @ entropy,
            "shift": (mixture * (mixture / p_0).log()).sum(),
            "evidence": p_y @ Z.log(),
        }
        gaps_of.append({name: float(value) for name, value in values.items()})

    def sides(c):
        return [sum(c[name] * row[name] for name in names) for row in gaps_of]

    def gaps(c):
        return [side - loss for side, loss in zip(sides(c), losses, strict=True)]

    def constant(c):
        return max(gaps(c)) - min(gaps(c)) < 1e-9

    def turned(name):
        return constant({**answer, name: -answer[name]}) and abs(answer[name]) > 1e-9

    why = None
    if max(abs(gap) for gap in gaps(answer)) > 1e-9:
        ratios = [side / loss for side, loss in zip(sides(answer), losses, strict=True)]
        why = "The gap between the sides changes with theta: a term with theta in it is wrong."
        if constant(answer):
            why = "The sides differ by the same number at every theta: a constant is wrong."
        elif [answer[name] for name in names] == [1, -1, 0, -1, -1]:
            why = "This is the chapter's identity, whose exponents are one."
        elif max(ratios) - min(ratios) < 1e-9:
            why = "All five are off by one common factor: what stands before log q^r in the target?"
        elif abs(gaps(answer)[0]) < 1e-9:
            why = "The sides agree at theta_0 only: what is E log p_0 when the mixture moves?"
        elif turned("kl"):
            why = "The KL term has the wrong sign: a generator near its target has a small loss."
        elif turned("entropy"):
            why = "The entropy has the wrong sign: KL(p||q) contains minus H(p); what cancels that?"
        elif constant({**answer, "entropy": answer["entropy"] + answer["jsd"]}):
            why = "The JSD is not the entropy of the mixture: it has taken off that of the rows."
    assert why is None, why
