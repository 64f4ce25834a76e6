"""`{exercise-table}`: the graded exercises with their questions, points and minutes.

Read from the students' notebooks, whose headers the tests compare with the tests' own points.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

EXERCISES = Path(__file__).resolve().parents[2] / "exercises"
NUMBERS = {5: "five", 6: "six", 7: "seven", 8: "eight"}
QUESTION = re.compile(
    r"^## Question (\d+) ·.*?(\d+) points · (\d+) minutes\n\n\*([\w ]+)\.", re.MULTILINE
)

TOPIC = re.compile(r"^\| \d \| [\w ]+: (.*?) \| \d+ \| \d+ \| \d+ \|$", re.MULTILINE)


@dataclass(frozen=True)
class Summary:
    """What the notebook of an exercise says of itself."""

    name: str
    title: str
    questions: int
    points: int
    minutes: int
    first: str
    last: str

    def paragraph(self, repository: str) -> str:
        """What the chapter says of its exercise, before its summary."""
        path = f"blob/main/exercises/{self.name}/student/{self.name}.ipynb"
        slug = repository.removeprefix("https://github.com/")
        count = NUMBERS[self.questions]
        return (
            f"**Graded exercise.** [{self.title}]({repository}/{path}) "
            f"([in Colab](https://colab.research.google.com/github/{slug}/{path})): {count} "
            f"questions, {self.points} points, about {self.minutes} minutes, from *{self.first}* "
            f"to *{self.last}*. {{doc}}`how_to_use` says how to run it."
        )


def read_exercises(folder: Path = EXERCISES) -> list[Summary]:
    """The exercises in a folder, in order of their names.

    Raises:
        ValueError: a notebook has no title or no question.
    """
    found = []
    for path in sorted(folder.glob("*/student/*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        title = re.search(r"^# (?:Exercise \d+ · |Capstone · )?(.+)$", text, re.MULTILINE)
        questions = QUESTION.findall(text)
        if title is None or not questions:
            raise ValueError(f"{path} has no title or no questions")
        points = sum(int(points) for _, points, _, _ in questions)
        minutes = sum(int(minutes) for _, _, minutes, _ in questions)
        topics = TOPIC.findall(text)
        about = (title.group(1), len(questions), points, minutes, topics[0], topics[-1])
        found.append(Summary(path.stem, *about))
    return found


class ExerciseTable(SphinxDirective):
    """A row for each exercise, and the sums."""

    def run(self) -> list[nodes.Node]:
        exercises = read_exercises()
        for path in EXERCISES.glob("*/student/*.ipynb"):
            self.env.note_dependency(str(path))
        repository = self.config.html_theme_options.get("repository_url", "").rstrip("/")
        lines = ["| exercise | about | questions | points | minutes |", "|---|---|--:|--:|--:|"]
        for each in exercises:
            where = f"{repository}/blob/main/exercises/{each.name}/student/{each.name}.ipynb"
            lines.append(
                f"| [`{each.name}`]({where}) | {each.title} | {each.questions} | {each.points} "
                f"| {each.minutes} |"
            )
        sums = (
            sum(getattr(e, part) for e in exercises) for part in ("questions", "points", "minutes")
        )
        lines.append("| **all** | | " + " | ".join(f"**{total}**" for total in sums) + " |")
        parent = nodes.container(classes=["wide-table"])
        self.state.nested_parse(StringList(lines, "exercises"), self.content_offset, parent)
        return [parent]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("exercise-table", ExerciseTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
