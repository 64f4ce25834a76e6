"""Chapter 11: every labelled equation, over random worlds with uniform and skewed p(y).

Objectives and divergences are rebuilt here from softmax tables with plain sums, so that no equation
is compared with the method that computes it.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from unigen_edu import models
from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gradient, jacobian
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.networks import TableDiscriminator, TableGenerator
from unigen_edu.exact.vae import VAEWorld

P_YS = ((0.5, 0.5), (0.3, 0.7))
VAES = [VAEWorld.random(s, n_x=4, n_z=3, p_y=p_y) for s in range(4) for p_y in P_YS]
GANS = [GANWorld.random(s, p_y=p_y) for s in range(4) for p_y in P_YS]

each_vae = pytest.mark.parametrize("w", VAES)
each_gan = pytest.mark.parametrize("w", GANS)


def mean(law: Tensor, value: Tensor) -> Tensor:
    return (law * value).sum()


def kl_by_hand(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum()


def entropy_by_hand(p: Tensor) -> Tensor:
    return -(p * p.log()).sum()


def rows(logits: Tensor) -> Tensor:
    return logits.exp() / logits.exp().sum(-1, keepdim=True)


def night(w: VAEWorld, t: Tensor) -> Tensor:
    """Q(x, z) = p(z) p_theta(x|z): (X, Z)"""
    return torch.einsum("z,zx->xz", w.p_z_given_y[0], rows(t))


def day(w: VAEWorld, e: Tensor) -> Tensor:
    """P(x, z): (X, Z)"""
    return torch.einsum("x,xz->xz", w.p_data, rows(e))


def minus_elbo(w: VAEWorld, t: Tensor, e: Tensor) -> Tensor:
    """E_pdata[ -E_q log p(x|z) + KL(q || p(z)) ], picture by picture."""
    total = torch.zeros((), dtype=torch.float64)
    for i, p in enumerate(w.p_data):
        q = rows(e)[i]
        total = total + p * (kl_by_hand(q, w.p_z_given_y[0]) - mean(q, rows(t)[:, i].log()))
    return total


def posterior(joint: Tensor) -> Tensor:
    return joint / joint.sum(-1, keepdim=True)


# ---- the VAE and wake ----------------------------------------------------------------------------


@pytest.mark.equation("eq-links-vae-theta", "eq-links-vae-eta")
@each_vae
def test_the_two_steps_of_a_vae_beside_wake_and_sleep(w: VAEWorld, measure):
    for t, e in ((w.theta0, w.eta0), (w.other_theta(), w.other_eta())):
        decoder = gradient(lambda a, e=e: minus_elbo(w, a, e), t)
        wake = gradient(lambda a, e=e: -mean(day(w, e), night(w, a).log()), t)
        printed = gradient(lambda a, e=e: -mean(day(w, e), rows(a).T.log()), t)
        assert measure("eq-links-vae-theta", decoder, wake)
        assert measure("eq-links-vae-theta", decoder, printed)

        encoder = gradient(lambda b, t=t: minus_elbo(w, t, b), e)
        forwards = gradient(lambda b, t=t: kl_by_hand(day(w, b), night(w, t)), e)
        target, dreams = posterior(night(w, t)), night(w, t).sum(1)

        def on(law: Tensor, b: Tensor, reverse: bool, target: Tensor = target) -> Tensor:
            pairs = [(p, q) if reverse else (q, p) for p, q in zip(target, rows(b), strict=True)]
            return mean(law, torch.stack([kl_by_hand(*pair) for pair in pairs]))

        gap_on_data = gradient(lambda b, on=on: on(w.p_data, b, reverse=False), e)
        assert measure("eq-links-vae-eta", encoder, forwards)
        assert measure("eq-links-vae-eta", encoder, gap_on_data)
        sleep = gradient(lambda b, t=t: -mean(night(w, t), rows(b).log()), e)
        backwards = gradient(lambda b, t=t: kl_by_hand(night(w, t), day(w, b)), e)
        gap_on_dreams = gradient(lambda b, on=on, d=dreams: on(d, b, reverse=True), e)
        assert measure("eq-links-vae-eta", sleep, backwards)
        assert measure("eq-links-vae-eta", sleep, gap_on_dreams)
        for changed in (
            gradient(lambda b, on=on: on(w.p_data, b, reverse=True), e),  # the direction
            gradient(lambda b, on=on, d=dreams: on(d, b, reverse=False), e),  # the pictures
            sleep,  # both
        ):
            assert measure("eq-links-vae-eta", encoder, changed, 1e-4, "!=")


@pytest.mark.equation("eq-links-regularised")
@each_vae
def test_without_the_prior_the_best_encoder_is_one_code(w: VAEWorld, measure):
    log_p = rows(w.theta0).T.log()  # (X, Z)
    g = torch.Generator().manual_seed(0)
    some = torch.rand(300, log_p.shape[1], generator=g, dtype=torch.float64)
    some = torch.cat([some / some.sum(1, keepdim=True), torch.eye(log_p.shape[1]).double()])
    printed = some @ log_p.T  # (q, X)
    assert measure("eq-links-regularised", printed.max(0).values, log_p.max(1).values)

    prior = w.p_z_given_y[0]
    to_prior = torch.where(some > 0, some * (some / prior).log(), 0.0).sum(1)
    p_g = night(w, w.theta0).sum(1)
    regularised = (printed - to_prior[:, None]).max(0).values
    assert measure("eq-links-regularised", regularised, p_g.log(), relation="<=")
    best = posterior(night(w, w.theta0))
    reached = [mean(q, lp) - kl_by_hand(q, prior) for q, lp in zip(best, log_p, strict=True)]
    assert measure("eq-links-regularised", torch.stack(reached), p_g.log())


# ---- the GAN and sleep ---------------------------------------------------------------------------


def stage(w: GANWorld, t: Tensor) -> Tensor:
    """Q(y, x) = p(y) p_theta(x|y): (2, X)"""
    return torch.stack([w.p_y[0] * rows(t), w.p_y[1] * w.p_data])


def judge(a: Tensor) -> Tensor:
    """q_phi(y|x) from logits: (2, X)"""
    return torch.stack([1 / (1 + a.exp()), 1 / (1 + (-a).exp())])


def sleep(w: GANWorld, t: Tensor, a: Tensor) -> Tensor:
    return -mean(stage(w, t), judge(a).log())


def reversed_loss(w: GANWorld, t: Tensor, a: Tensor) -> Tensor:
    """-L_theta, with the half of the data."""
    return -mean(stage(w, t), judge(a).flip(0).log())


def jsd(w: GANWorld, t: Tensor) -> Tensor:
    joint = stage(w, t)
    return kl_by_hand(joint, w.p_y[:, None] * joint.sum(0))


def kl_to_reversed_judge(w: GANWorld, t: Tensor) -> Tensor:
    frozen = stage(w, w.theta0).sum(0) * judge(w.phi0).flip(0)
    return kl_by_hand(stage(w, t), frozen)


@pytest.mark.equation("eq-links-discriminator")
@each_gan
def test_the_discriminators_objective_is_sleep(w: GANWorld, measure):
    for t in (w.theta0, w.other_theta()):
        pictures = stage(w, t).sum(0)
        domains = stage(w, t) / pictures
        found = torch.zeros((), dtype=torch.float64)
        for i, p in enumerate(pictures):
            kl = kl_by_hand(domains[:, i], judge(w.phi0)[:, i])
            found = found + p * (kl + entropy_by_hand(domains[:, i]))
        assert measure("eq-links-discriminator", sleep(w, t, w.phi0), found)
        assert measure("eq-links-discriminator", -w.discriminator_objective(theta=t), found)


@pytest.mark.equation("eq-links-discriminator", "eq-links-three")
@pytest.mark.parametrize("w", [w for w in GANS if float(w.p_y[0]) == 0.5])
def test_the_packages_gan_descends_these_losses(w: GANWorld, measure):
    gan = models.get("gan")(shape=(2,))
    gan.generator = TableGenerator(w.theta0)
    gan.discriminator = TableDiscriminator(w.phi0)
    states = torch.arange(len(w.p_data))
    batch = Batch(states, weight=w.p_data)
    trained = gan.loss("discriminator", batch).value
    assert measure("eq-links-discriminator", trained, sleep(w, w.theta0, w.phi0))
    (found,) = torch.autograd.grad(
        gan.loss("generator", Batch(states, weight=w.p_data)).value,
        list(gan.generator.parameters()),
    )
    expected = gradient(lambda t: reversed_loss(w, t, w.phi0), w.theta0)
    assert measure("eq-links-three", found.flatten(), expected)


@pytest.mark.equation("eq-links-first-slot", "eq-links-generator")
@each_gan
def test_the_generators_loss_is_the_divergence_of_sleep_in_the_other_slot(w: GANWorld, measure):
    frozen = stage(w, w.theta0).sum(0)
    away = w.other_theta()
    for t in (w.theta0, away):
        shift = kl_by_hand(stage(w, t).sum(0), frozen)
        right = kl_to_reversed_judge(w, t) - jsd(w, t) - shift + entropy_by_hand(w.p_y)
        assert measure("eq-links-first-slot", reversed_loss(w, t, w.phi0), right)

    def lemma(t: Tensor) -> Tensor:
        return kl_to_reversed_judge(w, t) - jsd(w, t)

    def loss(t: Tensor) -> Tensor:
        return reversed_loss(w, t, w.phi0)

    assert measure("eq-links-generator", gradient(loss, w.theta0), gradient(lemma, w.theta0))
    assert measure("eq-links-generator", gradient(loss, away), gradient(lemma, away), 1e-4, "!=")


@pytest.mark.equation("eq-links-three")
@each_gan
def test_three_uses_of_the_sleep_loss(w: GANWorld, measure):
    D = 1 / (1 + (-w.phi0).exp())

    def step(value: Tensor) -> Tensor:
        """p(y=0) grad E_{p_g}[value] of a frozen function."""
        return w.p_y[0] * gradient(lambda t: mean(rows(t), value), w.theta0)

    cooperate = gradient(lambda t: sleep(w, t, w.phi0), w.theta0)
    assert measure("eq-links-three", cooperate, -step((1 - D).log()))
    assert measure("eq-links-three", -cooperate, step((1 - D).log()))
    turned = gradient(lambda t: reversed_loss(w, t, w.phi0), w.theta0)
    assert measure("eq-links-three", turned, -step(D.log()))
    assert measure("eq-links-three", turned, -cooperate, 1e-4, "!=")


# ---- both hidden variables -----------------------------------------------------------------------


@pytest.mark.equation("eq-links-sleep-both")
@each_vae
def test_sleep_with_code_and_domain_splits(w: VAEWorld, measure):
    t = w.theta0
    data_side = w.p_data[:, None] * w.p_z_given_y[1]  # the code is idle
    joint = torch.stack([w.p_y[0] * night(w, t), w.p_y[1] * data_side])  # (y, x, z)

    def both(e: Tensor, a: Tensor) -> Tensor:
        named = judge(a)[..., None] * torch.stack([rows(e), w.q_z_given_x_1])
        return -mean(joint, named.log())

    def parts(e: Tensor, a: Tensor) -> Tensor:
        domain = -mean(joint.sum(2), judge(a).log())
        code = -w.p_y[0] * mean(night(w, t), rows(e).log())
        return domain + code

    constant = -w.p_y[1] * mean(data_side, w.q_z_given_x_1.log())
    for e, a in ((w.eta0, w.phi0), (w.other_eta(), -w.phi0)):
        assert measure("eq-links-sleep-both", both(e, a), parts(e, a) + constant)


@pytest.mark.equation("eq-links-wake-both")
@each_vae
def test_wake_with_code_and_domain_is_wake(w: VAEWorld, measure):
    origins = torch.stack([w.p_y[0] * night(w, w.theta0).sum(1), w.p_y[1] * w.p_data])
    q = torch.stack([rows(w.eta0), w.q_z_given_x_1])

    def loss(t: Tensor, told: bool = True) -> Tensor:
        data_side = w.p_data[:, None] * w.p_z_given_y[1]
        joint = torch.stack([w.p_y[0] * night(w, t), w.p_y[1] * data_side])
        total = torch.zeros((), dtype=torch.float64)
        for s in (0, 1):
            for y in (0, 1):
                named = float(y == 1 - s) if told else 0.5
                law = origins[s][:, None] * named * q[y]
                total = total - mean(law, joint[y].log())
        return total

    for t in (w.theta0, w.other_theta()):
        wake = gradient(lambda a: -mean(day(w, w.eta0), night(w, a).log()), t)
        assert measure("eq-links-wake-both", gradient(loss, t), w.p_y[1] * wake)
        untold = gradient(lambda a: loss(a, told=False), t)
        assert measure("eq-links-wake-both", untold, w.p_y[1] * wake, 1e-4, "!=")


# ---- the fourth corner ---------------------------------------------------------------------------


@pytest.mark.equation("eq-links-corner", "eq-links-infogan")
@each_vae
def test_the_fourth_corner(w: VAEWorld, measure):
    for t, e in ((w.theta0, w.eta0), (w.other_theta(), w.other_eta())):
        joint = night(w, t)
        kl, p_g = kl_by_hand(joint, day(w, e)), joint.sum(1)
        to_q = [kl_by_hand(p, q) for p, q in zip(posterior(joint), rows(e), strict=True)]
        to_data = kl_by_hand(p_g, w.p_data)
        assert measure("eq-links-corner", kl, to_data + mean(p_g, torch.stack(to_q)))

        prior = w.p_z_given_y[0]
        information = kl_by_hand(joint, p_g[:, None] * prior)
        cross = -mean(joint, rows(e).log())
        right = to_data + cross + information - entropy_by_hand(prior)
        assert measure("eq-links-infogan", kl, right)


@pytest.mark.equation("eq-links-logit", "eq-links-softened")
@each_gan
def test_the_optimal_discriminator_stands_in_for_the_density_of_the_data(w: GANWorld, measure):
    t0 = w.theta0
    best = (stage(w, t0)[1] / stage(w, t0)[0]).log()
    to_data = gradient(lambda t: kl_by_hand(rows(t), w.p_data), t0)
    assert measure("eq-links-logit", to_data, gradient(lambda t: -mean(rows(t), best), t0))
    assert measure(
        "eq-links-logit", to_data, gradient(lambda t: -mean(rows(t), w.phi0), t0), 1e-4, "!="
    )

    usual = gradient(lambda t: reversed_loss(w, t, best), t0)
    mixed = gradient(lambda t: kl_by_hand(stage(w, t).sum(0), w.p_data), t0)
    assert measure("eq-links-softened", usual, mixed)
    assert measure("eq-links-softened", usual, w.p_y[0] * to_data, 1e-4, "!=")


# ---- games ---------------------------------------------------------------------------------------


def step_of(loss, at: Tensor) -> Tensor:
    at = at.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(at), at, create_graph=True)[0]


@pytest.mark.equation("eq-links-cross")
@each_gan
def test_the_mixed_derivatives_of_the_games(w: GANWorld, measure):
    def minimax(t: Tensor, a: Tensor) -> Tensor:
        return -w.p_y[0] * mean(rows(t), softplus(a))

    def turned(t: Tensor, a: Tensor) -> Tensor:
        return w.p_y[0] * mean(rows(t), softplus(-a))

    slopes = jacobian(rows, w.theta0).T  # (theta, x)
    D = 1 / (1 + (-w.phi0).exp())
    theirs = jacobian(lambda t: step_of(lambda a: sleep(w, t, a), w.phi0), w.theta0).T
    assert measure("eq-links-cross", theirs, w.p_y[0] * D * slopes)
    found = {}
    for name, loss, factor in (("minimax", minimax, D), ("turned", turned, 1 - D)):

        def generator_step(a: Tensor, loss=loss) -> Tensor:
            return step_of(lambda t: loss(t, a), w.theta0)

        found[name] = jacobian(generator_step, w.phi0)
        assert measure("eq-links-cross", found[name], -w.p_y[0] * factor * slopes)
    assert measure("eq-links-cross", found["minimax"], -theirs)
    assert measure("eq-links-cross", found["turned"], -theirs, 1e-4, "!=")
