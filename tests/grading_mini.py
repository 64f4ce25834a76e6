"""A tiny exercise in the place of a real one, and submissions of it."""

from __future__ import annotations

import json

from unigen_edu import exercises

NAME = "00_mini"
CONFIG = """# ASSIGNMENT CONFIG
name: {name}
init_cell: false
export_cell: false
run_tests: false
tests:
  files: true
  ok_format: false
"""
SEED = exercises.seed_of(exercises.OPEN_KEY, NAME, "q10")
RIGHT = ("q1 = 3", "def twice(x):\n    return x + x", f"q10 = {SEED}")
WRONG = ("q1 = 5", "def twice(x):\n    return x", "q10 = 7")


def cell(kind, source):
    made = {"cell_type": kind, "id": f"{abs(hash(source)):x}"[:8], "metadata": {}, "source": source}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def notebook(cells, **metadata):
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def source(name=NAME):
    """q1: the number 3; q2: a function that doubles; q10: the number that the key draws."""
    questions = (
        ("q1", 2, "q1 = 3", "q1", "q1 is not None and q1 != ...", "q1 == 3"),
        ("q2", 1, "def twice(x):\n    return 2 * x", "twice", "callable(twice)", "twice(21) == 42"),
        ("q10", 3, 'q10 = KEYED["seed"]', "q10", "q10 not in (None, ...)", 'q10 == KEYED["seed"]'),
    )
    cells = [cell("raw", CONFIG.format(name=name))]
    for question, points, answer, defined, public, hidden in questions:
        begin = f"# BEGIN QUESTION\nname: {question}\npoints: {points}\nall_or_nothing: true"
        test = f"def {{}}_{question}({defined}):\n    assert {{}}, '{{}}'"
        cells += [
            cell("raw", begin),
            cell("markdown", f"What is {question}?"),
            cell("raw", "# BEGIN SOLUTION"),
            cell("code", f"# BEGIN SOLUTION\n{answer}\n# END SOLUTION"),
            cell("raw", "# END SOLUTION"),
            cell("raw", "# BEGIN TESTS"),
            cell("code", test.format("public", public, f"{question} still has dots in it.")),
            cell("code", "# HIDDEN\n" + test.format("hidden", hidden, "no")),
            cell("raw", "# END TESTS"),
            cell("raw", "# END QUESTION"),
        ]
    return notebook(cells, kernelspec={"name": "python3", "display_name": "", "language": "python"})


def write_home(folder):
    """A folder of exercises with this one: q1, q2 and q10, 6 points."""
    (folder / NAME).mkdir(parents=True)
    (folder / NAME / exercises.SOURCE).write_text(json.dumps(source()))
    return folder


def submission(*sources, **metadata):
    metadata = metadata or {"otter": {"assignment_name": NAME}}
    return json.dumps(notebook([cell("code", source) for source in sources], **metadata))
