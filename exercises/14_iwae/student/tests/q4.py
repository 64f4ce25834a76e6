# Generated from exercises/14_iwae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(powers):
    answer = powers if isinstance(powers, dict) else {}
    usable = set(answer) == {"A", "B", "C", "D", "E"} and all(
        isinstance(pair, (tuple, list))
        and len(pair) == 2
        and all(isinstance(value, (int, float)) and abs(value) < 9 for value in pair)
        for pair in answer.values()
    )
    assert usable, "`powers` still has dots in it: give each letter a pair of numbers."
    why = None
    for letter, (a, b) in sorted(answer.items()):
        if why is None and a > 0:
            why = f"The mean of {letter} would grow without limit, and shares sum to one."
        elif why is None and b > 0:
            why = f"The noise of {letter} would grow with the draws: b is not the power of a ratio."
        elif why is None and (2 * a != int(2 * a) or 2 * b != int(2 * b)):
            why = f"The powers of {letter} should be whole or half numbers."
        elif why is None and a == -0.5:
            why = f"The mean of {letter} is an expansion in 1/k: no half powers, they are of noise."
    for letter, pair, sentence in [('A', (0, -0.5),
  'an average over groups keeps the mean and takes a part of the noise away.'),
 ('A', (-1, -1), 'the decoder does not stop learning when the bound is tight.'),
 ('B', (0, -0.5),
  'squared shares sum to about 1/k, and so the signal *and* the noise are small.'),
 ('B', (-1, -0.5),
  'squared shares sum to about 1/k, and so the signal *and* the noise are small.'),
 ('C', (-1, -0.5), 'the decoder does not stop learning when the bound is tight.'),
 ('D', (-1, -0.5), 'with more draws in a group there are fewer groups to average over.'),
 ('D', (0, 0),
  'its mean is E[r g] to leading order, and look what that is for an encoder.'),
 ('E', (-1, -0.5),
  'the gradient of a bound with a ceiling fades, but is this the gradient of one?')]:
        if why is None and tuple(answer[letter]) == pair:
            why = f"Not {pair} for {letter}: {sentence}"
    assert why is None, why
