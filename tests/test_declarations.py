"""What models declare is consistent, and the small pieces of which losses are made are right."""

from __future__ import annotations

import inspect
import json
import re

import pytest
import torch

from unigen_edu import models
from unigen_edu.declarations import (
    Batch,
    Loss,
    Model,
    Phase,
    Sample,
    check_count,
    check_images,
    constant,
    expect,
    from_both_sides,
)
from unigen_edu.errors import UnigenError
from unigen_edu.models.gan import GAN

# ---- one pass for two phases ---------------------------------------------------------------------


class Reader(torch.nn.Module):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(3, 4, dtype=torch.float64), torch.nn.Tanh())
        self.asked = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return self.body(x).square().sum(-1)


def a_step(weighted: bool):
    torch.manual_seed(3)
    theta = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weight = theta.sum(-1).softmax(0) if weighted else None
    reader = Reader()

    def cost(made: Sample) -> torch.Tensor:
        return expect(reader(made.value), made.weight)

    return theta, Sample(theta.sin(), weight), reader, cost


@pytest.mark.parametrize("weighted", [False, True])
def test_one_pass_gives_the_gradients_of_two(weighted):
    theta, made, reader, cost = a_step(weighted)
    for_maker, for_reader = from_both_sides(cost, made, reader)
    assert reader.asked == 1
    of_theta = torch.autograd.grad(3.0 * for_maker, theta, retain_graph=True)
    of_reader = torch.autograd.grad(3.0 * for_reader, list(reader.parameters()))
    theta_again, made, _, cost = a_step(weighted)  # the same numbers, and two passes
    direct = cost(made)
    assert direct.item() == pytest.approx(for_maker.item(), rel=1e-12)
    assert for_reader.item() == pytest.approx(for_maker.item(), rel=1e-12)
    wanted = torch.autograd.grad(3.0 * direct, theta_again)
    for found, gradient in zip(of_theta, wanted, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-12, atol=1e-14)
    theta_again, made, reader, cost = a_step(weighted)
    wanted = torch.autograd.grad(3.0 * cost(constant(made)), list(reader.parameters()))
    for found, gradient in zip(of_reader, wanted, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-12, atol=1e-14)


def test_neither_side_moves_the_other():
    theta, made, reader, cost = a_step(weighted=True)
    for_maker, for_reader = from_both_sides(cost, made, reader)
    parameters = list(reader.parameters())
    assert torch.autograd.grad(for_reader, [theta], allow_unused=True) == (None,)
    assert torch.autograd.grad(for_maker, parameters, allow_unused=True) == (None, None)


def test_the_second_phase_takes_what_the_first_left_and_a_third_asks_anew():
    _, made, reader, cost = a_step(weighted=False)
    batch = Batch(made.value.detach())

    def side(which: int) -> torch.Tensor:
        return batch.one_of_both("cost", which, lambda: from_both_sides(cost, made, reader))

    first, second = side(0), side(1)
    assert reader.asked == 1
    assert first.item() == second.item()
    with torch.no_grad():
        for parameter in reader.parameters():
            parameter.mul_(2.0)
    assert side(1).item() == cost(made).item() != second.item()
    assert side(1).requires_grad
    with torch.no_grad():
        side(1)
    assert side(0).requires_grad  # what was made without gradients is not kept


def test_both_sides_without_gradients_are_numbers():
    _, made, reader, cost = a_step(weighted=False)
    with torch.no_grad():
        for_maker, for_reader = from_both_sides(cost, made, reader)
    assert for_maker.item() == for_reader.item() == cost(made).item()
    assert not for_maker.requires_grad


# ---- expect --------------------------------------------------------------------------------------


def test_expect_is_the_mean_over_draws():
    value = torch.tensor([[1.0, 2.0, 6.0], [0.0, 4.0, -1.0]])
    assert expect(value) == 2.0
    assert torch.equal(expect(value, dim=0), torch.tensor([0.5, 3.0, 2.5]))
    assert torch.equal(expect(value, dim=1), torch.tensor([3.0, 1.0]))


def test_expect_is_the_weighted_sum_over_states():
    value = torch.tensor([[1.0, 2.0, 6.0], [0.0, 4.0, -1.0]])
    joint = torch.tensor([[0.1, 0.2, 0.0], [0.3, 0.3, 0.1]])
    assert expect(value, joint) == pytest.approx(0.1 + 0.4 + 1.2 - 0.1)
    row = torch.tensor([0.5, 0.25, 0.25])
    assert torch.allclose(expect(value, row, dim=1), torch.tensor([2.5, 0.75]))


def test_equal_weights_are_draws_and_gradients_reach_the_weights():
    value = torch.randn(4, 5, dtype=torch.float64)
    weight = torch.full((4, 5), 1 / 20, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(expect(value, weight), expect(value))
    (gradient,) = torch.autograd.grad(expect(value, weight), weight)
    assert torch.equal(gradient, value)


# ---- Batch ---------------------------------------------------------------------------------------


def test_once_makes_a_value_once_per_name_and_per_batch():
    calls: list[str] = []

    def make(name: str) -> object:
        calls.append(name)
        return object()

    first, second = Batch(torch.zeros(3, 2)), Batch(torch.zeros(3, 2))
    assert first.once("a", lambda: make("a")) is first.once("a", lambda: make("a"))
    assert first.once("b", lambda: make("b")) is not first.once("a", lambda: make("a"))
    second.once("a", lambda: make("a"))
    assert calls == ["a", "b", "a"]
    assert len(first) == 3


def test_once_keeps_none():
    calls: list[int] = []
    batch = Batch(torch.zeros(1, 2))
    for _ in range(2):
        assert batch.once("nothing", lambda: calls.append(1)) is None
    assert calls == [1]


def test_the_phases_of_a_step_share_one_draw(digits, small):
    model = small("gan")
    batch = Batch(digits.images())
    model.loss("discriminator", batch)
    x = model.generated(batch).value
    model.loss("generator", batch)
    assert model.generated(batch).value is x
    assert not torch.equal(model.generated(Batch(digits.images())).value, x)


# ---- checks --------------------------------------------------------------------------------------


def test_check_images_accepts_images_bytes_and_points():
    good = [
        torch.rand(3, 1, 4, 4),
        torch.tensor([[[[0.0, 1.0]]]]),
        torch.full((3, 1, 4, 4), 255, dtype=torch.uint8),
        torch.randn(3, 2) * 100,
        torch.rand(0, 1, 4, 4),
    ]
    for x in good:
        before = x.clone()
        check_images(x, tuple(x.shape[1:]))  # raises nothing, and leaves them as they are
        assert torch.equal(x, before)


@pytest.mark.parametrize("value", [-1e-6, 1 + 1e-6, float("nan"), float("inf"), 255.0])
def test_check_images_finds_one_pixel(value):
    x = torch.rand(3, 1, 4, 4)
    x[2, 0, 1, 1] = value
    with pytest.raises(UnigenError, match=r"Prints has pixel values .* must lie in \[0, 1\]"):
        check_images(x, (1, 4, 4), "Prints")


@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 4, 4), (16,), (4, 4)])
def test_check_images_finds_a_wrong_shape(shape):
    with pytest.raises(UnigenError, match=re.escape(f"built for {shape}")):
        check_images(torch.rand(3, 1, 4, 4), shape)


@pytest.mark.parametrize("value", [0, -1, 2.5, 3.0, "5", None, True])
def test_check_count_wants_a_whole_number_of_at_least_one(value):
    check_count("k", 1, "it counts")
    with pytest.raises(UnigenError, match=rf"^k is {re.escape(repr(value))}, but it counts: "):
        check_count("k", value, "it counts")


# ---- Model ---------------------------------------------------------------------------------------


def test_loss_dispatches_to_the_method_of_the_phase():
    class Two(Model):
        name = "two"
        factors = ()
        phases = (Phase("a", (), "", "", "eq-x-a"), Phase("b", (), "", "", "eq-x-b"))

        def a_loss(self, batch: Batch) -> Loss:
            return Loss(torch.tensor(1.0), {})

        def b_loss(self, batch: Batch) -> Loss:
            return Loss(torch.tensor(2.0), {})

    model = Two(shape=[2], width=3)
    batch = Batch(torch.zeros(1, 2))
    assert [float(model.loss(p.name, batch).value) for p in model.phases] == [1.0, 2.0]
    assert model.config == {"shape": [2], "width": 3}
    assert model.shape == (2,)
    assert not model.is_game()
    with pytest.raises(UnigenError, match="'two' has no sampler"):
        model.sample(1)


def test_a_game_has_an_adversary_that_moves():
    assert GAN.is_game()
    assert not models.get("vae").is_game()  # its discriminator is the perfect one: it never moves


@pytest.mark.parametrize("name", models.names())
def test_declarations_are_consistent(name):
    model_class = models.get(name)
    model = models.create(name)
    variables = {variable.name for variable in model_class.variables}
    submodules = {part for part, _ in model.named_children()}

    assert len(variables) == len(model_class.variables)
    assert variables >= {"x"}
    for variable in model_class.variables:
        assert variable.tex
        assert variable.meaning
    for factor in model_class.factors:
        assert {factor.child, *factor.parents} <= variables
        assert factor.child not in factor.parents
        assert factor.role in ("generative", "inference", "adversarial")
        assert factor.network is None or factor.network in submodules
        assert factor.tex.count("{") == factor.tex.count("}")
    assert any(factor.role == "generative" for factor in model_class.factors)

    assert len({phase.name for phase in model_class.phases}) == len(model_class.phases) > 0
    for phase in model_class.phases:
        assert phase.moves
        assert set(phase.moves) <= submodules
        assert callable(getattr(model, f"{phase.name}_loss"))
        assert re.fullmatch(r"eq(-[a-z0-9]+){2,}", phase.equation), phase.equation
        assert "$" not in phase.reduces
        assert phase.reduces.count("{") == phase.reduces.count("}")
        assert phase.direction
    moved = {part for phase in model_class.phases for part in phase.moves}
    assert {f.network for f in model_class.factors if f.network} == moved
    assert {p.split(".")[0] for p, _ in model.named_parameters()} == moved

    assert re.fullmatch(r"\d\d_[a-z0-9_]+", model_class.chapter)
    assert re.fullmatch(r"[a-z0-9]+", model_class.paper)
    assert inspect.getdoc(inspect.getmodule(model_class))
    # The options are all that is needed to build the model again, from JSON as well.
    config = json.loads(json.dumps(model.config))
    assert config.keys() <= models.options(name).keys()
    assert models.create(name, **config).config == model.config


# What every other model promises is checked in tests/models/test_every_model.py.
IN_FULL_SIZE = ("gan", "iwgan", "vae")


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("name", IN_FULL_SIZE)
def test_losses_are_scalars_with_detached_terms(name, network):
    model = models.create(name, network=network)
    x = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    batch = Batch(x)
    for phase in model.phases:
        loss = model.loss(phase.name, batch)
        assert loss.value.shape == ()
        assert loss.value.requires_grad
        assert torch.equal(loss.terms["loss"], loss.value)
        for term in loss.terms.values():
            assert term.shape == ()
            assert not term.requires_grad


@pytest.mark.parametrize("name", IN_FULL_SIZE)
def test_samples_are_images_without_gradient_and_independent_of_the_mode(name):
    model = models.create(name)
    for training in (True, False):
        model.train(training)
        checksum = {key: value.clone() for key, value in model.state_dict().items()}
        torch.manual_seed(0)
        x = model.sample(5)
        assert model.training is training
        assert all(m.training is training for m in model.modules())
        assert x.shape == (5, 1, 28, 28)
        assert not x.requires_grad
        check_images(x, (1, 28, 28))
        assert all(torch.equal(value, checksum[key]) for key, value in model.state_dict().items())
        torch.manual_seed(0)
        assert torch.allclose(model.sample(1), x[:1], atol=1e-6)  # no draw leans on its neighbours
