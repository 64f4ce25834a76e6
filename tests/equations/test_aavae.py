"""Chapter 16: every labelled equation, in worlds small enough to list all images.

The other side of each comparison is written out here from the tables: sums over images, domains and
codes, and gradients by autograd. What holds to first order is extrapolated from two small errors.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.networks import TableDecoder, TableDiscriminator, TableEncoder
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.models.aavae import AAVAE

SEEDS = range(6)
WORLDS = [VAEWorld.random(seed, n_x=4, n_z=2) for seed in SEEDS]
POINTS = [(w, w.other_theta(), w.other_eta()) for w in WORLDS]


def p_g(w: VAEWorld, t: Tensor) -> Tensor:
    return (w.p_z_given_y[0][:, None] * t.softmax(1)).sum(0)


def joint(w: VAEWorld, t: Tensor) -> Tensor:
    """p_theta(x, z).  (X, Z)"""
    return (w.p_z_given_y[0][:, None] * t.softmax(1)).T


def pool(w: VAEWorld) -> Tensor:
    """p_theta0(x), half data and half samples."""
    return 0.5 * p_g(w, w.theta0).detach() + 0.5 * w.p_data


def best(w: VAEWorld) -> Tensor:
    return w.p_data / (w.p_data + p_g(w, w.theta0))


def minus_elbo(w: VAEWorld, t: Tensor, e: Tensor) -> Tensor:
    q = e.softmax(1)
    return (q * (q / joint(w, t)).log()).sum(1)


def activated(w: VAEWorld, D: Tensor, t: Tensor, e: Tensor) -> Tensor:
    """L_AA: the second line of its definition."""
    cost = D * minus_elbo(w, t, e)
    return 0.5 * (w.p_data * cost).sum() + 0.5 * (p_g(w, w.theta0).detach() * cost).sum()


def vae(w: VAEWorld, t: Tensor, e: Tensor) -> Tensor:
    return (w.p_data * minus_elbo(w, t, e)).sum()


def line1(w: VAEWorld, q_r: Tensor, t: Tensor, e: Tensor) -> Tensor:
    """Line 1 of the paper's eq. (6) by loops; q_r(y|x, s) has axes (s, y, x)."""
    codes = torch.stack([e.softmax(1), w.q_z_given_x_1])
    law = torch.stack([p_g(w, w.theta0).detach(), w.p_data]) / 2
    total = torch.zeros((), dtype=torch.float64)
    n_z, n_x = w.theta0.shape
    for s, x, y, z in product((0, 1), range(n_x), (0, 1), range(n_z)):
        q = q_r[s, y, x] * codes[y, x, z]
        if float(q_r[s, y, x].detach()) == 0:
            continue
        explains = t.softmax(1)[z, x] if y == 0 else w.p_data[x]
        total = total + law[s, x] * q * (q / (explains * w.p_z_given_y[y, z] / 2)).log()
    return total


def looks(D: Tensor) -> Tensor:
    return torch.stack([torch.stack([D, 1 - D])] * 2)


def both(f: Callable[[Tensor, Tensor], Tensor], t: Tensor, e: Tensor) -> Tensor:
    in_t = gradient(lambda t: f(t, e), t).flatten()
    return torch.cat([in_t, gradient(lambda e: f(t, e), e).flatten()])


def idle(w: VAEWorld) -> Tensor:
    """c(x).  (X,)"""
    q = w.q_z_given_x_1
    return -w.p_data.log() + (q * (q / w.p_z_given_y[1]).log()).sum(1)


def coins(p: Tensor, q: Tensor) -> Tensor:
    """KL of two coins with head probabilities p and q."""
    return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()


def entropy(p: Tensor) -> Tensor:
    return -(p * p.log()).sum()


class TableAAVAE(AAVAE):
    """The package's AAVAE with tables for networks, its samples listed."""

    name = "aavae-of-the-equations"
    p_g: Tensor

    def dreams(self, batch: Batch) -> Batch:
        return Batch(torch.arange(len(self.p_g)), weight=self.p_g)


def in_package(w: VAEWorld) -> tuple[AAVAE, Batch]:
    model = TableAAVAE(shape=(2,), likelihood="gaussian", latent=1)
    model.encoder = TableEncoder(w.eta0, w.p_z_given_y[0])
    model.decoder = TableDecoder(w.theta0)
    model.discriminator = TableDiscriminator(w.phi0)
    model.p_g = p_g(w, w.theta0)
    return model, Batch(torch.arange(len(w.p_data)), weight=w.p_data)


# ---- the objective -----------------------------------------------------------------------------


@pytest.mark.equation("eq-aavae-objective", "eq-aavae-gradient")
def test_line_1_with_a_learned_judge_and_the_part_of_it_that_moves(measure):
    for w, t, e in POINTS:
        D = w.D
        own = D * (2 * D).log() + (1 - D) * (2 * (1 - D)).log()
        opened = (pool(w) * (D * minus_elbo(w, t, e) + (1 - D) * idle(w) + own)).sum()
        assert measure("eq-aavae-objective", line1(w, looks(D), t, e), opened)
        moved = both(lambda t, e, w=w, D=D: line1(w, looks(D), t, e), t, e)
        assert measure(
            "eq-aavae-gradient", moved, both(lambda t, e, w=w: activated(w, w.D, t, e), t, e)
        )
        wrong = both(lambda t, e, w=w: activated(w, 1 - w.D, t, e), t, e)
        assert gap(moved, wrong) > 1e-4


@pytest.mark.equation("eq-aavae-step", "eq-aavae-phi")
def test_the_two_losses_as_the_package_trains_them(measure):
    for w in WORLDS:
        model, batch = in_package(w)
        value = model.loss("variational", batch).value
        over_pool = (pool(w) * w.D * minus_elbo(w, w.theta0, w.eta0)).sum()
        assert measure("eq-aavae-step", activated(w, w.D, w.theta0, w.eta0), over_pool)
        assert measure("eq-aavae-step", value, over_pool)
        a, law_g = w.phi0, p_g(w, w.theta0)
        first = 0.5 * (w.p_data * softplus(-a)).sum() + 0.5 * (law_g * softplus(a)).sum()
        D_best = best(w)
        h = -(pool(w) * (D_best * D_best.log() + (1 - D_best) * (1 - D_best).log())).sum()
        assert measure("eq-aavae-phi", first, (pool(w) * coins(D_best, w.D)).sum() + h)
        assert measure("eq-aavae-phi", model.loss("discriminator", batch).value, first)


@pytest.mark.equation("eq-aavae-joint-kl")
def test_the_step_is_a_joint_kl_with_what_d_believes(measure):
    for w, t, e in POINTS:
        weight = pool(w) * w.D
        believed = weight / weight.sum()
        q = believed[:, None] * e.softmax(1)
        kl = (q * (q / joint(w, t)).log()).sum()
        right = weight.sum() * (kl + entropy(believed))
        assert measure("eq-aavae-joint-kl", activated(w, w.D, t, e), right)


@pytest.mark.equation("eq-aavae-provenance", "eq-aavae-bayes")
def test_told_and_optimal_leave_half_of_the_vae(measure):
    for w, t, e in POINTS:
        half = 0.5 * both(lambda t, e, w=w: vae(w, t, e), t, e)
        told = torch.zeros(2, 2, 4, dtype=torch.float64)
        told[0, 1] = told[1, 0] = 1.0
        moved = both(lambda t, e, w=w, told=told: line1(w, told, t, e), t, e)
        assert measure("eq-aavae-provenance", moved, half)
        weighted = 0.5 * (w.p_data * 1.0 * minus_elbo(w, t, e)).sum() + 0.5 * 0.0
        assert measure("eq-aavae-provenance", weighted, 0.5 * vae(w, t, e))
        assert measure("eq-aavae-bayes", activated(w, best(w), t, e), 0.5 * vae(w, t, e))
        at_best = both(lambda t, e, w=w: activated(w, best(w), t, e), t, e)
        assert measure("eq-aavae-bayes", at_best, half)
        assert (p_g(w, w.theta0) * best(w)).sum() > 0.01  # samples are not filtered out
        assert gap(both(lambda t, e, w=w: activated(w, w.D, t, e), t, e), half) > 1e-4


@pytest.mark.equation("eq-aavae-distance", "eq-aavae-pinsker")
def test_all_else_is_the_distance_to_the_optimal_judge(measure):
    for w, t, e in POINTS:
        left = both(lambda t, e, w=w: activated(w, w.D, t, e), t, e)
        left = left - 0.5 * both(lambda t, e, w=w: vae(w, t, e), t, e)
        right = torch.zeros_like(left)
        for x in range(4):
            of_image = both(lambda t, e, w=w, x=x: minus_elbo(w, t, e)[x], t, e)
            right = right + pool(w)[x] * (w.D - best(w))[x] * of_image
        assert measure("eq-aavae-distance", left, right)
        for shrink in (1.0, 0.1, 3.0):
            D = torch.sigmoid(torch.logit(best(w)) + shrink * w.phi0)
            excess = (pool(w) * coins(best(w), D)).sum()
            off = (pool(w) * (D - best(w)).abs()).sum()
            assert measure("eq-aavae-pinsker", off, (excess / 2).sqrt(), relation="<=")
            assert off > 1e-3 * excess.sqrt()


# ---- wrong judges ------------------------------------------------------------------------------


@pytest.mark.equation("eq-aavae-own", "eq-aavae-constant")
def test_a_models_own_samples_teach_it_nothing_about_images(measure):
    for w, t, e in POINTS:
        law = p_g(w, w.theta0).detach()

        def own(t, e, w=w, law=law):
            return (law * minus_elbo(w, t, e)).sum()

        def practice(t, e, w=w, law=law):
            p_z = joint(w, t) / joint(w, t).sum(1, keepdim=True)
            q = e.softmax(1)
            return (law * (q * (q / p_z).log()).sum(1)).sum()

        in_theta = gradient(lambda t, e=e: practice(t, e), w.theta0)
        assert measure("eq-aavae-own", gradient(lambda t, e=e: own(t, e), w.theta0), in_theta)
        in_eta = gradient(lambda e, t=t: practice(t, e), e)
        assert measure("eq-aavae-own", gradient(lambda e, t=t: own(t, e), e), in_eta)
        elsewhere = gradient(lambda t, e=e: own(t, e), t)
        assert gap(elsewhere, gradient(lambda t, e=e: practice(t, e), t)) > 1e-4

        c = torch.full_like(w.p_data, 0.3)
        left = both(lambda t, e, w=w, c=c: activated(w, c, t, e), w.theta0, e)
        right = 0.15 * both(lambda t, e, w=w: vae(w, t, e), w.theta0, e)
        right = right + 0.15 * both(practice, w.theta0, e)
        assert measure("eq-aavae-constant", left, right)


def confident(w: VAEWorld, s: float) -> Tensor:
    return torch.sigmoid(s * torch.logit(best(w)))


@pytest.mark.equation("eq-aavae-confidence")
def test_the_aim_of_a_judge_with_another_confidence(measure):
    for w in WORLDS:
        r = p_g(w, w.theta0) / w.p_data
        for s in (-1.0, 0.0, 0.5, 1.0, 3.0):
            aim = pool(w) * confident(w, s)
            claimed = w.p_data * (1 + r) / (1 + r**s)
            assert measure("eq-aavae-confidence", aim / aim.sum(), claimed / claimed.sum())
        sure = pool(w) * confident(w, 1e4)
        kept = torch.where(r < 1, w.p_data * (1 + r), 0.0)
        assert measure("eq-aavae-confidence", sure / sure.sum(), kept / kept.sum(), tolerance=1e-6)


@pytest.mark.equation("eq-aavae-overshoot", "eq-aavae-speed")
def test_confidence_near_the_data(measure):
    """First-order statements: the remainder divided by the size of the error goes to zero."""
    for seed in SEEDS:
        w = VAEWorld.random(seed, n_x=4, n_z=1)
        tilt = torch.randn(4, generator=torch.Generator().manual_seed(seed)).double()

        def scaled(size, s, w=w, tilt=tilt):
            law = w.p_data * (1 + size * tilt)
            near = dataclasses.replace(w, theta0=(law / law.sum()).log()[None])
            error = law / law.sum() / w.p_data - 1
            aim = pool(near) * confident(near, s)
            left = (aim / aim.sum() / w.p_data - 1) - (1 - s) / 2 * error
            slope = gradient(
                lambda t: activated(near, confident(near, s), t, near.eta0), near.theta0
            )
            at_best = gradient(lambda t: activated(near, best(near), t, near.eta0), near.theta0)
            return left / size, (slope - (1 + s) / 2 * at_best) / size, at_best / size

        for s in (-1.0, 0.0, 0.5, 2.0, 4.0):
            fine, half = scaled(1e-4, s), scaled(5e-5, s)
            # remainder / size = C size + ...: extrapolate to size 0
            assert measure(
                "eq-aavae-overshoot", 2 * half[0] - fine[0], torch.zeros(4), tolerance=1e-6
            )
            assert measure(
                "eq-aavae-speed", 2 * half[1] - fine[1], torch.zeros(1, 4), tolerance=1e-6
            )
            assert half[2].abs().max() > 1e-3  # the scale on which these are zero


@pytest.mark.equation("eq-aavae-frozen")
def test_a_judge_who_is_never_retrained_moves_the_goal(measure):
    for w in WORLDS:
        D, p = w.D, p_g(w, w.theta0)
        for _ in range(5000):
            p = D * (w.p_data + p)
            p = p / p.sum()
        eigen = (D * (w.p_data + p)).sum()
        assert measure("eq-aavae-frozen", p, D * w.p_data / (eigen - D))
        assert eigen > D.max()
        matrix = D[:, None] * w.p_data[:, None] + torch.diag(D)
        largest = torch.linalg.eigvals(matrix).real.max()
        assert measure("eq-aavae-frozen", eigen, largest)
        assert gap(p, w.p_data) > 1e-3


@pytest.mark.equation("eq-aavae-opposite", "eq-aavae-unreversed")
def test_the_judge_that_line_1_would_like_best(measure):
    for w in WORLDS:
        t, e = w.theta0, w.eta0
        favourite = -minus_elbo(w, t, e) + idle(w)
        slope = gradient(lambda a, w=w, t=t, e=e: line1(w, looks(a.sigmoid()), t, e), favourite)
        assert measure("eq-aavae-opposite", slope, torch.zeros(4))
        least = line1(w, looks(favourite.sigmoid()), t, e)
        for shift in (-0.5, 0.5):
            assert line1(w, looks((favourite + shift * w.phi0).sigmoid()), t, e) > least
        tight = dataclasses.replace(
            w,
            eta0=(joint(w, t) / joint(w, t).sum(1, keepdim=True)).log(),
            q_z_given_x_1=w.p_z_given_y[1].expand_as(w.q_z_given_x_1).clone(),
        )
        upside_down = -minus_elbo(tight, t, tight.eta0) + idle(tight)
        assert measure("eq-aavae-opposite", upside_down, (p_g(w, t) / w.p_data).log())
        assert measure("eq-aavae-opposite", upside_down, -torch.logit(best(w)))
        assert measure("eq-aavae-unreversed", pool(w) * (1 - best(w)), 0.5 * p_g(w, t))
        own = gradient(lambda t, w=tight: activated(w, 1 - best(w), t, w.eta0), t)
        assert own.abs().max() < 1e-12
        assert math.isfinite(float(least.detach()))


@pytest.mark.equation("eq-aavae-noise")
def test_what_the_optimal_judge_does_to_the_noise_of_a_step(measure):
    def variance(p: Tensor, h: Tensor) -> Tensor:
        mean = (p[:, None] * h).sum(0)
        return (p * (h - mean).square().sum(1)).sum()

    for w in WORLDS:
        rows = [
            both(lambda t, e, w=w, x=x: minus_elbo(w, t, e)[x], w.theta0, w.eta0) for x in range(4)
        ]
        h, D, p, law_g = torch.stack(rows), best(w), w.p_data, p_g(w, w.theta0)
        left = variance(p, h) - variance(p, D[:, None] * h) - variance(law_g, D[:, None] * h)
        u = ((p * D)[:, None] * h).sum(0)
        v = ((p * (1 - D))[:, None] * h).sum(0)
        right = (p * (1 - D) * h.square().sum(1)).sum() - 2 * (u * v).sum()
        assert measure("eq-aavae-noise", left, right)
        perfect = variance(p, h) - 2 * variance(p, 0.5 * h)  # p_g = p_data, D* = 1/2
        assert gap(perfect, variance(p, h) / 2) < 1e-12
