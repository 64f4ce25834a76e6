# Generated from exercises/10_lemma2/source.ipynb by `make exercises`. Do not edit.
from otter.test_files import test_case

OK_FORMAT = False

name = "q7"
points = 3
all_or_nothing = True

@test_case(points=None, hidden=False)
def public_q7(shared_encoder):
    import torch

    from unigen_edu.exact.vae import VAEWorld

    def numbers(values):
        return torch.tensor(values, dtype=torch.float64)

    def near(left, right):
        return abs(float(left) - right) < 1e-6

    world = VAEWorld.random(4, n_x=4, n_z=3, p_y=(0.6, 0.4))
    tables = (world.p_data, world.p_x_given_z(), *world.p_z_given_y, world.p_y)
    answer = shared_encoder(*tables) if callable(shared_encoder) else None
    usable = isinstance(answer, torch.Tensor) and answer.shape == (4, 3)
    assert usable, "`shared_encoder` does not return a table with a row for each image yet."
    positive = bool((answer > 0).all())
    assert positive, "Your table has entries that are not positive, or not numbers."
    ones = torch.ones(4, dtype=torch.float64)
    if not torch.allclose(answer.sum(-1), ones, rtol=0, atol=1e-9):
        sums = torch.allclose(answer.sum(0), ones[:3], rtol=0, atol=1e-9)
        why = "The rows do not sum to one: for each image q(z|x) is a distribution of codes."
        assert not sums, "Your columns sum to one, and the rows should: q(z|x) is one for each x."
        raise AssertionError(why)
    eta = answer.detach().log().requires_grad_()
    (slope,) = torch.autograd.grad(world.line1(eta=eta, judge=world.provenance, shared=True), eta)
    why = None
    if float(slope.abs().max()) > 1e-9:
        why = "Line 1 still has a slope at your encoder, so a better one is near."
        first = answer[0, 0]
        if near(first, 0.74020530):
            why = "This is the VAE's posterior: the samples, who share the encoder, are forgotten."
        elif near(first, 0.44395030):
            why = "This is p(z|1) for every image: the data are forgotten."
        elif near(first, 0.45132486):
            why = "The sum of two KL divergences with q in front is not minimised by an average."
        elif near(first, 0.73427015):
            why = "The two exponents are exchanged: who wants the posterior, data or samples?"
        elif near(first, 0.57276280):
            why = "The exponents are p(y) for every image, but the likely origin differs."
        elif near(first, 0.45588844):
            why = "p(y) is missing in the weights of the two origins, which are not equal here."
    assert why is None, why
