"""Chapter 9: every labelled equation, on tables of images and of binary units.

The other side of each comparison is written out here. Translators are tables G[z, x] and F[x, z],
codes are listed bit by bit; the models' own losses run on the same tables.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from unigen_edu.declarations import Batch, Model
from unigen_edu.densities import laplace_log_prob
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.codes import CycleWorld
from unigen_edu.exact.cycle_networks import TableTranslator
from unigen_edu.exact.networks import TableDiscriminator
from unigen_edu.exact.units import (
    TablePredictors,
    TableUnitDecoder,
    TableUnitEncoder,
    UnitsWorld,
)
from unigen_edu.models.cyclegan import CycleGAN
from unigen_edu.models.predictability import PredictabilityMinimisation

SEEDS = range(8)
FAR = 1e-4
CYCLES = [CycleWorld.random(seed, strength=s) for seed in SEEDS for s in (0.7, 1.0)]
UNITS = [UnitsWorld.random(seed) for seed in SEEDS]
CODES = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)
LAMBDA = 0.7


def kl(p: Tensor, q: Tensor) -> Tensor:
    """sum p log(p/q) over all states."""
    return (p * (p.log() - q.log())).sum()


def jsd(p: Tensor, q: Tensor) -> Tensor:
    m = (p + q) / 2
    return (kl(p, m) + kl(q, m)) / 2


def entropy(p: Tensor) -> Tensor:
    return -torch.where(p > 0, p * p.clamp_min(1e-300).log(), 0.0).sum()


def information(joint: Tensor) -> Tensor:
    return kl(joint, joint.sum(1, keepdim=True) * joint.sum(0))


def step(on_tables: tuple[Model, Batch], phase: str, of: str) -> tuple[Tensor, Tensor]:
    """Value and gradient of a phase of the package's model."""
    model, batch = on_tables
    value = model.loss(phase, batch).value
    (parameter,) = model.get_submodule(of).parameters()
    return value, torch.autograd.grad(value, parameter)[0]


# ---- cycles ------------------------------------------------------------------------------------


def cyclegan(w: CycleWorld) -> tuple[CycleGAN, Batch]:
    model = CycleGAN(shape=(2,), network="mlp", strength=2 * w.strength)  # lambda = strength / 2
    model.to_a, model.to_b = TableTranslator(w.g0), TableTranslator(w.f0)
    model.discriminator_a = TableDiscriminator(w.phi_a)
    model.discriminator_b = TableDiscriminator(w.phi_b)
    b = Batch(torch.arange(len(w.p_b)), weight=w.p_b)
    return model, Batch(torch.arange(len(w.p_a)), weight=w.p_a, other=b)


def exchanged(w: CycleWorld) -> CycleWorld:
    return CycleWorld(w.p_b, w.p_a, w.f0, w.g0, w.phi_b, w.phi_a, w.strength)


def laws(w: CycleWorld) -> tuple[Tensor, Tensor]:
    """p_B(z) G(x|z) as [z, x], and p_A(x) F(z|x) as [x, z]."""
    return w.p_b[:, None] * w.g0.softmax(1), w.p_a[:, None] * w.f0.softmax(1)


def translators_loss(w: CycleWorld, phi_a: Tensor, phi_b: Tensor) -> Tensor:
    """eq-cycles-theta, term by term."""
    to_a, to_b = laws(w)
    total = torch.zeros((), dtype=torch.float64)
    for z, x in itertools.product(range(len(w.p_b)), range(len(w.p_a))):
        log_f, log_g = w.f0.log_softmax(1)[x, z], w.g0.log_softmax(1)[z, x]
        total = total + 0.5 * to_a[z, x] * (-logsigmoid(phi_a[x]) - w.strength * log_f)
        total = total + 0.5 * to_b[x, z] * (-logsigmoid(phi_b[z]) - w.strength * log_g)
    return total


@pytest.mark.equation("eq-cycles-phi", "eq-cycles-phi-kl")
def test_the_discriminators_phase(measure):
    for w in CYCLES:
        to_a, to_b = laws(w)
        value, _ = step(cyclegan(w), "discriminators", "discriminator_a")
        written = torch.zeros((), dtype=torch.float64)
        claim = torch.tensor(2 * math.log(2), dtype=torch.float64)
        for made, real, phi, of in (
            (to_a.sum(0), w.p_a, w.phi_a, "discriminator_a"),
            (to_b.sum(0), w.p_b, w.phi_b, "discriminator_b"),
        ):
            written = written - 0.5 * (real * logsigmoid(phi)).sum()
            written = written - 0.5 * (made * logsigmoid(-phi)).sum()
            both = (made + real) / 2
            true = torch.stack([made, real]) / (2 * both)

            def distance(phi: Tensor, both=both, true=true) -> Tensor:
                q = torch.stack([(-phi).sigmoid(), phi.sigmoid()])
                return sum(both[i] * kl(true[:, i], q[:, i]) for i in range(len(both)))

            claim = claim - jsd(made, real) + distance(phi)
            _, found = step(cyclegan(w), "discriminators", of)
            assert measure("eq-cycles-phi-kl", found, gradient(distance, phi))
        assert measure("eq-cycles-phi", value, written)
        assert measure("eq-cycles-phi-kl", value, claim)


@pytest.mark.equation("eq-cycles-theta", "eq-cycles-reader", "eq-cycles-gradient")
def test_the_translators_phase(measure):
    for first in CYCLES:
        for w, of in ((first, "to_a"), (exchanged(first), "to_b")):
            value, found = step(cyclegan(first), "translators", of)
            assert measure("eq-cycles-theta", value, translators_loss(w, w.phi_a, w.phi_b))
            _, to_b = laws(w)
            origin = to_b / to_b.sum(0)  # [x, z]

            def read(g: Tensor, to_b=to_b, origin=origin) -> Tensor:
                reader = g.softmax(1)
                return sum(
                    to_b.sum(0)[z] * kl(origin[:, z], reader[z]) for z in range(to_b.shape[1])
                )

            left_open = sum(to_b.sum(0)[z] * entropy(origin[:, z]) for z in range(to_b.shape[1]))
            crossed = -(to_b * w.g0.log_softmax(1).T).sum()
            assert measure("eq-cycles-reader", crossed, left_open + read(w.g0))

            D = torch.sigmoid(w.phi_a)
            mix = (laws(w)[0].sum(0) + w.p_a) / 2
            recognise = w.f0.softmax(1).T ** w.strength
            aims = recognise * D * mix
            aims = aims / aims.sum(1, keepdim=True)

            def generate(g: Tensor, w=w, aims=aims) -> Tensor:
                law = g.softmax(1)
                joint = w.p_b[:, None] * law
                per_code = sum(w.p_b[z] * kl(law[z], aims[z]) for z in range(len(w.p_b)))
                return per_code / 2 - jsd(joint.sum(0), w.p_a) - information(joint) / 2

            def whole(g: Tensor, w=w, generate=generate, read=read) -> Tensor:
                return generate(g) + w.strength / 2 * read(g)

            assert measure("eq-cycles-gradient", found, gradient(whole, w.g0))
            assert measure(
                "eq-cycles-gradient", found, gradient(generate, w.g0), FAR, relation="!="
            )


@pytest.mark.equation("eq-cycles-laplace")
def test_the_l1_error_is_the_log_of_a_laplace_reader(measure):
    g = torch.Generator().manual_seed(0)
    z, f = torch.rand(2, 6, 1, 5, 5, generator=g, dtype=torch.float64)
    distance = (z - f).abs().flatten(1).sum(1)
    for lam in (0.1, 1.0, 7.0):
        log_q = laplace_log_prob(z, f, torch.zeros((), dtype=torch.float64))
        assert measure("eq-cycles-laplace", -lam * log_q, lam * (distance + 25 * math.log(2)))
    # The density integrates to one: midpoints, and what is left beyond 40 is e^-40.
    width = 1e-3
    at = (torch.arange(80_000, dtype=torch.float64) + 0.5) * width - 40
    density = laplace_log_prob(
        at[:, None], torch.zeros(80_000, 1).double(), torch.zeros(()).double()
    )
    assert measure("eq-cycles-laplace", density.exp().sum() * width, 1.0, tolerance=1e-6)


@pytest.mark.equation("eq-cycles-bounded")
def test_the_mass_of_a_laplace_on_the_unit_interval(measure):
    nodes = 40_000
    for lam, f in itertools.product((10 / 784, 0.5, 3.0, 20.0), (0.0, 0.25, 0.5, 1.0)):
        # Midpoints on each side of the kink.
        total = 0.0
        for low, high in ((0.0, f), (f, 1.0)):
            z = low + (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes * (high - low)
            total += (lam * torch.exp(-lam * (z - f).abs())).mean() * (high - low)
        formula = 2 - math.exp(-lam * f) - math.exp(-lam * (1 - f))
        assert measure("eq-cycles-bounded", total, formula, tolerance=1e-7)


@pytest.mark.equation("eq-cycles-closed")
def test_the_best_reader_pays_what_is_left_open(measure):
    for w in CYCLES:
        _, to_b = laws(w)
        origin = to_b / to_b.sum(0)
        least = -(to_b * origin.log()).sum()
        assert measure("eq-cycles-closed", least, entropy(w.p_a) - information(to_b))
        any_reader = -(to_b * w.g0.log_softmax(1).T).sum()
        assert measure("eq-cycles-closed", least, any_reader, relation="<=")
    one_to_one = torch.diag(torch.tensor([0.5, 0.3, 0.2]).double())[:, [1, 2, 0]]
    left = entropy(one_to_one.flatten()) - entropy(one_to_one.sum(0))
    assert measure("eq-cycles-closed", left, 0.0)


@pytest.mark.equation("eq-cycles-symmetry")
def test_renaming_equally_likely_images_costs_nothing(measure):
    def best_loss(w: CycleWorld) -> Tensor:
        to_a, to_b = laws(w)
        return translators_loss(w, (w.p_a / to_a.sum(0)).log(), (w.p_b / to_b.sum(0)).log())

    alike = torch.tensor([0.3, 0.3, 0.3, 0.1], dtype=torch.float64)
    for w in CYCLES:
        for order in ([1, 2, 0, 3], [1, 0, 2, 3]):
            twin = replace(w, p_a=alike)
            renamed = replace(twin, f0=w.f0[order], g0=w.g0.log_softmax(1)[:, order])
            assert measure("eq-cycles-symmetry", best_loss(renamed), best_loss(twin))
        swapped = replace(w, f0=w.f0[[1, 2, 0, 3]], g0=w.g0.log_softmax(1)[:, [1, 2, 0, 3]])
        assert gap(best_loss(swapped), best_loss(w)) > FAR


@pytest.mark.equation("eq-cycles-count")
def test_the_number_of_consistent_pairings(measure):
    for law in ([0.2] * 5, [0.3, 0.3, 0.2, 0.1, 0.1], [0.4, 0.2, 0.2, 0.2], [0.1, 0.2, 0.3, 0.4]):
        p, n = torch.tensor(law, dtype=torch.float64), len(law)
        other = p[torch.randperm(n, generator=torch.Generator().manual_seed(0))]
        consistent = 0
        # All maps F: A -> B and their best way back: laws match, and the cycle closes.
        for image in itertools.product(range(n), repeat=n):
            joint = torch.zeros(n, n, dtype=torch.float64)
            joint[range(n), list(image)] = p
            matches = torch.allclose(joint.sum(0), other, atol=1e-12)
            closes = entropy(joint.flatten()) - entropy(joint.sum(0)) < 1e-12
            consistent += bool(matches and closes)
        formula = math.prod(math.factorial(law.count(value)) for value in set(law))
        assert measure("eq-cycles-count", consistent, formula)


# ---- predictors --------------------------------------------------------------------------------


def predictability(w: UnitsWorld, score: str) -> tuple[PredictabilityMinimisation, Batch]:
    model = PredictabilityMinimisation(shape=(2,), latent=3, strength=LAMBDA, score=score)
    model.encoder = TableUnitEncoder(w.theta0)
    model.decoder = TableUnitDecoder(w.psi0)
    model.predictor = TablePredictors(w.phi0)
    return model, Batch(torch.arange(len(w.p_data)), weight=w.p_data)


def split(i: int) -> list[tuple[int, int]]:
    """For each state of the others, the numbers of the codes with c_i = 0 and with c_i = 1."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for number, code in enumerate(CODES.tolist()):
        groups.setdefault(tuple(code[:i] + code[i + 1 :]), []).append(number)
    return [(pair[0], pair[1]) for _, pair in sorted(groups.items())]


def of_codes(w: UnitsWorld, theta: Tensor) -> Tensor:
    """p_theta(c): (8,)"""
    return w.p_data @ theta.softmax(1)


def errors(p_c: Tensor, phi: Tensor) -> Tensor:
    """sum_i E (c_i - P_i)^2, code by code."""
    total = torch.zeros((), dtype=torch.float64)
    for i in range(3):
        for state, (zero, one) in enumerate(split(i)):
            guess = phi[i, state]
            total = total + p_c[zero] * guess**2 + p_c[one] * (1 - guess) ** 2
    return total


def variance_and_distance(p_c: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
    """sum_i E Var(c_i|c_-i) and sum_i E (m_i - P_i)^2."""
    variance = distance = torch.zeros((), dtype=torch.float64)
    for i in range(3):
        for state, (zero, one) in enumerate(split(i)):
            both = p_c[zero] + p_c[one]
            mean = p_c[one] / both
            variance = variance + both * mean * (1 - mean)
            distance = distance + both * (mean - phi[i, state]) ** 2
    return variance, distance


def reconstruction(w: UnitsWorld, theta: Tensor) -> Tensor:
    joint = w.p_data[:, None] * theta.softmax(1)
    return -(joint * w.psi0.log_softmax(1).T).sum()


def elsewhere(w: UnitsWorld) -> Tensor:
    noise = torch.randn(w.theta0.shape, generator=torch.Generator().manual_seed(1))
    return w.theta0 + 0.7 * noise.double()


@pytest.mark.equation("eq-cycles-variance", "eq-cycles-coins")
def test_what_a_predictor_cannot_help(measure):
    for w in UNITS:
        p_c = of_codes(w, elsewhere(w))
        variance, distance = variance_and_distance(p_c, w.phi0)
        assert measure("eq-cycles-variance", errors(p_c, w.phi0), variance + distance)
        means = p_c @ CODES
        own = (p_c[:, None] * (CODES - means) ** 2).sum()
        spread = torch.zeros((), dtype=torch.float64)
        for i in range(3):
            for zero, one in split(i):
                both = p_c[zero] + p_c[one]
                spread = spread + both * (p_c[one] / both - means[i]) ** 2
        assert measure("eq-cycles-variance", variance, own - spread)
        assert measure("eq-cycles-coins", variance, own, relation="<=")
        assert measure("eq-cycles-coins", own, 3 / 4, relation="<=")
    coins = torch.full((8,), 1 / 8, dtype=torch.float64)
    assert measure("eq-cycles-coins", variance_and_distance(coins, UNITS[0].phi0)[0], 3 / 4)
    # Units between 0 and 1: the variance of any law on a grid.
    grid = torch.linspace(0, 1, 11, dtype=torch.float64)
    for seed in SEEDS:
        law = torch.randn(11, generator=torch.Generator().manual_seed(seed)).double().softmax(0)
        assert measure("eq-cycles-coins", law @ grid**2 - (law @ grid) ** 2, 1 / 4, relation="<=")


@pytest.mark.equation("eq-cycles-predictor")
def test_the_predictors_phase(measure):
    for w in UNITS:
        p_c = of_codes(w, w.theta0)
        value, found = step(predictability(w, "squared"), "predictor", "predictor")
        assert measure("eq-cycles-predictor", value, errors(p_c, w.phi0))
        aim = gradient(lambda phi, p_c=p_c: variance_and_distance(p_c, phi)[1], w.phi0)
        assert measure("eq-cycles-predictor", found, aim)


@pytest.mark.equation("eq-cycles-unpredictable")
def test_the_encoders_phase(measure):
    for w in UNITS:

        def claim(theta: Tensor, w=w, share=1.0) -> Tensor:
            variance, distance = variance_and_distance(of_codes(w, theta), w.phi0)
            return reconstruction(w, theta) - LAMBDA * (variance + share * distance)

        value, found = step(predictability(w, "squared"), "encoder", "encoder")
        written = reconstruction(w, w.theta0) - LAMBDA * errors(of_codes(w, w.theta0), w.phi0)
        assert measure("eq-cycles-unpredictable", value, written)
        assert measure("eq-cycles-unpredictable", value, claim(w.theta0))
        assert measure("eq-cycles-unpredictable", found, gradient(claim, w.theta0))
        wanted = gradient(lambda t, claim=claim: claim(t, share=0.0), w.theta0)
        assert measure("eq-cycles-unpredictable", found, wanted, FAR, relation="!=")


def log_scores(p_c: Tensor, phi: Tensor, i: int) -> Tensor:
    """E log q(c_i|c_-i), code by code."""
    return sum(
        p_c[zero] * logsigmoid(-phi[i, state]) + p_c[one] * logsigmoid(phi[i, state])
        for state, (zero, one) in enumerate(split(i))
    )


@pytest.mark.equation("eq-cycles-log-score")
def test_the_log_score_in_three_parts(measure):
    for w in UNITS:
        p_c = of_codes(w, elsewhere(w))
        for i in range(3):
            joint = torch.stack([torch.stack([p_c[pair[y]] for pair in split(i)]) for y in (0, 1)])
            q = torch.stack([(-w.phi0[i]).sigmoid(), w.phi0[i].sigmoid()])
            true = joint / joint.sum(0)
            slack = sum(joint.sum(0)[s] * kl(true[:, s], q[:, s]) for s in range(4))
            claim = information(joint) - entropy(joint.sum(1)) - slack
            assert measure("eq-cycles-log-score", log_scores(p_c, w.phi0, i), claim)


@pytest.mark.equation("eq-cycles-minimax")
def test_lemma_1_with_signs_reversed_and_a_moving_domain(measure):
    for w in UNITS:

        def joint(theta: Tensor, i: int, w=w) -> Tensor:
            p_c = of_codes(w, theta)
            return torch.stack([torch.stack([p_c[pair[y]] for pair in split(i)]) for y in (0, 1)])

        def claim(theta: Tensor, moving: float = 1.0, w=w, joint=joint) -> Tensor:
            total = torch.zeros((), dtype=torch.float64)
            for i in range(3):
                now, before = joint(theta, i), joint(w.theta0, i)
                q = torch.stack([(-w.phi0[i]).sigmoid(), w.phi0[i].sigmoid()])
                Z = (q * before.sum(0)).sum(1)
                aims = q * before.sum(0) / Z[:, None]
                p_y = now.sum(1)
                total = total - sum(p_y[y] * kl(now[y] / p_y[y], aims[y]) for y in (0, 1))
                total = total + information(now) + moving * (p_y * Z.log()).sum()
            return total

        def score(theta: Tensor, w=w) -> Tensor:
            return sum(log_scores(of_codes(w, theta), w.phi0, i) for i in range(3))

        left = gradient(score, w.theta0)
        assert measure("eq-cycles-minimax", left, gradient(claim, w.theta0))
        fixed = gradient(lambda t, claim=claim: claim(t, 0.0), w.theta0)
        assert measure("eq-cycles-minimax", left, fixed, FAR, relation="!=")
        # The package's encoder descends it.
        _, found = step(predictability(w, "log"), "encoder", "encoder")
        rest = gradient(lambda t, w=w: reconstruction(w, t), w.theta0)
        assert measure("eq-cycles-minimax", found, rest + LAMBDA * left)
