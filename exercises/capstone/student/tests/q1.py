# Generated from exercises/capstone/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q1(frozen):
    import math

    def number(value):
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        return real and math.isfinite(value)

    answer = frozen if isinstance(frozen, dict) else {}
    T = answer.get("T")
    usable = isinstance(T, (list, tuple)) and len(T) == 3 and all(number(t) for t in T)
    assert usable, '"T" is not a list of three numbers yet.'
    for name in ("step", "missed_eta", "missed_lambda"):
        assert number(answer.get(name)), f'"{name}" is not a number yet.'
    wrong = {'reversed': -0.1950414,
 'weighted': 0.0757234,
 'probability': 0.0464842,
 'unweighted': -0.1484034,
 'prior sign': -0.4258552,
 'prior unweighted': 1.1626814,
 'prior under p': 0.3294833}
    step, eta, prior = answer["step"], answer["missed_eta"], answer["missed_lambda"]

    def near(value, other):
        return abs(value - other) < 1e-3

    why = None
    if all(near(a, b) for a, b in zip(T, [0.1967103, -0.8803587, 0.4238142], strict=True)):
        why = "Your T is the logit of the other label: which codes have y = 1?"
    elif all(near(a, b) for a, b in zip(T, [0.4509804, 0.7068966, 0.3956044], strict=True)):
        why = "Your T is the probability of y = 1, and T is the logit of it."
    elif near(step, wrong["reversed"]):
        why = "The step has the wrong sign: with T frozen, which law is differentiated?"
    elif near(step, wrong["weighted"]):
        why = "The step is weighted with q once more: the derivative stands in the place of q."
    elif near(step, wrong["probability"]):
        why = "The step averages probabilities, and the loss averages logits."
    elif near(eta, step):
        why = "missed_eta equals your step: that is the part which freezing keeps."
    elif near(eta, wrong["unweighted"]):
        why = "missed_eta is a plain sum over codes, and an average under q is asked for."
    elif near(prior, wrong["prior sign"]):
        why = "missed_lambda has the wrong sign: how does the prior enter T?"
    elif near(prior, wrong["prior unweighted"]):
        why = "missed_lambda is a plain sum over codes, and an average under q is asked for."
    elif near(prior, wrong["prior under p"]):
        why = "missed_lambda moves the law of the codes, but they are drawn from the encoder."
    elif near(prior, 0):
        why = "missed_lambda is averaged under the prior, but the codes are those of the encoder."
    assert why is None, why
