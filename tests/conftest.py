"""Small data and small models for all tests; one thread, and the same random numbers for a test
whatever ran before it. `pytest --seed 7` gives every test other ones: a test that then fails holds
for the numbers it happened to draw and not for the code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from unigen_edu import models
from unigen_edu.data import Dataset
from unigen_edu.declarations import Model

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=0, help="where each test's random numbers start")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that compile come last: after them a process often takes no copies of itself."""
    items.sort(key=lambda item: item.get_closest_marker("compiles") is not None)


@pytest.fixture(autouse=True)
def random_numbers(request: pytest.FixtureRequest) -> None:
    torch.manual_seed(request.config.getoption("--seed"))


@pytest.fixture
def digits() -> Dataset:
    """21 random images of 4x4 bytes, each labelled with its own index."""
    x = torch.randint(0, 256, (21, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    return Dataset(x.to(torch.uint8), torch.arange(21), name="digits")


@pytest.fixture
def small() -> Callable[..., Model]:
    """`models.create` for images of 4x4 pixels and few latent coordinates."""

    def create(name: str, **options: object) -> Model:
        return models.create(name, **{"shape": (1, 4, 4), "latent": 3, **options})

    return create


@pytest.fixture
def processes_of() -> Callable[..., list[list[str]]]:
    """processes_of(folder) -> command lines of a grading's processes with files in a folder."""
    import contextlib

    import psutil

    from unigen_edu.sandbox import MARK

    def find(folder: object) -> list[list[str]]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(MARK) and process.cwd().startswith(str(folder)):
                    found.append(process.cmdline())
        return found

    return find
