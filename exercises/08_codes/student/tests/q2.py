# Generated from exercises/08_codes/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(slopes):
    def near(left, right):
        return abs(left - right) < 1e-6

    try:
        answer = [float(slope) for slope in slopes(3, 0.6, 2.0, 0.3)]
    except (TypeError, ValueError):
        answer = []
    assert len(answer) == 3, "`slopes` does not return three numbers yet."
    loss, two_terms, information = answer
    why = None
    if not near(information, 1.0986123):
        why = "The slope of the information is wrong for K = 3 and t = 0.6: it is positive there."
        if near(information, 0.4054651):
            why = "That is the slope for two codes: who shares the remaining 1 - t when K = 3?"
        elif near(information, 0.3295837) or near(information, 0.5493061):
            why = "I(x;c) is about generated images alone: p(y) does not enter."
        elif near(information, -1.0986123):
            why = "The information has the wrong sign: here a larger t tells codes apart better."
    elif not near(loss, -0.6591674):
        why = "The slope of the loss is wrong, and that of the information is right."
        if near(loss, 0.6591674):
            why = "The loss has the wrong sign: it falls when the code becomes easier to read."
        elif near(loss, -2.1972246):
            why = "The share w is missing: only the domain y = 0 contains t."
        elif near(loss, -0.3295837):
            why = "The weight of the reader is missing: here lambda = 2."
        elif near(loss, -1.0986123):
            why = "Here p(y=0) = 0.3, so the factor in front is not one half."
    elif not near(two_terms, -0.3295837):
        why = "The slope of KL - JSD is wrong: open the KL of one code, the target being frozen."
        if near(two_terms, 0):
            why = "KL - JSD stands still for lambda = 1, and here lambda = 2: look at the target."
        elif near(two_terms, loss):
            why = "This is the slope of the loss: then the two-term formula would miss nothing."
        elif near(two_terms, 0.3295837):
            why = "The two-term slope has the wrong sign: lambda > 1 makes the target sharper."
        elif near(two_terms, -1.0986123):
            why = "The two-term slope lacks p(y): the KL is averaged over both domains."
        elif near(two_terms, -0.9887511):
            why = "The missing term has the wrong sign: the loss is the two-term formula minus it."
    assert why is None, why
