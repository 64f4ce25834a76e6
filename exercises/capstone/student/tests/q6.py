# Generated from exercises/capstone/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(faults):
    names = (
        "healthy", "not frozen", "exchanged", "sign", "no decoder", "no data weight", "dead codes"
    )  # fmt: skip
    # Run -> mean T, KL, reconstruction, share of the first image.
    log = {'A': [[0.33, 0.14, 0.01, 0.0], [0.33, 0.14, 0.01, 0.0], [0.99, 1.08, 1.14, 1.14],
       [0.41, 0.41, 0.41, 0.41]],
 'B': [[0.33, 0.18, 0.15, 0.14], [0.33, 0.18, 0.15, 0.14], [0.99, 0.75, 0.73, 0.74],
       [0.41, 0.59, 0.65, 0.65]],
 'C': [[-0.33, -0.91, -1.11, -1.16], [0.33, 0.91, 1.11, 1.16], [0.99, 0.64, 0.52, 0.48],
       [0.41, 0.5, 0.46, 0.44]],
 'D': [[0.33, 0.17, 0.15, 0.15], [0.33, 0.17, 0.15, 0.15], [0.99, 0.88, 0.92, 0.95],
       [0.41, 0.41, 0.36, 0.33]],
 'E': [[0.33, 0.91, 1.11, 1.16], [0.33, 0.91, 1.11, 1.16], [0.99, 0.64, 0.52, 0.48],
       [0.41, 0.5, 0.46, 0.44]],
 'F': [[0.33, -1.55, -9.7, -94.8], [0.33, 0.24, 0.98, 1.11], [0.99, 0.71, 0.2, 0.01],
       [0.41, 0.59, 0.41, 0.33]]}
    answer = faults if isinstance(faults, dict) else {}
    for run in log:
        known = isinstance(answer.get(run), str) and answer[run] in names
        assert known, f"Run {run} needs one of: {', '.join(names)}."
    assert len({answer[run] for run in log}) == 6, "No name belongs to two runs."
    found = []  # what speaks against the answer, the plainest first
    for run, (T, kl, misfit, first) in log.items():
        name = answer[run]
        honest = max(abs(a - b) for a, b in zip(T, kl, strict=True)) < 0.015
        if name in ("exchanged", "not frozen") and honest:
            found.append((1, f"In run {run} the judge is right all the time: look at T and KL."))
        elif name == "not frozen" and T[0] < 0:
            found.append((2, f"In run {run} T is wrong from the start, and this judge began well."))
        elif name not in ("exchanged", "not frozen") and not honest:
            found.append((3, f"In run {run} T is not the log-ratio, so the judge is at fault."))
        elif name == "exchanged" and T[0] > 0:
            found.append((4, f"In run {run} T is right at the start: an exchange shows at once."))
        elif name == "sign" and not kl[3] > kl[0]:
            found.append((7, f"In run {run} the KL does not grow, though -T would reward it."))
        elif name == "dead codes" and max(kl) - min(kl) > 0.015:
            found.append((5, f"In run {run} the KL moves, but an encoder without gradient rests."))
        elif name == "no decoder" and max(first) - min(first) > 0.015:
            found.append((6, f"In run {run} the model of the images moves, so something moves it."))
        elif name == "healthy" and kl[3] > 0.3 + max(kl[0], misfit[0]):
            found.append((8, f"In run {run} codes drift from the prior: is that healthy?"))
        elif name in ("healthy", "no data weight") and max(first) - min(first) < 0.015:
            found.append((9, f"In run {run} the model of the images rests: who teaches it?"))
        elif name in ("healthy", "no data weight") and max(kl) - min(kl) < 0.005:
            found.append((10, f"In run {run} the encoder rests: what keeps it?"))
    why = min(found)[1] if found else None
    assert why is None, why
