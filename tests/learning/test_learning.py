"""Every model learns, and the record says so for three seeds and against broken losses.

One seed is trained here; `make learning` trains all seeds and mutants and writes the records.
"""

from __future__ import annotations

import json

import pytest

from tests.learning.learning_check import SEEDS, all_checks
from tests.learning.record import FOLDER
from unigen_edu import models

CHECKS = all_checks()


def test_every_model_has_a_learning_check():
    assert {check.model for check in CHECKS.values()} == set(models.names())


@pytest.mark.parametrize("key", CHECKS)
def test_the_model_learns(key):
    check = CHECKS[key]
    found = check.run(SEEDS[0])
    side = "above" if check.higher_is_better else "below"
    assert check.passes(found.value), (
        f"{check.metric}: {found.value:.4g}, but it should be {side} {check.threshold:.4g}"
    )


def recorded(key: str) -> dict:
    path = FOLDER / f"{key}.json"
    assert path.exists(), f"{path} is missing: run `make learning CHECKS={key}`"
    return json.loads(path.read_text())


def test_there_is_no_record_of_a_check_that_is_gone():
    assert {path.stem for path in FOLDER.glob("*.json")} <= set(CHECKS)


@pytest.mark.parametrize("key", CHECKS)
def test_the_record_is_of_this_very_check(key):
    check, found = CHECKS[key], recorded(key)
    for name in ("model", "form", "metric", "data", "steps", "batch_size"):
        assert found[name] == getattr(check, name), f"{name} has changed: record the check again"
    assert found["options"] == json.loads(json.dumps(dict(check.options)))
    assert set(found["mutants"]) == set(check.mutants)
    assert found["seeds"] == list(SEEDS)
    assert len(check.mutants) >= 2


@pytest.mark.parametrize("key", CHECKS)
def test_in_the_record_every_seed_passes_and_every_mutant_fails(key):
    check, found = CHECKS[key], recorded(key)
    assert len(found["values"]) == len(SEEDS)
    for value in found["values"]:
        assert value is not None
        assert check.passes(value)
    for name, values in found["mutants"].items():
        assert len(values) == len(SEEDS)
        for value in values:
            assert value is None or not check.passes(value), f"the mutant '{name}' learned"
