# Generated from exercises/08_codes/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(diagnosis):
    names = {
        "as it should be",
        "no judge",
        "labels exchanged",
        "KL per image",
        "code of another image",
        "mean over pixels",
    }
    judge = {'A': 0.693, 'B': 0.661, 'C': 0.681, 'D': 0.693, 'E': 0.693, 'F': 0.507}
    kl = {'A': 0.0, 'B': 1.344, 'C': 1.303, 'D': 0.313, 'E': 0.318, 'F': 1.27}
    given = diagnosis if isinstance(diagnosis, dict) else {}
    said = [given.get(letter) for letter in "ABCDEF"]
    usable = all(isinstance(name, str) and name in names for name in said)
    assert usable, "Each of the runs A to F needs one of the six names."
    why = None
    if len(set(said)) < 6:
        why = "A name occurs twice: every run is another one."
    else:
        run = {name: letter for letter, name in zip("ABCDEF", said, strict=True)}
        if kl[run["as it should be"]] < 0.8:
            why = "A sound autoencoder has codes that tell images apart: those of your run do not."
        elif kl[run["KL per image"]] > 0.05:
            why = "A KL per image that wins makes all images alike: find the run that pays nothing."
        elif judge[run["labels exchanged"]] > min(judge.values()):
            why = "Exchanged labels drive the codes away from the prior: who sees that at once?"
    assert why is None, why
