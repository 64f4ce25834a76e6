# Generated from exercises/10_lemma2/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(statements):
    words = ("always", "sometimes", "never")
    hints = {'a': ['always', 'what do the samples ask of a shared encoder?'],
 'b': ['always',
       "what is the sign of an entropy, and which judge's own term contains it?"],
 'c': ['always',
       'the loss has three parts, and a step down their sum need not go down in each.'],
 'd': ['never', 'does the decoder of y = 1 contain theta?'],
 'e': ['sometimes', 'how large can the harmonic mean of two numbers be?']}
    answer = statements if isinstance(statements, dict) else {}
    for letter in "abcde":
        known = isinstance(answer.get(letter), str) and answer[letter] in words
        assert known, f'"{letter}" needs one of: always, sometimes, never.'
    why = None
    if len({answer[letter] for letter in "abcde"}) == 1:
        why = "The five statements do not all have the same answer."
    for letter in "abcde":
        tempting, question = hints[letter]
        if why is None and answer[letter] == tempting:
            why = f"Look again at statement {letter}: {question}"
    assert why is None, why
