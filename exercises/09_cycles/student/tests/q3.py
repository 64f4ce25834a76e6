# Generated from exercises/09_cycles/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(pairings):
    a, b = [4, 2, 2, 4, 2, 6], [1, 3, 2, 1, 1, 2]

    def count(known):
        found = pairings(list(a), list(b), known) if callable(pairings) else None
        usable = not isinstance(found, bool) and isinstance(found, (int, float))
        assert usable, "`pairings` does not return a number yet."
        return found

    free, told, against = count([]), count([(1, 0)]), count([(1, 1)])
    why = None
    if free != 12:
        why = f"You count {free} pairings of the six images when no pair is known."
        if free == 720:
            why = "Those are all pairings: which of them carry the law of A into that of B?"
        elif free == 0:
            why = "Archive A is twice as large as archive B: compare frequencies, not counts."
        elif free in (9, 6):
            why = "Within a group of equally frequent images every order counts: think of n = 3."
        elif free == 1:
            why = "Sorting both laws gives one pairing that fits, and there are others."
    elif told != 4:
        why = f"You count {told} pairings when one pair is known."
        if told == 12:
            why = "The known pair changes nothing: it fixes one image of its group."
        elif told == 2:
            why = "A known pair fixes itself alone: the others of its group are still free."
        elif told == 120:
            why = "With a known pair, too, only pairings that carry the law are to be counted."
        elif told == 6:
            why = "The pair (1, 0) is image 1 of A and image 0 of B: look up its group in A."
    elif against != 0:
        why = "A known pair whose images differ in frequency contradicts the laws."
    assert why is None, why
