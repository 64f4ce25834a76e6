"""The map and the table of the chapters say what the chapters themselves say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import chapter_map
import pytest
from chapter_map import Chapter, direct_needs, layers, picture, read_chapter, read_chapters


def notebook(folder: Path, stem: str, *texts: str) -> Path:
    cells = [{"cell_type": "markdown", "source": [text]} for text in texts]
    path = folder / f"{stem}.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    return path


def chapter(stem: str, *needs: str) -> Chapter:
    return Chapter(stem, f"The {stem[3:]}, told", needs, "9 minutes", "a minute")


DIAMOND = {
    c.stem: c
    for c in (
        chapter("01_root"),
        chapter("02_left", "01_root"),
        chapter("04_right", "01_root"),
        chapter("07_tip", "04_right", "01_root", "02_left", "30_unwritten"),
    )
}


def test_the_header_is_read(tmp_path):
    path = notebook(
        tmp_path,
        "09_cycles",
        "# Chapter 9 · Cycles: there and *back*\n\nSee {doc}`Chapter 2 <02_inference>`.",
        "*You need:* {doc}`Chapter 8 <08_codes>` for codes, and\n{doc}`Chapter 7 <07_lemma1>`. "
        "*Reading:* 70 minutes. *Running:* about one minute.\n:::",
    )
    found = read_chapter(path)
    assert found == Chapter(
        stem="09_cycles",
        title="Cycles: there and back",
        needs=("08_codes", "07_lemma1"),
        reading="70 minutes",
        running="about one minute",
    )
    assert (found.number, found.short) == (9, "Cycles")


def test_a_header_that_is_missing_or_wrong_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"09_cycles.ipynb needs a title"):
        read_chapter(notebook(tmp_path, "09_cycles", "# Chapter 9 · Cycles"))
    header = "# Chapter 8 · C\n*You need:* nothing. *Reading:* long. *Running:* short."
    path = notebook(tmp_path, "09_cycles", header)
    with pytest.raises(ValueError, match="calls itself chapter 8"):
        read_chapter(path)


def test_chapters_stand_below_what_they_need():
    assert layers(DIAMOND) == {"01_root": 0, "02_left": 1, "04_right": 1, "07_tip": 2}
    with pytest.raises(ValueError, match="02_left needs 04_right, which does not come before it"):
        layers(DIAMOND | {"02_left": chapter("02_left", "04_right")})


def test_only_direct_needs_are_drawn():
    assert direct_needs(DIAMOND, "07_tip") == ["04_right", "02_left"]
    assert direct_needs(DIAMOND, "01_root") == []


def test_the_picture_has_a_linked_box_for_each_chapter_and_an_arrow_for_each_need():
    root = ElementTree.fromstring(picture(DIAMOND))
    links = root.findall("a")
    assert [link.get("href") for link in links] == [f"{stem}.html" for stem in DIAMOND]
    words = [" ".join(t.text for t in link.findall("text")) for link in links]
    assert words == ["1 The root", "2 The left", "4 The right", "7 The tip"]
    boxes = [(int(r.get("x")), int(r.get("y"))) for r in root.iter("rect")]
    assert len(set(boxes)) == len(boxes)
    assert boxes[0][1] < boxes[1][1] == boxes[2][1] < boxes[3][1]
    assert len([p for p in root.iter("path") if p.get("class") == "arrow"]) == 4
    _, _, width, height = map(int, root.get("viewBox").split())
    for x, y in boxes:
        assert 0 <= x <= width - chapter_map.BOX[0]
        assert 0 <= y <= height - chapter_map.BOX[1]


def test_in_the_book_no_chapter_needs_a_later_one_and_labels_fit_their_boxes():
    chapters = read_chapters()
    assert chapters
    layers(chapters)
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", picture(chapters))
    assert max(map(len, labels)) <= 22
