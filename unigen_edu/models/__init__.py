"""The systems of the unified view, one file each.

A model is found by being a subclass of `Model` with a `name`, in a module of this folder: adding a
model is adding one file.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from functools import cache
from typing import Any

import torch

from unigen_edu.declarations import Model
from unigen_edu.errors import UnigenError

__all__ = ["create", "get", "names", "options"]


@cache
def _registry() -> dict[str, type[Model]]:
    found: dict[str, type[Model]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        for _, member in inspect.getmembers(module, inspect.isclass):
            declared_here = member.__module__ == module.__name__
            if declared_here and issubclass(member, Model) and "name" in vars(member):
                found[member.name] = member
    # Parents before children, so that tables list the GAN before what was made from it.
    return dict(sorted(found.items(), key=lambda item: (item[1].chapter, len(item[1].__mro__))))


def unknown(kind: str, given: str, valid: list[str]) -> UnigenError:
    """The sentence for a name that does not exist, with the valid ones and the nearest."""
    near = difflib.get_close_matches(given, valid, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UnigenError(f"There is no {kind} '{given}'; choose one of: {', '.join(valid)}.{hint}")


def names() -> list[str]:
    """Names of every model."""
    return list(_registry())


def get(name: str) -> type[Model]:
    """The model class called `name`; unknown names raise a sentence that lists the valid ones."""
    registry = _registry()
    if name not in registry:
        raise unknown("model", name, list(registry))
    return registry[name]


def options(name: str) -> dict[str, Any]:
    """Options of a model's constructor and their defaults."""
    parameters = inspect.signature(get(name).__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.name != "self"}


def create(name: str, *, seed: int = 0, **given: Any) -> Model:
    """Build a model with parameters drawn from `seed`, leaving the caller's random state alone.

    Raises:
        UnigenError: unknown model or option, an option out of range, or such a seed.
    """
    model_class = get(name)
    if not 0 <= seed < 2**63:
        raise UnigenError(f"seed is {seed}, but it must be a whole number from 0 to 2^63 - 1.")
    valid = options(name)
    for option in given:
        if option not in valid:
            raise unknown(f"option of '{name}'", option, list(valid))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return model_class(**given)
