"""The checks themselves: they must be able to fail."""

import math

import pytest
import torch

from unigen_edu.errors import UnigenError
from unigen_edu.exact.checks import agree, differ, gap, gradient, jacobian
from unigen_edu.exact.tables import table


def test_agree_prints_one_line_and_returns_nothing(capsys):
    assert agree("one", 1.0, 1.0 + 1e-12) is None
    assert capsys.readouterr().out == "✓ one: equal to 1e-10\n"
    agree("loose", table([1.0, 2.0]), table([1.0, 2.001]), tolerance=1e-2)
    assert capsys.readouterr().out == "✓ loose: equal to 1e-02\n"


def test_agree_fails_with_the_measured_gap(capsys):
    with pytest.raises(AssertionError, match=r"one: the sides differ by 1\.000e-09"):
        agree("one", 0.0, 1e-9)
    assert capsys.readouterr().out == ""


def test_differ_prints_one_line(capsys):
    assert differ("two", 1.0, 2.0) is None
    assert capsys.readouterr().out == "✗ two: not equal, as claimed\n"


def test_differ_fails_if_the_sides_are_close():
    with pytest.raises(AssertionError, match="two: the sides differ by only"):
        differ("two", 1.0, 1.0 + 1e-5)


@pytest.mark.parametrize("check", [agree, differ])
def test_nan_satisfies_no_check(check):
    with pytest.raises(AssertionError):
        check("nan", math.nan, math.nan)
    with pytest.raises(AssertionError):
        check("nan", table([0.0, math.nan]), table([0.0, 1.0]))


def test_infinity():
    agree("equal infinities", math.inf, math.inf)
    with pytest.raises(AssertionError):
        agree("opposite infinities", math.inf, -math.inf)
    assert gap(math.inf, 1.0) == math.inf


def test_shapes_must_match():
    with pytest.raises(UnigenError, match=r"shapes \(2,\) and \(1,\)"):
        agree("shapes", table([1.0, 1.0]), table([1.0]))


def test_gradient_against_the_closed_form_and_differences():
    at = table([0.3, -1.2, 0.7])

    def f(t):
        return (t**3).sum() + t[0] * t[1]

    closed = 3 * at**2 + table([-1.2, 0.3, 0.0])
    assert gap(gradient(f, at), closed) <= 1e-10, "closed form"
    step = 1e-6 * torch.eye(3, dtype=torch.float64)
    numeric = torch.stack([(f(at + e) - f(at - e)) / 2e-6 for e in step])
    assert gap(gradient(f, at), numeric) <= 1e-8, "differences"
    assert not at.requires_grad


def test_the_gradient_of_a_constant_is_zero():
    constant = gradient(lambda t: table(3.0), table([1.0, 2.0]))
    assert constant.tolist() == [0.0, 0.0]
    other = torch.ones((), dtype=torch.float64, requires_grad=True)
    assert gradient(lambda t: other * 2, table([1.0])).tolist() == [0.0]


def test_gradient_refuses_what_it_cannot_do():
    with pytest.raises(UnigenError, match="float64"):
        gradient(lambda t: t.sum(), torch.ones(2))
    with pytest.raises(UnigenError, match="scalar"):
        gradient(lambda t: t, table([1.0, 2.0]))


def test_jacobian_axes_are_output_then_input():
    at = table([2.0, 3.0])
    result = jacobian(lambda t: torch.stack([t[0] * t[1], t[0], t[1] ** 2]), at)
    assert result.tolist() == [[3.0, 2.0], [1.0, 0.0], [0.0, 6.0]]
