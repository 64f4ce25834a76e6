# Generated from exercises/02_inference/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(reading):
    drawn = {'A': [27.046, 27.046, 27.046, 27.046, 27.046, 27.046, 27.046, 27.046, 27.046, 27.046,
       27.046, 27.046, 27.046, 27.046, 27.046, 27.046, 27.046, 27.046, 27.046],
 'B': [27.141, 27.16, 27.173, 27.177, 27.173, 27.16, 27.141, 27.119, 27.096, 27.075,
       27.059, 27.049, 27.046, 27.049, 27.059, 27.075, 27.096, 27.119, 27.141],
 'C': [25.788, 26.558, 27.022, 27.177, 27.022, 26.558, 25.788, 24.719, 23.358, 21.716,
       19.805, 17.64, 15.237, 12.615, 9.794, 6.794, 3.64, 0.354, -3.038],
 'D': [27.177, 27.177, 27.177, 27.177, 27.177, 27.177, 27.177, 27.177, 27.177, 27.177,
       27.177, 27.177, 27.177, 27.177, 27.177, 27.177, 27.177, 27.177, 27.177],
 'E': [-10.658, -10.658, -10.658, -10.658, -10.658, -10.658, -10.658, -10.658, -10.658,
       -10.658, -10.658, -10.658, -10.658, -10.658, -10.658, -10.658, -10.658, -10.658,
       -10.658]}
    names = ("log-likelihood", "best diagonal q", "best q with one variance")
    names = (*names, "encoder not retrained", "prior as q")
    answer = reading if isinstance(reading, dict) else {}
    said = {letter: answer.get(letter) for letter in "ABCDE"}
    for letter, name in said.items():
        assert name in names, f"Line {letter} needs one of the five names."
    assert len(set(said.values())) == 5, "Each of the five names belongs to one line."
    for word in ("angle", "family", "amortisation"):
        assert isinstance(answer.get(word), (int, float)), f'"{word}" needs a number.'
    line = {name: drawn[letter] for letter, name in said.items()}
    family, amortisation = answer["family"], answer["amortisation"]

    def somewhere_above(one, other):
        return any(a > b + 0.002 for a, b in zip(line[one], line[other], strict=True))

    why = None
    if any(somewhere_above(name, "log-likelihood") for name in names):
        why = "A line lies above the one that you call log-likelihood, but an ELBO never does."
    elif max(line["best diagonal q"]) - min(line["best diagonal q"]) < 0.004:
        why = "The line that you call best diagonal q is flat, but it matters how the axes lie."
    elif somewhere_above("encoder not retrained", "best diagonal q"):
        why = "The encoder is diagonal, so it cannot beat the best diagonal q at any angle."
    elif somewhere_above("best q with one variance", "best diagonal q"):
        why = "One variance for both is a special diagonal q, so it cannot beat the best one."
    elif abs(answer["angle"] - 60) < 1:
        why = "At this angle the diagonal family loses most: find the one where it loses nothing."
    elif abs(family - 1.353) < 0.01:
        why = "This is the price of the encoder: the family is judged by its best member."
    elif abs(family - 1.389) < 0.01:
        why = "This family price is the whole gap of the encoder: a part of it is amortisation."
    elif abs(amortisation - 1.389) < 0.004:
        why = "This amortisation price is the whole gap: a part no diagonal encoder can avoid."
    assert why is None, why
