"""Section 7 of the mathematics: importance weights, their bounds, and what Eq. (7) is."""

import math
from itertools import product

import pytest
import torch
from torch.nn.functional import logsigmoid

from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import gap, gradient, jacobian
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
    assert (
        gap(group_law(p, 3), table([p[a] * p[b] * p[c] for a, b, c in product(range(3), repeat=3)]))
        <= 1e-10
    ), "law"


def test_counts_are_groups_without_order():
    counts, log_coefficient = multisets(3, 4)
    assert gap(log_coefficient.exp().sum(), 3.0**4) <= 1e-10, "every group once"
    assert (counts.sum(-1) == 4).all()
    assert (counts >= 0).all()
    p, w = table([0.2, 0.3, 0.5]), table([1.0, 4.0, 0.5])
    f = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    for k in (1, 2, 5):
        assert gap(log_mean_bound(p, w, k), log_mean_bound_by_counts(p, w, k)) <= 1e-10, "bound"
        by_counts = self_normalised_mean_by_counts(p, w, f, k)
        assert gap(self_normalised_mean(p, w, f, k), by_counts) <= 1e-10, "mean"


def test_the_two_quantities_by_hand():
    p, w, f = table([0.5, 0.5]), table([1.0, 3.0]), table([0.0, 1.0])
    assert gap(log_mean_bound(p, w, 2), (0 + 2 * math.log(2) + math.log(3)) / 4) <= 1e-10, "L_2"
    assert gap(self_normalised_mean(p, w, f, 2), (0 + 2 * 0.75 + 1) / 4) <= 1e-10, "mean"
    assert gap(normalised_weights(w), table([0.25, 0.75])) <= 1e-10, "shares"
    assert gap(effective_sample_size(w), 1 / (0.0625 + 0.5625)) <= 1e-10, "effective draws"


def test_enumeration_refuses_what_it_cannot_list():
    with pytest.raises(UnigenError, match="too many to list"):
        groups(10, 10)
    with pytest.raises(UnigenError, match="k >= 1"):
        groups(3, 0)


# ---- 7.1, 7.2: the importance weighted autoencoder ---------------------------------------------


def test_7_01_the_bound_grows_to_the_evidence(vae):
    evidence = vae.p_g().log()
    bounds = torch.stack([iwae_bound(vae, k) for k in (1, 2, 3, 4, 5)])
    assert gap(bounds[0], vae.elbo()) <= 1e-10, "L_1 is the ELBO"
    assert (bounds.diff(dim=0) > 0).all()
    assert (bounds < evidence).all()
    assert gap((vae.q_z_given_x() * iwae_weights(vae)).sum(-1).log(), evidence) <= 1e-10, (
        "the mean weight is p(x)"
    )


def test_7_01_subsets_average_to_the_whole():
    """Step 1 of the proof: a mean of k + 1 weights is a mean over subsets of k."""
    w = table([1.0, 5.0, 0.2, 3.0])
    subsets = torch.stack([w[[j for j in range(4) if j != i]].mean() for i in range(4)])
    assert gap(subsets.mean(), w.mean()) <= 1e-10, "mean of means"
    assert subsets.log().mean() < w.mean().log()


def test_7_01_the_rate(vae):
    q, w = vae.q_z_given_x()[0], iwae_weights(vae)[0]
    mean = q @ w
    coefficient = (q @ w.square() - mean**2) / (2 * mean**2)
    gaps = [k * (mean.log() - log_mean_bound_by_counts(q, w, k)) for k in (50, 100)]
    extrapolated = 2 * gaps[1] - gaps[0]
    assert gap(extrapolated, coefficient) <= float(0.01 * coefficient), "k (log p - L_k)"


def test_7_01_edges(vae):
    tight = iwae_bound(vae, 1, eta=vae.p_z_given_x().log())
    assert gap(tight, vae.p_g().log()) <= 1e-10, "constant weights"
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
    assert gap(gradient(lambda t: iwae_bound(vae, k, t)[x], vae.theta0), right) <= 1e-10, "theta"
    by_eta = self_normalised_mean(q, w, jacobian(lambda e: log_w(vae.theta0, e), vae.eta0), k)
    scores = jacobian(lambda e: vae.q_z_given_x(e)[x].log(), vae.eta0)[index].sum(1)
    log_mean = w[index].mean(-1).log()
    score = torch.einsum("g,g,gab->ab", group_law(q, k), log_mean, scores)
    left = gradient(lambda e: iwae_bound(vae, k, eta=e)[x], vae.eta0)
    assert gap(left, by_eta + score) <= 1e-10, "eta"
    assert gap(left, by_eta) > 1e-4, "eta without the score"


# ---- 7.4: weights and bound of a GAN -----------------------------------------------------------


@pytest.mark.parametrize("y", [0, 1])
def test_7_04_the_bound(world, y):
    theta = world.gan.other_theta()
    bounds = torch.stack([world.bound(k, theta, y) for k in (1, 2, 3, 4)])
    assert (bounds.diff() > 0).all()
    assert bounds[-1] < world.log_evidence(y)
    mean = expectation(world.proposal(theta, y), world.weights(theta, y))
    assert gap(mean.log(), world.log_evidence(y)) <= 1e-10, "E w = q^r(y)"
    kl = world.gan.kl_terms(theta)[y]
    assert gap(bounds[0], world.log_evidence(y) - kl) <= 1e-10, "L_1 = log q^r(y) - KL"


def test_7_04_weights(world):
    for y in (0, 1):
        assert gap(world.weights(y=y), world.weights_by_bayes(y)) <= 1e-10, "Bayes"
        plug_in = world.gan.p_y[y] * world.plug_in_weights(y)
        assert gap(world.weights(y=y), plug_in) > 1e-4, "the printed weights, any D"
        best = optimal(world)
        plug_in = best.gan.p_y[y] * best.plug_in_weights(y)
        assert gap(best.weights(y=y), plug_in) <= 1e-10, "the printed weights, D*"
        assert gap(best.weights(y=y), best.plug_in_weights(y)) > 1e-4, "they lack p(y)"
    gan = optimal(world).gan
    ratio = gan.p_y[1] * gan.p_data / gan.p_g()
    assert gap(optimal(world).weights(), ratio) <= 1e-10, "y = 0, D*: p(y=1) p_data/p_g"
    assert gap(world.plug_in_weights(), world.gan.phi0.exp()) <= 1e-10, "e^a"
    shares = normalised_weights(world.plug_in_weights()[groups(4, 2)])
    assert gap(shares, world.gan.phi0[groups(4, 2)].softmax(-1)) <= 1e-10, (
        "the shares are a softmax"
    )


def test_7_04_the_evidence_has_no_theta(world):
    theta = world.gan.other_theta()
    assert gap(world.log_evidence(), ImportanceWorld(world.gan).log_evidence()) <= 1e-10, "no theta"
    zero = torch.zeros(4).double()
    assert gap(gradient(lambda t: world.bound(2, t, y=1), theta), zero) <= 1e-10, "data half"


# ---- 7.5: what Eq. (7) keeps -------------------------------------------------------------------


def test_7_05_one_draw_is_lemma_1(world):
    gan = world.gan

    def averaged(theta):
        return gan.p_y[0] * world.bound(1, theta, 0) + gan.p_y[1] * world.bound(1, theta, 1)

    exact = gradient(averaged, gan.theta0)
    step = gradient(gan.generator_objective, gan.theta0)
    assert gap(exact, step - gradient(gan.jsd_term, gan.theta0)) <= 1e-10, "GAN step - grad JSD"
    assert gap(exact, step) > 1e-4, "not the GAN step"
    kept = gradient(lambda t: gan.p_y[0] * world.gan_step(t), gan.theta0)
    assert gap(kept, step) <= 1e-10, "k = 1 keeps the GAN step"
    for y in (0, 1):
        to_prior = gan.p_x_given_y()[y] @ (gan.p_x_given_y()[y] / gan.p_0).log()
        assert gap(world.to_prior(y=y), to_prior) <= 1e-10, "what it drops"


def test_7_05_the_exact_gradient_vanishes_with_k():
    world = ImportanceWorld.random(0, n_x=3)
    theta0 = world.gan.theta0
    limit = -0.5 * gradient(world.chi2_term, theta0)
    scaled = [k * gradient(lambda t, k=k: world.bound_by_counts(k, t), theta0) for k in (60, 120)]
    errors = [float((s - limit).abs().max()) for s in scaled]
    assert errors[1] < 0.6 * errors[0]
    assert gap(2 * scaled[1] - scaled[0], limit) <= 0.01 * float(limit.abs().max()), "extrapolated"
    assert (
        gap(world.bound_gradient(3), gradient(lambda t: world.bound_by_counts(3, t), theta0))
        <= 1e-10
    ), "by autograd"


# ---- Eq. (7) with real x -----------------------------------------------------------------------


def test_7_05_one_draw_is_the_gan_gradient(noise):
    assert gap(noise.eq7(1), noise.gan_gradient()) <= 1e-10, "Eq. (7), k = 1"
    by_autograd = gradient(lambda t: expectation(noise.p_z, logsigmoid(noise.a(t))), noise.theta0)
    assert gap(noise.gan_gradient(), by_autograd) <= 1e-10, "E grad log D"
    assert gap(noise.eq7(2), noise.gan_gradient()) > 1e-4, "k = 2 is not"


@pytest.mark.parametrize("k", [1, 2, 3])
def test_7_07_the_surrogate_and_its_wrong_versions(noise, k):
    index, law = groups(4, k), group_law(noise.p_z, k)
    field = noise.eq7(k)
    assert gap(gradient(lambda t: noise.surrogate(k, t), noise.theta0), -field) <= 1e-10, (
        "surrogate"
    )

    def wrong(shares):
        def objective(theta):
            return (law * (shares * logsigmoid(noise.a(theta)[index])).sum(-1)).sum()

        return gradient(objective, noise.theta0)

    a = noise.a()[index]
    assert gap(wrong(a.softmax(-1)), field) <= 1e-10, "the shares, again"
    if k > 1:
        undetached = gradient(lambda t: noise.surrogate(k, t, detach=False), noise.theta0)
        assert gap(undetached, -field) > 1e-4, "weights not detached"
        assert gap(wrong(a.sigmoid().softmax(-1)), field) > 1e-4, "softmax of D"
        assert gap(wrong(a.softmax(-1) / k), field) > 1e-4, "mean over the group as well"


def test_7_07_one_group_is_not_the_whole_batch(noise):
    assert gap(noise.eq7(2), noise.eq7(4)) > 1e-4, "k = 2 and 2 groups of 2 as one"


# ---- 7.6: not a gradient -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_7_06_the_field_has_curl(seed):
    a = torch.randn(4, generator=generator_from(seed), dtype=torch.float64)
    jac = jacobian(logit_field, a)
    assert gap(jac - jac.T, logit_curl(a)) <= 1e-10, "antisymmetric part"
    assert logit_curl(a).abs().max() > 1e-4
    for name, f in (
        ("(A)", lambda a: a.logsumexp(-1)),
        ("(B)", lambda a: a.sigmoid().sum(-1).log()),
    ):
        hessian = torch.autograd.functional.hessian(f, a)
        assert gap(hessian, hessian.T) <= 1e-10, f"{name} has none"


def test_7_06_also_in_theta(noise):
    assert gap(noise.curl(1), torch.zeros(3, 3).double()) <= 1e-7, "k = 1"
    assert gap(noise.curl(2), torch.zeros(3, 3).double()) > 1e-4, "k = 2"


@pytest.mark.parametrize("k", [1, 2, 3])
def test_7_06_the_two_neighbours(noise, k):
    at = noise.theta0
    assert gap(gradient(lambda t: noise.neighbour_a(k, t), at), noise.gradient_a(k)) <= 1e-10, "(A)"
    assert gap(gradient(lambda t: noise.neighbour_b(k, t), at), noise.gradient_b(k)) <= 1e-10, "(B)"
    assert gap(noise.eq7(k), noise.gradient_a(k)) > 1e-4, "Eq. (7) is not (A)"
    lacking = self_normalised_mean(
        noise.p_z, noise.a().exp(), noise.grad_a() - noise.grad_log_D(), k
    )
    assert gap(noise.gradient_a(k) - noise.eq7(k), lacking) <= 1e-10, "it lacks -grad log q(0|x)"
    minus_log_q0 = jacobian(lambda t: -logsigmoid(-noise.a(t)), at)
    assert gap(noise.grad_a() - noise.grad_log_D(), minus_log_q0) <= 1e-10, "which is that"
    if k > 1:
        assert gap(noise.eq7(k), noise.gradient_b(k)) > 1e-4, "Eq. (7) is not (B)"


def test_7_06_the_ceiling_of_a(world):
    ceiling = (world.gan.p_y[0] * expectation(world.proposal(), world.plug_in_weights())).log()
    bounds = [world.bound(k, weights=world.gan.p_y[0] * world.plug_in_weights()) for k in (1, 2, 3)]
    assert bounds[0] < bounds[1] < bounds[2] < ceiling
    best = optimal(world)
    ceiling = (best.gan.p_y[0] * expectation(best.proposal(), best.plug_in_weights())).log()
    assert gap(ceiling, best.gan.p_y[1].log()) <= 1e-10, "D*: log p(y=1)"
    assert gap(best.log_evidence(), best.gan.p_y[1].log()) <= 1e-10, "which is log q^r(0)"


def test_7_06_with_a_wrong_discriminator_it_is_no_bound():
    world = ImportanceWorld(GANWorld.from_tables([0.5, 0.5], [0.5, 0.5], D=[0.99, 0.5]))
    assert world.bound(3, weights=0.5 * world.plug_in_weights()) > world.log_evidence()


def test_7_06_the_ceiling_sees_only_what_the_generator_covers():
    gan = GANWorld.from_tables([0.2, 0.4, 0.4], [0.0, 0.5, 0.5])
    weights = (gan.p_data / 2 / gan.p_g())[1:]
    ceiling = (gan.p_g()[1:] @ weights).log()
    assert gap(ceiling, math.log(0.4)) <= 1e-10, "log(p_data(supp p_g)/2)"
    assert gap(gan.Z[0].log(), math.log(0.5)) <= 1e-10, "below log q^r(0)"


# ---- 7.8: bias and limit -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_7_08_bias_and_limit(seed):
    world = FiniteNoiseWorld.random(seed, n_z=3)
    assert gap(world.eq7(3), world.eq7_by_counts(3)) <= 1e-10, "counts"
    limit, bias = world.eq7_limit(), world.eq7_bias()
    scaled = [k * (world.eq7_by_counts(k) - limit) for k in (60, 120)]
    extrapolated = 2 * scaled[1] - scaled[0]
    assert gap(extrapolated, bias) <= 0.02 * float(bias.abs().max()), "k (Eq. (7) - limit)"
    assert limit.abs().max() > 1e-2  # it does not vanish


def test_7_08_at_the_optimum_the_limit_is_an_average_over_data(world):
    best = optimal(world)
    rho = best.plug_in_weights() / expectation(best.proposal(), best.plug_in_weights())
    assert gap(rho * best.proposal(), best.gan.p_data) <= 1e-10, "rho p_g = p_data"


# ---- 7.11: the conditional version -------------------------------------------------------------


@pytest.fixture(params=SEEDS)
def conditional(request):
    return ConditionalImportanceWorld.random(request.param)


def test_7_11_groups_share_a_class(conditional):
    f = torch.randn(2, 3, generator=generator_from(7), dtype=torch.float64)
    shifted = conditional.shifted(table([1.5, -0.5]))
    left = conditional.weighted_mean_within(f, 2), shifted.weighted_mean_within(f, 2)
    assert gap(*left) <= 1e-10, "a shift per class cancels"
    mixed = conditional.weighted_mean_mixed(f, 2), shifted.weighted_mean_mixed(f, 2)
    assert gap(*mixed) > 1e-4, "not with mixed groups"
    assert gap(conditional.class_law(2, mixed=False), conditional.p_c) <= 1e-10, "p(c) is kept"
    assert gap(conditional.class_law(2, mixed=True), conditional.p_c) > 1e-4, (
        "not with mixed groups"
    )


def test_7_11_mixed_groups_bound_another_number(conditional):
    z = conditional.evidence_given_c()
    within, mixed = expectation(conditional.p_c, z.log()), expectation(conditional.p_c, z).log()
    assert mixed > within
    for bound, ceiling in ((conditional.bound_within, within), (conditional.bound_mixed, mixed)):
        values = [bound(k) for k in (1, 2, 3)]
        assert values[0] < values[1] < values[2] < ceiling
    assert gap(conditional.bound_within(1), conditional.bound_mixed(1)) <= 1e-10, (
        "one draw: no groups"
    )


def test_7_11_the_mixed_class_law_tends_to_p_c_z_c(conditional):
    p, w = conditional.joint.flatten(), conditional.a.exp().flatten()
    first = table([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    shares = [self_normalised_mean_by_counts(p, w, first, k) for k in (10, 20)]
    limit = conditional.tilted_class_law()[0]
    assert gap(2 * shares[1] - shares[0], limit) <= 5e-3, "class 0"
    assert (
        gap(conditional.class_law(3, mixed=True)[0], self_normalised_mean_by_counts(p, w, first, 3))
        <= 1e-10
    ), "by groups"
    assert gap(limit, conditional.p_c[0]) > 1e-4, "it is not p(c)"
