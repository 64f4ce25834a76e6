"""`{chapter-map}` and `{chapter-table}`: which chapter needs which, read from the chapters.

A chapter says in its header *You need:* with links to other chapters, and *Reading:* and
*Running:* with times. The map draws the direct needs (what a needed chapter needs itself is left
out), and the table lists them with the times. Neither is typed by hand, so neither can be stale.
"""

from __future__ import annotations

import html
import json
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

BOOK = Path(__file__).resolve().parents[1]

BOX, ROW, COLUMN, GAP = (150, 46), 78, 166, 8  # size of a box, and distances, in units of the SVG


@dataclass(frozen=True)
class Chapter:
    """What the header of a chapter says.

    Attributes:
        stem: of its notebook, "07_lemma1".
        title: without "Chapter 7 · ".
        needs: stems of the chapters that its header names, in order.
        reading, running: the times, as they are written.
    """

    stem: str
    title: str
    needs: tuple[str, ...]
    reading: str
    running: str

    @property
    def number(self) -> int:
        return int(self.stem.split("_")[0])

    @property
    def short(self) -> str:
        """The title up to its first colon or comma."""
        return re.split(r"[:,]", self.title)[0]


def read_chapter(path: Path) -> Chapter:
    """The header of one notebook.

    Raises:
        ValueError: the notebook has no title "# Chapter N · ..." or no line "*You need:*".
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    title = re.search(r"^# Chapter (\d+) · (.+)$", text, re.MULTILINE)
    needs = re.search(r"\*You need:\*(.*?)(?=\*Reading:\*)", text, re.DOTALL)
    times = re.search(r"\*Reading:\*\s*(.*?)\s*\*Running:\*\s*(.*?)\s*$", text, re.MULTILINE)
    if title is None or needs is None or times is None:
        raise ValueError(
            f"{path.name} needs a title '# Chapter N · ...' and a header with '*You need:*', "
            "'*Reading:*' and '*Running:*'."
        )
    if int(title[1]) != int(path.stem.split("_")[0]):
        raise ValueError(f"{path.name} calls itself chapter {title[1]}.")
    named = re.findall(r"\{doc\}`[^<`]*<(\d\d_\w+)>`", needs[1])
    return Chapter(
        stem=path.stem,
        title=re.sub(r"[*$`]", "", title[2]),
        needs=tuple(dict.fromkeys(named)),
        reading=times[1].rstrip("."),
        running=times[2].rstrip("."),
    )


def read_chapters(book: Path = BOOK) -> dict[str, Chapter]:
    return {path.stem: read_chapter(path) for path in sorted(book.glob("[0-9][0-9]_*.ipynb"))}


def layers(chapters: dict[str, Chapter]) -> dict[str, int]:
    """How many chapters one must have read before, counted along the longest path.

    Raises:
        ValueError: a chapter needs one that is not before it, so that there would be a circle.
    """
    depth: dict[str, int] = {}
    for stem, chapter in sorted(chapters.items()):
        for need in chapter.needs:
            if need in chapters and need not in depth:
                raise ValueError(f"{stem} needs {need}, which does not come before it.")
        depth[stem] = 1 + max((depth[n] for n in chapter.needs if n in depth), default=-1)
    return depth


def direct_needs(chapters: dict[str, Chapter], stem: str) -> list[str]:
    """The needs of a chapter that no other of its needs already brings."""

    def all_needs(of: str) -> set[str]:
        found: set[str] = set()
        for need in chapters[of].needs:
            if need in chapters:
                found |= {need} | all_needs(need)
        return found

    needs = [n for n in chapters[stem].needs if n in chapters]
    return [n for n in needs if not any(n in all_needs(other) for other in needs)]


def picture(chapters: dict[str, Chapter]) -> str:
    """The map as an SVG: boxes are links, arrows lead from what is needed to what needs it."""
    depth = layers(chapters)
    rows: list[list[str]] = [[] for _ in range(1 + max(depth.values(), default=0))]
    for stem in chapters:
        rows[depth[stem]].append(stem)
    widest = max(map(len, rows), default=1)
    width, height = widest * COLUMN, len(rows) * ROW
    centre = {
        stem: (width / 2 + (i - (len(row) - 1) / 2) * COLUMN, (level + 0.5) * ROW)
        for level, row in enumerate(rows)
        for i, stem in enumerate(row)
    }
    parts = []
    for stem in chapters:
        x, y = centre[stem]
        top = y - BOX[1] / 2 - 3
        for need in direct_needs(chapters, stem):
            from_x, from_y = centre[need]
            start = from_y + BOX[1] / 2
            bend = (top - start) / 2
            parts.append(
                f'<path class="arrow" marker-end="url(#chapter-map-head)" d="M{from_x:.0f} '
                f"{start:.0f}C{from_x:.0f} {start + bend:.0f} {x:.0f} {top - bend:.0f} "
                f'{x:.0f} {top:.0f}"/>'
            )
    for stem, chapter in chapters.items():
        x, y = centre[stem]
        lines = textwrap.wrap(f"{chapter.number} {chapter.short}", 21)[:2]
        text = "".join(
            f'<text x="{x:.0f}" y="{y + 5 + 16 * (i - (len(lines) - 1) / 2):.0f}">'
            f"{html.escape(line)}</text>"
            for i, line in enumerate(lines)
        )
        parts.append(
            f'<a href="{stem}.html"><title>{html.escape(chapter.title)}</title>'
            f'<rect x="{x - BOX[0] / 2:.0f}" y="{y - BOX[1] / 2:.0f}" width="{BOX[0]}" '
            f'height="{BOX[1]}" rx="6"/>{text}</a>'
        )
    return (
        f'<svg class="chapter-map" viewBox="0 0 {width} {height}" role="group" '
        f'aria-label="Map of the chapters; the table below says the same in words." '
        f'style="max-width:{width}px"><defs><marker id="chapter-map-head" viewBox="0 0 8 8" '
        f'refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z"/></marker></defs>{"".join(parts)}</svg>'
    )


class ChapterMap(SphinxDirective):
    has_content = False

    def run(self) -> list[nodes.Node]:
        for path in BOOK.glob("[0-9][0-9]_*.ipynb"):
            self.env.note_dependency(str(path))
        return [nodes.raw("", picture(read_chapters()), format="html")]


class ChapterTable(SphinxDirective):
    has_content = False

    def run(self) -> list[nodes.Node]:
        lines = ["| chapter | needs | reading | running on a laptop |", "|---|---|---|---|"]
        for path in sorted(BOOK.glob("[0-9][0-9]_*.ipynb")):
            self.env.note_dependency(str(path))
            chapter = read_chapter(path)
            needs = ", ".join(
                f"{{doc}}`{int(need[:2])} </book/{need}>`" for need in chapter.needs
            )
            running = chapter.running.removesuffix(" on a laptop's CPU")
            lines.append(
                f"| {{doc}}`{chapter.number} · {chapter.title} </book/{chapter.stem}>` "
                f"| {needs or 'nothing'} | {chapter.reading} | {running} |"
            )
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("chapter-map", ChapterMap)
    app.add_directive("chapter-table", ChapterTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
