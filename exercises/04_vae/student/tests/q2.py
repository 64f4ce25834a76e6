# Generated from exercises/04_vae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q2(best_prior):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        right = numbers(right)
        return left.shape == right.shape and torch.allclose(left, right, rtol=0, atol=1e-6)

    mean = numbers([[1.0, -0.5], [-1.0, 0.0], [2.0, 1.5]])
    log_var = numbers([[0.25, 1.0], [0.5, 0.4], [0.1, 0.8]]).log()
    p_data = numbers([0.5, 0.3, 0.2])
    answer = best_prior(mean, log_var, p_data) if callable(best_prior) else None
    usable = isinstance(answer, (tuple, list)) and len(answer) == 3
    usable = usable and all(isinstance(part, (torch.Tensor, int, float)) for part in answer)
    assert usable, "`best_prior` does not return three tensors yet: m, v and the rate."
    m, v, rate = (torch.as_tensor(part, dtype=torch.float64) for part in answer)
    why = None
    if m.shape != (2,) or v.shape != (2,):
        why = "m and v should have one entry for each coordinate: average over the images only."
    elif not near(m, [0.6, 0.05]):
        why = "m is not the best mean of the prior here."
        if near(m, [2 / 3, 1 / 3]):
            why = "m weighs all images equally, and they are not equally frequent."
        elif near(m, [0.0, 0.0]):
            why = "m is still the mean of the old prior."
    elif not near(v, [1.535, 1.3525]):
        why = "v is not the best variance of the prior here."
        if near(v, [1.24, 0.5725]):
            why = "v is the spread of the means alone: codes are drawn, which adds a spread."
        elif near(v, [0.295, 0.78]):
            why = "v is the mean of the variances alone: the means differ between images."
        elif near(v, [1.895, 1.355]):
            why = "v is measured around zero and not around the new mean."
        elif near(v, [1.535**0.5, 1.3525**0.5]):
            why = "v looks like a standard deviation: the question asks for variances."
        elif near(v, [1.535**-1, 1.3525**-1]):
            why = "v looks like a precision: the question asks for variances."
        elif near(v.log(), [0.0, 0.0]):
            why = "v is still the variance of the old prior."
    elif rate.numel() != 1:
        why = "The rate is one number: sum over the coordinates, average over the images."
    elif not near(rate.reshape(()), 1.20580470):
        why = f"m and v are right, and {rate.item():.4f} is not the rate that belongs to them."
        if near(rate.reshape(()), 1.46556214):
            why = "This is the rate with the old prior, the standard normal."
        elif near(rate.reshape(()), 1.20580470 / 2):
            why = "The rate is a sum over the coordinates, and yours looks like a mean."
        elif near(rate.reshape(()), 2 * 1.20580470):
            why = "The rate is twice too large: the KL divergence has a factor one half."
        elif near(rate.reshape(()), -1.20580470):
            why = "A rate is not negative: mind which of the two normals is in the numerator."
        elif near(rate.reshape(()), 1.09986320):
            why = "The logarithm of a mean variance is not the mean of the logarithms."
    assert why is None, why
