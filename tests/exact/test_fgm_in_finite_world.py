"""f-GM's own loss code on tables, for every f: its phases, and its two reductions, exactly.

P(x, z) = p_data(x) q_eta(z|x) and Q(x, z) = p(z) p_theta(x|z). The losses come from
`model.loss`; the other sides from tables, from the VAE's own code and from f-GAN's own code.
"""

import math

import pytest
import torch

from unigen_edu.declarations import Batch
from unigen_edu.divergences import F_DIVERGENCES, f_divergence
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.fgm_networks import TableDensity, TablePairGenerator
from unigen_edu.exact.networks import (
    TableDecoder,
    TableDiscriminator,
    TableEncoder,
    TableGenerator,
)
from unigen_edu.exact.tables import generator_from
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.models.fgan import FGAN
from unigen_edu.models.fgm import FGM, Pairs
from unigen_edu.models.vae import VAE

TOLERANCE = 1e-10
NAMES = [*F_DIVERGENCES, "alpha=0.3", "alpha=3", "alpha=-2", "js=0.3"]
SYMMETRIC = ("js", "gan", "hellinger", "jeffreys")
# The gap is E_P of a function of x for KL, and E_Q of one for reverse KL; p_data is fixed, and
# eta does not enter the generator's x. So these steps are right even if d is wrong.
GAP_STANDS_STILL = {"kl": ("theta", "eta"), "reverse-kl": ("eta",), "jeffreys": ("eta",)}
PARTS = {"density": "density", "theta": "decoder", "eta": "encoder"}


@pytest.fixture(params=[0, 1, 2])
def world(request):
    return VAEWorld.random(request.param)


def some_log_d(world, seed=7):
    """A positive function of x that neither is p_data nor sums to one.  (X,)"""
    noise = torch.randn(world.p_data.shape, generator=generator_from(seed), dtype=torch.float64)
    return world.p_data.log() + 0.6 * noise + 0.3


def table_fgm(world, log_d, name="js", eta=None):
    model = FGM(shape=(2,), latent=1, divergence=name)
    model.encoder = TableEncoder(world.eta0 if eta is None else eta, world.p_z_given_y[0])
    model.decoder = TablePairGenerator(world.theta0, world.p_z_given_y[0])
    model.density = TableDensity(log_d)
    return model, Batch(torch.arange(world.p_data.shape[0]), weight=world.p_data)


def phase_gradient(model, phase, batch, part):
    loss = model.loss(phase, Batch(batch.x, weight=batch.weight))
    (parameter,) = model.get_submodule(PARTS[part]).parameters()
    return loss.value.detach(), torch.autograd.grad(loss.value, parameter)[0]


def laws(world, theta=None, eta=None):
    """P and Q as flat tables."""
    return world.q_xz(eta).flatten(), world.p_xz(theta).flatten()


def log_r(world, log_d, theta=None, eta=None):
    """log d q / (p p_theta), flat, from tables."""
    return (log_d[:, None] + world.q_z_given_x(eta).log() - world.p_xz(theta).log()).flatten()


def bregman_gap(world, f, log_d, theta=None, eta=None):
    return f.gap(*laws(world, theta, eta), log_r(world, log_d, theta, eta))


# ---- the bound -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_density_phase_closes_the_gap(name, world):
    f, log_d = f_divergence(name), some_log_d(world)
    model, batch = table_fgm(world, log_d, name)
    loss, grad = phase_gradient(model, "density", batch, "density")
    d_f = f.divergence(*laws(world))
    assert gap(-loss, d_f - bregman_gap(world, f, log_d)) < TOLERANCE
    assert bregman_gap(world, f, log_d) > 1e-4
    right = gradient(lambda l: bregman_gap(world, f, l), log_d)
    assert gap(grad, right) < TOLERANCE
    # By hand: dV/dlog d(x) = E_P g - E_Q r g with g = r f''(r), for each x.
    r = log_r(world, log_d).exp()
    g = r * gradient(lambda u: f.derivative(u).sum(), r)
    p, q = laws(world)
    by_hand = (p * g - q * r * g).reshape(world.q_xz().shape).sum(1)
    assert gap(-grad, by_hand) < 1e-9
    # The laws exchanged.
    if name not in SYMMETRIC:
        swapped = gradient(lambda l: f.gap(q, p, -log_r(world, l)), log_d)
        assert gap(grad, swapped) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_the_best_density_is_that_of_the_data_for_every_theta_and_eta(name, world):
    f = f_divergence(name)
    for theta, eta in ((world.theta0, world.eta0), (world.other_theta(), world.other_eta())):
        model, batch = table_fgm(world, world.p_data.log(), name, eta)
        model.decoder = TablePairGenerator(theta, world.p_z_given_y[0])
        loss, grad = phase_gradient(model, "density", batch, "density")
        assert grad.abs().max() < 1e-9
        assert gap(-loss, f.divergence(*laws(world, theta, eta))) < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_the_joint_phase_descends_the_divergence_less_the_gap(name, world):
    f, log_d = f_divergence(name), some_log_d(world)
    model, batch = table_fgm(world, log_d, name)
    for part, at in (("theta", world.theta0), ("eta", world.eta0)):
        loss, grad = phase_gradient(model, "joint", batch, part)

        def claimed(value, part=part):
            moved = {part: value}
            return f.divergence(*laws(world, **moved)) - bregman_gap(world, f, log_d, **moved)

        assert gap(loss, claimed(at)) < TOLERANCE
        assert gap(grad, gradient(claimed, at)) < TOLERANCE
        # Not the divergence itself, for the gap moves as well, with few exceptions.
        own = gradient(lambda v, part=part: f.divergence(*laws(world, **{part: v})), at)
        assert (gap(grad, own) < TOLERANCE) == (part in GAP_STANDS_STILL.get(name, ()))


@pytest.mark.parametrize("name", NAMES)
def test_with_the_density_of_the_data_the_joint_phase_descends_the_divergence(name, world):
    f = f_divergence(name)
    model, batch = table_fgm(world, world.p_data.log(), name)
    for part, at in (("theta", world.theta0), ("eta", world.eta0)):
        _, grad = phase_gradient(model, "joint", batch, part)
        right = gradient(lambda v, part=part: f.divergence(*laws(world, **{part: v})), at)
        assert gap(grad, right) < 1e-9
        if name not in SYMMETRIC:
            other = gradient(
                lambda v, part=part: f.divergence(*reversed(laws(world, **{part: v}))), at
            )
            assert gap(grad, other) > 1e-4


@pytest.mark.parametrize("name", ["js", "reverse-kl", "hellinger"])
def test_a_ratio_held_constant_is_another_step_unless_d_is_the_density_of_the_data(name, world):
    """A GAN may freeze its discriminator; here theta and eta stand in the ratio itself."""

    def with_frozen_ratio(log_d):
        model, batch = table_fgm(world, log_d, name)
        frozen = [
            Pairs(pairs.x, pairs.log_q_over_p.detach(), pairs.weight)
            for pairs in (model.inferred(batch), model.generated(batch))
        ]
        data, generated = model.variational_bound(*frozen)
        wrong = torch.autograd.grad(data - generated, model.decoder.logits)[0]
        return phase_gradient(model, "joint", batch, "theta")[1], wrong

    right, wrong = with_frozen_ratio(some_log_d(world))
    assert gap(right, wrong) > 1e-4
    right, wrong = with_frozen_ratio(world.p_data.log())
    assert gap(right, wrong) < TOLERANCE


def test_the_two_phases_share_their_pairs_and_leave_each_other_alone(world):
    model, batch = table_fgm(world, some_log_d(world))
    first = model.inferred(batch), model.generated(batch)
    loss = model.loss("density", batch).value
    # Only the weights of the tables know theta and eta; values and ratios are detached.
    assert model.inferred(batch) is first[0]
    assert model.generated(batch) is first[1]
    assert torch.autograd.grad(loss, model.density.log_d, retain_graph=True)[0].abs().max() > 1e-3
    grad = torch.autograd.grad(model.loss("joint", batch).value, model.decoder.logits)[0]
    assert gap(grad, phase_gradient(model, "joint", batch, "theta")[1]) < 1e-12


# ---- reduction: KL is the VAE --------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_kl_is_the_vae_for_any_density(name, world):
    """V = 1 + E log d - int d - ELBO: the joint phase is the VAE's, by the VAE's own code."""
    log_d = some_log_d(world)
    vae = VAE(shape=(2,), likelihood="gaussian", latent=1)
    vae.encoder = TableEncoder(world.eta0, world.p_z_given_y[0])
    vae.decoder = TableDecoder(world.theta0)
    model, batch = table_fgm(world, log_d, name)
    for part in ("theta", "eta"):
        loss, grad = phase_gradient(model, "joint", batch, part)
        vae_loss, vae_grad = phase_gradient(vae, "variational", batch, part)
        assert (gap(grad, vae_grad) < TOLERANCE) == (name == "kl")
    constant = 1 + (world.p_data * log_d).sum() - log_d.exp().sum()
    if name == "kl":
        assert gap(loss, vae_loss + constant) < TOLERANCE
        normalised = log_d - log_d.logsumexp(0)
        model, batch = table_fgm(world, normalised, name)
        loss, _ = phase_gradient(model, "joint", batch, "eta")
        assert gap(loss, vae_loss + (world.p_data * normalised).sum()) < TOLERANCE
        # The density phase has nothing to do with theta and eta: it is maximum likelihood.
        _, grad = phase_gradient(model, "density", batch, "density")
        likelihood = gradient(lambda l: -(world.p_data * (l - l.logsumexp(0))).sum(), normalised)
        assert gap(grad, likelihood) < TOLERANCE


# ---- reduction: without z it is f-GAN ------------------------------------------------------------


def as_fgan(world, log_d, name):
    """f-GAN's own code: the marginal of the generator, and the discriminator log d / p_theta."""
    p_g = world.p_g()
    fgan = FGAN(shape=(2,), latent=1, divergence=name)
    fgan.generator = TableGenerator(p_g.log())
    fgan.discriminator = TableDiscriminator(log_d - p_g.log())
    return fgan


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("codes", [1, 3])
def test_without_z_or_with_the_true_posterior_it_is_f_gan(name, codes, world):
    """One code is no code. With several, q = p_theta(z|x) makes the ratio a function of x."""
    world = VAEWorld.random(3, n_z=codes) if codes == 1 else world
    f, log_d = f_divergence(name), some_log_d(world)
    posterior = world.p_z_given_x().log()
    model, batch = table_fgm(world, log_d, name, eta=posterior)
    loss, grad = phase_gradient(model, "density", batch, "density")
    fgan = as_fgan(world, log_d, name)
    fgan_loss = fgan.loss("discriminator", batch).value
    fgan_grad = torch.autograd.grad(fgan_loss, fgan.discriminator.logits)[0]
    assert gap(loss, fgan_loss) < TOLERANCE
    assert gap(grad, fgan_grad) < TOLERANCE  # l = log d - log p_theta(x)
    # At d = p_data the generators agree too: D_f(P||Q) = D_f(p_data||p_theta), stationary in q.
    model, batch = table_fgm(world, world.p_data.log(), name, eta=posterior)
    _, grad = phase_gradient(model, "joint", batch, "theta")
    right = gradient(lambda t: f.divergence(world.p_data, world.p_g(t)), world.theta0)
    assert gap(grad, right) < 1e-9
    through = gradient(
        lambda t: (world.p_g(t) * -f.model_term((world.p_data / world.p_g()).log())).sum(),
        world.theta0,
    )
    assert gap(grad, through) < 1e-9
    _, grad = phase_gradient(model, "joint", batch, "eta")
    assert grad.abs().max() < 1e-9


@pytest.mark.parametrize("name", [n for n in NAMES if n != "gan"])
def test_any_other_inference_network_costs(name, world):
    """Data processing: D_f of the joint laws is at least D_f of their marginals."""
    f = f_divergence(name)
    joint, marginal = f.divergence(*laws(world)), f.divergence(world.p_data, world.p_g())
    assert joint > marginal + 1e-4
    log_d = some_log_d(world)
    model, batch = table_fgm(world, log_d, name)
    loss = model.loss("density", batch).value
    fresh = Batch(batch.x, weight=batch.weight)
    fgan_loss = as_fgan(world, log_d, name).loss("discriminator", fresh).value
    assert gap(loss, fgan_loss) > 1e-4


# ---- reverse KL is sleep, KL is wake -------------------------------------------------------------


def test_reverse_kl_moves_the_inference_network_by_sleep_and_kl_by_the_elbo(world):
    """Whatever d is: eta sees dreams under reverse KL, data under KL, both under Jeffreys."""
    grads = {}
    for name in ("kl", "reverse-kl", "jeffreys"):
        model, batch = table_fgm(world, some_log_d(world), name)
        _, grads[name] = phase_gradient(model, "joint", batch, "eta")
    dreams = world.p_xz()

    def sleep(eta):
        return -(dreams * eta.log_softmax(-1)).sum()

    assert gap(grads["reverse-kl"], gradient(sleep, world.eta0)) < TOLERANCE
    assert gap(grads["kl"], gradient(lambda eta: world.vae_loss(eta=eta), world.eta0)) < TOLERANCE
    assert gap(grads["jeffreys"], grads["kl"] + grads["reverse-kl"]) < TOLERANCE
    assert gap(grads["kl"], grads["reverse-kl"]) > 1e-4


# ---- JS is ALI with a structured logit -----------------------------------------------------------


def test_js_is_the_game_of_ali(world):
    log_d = some_log_d(world)
    model, batch = table_fgm(world, log_d, "js")
    loss, _ = phase_gradient(model, "density", batch, "density")
    (p, q), d = laws(world), torch.sigmoid(log_r(world, log_d))
    game = (p * d.log()).sum() + (q * (1 - d).log()).sum()
    assert gap(-loss, 2 * math.log(2) + game) < TOLERANCE


# ---- what the numbers are ------------------------------------------------------------------------


def test_bounds_and_terms(world):
    log_d = some_log_d(world)
    model, batch = table_fgm(world, log_d)
    assert gap(model.log_likelihood(batch.x), log_d) == 0
    assert gap(model.elbo(batch.x), world.elbo()) < TOLERANCE
    loss = model.loss("density", batch)
    p, q = laws(world)
    f, l = f_divergence("js"), log_r(world, log_d)
    assert gap(loss.terms["E_P f'"], (p * f.data_term(l)).sum()) < TOLERANCE
    assert gap(loss.terms["E_Q f*(f')"], (q * f.model_term(l)).sum()) < TOLERANCE
    assert gap(loss.terms["E_Q f*(f')"] - loss.terms["E_P f'"], loss.value) < TOLERANCE
    log_w = model.log_weights(batch.x, 1)
    weight = model.posterior(batch.x).sample().weight
    assert gap((weight * log_w.exp()).sum(0), world.p_g()) < TOLERANCE
