# Generated from exercises/16_aavae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(judges):
    names = ("told", "optimal", "too sure", "constant", "stale", "not reversed")
    # Run -> weights of data, weights of samples, distances.
    log = {'A': [[0.672, 0.525, 0.505, 0.5], [0.333, 0.327, 0.493, 0.5],
       [0.844, 0.428, 0.008, 0.0]],
 'B': [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.844, 0.62, 0.26, 0.0]],
 'C': [[0.622, 0.573, 0.512, 0.5], [0.378, 0.427, 0.488, 0.5],
       [0.844, 0.464, 0.052, 0.0]],
 'D': [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.844, 0.464, 0.052, 0.0]],
 'E': [[0.378, 0.378, 0.378, 0.378], [0.622, 0.622, 0.622, 0.622],
       [0.844, 0.844, 0.844, 0.844]],
 'F': [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.844, 0.635, 0.334, 0.126]]}
    answer = judges if isinstance(judges, dict) else {}
    for run in log:
        known = isinstance(answer.get(run), str) and answer[run] in names
        assert known, f"Run {run} needs one of: {', '.join(names)}."
    assert len({answer[run] for run in log}) == 6, "Each of the six names belongs to one run."
    found = []  # what speaks against the answer, the plainest first
    for run, (data, samples, _) in log.items():
        name, moves = answer[run], max(data) > min(data)
        if name == "told" and max(samples) > 0:
            found.append((1, f"In run {run} samples have weight, and who is told gives them none."))
        elif name in ("constant", "stale") and (moves or data[0] != samples[0]):
            found.append((2, f"Run {run} has no weight of one half for all: look at its weights."))
        elif name == "not reversed" and data[0] >= samples[0]:
            found.append((3, f"In run {run} data weigh no less than samples: is it reversed?"))
        elif name in ("optimal", "too sure") and data[0] <= samples[0]:
            found.append((4, f"In run {run} data weigh no more than samples: what did D learn?"))
        elif name in ("optimal", "too sure") and not moves:
            found.append((5, f"In run {run} the weights never move, but this judge is retrained."))
    why = min(found)[1] if found else None
    assert why is None, why
