"""The f-divergences: closed forms, duality, the variational bound, and their traps (C1.2)."""

import math

import pytest
import torch

from unigen_edu.divergences import F_DIVERGENCES, f_divergence
from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import agree, differ, gradient
from unigen_edu.exact.tables import generator_from, jsd, kl_p_q, random_distribution, table

NAMES = sorted(F_DIVERGENCES)
RATIOS = table([0.02, 0.3, 0.9, 1.0, 1.1, 4.0, 60.0])

# Written from the definitions, with P first.
CLOSED = {
    "kl": lambda p, q: kl_p_q(p, q),
    "reverse-kl": lambda p, q: kl_p_q(q, p),
    "js": lambda p, q: 2 * jsd(p, q),
    "gan": lambda p, q: 2 * jsd(p, q) - math.log(4),
    "hellinger": lambda p, q: (p.sqrt() - q.sqrt()).square().sum(),
    "pearson": lambda p, q: ((p - q).square() / q).sum(),
    "neyman": lambda p, q: ((p - q).square() / p).sum(),
}
SLOPE_AT_ONE = {
    "kl": 1.0,
    "reverse-kl": -1.0,
    "js": 0.0,
    "gan": -math.log(2),
    "hellinger": 0.0,
    "pearson": 0.0,
    "neyman": 0.0,
}


@pytest.fixture(params=NAMES)
def f(request):
    return f_divergence(request.param)


@pytest.fixture(params=[0, 1, 2])
def pair(request):
    g = generator_from(request.param)
    return random_distribution(5, generator=g), random_distribution(5, generator=g)


def test_every_divergence_has_a_closed_form_here():
    assert set(CLOSED) == set(F_DIVERGENCES) == set(SLOPE_AT_ONE)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnigenError, match="no f-divergence 'tv'; choose one of: kl, reverse-kl"):
        f_divergence("tv")


def test_closed_form(f, pair):
    p, q = pair
    agree("D_f", f.divergence(p, q), CLOSED[f.name](p, q))
    agree("f(1)", f.divergence(p, p), -math.log(4) if f.name == "gan" else 0.0)
    if f.name not in ("js", "gan", "hellinger"):
        differ("P and Q are not symmetric", f.divergence(p, q), f.divergence(q, p))


def test_js_is_twice_the_jsd(pair):
    differ("not JSD", f_divergence("js").divergence(*pair), jsd(*pair))


def test_derivative(f):
    agree("f'", f.derivative(RATIOS), gradient(lambda u: f.f(u).sum(), RATIOS))
    agree("f'(1)", f.derivative(table(1.0)), SLOPE_AT_ONE[f.name])
    second = gradient(lambda u: f.derivative(u).sum(), RATIOS)
    assert (second > 0).all()  # convex


def test_fenchel_young_is_tight_at_the_derivative(f):
    slope = f.derivative(RATIOS)
    assert (slope < f.conjugate_below).all()
    agree("f*(f')", f.conjugate(slope), RATIOS * slope - f.f(RATIOS), tolerance=1e-8)


def test_conjugate_against_brute_force(f):
    t = f.derivative(table([0.2, 0.8, 1.0, 1.5, 3.0]))
    u = torch.linspace(1e-4, 8, 400_001, dtype=torch.float64)
    sup = torch.stack([(u * value - f.f(u)).max() for value in t])
    agree("sup_u ut - f(u)", f.conjugate(t), sup, tolerance=1e-6)


def test_pearson_conjugate_below_minus_two():
    """u cannot be negative: f* is constant there, and the quadratic that tables print is larger."""
    f, t = f_divergence("pearson"), table([-5.0, -2.0, -1.9])
    agree("f*", f.conjugate(t), table([-1.0, -1.0, 1.9**2 / 4 - 1.9]))
    assert (t.square() / 4 + t >= f.conjugate(t)).all()


def test_log_domain_terms(f):
    log_r = RATIOS.log()
    slope = f.derivative(RATIOS)
    agree("f'(r)", f.data_term(log_r), slope)
    agree("f*(f'(r))", f.model_term(log_r), RATIOS * slope - f.f(RATIOS))


@pytest.mark.parametrize("name", ["js", "hellinger"])
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
    agree("g(v*) = f'(r)", best, f.derivative(RATIOS))


def test_the_bound_is_tight_and_stationary_at_the_optimum(f, pair):
    p, q = pair
    best = f.optimal_output((p / q).log())
    agree("tight", f.bound(p, q, best), f.divergence(p, q))
    agree("stationary", gradient(lambda v: f.bound(p, q, v), best), torch.zeros(5).double())
    log_domain = (p * f.data_term((p / q).log())).sum() - (q * f.model_term((p / q).log())).sum()
    agree("in the log domain", log_domain, f.divergence(p, q))


def test_the_bound_is_a_bound(f, pair):
    p, q = pair
    v = 1.5 * torch.randn(50, 5, generator=generator_from(9), dtype=torch.float64)
    assert (f.bound(p, q, v) < f.divergence(p, q)).all()


def test_the_gan_bound_is_the_js_bound_less_log_4(pair):
    v = torch.randn(5, generator=generator_from(3), dtype=torch.float64)
    js, gan = f_divergence("js"), f_divergence("gan")
    agree("log 4", js.bound(*pair, v), gan.bound(*pair, v) + math.log(4))
    p, q = pair
    classic = (p * v.sigmoid().log()).sum() + (q * (1 - v.sigmoid()).log()).sum()
    agree("V(G, D)", gan.bound(p, q, v), classic)
