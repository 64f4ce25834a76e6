"""What it means that a model learns: a number with a threshold, and broken losses that miss it.

A learning check trains a model as a user would, on data that the package ships, and measures it on
test data or on samples, by a number that is never read from the training loss. Beside the model
stand its *mutants*: the same model with one deliberate mistake in a loss. The threshold is set
between the worst seed of the model and the best seed of the best mutant, both measured
(`results/learning/`). So the check fails when the model stops learning, and would have failed had
the mistake been ours.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import torch

from unigen_edu import data, models
from unigen_edu.data import Dataset
from unigen_edu.declarations import Model
from unigen_edu.training import fit

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class LearningCheck:
    """How to train `model`, what to measure, and which mistakes must show.

    Attributes:
        model: name in the registry.
        metric: in one line, what is measured, in which unit, on which data.
        measure: (trained model in evaluation mode, seed) -> number; random numbers are seeded.
        threshold: on its right side a model has learned.
        higher_is_better: which side that is.
        steps, batch_size, lr, betas: of `fit`.
        mutants: name -> a function that breaks one loss of an instance, before training.
        data: of `data.load`.
        options: of `models.create`.
        form: tells several checks of one model apart.
    """

    model: str
    metric: str
    measure: Callable[[Model, int], float]
    threshold: float
    higher_is_better: bool
    steps: int
    mutants: Mapping[str, Callable[[Model], None]]
    data: str = "mnist-mini"
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 64
    lr: float | None = None
    betas: tuple[float, float] | None = None
    form: str = ""

    @property
    def key(self) -> str:
        return f"{self.model}-{self.form}" if self.form else self.model

    def passes(self, value: float) -> bool:
        good = value > self.threshold if self.higher_is_better else value < self.threshold
        return good  # a NaN is on no side

    def run(self, seed: int, mutant: str | None = None) -> Result:
        """Train with `seed`, broken by `mutant` if one is named, and measure."""
        train_set = training_data(self.data)
        options = dict(self.options)
        for option, value in (
            ("classes", train_set.num_classes),
            ("vocabulary", len(train_set.alphabet) if train_set.alphabet else None),
        ):
            if option in models.options(self.model) and value is not None:
                options.setdefault(option, value)
        model = models.create(self.model, seed=seed, shape=train_set.shape, **options)
        if mutant is not None:
            self.mutants[mutant](model)
        started = time.process_time()
        fit(
            model,
            train_set,
            steps=self.steps,
            batch_size=self.batch_size,
            seed=seed,
            lr=self.lr,
            betas=self.betas,
            device="cpu",
            progress=False,
        )
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            value = float(self.measure(model, seed))
        return Result(value, time.process_time() - started)


class Result(NamedTuple):
    value: float
    seconds: float


@cache
def training_data(name: str) -> Dataset:
    return data.load(name, "train")


@cache
def test_data(name: str) -> Dataset:
    """The test split, for `measure`."""
    return data.load(name, "test")


test_data.__test__ = False  # type: ignore[attr-defined]  # no test, in spite of its name


def all_checks() -> dict[str, LearningCheck]:
    """Every check of `tests/learning/checks`, by its key."""
    from tests.learning import checks

    found: dict[str, LearningCheck] = {}
    for module_info in pkgutil.iter_modules(checks.__path__):
        module = importlib.import_module(f"{checks.__name__}.{module_info.name}")
        for check in getattr(module, "CHECKS", None) or (module.CHECK,):
            assert check.key not in found, f"two learning checks are called {check.key}"
            found[check.key] = check
    return dict(sorted(found.items()))
