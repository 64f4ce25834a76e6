"""Chapter 13: every labelled equation, on tables, for every f of the package.

The other side of each comparison is written out here: f'' by autograd of f, sums over states, and
the generators of the divergences in their textbook form. The two models' own loss code is compared
with tables where a label names one of their phases.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from unigen_edu import divergences
from unigen_edu.declarations import Batch
from unigen_edu.divergences import F_DIVERGENCES, f_divergence
from unigen_edu.exact.checks import gradient
from unigen_edu.exact.fgm_networks import TableDensity, TablePairGenerator
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.networks import TableDiscriminator, TableEncoder, TableGenerator
from unigen_edu.exact.tables import random_distribution
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.models.fgan import FGAN
from unigen_edu.models.fgm import FGM

SEEDS = range(4)
GANS = [GANWorld.random(seed) for seed in SEEDS]
VAES = [VAEWorld.random(seed, n_x=4, n_z=3) for seed in SEEDS]
LOG2 = math.log(2)

# f(u) once more, as the table of the chapter prints it.
PRINTED = {
    "kl": lambda u: u * u.log(),
    "reverse-kl": lambda u: -u.log(),
    "js": lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(),
    "gan": lambda u: u * u.log() - (u + 1) * (u + 1).log(),
    "hellinger": lambda u: (u.sqrt() - 1) ** 2,
    "pearson": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (1 - u) ** 2 / u,
    "jeffreys": lambda u: (u - 1) * u.log(),
    "softened-reverse-kl": lambda u: (1 + u) * ((1 + u) / (2 * u)).log(),
}
NAMES = sorted(PRINTED)
PROPER = [name for name in NAMES if name != "gan"]
every_name = pytest.mark.parametrize("name", NAMES)
proper_name = pytest.mark.parametrize("name", PROPER)


def slope(f, u: Tensor) -> Tensor:
    """f'(u), elementwise, by autograd."""
    return gradient(lambda v: f(v).sum(), u)


def second(f, u: Tensor) -> Tensor:
    """f''(u), elementwise, by autograd."""
    u = u.detach().requires_grad_()
    (first,) = torch.autograd.grad(f(u).sum(), u, create_graph=True)
    return torch.autograd.grad(first.sum(), u)[0]


def divergence(f, p: Tensor, q: Tensor) -> Tensor:
    return (q * f(p / q)).sum()


def bound(f, p: Tensor, q: Tensor, l: Tensor) -> Tensor:
    """V from f and its derivative alone, differentiable in everything."""
    r = l.exp()
    fprime = torch.func.grad(lambda u: f(u).sum())(r)
    return (p * fprime).sum() - (q * (r * fprime - f(r))).sum()


def bregman(f, p: Tensor, q: Tensor, l: Tensor) -> Tensor:
    u, r = p / q, l.exp()
    fprime = torch.func.grad(lambda u: f(u).sum())(r)
    return (q * (f(u) - f(r) - fprime * (u - r))).sum()


def tables():
    return [(w.p_data, w.p_g()) for w in GANS]


# ---- divergences ---------------------------------------------------------------------------------


@pytest.mark.equation("eq-f-nonnegative", "eq-f-affine", "eq-f-swap")
@proper_name
def test_what_makes_it_a_divergence(name, measure):
    f = PRINTED[name]
    for p, q in tables():
        assert measure("eq-f-nonnegative", 1e-4, divergence(f, p, q), relation="<=")
        assert measure("eq-f-nonnegative", divergence(f, p, p), 0.0)
        assert measure("eq-f-nonnegative", divergence(f, p, q), f_divergence(name).divergence(p, q))
        leaned = divergence(lambda u: f(u) - 1.3 * (u - 1), p, q)
        assert measure("eq-f-affine", leaned, divergence(f, p, q))
        mirrored = divergence(lambda u: u * f(1 / u), p, q)
        assert measure("eq-f-swap", mirrored, divergence(f, q, p))


@pytest.mark.equation("eq-f-local")
@proper_name
def test_close_together_they_all_agree(name, measure):
    """The error divided by the third power of the distance stays bounded."""
    f = PRINTED[name]
    half = second(f, torch.ones(1, dtype=torch.float64)).item() / 2
    for p, q in tables():
        errors = []
        for size in (1e-2, 1e-3):
            near = q + size * (p - q)
            errors.append(divergence(f, near, q) - half * ((near - q) ** 2 / q).sum())
            largest = 40 * size**3 * ((p - q).abs() / q).max() ** 3 * (1 + half)
            assert measure("eq-f-local", errors[-1].abs(), largest, relation="<=")
        far = size**2 * ((p - q) ** 2 / q).sum()
        assert measure("eq-f-local", 1 + errors[-1] / (half * far), 1.0, 0.05)


@pytest.mark.equation("eq-f-processing")
@proper_name
@pytest.mark.parametrize("w", VAES)
def test_looking_at_less_never_increases_it(name, w, measure):
    f = PRINTED[name]
    p, q = w.q_xz(), w.p_xz()
    joint, images = divergence(f, p, q), divergence(f, p.sum(1), q.sum(1))
    assert measure("eq-f-processing", images + 1e-4, joint, relation="<=")
    same = p.sum(1, keepdim=True) * q / q.sum(1, keepdim=True)
    assert measure("eq-f-processing", divergence(f, same, q), images)


# ---- the bound -----------------------------------------------------------------------------------


@pytest.mark.equation("eq-f-tangent", "eq-f-young")
@every_name
def test_tangents_and_conjugates(name, measure):
    f, given = PRINTED[name], f_divergence(name)
    u = torch.linspace(-5, 5, 2001, dtype=torch.float64).exp()
    for log_r in (-2.0, -0.3, 0.0, 0.9, 2.0):
        r = torch.tensor([log_r], dtype=torch.float64).exp()
        t = slope(f, r)
        tangent = f(r) + t * (u - r)
        assert measure("eq-f-tangent", tangent, f(u), 1e-11, "<=")
        assert measure("eq-f-tangent", tangent, t * u - (r * t - f(r)))
        assert measure("eq-f-young", u * t - given.conjugate(t), f(u), 1e-8, "<=")
        assert measure("eq-f-young", given.conjugate(t), r * t - f(r), 1e-8)
        assert measure("eq-f-young", (u * t - f(u)).max(), r * t - f(r), 1e-3)
        l = r.log()
        assert measure("eq-f-young", given.data_term(l), t)
        assert measure("eq-f-young", given.model_term(l), r * t - f(r))


def fgan_phase(w: GANWorld, name: str, phase: str, l: Tensor, objective: str = "minimax"):
    """Value and gradient of f-GAN's own loss on tables."""
    model = FGAN(shape=(2,), latent=1, divergence=name, objective=objective)
    model.generator, model.discriminator = TableGenerator(w.theta0), TableDiscriminator(l)
    value = model.loss(phase, Batch(torch.arange(len(l)), weight=w.p_data)).value
    (moved,) = model.get_submodule(phase).parameters()
    return value.detach(), torch.autograd.grad(value, moved)[0]


@pytest.mark.equation("eq-f-variational", "eq-f-gap", "eq-f-slope")
@every_name
@pytest.mark.parametrize("w", GANS)
def test_the_bound_its_gap_and_its_slope(name, w, measure):
    f, p, q, l = PRINTED[name], w.p_data, w.p_g(), w.phi0
    value, grad = fgan_phase(w, name, "discriminator", l)
    assert measure("eq-f-variational", -value, bound(f, p, q, l))
    assert measure("eq-f-variational", bound(f, p, q, l) + 1e-5, divergence(f, p, q), relation="<=")
    assert measure("eq-f-variational", bound(f, p, q, (p / q).log()), divergence(f, p, q))
    assert measure("eq-f-gap", divergence(f, p, q) - bound(f, p, q, l), bregman(f, p, q, l))
    assert measure("eq-f-gap", grad, gradient(lambda l: bregman(f, p, q, l), l))
    by_hand = l.exp() * second(f, l.exp()) * (p - l.exp() * q)
    assert measure("eq-f-slope", -grad, by_hand)


@pytest.mark.equation("eq-f-gan")
@pytest.mark.parametrize("w", GANS)
def test_the_gans_value_is_a_bound(w, measure):
    p, q, d = w.p_data, w.p_g(), w.phi0.sigmoid()
    value = (p * d.log()).sum() + (q * (1 - d).log()).sum()
    assert measure("eq-f-gan", value, bound(PRINTED["gan"], p, q, w.phi0))
    assert measure("eq-f-gan", value, bound(PRINTED["js"], p, q, w.phi0) - math.log(4))
    assert measure("eq-f-gan", value, -fgan_phase(w, "gan", "discriminator", w.phi0)[0])


@pytest.mark.equation("eq-f-generator", "eq-f-target")
@every_name
@pytest.mark.parametrize("w", GANS)
def test_the_generators_step(name, w, measure):
    f, p, q = PRINTED[name], w.p_data, w.p_g().detach()
    for label, l in (("eq-f-generator", (p / q).log()), ("eq-f-target", w.phi0)):
        believed = l.exp() * q
        value, grad = fgan_phase(w, name, "generator", l)
        r = l.exp()
        assert measure(label, value, -(q * (r * slope(f, r) - f(r))).sum())
        assert measure(
            label, grad, gradient(lambda t, b=believed: divergence(f, b, w.p_g(t)), w.theta0)
        )
    to_data = gradient(lambda t: divergence(f, p, w.p_g(t)), w.theta0)
    assert measure("eq-f-target", grad, to_data, 1e-4, "!=")


@pytest.mark.equation("eq-f-push")
def test_how_hard_a_sample_is_pushed(measure):
    l = torch.linspace(-3, 3, 13, dtype=torch.float64)
    r = l.exp()
    printed = {
        "kl": r,
        "reverse-kl": torch.ones_like(r),
        "js": r / (1 + r),
        "hellinger": r.sqrt() / 2,
        "pearson": 2 * r**2,
        "neyman": 2 / r,
    }
    for name, push in printed.items():
        f = PRINTED[name]
        assert measure(
            "eq-f-push", gradient(lambda v, n=name: f_divergence(n).model_term(v).sum(), l), push
        )
        assert measure("eq-f-push", r**2 * second(f, r), push)


@pytest.mark.equation("eq-f-nonsaturating")
@every_name
@pytest.mark.parametrize("w", GANS[:2])
def test_the_trick_descends_another_divergence(name, w, measure):
    """h by integrating h'' = f''/u twice, numerically, and the four rows of the table exactly."""
    f, q, l = PRINTED[name], w.p_g().detach(), w.phi0
    _, grad = fgan_phase(w, name, "generator", l, "non-saturating")
    believed = l.exp() * q
    node, weight = normal_nodes()

    def h(u: Tensor) -> Tensor:
        # h(u) = int_1^u (u - s) f''(s)/s ds, so that h'' = f''/u and h(1) = h'(1) = 0.
        s = 1 + (u[:, None] - 1) * node
        return ((u - 1)[:, None] * weight * (u[:, None] - s) * second_graph(f, s) / s).sum(1)

    def other(t: Tensor) -> Tensor:
        p_g = w.p_g(t)
        return (p_g * h(believed / p_g)).sum()

    assert measure("eq-f-nonsaturating", grad, gradient(other, w.theta0), 1e-8)
    table = {
        "pearson": lambda u: 2 * PRINTED["kl"](u),
        "kl": PRINTED["reverse-kl"],
        "js": PRINTED["softened-reverse-kl"],
        "gan": PRINTED["softened-reverse-kl"],
        "reverse-kl": lambda u: PRINTED["neyman"](u) / 2,
    }
    if name in table:
        right = gradient(lambda t: divergence(table[name], believed, w.p_g(t)), w.theta0)
        assert measure("eq-f-nonsaturating", grad, right)
    own = gradient(lambda t: divergence(f, believed, w.p_g(t)), w.theta0)
    assert measure("eq-f-nonsaturating", grad, own, 1e-4, "!=")


def normal_nodes() -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    import numpy as np

    node, weight = np.polynomial.legendre.leggauss(160)
    return torch.from_numpy((node + 1) / 2), torch.from_numpy(weight / 2)


def second_graph(f, u: Tensor) -> Tensor:
    """f''(u), elementwise and differentiable."""
    return torch.func.grad(lambda v: torch.func.grad(lambda s: f(s).sum())(v).sum())(u)


# ---- numbers -------------------------------------------------------------------------------------


@pytest.mark.equation("eq-f-guard")
@proper_name
@pytest.mark.parametrize("w", GANS)
def test_bent_in_both_terms_it_stays_a_bound(name, w, measure):
    f, p, q = f_divergence(name), w.p_data, w.p_g()
    l = 4 * w.phi0
    for bent in (l.clamp(-1, 1), 2 * torch.tanh(l / 2), -l, l.flip(0), f.guard(9 * l)):
        value = (p * f.data_term(bent)).sum() - (q * f.model_term(bent)).sum()
        assert measure("eq-f-guard", value, divergence(PRINTED[name], p, q), relation="<=")


@pytest.mark.equation("eq-f-bounded")
@pytest.mark.parametrize(
    ("name", "top"),
    [("js", 2 * LOG2), ("hellinger", 2.0), ("kl", math.inf), ("triangular", 2.0)],
)
def test_the_largest_value(name, top, measure):
    f = PRINTED.get(name, lambda u: (u - 1) ** 2 / (u + 1))
    tiny = torch.tensor([1e-14], dtype=torch.float64)
    if math.isfinite(top):
        assert measure("eq-f-bounded", f(tiny) + tiny * f(1 / tiny), top, 1e-5)
        generator = torch.Generator().manual_seed(0)
        for spread in (1.0, 5.0, 20.0):
            p, q = random_distribution(2, 6, generator=generator, spread=spread)
            assert measure("eq-f-bounded", divergence(f, p, q), top, relation="<=")
    else:
        p = torch.tensor([0.5, 0.5], dtype=torch.float64)
        q = torch.tensor([1 - 1e-12, 1e-12], dtype=torch.float64)
        assert measure("eq-f-bounded", 10.0, divergence(f, p, q), relation="<=")


@pytest.mark.equation("eq-f-moments")
@pytest.mark.parametrize("w", GANS)
def test_second_moments(w, measure):
    p, q = w.p_data, w.p_g()
    r = p / q
    squared = ((p.sqrt() - q.sqrt()) ** 2).sum()
    assert measure("eq-f-moments", (p * (1 - r**-0.5) ** 2).sum(), squared)
    assert measure("eq-f-moments", (q * (r.sqrt() - 1) ** 2).sum(), squared)
    assert measure("eq-f-moments", (q * r**2).sum(), 1 + ((p - q) ** 2 / q).sum())
    assert measure("eq-f-moments", squared, 2.0, relation="<=")


@pytest.mark.equation("eq-f-triangular")
@pytest.mark.parametrize("w", GANS)
def test_a_divergence_given_by_f_alone(w, measure):
    own = divergences.register("triangular in a test", lambda u: (u - 1) ** 2 / (u + 1))
    try:
        p, q = w.p_data, w.p_g()
        assert measure("eq-f-triangular", own.divergence(p, q), ((p - q) ** 2 / (p + q)).sum())
        assert measure("eq-f-triangular", own.divergence(p, q), 2.0, relation="<=")
    finally:
        F_DIVERGENCES.pop("triangular in a test")


# ---- f-GM ----------------------------------------------------------------------------------------


def some_log_d(w: VAEWorld) -> Tensor:
    """A positive function of x that neither is p_data nor sums to one."""
    g = torch.Generator().manual_seed(5)
    return (
        w.p_data.log() + 0.6 * torch.randn(w.p_data.shape, generator=g, dtype=torch.float64) + 0.3
    )


def fgm_phase(w: VAEWorld, name: str, log_d: Tensor, eta: Tensor | None = None):
    """Values and gradients of f-GM's own losses: d's, and those of theta and eta."""
    found = {}
    for phase, parts in (("density", ("density",)), ("joint", ("decoder", "encoder"))):
        model = FGM(shape=(2,), latent=1, divergence=name)
        model.encoder = TableEncoder(w.eta0 if eta is None else eta, w.p_z_given_y[0])
        model.decoder = TablePairGenerator(w.theta0, w.p_z_given_y[0])
        model.density = TableDensity(log_d)
        value = model.loss(phase, Batch(torch.arange(len(log_d)), weight=w.p_data)).value
        for part in parts:
            (moved,) = model.get_submodule(part).parameters()
            found[part] = torch.autograd.grad(value, moved, retain_graph=True)[0]
        found[phase + " value"] = value.detach()
    return found


def ratio(w: VAEWorld, log_d: Tensor, theta=None, eta=None) -> Tensor:
    return log_d[:, None] + w.q_z_given_x(eta).log() - w.p_xz(theta).log()


def joint_bound(f, w: VAEWorld, log_d: Tensor, theta=None, eta=None) -> Tensor:
    return bound(f, w.q_xz(eta), w.p_xz(theta), ratio(w, log_d, theta, eta))


@pytest.mark.equation("eq-f-joint-bound", "eq-f-joint-gap", "eq-f-density-slope")
@every_name
@pytest.mark.parametrize("w", VAES)
def test_the_bound_on_pairs(name, w, measure):
    f, log_d = PRINTED[name], some_log_d(w)
    p, q, found = w.q_xz(), w.p_xz(), fgm_phase(w, name, log_d)
    exact = divergence(f, p, q)
    value = joint_bound(f, w, log_d)
    assert measure("eq-f-joint-bound", value, found["joint value"])
    assert measure("eq-f-joint-bound", value, -found["density value"])
    assert measure("eq-f-joint-bound", value, exact, relation="<=")
    of_theta = gradient(lambda t: joint_bound(f, w, log_d, theta=t), w.theta0)
    of_eta = gradient(lambda e: joint_bound(f, w, log_d, eta=e), w.eta0)
    assert measure("eq-f-joint-bound", found["decoder"], of_theta)
    assert measure("eq-f-joint-bound", found["encoder"], of_eta)
    assert measure("eq-f-joint-gap", exact - value, bregman(f, p, q, ratio(w, log_d)))
    for theta, eta in ((None, None), (w.other_theta(), w.other_eta())):
        best = joint_bound(f, w, w.p_data.log(), theta, eta)
        assert measure("eq-f-joint-gap", best, divergence(f, w.q_xz(eta), w.p_xz(theta)), 1e-9)
    r = ratio(w, log_d).exp()
    by_hand = (r * second(f, r) * (p - r * q)).sum(1)
    assert measure("eq-f-density-slope", -found["density"], by_hand, 1e-9)
    at_data = fgm_phase(w, name, w.p_data.log())["density"]
    assert measure("eq-f-density-slope", at_data, 0.0 * at_data, 1e-9)


@pytest.mark.equation("eq-f-vae")
@pytest.mark.parametrize("w", VAES)
def test_kl_is_the_vae(w, measure):
    for log_d in (some_log_d(w), w.p_data.log()):
        found = fgm_phase(w, "kl", log_d)
        constant = (w.p_data * log_d).sum() + 1 - log_d.exp().sum()
        assert measure("eq-f-vae", found["joint value"], constant - (w.p_data * w.elbo()).sum())
        of_theta = gradient(lambda t: w.vae_loss(theta=t), w.theta0)
        of_eta = gradient(lambda e: w.vae_loss(eta=e), w.eta0)
        assert measure("eq-f-vae", found["decoder"], of_theta)
        assert measure("eq-f-vae", found["encoder"], of_eta)
    assert measure("eq-f-vae", fgm_phase(w, "js", log_d)["encoder"], of_eta, 1e-4, "!=")


@pytest.mark.equation("eq-f-fgan")
@every_name
@pytest.mark.parametrize("w", VAES)
def test_with_the_true_posterior_it_is_f_gan(name, w, measure):
    f, log_d = PRINTED[name], some_log_d(w)
    p_g = w.p_xz().sum(1)
    posterior = (w.p_xz() / p_g[:, None]).log()
    l = ratio(w, log_d, eta=posterior)
    assert measure("eq-f-fgan", l, (log_d - p_g.log())[:, None].expand_as(l))
    of_images = bound(f, w.p_data, p_g, log_d - p_g.log())
    assert measure("eq-f-fgan", joint_bound(f, w, log_d, eta=posterior), of_images)
    assert measure("eq-f-fgan", -fgm_phase(w, name, log_d, posterior)["density value"], of_images)


@pytest.mark.equation("eq-f-ali")
@pytest.mark.parametrize("w", VAES)
def test_js_is_ali_with_a_structured_logit(w, measure):
    log_d = some_log_d(w)
    l = ratio(w, log_d)
    game = (w.q_xz() * logsigmoid(l)).sum() + (w.p_xz() * logsigmoid(-l)).sum()
    assert measure("eq-f-ali", fgm_phase(w, "js", log_d)["joint value"], 2 * LOG2 + game)


@pytest.mark.equation("eq-f-sleep")
@pytest.mark.parametrize("w", VAES)
def test_reverse_kl_is_sleep(w, measure):
    dreams = w.p_xz()
    sleep = gradient(lambda e: -(dreams * e.log_softmax(-1)).sum(), w.eta0)
    for log_d in (some_log_d(w), some_log_d(w).flip(0)):
        found = fgm_phase(w, "reverse-kl", log_d)["encoder"]
        assert measure("eq-f-sleep", found, sleep)
    assert measure("eq-f-sleep", fgm_phase(w, "kl", log_d)["encoder"], sleep, 1e-4, "!=")


@pytest.mark.equation("eq-f-detach")
@every_name
@pytest.mark.parametrize("w", VAES)
def test_a_frozen_ratio_is_harmless_at_the_density_of_the_data_only(name, w, measure):
    f = PRINTED[name]
    for log_d, relation, tolerance in (
        (w.p_data.log(), "==", 1e-9),
        (some_log_d(w), "!=", 1e-4),
    ):
        found = fgm_phase(w, name, log_d)
        l = ratio(w, log_d).detach()
        of_theta = gradient(lambda t, l=l: bound(f, w.q_xz(), w.p_xz(t), l), w.theta0)
        of_eta = gradient(lambda e, l=l: bound(f, w.q_xz(e), w.p_xz(), l), w.eta0)
        assert measure("eq-f-detach", found["decoder"], of_theta, tolerance, relation)
        # KL is the exception for eta: both sums of its path, over z given x, are those of a score.
        eta_relation = "==" if name == "kl" else relation
        assert measure("eq-f-detach", found["encoder"], of_eta, tolerance, eta_relation)
