# Generated from exercises/07_lemma1/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(reading):
    often = ("always", "sometimes", "never")
    choices = {
        "right": often,
        "left": often,
        "constant": ("above H", "on H", "below H"),
        "lowest": ("-JSD", "-log 2", "-KL(p_g||p_data)", "no limit"),
        "repair": (
            "for every D",
            "for every D that is no worse than a coin",
            "for the optimal D only",
        ),
    }
    answer = reading if isinstance(reading, dict) else {}
    for line, words in choices.items():
        shown = ", ".join(words)
        assert answer.get(line) in words, f'"{line}" needs one of: {shown}.'
    why = None
    if answer["right"] == "never":
        why = "On the right side, look at O: the optimal discriminator lies above the line."
    elif answer["left"] == "never":
        why = "Look again at the upper left quarter of the picture: it is not empty."
    elif answer["left"] == "always":
        why = "On the left side, look at C: there the KL term is zero and the JSD is not."
    elif answer["lowest"] == "no limit":
        why = "A KL divergence cannot be negative, so KL term - JSD cannot fall for ever."
    assert why is None, why
