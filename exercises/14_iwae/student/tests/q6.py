# Generated from exercises/14_iwae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(defensive):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    # Four draws for each of two images, three of them from the encoder.
    joint = numbers([[0.10, 0.02], [0.04, 0.06], [0.10, 0.06], [0.03, 0.05]])
    q = numbers([[0.6, 0.5], [0.4, 0.3], [0.6, 0.3], [0.0, 0.2]])
    prior = numbers([[0.2, 0.1], [0.3, 0.4], [0.2, 0.4], [0.5, 0.5]])
    arguments = (joint.log(), q.log(), prior.log(), 3)
    answer = defensive(*arguments) if callable(defensive) else None
    usable = isinstance(answer, torch.Tensor)
    assert usable, "`defensive` does not return a tensor yet: log p^ for each image."

    def near(right):
        return torch.allclose(answer.to(torch.float64), right, rtol=0, atol=1e-9)

    mixed = (3 * q + prior) / 4
    own = torch.cat([joint[:3] / q[:3], joint[3:] / prior[3:]])
    right = numbers([-1.67843078, -1.89537326])
    why = None
    if answer.shape != (2,):
        why = "There should be one number for each image, shape (B,): the draws are averaged."
    elif bool(torch.isnan(answer).any()) or bool(torch.isinf(answer).any()):
        why = "The answer is not finite: a code from the prior may have q = 0, and that is no harm."
    elif not torch.allclose(answer.to(torch.float64), right, rtol=0, atol=1e-7):
        why = "This estimate does not have the weights that depend on the code alone."
        if near(own.mean(0).log()):
            why = "Each draw is weighed by who proposed it: a code that q misses counts too little."
        elif near((joint / ((q + prior) / 2)).mean(0).log()):
            why = "The mixture is half and half, but three of the four draws are the encoder's."
        elif near((joint / ((q + 3 * prior) / 4)).mean(0).log()):
            why = "The shares of encoder and prior look exchanged in your mixture."
        elif near((joint / mixed).log().mean(0)):
            why = "The logarithm is taken before the average: this estimates another number."
        elif near((joint / mixed).sum(0).log()):
            why = "The weights are summed and not averaged."
        elif near((joint / (3 * q + prior)).mean(0).log()):
            why = "Your mixture does not sum to one over the codes: divide by n."
        elif near((joint / prior).mean(0).log()):
            why = "All draws are weighed as if the prior had proposed them, but most come from q."
        elif near((joint[:3] / q[:3]).mean(0).log()):
            why = "The draws from the prior are not used."
    assert why is None, why
    small = defensive(joint.log() - 2000, *arguments[1:])
    if not torch.allclose(small.to(torch.float64), right - 2000, rtol=0, atol=1e-6):
        why = "With log p(x, z) near -2000 the answer is lost: exp underflows, stay with logs."
    assert why is None, why
