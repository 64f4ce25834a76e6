"""`unigen grade` agrees with the small runner of this folder; otter can use what is generated.

The runner calls a student's functions directly; grading calls stand-ins for them elsewhere.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest

from unigen_edu.grading import grade_path

REFERENCE = "07_lemma1"


def with_answers(runner, answers):
    """The reference notebook with the answers (question -> code) in the place of its own."""
    notebook = json.loads(runner.built.key.read_text(encoding="utf-8"))
    sources = {runner.source(question): code for question, code in answers.items()}
    replaced = 0
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and source in sources:
            cell["source"], replaced = sources[source], replaced + 1
    assert replaced == len(answers)
    return json.dumps(notebook)


@pytest.mark.slow
def test_grading_agrees_with_the_runner(exercise, runners, answers, tmp_path, capsys):
    """Every question answered in another right way, and wrongly as only a hidden test sees."""
    runner = runners(exercise)
    right, wrong = {}, {}
    for answer in answers(exercise):
        code = runner.filled(answer.question, answer.code)
        if answer.kind == "right":
            right[answer.question] = code
        elif answer.says is None:
            wrong[answer.question] = code
    assert right.keys() == wrong.keys() == runner.built.points.keys()
    (tmp_path / "right.ipynb").write_text(with_answers(runner, right), encoding="utf-8")
    (tmp_path / "wrong.ipynb").write_text(with_answers(runner, wrong), encoding="utf-8")
    assert grade_path(tmp_path) == 0, capsys.readouterr().out
    with (tmp_path / "grades.csv").open(newline="") as stream:
        rows = {row["student"]: row for row in csv.DictReader(stream)}
    given = {
        student: {question: float(row[question]) for question in runner.built.points}
        for student, row in rows.items()
    }
    assert given["right"] == runner.built.points
    assert given["wrong"] == dict.fromkeys(runner.built.points, 0)


@pytest.mark.slow
def test_otter_grades_what_is_generated_for_it(runners, tmp_path):
    """For those who have otter's own grading in place."""
    built = runners(REFERENCE).built
    code = (
        "import json, sys; from otter.api import grade_submission; "
        "graded = grade_submission(sys.argv[1], sys.argv[2], quiet=True); "
        "print(json.dumps({name: graded.get_score(name) for name in graded.test_files}))"
    )
    command = [sys.executable, "-c", code, str(built.key), str(built.autograder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == built.points
