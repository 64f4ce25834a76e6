"""Tables: sums against plain Python loops, the conventions at zero, and C1.1."""

import math

import pytest
import torch

from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import gap, gradient
from unigen_edu.exact.tables import (
    check_distribution,
    conditional_entropy,
    entropy,
    expectation,
    generator_from,
    jeffreys_p_q,
    jsd,
    jsd_weighted,
    kl_p_q,
    log_table,
    mixture,
    mutual_information,
    normalise,
    p_log_q,
    posterior,
    random_distribution,
    table,
)

SEEDS = (0, 1, 2)


def looped_kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p.tolist(), q.tolist(), strict=True) if a > 0)


# ---- sums --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_kl_is_the_sum_that_it_says(seed):
    g = generator_from(seed)
    p, q = random_distribution(5, generator=g), random_distribution(5, generator=g)
    assert gap(kl_p_q(p, q), looped_kl(p, q)) <= 1e-10, "KL"
    assert gap(kl_p_q(p, q), kl_p_q(q, p)) > 1e-4, "KL is not symmetric"
    assert gap(jeffreys_p_q(p, q), looped_kl(p, q) + looped_kl(q, p)) <= 1e-10, "Jeffreys"


def test_kl_by_hand():
    p, q = table([0.5, 0.5, 0.0]), table([0.25, 0.25, 0.5])
    assert gap(kl_p_q(p, q), math.log(2)) <= 1e-10, "KL of a half"
    assert gap(entropy(q), 1.5 * math.log(2)) <= 1e-10, "entropy"


def test_tables_reduce_the_last_axis():
    g = generator_from(0)
    p, q = random_distribution(3, 4, generator=g), random_distribution(3, 4, generator=g)
    assert (
        gap(kl_p_q(p, q), torch.stack([kl_p_q(*rows) for rows in zip(p, q, strict=True)])) <= 1e-10
    ), "row by row"
    assert gap(kl_p_q(p.T, q.T, dim=0), kl_p_q(p, q)) <= 1e-10, "along another axis"
    assert gap(expectation(p, q, dim=-1).sum(), expectation(p, q)) <= 1e-10, (
        "expectation over one axis"
    )


def test_bayes_and_mixture_by_hand():
    p_y, p_x_given_y = table([0.25, 0.75]), table([[0.8, 0.2], [0.4, 0.6]])
    assert gap(mixture(p_y, p_x_given_y), table([0.5, 0.5])) <= 1e-10, "p(x)"
    assert gap(posterior(p_y, p_x_given_y), table([[0.4, 0.1], [0.6, 0.9]])) <= 1e-10, "p(y|x)"


def test_an_impossible_state_tells_nothing():
    p_y, laws = table([0.25, 0.75]), table([[1.0, 0.0], [1.0, 0.0]])
    assert gap(posterior(p_y, laws), p_y[:, None].expand(2, 2)) <= 1e-10, "p(y|x) = p(y)"
    assert gradient(lambda p: posterior(p, laws)[0].sum(), p_y).isfinite().all()


def test_a_seed_gives_the_same_table_and_another_seed_another():
    first = random_distribution(4, generator=generator_from(3))
    assert torch.equal(first, random_distribution(4, generator=generator_from(3)))
    assert gap(first, random_distribution(4, generator=generator_from(4))) > 1e-4, "seeds"
    assert first.dtype == torch.float64


# ---- the conventions at zero -------------------------------------------------------------------


def test_zero_log_zero_is_zero_in_value_and_in_gradient():
    p = table([0.0, 1.0])
    assert p_log_q(p, table([0.0, 1.0])).tolist() == [0.0, 0.0]
    assert entropy(p) == 0
    for f in (entropy, lambda p: kl_p_q(p, table([0.5, 0.5])), lambda p: expectation(p, p.log())):
        value = f(p)
        assert value.isfinite()
    assert gradient(lambda p: kl_p_q(p, table([0.5, 0.5])), p).isfinite().all()
    assert (
        gradient(lambda logits: entropy(logits.softmax(-1)), table([-math.inf, 0.0, 1.0]))[0] == 0
    )


def test_kl_is_infinite_exactly_where_q_misses_p():
    assert kl_p_q(table([0.5, 0.5]), table([1.0, 0.0])) == math.inf
    assert gap(kl_p_q(table([1.0, 0.0]), table([0.5, 0.5])), math.log(2)) <= 1e-10, (
        "the other direction"
    )


def test_an_expectation_ignores_what_cannot_happen():
    assert expectation(table([0.0, 1.0]), table([-math.inf, 3.0])) == 3.0
    assert expectation(table([0.5, 0.5]), table([-math.inf, 3.0])) == -math.inf
    at_zero = gradient(lambda p: expectation(p, table([7.0, 3.0])), table([0.0, 1.0]))
    assert at_zero.tolist() == [7.0, 3.0]


def test_log_table():
    assert log_table(table([0.0, 1.0])).tolist() == [-math.inf, 0.0]


# ---- C1.1: mutual information is a Jensen-Shannon divergence -----------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_y", [2, 3])
def test_1_1_jsd_is_mutual_information(seed, n_y):
    g = generator_from(seed)
    p_y, p_x_given_y = (
        random_distribution(n_y, generator=g),
        random_distribution(n_y, 5, generator=g),
    )
    joint = p_y[:, None] * p_x_given_y
    information = mutual_information(joint)
    assert gap(information, jsd_weighted(p_y, p_x_given_y)) <= 1e-10, "I = JSD"
    assert gap(information, entropy(joint.sum(0)) - conditional_entropy(joint.T)) <= 1e-10, (
        "I = H(x) - H(x|y)"
    )
    assert gap(information, entropy(p_y) - conditional_entropy(joint)) <= 1e-10, "I = H(y) - H(y|x)"
    rows = sum(p_y[y] * entropy(p_x_given_y[y]) for y in range(n_y))
    assert gap(conditional_entropy(joint.T), rows) <= 1e-10, "H(x|y) is an average of row entropies"
    assert 0 < information < entropy(p_y)


@pytest.mark.parametrize("seed", SEEDS)
def test_1_1_the_weights_of_the_jsd_are_p_y(seed):
    g = generator_from(seed)
    p_x_given_y = random_distribution(2, 5, generator=g)
    assert gap(jsd(*p_x_given_y), jsd_weighted(table([0.5, 0.5]), p_x_given_y)) <= 1e-10, "uniform"
    assert gap(jsd(*p_x_given_y), jsd_weighted(table([0.2, 0.8]), p_x_given_y)) > 1e-4, (
        "not uniform"
    )


def test_1_1_edges():
    disjoint = table([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert gap(jsd_weighted(table([0.3, 0.7]), disjoint), entropy(table([0.3, 0.7]))) <= 1e-10, (
        "disjoint supports tell y"
    )
    assert gap(jsd(*disjoint), math.log(2)) <= 1e-10, "at most log 2"
    assert jsd(disjoint[0], disjoint[0]) == 0
    assert kl_p_q(*disjoint) == math.inf


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (torch.tensor([0.5, 0.5]), "float64"),
        (table([1.5, -0.5]), "negative"),
        (table([0.5, 0.4]), "does not sum to 1"),
        (table([math.nan, 1.0]), "does not sum to 1"),
    ],
)
def test_a_table_that_is_no_distribution_is_refused(values, sentence):
    with pytest.raises(UnigenError, match=sentence):
        check_distribution("p", values)


def test_normalise_makes_a_distribution():
    rows = normalise(table([[3.0, 1.0], [2.0, 2.0]]))
    columns = normalise(table([[3.0, 1.0], [2.0, 2.0]]), dim=0)
    check_distribution("p", rows)
    check_distribution("p", columns, dim=0)
    assert gap(rows, table([[0.75, 0.25], [0.5, 0.5]])) <= 1e-15
    assert gap(columns, table([[0.6, 1 / 3], [0.4, 2 / 3]])) <= 1e-15
