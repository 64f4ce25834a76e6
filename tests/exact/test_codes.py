"""Section 4 of the mathematics: InfoGAN and everything that is one in disguise."""

import pytest
import torch
from torch.nn.functional import logsigmoid

from unigen_edu.exact.checks import agree, differ, gradient
from unigen_edu.exact.codes import AdversarialAutoencoderWorld, CodeWorld, CycleWorld
from unigen_edu.exact.domains import EncodedDomains, PredictabilityWorld
from unigen_edu.exact.tables import (
    conditional_entropy,
    entropy,
    expectation,
    generator_from,
    jsd_weighted,
    mixture,
    mutual_information,
    normalise,
    random_distribution,
    table,
)

SEEDS = (0, 1, 2)
WORLDS = [
    pytest.param((s, p), id=f"seed{s}-p{p[0]}") for s in SEEDS for p in ((0.5, 0.5), (0.3, 0.7))
]


@pytest.fixture(params=WORLDS)
def world(request):
    seed, p_y = request.param
    return CodeWorld.random(seed, p_y=p_y)


# ---- InfoGAN -----------------------------------------------------------------------------------


def test_the_loss_is_infogans(world):
    left = gradient(world.loss, world.theta0)
    right = gradient(world.infogan_loss, world.theta0)
    agree("p(y=0) of the printed loss", left, world.p_y[0] * right)


def test_4_1_form_a(world):
    theta = world.other_theta()
    agree("every theta", world.loss(theta), world.star(theta))
    pairs = world.jsd_y(theta) + world.code_information(theta)
    agree("I(x; (y, z)) by the chain rule", world.jsd_term(theta), pairs)
    left = gradient(world.loss, world.theta0)
    agree("at theta0", left, gradient(world.lemma1, world.theta0))
    two_terms = gradient(lambda t: world.kl_term(t) - world.jsd_y(t), world.theta0)
    differ("JSD of the domains alone", left, two_terms)
    extra = gradient(world.code_information, world.theta0)
    agree("off by the code's information", left - two_terms, -extra)


def test_4_1_the_information_is_that_of_the_generator(world):
    joint = world.p_xz_given_y()[0]
    agree("y = 1 has none", world.code_information(), world.p_y[0] * mutual_information(joint))


def test_4_1_two_terms_are_right_if_x_tells_the_code():
    world = CodeWorld.blocks(0)
    two_terms = gradient(lambda t: world.kl_term(t) - world.jsd_y(t), world.theta0)
    left = gradient(world.loss, world.theta0)
    agree("disjoint blocks", left, two_terms)
    assert left.abs().max() > 1e-3
    agree("H(z|x, 0)", entropy(world.p_z_given_xy(), dim=1)[0], torch.zeros(6).double())


def test_4_2_form_b(world):
    theta = world.other_theta()
    agree("every theta", world.loss(theta), world.star_b(theta))
    left = gradient(world.loss, world.theta0)
    right = gradient(lambda t: world.kl_term_b(t) - world.jsd_y(t), world.theta0)
    agree("exactly -JSD", left, right)
    away = gradient(lambda t: world.kl_term_b(t) - world.jsd_y(t), theta)
    differ("at theta0 only", gradient(world.loss, theta), away)
    zero = torch.zeros_like(world.theta0)
    agree("stationary", gradient(world.code_posterior_shift, world.theta0), zero)


def test_4_3_form_c(world):
    theta = world.other_theta()
    agree("every theta", world.loss(theta), world.star_c(theta))
    agree("a distribution", world.target_c.sum((1, 2)), torch.ones(2).double())


def test_4_3_with_strength_one_the_evidence_is_the_gans():
    world = CodeWorld.random(0, strength=1.0)
    z_y = (world.q_r * world.p_0).sum(-1)
    agree("Z_y", world.log_evidence_c, expectation(world.p_y, z_y.log()))
    other = CodeWorld.random(0, strength=0.5)
    differ("other strengths", other.log_evidence_c, expectation(other.p_y, z_y.log()))


def test_4_4_product_reading(world):
    theta = world.other_theta()
    left = gradient(world.product_loss, world.theta0)
    right = gradient(lambda t: world.product_kl(t) - world.jsd_y(t), world.theta0)
    agree("two terms are exact", left, right)
    differ("but it is another loss", left, gradient(world.loss, world.theta0))
    away = gradient(lambda t: world.product_kl(t) - world.jsd_y(t), theta)
    differ("and at theta0 only", gradient(world.product_loss, theta), away)


def test_4_4_the_recognisers_step_is_a_sleep_step(world):
    q = world.recogniser
    objective = world.recogniser_objective(q)
    agree("KL and entropy", objective, -world.recogniser_gap(q) - world.code_entropy_given_x())
    information = world.code_information()
    bound = world.code_entropy() + objective
    assert bound < information
    best = world.code_entropy() + world.recogniser_objective(world.p_z_given_xy())
    agree("I(x; z|y) at the posterior", best, information)


# ---- AAE and CycleGAN --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_aae_is_infogan_with_x_and_z_exchanged(seed):
    world = AdversarialAutoencoderWorld.random(seed)
    code = world.as_code_world()
    left = gradient(world.loss, world.theta0)
    agree("half of recon + adv", left / 2, gradient(code.lemma1, world.theta0))
    extra = gradient(lambda t: mutual_information(world.joint(t)) / 2, world.theta0)
    two_terms = gradient(lambda t: code.kl_term(t) - code.jsd_y(t), world.theta0)
    agree("I(x; z) of the encoder, half", left / 2 - two_terms, -extra)
    differ("JSD of the codes alone", left / 2, two_terms)
    joint = gradient(lambda t: code.kl_term_c(t) - code.jsd_y(t), world.theta0)
    differ("Form C needs it too", left / 2, joint)
    agree("Form C", left / 2, joint - extra)


def test_4_5_aae_the_domains_compare_codes():
    world = AdversarialAutoencoderWorld.random(0)
    code = world.as_code_world()
    aggregated = world.joint().sum(0)
    agree("y = 0: the aggregated posterior", code.p_x_given_y()[0], aggregated)
    agree("y = 1: the prior", code.p_x_given_y()[1], world.p_z)
    adversarial = -expectation(aggregated, logsigmoid(world.phi0))
    reconstruction = -expectation(world.joint(), world.decoder.log().T)
    agree("the two losses", world.loss(), reconstruction + adversarial)


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_cyclegan_is_two_infogans_and_recogniser_terms(seed):
    world = CycleWorld.random(seed)
    a, b = world.half_a(), world.half_b()
    for name, full, half, recognise, at in (
        ("G", lambda g: world.loss(g=g), a, lambda g: world.cycle_f(g=g), world.g0),
        ("F", lambda f: world.loss(f=f), b, lambda f: world.cycle_g(f=f), world.f0),
    ):
        left, generate = gradient(full, at), 2 * gradient(half.lemma1, at)
        agree(f"gradient of {name}", left, generate + gradient(recognise, at))
        differ(f"the generator half alone, {name}", left, generate)


def test_4_5_cyclegan_a_map_as_recogniser_reduces_a_posterior_kl():
    world = CycleWorld.random(0)
    joint = world.to_b()  # p_A(x) F(z|x), recognised by G(x|z)
    posterior = normalise(joint, dim=0).T  # p(x|z)

    def kl(g):
        q = g.softmax(-1)
        return world.strength * expectation(joint.T, posterior.log() - q.log())

    agree(
        "G as recogniser", gradient(lambda g: world.cycle_f(g=g), world.g0), gradient(kl, world.g0)
    )


# ---- domain adaptation -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_adaptation_is_lemma_1_with_two_moving_domains(seed):
    world = EncodedDomains.adaptation(seed)
    left = gradient(world.loss, world.theta0)
    agree("Lemma 1", left, gradient(world.lemma1, world.theta0))
    without = gradient(lambda t: world.loss(t) - world.data_term(t), world.theta0)
    differ("the source term is not inert", left, without)


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_gradient_reversal_has_the_signs_reversed(seed):
    world = EncodedDomains.adaptation(seed)
    left = gradient(world.reversal_objective, world.theta0)
    agree("JSD - E KL", left, gradient(world.reversal_potential, world.theta0))
    differ("not Lemma 1", left, gradient(world.lemma1, world.theta0))
    best = world.with_optimal_discriminator()
    left = gradient(best.reversal_objective, world.theta0)
    agree("at D* the JSD", left, gradient(world.jsd_term, world.theta0))


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_adaptation_with_labels(seed):
    world, g = EncodedDomains.adaptation(seed), generator_from(50 + seed)
    p_label = random_distribution(3, generator=g)
    p_w_given_label = random_distribution(3, 4, generator=g)
    classifier = random_distribution(5, 3, generator=g).T
    source = mixture(p_label, p_w_given_label)
    inputs = torch.stack([world.p_w_given_y[0], source])
    world = EncodedDomains(inputs, world.theta0, world.a, world.p_y)
    labelled = world.with_labels(p_label, p_w_given_label, classifier)

    def task(theta):
        features = p_w_given_label @ theta.softmax(-1)
        return -expectation(p_label[:, None] * features, classifier.log())

    def labels(theta):
        return jsd_weighted(p_label, p_w_given_label @ theta.softmax(-1))

    theta = world.other_theta()
    agree("native loss", labelled.loss(theta), world.loss(theta) + world.p_y[1] * task(theta))
    left = gradient(labelled.loss, world.theta0)
    agree("Form A", left, gradient(labelled.lemma1, world.theta0))
    extra = world.p_y[1] * gradient(labels, world.theta0)
    without = gradient(lambda t: labelled.kl_term(t) - world.jsd_term(t), world.theta0)
    agree("extra: the information of the labels", left - without, -extra)
    differ("it is not zero", left, without)


# ---- predictability minimisation ---------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_predictability_minimisation_moves_p_y(seed):
    world = PredictabilityWorld.random(seed)
    agree("I(c_i; c_-i)", world.jsd_term(), mutual_information(world.joint()))
    left, right = gradient(world.loss, world.theta0), gradient(world.lemma1, world.theta0)
    differ("Lemma 1", left, right)
    agree("the term of p(y)", left - right, -gradient(world.log_evidence, world.theta0))
    written = gradient(lambda t: (world.p_domain(t) * world.Z.log()).sum(), world.theta0)
    agree("written out", left - right, -written)
    theta = world.theta0 + 0.3
    theta[0, 0] += 1.0
    agree("(*) holds", world.loss(theta), world.star(theta))


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_predictability_minimisation_scores(seed):
    world = PredictabilityWorld.random(seed)
    best = torch.logit(world.conditional_mean())
    agree("best log score", world.log_score(phi=best), world.best_log_score())
    agree("H(c_i|c_-i)", world.best_log_score(), -conditional_entropy(world.joint()))
    assert world.log_score() < world.best_log_score()
    both = gradient(world.best_log_score, world.theta0)
    differ("it also moves H(c_i)", both, gradient(world.jsd_term, world.theta0))
    mean = world.conditional_mean()
    agree("least squared error", world.squared_error(mean), world.conditional_variance())
    p1, p_x = world.p_domain()[1], world.joint().sum(0)
    spread = expectation(p_x, mean.square()) - p1**2
    agree("Var c - Var E[c|rest]", world.conditional_variance(), p1 * (1 - p1) - spread)
    assert world.squared_error(mean + 0.1) > world.conditional_variance()
    differ("another scoring rule", world.conditional_variance(), -world.best_log_score())


def test_predictability_world_by_hand():
    world = PredictabilityWorld(table([[0.1, 0.2], [0.3, 0.4]]).log(), table([0.0, 0.0]))
    agree("p(c_i)", world.p_domain(), table([0.3, 0.7]))
    agree("E[c_i|c_-i]", world.conditional_mean(), table([0.75, 2 / 3]))
