"""The form of the committed notebooks: clean, in order, accessible, all of one shape.

What they compute is compared by nbval (`make notebooks`). It compares nothing in a cell that has no
execution count or no stored output, so that is looked at here.
"""

from __future__ import annotations

import ast
import copy
import json
import re
from pathlib import Path
from typing import Any

import address
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
MARK = "# NBVAL_CHECK_OUTPUT"
SETUP = """\
# Colab and Binder: install the book's package once. Elsewhere this does nothing.
import importlib.util

if importlib.util.find_spec("unigen_edu") is None:
    %pip install --quiet "unigen-edu @ git+{url}\""""
TAGS = {"setup", "hide-input", "hide-output", "hide-cell", "remove-input", "remove-output"}
# The parts of a chapter, in order; what goes wrong may stand before or after the experiments.
PARTS = (
    r"# Chapter \d+ · .+",
    r":::\{admonition\} What you will be able to do",
    r"## The claim and its place",
    r"## Symbols",
    r"## The models? as (a picture|pictures)",
    r":::\{admonition\} Predict before you read on",
    r"## .*a pencil",
    r":::\{prf:(lemma|theorem|proposition)\} .+",
    r"## The derivation, step by step(: .+)?",
    r"## The code beside the equation(: .+)?",
    r"## Test yourself",
    r":::\{dropdown\} .+",
    r"## Summary",
    r"## Further reading",
)
ANYWHERE = (r"## Experiment.*", r"## What goes wrong, shown", r".*\*Reading:\*.*\*Running:\*.*")
# Two chapters are about no model of their own: one compares, the other looks back and ahead.
WITHOUT_A_MODEL = {"18_experiments", "20_outlook"}
COMMON = {PARTS[i] for i in (0, 1, 2, 3, 5, -4, -3, -2, -1)} | {ANYWHERE[-1]}
DRAWING = {"subplots", "graphical_model", "image_grid", "imshow"}


def source(cell: dict[str, Any]) -> str:
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def draws(code: str) -> bool:
    """Whether a cell makes a figure itself, and not inside a function that it defines."""
    tree = ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE))
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            continue
        called = (node.func for node in ast.walk(statement) if isinstance(node, ast.Call))
        if any(isinstance(f, ast.Attribute) and f.attr in DRAWING for f in called):
            return True
    return False


def form(notebook: dict[str, Any], setup: str) -> list[str]:
    """One sentence for each fault in the form of any notebook of the book."""
    found = []
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    if notebook["metadata"] != {"kernelspec": kernel, "language_info": {"name": "python"}}:
        found.append("The notebook's metadata hold more, or something else, than the kernel.")
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    if [cell["execution_count"] for cell in code] != list(range(1, len(code) + 1)):
        found.append("The cells do not carry the execution counts 1, 2, 3, ... in order.")
    if not code or source(code[0]) != setup:
        found.append("The first code cell is not the setup cell of the book (make address).")
    elif set(code[0]["metadata"].get("tags", ())) != {"setup", "hide-input"}:
        found.append("The setup cell is not tagged setup and hide-input.")
    for number, cell in enumerate(notebook["cells"]):
        found += [f"Cell {number}: {fault}" for fault in cell_form(cell)]
    return found


def cell_form(cell: dict[str, Any]) -> list[str]:
    """Faults of one cell."""
    found = []
    text, metadata = source(cell), cell["metadata"]
    if set(metadata) - {"tags", "mystnb"} or set(metadata.get("tags", ())) - TAGS:
        found.append(f"unknown metadata or tags: {json.dumps(metadata)[:80]}")
    if cell["cell_type"] != "code":
        if re.search(r"^```\{", text, re.MULTILINE):
            found.append("a directive in backticks shows raw TeX in JupyterLab: use ::: instead")
        if re.search(r"^\|.*\\\|", text, re.MULTILINE):
            found.append(r"in a table, \| loses its backslash: write \Vert")
        return found
    marked = text.startswith(MARK)
    if MARK in text and not marked:
        found.append(f"{MARK} must be the first line")
    printed = "".join("".join(o.get("text", "")) for o in cell["outputs"])
    if marked and not printed.strip():
        found.append(f"marked with {MARK}, but without a stored output to compare with")
    if not marked and cell["outputs"]:
        found.append(f"an output is stored in a cell without {MARK}")
    for output in cell["outputs"]:
        if output["output_type"] != "stream" or output["name"] != "stdout":
            found.append(f"stores an output of type {output['output_type']}, not printed text")
    if draws(text):
        mystnb = metadata.get("mystnb", {})
        if len(mystnb.get("image", {}).get("alt", "")) < 20:
            found.append("draws a figure without an alt text (metadata: mystnb.image.alt)")
        figure = mystnb.get("figure", {})
        if len(figure.get("caption", "")) < 20 or not figure.get("name", "").startswith("fig-"):
            found.append("draws a figure without a caption and a name (mystnb.figure)")
    return found


def shape(notebook: dict[str, Any], has_a_model: bool = True) -> list[str]:
    """One sentence for each part of a chapter that is missing or out of order."""
    cells = (source(c) for c in notebook["cells"] if c["cell_type"] == "markdown")
    lines = "\n".join(cells).split("\n")
    found, position = [], 0
    for part in PARTS if has_a_model else (p for p in PARTS if p in COMMON):
        places = [i for i, line in enumerate(lines) if re.fullmatch(part, line.strip())]
        later = [place for place in places if place >= position]
        if later:
            position = later[0]
        else:
            found.append(f"'{part}' is {'out of order' if places else 'missing'}.")
    for part in ANYWHERE if has_a_model else (p for p in ANYWHERE if p in COMMON):
        if not any(re.fullmatch(part, line.strip()) for line in lines):
            found.append(f"'{part}' is missing.")
    return found


@pytest.fixture(scope="module")
def setup() -> str:
    return SETUP.format(url=address.current())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_clean_and_in_order(path: Path, setup: str):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    found = form(notebook, setup)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if re.match(r"\d\d_", p.name)], ids=lambda path: path.stem
)
def test_chapter_has_every_part(path: Path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    found = shape(notebook, has_a_model=path.stem not in WITHOUT_A_MODEL)
    assert not found, "\n" + "\n".join(found)


# --- The checks notice what they are for ----------------------------------------------------------


def code_cell(text: str, count: int, output: str = "", **metadata: Any) -> dict[str, Any]:
    outputs = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
    return {
        "cell_type": "code",
        "id": f"cell-{count}",
        "execution_count": count,
        "metadata": metadata,
        "outputs": outputs,
        "source": text,
    }


@pytest.fixture
def good(setup: str) -> dict[str, Any]:
    """A chapter without faults, as small as it can be."""
    text = [
        "# Chapter 3 · Demo",
        ":::{admonition} What you will be able to do",
        "*Reading:* 5 minutes. *Running:* 1 second.",
        "## The claim and its place",
        "## Symbols",
        "## The model as a picture",
        ":::{admonition} Predict before you read on",
        "## Two outcomes, a pencil",
        ":::{prf:lemma} Demo",
        "## The derivation, step by step",
        "## The code beside the equation",
        "## What goes wrong, shown",
        "## Experiment: digits",
        "## Test yourself",
        ":::{dropdown} Why?",
        "## Summary",
        "## Further reading",
    ]
    figure = {
        "image": {"alt": "A line that rises from left to right"},
        "figure": {"caption": "A line that rises, as it should.", "name": "fig-demo-line"},
    }
    cells = [
        {"cell_type": "markdown", "id": "text", "metadata": {}, "source": "\n".join(text)},
        code_cell(setup, 1, tags=["setup", "hide-input"]),
        code_cell(f"{MARK}\nprint(1)", 2, "1\n"),
        code_cell("fig, ax = plt.subplots()\nax.plot([0, 1])", 3, mystnb=figure),
        code_cell("def draw():\n    return plt.subplots()[0]", 4),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def test_a_good_chapter_has_no_faults(good: dict[str, Any], setup: str):
    nbformat.validate(good)
    assert form(good, setup) == []
    assert shape(good) == []


FAULTS = {
    "in order": lambda nb: nb["cells"][2].update(execution_count=None),
    "than the kernel": lambda nb: nb["metadata"].update(widgets={}),
    "not the setup cell": lambda nb: nb["cells"][1].update(source="%pip install unigen-edu"),
    "not tagged": lambda nb: nb["cells"][1].update(metadata={"tags": ["setup"]}),
    "unknown metadata": lambda nb: nb["cells"][0].update(metadata={"collapsed": True}),
    "backticks": lambda nb: nb["cells"][0].update(source="```{note}\n$x$\n```"),
    r"write \Vert": lambda nb: nb["cells"][0].update(source=r"| $a\,\|\,b$ | c |"),
    "without a stored output": lambda nb: nb["cells"][2].update(outputs=[]),
    "the first line": lambda nb: nb["cells"][2].update(source=f"x = 1\n{MARK}", outputs=[]),
    "stored in a cell without": lambda nb: nb["cells"][2].update(source="print(1)"),
    "of type display_data": lambda nb: nb["cells"][2]["outputs"].append(
        {"output_type": "display_data", "data": {"image/png": "x"}, "metadata": {}}
    ),
    "of type error": lambda nb: nb["cells"][2]["outputs"].append(
        {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
    ),
    "without an alt text": lambda nb: nb["cells"][3]["metadata"]["mystnb"].pop("image"),
    "without a caption": lambda nb: nb["cells"][3]["metadata"]["mystnb"]["figure"].pop("name"),
}


@pytest.mark.parametrize("says", FAULTS)
def test_each_fault_of_form_is_named(good: dict[str, Any], setup: str, says: str):
    broken = copy.deepcopy(good)
    FAULTS[says](broken)
    assert any(says in fault for fault in form(broken, setup))


@pytest.mark.parametrize("part", range(17))
def test_a_missing_part_is_named(good: dict[str, Any], part: int):
    lines = good["cells"][0]["source"].split("\n")
    good["cells"][0]["source"] = "\n".join(lines[:part] + lines[part + 1 :])
    (fault,) = shape(good)
    assert "missing" in fault


def test_parts_out_of_order_are_named(good: dict[str, Any]):
    text = good["cells"][0]["source"]
    good["cells"][0]["source"] = text.replace("## Symbols\n", "") + "\n## Symbols"
    assert any("out of order" in fault for fault in shape(good))
