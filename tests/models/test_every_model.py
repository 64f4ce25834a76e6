"""What every model of the registry promises, whatever it is: one test body, all models.

A model says what it needs of its data (`needs`); the small data here are made from that. Nothing in
this file knows a model by name, so a new model is tested by being added.
"""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.waiting import operations_that_wait
from unigen_edu import checkpoints, data, models
from unigen_edu.checkpoints import parameter_checksum
from unigen_edu.data import Dataset
from unigen_edu.declarations import NEEDS, Batch, Model
from unigen_edu.errors import UnigenError
from unigen_edu.seeds import fit_seeds
from unigen_edu.training import fit

NAMES = models.names()
PHASES = [(name, phase.name) for name in NAMES for phase in models.get(name).phases]
B = 7  # samples in a batch
CLASSES = 3
VOCABULARY = 6
SIZES = {"latent": 3, "hidden": 5, "features": 4, "categories": CLASSES, "layers": (6, 4), "k": 2}

# The key in an equation's label, and the chapter that it belongs to.
CHAPTER_OF_KEY = {
    "wakesleep": "03", "vae": "04", "gan": "05", "domains": "06", "lemma1": "07", "codes": "08",
    "cycles": "09", "lemma2": "10", "links": "11", "joint": "12", "f": "13", "iwae": "14",
    "iwgan": "15", "aavae": "16", "conditional": "17", "sequences": "19",
}  # fmt: skip


def is_sequential(name: str) -> bool:
    return "sequence" in models.get(name).needs


def small_options(name: str) -> dict[str, Any]:
    """Options that make the model small, as far as it has them."""
    wanted = {**SIZES, "network": "mlp", "classes": CLASSES, "vocabulary": VOCABULARY}
    wanted["shape"] = (5,) if is_sequential(name) else (1, 4, 4)
    return {option: value for option, value in wanted.items() if option in models.options(name)}


def small_model(name: str, seed: int = 0) -> Model:
    return models.create(name, seed=seed, **small_options(name))


def small_data(name: str, n: int = 3 * B) -> Dataset:
    """Random samples with everything that the model needs, and nothing else."""
    needs = models.get(name).needs
    shape = small_options(name)["shape"]
    g = torch.Generator().manual_seed(5)

    def some(labelled: bool, other: Dataset | None = None) -> Dataset:
        labels = torch.arange(n) % CLASSES if labelled else None
        classes = CLASSES if labelled else None
        if is_sequential(name):
            tokens = torch.randint(0, VOCABULARY, (n, *shape), generator=g)
            alphabet = tuple("abcdefghijklmnopqrstuvwxyz"[:VOCABULARY])
            return Dataset(tokens, labels, num_classes=classes, alphabet=alphabet)
        x = torch.randint(0, 256, (n, *shape), generator=g).to(torch.uint8)
        return Dataset(x, labels, name="small", num_classes=classes, other=other)

    other = some("other label" in needs) if needs & {"other", "other label"} else None
    return some("label" in needs, other)


def as_batch(dataset: Dataset, dtype: torch.dtype = torch.float32) -> Batch:
    x = dataset.images(slice(0, B))
    return Batch(
        x.to(dtype) if x.is_floating_point() else x,
        None if dataset.labels is None else dataset.labels[:B],
        other=None if dataset.other is None else as_batch(dataset.other, dtype),
    )


def batch_for(name: str) -> Batch:
    return as_batch(small_data(name))


def moved_by(model: Model, phase: str) -> dict[str, list[Tensor]]:
    """The parameters that a phase moves, by submodule."""
    (declared,) = (p for p in model.phases if p.name == phase)
    return {part: list(getattr(model, part).parameters()) for part in declared.moves}


def has_sampler(name: str) -> bool:
    return models.get(name).sample is not Model.sample


# ---- what is declared ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_phases_move_networks_that_exist_and_have_something_to_move(name):
    model = small_model(name)
    assert model.phases
    for phase in model.phases:
        assert phase.moves
        for part, parameters in moved_by(model, phase.name).items():
            assert parameters, f"{phase.name} moves {part}, which has no parameters"
        assert callable(getattr(model, f"{phase.name}_loss"))
        assert phase.direction
        assert phase.reduces
        assert "$" not in phase.reduces
        assert phase.reduces.count("{") == phase.reduces.count("}")


@pytest.mark.parametrize("name", NAMES)
def test_equations_are_labelled_by_a_chapter_that_there_is(name):
    model_class = models.get(name)
    chapters = {}
    for phase in model_class.phases:
        found = re.fullmatch(r"eq-([a-z0-9]+)-([a-z0-9]+(?:-[a-z0-9]+)*)", phase.equation)
        assert found, phase.equation
        assert found[1] in CHAPTER_OF_KEY, f"no chapter has the key '{found[1]}'"
        chapters[phase.name] = CHAPTER_OF_KEY[found[1]]
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", model_class.chapter)
    # A variant keeps the phases of its parent, but some phase is explained where the model is.
    assert model_class.chapter[:2] in CHAPTER_OF_KEY.values()
    # Every label that the documentation mentions is well formed, too.
    text = inspect.getsource(inspect.getmodule(model_class))
    for label in re.findall(r"\((eq-[^()\s]*)\)", text):
        assert re.fullmatch(r"eq-[a-z0-9]+(-[a-z0-9]+)+", label), label
        assert label.split("-")[1] in CHAPTER_OF_KEY, label


@cache
def loaded(name: str) -> Dataset:
    return data.load(name, "train")


@pytest.mark.parametrize("name", NAMES)
def test_the_default_data_have_what_the_model_needs(name):
    model_class = models.get(name)
    assert model_class.needs <= set(NEEDS)
    found = loaded(model_class.default_data)
    has = {
        "label": found.labels is not None,
        "other": found.other is not None,
        "other label": found.other is not None and found.other.labels is not None,
        "sequence": found.alphabet is not None,
    }
    assert all(has[need] for need in model_class.needs)


@pytest.mark.parametrize("name", [name for name in NAMES if models.get(name).needs])
def test_data_that_lack_what_the_model_needs_are_refused_in_one_sentence(name):
    bare = Dataset(small_data(name).x, alphabet=small_data(name).alphabet, name="bare")
    if is_sequential(name):
        bare = Dataset(torch.rand(B, 5), name="bare")
    with pytest.raises(UnigenError, match="'bare' does not have") as caught:
        fit(small_model(name), bare, steps=1, batch_size=B, device="cpu", progress=False)
    assert "\n" not in str(caught.value)
    assert models.get(name).default_data in str(caught.value)


# ---- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "phase"), PHASES)
def test_a_loss_is_a_finite_number_with_a_gradient_in_every_network_it_moves(name, phase):
    torch.manual_seed(0)
    model = small_model(name).train()
    loss = model.loss(phase, batch_for(name))
    assert loss.value.shape == ()
    assert loss.value.isfinite()
    assert torch.equal(loss.terms["loss"], loss.value)
    for term in loss.terms.values():
        assert term.shape == ()
        assert term.isfinite()
        assert not term.requires_grad
    for part, parameters in moved_by(model, phase).items():
        # As in training: a parameter that the loss does not reach is an error.
        found = torch.autograd.grad(loss.value, parameters, retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in found)
        assert max(gradient.abs().max() for gradient in found) > 0, f"nothing moves {part}"


@pytest.mark.parametrize("name", NAMES)
def test_the_phases_of_a_step_can_share_a_batch(name):
    """In the declared order, on one batch, each phase backwards before the next, as in training."""
    torch.manual_seed(0)
    model, batch = small_model(name).train(), batch_for(name)
    for phase in model.phases:
        parameters = [p for part in moved_by(model, phase.name).values() for p in part]
        gradients = torch.autograd.grad(model.loss(phase.name, batch).value, parameters)
        assert all(gradient.isfinite().all() for gradient in gradients)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 1e-3 * gradient.sign()


@pytest.mark.parametrize(("name", "phase"), PHASES)
def test_a_loss_is_a_function_of_parameters_batch_and_seed(name, phase):
    found = []
    for seed in (0, 0):
        torch.manual_seed(seed)
        found.append(small_model(name).train().loss(phase, batch_for(name)).value)
    assert torch.equal(*found)


@pytest.mark.parametrize(("name", "phase"), PHASES)
def test_no_loss_makes_the_host_wait_for_the_device(name, phase):
    model, batch = small_model(name).train(), batch_for(name)
    parameters = [p for part in moved_by(model, phase).values() for p in part]

    def step():
        torch.autograd.grad(model.loss(phase, batch).value, parameters)

    assert operations_that_wait(step) == []


@pytest.mark.parametrize(
    "waits",
    [
        lambda value: value.item(),
        lambda value: float(value),
        lambda value: 1.0 if value > 0 else 2.0,
        lambda value: value.reshape(1)[(value > 0).reshape(1)],
        lambda value: torch.equal(value, value),
        lambda value: torch.repeat_interleave(value.long().reshape(1)),
    ],
)
def test_a_loss_that_waits_would_be_found(waits):
    value = torch.ones(())
    assert len(operations_that_wait(lambda: waits(value))) == 1


# ---- samples -------------------------------------------------------------------------------------


def check_range(name: str, x: Tensor) -> None:
    if is_sequential(name):
        assert x.dtype == torch.int64
        assert x.min() >= 0
        assert x.max() < VOCABULARY
    else:
        assert x.isfinite().all()
        assert x.min() >= 0.0
        assert x.max() <= 1.0


@pytest.mark.parametrize("name", [name for name in NAMES if has_sampler(name)])
def test_samples_have_shape_and_range_and_leave_the_model_alone(name):
    model = small_model(name)
    for training in (True, False):
        model.train(training)
        before = parameter_checksum(model)
        x = model.sample(4)
        assert x.shape == (4, *model.shape)
        check_range(name, x)
        assert not x.requires_grad
        assert all(parameter.grad is None for parameter in model.parameters())
        assert parameter_checksum(model) == before
        assert all(module.training is training for module in model.modules())
    assert model.sample(1).shape == (1, *model.shape)


@pytest.mark.parametrize("name", [name for name in NAMES if has_sampler(name)])
def test_samples_are_a_function_of_the_seed_with_and_without_gradient(name):
    def drawn(seed: int, gradients: bool) -> Tensor:
        torch.manual_seed(seed)
        with torch.set_grad_enabled(gradients):
            return small_model(name).eval().sample(50)

    assert torch.equal(drawn(1, True), drawn(1, False))
    assert not torch.equal(drawn(1, True), drawn(2, True))


@pytest.mark.parametrize("name", [name for name in NAMES if not has_sampler(name)])
def test_a_model_without_a_sampler_says_so(name):
    with pytest.raises(UnigenError, match=f"'{name}' has no sampler"):
        small_model(name).sample(1)


# ---- what else a model may offer -----------------------------------------------------------------


def label_argument(method: Any, batch: Batch) -> dict[str, Tensor]:
    """The label as an argument, for methods that ask for one."""
    if "label" not in inspect.signature(method).parameters:
        return {}
    return {"label": batch.label if batch.label is not None else torch.arange(B) % CLASSES}


@pytest.mark.parametrize("name", [n for n in NAMES if hasattr(models.get(n), "log_weights")])
def test_weights_of_the_bound_come_k_for_each_sample(name):
    model, batch = small_model(name).eval(), batch_for(name)
    for k in (1, 4):
        found = model.log_weights(batch.x, k, **label_argument(model.log_weights, batch))
        assert found.shape == (k, B)
        assert found.isfinite().all()
    with pytest.raises(UnigenError):
        model.log_weights(batch.x, 0, **label_argument(model.log_weights, batch))


@torch.no_grad()
@pytest.mark.parametrize("name", [n for n in NAMES if hasattr(models.get(n), "log_weights")])
def test_the_weights_average_to_the_elbo(name):
    """E log w = ELBO, whichever of its forms `elbo` estimates; both are one draw's estimates."""
    torch.manual_seed(0)
    model, batch = small_model(name).eval(), batch_for(name)
    draws = 200
    log_w = model.log_weights(batch.x, draws, **label_argument(model.log_weights, batch))
    elbo = torch.stack(
        [model.elbo(batch.x, **label_argument(model.elbo, batch)) for _ in range(draws)]
    )
    assert elbo.shape == log_w.shape
    error = ((log_w.var(0) + elbo.var(0)) / draws).sqrt()
    assert ((log_w.mean(0) - elbo.mean(0)).abs() < 6 * error + 1e-3).all()


@pytest.mark.parametrize("name", [n for n in NAMES if hasattr(models.get(n), "reconstruct")])
def test_reconstructions_are_samples_like_their_originals(name):
    model, batch = small_model(name).train(), batch_for(name)
    if len(inspect.signature(model.reconstruct).parameters) > 1:
        pytest.skip("asks for more than the sample")
    found = model.reconstruct(batch.x)
    assert found.shape == batch.x.shape
    assert not found.requires_grad
    check_range(name, found)
    assert all(module.training for module in model.modules())


# ---- making, keeping and stacking models ---------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_a_function_of_the_seed(name):
    state = torch.get_rng_state()
    first = small_model(name, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    again, other = small_model(name, seed=3), small_model(name, seed=4)
    assert parameter_checksum(first) == parameter_checksum(again)
    assert parameter_checksum(first) != parameter_checksum(other)
    assert all(parameter.dtype == torch.float32 for parameter in first.parameters())
    assert all(parameter.requires_grad for parameter in first.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_gives_the_model_back(name, tmp_path):
    model = small_model(name, seed=2)
    fit(model, small_data(name), steps=2, batch_size=B, out=tmp_path, device="cpu", progress=False)
    back, about = checkpoints.load_model(tmp_path)
    assert type(back) is type(model)
    assert about["model"] == name
    assert about["step"] == 2
    assert back.config == model.config
    assert parameter_checksum(back) == parameter_checksum(model)
    assert parameter_checksum(model) != parameter_checksum(small_model(name, seed=2))
    if has_sampler(name):
        samples = []
        for either in (model, back):
            torch.manual_seed(0)
            samples.append(either.sample(3))
        assert torch.equal(*samples)


@pytest.mark.parametrize("name", NAMES)
def test_several_seeds_can_be_trained_as_one_stack(name):
    """`vmap` over parameters: every seed gets what it would get by itself."""
    options = {key: value for key, value in small_options(name).items() if key != "shape"}
    settings = {"batch_size": B, "progress": False, "device": "cpu", "log_every": 1}
    runs = fit_seeds(
        name, small_data(name), seeds=(0, 1), steps=2, options=options, dtype=torch.float64,
        method="stack", **settings,
    )  # fmt: skip
    for run in runs:
        model = small_model(name, seed=run.seed).double()
        history = fit(model, small_data(name), seed=run.seed, steps=2, **settings)
        pairs = zip(run.model.state_dict().values(), model.state_dict().values(), strict=True)
        assert max((a.double() - b.double()).abs().max() for a, b in pairs) < 1e-8
        for term, values in history.terms.items():
            assert run.history.terms[term] == pytest.approx(values, abs=1e-7), term
