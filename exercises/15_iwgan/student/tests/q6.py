# Generated from exercises/15_iwgan/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 2
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(work):
    answer = work if isinstance(work, dict) else {}
    words = [answer.get(walk) for walk in range(1, 7)]
    usable = all(isinstance(word, str) for word in words)
    usable = usable and {"positive", "zero", "negative"}.issuperset(words)
    assert usable, '`work` needs "positive", "zero" or "negative" for each walk from 1 to 6.'
    why = None
    if set(words) == {"zero"}:
        why = "You trust every field, but not each of them is the gradient of something."
    elif "zero" not in words:
        why = "At least one of the fields is a gradient, and that does no work around a loop."
    elif words == ['positive', 'positive', 'positive', 'zero', 'positive', 'zero']:
        why = "You forget the place: a curl may change its sign where both draws are judged alike."
    elif words == ['zero', 'negative', 'negative', 'positive', 'positive', 'negative']:
        why = "You take every field for that of equation (7): the vector matters as the shares do."
    elif words == ['zero', 'negative', 'negative', 'zero', 'positive', 'zero']:
        why = "You forget the direction: walked the other way round, a loop gives minus the work."
    assert why is None, why
