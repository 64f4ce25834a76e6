# Generated from exercises/09_cycles/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(games):
    names = {
        "as it should be",
        "dead units",
        "no game",
        "linear predictors",
        "lazy predictors",
        "peeking predictors",
    }
    table = {'A': [0.999, 0.999, 0.999, 0.999],
 'B': [0.998, 0.996, 0.334, 0.996],
 'C': [0.998, 0.323, 0.323, 0.323],
 'D': [0.281, 0.281, 0.281, 0.281],
 'E': [0.881, 0.745, 0.735, 0.0],
 'F': [0.998, 0.546, 0.546, 1.756]}
    given = games if isinstance(games, dict) else {}
    said = [given.get(letter) for letter in "ABCDEF"]
    usable = all(isinstance(name, str) and name in names for name in said)
    assert usable, "Each of the runs A to F needs one of the six names."
    why = None
    if len(set(said)) < 6:
        why = "A name occurs twice: every run is another one."
    else:
        constant, _, best, own = (
            {name: table[letter][i] for letter, name in zip("ABCDEF", said, strict=True)}
            for i in range(4)
        )
        if best["as it should be"] < 0.9:
            why = "The run you call sound has units that somebody can predict from one another."
        elif constant["dead units"] > 0.6:
            why = "A unit that hardly ever changes has little variance: look at the first column."
        elif own["peeking predictors"] > 0.05:
            why = "Whoever is shown the answer makes no error: look at the last column."
    assert why is None, why
