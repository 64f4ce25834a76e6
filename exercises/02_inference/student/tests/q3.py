# Generated from exercises/02_inference/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(runs):
    numbers = {'A': [[-2.0054, -2.0054], [-1.8454, -1.8171], [-1.8454, -1.8171], [-1.8454, -1.8171],
       [-1.8454, -1.8171], [-1.8454, -1.8171]],
 'B': [[-2.0471, -2.0471], [-2.5783, -2.0904], [-2.0904, -2.0904], [-2.5764, -2.0143],
       [-2.0143, -2.0143], [-2.6776, -1.9798]],
 'C': [[-2.1403, -2.1403], [-1.892, -1.8783], [-1.8783, -1.8783], [-1.8655, -1.8513],
       [-1.8513, -1.8513], [-1.8344, -1.8167]],
 'D': [[-1.8108, -2.002], [-1.8741, -1.8776], [-1.8744, -1.8776], [-1.8727, -1.8767],
       [-1.8729, -1.8767], [-1.871, -1.8756]],
 'E': [[-5.8054, -2.2877], [-2.0053, -2.0045], [-5.5607, -2.0045], [-2.0034, -2.0016],
       [-5.6616, -2.0016], [-1.999, -1.9951]],
 'F': [[-2.3949, -1.705], [-1.7476, -1.7318], [-1.7439, -1.7318], [-1.7407, -1.7309],
       [-1.7384, -1.7309], [-1.7366, -1.7309]]}
    names = ("exact EM", "q sees one pixel", "E-step done once", "E-step wrong", "M-step wrong")
    names = (*names, "bound reported wrongly")
    answer = runs if isinstance(runs, dict) else {}
    said = {letter: answer.get(letter) for letter in "ABCDEF"}
    for letter, name in said.items():
        assert name in names, f"Run {letter} needs one of the six names."
    assert len(set(said.values())) == 6, "Each of the six names belongs to one run."
    run = {name: (letter, numbers[letter]) for letter, name in said.items()}

    why = None
    letter, rows = run["exact EM"]
    gaps = [likelihood - bound for bound, likelihood in rows[::2]]
    if max(abs(gap) for gap in gaps) > 0.001:
        why = f"In run {letter} a gap is left after an E-step, but exact inference leaves none."
    letter, rows = run["q sees one pixel"]
    bounds = [bound for bound, _ in rows]
    if why is None and any(bounds[i + 1] < bounds[i] - 0.001 for i in range(5)):
        why = f"In run {letter} the bound falls, but the best q of a fixed family never lowers it."
    letter, rows = run["bound reported wrongly"]
    if why is None and all(bound <= likelihood + 0.001 for bound, likelihood in rows):
        why = f"In run {letter} no bound exceeds the log-likelihood: look for what cannot be."
    letter, rows = run["E-step done once"]
    if why is None and abs(rows[1][0] - rows[2][0]) > 0.001:
        why = f"In run {letter} the second E-step moves the bound: a q that stays cannot do that."
    assert why is None, why
