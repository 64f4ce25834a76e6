"""Sections 2 and 3 of the mathematics: the game, and Lemma 1 with everything that breaks it."""

import math

import pytest
import torch

from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.domains import EncodedDomains
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.tables import (
    expectation,
    jeffreys_p_q,
    jsd,
    jsd_weighted,
    kl_p_q,
    normalise,
    random_distribution,
    table,
)
from unigen_edu.exact.tables import generator_from as seeded

PRIORS = [(0.5, 0.5), (0.3, 0.7)]
WORLDS = [pytest.param((s, p), id=f"seed{s}-p{p[0]}") for s in (0, 1, 2) for p in PRIORS]


@pytest.fixture(params=WORLDS)
def world(request):
    seed, p_y = request.param
    return GANWorld.random(seed, p_y=p_y)


@pytest.fixture(params=(0, 1, 2))
def uniform(request):
    return GANWorld.random(request.param)


def loss(world):
    """The loss of the generator step, -L_theta, as a function of theta."""
    return lambda theta: -world.generator_objective(theta)


# ---- the world itself --------------------------------------------------------------------------


def test_a_world_of_two_states_by_hand():
    world = GANWorld.from_tables(p_data=[0.5, 0.5], p_g=[0.75, 0.25], D=[0.4, 0.8])
    assert gap(world.p_0, table([0.625, 0.375])) <= 1e-10, "p_0"
    assert gap(world.q_r, table([[0.4, 0.8], [0.6, 0.2]])) <= 1e-10, "q^r"
    assert gap(world.Z, table([0.55, 0.45])) <= 1e-10, "Z"
    assert (
        gap(world.q_r_x_given_y, table([[0.25 / 0.55, 0.3 / 0.55], [0.375 / 0.45, 0.075 / 0.45]]))
        <= 1e-10
    ), "q^r(x|y)"
    assert gap(world.optimal_discriminator(), table([0.4, 2 / 3])) <= 1e-10, "D*"
    by_hand = 0.5 * (0.75 * math.log(0.4) + 0.25 * math.log(0.8))
    by_hand += 0.5 * (0.5 * math.log(0.6) + 0.5 * math.log(0.2))
    assert gap(world.generator_objective(), by_hand) <= 1e-10, "L_theta"
    by_hand = 0.5 * (0.75 * math.log(0.6) + 0.25 * math.log(0.2))
    by_hand += 0.5 * (0.5 * math.log(0.4) + 0.5 * math.log(0.8))
    assert gap(world.discriminator_objective(), by_hand) <= 1e-10, "L_phi"


def test_frozen_tables_carry_no_gradient(world):
    theta = world.theta0.clone().requires_grad_(True)
    frozen = (world.p_0, world.Z, world.q_r, world.q_r_x_given_y, world.log_evidence())
    assert not any(t.requires_grad for t in frozen)
    moving = (world.p_x(theta), world.Z_unfrozen(theta), world.kl_term(theta))
    assert all(t.requires_grad for t in moving)


def test_frozen_tables_are_distributions(world):
    assert gap(world.q_r_x_given_y.sum(-1), torch.ones(2).double()) <= 1e-10, "q^r(x|y)"
    assert gap(world.Z.sum(), 1.0) <= 1e-10, "Z"
    assert gap(world.q_r, 1 - world.q_y_given_x) <= 1e-10, "q^r(y|x)"


def test_bad_worlds_are_refused():
    good = GANWorld.random(0)
    with pytest.raises(UnigenError, match="theta0 must be a float64 table of shape"):
        GANWorld(good.p_data, good.theta0[:3], good.phi0, good.p_y)
    with pytest.raises(UnigenError, match="p_y must have shape"):
        GANWorld.random(0, p_y=table([0.2, 0.3, 0.5]))
    with pytest.raises(UnigenError, match="p_data does not sum to 1"):
        GANWorld.from_tables(p_data=[0.5, 0.4], p_g=[0.5, 0.5])


# ---- 2: the two objectives ---------------------------------------------------------------------


def test_2_1_the_objectives_against_the_classic_losses(uniform):
    assert gap(uniform.discriminator_objective(), uniform.value_function() / 2) <= 1e-10, (
        "L_phi = V/2"
    )
    data_term = expectation(uniform.p_data, uniform.log_q_r[1]) / 2
    classic = uniform.non_saturating_loss() / 2 - data_term
    assert gap(-uniform.generator_objective(), classic) <= 1e-10, (
        "-L_theta = non-saturating / 2 + constant"
    )
    ns = gradient(uniform.non_saturating_loss, uniform.theta0)
    assert gap(gradient(loss(uniform), uniform.theta0), ns / 2) <= 1e-10, "the data term is inert"


def test_2_1_general_weights(world):
    pi = world.p_y
    left = gradient(loss(world), world.theta0)
    assert gap(left, pi[0] * gradient(world.non_saturating_loss, world.theta0)) <= 1e-10, (
        "weight p(y=0)"
    )


def test_2_1_the_data_term_moves_if_both_domains_do():
    world = EncodedDomains.adaptation(0)
    assert gradient(world.data_term, world.theta0).abs().max() > 1e-3


def test_2_2_minimax_is_another_game(uniform):
    minimax = gradient(lambda t: uniform.discriminator_objective(theta=t), uniform.theta0)
    assert gap(minimax, gradient(uniform.minimax_loss, uniform.theta0) / 2) <= 1e-10, "grad L_phi"
    non_saturating = gradient(loss(uniform), uniform.theta0)
    assert gap(non_saturating, minimax) > 1e-4, "the two games"
    D = uniform.D
    both = gradient(lambda t: -expectation(uniform.p_g(t), (D * (1 - D)).log()) / 2, uniform.theta0)
    assert gap(non_saturating - minimax, both) <= 1e-10, "their difference"


def test_2_2_saturation_in_the_logit():
    a = table([-8.0, -1.0, 0.0, 2.0])
    D = a.sigmoid()
    assert gap(gradient(lambda a: (1 - a.sigmoid()).log().sum(), a), -D) <= 1e-10, "d log(1-D)"
    assert gap(gradient(lambda a: -a.sigmoid().log().sum(), a), -(1 - D)) <= 1e-10, "d -log D"
    assert D[0] < 1e-3 < 0.999 < (1 - D)[0]


def test_2_3_what_the_discriminator_learns(world):
    information = world.domain_entropy() - world.jsd_term()
    assert (
        gap(-world.discriminator_objective(), information + world.discriminator_gap()) <= 1e-10
    ), "-L_phi"
    best = world.with_optimal_discriminator()
    assert (
        gap(best.discriminator_objective(), world.jsd_term() - world.domain_entropy()) <= 1e-10
    ), "max L_phi"
    at_best = gradient(world.discriminator_objective, best.phi0)
    assert gap(at_best, torch.zeros_like(at_best)) <= 1e-10, "D* is stationary"
    other = world.phi0 + 0.3
    assert world.discriminator_objective(other) < best.discriminator_objective()
    of_the_gap = gradient(world.discriminator_gap, other)
    of_the_step = -gradient(world.discriminator_objective, other)
    assert gap(of_the_gap, of_the_step) <= 1e-10, "the step reduces a KL"


def test_2_3_the_classic_constant(uniform):
    best = uniform.with_optimal_discriminator()
    assert (
        gap(best.value_function(), 2 * jsd(uniform.p_g(), uniform.p_data) - math.log(4)) <= 1e-10
    ), "V* = 2 JSD - log 4"


def test_2_4_envelope(world):
    best = world.with_optimal_discriminator()
    frozen = gradient(lambda t: best.discriminator_objective(theta=t), world.theta0)
    assert gap(frozen, gradient(world.jsd_term, world.theta0)) <= 1e-10, "minimax at D*"

    def retrained(theta):
        return world.discriminator_objective(torch.logit(world.optimal_discriminator(theta)), theta)

    assert gap(frozen, gradient(retrained, world.theta0)) <= 1e-10, "D retrained: same"
    elsewhere = gradient(lambda t: world.discriminator_objective(theta=t), world.theta0)
    assert gap(elsewhere, gradient(world.jsd_term, world.theta0)) > 1e-4, "another D"


def test_2_4_no_envelope_for_the_non_saturating_loss(uniform):
    def retrained(theta):
        return -expectation(uniform.p_g(theta), uniform.optimal_discriminator(theta).log())

    def closed(theta):
        p_g = uniform.p_g(theta)
        m = (p_g + uniform.p_data) / 2
        return kl_p_q(p_g, uniform.p_data) - kl_p_q(p_g, m) + math.log(2)

    assert gap(retrained(uniform.theta0), closed(uniform.theta0)) <= 1e-10, "closed form"
    best = uniform.with_optimal_discriminator()
    frozen = gradient(best.non_saturating_loss, uniform.theta0)
    assert gap(frozen, gradient(retrained, uniform.theta0)) > 1e-4, "frozen D is not retrained D"


# ---- 3: Lemma 1 --------------------------------------------------------------------------------


def test_3_1_global_identity(world):
    for seed in range(3):
        theta = world.other_theta(seed)
        assert gap(loss(world)(theta), world.star(theta)) <= 1e-10, "(*)"
        assert gap(gradient(loss(world), theta), gradient(world.star, theta)) <= 1e-10, (
            "gradient of (*)"
        )
    assert gap(loss(world)(world.theta0), world.star()) <= 1e-10, "at theta0"


def test_3_1_its_steps(world):
    theta = world.other_theta()
    laws, pi = world.p_x_given_y(theta), world.p_y
    to_prior = torch.stack([kl_p_q(p, world.p_0) for p in laws])
    cross = torch.stack([-(p * q.log()).sum() for p, q in zip(laws, world.q_r, strict=True)])
    assert gap(world.kl_terms(theta), cross + to_prior + world.Z.log()) <= 1e-10, (
        "1. definition of q^r(x|y)"
    )
    average = loss(world)(theta) + pi @ to_prior + world.log_evidence()
    assert gap(world.kl_term(theta), average) <= 1e-10, "2. average over y"
    assert gap(pi @ to_prior, world.jsd_term(theta) + world.prior_shift(theta)) <= 1e-10, (
        "3. compensation"
    )


def test_3_2_lemma_1(world):
    assert (
        gap(gradient(loss(world), world.theta0), gradient(world.lemma1, world.theta0)) <= 1e-10
    ), "Lemma 1"
    assert gradient(loss(world), world.theta0).abs().max() > 1e-3
    zero = torch.zeros_like(world.theta0)
    assert gap(gradient(world.prior_shift, world.theta0), zero) <= 1e-10, (
        "KL to the prior rests at theta0"
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_3_2_the_jsd_has_the_weights_of_p_y(seed):
    world = GANWorld.random(seed, p_y=(0.3, 0.7))
    false = gradient(lambda t: world.kl_term(t) - world.jsd_unweighted(t), world.theta0)
    assert gap(gradient(loss(world), world.theta0), false) > 1e-4, "unweighted JSD"


def test_3_2_wrong_sides(world):
    left = gradient(loss(world), world.theta0)
    assert (
        gap(left, gradient(lambda t: world.kl_term_reversed(t) - world.jsd_term(t), world.theta0))
        > 1e-4
    ), "KL reversed"
    assert (
        gap(left, gradient(lambda t: world.kl_term_unreversed(t) - world.jsd_term(t), world.theta0))
        > 1e-4
    ), "q for q^r"
    assert gap(left, gradient(world.kl_term, world.theta0)) > 1e-4, "JSD left out"
    assert (
        gap(left, gradient(lambda t: world.kl_term(t) + world.jsd_term(t), world.theta0)) > 1e-4
    ), "JSD added"


def test_3_3a_away_from_theta0(world):
    theta = world.other_theta()
    left, right = gradient(loss(world), theta), gradient(world.lemma1, theta)
    assert gap(left, right) > 1e-4, "Lemma 1 elsewhere"
    assert gap(left - right, -gradient(world.prior_shift, theta)) <= 1e-10, "the gap"


def test_3_3b_the_prior_must_be_frozen(world):
    def unfrozen(theta):
        return world.kl_term_unfrozen(theta) - world.jsd_term(theta)

    theta = world.other_theta()
    identity = unfrozen(theta) - world.log_evidence_unfrozen(theta)
    assert gap(loss(world)(theta), identity) <= 1e-10, "its own identity, every theta"
    left, right = gradient(loss(world), world.theta0), gradient(unfrozen, world.theta0)
    assert gap(left, right) > 1e-4, "Lemma 1"
    assert gap(left - right, -gradient(world.log_evidence_unfrozen, world.theta0)) <= 1e-10, (
        "the gap"
    )
    grad_z0 = gradient(lambda t: world.Z_unfrozen(t)[0], world.theta0)
    factor = world.p_y[0] / world.Z[0] - world.p_y[1] / world.Z[1]
    assert gap(left - right, -grad_z0 * factor) <= 1e-10, "the gap, written out"


def test_3_3b_at_the_optimal_discriminator_it_depends_on_p_y():
    for p_y, equal in (((0.5, 0.5), True), ((0.3, 0.7), False)):
        world = GANWorld.random(0, p_y=p_y).with_optimal_discriminator()
        unfrozen = gradient(lambda t, w=world: w.kl_term_unfrozen(t) - w.jsd_term(t), world.theta0)
        apart = gap(gradient(loss(world), world.theta0), unfrozen)
        assert apart <= 1e-10 if equal else apart > 1e-4, f"p(y) = {p_y}"


def test_3_3c_the_normaliser_is_harmless(world):
    theta = world.other_theta()
    left, right = world.kl_term_unnormalised(theta), world.kl_term(theta)
    assert gap(left, right - world.log_evidence()) <= 1e-10, "off by a constant"
    assert gap(left, right) > 1e-4, "value"
    assert (
        gap(gradient(world.kl_term_unnormalised, theta), gradient(world.kl_term, theta)) <= 1e-10
    ), "gradient"


def test_3_3d_p_y_must_not_move(world):
    def moving(theta):
        shift = theta - world.theta0
        return (world.p_y.log() + torch.stack([shift[0], torch.sin(shift[1])])).softmax(-1)

    left = gradient(lambda t: -world.generator_objective(t, moving(t)), world.theta0)
    right = gradient(
        lambda t: world.kl_term(t, moving(t)) - world.jsd_term(t, moving(t)), world.theta0
    )
    assert gap(left, right) > 1e-4, "Lemma 1"
    extra = gradient(lambda t: (moving(t) * world.Z.log()).sum(), world.theta0)
    assert gap(left - right, -extra) <= 1e-10, "the gap"
    theta = world.other_theta(step=0.1)
    assert (
        gap(-world.generator_objective(theta, moving(theta)), world.star(theta, moving(theta)))
        <= 1e-10
    ), "(*) still holds"


def test_3_3f_a_certain_discriminator():
    world = GANWorld.from_tables([0.5, 0.5, 0.0], [0.2, 0.2, 0.6])
    assert gap(world.D[2], 0.0) <= 1e-10, "D* = 0 on samples only"
    assert -world.generator_objective() == math.inf


def test_3_4_optimal_discriminator(world):
    best = world.with_optimal_discriminator()
    assert gap(best.Z, world.p_y.flip(0)) <= 1e-10, "Z_y = p(1-y)"
    assert gap(best.q_r_x_given_y, world.p_x_given_y().flip(0)) <= 1e-10, (
        "the target is the other domain"
    )
    left, pi = gradient(loss(best), world.theta0), world.p_y
    right = gradient(lambda t: pi[0] * world.kl_g_data(t) - world.jsd_term(t), world.theta0)
    assert gap(left, right) <= 1e-10, "KL(p_g||p_data) - JSD"
    theta = world.other_theta()
    potential = pi[0] * world.kl_g_data(theta) - world.jsd_term(theta)
    assert gap(potential, world.kl_x_data(theta)) <= 1e-10, "is one KL, every theta"
    value = pi[0] * world.kl_g_data() + pi[1] * world.kl_data_g()
    assert gap(best.kl_term(), value) <= 1e-10, "value of the KL term"


def test_3_4_uniform(uniform):
    best = uniform.with_optimal_discriminator()
    left = gradient(loss(best), uniform.theta0)

    def arjovsky_bottou(theta):
        return uniform.kl_g_data(theta) - 2 * uniform.jsd_term(theta)

    right = gradient(arjovsky_bottou, uniform.theta0)
    assert gap(left, right / 2) <= 1e-10, "half of it"
    assert gap(left, right) > 1e-4, "not all of it"
    assert gap(gradient(best.non_saturating_loss, uniform.theta0), right) <= 1e-10, (
        "the classic statement"
    )
    assert gap(best.kl_term(), jeffreys_p_q(uniform.p_g(), uniform.p_data) / 2) <= 1e-10, (
        "value J/2"
    )
    assert gap(best.kl_term(), uniform.kl_g_data() / 2) > 1e-4, "not KL/2"
    u = uniform.p_g() / uniform.p_data
    as_f = expectation(uniform.p_data, (1 + u) * ((1 + u) / 2).log())
    assert gap(arjovsky_bottou(uniform.theta0), as_f) <= 1e-10, "an f-divergence"
    assert gap(arjovsky_bottou(uniform.theta0), 2 * uniform.kl_x_data()) <= 1e-10, "2 KL(m||p_data)"
    at_data = uniform.with_theta0(uniform.p_data.log())
    assert gap(at_data.kl_x_data(), 0.0) <= 1e-10, "zero at the data"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_3_5_many_domains_and_any_scores(seed):
    world = EncodedDomains.random(seed, n_y=4)
    theta = world.other_theta()
    assert gap(world.loss(theta), world.star(theta)) <= 1e-10, "(*)"
    assert gap(gradient(world.loss, world.theta0), gradient(world.lemma1, world.theta0)) <= 1e-10, (
        "Lemma 1"
    )
    assert gap(gradient(world.loss, theta), gradient(world.lemma1, theta)) > 1e-4, "elsewhere"
    assert gap(world.scores.sum(0), torch.ones(5).double()) > 1e-4, "scores sum to nothing"


def test_3_6_the_bound_needs_a_discriminator_that_is_right_on_average():
    kept = broken = 0
    for seed in range(60):
        world = GANWorld.random(seed, p_y=PRIORS[seed % 2])
        pi, log_q_r = world.p_y, world.q_r.log()
        excess = world.kl_term() - world.jsd_term()
        assert gap(excess, world.log_evidence() - world.generator_objective()) <= 1e-10, (
            "value at theta0"
        )
        a, b = world.p_g() @ world.D, world.p_data @ world.D
        jensen = pi[0] * (world.Z[0] / a).log() + pi[1] * (world.Z[1] / (1 - b)).log()
        assert excess >= jensen - 1e-12
        assert gap(world.Z[0], pi[0] * a + pi[1] * b) <= 1e-10, "Z_0"
        if b >= a:
            assert excess >= 0
            kept += 1
        elif excess < 0:
            broken += 1
        if -world.discriminator_objective() <= world.domain_entropy():
            assert b >= a
        best = world.with_optimal_discriminator()
        assert best.jsd_term() <= best.kl_term()
        assert log_q_r.isfinite().all()
    assert kept > 10
    assert broken > 10


def test_3_6_counterexample(world):
    inverted = world.with_discriminator(1 - world.optimal_discriminator())
    assert gap(inverted.q_r_x_given_y, world.p_x_given_y()) <= 1e-10, "the target is p itself"
    assert gap(inverted.kl_term(), 0.0) <= 1e-10, "KL term"
    assert inverted.jsd_term() > 1e-3


def test_3_6_at_the_optimum(uniform):
    best = uniform.with_optimal_discriminator()
    jeffreys = jeffreys_p_q(uniform.p_g(), uniform.p_data)
    assert best.jsd_term() <= jeffreys / 4 <= jeffreys / 2
    assert gap(best.kl_term(), jeffreys / 2) <= 1e-10, "J/2"


def test_3_7_the_target_is_a_tilted_mixture(uniform):
    target = normalise(uniform.D * (uniform.p_g() + uniform.p_data))
    assert gap(uniform.q_r_x_given_y[0], target) <= 1e-10, "tilted by D"
    assert gap(target, uniform.p_0) > 1e-4, "not the mixture"
    flat = uniform.with_discriminator(torch.full((5,), 0.3).double())
    assert gap(flat.q_r_x_given_y[0], flat.p_0) <= 1e-10, "D constant: the mixture"
    kl = gradient(flat.kl_term, flat.theta0)
    assert gap(kl, gradient(flat.jsd_term, flat.theta0)) <= 1e-10, "but then the JSD cancels it"
    assert kl.abs().max() > 1e-3
    assert gap(gradient(loss(flat), flat.theta0), torch.zeros(5).double()) <= 1e-10, (
        "and nothing moves"
    )
    best = uniform.with_optimal_discriminator()
    assert gap(best.q_r_x_given_y[0], uniform.p_data) <= 1e-10, "D*: the data alone"


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_3_8_missing_modes(alpha):
    p_data = table([alpha, (1 - alpha) * 0.25, (1 - alpha) * 0.75])
    world = GANWorld.from_tables(p_data, [0.0, 0.25, 0.75])
    assert gap(world.kl_g_data(), -math.log(1 - alpha)) <= 1e-10, "KL(p_g||p_data)"
    closed = -alpha * math.log(2) + (2 - alpha) * math.log((2 - alpha) / (2 * (1 - alpha)))
    assert gap(2 * world.kl_x_data(), closed) <= 1e-10, "2 KL(m||p_data)"
    assert world.kl_data_g() == math.inf
    if alpha == 0.5:
        assert gap(world.kl_g_data(), 0.693) <= 5e-4, "half the data"
        assert gap(table(closed), 0.262) <= 5e-4, "half the data"


def test_3_8_invented_mass():
    world = GANWorld.from_tables([0.5, 0.5, 0.0], [0.4, 0.4, 0.2])
    assert world.kl_g_data() == math.inf
    assert world.kl_x_data() == math.inf
    assert world.kl_data_g().isfinite()
    assert world.jsd_term() < math.log(2)


def test_3_8_a_missed_mode_sends_no_signal(uniform):
    p_g, log_D = uniform.p_g(), uniform.D.log()
    closed = p_g * (-log_D + expectation(p_g, log_D))
    assert gap(gradient(uniform.non_saturating_loss, uniform.theta0), closed) <= 1e-10, (
        "softmax gradient"
    )
    sizes = []
    for missing in (0.0, -5.0, -20.0):
        theta = uniform.theta0.clone()
        theta[0] = missing
        sizes.append(abs(float(gradient(uniform.non_saturating_loss, theta)[0])))
    assert sizes[1] < 0.1 * sizes[0] + 0.01
    assert sizes[2] < 1e-7


def test_3_9_posterior_reading(world):
    theta = world.other_theta()
    free = world.free_energy(theta)
    right = free - world.jsd_term(theta) - world.prior_shift(theta)
    assert gap(loss(world)(theta), right) <= 1e-10, "-L_theta = F - JSD - KL"
    to_prior = expectation(
        world.p_y, torch.stack([kl_p_q(p, world.p_0) for p in world.p_x_given_y(theta)])
    )
    assert gap(free - loss(world)(theta), to_prior) <= 1e-10, (
        "the GAN step deletes the KL to the prior"
    )
    assert (
        gap(gradient(world.free_energy, world.theta0), gradient(loss(world), world.theta0)) > 1e-4
    ), "so it is not free-energy descent"


def test_3_the_jsd_is_that_of_the_tables(world):
    assert gap(world.jsd_term(), jsd_weighted(world.p_y, world.p_x_given_y())) <= 1e-10, (
        "same function"
    )
    assert gap(world.jsd_unweighted(), jsd(world.p_g(), world.p_data)) < 1e-12
    other = random_distribution(5, generator=seeded(9))
    assert gap(world.kl_term(), world.with_discriminator(other).kl_term()) > 1e-4, (
        "another D changes no JSD term"
    )
    assert gap(world.jsd_term(), world.with_discriminator(other).jsd_term()) <= 1e-10, "another D"
