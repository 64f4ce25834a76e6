"""The book's equations and their checks agree, and the comparison itself would notice if not."""

from __future__ import annotations

import json
from pathlib import Path

import equation_registry as registry
import pytest

from unigen_edu import models

BOOK = Path(__file__).parents[2] / "book"
ONE_PAGE = "Text $$ a = b $$ (eq-demo-first) and\n\n$$\nc\n$$ (eq-demo-second)\n"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A book of one page with two labelled equations."""
    (tmp_path / "page.md").write_text(ONE_PAGE)
    return tmp_path


def test_every_equation_of_the_book_has_a_check_or_is_a_definition_and_no_more():
    found = registry.problems(
        registry.labels_in_book(), registry.labels_in_checks(), registry.definitions()
    )
    assert not found, "\n" + "\n".join(found)


def test_every_phase_of_a_model_names_an_equation_of_the_book():
    labels = registry.labels_in_book()
    missing = [
        f"{name}, phase {phase.name}: {phase.equation}"
        for name in models.names()
        for phase in models.get(name).phases
        if phase.equation not in labels
    ]
    assert not missing, "\n" + "\n".join(missing)


def test_labels_are_found_in_pages_notebooks_and_directives(book: Path):
    cells = [
        {"cell_type": "markdown", "source": ["$$ d $$ (eq-demo-third)\n", "more"]},
        {"cell_type": "code", "source": ["'$$ e $$ (eq-demo-code)'"]},
    ]
    (book / "chapter.ipynb").write_text(json.dumps({"cells": cells}))
    (book / "other.md").write_text(":::{math}\n:label: eq-demo-fourth\nf\n:::\n")
    (book / ".ipynb_checkpoints").mkdir()
    (book / ".ipynb_checkpoints" / "page-checkpoint.md").write_text(ONE_PAGE)
    assert registry.labels_in_book(book) == {
        "eq-demo-first": ["page.md"],
        "eq-demo-second": ["page.md"],
        "eq-demo-third": ["chapter.ipynb"],
        "eq-demo-fourth": ["other.md"],
    }


def test_agreement_has_no_problems(book: Path):
    checks = {"eq-demo-first": ["test_demo.py::test_a"]}
    assert not registry.problems(
        registry.labels_in_book(book), checks, {"eq-demo-second": "defines the letter c"}
    )


@pytest.mark.parametrize(
    ("checks", "defined", "says"),
    [
        ({"eq-demo-first": ["t"]}, {}, "eq-demo-second (page.md) has no check"),
        (
            {"eq-demo-first": ["t"], "eq-demo-second": ["t"], "eq-demo-gone": ["t"]},
            {},
            "eq-demo-gone is checked by t, but no page states it",
        ),
        (
            {"eq-demo-first": ["t"], "eq-demo-second": ["t"]},
            {"eq-demo-gone": "defines a letter that is gone"},
            "eq-demo-gone is in definitions/, but no page states it",
        ),
        (
            {"eq-demo-first": ["t"], "eq-demo-second": ["t"]},
            {"eq-demo-second": "defines the letter c"},
            "eq-demo-second is both checked and called a definition",
        ),
        ({"eq-demo-first": ["t"]}, {"eq-demo-second": " "}, "needs a reason of one line"),
    ],
)
def test_each_disagreement_is_named(book: Path, checks, defined, says: str):
    found = registry.problems(registry.labels_in_book(book), checks, defined)
    assert len(found) == 1
    assert says in found[0]


def test_a_label_used_twice_or_misspelt_is_named(book: Path):
    (book / "twice.md").write_text("$$ a $$ (eq-demo-first)\n\n$$ b $$ (eq-Demo)\n")
    in_book = registry.labels_in_book(book)
    found = registry.problems(in_book, {label: ["t"] for label in in_book}, {})
    assert len(found) == 2
    assert "eq-Demo (twice.md): a label reads" in found[0]
    assert "eq-demo-first stands 2 times in the book: page.md, twice.md" in found[1]


def test_labels_of_checks_are_read_from_the_source(tmp_path: Path):
    (tmp_path / "test_demo.py").write_text(
        "import pytest\n\n"
        '@pytest.mark.equation("eq-demo-first", "eq-demo-second")\ndef test_a(): ...\n\n'
        'ONE = pytest.mark.parametrize\n@ONE("w", [pytest.param(1, marks=pytest.mark.equation('
        '"eq-demo-x"))])\n'
        "def test_b(w): ...\n"
    )
    assert registry.labels_in_checks(tmp_path) == {
        "eq-demo-first": ["test_demo.py::test_a"],
        "eq-demo-second": ["test_demo.py::test_a"],
        "eq-demo-x": ["test_demo.py::test_b"],
    }
    (tmp_path / "test_demo.py").write_text(
        "import pytest\nNAME = 'eq-demo-first'\n\n@pytest.mark.equation(NAME)\ndef test_a(): ...\n"
    )
    with pytest.raises(ValueError, match=r"test_demo\.py, line 4: write the label"):
        registry.labels_in_checks(tmp_path)


def test_the_record_keeps_the_largest_error_of_each_equation():
    def record(label: str, error: float, relation: str = "==", test: str = "t.py::a"):
        return dict(label=label, test=test, relation=relation, error=error, tolerance=1e-10)

    index = registry.result(
        [
            record("eq-demo-first", 1e-15),
            record("eq-demo-first", 3e-12, test="t.py::b"),
            record("eq-demo-differs", 0.5, relation="!="),
        ],
        {"eq-demo-second": "defines the letter c"},
    )
    assert index["eq-demo-first"] == {
        "kind": "checked",
        "tests": ["t.py::a", "t.py::b"],
        "error": 3e-12,
        "tolerance": 1e-10,
        "comparisons": 2,
        "reason": None,
    }
    assert index["eq-demo-differs"]["error"] is None
    assert index["eq-demo-second"]["kind"] == "definition"
    assert index["eq-demo-second"]["reason"] == "defines the letter c"
