"""A page for each submission: what was right, and what the checks say of the rest."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unigen_edu.grading import Grade

__all__ = ["page", "write"]

STYLE = """
:root { color-scheme: light dark; --ink: #222; --quiet: #5c5c5c; --line: #d9d9d9; --paper: #fff;
  --full: #1b7a4b; --part: #8a6100; --none: #a3341f }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --quiet: #a8a8a8; --line: #444;
  --paper: #16181b; --full: #6fd3a0; --part: #e0b454; --none: #f09a86 } }
body { font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 46rem; margin: 2.5rem auto; padding: 0 1.2rem }
h1 { font-size: 1.4rem; margin: 0 } p.of { color: var(--quiet); margin: .2rem 0 1.6rem }
p.total { font-size: 1.15rem } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .55rem .7rem .55rem 0;
  border-bottom: 1px solid var(--line) }
td.says, li, h1 { overflow-wrap: anywhere }
td.points { white-space: nowrap; font-variant-numeric: tabular-nums }
.full { color: var(--full) } .part { color: var(--part) } .none { color: var(--none) }
h2 { font-size: 1.05rem; margin-top: 2rem } code { font-size: .92em } li { margin: .3rem 0 }
"""
RIGHT = "Right, here and in other worlds."
ELSEWHERE = (
    "The check in your notebook is content, but the answer is not right in other worlds: look for "
    "a number that was typed in, or for something that held only in the small world of the check."
)


def write(folder: Path, grade: Grade) -> Path:
    """Write the page of a submission into ``folder``; returns where."""
    folder.mkdir(exist_ok=True)
    path = folder / (re.sub(r"[/\\\\:]", "__", grade.file.removesuffix(".ipynb")) + ".html")
    path.write_text(page(grade), encoding="utf-8")
    return path


def page(grade: Grade) -> str:
    """The page, complete in itself. Nothing of a submission appears in it unescaped."""
    out = html.escape
    of = out(grade.exercise or grade.file)
    body = [f"<h1>{out(grade.student)}</h1>", f'<p class="of">{of}</p>']
    if grade.reason:
        body.append(f'<p class="total none">Not graded: {out(grade.reason)}</p>')
    else:
        body.append(
            f'<p class="total"><strong>{grade.total:g}</strong> of {grade.out_of:g} points</p>'
        )
        body.append(
            "<table><thead><tr><th>question</th><th>points</th><th></th></tr></thead><tbody>"
        )
        body += [_row(grade, question) for question in grade.points]
        body.append("</tbody></table>")
    if grade.errors:
        body.append("<h2>Cells that ended in an error</h2><ul>")
        body += [
            f"<li>code cell {number}: <code>{out(kind)}</code> {out(message)}</li>"
            for number, kind, message in grade.errors
        ]
        body.append("</ul>")
    title = f"{out(grade.student)} · {of}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _with_code(sentence: str) -> str:
    """A sentence in HTML, what stands between backticks in it as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(sentence))


def _row(grade: Grade, question: str) -> str:
    score, points = grade.scores[question], grade.points[question]
    kind = "full" if score == points else "part" if score else "none"
    says = RIGHT if score == points else grade.says.get(question) or ELSEWHERE
    return (
        f'<tr><td>{html.escape(question)}</td><td class="points {kind}">{score:g} / {points:g}</td>'
        f'<td class="says">{_with_code(says)}</td></tr>'
    )
