"""Section 4 of the mathematics: InfoGAN and everything that is one in disguise."""

import pytest
import torch
from torch.nn.functional import logsigmoid

from unigen_edu.exact.checks import gap, gradient
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
    assert gap(left, world.p_y[0] * right) <= 1e-10, "p(y=0) of the printed loss"


def test_4_1_form_a(world):
    theta = world.other_theta()
    assert gap(world.loss(theta), world.star(theta)) <= 1e-10, "every theta"
    pairs = world.jsd_y(theta) + world.code_information(theta)
    assert gap(world.jsd_term(theta), pairs) <= 1e-10, "I(x; (y, z)) by the chain rule"
    left = gradient(world.loss, world.theta0)
    assert gap(left, gradient(world.lemma1, world.theta0)) <= 1e-10, "at theta0"
    two_terms = gradient(lambda t: world.kl_term(t) - world.jsd_y(t), world.theta0)
    assert gap(left, two_terms) > 1e-4, "JSD of the domains alone"
    extra = gradient(world.code_information, world.theta0)
    assert gap(left - two_terms, -extra) <= 1e-10, "off by the code's information"


def test_4_1_the_information_is_that_of_the_generator(world):
    joint = world.p_xz_given_y()[0]
    assert gap(world.code_information(), world.p_y[0] * mutual_information(joint)) <= 1e-10, (
        "y = 1 has none"
    )


def test_4_1_two_terms_are_right_if_x_tells_the_code():
    world = CodeWorld.blocks(0)
    two_terms = gradient(lambda t: world.kl_term(t) - world.jsd_y(t), world.theta0)
    left = gradient(world.loss, world.theta0)
    assert gap(left, two_terms) <= 1e-10, "disjoint blocks"
    assert left.abs().max() > 1e-3
    assert gap(entropy(world.p_z_given_xy(), dim=1)[0], torch.zeros(6).double()) <= 1e-10, (
        "H(z|x, 0)"
    )


def test_4_2_form_b(world):
    theta = world.other_theta()
    assert gap(world.loss(theta), world.star_b(theta)) <= 1e-10, "every theta"
    left = gradient(world.loss, world.theta0)
    right = gradient(lambda t: world.kl_term_b(t) - world.jsd_y(t), world.theta0)
    assert gap(left, right) <= 1e-10, "exactly -JSD"
    away = gradient(lambda t: world.kl_term_b(t) - world.jsd_y(t), theta)
    assert gap(gradient(world.loss, theta), away) > 1e-4, "at theta0 only"
    zero = torch.zeros_like(world.theta0)
    assert gap(gradient(world.code_posterior_shift, world.theta0), zero) <= 1e-10, "stationary"


def test_4_3_form_c(world):
    theta = world.other_theta()
    assert gap(world.loss(theta), world.star_c(theta)) <= 1e-10, "every theta"
    assert gap(world.target_c.sum((1, 2)), torch.ones(2).double()) <= 1e-10, "a distribution"


def test_4_3_with_strength_one_the_evidence_is_the_gans():
    world = CodeWorld.random(0, strength=1.0)
    z_y = (world.q_r * world.p_0).sum(-1)
    assert gap(world.log_evidence_c, expectation(world.p_y, z_y.log())) <= 1e-10, "Z_y"
    other = CodeWorld.random(0, strength=0.5)
    assert gap(other.log_evidence_c, expectation(other.p_y, z_y.log())) > 1e-4, "other strengths"


def test_4_4_product_reading(world):
    theta = world.other_theta()
    left = gradient(world.product_loss, world.theta0)
    right = gradient(lambda t: world.product_kl(t) - world.jsd_y(t), world.theta0)
    assert gap(left, right) <= 1e-10, "two terms are exact"
    assert gap(left, gradient(world.loss, world.theta0)) > 1e-4, "but it is another loss"
    away = gradient(lambda t: world.product_kl(t) - world.jsd_y(t), theta)
    assert gap(gradient(world.product_loss, theta), away) > 1e-4, "and at theta0 only"


def test_4_4_the_recognisers_step_is_a_sleep_step(world):
    q = world.recogniser
    objective = world.recogniser_objective(q)
    assert gap(objective, -world.recogniser_gap(q) - world.code_entropy_given_x()) <= 1e-10, (
        "KL and entropy"
    )
    information = world.code_information()
    bound = world.code_entropy() + objective
    assert bound < information
    best = world.code_entropy() + world.recogniser_objective(world.p_z_given_xy())
    assert gap(best, information) <= 1e-10, "I(x; z|y) at the posterior"


# ---- AAE and CycleGAN --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_aae_is_infogan_with_x_and_z_exchanged(seed):
    world = AdversarialAutoencoderWorld.random(seed)
    code = world.as_code_world()
    left = gradient(world.loss, world.theta0)
    assert gap(left / 2, gradient(code.lemma1, world.theta0)) <= 1e-10, "half of recon + adv"
    extra = gradient(lambda t: mutual_information(world.joint(t)) / 2, world.theta0)
    two_terms = gradient(lambda t: code.kl_term(t) - code.jsd_y(t), world.theta0)
    assert gap(left / 2 - two_terms, -extra) <= 1e-10, "I(x; z) of the encoder, half"
    assert gap(left / 2, two_terms) > 1e-4, "JSD of the codes alone"
    joint = gradient(lambda t: code.kl_term_c(t) - code.jsd_y(t), world.theta0)
    assert gap(left / 2, joint) > 1e-4, "Form C needs it too"
    assert gap(left / 2, joint - extra) <= 1e-10, "Form C"


def test_4_5_aae_the_domains_compare_codes():
    world = AdversarialAutoencoderWorld.random(0)
    code = world.as_code_world()
    aggregated = world.joint().sum(0)
    assert gap(code.p_x_given_y()[0], aggregated) <= 1e-10, "y = 0: the aggregated posterior"
    assert gap(code.p_x_given_y()[1], world.p_z) <= 1e-10, "y = 1: the prior"
    adversarial = -expectation(aggregated, logsigmoid(world.phi0))
    reconstruction = -expectation(world.joint(), world.decoder.log().T)
    assert gap(world.loss(), reconstruction + adversarial) <= 1e-10, "the two losses"


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_cyclegan_is_two_infogans_and_recogniser_terms(seed):
    world = CycleWorld.random(seed)
    a, b = world.half_a(), world.half_b()
    for name, full, half, recognise, at in (
        ("G", lambda g: world.loss(g=g), a, lambda g: world.cycle_f(g=g), world.g0),
        ("F", lambda f: world.loss(f=f), b, lambda f: world.cycle_g(f=f), world.f0),
    ):
        left, generate = gradient(full, at), 2 * gradient(half.lemma1, at)
        assert gap(left, generate + gradient(recognise, at)) <= 1e-10, f"gradient of {name}"
        assert gap(left, generate) > 1e-4, f"the generator half alone, {name}"


def test_4_5_cyclegan_a_map_as_recogniser_reduces_a_posterior_kl():
    world = CycleWorld.random(0)
    joint = world.to_b()  # p_A(x) F(z|x), recognised by G(x|z)
    posterior = normalise(joint, dim=0).T  # p(x|z)

    def kl(g):
        q = g.softmax(-1)
        return world.strength * expectation(joint.T, posterior.log() - q.log())

    assert gap(gradient(lambda g: world.cycle_f(g=g), world.g0), gradient(kl, world.g0)) <= 1e-10, (
        "G as recogniser"
    )


# ---- domain adaptation -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_adaptation_is_lemma_1_with_two_moving_domains(seed):
    world = EncodedDomains.adaptation(seed)
    left = gradient(world.loss, world.theta0)
    assert gap(left, gradient(world.lemma1, world.theta0)) <= 1e-10, "Lemma 1"
    without = gradient(lambda t: world.loss(t) - world.data_term(t), world.theta0)
    assert gap(left, without) > 1e-4, "the source term is not inert"


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_gradient_reversal_has_the_signs_reversed(seed):
    world = EncodedDomains.adaptation(seed)
    left = gradient(world.reversal_objective, world.theta0)
    assert gap(left, gradient(world.reversal_potential, world.theta0)) <= 1e-10, "JSD - E KL"
    assert gap(left, gradient(world.lemma1, world.theta0)) > 1e-4, "not Lemma 1"
    best = world.with_optimal_discriminator()
    left = gradient(best.reversal_objective, world.theta0)
    assert gap(left, gradient(world.jsd_term, world.theta0)) <= 1e-10, "at D* the JSD"


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
    assert gap(labelled.loss(theta), world.loss(theta) + world.p_y[1] * task(theta)) <= 1e-10, (
        "native loss"
    )
    left = gradient(labelled.loss, world.theta0)
    assert gap(left, gradient(labelled.lemma1, world.theta0)) <= 1e-10, "Form A"
    extra = world.p_y[1] * gradient(labels, world.theta0)
    without = gradient(lambda t: labelled.kl_term(t) - world.jsd_term(t), world.theta0)
    assert gap(left - without, -extra) <= 1e-10, "extra: the information of the labels"
    assert gap(left, without) > 1e-4, "it is not zero"


# ---- predictability minimisation ---------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_predictability_minimisation_moves_p_y(seed):
    world = PredictabilityWorld.random(seed)
    assert gap(world.jsd_term(), mutual_information(world.joint())) <= 1e-10, "I(c_i; c_-i)"
    left, right = gradient(world.loss, world.theta0), gradient(world.lemma1, world.theta0)
    assert gap(left, right) > 1e-4, "Lemma 1"
    assert gap(left - right, -gradient(world.log_evidence, world.theta0)) <= 1e-10, (
        "the term of p(y)"
    )
    written = gradient(lambda t: (world.p_domain(t) * world.Z.log()).sum(), world.theta0)
    assert gap(left - right, -written) <= 1e-10, "written out"
    theta = world.theta0 + 0.3
    theta[0, 0] += 1.0
    assert gap(world.loss(theta), world.star(theta)) <= 1e-10, "(*) holds"


@pytest.mark.parametrize("seed", SEEDS)
def test_4_5_predictability_minimisation_scores(seed):
    world = PredictabilityWorld.random(seed)
    best = torch.logit(world.conditional_mean())
    assert gap(world.log_score(phi=best), world.best_log_score()) <= 1e-10, "best log score"
    assert gap(world.best_log_score(), -conditional_entropy(world.joint())) <= 1e-10, "H(c_i|c_-i)"
    assert world.log_score() < world.best_log_score()
    both = gradient(world.best_log_score, world.theta0)
    assert gap(both, gradient(world.jsd_term, world.theta0)) > 1e-4, "it also moves H(c_i)"
    mean = world.conditional_mean()
    assert gap(world.squared_error(mean), world.conditional_variance()) <= 1e-10, (
        "least squared error"
    )
    p1, p_x = world.p_domain()[1], world.joint().sum(0)
    spread = expectation(p_x, mean.square()) - p1**2
    assert gap(world.conditional_variance(), p1 * (1 - p1) - spread) <= 1e-10, (
        "Var c - Var E[c|rest]"
    )
    assert world.squared_error(mean + 0.1) > world.conditional_variance()
    assert gap(world.conditional_variance(), -world.best_log_score()) > 1e-4, "another scoring rule"


def test_predictability_world_by_hand():
    world = PredictabilityWorld(table([[0.1, 0.2], [0.3, 0.4]]).log(), table([0.0, 0.0]))
    assert gap(world.p_domain(), table([0.3, 0.7])) <= 1e-10, "p(c_i)"
    assert gap(world.conditional_mean(), table([0.75, 2 / 3])) <= 1e-10, "E[c_i|c_-i]"
