"""Links inside the built book, read from its files: no browser is needed for them."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import page_inspection as inspection
import pytest

SITE = Path(__file__).resolve().parents[2] / "_build" / "html"

if not (SITE / "index.html").exists() and not os.environ.get("CI"):
    pytest.skip("the links were not checked: the book is not built (make book)", True)


def test_links_lead_somewhere():
    found = inspection.broken_links(SITE)
    assert not found, "\n" + "\n".join(found)


def test_pages_are_light():
    """Under 1.5 MB each as sent, with pictures; half of them under 600 kB."""
    weights = {
        path.name: inspection.weight(path) / 1e6 for path in sorted((SITE / "book").glob("*.html"))
    }
    heavy = {name: round(megabytes, 2) for name, megabytes in weights.items() if megabytes >= 1.5}
    assert weights
    assert not heavy
    assert statistics.median(weights.values()) < 0.6


def test_the_weight_of_a_page_is_that_of_its_text_and_its_own_pictures(tmp_path: Path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "mark.svg").write_bytes(b"x" * 5000)
    (tmp_path / "figure.png").write_bytes(bytes(range(256)) * 8)
    page = tmp_path / "a.html"
    images = '<img src="figure.png"><img src="_static/mark.svg"><img src="data:,">'
    page.write_text(images + "a" * 100_000)
    assert 2048 < inspection.weight(page) < 2048 + 1000
    page.write_text(images + '<img src="figure.png">')
    assert 2048 < inspection.weight(page) < 2048 + 300


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
