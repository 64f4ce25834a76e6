# Generated from exercises/07_lemma1/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(reading):
    import math

    words = ("always", "sometimes", "never")
    answer = reading if isinstance(reading, dict) else {}
    for letter in "abcde":
        assert answer.get(letter) in words, f'"{letter}" needs one of: always, sometimes, never.'
    low = answer.get("lowest")
    usable = isinstance(low, (int, float)) and math.isfinite(low)
    assert usable, '"lowest" needs a number, for there is a lowest height.'
    hinted = {'a': 'always', 'b': 'never', 'c': 'sometimes', 'd': 'always', 'e': 'always'}
    hints = {'a': 'for t near 1 these lie next to C',
 'b': 'O is one of these, and lies above the horizontal line',
 'c': 'the number c cancels in the target, so all lie on one point',
 'd': 'O and C are such a pair, and both count',
 'e': 'find it in the picture'}
    typical = {'minus log 2': -0.6931, 'minus KL': -0.3696, 'minus the other KL': -0.3858}
    why = None
    for letter in "abcde":
        if why is None and answer[letter] == hinted[letter]:
            why = f'Line "{letter}" is not "{answer[letter]}": {hints[letter]}.'
    if why is None and low > 0:
        why = '"lowest" is positive, and C lies below the horizontal line.'
    elif why is None and abs(low - typical["minus log 2"]) < 2e-3:
        why = '"lowest" is where it would be if p_g and p_data never overlapped: they do.'
    elif why is None and abs(low - typical["minus KL"]) < 2e-3:
        why = '"lowest" is minus KL(p_g||p_data): which of the two terms upwards has no D in it?'
    elif why is None and low < typical["minus log 2"]:
        why = '"lowest" is below minus log 2, and a JSD of two laws is never above log 2.'
    assert why is None, why
