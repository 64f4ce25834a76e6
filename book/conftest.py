"""Keeps what nbval computes, so that the build of the book need not run the notebooks again.

A notebook of which every cell ran without an error is written, with its outputs, below
`build/executed/` in a folder named after the state of the package. The Sphinx extension puts it
into jupyter-cache, which uses it if code and package are still the same.

Kernels talk to nbval through sockets in a folder of their own. With TCP, a port is chosen, let go
and bound again by the kernel a second later; when another process takes it in between, the kernel
dies, and a notebook fails although nothing is wrong with it.
"""

from __future__ import annotations

import copy
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

import nbformat
import nbval.kernel
import pytest
import unigen_book
from jupyter_client.manager import KernelManager
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile

_OUTPUTS = pytest.StashKey[dict[int, tuple[list[Any], float]]]()


def _execute_as_jupyter_does(
    self: RunningKernel, cell_input: str, allow_stdin: bool | None = None
) -> str:
    """nbval runs cells outside the history, and only there does a last `;` not silence a value."""
    return self.kc.execute(
        cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False
    )


RunningKernel.execute_cell_input = _execute_as_jupyter_does


class KernelWithItsOwnSockets(KernelManager):
    """A kernel that no other process can take a port from."""

    def __init__(self, **options: Any) -> None:
        # The path of a socket has at most 107 characters, and $TMPDIR may be long.
        parent = tempfile.gettempdir()
        folder = tempfile.mkdtemp(prefix="nbval-", dir="/tmp" if len(parent) > 60 else parent)
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        super().__init__(transport="ipc", ip=f"{folder}/socket", **options)


if sys.platform != "win32":
    nbval.kernel.KernelManager = KernelWithItsOwnSockets


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:
    report = yield
    if isinstance(item, IPyNbCell) and call.when == "call" and report.passed:
        outputs = item.parent.stash.setdefault(_OUTPUTS, {})
        outputs[item.cell_num] = (item.test_outputs or [], call.duration)
        if len(outputs) == sum(cell.cell_type == "code" for cell in item.parent.nb.cells):
            _keep(item.parent, outputs)
    return report


def _keep(file: IPyNbFile, outputs: dict[int, tuple[list[Any], float]]) -> None:
    notebook = copy.deepcopy(file.nb)
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code_cells):
        cell.outputs = [nbformat.from_dict(output) for output in outputs[number][0]]
        cell.execution_count = number + 1
    notebook.metadata["seconds"] = sum(seconds for _, seconds in outputs.values())
    name = file.path.relative_to(unigen_book.ROOT)
    target = unigen_book.EXECUTED / unigen_book.package_key() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
