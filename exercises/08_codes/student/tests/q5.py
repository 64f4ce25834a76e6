# Generated from exercises/08_codes/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q5"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q5(verdict):
    given = verdict if isinstance(verdict, dict) else {}
    usable = all(given.get(letter) in ("always", "sometimes", "never") for letter in "abcde")
    assert usable, 'Each of the statements a to e needs one of "always", "sometimes", "never".'
    h = {'information': ('a', 'sometimes'),
 'parts': ('b', 'sometimes'),
 'decoder': ('c', 'always'),
 'reader': ('d', 'always'),
 'judge': ('e', 'sometimes')}
    comments = {
        "judge": "A judge of codes knows their law, and not the image that each of them came from.",
        "reader": "A reader's loss is what the images hide plus what the reader misses.",
        "parts": "A pair shows each of its parts, and the parts do not show how they are paired.",
        "decoder": "The best decoder's loss says what the codes hide, and nothing about their law.",
        "information": "Ask how much the image tells about the code, and whether that is constant.",
    }
    why = None
    for name, comment in comments.items():
        letter, word = h[name]
        if why is None and given[letter] == word:
            why = f"On ({letter}), {comment[0].lower()}{comment[1:]}"
    assert why is None, why
