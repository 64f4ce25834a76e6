"""Which equations the book states, which of them are checked, and what the checks measured.

Three lists have to agree: the labels `$$ ... $$ (eq-...)` in the pages, the labels that tests name
with `@pytest.mark.equation(...)`, and the labels that a file
of `definitions/` calls definitions.
`problems` says in one sentence each where they do not.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
CHECKS = ROOT / "tests" / "equations"
RESULT = ROOT / "build" / "equations.json"

# `$$ (eq-name)` closes a displayed equation; `:label: eq-name` belongs to a {math} directive.
_LABEL = re.compile(
    r"(?:\$\$[ \t]*\((eq-[^)\s]*)\))|(?:^:label:[ \t]*(eq-\S+)[ \t]*$)", re.MULTILINE
)
_WELL_FORMED = re.compile(r"eq-[a-z0-9]+(-[a-z0-9]+)+")


def _markdown(page: Path) -> str:
    """The Markdown of a page: a `.md` file, or the Markdown cells of a notebook."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def pages(book: Path = BOOK) -> list[Path]:
    """The pages of the book: `.md` and `.ipynb`, not checkpoints."""
    return sorted(
        page
        for pattern in ("*.md", "*.ipynb")
        for page in book.rglob(pattern)
        if not any(part.startswith((".", "_")) for part in page.relative_to(book).parts)
    )


def labels_in_book(book: Path = BOOK) -> dict[str, list[str]]:
    """Every equation label, with the names of the pages that carry it."""
    found: dict[str, list[str]] = {}
    for page in pages(book):
        for match in _LABEL.finditer(_markdown(page)):
            found.setdefault(match[1] or match[2], []).append(page.name)
    return found


def definitions(folder: Path = CHECKS) -> dict[str, str]:
    """The labels of definitions, with the reason why nothing about them can be checked."""
    found: dict[str, str] = {}
    for path in sorted((folder / "definitions").glob("*.toml")):  # one file for each chapter
        of_chapter = tomllib.loads(path.read_text(encoding="utf-8"))
        if twice := sorted(found.keys() & of_chapter.keys()):
            raise ValueError(f"{twice[0]} is defined twice, the second time in {path.name}")
        found |= of_chapter
    return found


def labels_in_checks(folder: Path = CHECKS) -> dict[str, list[str]]:
    """Every label named by `pytest.mark.equation`, with `file::test`, read without running.

    Raises:
        ValueError: a label is not written out as a string.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            decorators = (n for d in function.decorator_list for n in ast.walk(d))
            for mark in filter(_is_equation_mark, decorators):
                for argument in mark.args:  # type: ignore[attr-defined]
                    if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                        raise ValueError(
                            f"{path.name}, line {argument.lineno}: write the label of the equation "
                            "as a string, so that it can be found without running the test."
                        )
                    found.setdefault(argument.value, []).append(f"{path.name}::{function.name}")
    return found


def _is_equation_mark(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "equation"
        and isinstance(node.func.value, ast.Attribute)
        and node.func.value.attr == "mark"
    )


def problems(
    in_book: Mapping[str, list[str]],
    in_checks: Mapping[str, Iterable[str]],
    defined: Mapping[str, str],
) -> list[str]:
    """One sentence for each disagreement between the book, the checks and the definitions."""
    found = []
    for label, where in sorted(in_book.items()):
        if not _WELL_FORMED.fullmatch(label):
            found.append(f"{label} ({where[0]}): a label reads eq-<chapter>-<name>, in lower case.")
        if len(where) > 1:
            found.append(f"{label} stands {len(where)} times in the book: {', '.join(where)}.")
        if label not in in_checks and label not in defined:
            found.append(
                f"{label} ({where[0]}) has no check: mark one with "
                f'@pytest.mark.equation("{label}"), or say in definitions/ what it defines.'
            )
    for label, tests in sorted(in_checks.items()):
        if label not in in_book:
            found.append(f"{label} is checked by {', '.join(tests)}, but no page states it.")
        if label in defined:
            found.append(f"{label} is both checked and called a definition: keep one.")
    for label, reason in sorted(defined.items()):
        if label not in in_book:
            found.append(f"{label} is in definitions/, but no page states it.")
        if not isinstance(reason, str) or len(reason.strip()) < 10 or "\n" in reason:
            found.append(f"{label} in definitions/ needs a reason of one line.")
    return found


def result(
    measured: Iterable[Mapping[str, Any]], defined: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """What the equation index shows: for each label its checks and the largest error they measured.

    Args:
        measured: one record a comparison, with keys label, test, relation, error, tolerance.
        defined: reasons by label.
    """
    index: dict[str, dict[str, Any]] = {
        label: {
            "kind": "definition",
            "tests": [],
            "error": None,
            "tolerance": None,
            "comparisons": 0,
            "reason": reason,
        }
        for label, reason in defined.items()
    }
    for record in measured:
        entry = index.setdefault(
            record["label"],
            {
                "kind": "checked",
                "tests": [],
                "error": None,
                "tolerance": None,
                "comparisons": 0,
                "reason": None,
            },
        )
        if record["test"] not in entry["tests"]:
            entry["tests"].append(record["test"])
        entry["comparisons"] += 1
        # "!=" records by how much two sides differ; that is no error.
        if record["relation"] != "!=":
            entry["error"] = max(record["error"], entry["error"] or 0.0)
            entry["tolerance"] = max(record["tolerance"], entry["tolerance"] or 0.0)
    for entry in index.values():
        entry["tests"].sort()
    return dict(sorted(index.items()))
