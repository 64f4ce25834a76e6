"""Chapter 12: every labelled equation, on tables of pairs (x, z).

The other side of each comparison is written out here, by loops over pairs and domains, or comes
from the models' own loss code with tables in the place of networks.
"""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gradient
from unigen_edu.exact.codes import AdversarialAutoencoderWorld
from unigen_edu.exact.domains import DomainWorld, EncodedDomains
from unigen_edu.exact.joint import PairWorld, VAEGANWorld
from unigen_edu.exact.networks import TableEncoder
from unigen_edu.exact.pair_networks import (
    TableFeatureDiscriminator,
    TablePairDiscriminator,
    TablePairGenerator,
)
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.models.ali import ALI
from unigen_edu.models.vaegan import VAEGAN

SEEDS = range(6)
PAIRS = [PairWorld.random(seed, n_x=4, n_z=3) for seed in SEEDS]
MANY = [EncodedDomains.random(seed, n_y=n_y) for n_y in (2, 4) for seed in SEEDS]
VAEGANS = [VAEGANWorld.random(seed) for seed in SEEDS]
VAES = [VAEWorld.random(seed, n_x=4, n_z=3) for seed in SEEDS]
AUTOENCODERS = [AdversarialAutoencoderWorld.random(seed) for seed in SEEDS]


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of two tables of the same shape, all cells together."""
    return (p * (p / q).log()).sum()


def js(p: Tensor, q: Tensor) -> Tensor:
    m = (p + q) / 2
    return kl(p, m) / 2 + kl(q, m) / 2


def mutual(joint: Tensor) -> Tensor:
    """I(a; b) of joint[a, b]."""
    return kl(joint, joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True))


# ---- two ways to a pair --------------------------------------------------------------------------


@pytest.mark.equation("eq-joint-chain")
@pytest.mark.parametrize("w", PAIRS)
def test_the_kl_of_pairs_splits_in_two_ways(w, measure):
    p, q = w.inferred(), w.generated()
    images = kl(p.sum(1), q.sum(1))
    codes = kl(p.sum(0), q.sum(0))
    n_x, n_z = p.shape
    by_image = sum(p[x].sum() * kl(p[x] / p[x].sum(), q[x] / q[x].sum()) for x in range(n_x))
    by_code = sum(
        p[:, z].sum() * kl(p[:, z] / p[:, z].sum(), q[:, z] / q[:, z].sum()) for z in range(n_z)
    )
    assert measure("eq-joint-chain", kl(p, q), images + by_image)
    assert measure("eq-joint-chain", kl(p, q), codes + by_code)
    assert measure("eq-joint-chain", kl(p, q), images + by_code, 1e-4, "!=")


@pytest.mark.equation("eq-joint-jsd-chain")
@pytest.mark.parametrize("w", PAIRS)
def test_the_jsd_of_pairs_splits_in_two_ways(w, measure):
    laws = torch.stack([w.generated(), w.inferred()]) / 2  # (y, x, z)
    n_x, n_z = laws.shape[1:]
    whole = js(*(2 * laws))
    given_x = sum(laws[:, x].sum() * mutual(laws[:, x] / laws[:, x].sum()) for x in range(n_x))
    given_z = sum(
        laws[:, :, z].sum() * mutual(laws[:, :, z] / laws[:, :, z].sum()) for z in range(n_z)
    )
    assert measure("eq-joint-jsd-chain", whole, w.jsd_of_images() + given_x)
    assert measure("eq-joint-jsd-chain", whole, w.jsd_of_codes() + given_z)
    assert measure("eq-joint-jsd-chain", w.jsd_of_images(), whole, relation="<=")


def function_pairs(seed: int, noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """P, Q and a generator G that is a function; without noise P = Q."""
    g = torch.Generator().manual_seed(seed)
    n_x, n_z = 5, 7
    G = torch.randint(n_x, (n_z,), generator=g)
    q = torch.zeros(n_x, n_z, dtype=torch.float64)
    p_z = torch.rand(n_z, generator=g, dtype=torch.float64) + 0.1
    q[G, torch.arange(n_z)] = p_z / p_z.sum()
    anything = torch.rand(n_x, n_z, generator=g, dtype=torch.float64)
    return (1 - noise) * q + noise * anything / anything.sum(), q, G


@pytest.mark.equation("eq-joint-inverse")
@pytest.mark.parametrize("seed", SEEDS)
def test_equal_pairs_lead_back_to_the_image(seed, measure):
    _, q, G = function_pairs(seed, 0.0)
    p_data = q.sum(1)
    posterior = q / p_data[:, None].clamp(min=1e-300)
    led_back = sum(
        p_data[x] * posterior[x, z] for x in range(5) for z in range(7) if int(G[z]) == x
    )
    assert measure("eq-joint-inverse", led_back, 1.0)
    # The same marginals without the pairs.
    strangers = sum(p_data[x] * q.sum(0)[z] for x in range(5) for z in range(7) if int(G[z]) == x)
    assert measure("eq-joint-inverse", strangers, 1.0, 1e-2, "!=")


@pytest.mark.equation("eq-joint-error")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("noise", [0.02, 0.2, 0.7])
def test_the_probability_of_not_being_led_back_is_at_most_the_total_variation(seed, noise, measure):
    p, q, G = function_pairs(seed, noise)
    astray = sum(p[x, z] for x in range(5) for z in range(7) if int(G[z]) != x)
    tv = (p - q).abs().sum() / 2
    m = (p + q) / 2
    at_zero = torch.where(q > 0, q * (q / m).clamp(min=1e-300).log(), 0.0).sum()
    assert measure("eq-joint-error", astray, tv, 1e-12, "<=")
    assert measure("eq-joint-error", tv, (kl(p, m) + at_zero).sqrt(), relation="<=")


@pytest.mark.equation("eq-joint-ignored")
@pytest.mark.parametrize("w", PAIRS)
def test_a_noisy_generator_may_ignore_the_code(w, measure):
    n_x, n_z = w.phi0.shape
    deaf = replace(w, theta0=torch.cat([w.p_data.log().repeat(n_z), w.p_z.log().repeat(n_x)]))
    assert measure("eq-joint-ignored", deaf.generated(), deaf.inferred())
    assert measure("eq-joint-ignored", deaf.generated(), w.p_data[:, None] * w.p_z)
    assert measure("eq-joint-ignored", mutual(deaf.inferred()), 0.0)


# ---- the theorem ---------------------------------------------------------------------------------


def by_loops(w: DomainWorld, psi: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Loss, E KL to the target, JSD, prior shift and E log Z, domain after domain."""
    p_y, laws, frozen = w.p_domain(), w.p_x_given_domain(psi), w.p_x_given_domain().detach()
    mixed = sum(share * law for share, law in zip(p_y, laws, strict=True))
    prior = sum(share * law for share, law in zip(p_y, frozen, strict=True))
    loss, to_target, jsd, evidence = (torch.zeros((), dtype=torch.float64) for _ in range(4))
    for share, law, score in zip(p_y, laws, w.scores, strict=True):
        z = (score * prior).sum()
        loss = loss - share * (law * score.log()).sum()
        to_target = to_target + share * kl(law, score * prior / z)
        jsd = jsd + share * kl(law, mixed)
        evidence = evidence + share * z.log()
    return loss, to_target, jsd, kl(mixed, prior), evidence


def elsewhere(psi: Tensor) -> Tensor:
    g = torch.Generator().manual_seed(17)
    return psi + 0.6 * torch.randn(psi.shape, generator=g, dtype=torch.float64)


@pytest.mark.equation("eq-joint-star", "eq-joint-gradient")
@pytest.mark.parametrize("w", [*PAIRS, *MANY, *VAEGANS])
def test_the_theorem_for_any_domains_and_scores(w, measure):
    for psi in (w.theta0, elsewhere(w.theta0)):
        loss, to_target, jsd, shift, evidence = by_loops(w, psi)
        assert measure("eq-joint-star", loss, to_target - jsd - shift - evidence)
        assert measure("eq-joint-star", loss, w.loss(psi))

    def claimed(psi: Tensor) -> Tensor:
        _, to_target, jsd, _, _ = by_loops(w, psi)
        return to_target - jsd

    at = w.theta0
    assert measure("eq-joint-gradient", gradient(w.loss, at), gradient(claimed, at))
    without = gradient(lambda t: by_loops(w, t)[1], at)
    assert measure("eq-joint-gradient", gradient(w.loss, at), without, 1e-4, "!=")
    at = elsewhere(at)
    assert measure("eq-joint-gradient", gradient(w.loss, at), gradient(claimed, at), 1e-4, "!=")


# ---- ALI -----------------------------------------------------------------------------------------


def ali_loss(w: PairWorld, phase: str) -> tuple[Tensor, Tensor]:
    """Value and gradient of the model's own loss: both networks', or the discriminator's."""
    model = ALI(shape=(2,), latent=1)
    generator, encoder = w.split()
    model.generator = TablePairGenerator(generator, w.p_z)
    model.encoder = TableEncoder(encoder, w.p_z)
    model.discriminator = TablePairDiscriminator(w.phi0)
    value = model.loss(phase, Batch(torch.arange(len(w.p_data)), weight=w.p_data)).value
    moved = {
        "joint": [model.generator.logits, model.encoder.logits],
        "discriminator": [model.discriminator.logits],
    }[phase]
    found = torch.autograd.grad(value, moved)
    return value.detach(), torch.cat([part.flatten() for part in found])


@pytest.mark.equation("eq-joint-ali-discriminator")
@pytest.mark.parametrize("w", PAIRS)
def test_the_discriminator_of_pairs(w, measure):
    label = "eq-joint-ali-discriminator"
    p, q = w.inferred(), w.generated()
    formula = ((p * softplus(-w.phi0)).sum() + (q * softplus(w.phi0)).sum()) / 2
    value, grad = ali_loss(w, "discriminator")
    assert measure(label, value, formula)
    m, posterior = (p + q) / 2, p / (p + q)

    def divergence(phi: Tensor) -> Tensor:
        d = phi.reshape(p.shape).sigmoid()
        of_pair = posterior * (posterior / d).log()
        return (m * (of_pair + (1 - posterior) * ((1 - posterior) / (1 - d)).log())).sum()

    assert measure(label, formula, divergence(w.phi0) + log(2) - js(p, q))
    assert measure(label, grad, gradient(divergence, w.phi0.flatten()))


@pytest.mark.equation("eq-joint-ali-joint")
@pytest.mark.parametrize("w", PAIRS)
def test_the_joint_phase(w, measure):
    value, grad = ali_loss(w, "joint")
    formula = (w.inferred() * softplus(w.phi0)).sum() + (w.generated() * softplus(-w.phi0)).sum()
    assert measure("eq-joint-ali-joint", value, formula / 2)
    m = (w.inferred() + w.generated()) / 2
    d = w.phi0.sigmoid()
    of_generated, of_inferred = d * m / (d * m).sum(), (1 - d) * m / ((1 - d) * m).sum()

    def claimed(theta: Tensor) -> Tensor:
        p, q = w.inferred(theta), w.generated(theta)
        return kl(q, of_generated) / 2 + kl(p, of_inferred) / 2 - js(p, q)

    assert measure("eq-joint-ali-joint", grad, gradient(claimed, w.theta0))


@pytest.mark.equation("eq-joint-ali-optimal")
@pytest.mark.parametrize("w", PAIRS)
def test_at_the_optimal_discriminator_each_network_has_its_own_divergence(w, measure):
    _, grad = ali_loss(w.with_optimal_discriminator(), "joint")
    half = len(grad) // 2

    def to_inferred(theta: Tensor) -> Tensor:
        p, q = w.inferred(theta), w.generated(theta)
        return kl((p + q) / 2, p)

    def to_generated(theta: Tensor) -> Tensor:
        p, q = w.inferred(theta), w.generated(theta)
        return kl((p + q) / 2, q)

    label = "eq-joint-ali-optimal"
    assert measure(label, grad[:half], gradient(to_inferred, w.theta0)[:half])
    assert measure(label, grad[half:], gradient(to_generated, w.theta0)[half:])
    assert measure(label, grad[half:], gradient(to_inferred, w.theta0)[half:], 1e-4, "!=")


@pytest.mark.equation("eq-joint-ali-curl")
@pytest.mark.parametrize("w", PAIRS[:3])
def test_no_common_objective(w, measure):
    """Central differences of the step with D kept optimal, against the mixed derivative."""
    half, h = len(w.theta0) // 2, 1e-5

    def step(theta: Tensor) -> Tensor:
        moved = PairWorld(w.p_data, w.p_z, theta, w.phi0).with_optimal_discriminator()
        return ali_loss(moved, "joint")[1]

    unit = torch.eye(2 * half, dtype=torch.float64)
    columns = [(step(w.theta0 + h * e) - step(w.theta0 - h * e)) / (2 * h) for e in unit]
    slopes = torch.stack(columns, 1)
    cross = slopes[:half, half:] - slopes[half:, :half].T

    def mean_log_ratio(theta: Tensor) -> Tensor:
        p, q = w.inferred(theta), w.generated(theta)
        return ((p + q) / 2 * (q / p).log()).sum()

    mixed = torch.autograd.functional.hessian(mean_log_ratio, w.theta0)[:half, half:]
    assert measure("eq-joint-ali-curl", cross, mixed, 1e-8)
    assert measure("eq-joint-ali-curl", cross, 0.0 * cross, 1e-4, "!=")


@pytest.mark.equation("eq-joint-ali-value")
@pytest.mark.parametrize("w", PAIRS)
def test_the_value_of_the_game(w, measure):
    p, q = w.inferred(), w.generated()

    def value(d: Tensor) -> Tensor:
        return (p * d.log()).sum() + (q * (1 - d).log()).sum()

    best = p / (p + q)
    assert measure("eq-joint-ali-value", value(best), 2 * js(p, q) - log(4))
    assert measure("eq-joint-ali-value", gradient(value, best), 0.0 * best)
    assert measure("eq-joint-ali-value", value(0.9 * best), value(best), relation="<=")


# ---- VAE/GAN -------------------------------------------------------------------------------------


def vaegan_loss(w: VAEGANWorld, phase: str) -> tuple[Tensor, Tensor]:
    """Value of the model's own loss, and its gradient in the logits (or features) that it moves."""
    model = VAEGAN(shape=(2,), latent=1, gamma=w.gamma)
    model.encoder = TableEncoder(w.eta0, w.p_z)
    model.decoder = TablePairGenerator(w.theta0, w.p_z)
    model.discriminator = TableFeatureDiscriminator(w.features, w.head)
    value = model.loss(phase, Batch(torch.arange(len(w.p_data)), weight=w.p_data)).value
    moved = {
        "encoder": model.encoder.get_parameter("logits"),
        "decoder": model.decoder.logits,
        "discriminator": model.discriminator.rows,
    }[phase]
    return value.detach(), torch.autograd.grad(value, moved)[0]


def log_similarity(features: Tensor) -> Tensor:
    """log N(f(x); f(x'), I) by torch's own density."""
    law = torch.distributions.MultivariateNormal(features, torch.eye(features.shape[1]).double())
    return torch.stack([law.log_prob(f) for f in features])


@pytest.mark.equation("eq-joint-vaegan-encoder")
@pytest.mark.parametrize("w", VAEGANS)
def test_the_encoder_infers_the_code_from_features(w, measure):
    label = "eq-joint-vaegan-encoder"
    decoder = w.theta0.softmax(-1)
    n_x, n_z = w.eta0.shape
    log_n = log_similarity(w.features)
    likelihood = torch.stack([torch.stack([(decoder[z] * log_n[x]).sum() for z in range(n_z)])
                              for x in range(n_x)])  # fmt: skip
    joint = w.p_z * likelihood.exp()
    evidence = joint.sum(1)

    def formula(eta: Tensor) -> Tensor:
        q = eta.softmax(-1)
        inner = (q * ((q / w.p_z).log() - likelihood)).sum(1)
        return (w.p_data * inner).sum()

    def claimed(eta: Tensor) -> Tensor:
        q = eta.softmax(-1)
        to_posterior = (q * (q / (joint / evidence[:, None])).log()).sum(1)
        return (w.p_data * (to_posterior - evidence.log())).sum()

    value, grad = vaegan_loss(w, "encoder")
    assert measure(label, value, formula(w.eta0))
    assert measure(label, value, claimed(w.eta0))
    assert measure(label, grad, gradient(claimed, w.eta0))


@pytest.mark.equation("eq-joint-vaegan-decoder")
@pytest.mark.parametrize("w", VAEGANS)
def test_the_decoder_reduces_kl_minus_jsd_minus_the_information_about_the_source(w, measure):
    label = "eq-joint-vaegan-decoder"
    q, log_n = w.eta0.softmax(-1), log_similarity(w.features)
    a = w.features @ w.head

    def laws(theta: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (X,) and the reconstructions of each image (X, X')."""
        return w.p_z @ theta.softmax(-1), q @ theta.softmax(-1)

    def formula(theta: Tensor) -> Tensor:
        p_g, rec = laws(theta)
        similar = (w.p_data[:, None] * rec * log_n).sum()
        game = (w.p_data @ rec * softplus(-a)).sum() + (p_g * softplus(-a)).sum()
        return (-w.gamma * similar + game) / 3

    frozen_g, frozen_rec = (law.detach() for law in laws(w.theta0))
    prior = (frozen_g + w.p_data + w.p_data @ frozen_rec) / 3
    d = a.sigmoid()

    def claimed(theta: Tensor) -> Tensor:
        p_g, rec = laws(theta)
        made = (p_g + w.p_data @ rec) / 2
        mixed = (2 * made + w.p_data) / 3
        total = kl(p_g, d * prior / (d * prior).sum()) / 3
        for x, share in enumerate(w.p_data):
            target = d * log_n[x].mul(w.gamma).exp() * prior
            total = total + share / 3 * kl(rec[x], target / target.sum())
        jsd = 2 / 3 * kl(made, mixed) + 1 / 3 * kl(w.p_data, mixed)
        of_source = kl(p_g, made) / 3
        of_source = of_source + sum(s / 3 * kl(rec[x], made) for x, s in enumerate(w.p_data))
        return total - jsd - of_source

    value, grad = vaegan_loss(w, "decoder")
    assert measure(label, value, formula(w.theta0))
    assert measure(label, grad, gradient(claimed, w.theta0))


@pytest.mark.equation("eq-joint-vaegan-discriminator", "eq-joint-vaegan-best")
@pytest.mark.parametrize("w", VAEGANS)
def test_the_discriminator_of_three_sources(w, measure):
    decoder, q = w.theta0.softmax(-1), w.eta0.softmax(-1)
    p_g, p_rec = w.p_z @ decoder, w.p_data @ q @ decoder
    mixed = (w.p_data + p_g + p_rec) / 3
    best = w.p_data / (w.p_data + p_rec + p_g)

    def formula(a: Tensor) -> Tensor:
        on_data = (w.p_data * softplus(-a)).sum()
        return (on_data + (p_rec * softplus(a)).sum() + (p_g * softplus(a)).sum()) / 3

    def divergence(a: Tensor) -> Tensor:
        d = a.sigmoid()
        both = best * (best / d).log() + (1 - best) * ((1 - best) / (1 - d)).log()
        return (mixed * both).sum()

    entropy = -(mixed * (best * best.log() + (1 - best) * (1 - best).log())).sum()
    a = w.features @ w.head
    value, grad = vaegan_loss(w, "discriminator")
    assert measure("eq-joint-vaegan-discriminator", value, formula(a))
    assert measure("eq-joint-vaegan-discriminator", value, divergence(a) + entropy)
    of_rows = gradient(lambda rows: divergence(rows @ w.head), w.features)
    assert measure("eq-joint-vaegan-discriminator", grad, of_rows)
    assert measure("eq-joint-vaegan-best", gradient(formula, best.logit()), 0.0 * best)


@pytest.mark.equation("eq-joint-vaegan-unit")
@pytest.mark.parametrize("w", VAEGANS)
def test_the_unit_of_the_features_is_part_of_the_similarity(w, measure):
    n_x, n_z = w.eta0.shape
    G = [z % n_x for z in range(n_z)]  # a decoder that is a function
    certain = torch.full((n_z, n_x), -800.0, dtype=torch.float64)
    certain[range(n_z), G] = 0.0
    w = replace(w, theta0=certain)
    for c in (1.0, 2.0):
        scaled = replace(w, features=c * w.features, head=w.head / c)
        apart = (w.features[:, None] - w.features[G][None]).square().sum(-1)
        target = w.p_z * (-(c**2) / 2 * apart).exp()
        assert measure("eq-joint-vaegan-unit", scaled.a, w.a)
        found = scaled.feature_posterior
        assert measure("eq-joint-vaegan-unit", found, target / target.sum(1, keepdim=True))
    assert measure("eq-joint-vaegan-unit", found, w.feature_posterior, 1e-4, "!=")


# ---- the dictionary ------------------------------------------------------------------------------


@pytest.mark.equation("eq-joint-swap-kl", "eq-joint-needs")
@pytest.mark.parametrize("w", VAES)
def test_wake_and_sleep_are_the_two_directions(w, measure):
    p, q = w.q_xz(), w.p_xz()
    entropy = -(w.p_data * w.p_data.log()).sum()
    assert measure("eq-joint-swap-kl", w.vae_loss(), kl(p, q) + entropy)
    for theta, eta in ((w.theta0, w.eta0), (w.other_theta(), w.other_eta())):
        sleep = gradient(lambda e, t=theta: -(w.p_xz(t) * w.q_z_given_x(e).log()).sum(), eta)
        assert measure(
            "eq-joint-swap-kl", sleep, gradient(lambda e, t=theta: kl(w.p_xz(t), w.q_xz(e)), eta)
        )
        pairs = w.p_xz(theta)
        prior, decoder = w.p_z_given_y[0].log(), theta.log_softmax(-1).T
        known = (pairs * (prior + decoder - w.q_z_given_x(eta).log())).sum()
        unknown = (pairs.sum(1) * w.p_data.log()).sum()
        assert measure("eq-joint-needs", kl(pairs, w.q_xz(eta)), known - unknown)
        moves = gradient(lambda t: (w.p_xz(t).sum(1) * w.p_data.log()).sum(), theta)
        assert measure("eq-joint-needs", moves, 0.0 * moves, 1e-4, "!=")


@pytest.mark.equation("eq-joint-swap-code")
@pytest.mark.parametrize("w", AUTOENCODERS)
def test_the_aae_is_the_infogan_of_the_exchanged_world(w, measure):
    encoder = w.theta0.softmax(-1)
    n_x, n_z = encoder.shape
    loss = -sum(
        w.p_data[x] * encoder[x, z] * (logsigmoid(w.phi0[z]) + w.decoder[z, x].log())
        for x in range(n_x)
        for z in range(n_z)
    )
    assert measure("eq-joint-swap-code", loss, w.as_code_world().infogan_loss())
    assert measure("eq-joint-swap-code", loss, w.loss())


@pytest.mark.equation("eq-joint-swap-ali")
@pytest.mark.parametrize("w", PAIRS)
def test_ali_is_its_own_mirror_image(w, measure):
    generator, encoder = w.split()
    networks = torch.cat([encoder.flatten(), generator.flatten()])
    mirrored = PairWorld(w.p_z, w.p_data, networks, -w.phi0.T)
    assert measure("eq-joint-swap-ali", ali_loss(w, "joint")[0], ali_loss(mirrored, "joint")[0])
    d = w.phi0.sigmoid()
    left = -((w.inferred() * (1 - d).log()).sum() + (w.generated() * d.log()).sum()) / 2
    assert measure("eq-joint-swap-ali", left, ali_loss(mirrored, "joint")[0])
