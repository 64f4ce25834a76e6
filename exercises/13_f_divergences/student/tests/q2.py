# Generated from exercises/13_f_divergences/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(reading):
    words = ("always", "sometimes", "never")
    answer = reading if isinstance(reading, dict) else {}
    for letter in "abcde":
        assert answer.get(letter) in words, f'"{letter}" needs one of: always, sometimes, never.'
    found = {answer[letter] for letter in "abcde"}
    assert len(found) > 1, "All five lines get the same word, and they are not all of one kind."
    hinted = {'a': 'sometimes', 'b': 'always', 'c': 'always', 'd': 'sometimes', 'e': 'sometimes'}
    hints = {'a': 'the weight in front of the bracket has one sign for every convex f',
 'b': 'a KL divergence has no upper limit and may come from one rare state, a JSD has '
      'one',
 'c': "for the KL divergence this V is 2 KL(P||Q) minus Pearson's divergence, and either "
      'may be larger',
 'd': 'a clipped l is a guess of the log ratio like any other',
 'e': 'a tangent of a convex function lies below it, at every state'}
    why = None
    for letter in "abcde":
        if why is None and answer[letter] == hinted[letter]:
            why = f'Line "{letter}" is not "{answer[letter]}": {hints[letter]}.'
    assert why is None, why
