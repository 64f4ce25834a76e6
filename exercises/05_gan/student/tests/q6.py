# Generated from exercises/05_gan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(generator_of):
    answer = generator_of if isinstance(generator_of, dict) else {}
    letters = [answer.get(report) for report in range(1, 7)]
    usable = all(isinstance(letter, str) for letter in letters)
    assert usable, "`generator_of` still has dots in it: give each report from 1 to 6 a letter."
    why = None
    flat_runs, flat = [4, 5], ['A', 'C']
    if sorted(letters) != list("ABCDEF"):
        why = "Each of the letters A to F should be used once."
    elif answer == {1: 'D', 2: 'F', 3: 'B', 4: 'C', 5: 'A', 6: 'E'}:
        why = "You sorted by the modes seen, but a mode that is seen may still be far too rare."
    elif answer == {1: 'B', 2: 'F', 3: 'E', 4: 'C', 5: 'A', 6: 'D'}:
        why = "These fit the KL divergence the other way round, from uniform to the generator."
    elif not all((answer[report] in flat) == (report in flat_runs) for report in answer):
        why = "A report with unevenness 0 needs a generator that makes all modes equally often."
    elif answer[4] != 'C':
        why = "A generator that works a lot between the modes is known by a column of its own."
    assert why is None, why
