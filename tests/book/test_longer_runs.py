"""A longer run of a chapter: what is run, what is kept, and what the book says of it."""

from __future__ import annotations

import ast
import base64
import json

import longer_runs
import longer_runs_shown
import nbformat
import pytest
from docutils import nodes
from docutils.utils import new_document

PATHS = sorted((longer_runs.ROOT / "book").glob("[0-9]*.ipynb"))
SWITCH = longer_runs.QUICK + "\nn = {'quick': 2, 'laptop': 20, 'full': 200}[SCALE]"


def notebook():
    v4 = nbformat.v4
    return v4.new_notebook(
        cells=[
            v4.new_markdown_cell("# Title"),
            v4.new_markdown_cell("## Before"),
            v4.new_code_cell("print('before')", id="before"),
            v4.new_markdown_cell("## Experiment"),
            v4.new_code_cell(SWITCH, id="switch"),
            v4.new_markdown_cell("### A part of it"),
            v4.new_code_cell("print('n =', n)", id="shows"),
            v4.new_markdown_cell("## After"),
            v4.new_code_cell("print('after')", id="after"),
        ]
    )


def scaled(*sources):
    """Which of these cells depend on SCALE, by number."""
    v4 = nbformat.v4
    cells = [v4.new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources)]
    found = longer_runs.scaled_cells(v4.new_notebook(cells=cells))
    return [int(cell.id.removeprefix("cell-")) for cell in found]


def test_the_switch_is_followed_from_assignment_to_use():
    switch = "SCALE = 'quick'\nsteps = {'quick': 1, 'laptop': 2}[SCALE]"
    assert scaled("before = 1", switch, "print(before)", "print(steps)") == [1, 3]
    # through functions and classes, and what they are called for
    train = "def train():\n    return steps"
    assert scaled(switch, train, "x = train()", "print(x)", "print(1)") == [0, 1, 2, 3]
    # into a list that a loop fills, with what a name is the root of
    loop = "for seed in range(steps):\n    runs['arm'].append(seed)"
    assert scaled(switch, "runs = {'arm': []}", loop, "print(runs)") == [0, 2, 3]
    # a magic of the notebook is no syntax error
    assert scaled("%pip install unigen-edu", switch, "print(steps)") == [1, 2]


def test_a_name_that_only_looks_the_same_does_not_depend_on_the_switch():
    switch = "SCALE = 'quick'\nsteps = {'quick': 1, 'laptop': 2}[SCALE]"
    # a parameter, a variable of a comprehension, a name that was given a new value
    assert scaled(switch, "def f(steps):\n    return steps\nprint(f(1))") == [0]
    assert scaled(switch, "print([steps for steps in range(3)])") == [0]
    assert scaled(switch, "steps = 5", "print(steps)") == [0]
    # the variable of a loop, before and after
    assert scaled(switch, "for name in range(steps):\n    print(name)", "print(name)") == [0, 1]
    assert scaled(switch, "name = steps", "for name in 'ab':\n    print(name)") == [0, 1]
    # an `if` about something else
    assert scaled(switch, "if True:\n    steps = 2\n    print(steps)") == [0]


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "07_demo.ipynb"
    nbformat.write(notebook(), path)
    folder = longer_runs.record(path, "laptop", tmp_path)
    return json.loads((folder / "record.json").read_text(encoding="utf-8"))


def test_the_whole_section_of_the_switch_is_kept_and_nothing_else(record):
    assert record["cells"] == [{"cell": "shows", "text": "n = 20\n", "pictures": []}]
    assert record["commit"]
    assert record["uncommitted_changes"]  # this notebook is in no commit
    assert record["seconds"] > 0


def test_a_chapter_that_fails_leaves_its_record_alone(tmp_path):
    path = tmp_path / "07_demo.ipynb"
    nbformat.write(notebook(), path)
    kept = longer_runs.record(path, "laptop", tmp_path) / "record.json"
    before = kept.read_text()
    broken = notebook()
    broken.cells[6].source = "1 / 0"
    nbformat.write(broken, path)
    with pytest.raises(longer_runs.CellExecutionError, match="ZeroDivisionError"):
        longer_runs.record(path, "laptop", tmp_path)
    assert kept.read_text() == before


def test_a_notebook_without_the_switch_is_refused():
    without = notebook()
    without.cells[4].source = "n = 2"
    with pytest.raises(ValueError, match="no line 'SCALE = "):
        longer_runs.at_scale(without, "full")


def test_pictures_are_kept_as_files(tmp_path):
    shown = notebook()
    png = base64.b64encode(b"a picture").decode()
    shown.cells[6].outputs = [nbformat.v4.new_output("display_data", data={"image/png": png})]
    assert longer_runs.outputs(shown, tmp_path)[0]["pictures"] == ["shows-0.png"]
    assert (tmp_path / "shows-0.png").read_bytes() == b"a picture"


def doctree(source):
    """As the notebook is read: a section for the title, in it one for each heading."""
    document = new_document("07_demo")
    chapter = nodes.section("", nodes.title("", "Title"))
    document += chapter
    for heading in ("Before", "Experiment", "After"):
        chapter += nodes.section("", nodes.title("", heading))
    part = nodes.section("", nodes.title("", "A part of it"))
    chapter[2] += nodes.literal_block("", SWITCH)
    chapter[2] += part
    part += nodes.container("", nodes.literal_block("", source))
    return document, chapter


def test_the_results_stand_at_the_end_of_their_section_with_where_they_come_from(record):
    document, chapter = doctree("print('n =', n)")
    longer_runs_shown.insert_into(document, "07_demo", record, notebook())
    shown = chapter[2][-1]
    assert "longer-run" in shown["classes"]
    assert "n = 20" in shown.astext()
    for part in (record["date"][:10], record["commit"][:10], record["machine"], "cpu"):
        assert part in shown.astext()
    assert "earlier version" not in shown.astext()
    assert len(chapter[1]) == len(chapter[3]) == 1


def test_results_of_code_that_has_changed_say_so(record):
    changed = notebook()
    changed.cells[4].source += "  # better"
    document, chapter = doctree("print('n =', n)")
    longer_runs_shown.insert_into(document, "07_demo", record, changed)
    assert "an earlier version of this code" in chapter[2][-1].astext()


def test_results_of_a_cell_that_is_gone_are_an_error(record):
    changed = notebook()
    changed.cells[6].id = "other"
    with pytest.raises(ValueError, match="record it again with"):
        longer_runs_shown.insert_into(doctree("print(n)")[0], "07_demo", record, changed)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_chapter_has_its_settings_for_every_scale(path):
    notebook = nbformat.read(path, 4)
    for scale in longer_runs.SCALES:
        running = longer_runs.at_scale(notebook, scale)
        code = "\n".join(cell.source for cell in running.cells if cell.cell_type == "code")
        assert f'SCALE = "{scale}"' in code
        assert longer_runs.QUICK not in code
    tables = [
        [ast.literal_eval(key) for key in node.value.keys]
        for cell in longer_runs.scaled_cells(notebook)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Name)
        and node.slice.id == "SCALE"
    ]
    assert tables
    for scales in tables:
        assert scales == ["quick", *reversed(longer_runs.SCALES)]


def test_the_longest_of_several_records_is_shown(record, tmp_path, monkeypatch):
    monkeypatch.setattr(longer_runs, "RECORDS", tmp_path)
    assert longer_runs_shown.recorded("07_demo") == tmp_path / "laptop/07_demo/record.json"
    longer_runs.record(tmp_path / "07_demo.ipynb", "full", tmp_path)
    assert longer_runs_shown.recorded("07_demo") == tmp_path / "full/07_demo/record.json"
    assert longer_runs_shown.recorded("08_other") is None


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_what_is_recorded_belongs_to_the_chapter(path):
    folder = longer_runs_shown.recorded(path.stem)
    assert folder is not None, (
        f"record it with 'make longer-runs SCALE=laptop CHAPTERS={path.stem}'"
    )
    record = json.loads(folder.read_text(encoding="utf-8"))
    assert not record["uncommitted_changes"]
    cells = {cell.id for cell in longer_runs.scaled_cells(nbformat.read(path, 4))}
    assert {entry["cell"] for entry in record["cells"]} <= cells
    pictures = {name for entry in record["cells"] for name in entry["pictures"]}
    assert pictures == {file.name for file in folder.parent.glob("*.png")}
