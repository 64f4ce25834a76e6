# Generated from exercises/16_aavae/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q3(step_loss):
    import torch

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return abs(float(left) - right) < 1e-6

    theta = numbers([[0.4, -0.3, 0.8], [-0.6, 0.5, 0.1]]).requires_grad_()
    eta = numbers([[0.7, -0.2], [-0.4, 0.3], [0.1, 0.9]]).requires_grad_()
    a = numbers([1.2, -0.4, 0.3]).requires_grad_()
    given = (a, numbers([0.2, 0.5, 0.3]), numbers([0.6, 0.4]), numbers([0.5, 0.3, 0.2]))

    loss = step_loss(theta, eta, *given) if callable(step_loss) else None
    usable = isinstance(loss, torch.Tensor) and loss.numel() == 1
    assert usable, "`step_loss` does not return a scalar tensor yet."
    loss = loss.reshape(())
    assert loss.requires_grad, "No gradient reaches theta and eta: the ELBO itself is not frozen."
    value = float(loss.detach())
    why = None
    if not near(value, 0.66702173):
        why = f"The loss is {value:.6f}, which is not the weighted mean of -ELBO of this pool."
        if near(value, 0.54274557):
            why = "The weight is not reversed: what looks like data should count."
        elif near(value, -0.66702173):
            why = "The sign is wrong: the step descends, so the loss contains minus ELBO."
        elif near(value, 1.21943705):
            why = "The weights are divided by their sum: they should enter as they are."
        elif near(value, 0.22234058):
            why = "The pool's average is a sum with its probabilities, and yours looks like a mean."
        elif near(value, 1.20976729):
            why = "The judge is missing: all images of the pool count fully here."
        elif near(value, 0.95108425):
            why = "Here data count fully, but this judge is not told: data have weights too."
        elif near(value, 0.32115543):
            why = "Only data count here: generated images have weights too, and are not rejected."
        elif near(value, 0.67172282):
            why = "The reconstructions look like samples: their codes come from the encoder."
        elif near(value, 0.66467118):
            why = "The second and third share are exchanged: data, samples, reconstructions."
        elif near(value, 0.67369165):
            why = "The three parts of the pool look equally large, and their shares are given."
    assert why is None, why
    g_theta, g_eta, g_a = torch.autograd.grad(loss, (theta, eta, a), allow_unused=True)
    if g_a is not None and float(g_a.abs().max()) > 1e-12:
        why = "A gradient flows into the discriminator's logits: the judge has to be frozen."
    elif g_theta is None or g_eta is None:
        why = "The loss does not depend on both theta and eta: is too much frozen?"
    elif not near(g_theta[0, 0], -0.04263438):
        why = "The value is right and the gradient in theta is not: what is frozen, and what not?"
        if near(g_theta[0, 0], -0.02643367):
            why = "The law of the samples moves with theta: the pool has to be frozen."
        elif near(g_theta[0, 0], -0.03541420):
            why = "The law of the reconstructions moves with theta: the pool has to be frozen."
        elif near(g_theta[0, 0], -0.01921348):
            why = "Both generated parts of the pool move with theta: the pool has to be frozen."
        elif near(g_theta[0, 0], -0.01627599):
            why = "The model learns from data only: the ELBO at a generated image is not frozen."
    elif not near(g_eta[2, 0], -0.07104748):
        why = "The gradient in theta is right and that in eta is not: which eta makes images?"
    assert why is None, why
