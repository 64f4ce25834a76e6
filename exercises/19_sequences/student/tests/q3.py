# Generated from exercises/19_sequences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(statements):
    words = ("always", "sometimes", "never")
    hints = {'a': ['sometimes', 'on which side of the truth does this bound lie?'],
 'b': ['sometimes', 'what does a nat in the code save, and what does it cost?'],
 'c': ['sometimes', 'what must happen in the draws for the count to reach N?'],
 'd': ['sometimes', 'of which two laws is the target of Lemma 1 made?'],
 'e': ['sometimes', 'in which direction does a cheap code tilt the line E = H - R?'],
 'f': ['never', 'must a function of some words make use of all of them?']}
    answer = statements if isinstance(statements, dict) else {}
    for letter in "abcdef":
        known = isinstance(answer.get(letter), str) and answer[letter] in words
        assert known, f'"{letter}" needs one of: always, sometimes, never.'
    why = None
    if len({answer[letter] for letter in "abcdef"}) == 1:
        why = "The six statements do not all have the same answer."
    for letter in "abcdef":
        tempting, question = hints[letter]
        if why is None and answer[letter] == tempting:
            why = f"Look again at statement {letter}: {question}"
    assert why is None, why
