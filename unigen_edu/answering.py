"""The process in which a submission runs: `python -m unigen_edu.answering SOCKET` (a descriptor).

It gets the cells, runs them as Jupyter would, and answers questions about what they defined, at
each `grader.check` and at the end. It holds no test and no right answer.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import socket
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unigen_edu.standins import Answers, Gone

MOST_CHECKS = 50  # of one notebook


class Grader:
    """In the place of `otter.Notebook`: a check is answered by the tests on the other side."""

    def __init__(self, answers: Answers, names: Mapping[str, Any]) -> None:
        self._answers, self._names, self._checks = answers, names, 0

    def check(self, question: object, *_: object, **__: object) -> None:
        self._checks += 1
        if self._checks <= MOST_CHECKS:
            self._answers.tell("check", str(question))
            self._answers.serve(self._names)

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None  # check_all, export, add_plugin_files


def run(answers: Answers, cells: list[str]) -> None:
    """Run the cells, errors and all, and answer until the other side has enough."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    shell.cache_size = 0
    grader = Grader(answers, shell.user_ns)
    stub = types.ModuleType("otter")
    stub.Notebook = lambda *_, **__: grader  # type: ignore[attr-defined]
    stub.__spec__ = types.SimpleNamespace(name="otter")  # type: ignore[assignment]
    sys.modules["otter"] = stub
    shell.user_ns["grader"] = grader
    Path("tests").mkdir(exist_ok=True)  # the notebook's first cell looks for it
    errors = []
    for number, cell in enumerate(cells, start=1):
        done = shell.run_cell(cell, store_history=False, silent=True)
        error = done.error_before_exec or done.error_in_exec
        if error is not None:
            errors.append([number, type(error).__name__, str(error)[:300]])
    answers.tell("end", errors[:100])
    answers.serve(shell.user_ns)


def main(descriptor: int) -> None:
    answers = Answers(socket.socket(fileno=descriptor))
    request = answers.line.receive()
    # What a submission prints is read by nobody.
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    sys.stdout = sys.stderr = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)

    import numpy
    import torch

    random.seed(0)
    numpy.random.seed(0)  # noqa: NPY002 - the generator that a student's code may use
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with contextlib.suppress(Gone):
        answers.tell("ready")
        run(answers, request[1])
    os._exit(0)  # whatever threads and exit handlers the submission has left


if __name__ == "__main__":
    main(int(sys.argv[1]))
