"""Section 7 of the mathematics: importance weights, their bounds, and what Eq. (7) is."""

import math
from itertools import product

import pytest
import torch
from torch.nn.functional import logsigmoid

from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import agree, differ, gradient, jacobian
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.importance import (
    ConditionalImportanceWorld,
    FiniteNoiseWorld,
    ImportanceWorld,
    effective_sample_size,
    group_law,
    groups,
    iwae_bound,
    iwae_weights,
    log_mean_bound,
    log_mean_bound_by_counts,
    logit_curl,
    logit_field,
    multisets,
    normalised_weights,
    self_normalised_mean,
    self_normalised_mean_by_counts,
)
from unigen_edu.exact.tables import expectation, generator_from, table
from unigen_edu.exact.vae import VAEWorld

SEEDS = (0, 1, 2)
SEEDS_AND_PRIORS = [
    pytest.param((s, p), id=f"seed{s}-p{p[0]}") for s in SEEDS for p in ((0.5, 0.5), (0.3, 0.7))
]


@pytest.fixture(params=SEEDS_AND_PRIORS)
def world(request):
    seed, p_y = request.param
    return ImportanceWorld.random(seed, p_y=p_y)


@pytest.fixture(params=SEEDS)
def noise(request):
    return FiniteNoiseWorld.random(request.param)


@pytest.fixture(params=SEEDS)
def vae(request):
    return VAEWorld.random(request.param, n_x=3, n_z=3)


def optimal(world):
    return ImportanceWorld(world.gan.with_optimal_discriminator())


# ---- enumeration -------------------------------------------------------------------------------


def test_groups_are_all_tuples():
    assert [tuple(g) for g in groups(3, 2).tolist()] == list(product(range(3), repeat=2))
    p = table([0.2, 0.3, 0.5])
    agree(
        "law",
        group_law(p, 3),
        table([p[a] * p[b] * p[c] for a, b, c in product(range(3), repeat=3)]),
    )


def test_counts_are_groups_without_order():
    counts, log_coefficient = multisets(3, 4)
    agree("every group once", log_coefficient.exp().sum(), 3.0**4)
    assert (counts.sum(-1) == 4).all()
    assert (counts >= 0).all()
    p, w = table([0.2, 0.3, 0.5]), table([1.0, 4.0, 0.5])
    f = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    for k in (1, 2, 5):
        agree("bound", log_mean_bound(p, w, k), log_mean_bound_by_counts(p, w, k))
        by_counts = self_normalised_mean_by_counts(p, w, f, k)
        agree("mean", self_normalised_mean(p, w, f, k), by_counts)


def test_the_two_quantities_by_hand():
    p, w, f = table([0.5, 0.5]), table([1.0, 3.0]), table([0.0, 1.0])
    agree("L_2", log_mean_bound(p, w, 2), (0 + 2 * math.log(2) + math.log(3)) / 4)
    agree("mean", self_normalised_mean(p, w, f, 2), (0 + 2 * 0.75 + 1) / 4)
    agree("shares", normalised_weights(w), table([0.25, 0.75]))
    agree("effective draws", effective_sample_size(w), 1 / (0.0625 + 0.5625))


def test_enumeration_refuses_what_it_cannot_list():
    with pytest.raises(UnigenError, match="too many to list"):
        groups(10, 10)
    with pytest.raises(UnigenError, match="k >= 1"):
        groups(3, 0)


# ---- 7.1, 7.2: the importance weighted autoencoder ---------------------------------------------


def test_7_01_the_bound_grows_to_the_evidence(vae):
    evidence = vae.p_g().log()
    bounds = torch.stack([iwae_bound(vae, k) for k in (1, 2, 3, 4, 5)])
    agree("L_1 is the ELBO", bounds[0], vae.elbo())
    assert (bounds.diff(dim=0) > 0).all()
    assert (bounds < evidence).all()
    agree(
        "the mean weight is p(x)", (vae.q_z_given_x() * iwae_weights(vae)).sum(-1).log(), evidence
    )


def test_7_01_subsets_average_to_the_whole():
    """Step 1 of the proof: a mean of k + 1 weights is a mean over subsets of k."""
    w = table([1.0, 5.0, 0.2, 3.0])
    subsets = torch.stack([w[[j for j in range(4) if j != i]].mean() for i in range(4)])
    agree("mean of means", subsets.mean(), w.mean())
    assert subsets.log().mean() < w.mean().log()


def test_7_01_the_rate(vae):
    q, w = vae.q_z_given_x()[0], iwae_weights(vae)[0]
    mean = q @ w
    coefficient = (q @ w.square() - mean**2) / (2 * mean**2)
    gaps = [k * (mean.log() - log_mean_bound_by_counts(q, w, k)) for k in (50, 100)]
    extrapolated = 2 * gaps[1] - gaps[0]
    agree("k (log p - L_k)", extrapolated, coefficient, tolerance=float(0.01 * coefficient))


def test_7_01_edges(vae):
    tight = iwae_bound(vae, 1, eta=vae.p_z_given_x().log())
    agree("constant weights", tight, vae.p_g().log())
    missing = vae.eta0.clone()
    missing[:, 0] = -math.inf
    q, joint = vae.q_z_given_x(missing)[0, 1:], vae.p_xz()[0, 1:]
    covered = joint.sum().log()
    assert log_mean_bound_by_counts(q, joint / q, 100) < covered < vae.p_g()[0].log()
    weights = iwae_weights(vae)[0]
    assert weights.max().log() > vae.p_g()[0].log()  # a single sample may exceed the evidence


@pytest.mark.parametrize("k", [1, 2, 3])
def test_7_02_gradients_of_a_discrete_latent(vae, k):
    """theta: E sum w~ grad log w. eta, which moves the law of z: the same plus a score term."""
    x, index = 0, groups(3, k)

    def log_w(theta, eta):
        return iwae_weights(vae, theta, eta)[x].log()

    q = vae.q_z_given_x()[x]
    w = log_w(vae.theta0, vae.eta0).exp()
    by_theta = jacobian(lambda t: log_w(t, vae.eta0), vae.theta0)
    right = self_normalised_mean(q, w, by_theta, k)
    agree("theta", gradient(lambda t: iwae_bound(vae, k, t)[x], vae.theta0), right)
    by_eta = self_normalised_mean(q, w, jacobian(lambda e: log_w(vae.theta0, e), vae.eta0), k)
    scores = jacobian(lambda e: vae.q_z_given_x(e)[x].log(), vae.eta0)[index].sum(1)
    log_mean = w[index].mean(-1).log()
    score = torch.einsum("g,g,gab->ab", group_law(q, k), log_mean, scores)
    left = gradient(lambda e: iwae_bound(vae, k, eta=e)[x], vae.eta0)
    agree("eta", left, by_eta + score)
    differ("eta without the score", left, by_eta)


# ---- 7.4: weights and bound of a GAN -----------------------------------------------------------


@pytest.mark.parametrize("y", [0, 1])
def test_7_04_the_bound(world, y):
    theta = world.gan.other_theta()
    bounds = torch.stack([world.bound(k, theta, y) for k in (1, 2, 3, 4)])
    assert (bounds.diff() > 0).all()
    assert bounds[-1] < world.log_evidence(y)
    mean = expectation(world.proposal(theta, y), world.weights(theta, y))
    agree("E w = q^r(y)", mean.log(), world.log_evidence(y))
    kl = world.gan.kl_terms(theta)[y]
    agree("L_1 = log q^r(y) - KL", bounds[0], world.log_evidence(y) - kl)


def test_7_04_weights(world):
    for y in (0, 1):
        agree("Bayes", world.weights(y=y), world.weights_by_bayes(y))
        plug_in = world.gan.p_y[y] * world.plug_in_weights(y)
        differ("the printed weights, any D", world.weights(y=y), plug_in)
        best = optimal(world)
        plug_in = best.gan.p_y[y] * best.plug_in_weights(y)
        agree("the printed weights, D*", best.weights(y=y), plug_in)
        differ("they lack p(y)", best.weights(y=y), best.plug_in_weights(y))
    gan = optimal(world).gan
    ratio = gan.p_y[1] * gan.p_data / gan.p_g()
    agree("y = 0, D*: p(y=1) p_data/p_g", optimal(world).weights(), ratio)
    agree("e^a", world.plug_in_weights(), world.gan.phi0.exp())
    shares = normalised_weights(world.plug_in_weights()[groups(4, 2)])
    agree("the shares are a softmax", shares, world.gan.phi0[groups(4, 2)].softmax(-1))


def test_7_04_the_evidence_has_no_theta(world):
    theta = world.gan.other_theta()
    agree("no theta", world.log_evidence(), ImportanceWorld(world.gan).log_evidence())
    zero = torch.zeros(4).double()
    agree("data half", gradient(lambda t: world.bound(2, t, y=1), theta), zero)


# ---- 7.5: what Eq. (7) keeps -------------------------------------------------------------------


def test_7_05_one_draw_is_lemma_1(world):
    gan = world.gan

    def averaged(theta):
        return gan.p_y[0] * world.bound(1, theta, 0) + gan.p_y[1] * world.bound(1, theta, 1)

    exact = gradient(averaged, gan.theta0)
    step = gradient(gan.generator_objective, gan.theta0)
    agree("GAN step - grad JSD", exact, step - gradient(gan.jsd_term, gan.theta0))
    differ("not the GAN step", exact, step)
    kept = gradient(lambda t: gan.p_y[0] * world.gan_step(t), gan.theta0)
    agree("k = 1 keeps the GAN step", kept, step)
    for y in (0, 1):
        to_prior = gan.p_x_given_y()[y] @ (gan.p_x_given_y()[y] / gan.p_0).log()
        agree("what it drops", world.to_prior(y=y), to_prior)


def test_7_05_the_exact_gradient_vanishes_with_k():
    world = ImportanceWorld.random(0, n_x=3)
    theta0 = world.gan.theta0
    limit = -0.5 * gradient(world.chi2_term, theta0)
    scaled = [k * gradient(lambda t, k=k: world.bound_by_counts(k, t), theta0) for k in (60, 120)]
    errors = [float((s - limit).abs().max()) for s in scaled]
    assert errors[1] < 0.6 * errors[0]
    agree(
        "extrapolated", 2 * scaled[1] - scaled[0], limit, tolerance=0.01 * float(limit.abs().max())
    )
    agree(
        "by autograd",
        world.bound_gradient(3),
        gradient(lambda t: world.bound_by_counts(3, t), theta0),
    )


# ---- Eq. (7) with real x -----------------------------------------------------------------------


def test_7_05_one_draw_is_the_gan_gradient(noise):
    agree("Eq. (7), k = 1", noise.eq7(1), noise.gan_gradient())
    by_autograd = gradient(lambda t: expectation(noise.p_z, logsigmoid(noise.a(t))), noise.theta0)
    agree("E grad log D", noise.gan_gradient(), by_autograd)
    differ("k = 2 is not", noise.eq7(2), noise.gan_gradient())


@pytest.mark.parametrize("k", [1, 2, 3])
def test_7_07_the_surrogate_and_its_wrong_versions(noise, k):
    index, law = groups(4, k), group_law(noise.p_z, k)
    field = noise.eq7(k)
    agree("surrogate", gradient(lambda t: noise.surrogate(k, t), noise.theta0), -field)

    def wrong(shares):
        def objective(theta):
            return (law * (shares * logsigmoid(noise.a(theta)[index])).sum(-1)).sum()

        return gradient(objective, noise.theta0)

    a = noise.a()[index]
    agree("the shares, again", wrong(a.softmax(-1)), field)
    if k > 1:
        undetached = gradient(lambda t: noise.surrogate(k, t, detach=False), noise.theta0)
        differ("weights not detached", undetached, -field)
        differ("softmax of D", wrong(a.sigmoid().softmax(-1)), field)
        differ("mean over the group as well", wrong(a.softmax(-1) / k), field)


def test_7_07_one_group_is_not_the_whole_batch(noise):
    differ("k = 2 and 2 groups of 2 as one", noise.eq7(2), noise.eq7(4))


# ---- 7.6: not a gradient -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_7_06_the_field_has_curl(seed):
    a = torch.randn(4, generator=generator_from(seed), dtype=torch.float64)
    jac = jacobian(logit_field, a)
    agree("antisymmetric part", jac - jac.T, logit_curl(a))
    assert logit_curl(a).abs().max() > 1e-4
    for name, f in (
        ("(A)", lambda a: a.logsumexp(-1)),
        ("(B)", lambda a: a.sigmoid().sum(-1).log()),
    ):
        hessian = torch.autograd.functional.hessian(f, a)
        agree(f"{name} has none", hessian, hessian.T)


def test_7_06_also_in_theta(noise):
    agree("k = 1", noise.curl(1), torch.zeros(3, 3).double(), tolerance=1e-7)
    differ("k = 2", noise.curl(2), torch.zeros(3, 3).double())


@pytest.mark.parametrize("k", [1, 2, 3])
def test_7_06_the_two_neighbours(noise, k):
    at = noise.theta0
    agree("(A)", gradient(lambda t: noise.neighbour_a(k, t), at), noise.gradient_a(k))
    agree("(B)", gradient(lambda t: noise.neighbour_b(k, t), at), noise.gradient_b(k))
    differ("Eq. (7) is not (A)", noise.eq7(k), noise.gradient_a(k))
    lacking = self_normalised_mean(
        noise.p_z, noise.a().exp(), noise.grad_a() - noise.grad_log_D(), k
    )
    agree("it lacks -grad log q(0|x)", noise.gradient_a(k) - noise.eq7(k), lacking)
    minus_log_q0 = jacobian(lambda t: -logsigmoid(-noise.a(t)), at)
    agree("which is that", noise.grad_a() - noise.grad_log_D(), minus_log_q0)
    if k > 1:
        differ("Eq. (7) is not (B)", noise.eq7(k), noise.gradient_b(k))


def test_7_06_the_ceiling_of_a(world):
    ceiling = (world.gan.p_y[0] * expectation(world.proposal(), world.plug_in_weights())).log()
    bounds = [world.bound(k, weights=world.gan.p_y[0] * world.plug_in_weights()) for k in (1, 2, 3)]
    assert bounds[0] < bounds[1] < bounds[2] < ceiling
    best = optimal(world)
    ceiling = (best.gan.p_y[0] * expectation(best.proposal(), best.plug_in_weights())).log()
    agree("D*: log p(y=1)", ceiling, best.gan.p_y[1].log())
    agree("which is log q^r(0)", best.log_evidence(), best.gan.p_y[1].log())


def test_7_06_with_a_wrong_discriminator_it_is_no_bound():
    world = ImportanceWorld(GANWorld.from_tables([0.5, 0.5], [0.5, 0.5], D=[0.99, 0.5]))
    assert world.bound(3, weights=0.5 * world.plug_in_weights()) > world.log_evidence()


def test_7_06_the_ceiling_sees_only_what_the_generator_covers():
    gan = GANWorld.from_tables([0.2, 0.4, 0.4], [0.0, 0.5, 0.5])
    weights = (gan.p_data / 2 / gan.p_g())[1:]
    ceiling = (gan.p_g()[1:] @ weights).log()
    agree("log(p_data(supp p_g)/2)", ceiling, math.log(0.4))
    agree("below log q^r(0)", gan.Z[0].log(), math.log(0.5))


# ---- 7.8: bias and limit -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_7_08_bias_and_limit(seed):
    world = FiniteNoiseWorld.random(seed, n_z=3)
    agree("counts", world.eq7(3), world.eq7_by_counts(3))
    limit, bias = world.eq7_limit(), world.eq7_bias()
    scaled = [k * (world.eq7_by_counts(k) - limit) for k in (60, 120)]
    extrapolated = 2 * scaled[1] - scaled[0]
    agree("k (Eq. (7) - limit)", extrapolated, bias, tolerance=0.02 * float(bias.abs().max()))
    assert limit.abs().max() > 1e-2  # it does not vanish


def test_7_08_at_the_optimum_the_limit_is_an_average_over_data(world):
    best = optimal(world)
    rho = best.plug_in_weights() / expectation(best.proposal(), best.plug_in_weights())
    agree("rho p_g = p_data", rho * best.proposal(), best.gan.p_data)


# ---- 7.11: the conditional version -------------------------------------------------------------


@pytest.fixture(params=SEEDS)
def conditional(request):
    return ConditionalImportanceWorld.random(request.param)


def test_7_11_groups_share_a_class(conditional):
    f = torch.randn(2, 3, generator=generator_from(7), dtype=torch.float64)
    shifted = conditional.shifted(table([1.5, -0.5]))
    left = conditional.weighted_mean_within(f, 2), shifted.weighted_mean_within(f, 2)
    agree("a shift per class cancels", *left)
    mixed = conditional.weighted_mean_mixed(f, 2), shifted.weighted_mean_mixed(f, 2)
    differ("not with mixed groups", *mixed)
    agree("p(c) is kept", conditional.class_law(2, mixed=False), conditional.p_c)
    differ("not with mixed groups", conditional.class_law(2, mixed=True), conditional.p_c)


def test_7_11_mixed_groups_bound_another_number(conditional):
    z = conditional.evidence_given_c()
    within, mixed = expectation(conditional.p_c, z.log()), expectation(conditional.p_c, z).log()
    assert mixed > within
    for bound, ceiling in ((conditional.bound_within, within), (conditional.bound_mixed, mixed)):
        values = [bound(k) for k in (1, 2, 3)]
        assert values[0] < values[1] < values[2] < ceiling
    agree("one draw: no groups", conditional.bound_within(1), conditional.bound_mixed(1))


def test_7_11_the_mixed_class_law_tends_to_p_c_z_c(conditional):
    p, w = conditional.joint.flatten(), conditional.a.exp().flatten()
    first = table([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    shares = [self_normalised_mean_by_counts(p, w, first, k) for k in (10, 20)]
    limit = conditional.tilted_class_law()[0]
    agree("class 0", 2 * shares[1] - shares[0], limit, tolerance=5e-3)
    agree(
        "by groups",
        conditional.class_law(3, mixed=True)[0],
        self_normalised_mean_by_counts(p, w, first, 3),
    )
    differ("it is not p(c)", limit, conditional.p_c[0])
