# Generated from exercises/07_lemma1/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(coefficients):
    import math

    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    p_y, p_data = numbers([0.3, 0.7]), numbers([0.1, 0.2, 0.3, 0.4])
    D = numbers([0.3, 0.6, 0.5, 0.9])
    q_r = torch.stack([D, 1 - D])
    Z = q_r.mean(-1)
    names = ["kl", "jsd", "entropy", "log_X", "evidence"]

    answer = coefficients if isinstance(coefficients, dict) else {}
    usable = all(isinstance(answer.get(name), (int, float)) for name in names)
    assert usable, "`coefficients` still has dots in it: give each of the five names a number."

    def gaps(c):
        found = []
        for theta in ([0.0, 0.0, 0.0, 0.0], [1.0, -0.5, 0.2, 0.0], [-2.0, 0.3, 1.0, 0.4]):
            p = torch.stack([numbers(theta).softmax(0), p_data])
            loss = -(p_y @ (p * q_r.log()).sum(-1))
            entropy = -(p * p.log()).sum(-1)
            log_target = (q_r / q_r.sum(-1, keepdim=True)).log()
            values = {
                "kl": p_y @ (-entropy - (p * log_target).sum(-1)),
                "jsd": p_y @ (-entropy - (p * (p_y @ p).log()).sum(-1)),
                "entropy": p_y @ entropy,
                "log_X": math.log(4),
                "evidence": p_y @ Z.log(),
            }
            found.append(float(sum(c[name] * values[name] for name in names) - loss))
        return found

    def constant(c):
        return max(gaps(c)) - min(gaps(c)) < 1e-9

    why = None
    if max(abs(gap) for gap in gaps(answer)) > 1e-9:
        why = "The gap between the sides changes with theta: a term with theta in it is wrong."
        if constant(answer):
            why = "The sides differ by the same number at every theta: a constant is wrong."
        elif answer["jsd"] == -1 and answer["entropy"] == 1:
            why = "The JSD contains the entropies of the rows already: together they count twice."
        elif answer["jsd"] == -1:
            why = (
                "This is the chapter's identity: its JSD comes from the prior p_theta0, "
                "and here the prior is uniform."
            )
        elif constant({**answer, "kl": -answer["kl"]}):
            why = "The KL term has the wrong sign: a generator near its target has a small loss."
        elif constant({**answer, "entropy": -answer["entropy"]}):
            why = "The entropy has the wrong sign: KL(p||q) contains minus H(p); what cancels that?"
    assert why is None, why
