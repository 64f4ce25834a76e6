# Generated from exercises/02_inference/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q4(sweep):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        right = numbers(right)
        return left.shape == right.shape and torch.allclose(left, right, rtol=0, atol=1e-7)

    right, right_bound = [0.7258974148, 0.0207149681, 0.1483767884], 2.0224407948
    wrong = [
        (
            [0.7258974148, -0.4462436102, 0.5979820005],
            "All spins were updated from the old means: let each see the new ones before it.",
        ),
        (
            [0.7150421057, 0.5030083848, 0.6092793422],
            "Your means look like probabilities: a spin is -1 or +1, so a mean can be negative.",
        ),
        (
            [0.8629487074, 0.5648127672, 0.6931370715],
            "Your means look like probabilities: a spin is -1 or +1, so a mean can be negative.",
        ),
        (
            [0.4300842114, -0.1075487511, 0.1097702145],
            "Check the log odds of a spin: from -1 to +1 its value changes by 2.",
        ),
        (
            [0.5441270989, -0.1609376806, 0.3056018229],
            "Each pair occurs twice in the double sum, and only half of it has reached the spin.",
        ),
        (
            [0.186289423, 0.234351773, 0.5979820005],
            "The order of the spins is from the first to the last.",
        ),
        (
            [0.5511280285, 0.0807263762, -0.2233014958],
            "A spin has a field b of its own, and yours sees the couplings only.",
        ),
        (
            [0.2913126125, -0.1973753202, 0.4621171573],
            "A spin sees the means of the others through J, and yours sees its own b only.",
        ),
    ]
    wrong_bounds = {
        0.2478351872: "This is the mean of log p(x, z) alone: the entropy of q is missing.",
        -1.5267704204: "The entropy has the wrong sign: a spread q is worth something.",
        1.9824613569: "Each pair is counted twice: mind the factor before the double sum.",
        1.3674055393: "This is the ELBO before the sweep.",
    }
    b, m = numbers([0.3, -0.2, 0.5]), numbers([0.1, 0.4, -0.6])
    J = numbers([[0.0, 0.8, -0.5], [0.8, 0.0, 0.6], [-0.5, 0.6, 0.0]])
    answer = sweep(b, J, m.clone()) if callable(sweep) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 2
    usable = usable and all(isinstance(part, (torch.Tensor, float)) for part in answer)
    assert usable, "`sweep` does not return two things yet: the means and the ELBO."
    found, bound = (torch.as_tensor(part, dtype=torch.float64) for part in answer)
    why = None
    if found.shape != (3,):
        why = f"The means should have the shape (3,) here, not {tuple(found.shape)}."
    elif not near(found, right):
        why = "These are not the means after one sweep in the small world of three spins."
        for means, sentence in wrong:
            if near(found, means):
                why = sentence
    elif not near(bound.reshape(()), right_bound):
        why = "The means are right and the ELBO there is not."
        for value, sentence in wrong_bounds.items():
            if near(bound.reshape(()), value):
                why = sentence
    else:
        _, certain = sweep(numbers([60.0, -60.0, 0.1]), J, m.clone())
        if not bool(torch.isfinite(torch.as_tensor(certain))):
            why = "A field of 60 makes a spin certain and your ELBO NaN: 0 log 0 is 0."
    assert why is None, why
