"""Chapter 19: every labelled equation, on sequences that can be listed.

The other side of each comparison is written out here: laws by enumeration, gradients by autograd of
the expectation or by central differences, integrals by the trapezoidal rule. The losses are the
package's own.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from unigen_edu import models, recurrent
from unigen_edu.declarations import Batch
from unigen_edu.exact.checks import gap, gradient, jacobian
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.sequences import (
    ListedGenerative,
    ListedRecognition,
    TableSequenceDiscriminator,
    TableSequenceGenerator,
    all_causes,
    all_sequences,
    chain_law,
)
from unigen_edu.exact.tables import (
    entropy,
    expectation,
    generator_from,
    kl_p_q,
    mutual_information,
    normalise,
    random_distribution,
)
from unigen_edu.exact.vae import VAEWorld
from unigen_edu.models.sequence_gan import advantage
from unigen_edu.recurrent import Writer

SEEDS = range(6)
V, T = 3, 2
WORLDS = [GANWorld.random(seed, n_x=V**T) for seed in SEEDS]
AUTOENCODERS = [VAEWorld.random(seed, n_x=4, n_z=3) for seed in SEEDS]


def random_writer(seed: int, vocabulary: int = V, length: int = 3, latent: int = 2) -> Writer:
    torch.manual_seed(seed)
    writer = Writer(vocabulary, length, hidden=3, latent=latent).double()
    for parameter in writer.parameters():
        parameter.data = torch.randn_like(parameter)
    return writer


def cost(w: GANWorld) -> Tensor:
    return -w.D.log()


def scores(w: GANWorld) -> Tensor:
    """d log p_g(x) / d theta, row by row, by autograd: (X, X)"""
    return jacobian(lambda theta: theta.log_softmax(-1), w.theta0)


def minus_l(w: GANWorld) -> Tensor:
    return gradient(lambda theta: -w.generator_objective(theta), w.theta0)


def derivative(value: Tensor, network: torch.nn.Module) -> Tensor:
    slopes = torch.autograd.grad(value, list(network.parameters()), retain_graph=True)
    return parameters_to_vector(slopes)


# ---- the corpus --------------------------------------------------------------------------------


@pytest.mark.equation("eq-sequences-floor")
def test_the_mean_cost_of_different_sequences_has_a_floor(measure):
    for seed in SEEDS:
        p = random_distribution(12, generator=generator_from(seed), spread=2.0)
        for n in (1, 5, 12):
            assert measure("eq-sequences-floor", math.log(n), -p[:n].log().mean(), relation="<=")
    uniform = torch.full((12,), 1 / 12, dtype=torch.float64)
    assert measure("eq-sequences-floor", math.log(12), -uniform.log().mean())


@pytest.mark.equation("eq-sequences-distinct")
def test_the_number_of_different_names_by_listing_all_draws(measure):
    for n_names, draws in ((3, 2), (4, 3), (5, 4), (2, 6)):
        rows = list(itertools.product(range(n_names), repeat=draws))
        mean = sum(len(set(row)) for row in rows) / len(rows)
        assert measure("eq-sequences-distinct", mean, n_names * (1 - (1 - 1 / n_names) ** draws))


# ---- the chain ---------------------------------------------------------------------------------


@pytest.mark.equation("eq-sequences-chain", "eq-sequences-normalised")
def test_the_writer_is_a_chain_of_distributions(measure):
    for seed in SEEDS:
        writer = random_writer(seed)
        x, c = all_sequences(V, 3), torch.randn(4, 2, dtype=torch.float64)
        found = writer.log_prob(x, c[:, None].expand(4, len(x), 2))
        assert measure("eq-sequences-chain", found, chain_law(writer, c).log())
        assert measure("eq-sequences-normalised", found.exp().sum(1), torch.ones(4))
        honest = writer.logits
        writer.logits = lambda before, c, honest=honest: honest(before.roll(-1, 1), c)
        told = writer.log_prob(x, c[:, None].expand(4, len(x), 2))
        assert measure("eq-sequences-normalised", told.exp().sum(1), torch.ones(4), 1e-2, "!=")


@pytest.mark.equation("eq-sequences-gumbel")
def test_the_largest_noisy_logit_is_a_draw(measure):
    a = torch.linspace(-40, 60, 400_001, dtype=torch.float64)
    for seed in SEEDS:
        logits = torch.randn(4, generator=generator_from(seed), dtype=torch.float64)
        below = torch.exp(-torch.exp(logits[:, None] - a))  # P(logit_j + g_j <= a)
        density = torch.exp(logits[:, None] - a) * below
        others = below.log().sum(0, keepdim=True).exp() / below.clamp_min(1e-300)
        found = torch.trapezoid(density * others, a)
        assert measure("eq-sequences-gumbel", found, logits.softmax(0), 1e-9)


# ---- the score function ------------------------------------------------------------------------


@pytest.mark.equation("eq-sequences-log-derivative", "eq-sequences-mean-score")
def test_the_gradient_of_an_expectation_is_an_expectation(measure):
    for w in WORLDS:
        p, c = w.p_g(), torch.arange(9.0, dtype=torch.float64) ** 0.5
        direct = torch.zeros(9, dtype=torch.float64)
        for j in range(9):  # central differences of the expectation itself
            step = torch.zeros(9, dtype=torch.float64)
            step[j] = 1e-5
            direct[j] = ((w.p_g(w.theta0 + step) - w.p_g(w.theta0 - step)) @ c) / 2e-5
        assert measure("eq-sequences-log-derivative", (p * c) @ scores(w), direct, 1e-9)
        assert measure("eq-sequences-mean-score", p @ scores(w), torch.zeros(9))


@pytest.mark.equation("eq-sequences-score")
def test_the_generators_phase_has_the_gradient_of_the_objective(measure):
    for w in WORLDS:
        for b in (0.0, 3.0):
            found = 0.5 * (w.p_g() * (cost(w) - b)) @ scores(w)
            assert measure("eq-sequences-score", found, minus_l(w))
        model = models.create("sequence-gan", shape=(T,), vocabulary=V, hidden=2)
        model.generator = TableSequenceGenerator(w.theta0, V, T)
        model.discriminator = TableSequenceDiscriminator(w.phi0, V)
        loss = model.loss("generator", Batch(all_sequences(V, T), weight=w.p_data))
        (own,) = torch.autograd.grad(loss.value, model.generator.logits)
        assert measure("eq-sequences-score", own, minus_l(w))


@pytest.mark.equation("eq-sequences-best-baseline", "eq-sequences-variance")
def test_the_variance_is_a_parabola_in_the_baseline(measure):
    for w in WORLDS:
        p, c, s = w.p_g(), cost(w), scores(w)

        def variance(b, p=p, c=c, s=s):
            one = (c - b)[:, None] * s
            return (p @ (one - p @ one) ** 2).sum()

        length = (s**2).sum(1)
        best = (p * c * length).sum() / (p * length).sum()
        vertex = gradient(lambda b, v=variance: v(b), best)
        assert measure("eq-sequences-best-baseline", vertex, 0.0)
        for b in (-1.0, 0.5, 4.0):
            parabola = variance(best) + (b - best) ** 2 * (p @ length)
            assert measure("eq-sequences-variance", variance(b), parabola)
        assert gap(best, p @ c) > 1e-4


@pytest.mark.equation("eq-sequences-others")
@pytest.mark.parametrize("n", [2, 3])
def test_the_mean_of_the_other_draws_is_unbiased_and_of_all_is_not(measure, n):
    for w in WORLDS[:3]:
        p, c, s = w.p_g(), cost(w), scores(w)
        others, everyone = torch.zeros(9).double(), torch.zeros(9).double()
        for drawn in itertools.product(range(9), repeat=n):
            at = list(drawn)
            share = p[at].prod() / n
            others += share * (advantage(c[at]) @ s[at])
            left_out = torch.stack([c[at[:i] + at[i + 1 :]].mean() for i in range(n)])
            assert gap(advantage(c[at]), c[at] - left_out) < 1e-12
            everyone += share * ((c[at] - c[at].mean()) @ s[at])
        right = (p * c) @ s
        assert measure("eq-sequences-others", others, right)
        assert measure("eq-sequences-others", everyone, (n - 1) / n * right)
        assert measure("eq-sequences-others", everyone, right, 1e-4, "!=")


@pytest.mark.equation("eq-sequences-prefix")
def test_a_token_pays_for_what_comes_after_it(measure):
    for seed in SEEDS:
        g = generator_from(seed)
        theta = torch.randn(2 + 4 + 8, generator=g, dtype=torch.float64)
        c = torch.randn(8, generator=g, dtype=torch.float64)

        def factors(theta):
            """log p(x_t|x_<t) of three bits: (3, 8)"""
            one = theta[:2].log_softmax(0)[:, None, None].expand(2, 2, 2)
            two = theta[2:6].reshape(2, 2).log_softmax(1)[:, :, None].expand(2, 2, 2)
            return torch.stack([one, two, theta[6:].reshape(2, 2, 2).log_softmax(2)]).flatten(1)

        law = factors(theta).sum(0).exp()
        for place in range(3):
            s = jacobian(lambda t, i=place: factors(t)[i], theta)  # (8, 14)
            rest = 2 ** (2 - place)  # sequences that share the tokens up to this place
            total, mass = ((f * law).reshape(-1, rest).sum(1) for f in (c, torch.ones_like(c)))
            q = (total / mass).repeat_interleave(rest)
            assert measure("eq-sequences-prefix", (law * c) @ s, (law * q) @ s)
            words_before = torch.randn(2**place, generator=g, dtype=torch.float64)
            b = words_before.repeat_interleave(8 // 2**place)
            assert measure("eq-sequences-prefix", (law * b) @ s, torch.zeros(14))
            before, after = ((law @ (f[:, None] * s) ** 2).sum() for f in (c, q))
            assert after <= before + 1e-12  # and it takes noise away


@pytest.mark.equation("eq-sequences-lemma")
def test_lemma_1_for_sequences_with_and_without_unseen_ones(measure):
    for w in WORLDS:
        sparse = torch.zeros(9, dtype=torch.float64)
        sparse[[1, 5]] = torch.tensor([0.3, 0.7]).double()
        for world in (w, GANWorld.from_tables(sparse, w.p_g(), D=w.D)):
            found = 0.5 * (world.p_g() * cost(world)) @ scores(world)
            assert measure("eq-sequences-lemma", found, gradient(world.lemma1, world.theta0))
            wrong = gradient(world.kl_term, world.theta0)
            assert measure("eq-sequences-lemma", found, wrong, 1e-4, "!=")


# ---- the relaxed draw --------------------------------------------------------------------------

LINE = torch.linspace(-40, 40, 800_001, dtype=torch.float64)


def slope_of_sigmoid(s: Tensor) -> Tensor:
    return torch.sigmoid(s) * torch.sigmoid(-s)


def relaxed_moment(logit: float, tau: float, power: int) -> Tensor:
    one = slope_of_sigmoid((logit + LINE) / tau) / tau
    return torch.trapezoid(slope_of_sigmoid(LINE) * one**power, LINE)


@pytest.mark.equation("eq-sequences-relaxed")
def test_the_relaxed_step_by_hand(measure, monkeypatch):
    """Given noise: grad_x c at the one-hot draw, times the derivative of the softmax."""
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        model = models.create(
            "sequence-gan", shape=(1,), vocabulary=3, hidden=2, estimator="gumbel-softmax",
            temperature=0.7,
        ).double()  # fmt: skip
        noise = torch.randn(5, 3, dtype=torch.float64)
        monkeypatch.setattr(recurrent, "gumbel_noise", lambda like, noise=noise: noise)
        writer = model.generator.writer
        loss = model.loss("generator", Batch(torch.zeros(5, 1, dtype=torch.int64)))
        (found,) = torch.autograd.grad(loss.value, writer.head.bias)

        state = torch.gru_cell(
            torch.zeros(1, 3).double(), torch.zeros(1, 2).double(),
            writer.cell.from_input.weight, writer.cell.from_state.weight,
            writer.cell.from_input.bias, writer.cell.from_state.bias,
        )  # fmt: skip
        logits = writer.head(state).detach()[0]
        by_hand = torch.zeros(3, dtype=torch.float64)
        for row in noise:
            x = torch.eye(3, dtype=torch.float64)[(logits + row).argmax()]
            slope = gradient(
                lambda v, d=model.discriminator: -torch.sigmoid(d(v[None, None])[0]).log(), x
            )
            soft = jacobian(lambda v, row=row: ((v + row) / 0.7).softmax(0), logits)
            by_hand += 0.5 * slope @ soft / 5
        assert measure("eq-sequences-relaxed", found, by_hand)
        assert found.abs().max() > 1e-6


@pytest.mark.equation("eq-sequences-relaxed-token")
def test_the_mean_of_the_relaxed_estimate_of_one_token(measure):
    assert measure("eq-sequences-relaxed-token", relaxed_moment(0.0, 1.0, 1), 1 / 6, 1e-9)
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    for logit, tau in ((0.0, 0.5), (1.2, 1.0), (-0.7, 2.0)):
        # By the noise itself: the slope of softmax((logits + noise) / tau) by autograd, averaged.
        at = torch.full_like(u, logit).requires_grad_()
        soft = torch.sigmoid((at + torch.log(u / (1 - u))) / tau)
        (slopes,) = torch.autograd.grad(soft.sum(), at)
        assert measure(
            "eq-sequences-relaxed-token", relaxed_moment(logit, tau, 1), slopes.mean(), 1e-6
        )


@pytest.mark.equation("eq-sequences-relaxed-noise")
def test_a_cold_relaxation_is_right_and_infinitely_noisy(measure):
    """Both limits are approached at the rate tau^2; one step of extrapolation removes it."""
    for logit in (0.0, 0.8, -1.5):
        p = 1 / (1 + math.exp(-logit))
        for power, limit in ((1, p * (1 - p)), (2, p * (1 - p) / 6)):
            warm, cold = (t ** (power - 1) * relaxed_moment(logit, t, power) for t in (0.04, 0.02))
            assert measure("eq-sequences-relaxed-noise", (4 * cold - warm) / 3, limit, 1e-6)
            assert abs(cold - limit) < 0.3 * abs(warm - limit)


@pytest.mark.equation("eq-sequences-corners")
def test_a_relaxation_reads_the_cost_at_its_corners(measure):
    """The error falls like tau: extrapolated from two temperatures."""
    costs = {"x": lambda x: torch.ones_like(x), "x^3": lambda x: 3 * x**2, "exp": torch.exp}
    ends = {"x": (1, 1), "x^3": (0, 3), "exp": (1, math.e)}
    for logit in (0.0, 0.6):
        p = 1 / (1 + math.exp(-logit))
        for name, slope in costs.items():
            found = []
            for tau in (0.02, 0.01):
                s = logit + LINE
                flip = s.abs() < 1e-9  # the node at the jump belongs to both sides
                both = (slope(torch.zeros_like(s)) + slope(torch.ones_like(s))) / 2
                one = torch.where(flip, both, slope((s > 0).double()))
                one = one * slope_of_sigmoid(s / tau) / tau
                found.append(torch.trapezoid(slope_of_sigmoid(LINE) * one, LINE))
            limit = p * (1 - p) * sum(ends[name]) / 2
            assert measure("eq-sequences-corners", 2 * found[1] - found[0], limit, 1e-3)


# ---- the VAE -----------------------------------------------------------------------------------


def error_and_rate(w: VAEWorld) -> tuple[Tensor, Tensor]:
    q, prior = w.q_z_given_x(), w.p_z_given_y[0]
    error = -(w.p_data[:, None] * q * w.p_x_given_z().T.log()).sum()
    rate = sum(w.p_data[x] * kl_p_q(q[x], prior) for x in range(len(q)))
    return error, rate


@pytest.mark.equation("eq-sequences-elbo", "eq-sequences-rate", "eq-sequences-tradeoff")
def test_error_and_rate(measure):
    for w in AUTOENCODERS:
        error, rate = error_and_rate(w)
        q, p = w.q_z_given_x(), w.p_z_given_y[0] * w.p_x_given_z().T
        inferred = w.p_data[:, None] * q
        joint_kl = kl_p_q(inferred.flatten(), p.flatten())
        assert measure("eq-sequences-elbo", error + rate, -expectation(w.p_data, w.elbo()))
        assert measure("eq-sequences-elbo", error + rate, joint_kl + entropy(w.p_data))
        split = mutual_information(inferred) + kl_p_q(inferred.sum(0), w.p_z_given_y[0])
        assert measure("eq-sequences-rate", rate, split)
        assert measure("eq-sequences-tradeoff", entropy(w.p_data), error + rate, relation="<=")


@pytest.mark.equation("eq-sequences-tradeoff", "eq-sequences-beta")
def test_every_rate_reaches_the_entropy(measure):
    for r in range(4):
        q = torch.eye(2**r).double().repeat_interleave(8 // 2**r, 0)  # (X, Z), points at the code
        p_x_given_z = q.T / q.sum(0)[:, None]
        rate = kl_p_q(q, torch.full_like(q, 2.0**-r)).mean()
        error = -(q * torch.where(q > 0, p_x_given_z.T, 1.0).log()).sum(1).mean()
        assert measure("eq-sequences-tradeoff", error + rate, math.log(8))
        for beta in (0.0, 0.5, 1.0, 3.0):
            line = math.log(8) + (beta - 1) * r * math.log(2)
            assert measure("eq-sequences-beta", error + beta * rate, line)


@pytest.mark.equation("eq-sequences-elbo")
def test_the_reconstruction_is_a_sum_over_the_chain(measure):
    model = models.create("sequence-vae", seed=1, shape=(3,), vocabulary=V, latent=2, hidden=3)
    model = model.double()
    x = all_sequences(V, 3)
    torch.manual_seed(3)
    terms = model.loss("variational", Batch(x)).terms
    torch.manual_seed(3)
    q = model.encoder(x)
    law = chain_law(model.decoder, q.sample().value[0])  # (X, X): row i is p(.|z_i)
    assert measure("eq-sequences-elbo", terms["reconstruction"], -law.diagonal().log().mean())
    normal = torch.distributions.Normal(q.mean, (0.5 * q.log_var).exp())
    kl = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
    assert measure("eq-sequences-elbo", terms["KL(q||p)"], kl.sum(1).mean())


@pytest.mark.equation("eq-sequences-collapse")
@pytest.mark.parametrize("beta", [0.1, 1.0, 4.0])
def test_a_code_without_meaning_is_a_resting_point(measure, beta):
    for w in AUTOENCODERS:
        prior, first = w.p_z_given_y[0], w.theta0[:1].softmax(-1)
        p_x_given_z = first.expand(len(prior), -1)  # does not look at z

        def objective(logits, w=w, prior=prior, p=p_x_given_z):
            q = logits.softmax(-1)
            error = -(w.p_data[:, None] * q * p.T.log()).sum()
            return error + beta * expectation(w.p_data, kl_p_q(q, prior.expand_as(q)))

        at_prior = prior.log().expand(len(w.p_data), -1)
        assert measure(
            "eq-sequences-collapse", gradient(objective, at_prior), torch.zeros_like(at_prior)
        )
        assert gradient(objective, w.eta0).abs().max() > 1e-4


# ---- wake and sleep ----------------------------------------------------------------------------


@pytest.mark.equation("eq-sequences-wake", "eq-sequences-sleep", "eq-sequences-elbo-score")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_two_phases_and_the_gradient_that_they_avoid(measure, seed):
    torch.manual_seed(seed)
    model = models.create("sequence-helmholtz", shape=(3,), vocabulary=2, latent=2, hidden=3)
    model.generative = ListedGenerative(2, 3, 3, 2, chain=True)
    model.recognition = ListedRecognition(2, 3, 2)
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.8
    model = model.double()
    x, h = all_sequences(2, 3), all_causes(2)
    p_data = random_distribution(8, generator=generator_from(seed))
    batch = Batch(x, weight=p_data)

    def p_xh() -> Tensor:
        prior = torch.distributions.Bernoulli(logits=model.generative.bias)
        return (prior.log_prob(h).sum(1).exp()[:, None] * chain_law(model.generative.writer, h)).T

    def q() -> Tensor:
        law = torch.distributions.Bernoulli(logits=model.recognition(x).logits[:, None])
        return law.log_prob(h.expand(8, -1, -1)).sum(2).exp()

    wake = model.loss("wake", batch).value
    inferred = (p_data[:, None] * q()).detach()
    joint_kl = kl_p_q(inferred.flatten(), p_xh().flatten())
    assert measure("eq-sequences-wake", wake, joint_kl + entropy(inferred.flatten()))
    assert measure(
        "eq-sequences-wake",
        derivative(wake, model.generative),
        derivative(joint_kl, model.generative),
    )

    dreams = p_xh().detach()
    sleep = model.loss("sleep", batch).value
    kl = expectation(dreams.sum(1), kl_p_q(normalise(dreams), q()))
    rest = expectation(dreams.sum(1), entropy(normalise(dreams)))
    assert measure("eq-sequences-sleep", sleep, kl + rest)
    right = derivative(kl, model.recognition)
    found = derivative(sleep, model.recognition)
    assert measure("eq-sequences-sleep", found, right)

    answers = q()
    elbo = (p_data[:, None] * answers * (dreams.log() - answers.log())).sum()
    weight = (p_data[:, None] * answers * (dreams.log() - answers.log())).detach()
    by_score = (weight * answers.log()).sum()
    elbo_slope = derivative(elbo, model.recognition)
    assert measure("eq-sequences-elbo-score", derivative(by_score, model.recognition), elbo_slope)
    assert gap(found, -elbo_slope) > 1e-4  # sleep is another direction
