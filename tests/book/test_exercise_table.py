"""Each chapter names its graded exercise, with the questions, points and minutes that it has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from exercise_table import EXERCISES, Summary, read_exercises

BOOK = EXERCISES.parent / "book"
(REPOSITORY,) = re.findall(
    r'^Repository = "(.*)"$', (EXERCISES.parent / "pyproject.toml").read_text(), re.MULTILINE
)
WITHOUT = {"18_experiments", "20_outlook"}


@pytest.mark.parametrize("exercise", read_exercises(), ids=lambda exercise: exercise.name)
def test_the_chapter_names_its_exercise(exercise):
    stem = "20_outlook" if exercise.name == "capstone" else exercise.name
    notebook = json.loads((BOOK / f"{stem}.ipynb").read_text(encoding="utf-8"))
    prose = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    wanted = exercise.paragraph(REPOSITORY)
    named = [line for text in prose for line in text.splitlines() if "**Graded exercise" in line]
    assert named == [wanted], f"write into {stem}.ipynb, before its summary:\n{wanted}"


def test_every_chapter_but_two_has_one():
    chapters = {path.stem for path in BOOK.glob("[0-9]*.ipynb")}
    assert {exercise.name for exercise in read_exercises()} == (chapters - WITHOUT) | {"capstone"}
    assert all(exercise.points == 20 for exercise in read_exercises())


def test_a_notebook_without_questions_is_noticed(tmp_path):
    path = tmp_path / "x" / "student" / "x.ipynb"
    path.parent.mkdir(parents=True)
    cells = [{"cell_type": "markdown", "source": ["# Exercise 1 · Title"]}]
    path.write_text(json.dumps({"cells": cells}))
    with pytest.raises(ValueError, match="no title or no questions"):
        read_exercises(Path(tmp_path))


def test_the_paragraph():
    summary = Summary("05_x", "Critics", 6, 20, 61, "a ratio", "an end")
    text = summary.paragraph("https://github.com/me/mine")
    where = "blob/main/exercises/05_x/student/05_x.ipynb"
    assert f"[Critics](https://github.com/me/mine/{where})" in text
    assert f"research.google.com/github/me/mine/{where}" in text
    assert "six questions, 20 points, about 61 minutes, from *a ratio* to *an end*." in text
