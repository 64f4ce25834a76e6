"""Links inside the built book, read from its files: no browser is needed for them."""

from __future__ import annotations

import os
from pathlib import Path

import page_inspection as inspection
import pytest

SITE = Path(__file__).resolve().parents[2] / "_build" / "html"

if not (SITE / "index.html").exists() and not os.environ.get("CI"):
    pytest.skip("the links were not checked: the book is not built (make book)", True)


def test_links_lead_somewhere():
    found = inspection.broken_links(SITE)
    assert not found, "\n" + "\n".join(found)


def test_a_broken_link_and_a_missing_anchor_are_named(tmp_path: Path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">1</a><a href="b.html#gone">2</a><img src="c.png">'
        '<a href="#top">3</a><a href="https://example.org/x">4</a>'
    )
    (tmp_path / "b.html").write_text('<p id="here">b</p>')
    assert inspection.broken_links(tmp_path) == [
        "a.html: nothing in b.html is called #gone",
        "a.html: c.png does not exist",
        "a.html: nothing in a.html is called #top",
    ]
