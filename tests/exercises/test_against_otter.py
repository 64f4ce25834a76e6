"""Otter itself agrees with the small runner of this folder: reference, stub and a wrong answer."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from unigen_edu.grading import Limits, grade_path


@pytest.mark.slow
def test_otter_and_the_runner_give_the_same_points(exercise, runners, answers, tmp_path, capsys):
    runner = runners(exercise)
    # The wrong answer that only hidden tests notice, to one question of those in the middle.
    wrong = next(a for a in answers(exercise) if a.question == "q4" and a.says is None)
    shutil.copy(runner.built.key, tmp_path / "reference.ipynb")
    shutil.copy(runner.built.student / f"{exercise}.ipynb", tmp_path / "stub.ipynb")
    notebook = json.loads(runner.built.key.read_text(encoding="utf-8"))
    reference = runner.source(wrong.question)
    replaced = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and "".join(cell["source"]) == reference:
            cell["source"], replaced = wrong.code, replaced + 1
    assert replaced == 1
    (tmp_path / "wrong.ipynb").write_text(json.dumps(notebook), encoding="utf-8")

    assert grade_path(tmp_path, limits=Limits(seconds=60)) == 0
    with (tmp_path / "grades.csv").open(newline="") as stream:
        rows = {row["student"]: row for row in csv.DictReader(stream)}
    expected = {
        "reference": runner.reference,
        "stub": runner.stub(),
        "wrong": runner.with_answer(wrong.question, wrong.code),
    }
    assert rows.keys() == expected.keys()
    for student, outcome in expected.items():
        given = {question: float(rows[student][question]) for question in runner.built.points}
        assert given == outcome.scores, student
        assert float(rows[student]["total"]) == sum(outcome.scores.values())
        assert rows[student]["reason"] == ""
    assert [float(rows[s]["total"]) for s in ("reference", "stub", "wrong")] == [20, 0, 17]
    assert "3 of 3 graded" in capsys.readouterr().out
