# Generated from exercises/13_f_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(tipping_point):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    P = numbers([0.26, 0.18, 0.03, 0.03, 0.20, 0.30])
    S = numbers([0.04, 0.02, 0.04, 0.10, 0.35, 0.45])
    C = numbers([0.10, 0.17, 0.22, 0.22, 0.17, 0.12])
    answer = tipping_point(P, S, C) if callable(tipping_point) else None
    usable = isinstance(answer, (int, float)) or (
        isinstance(answer, torch.Tensor) and answer.numel() == 1
    )
    assert usable, "`tipping_point` does not return a number yet."
    alpha = float(answer)
    why = None
    if abs(alpha - 0.612116) > 2e-4:
        why = f"At alpha = {alpha:.4f} S and C of the picture are not equally far from P."
        if abs(alpha) < 1e-3 or abs(alpha - 1) < 1e-3:
            why = "At 0 and 1 the sum of powers is 1 for all laws, so it decides nothing there."
        elif abs(alpha - 1 + 0.612116) < 2e-4:
            why = "P and the model are exchanged: D(Q||P) with alpha is D(P||Q) with 1 - alpha."
        elif not 0 < alpha < 1:
            why = "Your number is not between 0 and 1, where the two KL divergences disagree here."
        elif abs(alpha - 0.612116) < 0.03:
            why = "Your number is near and not exact: four decimals are asked."
        elif abs(alpha - 0.5) < 1e-3:
            why = (
                "One half is Hellinger's divergence, which has a taste of its own: use the tables."
            )
    assert why is None, why
