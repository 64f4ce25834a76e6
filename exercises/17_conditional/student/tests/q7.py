# Generated from exercises/17_conditional/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(reading):
    words = ("clean", "rare", "mixed", "many", "foreign")
    answer = reading if isinstance(reading, dict) else {}
    for letter in "ABCDE":
        fits = answer.get(letter) in words
        assert fits, f'"{letter}" needs one of: clean, rare, mixed, many, foreign.'
    n = answer.get("labels")
    assert isinstance(n, (int, float)), '"labels" needs a whole number.'
    assert {answer[letter] for letter in "ABCDE"} == set(words), "Each world belongs to one row."
    row = {answer[letter]: letter for letter in "ABCDE"}
    confused = {
        "rare for mixed": {'A': 'mixed', 'B': 'clean', 'C': 'rare', 'D': 'many', 'E': 'foreign'},
        "rare for many": {'A': 'many', 'B': 'clean', 'C': 'mixed', 'D': 'rare', 'E': 'foreign'},
        "clean for many": {'A': 'rare', 'B': 'many', 'C': 'mixed', 'D': 'clean', 'E': 'foreign'},
        "clean for rare": {'A': 'clean', 'B': 'rare', 'C': 'mixed', 'D': 'many', 'E': 'foreign'},
        "mixed for foreign": {'A': 'rare', 'B': 'clean', 'C': 'foreign', 'D': 'many', 'E': 'mixed'},
    }
    hints = {
        "rare for mixed": "a small cluster is named sooner or later, so look at the last column",
        "rare for many": "with a rare piece most images lie in two clusters, so look at 3 labels",
        "clean for many": "two clusters have their names after a few labels, so look at 10 labels",
        "clean for rare": "without a small piece nothing is left to be named at 30 labels",
        "mixed for foreign": "labels help where a cluster has a majority, so compare the ends",
    }
    wrong = {'no coin': 72, 'one each': 16, 'rounded down': 60}
    why = None
    for name, pair in confused.items():
        one, other = name.split(" for ")
        if why is None and pair[row[one]] == one and pair[row[other]] == other:
            why = f"Rows {row[one]} and {row[other]} look exchanged: {hints[name]}."
    if why is None and n == wrong["no coin"]:
        why = '"labels" forgets the coin: a cluster without a name is right half of the time.'
    elif why is None and n == wrong["one each"]:
        why = '"labels" is one for each cluster, but labels fall where they fall.'
    elif why is None and n == wrong["rounded down"]:
        why = '"labels" is one too small: the error must be below 1%, and it is just above.'
    elif why is None and (n < 1 or n != int(n)):
        why = '"labels" is a whole number of images.'
    assert why is None, why
