# Generated from exercises/04_vae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q6"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q6(price_of):
    import math

    import torch

    def near(left, right):
        return abs(left - right) < 1e-6

    # By hand: the budget is that of the two largest of four components at the level 1.
    variances = torch.tensor([0.3, 8.0, 0.1, 2.0], dtype=torch.float64)
    answer = price_of(variances, 0.4, 2 * math.log(2)) if callable(price_of) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 3
    usable = usable and all(isinstance(v, (int, float, torch.Tensor)) for v in answer)
    assert usable, "`price_of` does not return three numbers yet: beta, the error and a count."
    beta, error, collapsed = (float(value) for value in answer)
    why = None
    if not near(beta, 2.5):
        why = f"At the price {beta:.4f} the code of an image does not cost 2 log 2 nats."
        if abs(beta - 1.040448) < 1e-4:
            why = "All components share your budget, but some of these then have a negative rate."
        elif near(beta, 1.0):
            why = "This is the level: the price has to be multiplied by tau^2 to give it."
        elif near(beta, 0.4):
            why = "The level was multiplied by tau^2, but it is the price times tau^2."
        elif near(beta, 5.0):
            why = "A component costs half of a logarithm: at your price only a half is spent."
        elif abs(beta - 3.825461) < 1e-4:
            why = "The budget looks like bits, and it is in nats."
    elif not near(error, 2.4):
        why = f"The price is right and the squared error is not {error:.4f} there."
        if near(error, 2.0):
            why = "A component under water is rebuilt too, as its mean: it keeps an error as well."
        elif near(error, 0.4):
            why = "A component above the water keeps an error too: it is not rebuilt perfectly."
        elif near(error, 4.0):
            why = "A component under water cannot have a larger error than its own variance."
        elif near(error, 8.4) or near(error, 10.0):
            why = "This error is what the code removes: ask what is left of each component."
        elif near(error, 3.0) or near(error, 6.0):
            why = "The squared error is in units of the data: tau^2 is not a factor of it."
        elif near(error, 0.6):
            why = "The squared error is summed over the pixels, and yours looks like a mean."
    elif not near(collapsed, 2):
        why = "The last number should count the components under water."
        if near(collapsed, 0) or near(collapsed, 4):
            why = "Compare each variance with the level: neither all nor none are under water."
    assert why is None, why
