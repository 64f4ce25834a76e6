"""Grade one submission where Gradescope puts it: `python -m unigen_edu.gradescope /autograder`.

Reads ``submission/*.ipynb`` and the course in ``source/staff``, writes ``results/results.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from unigen_edu import courses
from unigen_edu.errors import UnigenError
from unigen_edu.grading import Grade, Limits, grade_submissions


def results(grade: Grade) -> dict[str, Any]:
    """A grade as Gradescope reads it. Hidden tests appear only in the points that they cost."""
    if grade.reason:
        output = f"Not graded: {grade.reason}"
        return {"score": 0.0, "output": output, "stdout_visibility": "hidden"}
    tests = []
    for question, points in grade.points.items():
        says = grade.says.get(question, "")
        if not says and grade.hidden_failed.get(question):
            says = "The check is content, but the answer is not right in other worlds."
        tests.append(
            {
                "name": question,
                "score": grade.scores[question],
                "max_score": points,
                "output": says or "Right.",
                "visibility": "visible",
            }
        )
    return {"score": grade.total, "tests": tests, "stdout_visibility": "hidden"}


def main(root: Path) -> None:
    """Grade the first notebook of the submission and write its results."""
    course = courses.load(root / "source" / "staff")
    (name,) = course.exercises
    notebooks = sorted((root / "submission").rglob("*.ipynb"))
    if notebooks:
        limits = Limits(course.seconds, course.memory)
        (grade,) = grade_submissions(notebooks[:1], limits=limits, jobs=1, course=course)
    else:
        grade = Grade("", "", name, reason="there is no notebook: hand in the file *.ipynb.")
    out = root / "results"
    out.mkdir(exist_ok=True)
    (out / "results.json").write_text(json.dumps(results(grade), indent=1), encoding="utf-8")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except UnigenError as error:
        sys.exit(str(error))
