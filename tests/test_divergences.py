"""The f-divergences: closed forms, duality, the variational bound, and their traps (C1.2)."""

import json
import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from unigen_edu import divergences
from unigen_edu.divergences import F_DIVERGENCES, f_divergence, register
from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.tables import (
    generator_from,
    jsd,
    jsd_weighted,
    kl_p_q,
    random_distribution,
    table,
)

RATIOS = table([0.02, 0.3, 0.9, 1.0, 1.1, 4.0, 60.0])


def alpha_divergence(p, q, a):
    return ((p.pow(a) * q.pow(1 - a)).sum() - 1) / (a * (a - 1))


# Written from the definitions, with P first.
CLOSED = {
    "kl": lambda p, q: kl_p_q(p, q),
    "reverse-kl": lambda p, q: kl_p_q(q, p),
    "js": lambda p, q: 2 * jsd(p, q),
    "gan": lambda p, q: 2 * jsd(p, q) - math.log(4),
    "hellinger": lambda p, q: (p.sqrt() - q.sqrt()).square().sum(),
    "pearson": lambda p, q: ((p - q).square() / q).sum(),
    "neyman": lambda p, q: ((p - q).square() / p).sum(),
    "jeffreys": lambda p, q: kl_p_q(p, q) + kl_p_q(q, p),
    "softened-reverse-kl": lambda p, q: 2 * kl_p_q((p + q) / 2, p),
    "alpha=0.3": lambda p, q: alpha_divergence(p, q, 0.3),
    "alpha=3": lambda p, q: alpha_divergence(p, q, 3.0),
    "alpha=-2": lambda p, q: alpha_divergence(p, q, -2.0),
    "js=0.3": lambda p, q: jsd_weighted(table([0.7, 0.3]), torch.stack([q, p])),
}
SLOPE_AT_ONE = {
    "kl": 1.0,
    "reverse-kl": -1.0,
    "js": 0.0,
    "gan": -math.log(2),
    "hellinger": 0.0,
    "pearson": 0.0,
    "neyman": 0.0,
    "jeffreys": 0.0,
    "softened-reverse-kl": -1.0,
    "alpha=0.3": 0.0,
    "alpha=3": 0.0,
    "alpha=-2": 0.0,
    "js=0.3": 0.0,
}
NAMES = sorted(CLOSED)
SYMMETRIC = ("js", "gan", "hellinger", "jeffreys")


@pytest.fixture(params=NAMES)
def f(request):
    return f_divergence(request.param)


@pytest.fixture(params=[0, 1, 2])
def pair(request):
    g = generator_from(request.param)
    return random_distribution(5, generator=g), random_distribution(5, generator=g)


def test_every_divergence_has_a_closed_form_here():
    families = {name for name in CLOSED if "=" in name}
    assert set(CLOSED) - families == set(F_DIVERGENCES)
    assert {name.partition("=")[0] for name in families} == set(divergences._FAMILIES)
    assert set(CLOSED) == set(SLOPE_AT_ONE)
    assert all(f_divergence(name).name == name for name in NAMES)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnigenError, match="no f-divergence 'tv'; choose one of: kl, reverse-kl"):
        f_divergence("tv")
    with pytest.raises(UnigenError, match=r"must be registered first, with divergences\.register"):
        f_divergence("my own")


def test_closed_form(f, pair):
    p, q = pair
    assert gap(f.divergence(p, q), CLOSED[f.name](p, q)) <= 1e-10
    assert gap(f.divergence(p, p), -math.log(4) if f.name == "gan" else 0.0) <= 1e-10  # f(1)
    asymmetry = gap(f.divergence(p, q), f.divergence(q, p))
    if f.name in SYMMETRIC:
        assert asymmetry <= 1e-10
    else:
        assert asymmetry > 1e-4


def test_js_is_twice_the_jsd(pair):
    js = f_divergence("js").divergence(*pair)
    assert gap(js, 2 * jsd(*pair)) <= 1e-10
    assert gap(js, jsd(*pair)) > 1e-4


def test_derivative(f):
    assert gap(f.derivative(RATIOS), gradient(lambda u: f.f(u).sum(), RATIOS)) <= 1e-10  # f'
    assert gap(f.derivative(table(1.0)), SLOPE_AT_ONE[f.name]) <= 1e-10  # f'(1)
    second = gradient(lambda u: f.derivative(u).sum(), RATIOS)
    assert (second > 0).all()  # convex


def test_fenchel_young_is_tight_at_the_derivative(f):
    slope = f.derivative(RATIOS)
    assert (slope < f.conjugate_below).all()
    assert gap(f.conjugate(slope), RATIOS * slope - f.f(RATIOS)) <= 1e-8  # f*(f')


def test_conjugate_against_brute_force(f):
    t = f.derivative(table([0.2, 0.8, 1.0, 1.5, 3.0]))
    u = torch.linspace(1e-4, 8, 400_001, dtype=torch.float64)
    sup = torch.stack([(u * value - f.f(u)).max() for value in t])
    assert gap(f.conjugate(t), sup) <= 1e-6  # sup_u ut - f(u), on a grid
    maximiser = gradient(lambda t: f.conjugate(t).sum(), t)
    assert gap(maximiser, table([0.2, 0.8, 1.0, 1.5, 3.0])) <= 1e-9


def test_pearson_conjugate_below_minus_two():
    """u cannot be negative: f* is constant there, and the quadratic that tables print is larger."""
    f, t = f_divergence("pearson"), table([-5.0, -2.0, -1.9])
    assert gap(f.conjugate(t), table([-1.0, -1.0, 1.9**2 / 4 - 1.9])) <= 1e-10  # f*
    assert (t.square() / 4 + t >= f.conjugate(t)).all()
    assert gap(f_divergence("alpha=2").conjugate(t / 2), f.conjugate(t) / 2) <= 1e-10


def test_log_domain_terms(f):
    log_r = RATIOS.log()
    slope = f.derivative(RATIOS)
    scale = 1 + RATIOS.square()  # the terms reach 1e5: equal to ten digits
    assert gap(f.data_term(log_r) / scale, slope / scale) <= 1e-10  # f'(r)
    right = RATIOS * slope - f.f(RATIOS)
    assert gap(f.model_term(log_r) / scale, right / scale) <= 1e-10  # f*(f'(r))


@pytest.mark.parametrize("name", ["js", "hellinger", "js=0.3"])
@pytest.mark.parametrize("log_r", [-80.0, -20.0, 20.0, 80.0])
def test_log_domain_terms_survive_float32(name, log_r):
    f = f_divergence(name)
    single = torch.tensor(log_r)
    for term in (f.data_term, f.model_term):
        assert term(single).isfinite()
        torch.testing.assert_close(term(single).double(), term(table(log_r)), rtol=1e-5, atol=1e-6)


def test_output_layer(f):
    v = torch.linspace(-6, 6, 101, dtype=torch.float64)
    t = f.output(v)
    assert (t.diff() > 0).all()
    assert (t < f.conjugate_below).all()
    best = f.output(f.optimal_output(RATIOS.log()))
    assert gap(best, f.derivative(RATIOS)) <= 1e-10  # g(v*) = f'(r)


def test_the_bound_is_tight_and_stationary_at_the_optimum(f, pair):
    p, q = pair
    best = f.optimal_output((p / q).log())
    assert gap(f.bound(p, q, best), f.divergence(p, q)) <= 1e-10  # tight
    assert gap(gradient(lambda v: f.bound(p, q, v), best), torch.zeros(5).double()) <= 1e-10
    log_domain = (p * f.data_term((p / q).log())).sum() - (q * f.model_term((p / q).log())).sum()
    assert gap(log_domain, f.divergence(p, q)) <= 1e-10


def test_the_bound_is_a_bound(f, pair):
    p, q = pair
    v = 1.5 * torch.randn(50, 5, generator=generator_from(9), dtype=torch.float64)
    assert (f.bound(p, q, v) < f.divergence(p, q)).all()


def test_the_gan_bound_is_the_js_bound_less_log_4(pair):
    v = torch.randn(5, generator=generator_from(3), dtype=torch.float64)
    js, gan = f_divergence("js"), f_divergence("gan")
    assert gap(js.bound(*pair, v), gan.bound(*pair, v) + math.log(4)) <= 1e-10
    p, q = pair
    classic = (p * v.sigmoid().log()).sum() + (q * (1 - v.sigmoid()).log()).sum()
    assert gap(gan.bound(p, q, v), classic) <= 1e-10  # V(G, D)


def test_the_gap_of_the_bound_is_a_bregman_divergence(f, pair):
    p, q = pair
    log_r = torch.randn(5, generator=generator_from(4), dtype=torch.float64)
    bound = (p * f.data_term(log_r)).sum() - (q * f.model_term(log_r)).sum()
    assert gap(f.gap(p, q, log_r), f.divergence(p, q) - bound) <= 1e-10  # D_f - V
    assert f.gap(p, q, log_r) > 1e-4
    assert gap(f.gap(p, q, (p / q).log()), 0.0) <= 1e-10  # none at the true ratio


# ---- relations between divergences ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "other", "factor"),
    [
        ("alpha=2", "pearson", 0.5),
        ("alpha=-1", "neyman", 0.5),
        ("alpha=0.5", "hellinger", 2.0),
        ("js=0.5", "js", 0.5),
    ],
)
def test_the_families_contain_what_they_should(name, other, factor, pair):
    left, right = f_divergence(name), f_divergence(other)
    log_r = RATIOS.log()
    assert gap(left.divergence(*pair), factor * right.divergence(*pair)) <= 1e-10  # D_f
    # f and f + c (u - 1) have the same D_f: the terms agree up to that constant, here 0.
    assert gap(left.data_term(log_r), factor * right.data_term(log_r)) <= 1e-10  # f'
    assert gap(left.model_term(log_r), factor * right.model_term(log_r)) <= 1e-10  # f*(f')


@pytest.mark.parametrize(("at", "limit"), [(1.0, "kl"), (0.0, "reverse-kl")])
def test_the_limits_of_the_alpha_family(at, limit, pair):
    wanted = f_divergence(limit).divergence(*pair)
    for step in (1e-6, -1e-6):
        found = f_divergence(f"alpha={at + step:.7f}").divergence(*pair)
        assert gap(found, wanted) <= 1e-4
    found = f_divergence("alpha=0.5").divergence(*pair)
    assert gap(found, wanted) > 1e-4  # the middle is neither


# f'' of the second is f'' of the first divided by u: what the non-saturating trick does.
TRICK = {
    "pearson": lambda p, q: 2 * CLOSED["kl"](p, q),
    "kl": CLOSED["reverse-kl"],
    "reverse-kl": lambda p, q: CLOSED["neyman"](p, q) / 2,
    "js": CLOSED["softened-reverse-kl"],
    "gan": CLOSED["softened-reverse-kl"],
    "hellinger": lambda p, q: alpha_divergence(p, q, -0.5) / 2,
    "neyman": lambda p, q: 2 * alpha_divergence(p, q, -2.0),
    "jeffreys": lambda p, q: CLOSED["reverse-kl"](p, q) + CLOSED["neyman"](p, q) / 2,
    "softened-reverse-kl": lambda p, q: (
        CLOSED["neyman"](p, q) / 2 - CLOSED["softened-reverse-kl"](p, q)
    ),
    "alpha=3": lambda p, q: alpha_divergence(p, q, 2.0),
    "alpha=0.3": lambda p, q: alpha_divergence(p, q, -0.7),
    "alpha=-2": lambda p, q: alpha_divergence(p, q, -3.0),
}


@pytest.mark.parametrize("name", sorted(TRICK))
def test_descending_minus_f_prime_is_descending_another_divergence(name, pair):
    p, q = pair
    f = f_divergence(name)
    log_r = (p / q).log()

    def softmax_gradient(value):
        return gradient(lambda logits: value(logits.softmax(-1)), q.log())

    left = softmax_gradient(lambda q_theta: -(q_theta * f.data_term(log_r)).sum())
    assert gap(left, softmax_gradient(lambda q_theta: TRICK[name](p, q_theta))) <= 1e-10
    assert gap(left, softmax_gradient(lambda q_theta: f.divergence(p, q_theta))) > 1e-4  # f itself


# ---- independent: Gaussians in closed form -------------------------------------------------------


def gaussians():
    """p, q and log p/q on a grid fine enough for 1e-9."""
    x = torch.linspace(-14, 14, 40_001, dtype=torch.float64)
    p, q = Normal(table(0.4), table(0.9)), Normal(table(-0.3), table(1.2))
    width = x[1] - x[0]
    return p, q, p.log_prob(x).exp() * width, q.log_prob(x).exp() * width, x


@pytest.mark.parametrize("name", ["kl", "reverse-kl", "jeffreys", "hellinger", "pearson"])
def test_gaussians_in_closed_form(name):
    p, q, weight_p, weight_q, x = gaussians()
    variances = p.variance + q.variance
    affinity = (2 * p.scale * q.scale / variances).sqrt() * torch.exp(
        -(p.loc - q.loc).square() / (4 * variances)
    )
    # E_q (p/q)^2 = E_p p/q of two normals: another Gaussian integral.
    precision = 2 / p.variance - 1 / q.variance
    shift = 2 * p.loc / p.variance - q.loc / q.variance
    constant = 2 * p.loc.square() / p.variance - q.loc.square() / q.variance
    second = (
        q.scale
        / p.variance
        * precision.rsqrt()
        * torch.exp((shift.square() / precision - constant) / 2)
    )
    wanted = {
        "kl": kl_divergence(p, q),
        "reverse-kl": kl_divergence(q, p),
        "jeffreys": kl_divergence(p, q) + kl_divergence(q, p),
        "hellinger": 2 - 2 * affinity,
        "pearson": second - 1,
    }[name]
    f = f_divergence(name)
    log_r = p.log_prob(x) - q.log_prob(x)
    # The guard bends the ratio in the far tails, whose mass is nothing.
    found = f.variational_bound(log_r, log_r, weight_p, weight_q)
    assert gap(found, wanted) <= 1e-8


# ---- the guard -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_ratio_makes_a_term_or_a_gradient_overflow(f, dtype):
    log_r = torch.tensor([-1e30, -1e4, -89.0, 0.0, 89.0, 1e4, 1e30], dtype=dtype)
    for term in (f.data_value, f.model_value):
        at = log_r.clone().requires_grad_(True)
        value = term(at)
        (grad,) = torch.autograd.grad(value.sum(), at)
        assert value.isfinite().all()
        assert grad.isfinite().all()
        assert (grad >= 0).all()  # both terms grow with the ratio
        if not math.isinf(f.limit):
            assert value.abs().max() < 1e14
            assert grad.square().isfinite().all()
    for infinite in (math.inf, -math.inf):
        assert not f.guard(torch.tensor(infinite, dtype=dtype)).isnan()


def test_without_the_guard_they_would(f):
    if f.limit < 80:
        single = torch.tensor([-200.0, 200.0])
        terms = torch.cat([f.data_term(single), f.model_term(single)])
        assert not terms.isfinite().all()


def test_the_guard_is_the_identity_where_it_can_be_and_increases_everywhere(f):
    if math.isinf(f.limit):
        log_r = torch.tensor([-1e4, 3.0])
        assert torch.equal(f.guard(log_r), log_r)
        return
    inside = f.limit * torch.linspace(-0.8, 0.8, 101, dtype=torch.float64)
    assert torch.equal(f.guard(inside), inside)
    outside = f.limit * torch.linspace(-9, 9, 1001, dtype=torch.float64)
    bent = f.guard(outside)
    assert (bent.diff() > 0).all()
    assert (bent.abs() < f.limit).all()
    assert gap(bent, -f.guard(-outside)) <= 1e-10  # odd
    slope = gradient(lambda l: f.guard(l).sum(), outside)
    assert slope.min() > 1e-4  # no dead gradient
    edge = 0.8 * f.limit * table([1 - 1e-9, 1 + 1e-9])
    assert gap(gradient(lambda l: f.guard(l).sum(), edge), torch.ones(2).double()) <= 1e-6  # smooth


def test_guarded_in_both_terms_it_is_a_bound_and_in_one_alone_it_is_not(pair):
    p, q = pair
    f = f_divergence("pearson")
    wild = 40 * torch.randn(200, 5, generator=generator_from(5), dtype=torch.float64)
    bounds = torch.stack([f.variational_bound(l, l, p, q) for l in wild])
    assert bounds.isfinite().all()
    assert (bounds <= f.divergence(p, q)).all()
    # Far enough out, a guard in one term alone lets the other pass any bound.
    kl, reverse_kl = f_divergence("kl"), f_divergence("reverse-kl")
    far = table([1e14] * 5)
    assert (p * kl.data_term(far)).sum() - (q * kl.model_value(far)).sum() > 1e13
    assert kl.variational_bound(far, far, p, q) < 0
    assert (p * reverse_kl.data_value(-far)).sum() - (q * reverse_kl.model_term(-far)).sum() > 1e13
    assert reverse_kl.variational_bound(-far, -far, p, q) < 0


# ---- families and their numbers ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("alpha", "give its number, as in 'alpha=0.3'"),
        ("js=", "give its number, as in 'js=0.3'"),
        ("alpha=one", "give its number"),
        ("alpha=1", "these two limits are called 'reverse-kl' and 'kl'"),
        ("alpha=0", "these two limits"),
        ("alpha=nan", "alpha is nan"),
        ("alpha=11", "between -10 and 10"),
        ("js=0", "within"),
        ("js=1.5", "within"),
        ("js=nan", "within"),
        ("beta=2", "no f-divergence 'beta=2'"),
    ],
)
def test_a_family_needs_a_number_in_range(name, words):
    with pytest.raises(UnigenError, match=words) as caught:
        f_divergence(name)
    assert "\n" not in str(caught.value)


# ---- divergences of one's own --------------------------------------------------------------------


@pytest.fixture
def own():
    """`register`, undone afterwards."""
    before = dict(F_DIVERGENCES)
    yield register
    F_DIVERGENCES.clear()
    F_DIVERGENCES.update(before)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "gan"])
def test_a_divergence_given_by_f_alone_is_the_built_in_one(name, own):
    g = generator_from(0)
    pair = random_distribution(5, generator=g), random_distribution(5, generator=g)
    built_in = f_divergence(name)
    mine = own("mine", built_in.f)
    assert f_divergence("mine") is mine
    # Within the guard of both. f alone is evaluated by subtraction: some digits are lost far out.
    log_r = torch.linspace(-3, 3, 61, dtype=torch.float64)
    assert gap(mine.derivative(RATIOS), built_in.derivative(RATIOS)) <= 1e-8  # f'
    for term in ("data_value", "model_value"):
        left, right = getattr(mine, term), getattr(built_in, term)
        assert gap(left(log_r), right(log_r)) <= 1e-10
        slope = gradient(lambda l, t=left: t(l).sum(), log_r)
        assert gap(slope, gradient(lambda l, t=right: t(l).sum(), log_r)) <= 1e-9
    t = built_in.derivative(table([0.2, 0.8, 1.0, 1.5, 3.0]))
    assert gap(mine.conjugate(t), built_in.conjugate(t)) <= 1e-9  # f*
    assert gap(mine.divergence(*pair), built_in.divergence(*pair)) <= 1e-10  # D_f
    best = mine.optimal_output((pair[0] / pair[1]).log())
    assert gap(mine.bound(*pair, best), built_in.divergence(*pair)) <= 1e-9  # tight


def test_far_out_a_divergence_given_by_f_alone_keeps_its_digits_in_float32(own):
    mine, js = own("mine", f_divergence("js").f), f_divergence("js")
    log_r = torch.tensor([-16.0, -9.0, 9.0, 16.0])
    for term in ("data_value", "model_value"):
        torch.testing.assert_close(getattr(mine, term)(log_r), getattr(js, term)(log_r))
    # In float32 the subtraction r f'(r) - f(r) leaves nothing of the 16.
    r = log_r[-1:].exp()
    naive = r * torch.log(2 * r / (1 + r)) - js.f(r)
    assert (naive - js.model_term(log_r[-1:])).abs() > 0.05


def test_it_can_be_differentiated_twice_and_batched(own):
    mine = own("mine", lambda u: (u - 1) * u.log())
    at = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mine.model_value, at)
    assert torch.autograd.gradgradcheck(mine.data_value, at)
    rows = torch.randn(3, 4, dtype=torch.float64)
    jeffreys = f_divergence("jeffreys")

    def step(l):  # as a training step under `vmap` would
        return torch.func.grad(lambda l: mine.variational_bound(l, l))(l)

    wanted = torch.stack([gradient(lambda l: jeffreys.variational_bound(l, l), r) for r in rows])
    assert gap(torch.func.vmap(step)(rows), wanted) <= 1e-10  # gradients, batched
    with torch.no_grad():
        assert gap(mine.data_term(rows), jeffreys.data_term(rows)) <= 1e-10  # without gradient


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda u: (u - 1) ** 3, r"not convex: its slope falls from 2\.96 at u = 0\.00674"),
        (lambda u: -((u - 1) ** 2), "not convex"),
        (lambda u: torch.log(u), "not convex"),
        (lambda u: u * u, r"f\(1\) of 'mine' is 1, but equal distributions"),
        (lambda u: (u - 1).abs() / 2, "straight piece"),
        (lambda u: 3 * (u - 1), "straight piece"),
        (lambda u: (u.detach() - 1) ** 2, "straight piece"),
        (lambda u: (u - 1).square().mean(), "one number for each element"),
        (lambda u: (u - 1).square() + u - u.mean(), "one number for each element"),
        (lambda u: 0.0, "could not be evaluated"),
        (lambda u: (u - 1) ** 2 if u > 1 else 2 * (u - 1) ** 2, r"without 'if'"),
        (lambda u: math.log(u), "could not be evaluated"),
        (lambda u: torch.sqrt(u - 1), r"f\(u\) of 'mine' is not finite at u = 0\.00674"),
        (lambda u: (u - 1) ** 2 + torch.sqrt(u - u), r"f'\(u\) of 'mine' is not finite"),
        (lambda u: u.pow(30) - 1 - 30 * (u - 1), "grows so fast"),
    ],
)
def test_an_f_that_generates_no_divergence_is_refused_in_one_sentence(f, words, own):
    with pytest.raises(UnigenError, match=words) as caught:
        own("mine", f)
    assert "\n" not in str(caught.value)
    assert "mine" not in F_DIVERGENCES


@pytest.mark.parametrize("name", ["", "  ", "a=b", None, 3])
def test_a_name_must_be_text_that_no_family_claims(name, own):
    with pytest.raises(UnigenError, match="cannot name a divergence"):
        own(name, lambda u: (u - 1) ** 2)


@pytest.mark.parametrize("name", ["kl", "alpha", "js"])
def test_a_built_in_divergence_is_not_replaced(name, own):
    with pytest.raises(UnigenError, match=f"'{name}' is a built-in divergence"):
        own(name, lambda u: (u - 1) ** 2)


def test_registering_again_replaces_and_a_stale_object_is_refused(own):
    first = own("mine", lambda u: (u - 1) ** 2)
    assert f_divergence(first) is first
    second = own("mine", lambda u: 2 * (u - 1) ** 2)
    assert f_divergence("mine") is second
    with pytest.raises(UnigenError, match="Another f-divergence is registered as 'mine'"):
        f_divergence(first)
    assert f_divergence(f_divergence("alpha=0.3")).name == "alpha=0.3"
    with pytest.raises(UnigenError, match="must be a function"):
        own("mine", 3)


def test_every_built_in_f_would_pass_the_checks_that_ones_own_must(f):
    if f.name == "gan":
        with pytest.raises(UnigenError, match=r"f\(1\) of 'gan' is -1\.38629"):
            divergences._check("gan", f.f, f.derivative)
    else:
        divergences._check(f.name, f.f, f.derivative)


def test_names_survive_json():
    for name in NAMES:
        kept = json.loads(json.dumps(f_divergence(name).name))
        assert gap(f_divergence(kept).data_term(RATIOS), f_divergence(name).data_term(RATIOS)) == 0
