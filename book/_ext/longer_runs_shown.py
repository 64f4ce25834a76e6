"""Prints what a chapter showed in a longer run below its quick one, from `results/chapters/` alone.

`tools/longer_runs.py` makes the records. Of several scales the longest is shown; a chapter without
a record says nothing. A record of a cell that the chapter no longer has is an error of the build;
one of code that has changed since is shown and says so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import longer_runs

ROOT = longer_runs.ROOT
TITLES = {"full": "At full scale", "laptop": "A longer run"}
logger = logging.getLogger(__name__)


def provenance(record: dict[str, Any], changed: bool) -> str:
    """One sentence on where a record comes from."""
    minutes = record["seconds"] / 60
    took = f"{minutes:.0f} minutes" if minutes >= 2 else f"{record['seconds']:.0f} seconds"
    version = f"commit {str(record['commit'])[:10]}"
    if record["uncommitted_changes"]:
        version += " with changes"
    if changed:
        version += ", an earlier version of this code"
    place = record["device"]
    if place == "cpu":
        place += ", one thread" if record["threads"] == 1 else f", {record['threads']} threads"
    return (
        f'Recorded on {record["date"][:10]} by the cells above with SCALE = "{record["scale"]}": '
        f"{record['machine']} ({place}), torch {record['versions']['torch']}, "
        f"{version}, {took} for the chapter."
    )


def box(
    folder: str, title: str, about: str, entries: list[dict[str, Any]], cells: dict[str, Any]
) -> nodes.Node:
    """The node that shows what some cells of a chapter put out; `folder` has their pictures."""
    shown = nodes.container(classes=["longer-run"])
    shown += nodes.rubric("", title)
    shown += nodes.paragraph("", about)
    for entry in entries:
        if entry["text"].strip():
            shown += nodes.literal_block("", entry["text"].rstrip(), language="none")
        image = cells[entry["cell"]].metadata.get("mystnb", {}).get("image", {})
        # What the alt text says was seen in the quick run.
        alt = f"From the longer run; of the quick run's figure: {image.get('alt', 'see above')}"
        for name in entry["pictures"]:
            shown += nodes.figure("", nodes.image(uri=f"/{folder}/{name}", alt=alt))
    return shown


def insert_into(doctree: nodes.document, stem: str, record: dict[str, Any], notebook: Any) -> None:
    """Put each section's results at its end.

    Raises:
        ValueError: the record has a cell that the chapter has not.
    """
    cells = {cell.id: cell for cell in notebook.cells}
    scale = record["scale"]
    folder = f"results/chapters/{scale}/{stem}"
    about = provenance(record, record["code_sha256"] != longer_runs.code_sha256(notebook))
    listings = {block.astext().strip(): block for block in doctree.findall(nodes.literal_block)}
    grouped: dict[nodes.Element, list[dict[str, Any]]] = {}
    for entry in record["cells"]:
        source = cells[entry["cell"]].source.strip() if entry["cell"] in cells else None
        if source not in listings:
            raise ValueError(
                f"{folder} has a cell {entry['cell']} that {stem} has not: record it again "
                f"with 'python tools/longer_runs.py --scale {scale} {stem}'."
            )
        section = listings[source].parent
        # The sections of a chapter stand in the one of its title.
        while not (
            isinstance(section, nodes.section)
            and isinstance(section.parent, nodes.section)
            and not isinstance(section.parent.parent, nodes.section)
        ):
            section = section.parent
        grouped.setdefault(section, []).append(entry)
    for section, entries in grouped.items():
        section += box(folder, TITLES[scale], about, entries, cells)


def recorded(stem: str) -> Path | None:
    """The record of a chapter's longest run, if there is one."""
    paths = [longer_runs.RECORDS / scale / stem / "record.json" for scale in longer_runs.SCALES]
    return next((path for path in paths if path.is_file()), None)


def insert(app: Sphinx, doctree: nodes.document) -> None:
    docname = app.env.docname
    stem = docname.removeprefix("book/")
    path = recorded(stem)
    if path is None:
        return
    app.env.note_dependency(str(path))
    record = json.loads(path.read_text(encoding="utf-8"))
    notebook = nbformat.read(ROOT / "book" / f"{stem}.ipynb", 4)
    try:
        insert_into(doctree, stem, record, notebook)
    except ValueError as error:
        logger.warning(str(error), location=docname)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", insert, priority=400)  # before the pictures are collected
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
