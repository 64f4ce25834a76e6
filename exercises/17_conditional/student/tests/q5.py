# Generated from exercises/17_conditional/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(alpha_needed):
    given = {"L": (2.0, 1.4), "u": 0.3, "v": (0.10, 0.02), "rho": 0.5}
    # Without labels the best q is 0.354; with labels alone it is 0.833.
    answer = alpha_needed(0.7, **given) if callable(alpha_needed) else ...
    usable = answer is None or (isinstance(answer, (int, float)) and not isinstance(answer, bool))
    assert usable, "`alpha_needed` does not return a number or None yet."
    why = None
    if answer is None:
        why = "You return None for q = 0.7, which some alpha reaches: are the dots still there?"
    elif abs(answer - 5.698735325) > 1e-7:
        why = "With your alpha the best classifier is not q = 0.7 in the small world of the check."
        if abs(answer + 5.698735325) < 1e-7:
            why = "Your alpha has the right size and the wrong sign."
        elif abs(answer - 18.995784418) < 1e-7:
            why = "Your alpha forgets u: how often does this image occur without its label?"
        elif abs(answer - 3.039325507) < 1e-7:
            why = "Your alpha forgets that the labels disagree: some of them say class 1."
        elif abs(answer - 2.362500000) < 1e-7:
            why = "Your alpha forgets the entropy of the classifier in U."
        elif abs(answer - 6.827485325) < 1e-7:
            why = "Your alpha contains rho, but there is no classifier in the loss rho L(x, c)."
        elif abs(answer - 0.973735325) < 1e-7:
            why = "The two losses look exchanged: a class with a large loss is less probable."
        elif abs(answer - 0.175477530) < 1e-7:
            why = "Your alpha is upside down: the more the labels pull, the less weight they need."
        elif abs(answer - 5.550982618) < 1e-7:
            why = "The two slopes are not free to vanish alone: q_0 and q_1 add up to one."
    assert why is None, why
    if alpha_needed(0.2, **given) is not None:
        why = "For q = 0.2 you return a number, but the labels pull away from it: it needs None."
    elif alpha_needed(0.95, **given) is not None:
        why = "For q = 0.95 you return a number, but even labels alone would choose 0.833."
    assert why is None, why
