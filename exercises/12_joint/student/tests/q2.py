# Generated from exercises/12_joint/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(formulas):
    answer = formulas if isinstance(formulas, dict) else {}
    for line in "abcde":
        given = answer.get(line)
        usable = isinstance(given, str) and set(given) <= set("dzge")
        assert usable, f'"{line}" needs a string of the letters d, z, g, e, or "" for none.'
    hints = {'a': ['e', True, 'the gradient reaches the encoder through the code that it draws'],
 'b': ['g', True, 'images are compared by features, so the decoder only draws'],
 'c': ['g', True, 'the generator only draws the image'],
 'd': ['d', False, 'log p_data is evaluated at images that move with theta'],
 'e': ['d', False, 'log p_data is evaluated at images that move with theta']}
    why = None
    if len({frozenset(answer[line]) for line in "abcde"}) == 1:
        why = "All five lines have the same answer, and the five steps differ."
    for line in "abcde":
        formula, present, hint = hints[line]
        if why is None and (formula in answer[line]) == present:
            word = "needs" if present else "does not need"
            why = f'You say that line "{line}" {word} formula {formula}: {hint}.'
    assert why is None, why
