"""A chapter at full scale: what is run, what is kept, and what the book says of it."""

from __future__ import annotations

import base64
import json

import full_scale
import full_scale_results
import nbformat
import pytest
from docutils import nodes
from docutils.utils import new_document

PATHS = sorted((full_scale.ROOT / "book").glob("[0-9]*.ipynb"))
SWITCH = full_scale.QUICK + "\nn = {'quick': 2, 'full': 20}[SCALE]"


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


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "07_demo.ipynb"
    nbformat.write(notebook(), path)
    folder = full_scale.record(path, tmp_path / "full")
    return json.loads((folder / "record.json").read_text(encoding="utf-8"))


def test_the_whole_section_of_the_switch_is_kept_and_nothing_else(record):
    assert record["cells"] == [{"cell": "shows", "text": "n = 20\n", "pictures": []}]
    assert record["commit"]
    assert record["uncommitted_changes"]  # this notebook is in no commit
    assert record["seconds"] > 0


def test_a_chapter_that_fails_leaves_its_record_alone(tmp_path):
    path = tmp_path / "07_demo.ipynb"
    nbformat.write(notebook(), path)
    kept = full_scale.record(path, tmp_path) / "record.json"
    before = kept.read_text()
    broken = notebook()
    broken.cells[6].source = "1 / 0"
    nbformat.write(broken, path)
    with pytest.raises(full_scale.CellExecutionError, match="ZeroDivisionError"):
        full_scale.record(path, tmp_path)
    assert kept.read_text() == before


def test_a_notebook_without_the_switch_is_refused():
    without = notebook()
    without.cells[4].source = "n = 2"
    with pytest.raises(ValueError, match="no line 'SCALE = "):
        full_scale.at_full_scale(without)


def test_pictures_are_kept_as_files(tmp_path):
    shown = notebook()
    png = base64.b64encode(b"a picture").decode()
    shown.cells[6].outputs = [nbformat.v4.new_output("display_data", data={"image/png": png})]
    assert full_scale.outputs(shown, tmp_path)[0]["pictures"] == ["shows-0.png"]
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
    full_scale_results.insert_into(document, "07_demo", record, notebook())
    shown = chapter[2][-1]
    assert "full-scale" in shown["classes"]
    assert "n = 20" in shown.astext()
    for part in (record["date"][:10], record["commit"][:10], record["machine"], "cpu"):
        assert part in shown.astext()
    assert "earlier version" not in shown.astext()
    assert len(chapter[1]) == len(chapter[3]) == 1


def test_results_of_code_that_has_changed_say_so(record):
    changed = notebook()
    changed.cells[4].source += "  # better"
    document, chapter = doctree("print('n =', n)")
    full_scale_results.insert_into(document, "07_demo", record, changed)
    assert "an earlier version of this code" in chapter[2][-1].astext()


def test_results_of_a_cell_that_is_gone_are_an_error(record):
    changed = notebook()
    changed.cells[6].id = "other"
    with pytest.raises(ValueError, match="record it again with"):
        full_scale_results.insert_into(doctree("print(n)")[0], "07_demo", record, changed)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_chapter_can_be_run_at_full_scale(path):
    running = full_scale.at_full_scale(nbformat.read(path, 4))
    code = "\n".join(cell.source for cell in running.cells if cell.cell_type == "code")
    assert full_scale.FULL in code
    assert full_scale.QUICK not in code
