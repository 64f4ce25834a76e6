# Generated from exercises/06_domain_adaptation/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(true_for):
    answer = true_for if isinstance(true_for, dict) else {}
    for letter in "abcde":
        given = answer.get(letter)
        usable = isinstance(given, str) and set(given) <= set("FRAM")
        assert usable, f'"{letter}" needs a string of the letters F, R, A, M, or "" for none.'
    hints = {'a': ['R', True, "at D* the posterior without a flip is the domain's own law"],
 'b': ['F', True, 'the source passes through the encoder that has just moved'],
 'c': ['F', True, 'the slope of softplus(-a) is D - 1, near -1 where D is near 0'],
 'd': ['F', True, 'the discriminator compares two crowds and never asks who is who'],
 'e': ['F', False, 'at equal laws D* is the same number for every feature']}
    why = None
    if len({frozenset(answer[letter]) for letter in "abcde"}) == 1:
        why = "All five lines have the same answer, and the five claims differ."
    for letter in "abcde":
        game, present, hint = hints[letter]
        if why is None and (game in answer[letter]) == present:
            word = "holds" if present else "does not hold"
            why = f'You say that line "{letter}" {word} for {game}: {hint}.'
    assert why is None, why
