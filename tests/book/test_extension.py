"""The book's Sphinx extension, on a small book that is built in a process of its own."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mathematics
import pytest
import unigen_book
from fontTools.ttLib import TTFont

from unigen_edu import models

ROOT = Path(__file__).resolve().parents[2]
CONF = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
project = "Demo"
extensions = ["myst_nb", "sphinx_proof", "unigen_book", "mathematics"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
unigen_build_folder = "build"
nb_execution_mode = "off"
suppress_warnings = ["toc.not_included"]
"""
PHASES = {phase.equation for name in ("gan", "vae") for phase in models.get(name).phases}
PAGES = {
    "index.md": "# Demo\n\n```{toctree}\n03_first\n12_second\nlist\n```\n",
    "03_first.md": (
        "# Chapter 3 · First\n\n$$ a = b $$ (eq-first-a)\n\nSee $x$, and {eq}`eq-first-b`.\n\n"
        "$$ b = c $$ (eq-first-b)\n\n:::{prf:lemma} One\n:label: lem-one\n\nYes.\n:::\n"
    ),
    "12_second.md": (
        "# Chapter 12 · Second\n\n:::{prf:lemma} Two\n:label: lem-two\n\nNo.\n:::\n\n"
        "From {eq}`eq-first-b` and {prf:ref}`lem-one`.\n\n"
        + "\n\n".join(f"$$ x $$ ({label})" for label in sorted(PHASES))
        + "\n\n```{unification-table}\n:models: gan, vae\n:current: vae\n```\n"
    ),
    "list.md": "# List\n\n```{equation-index}\n```\n",
}


def checked(error: float) -> dict:
    return {
        "kind": "checked",
        "tests": ["test_demo.py::test_a_is_b_everywhere"],
        "error": error,
        "tolerance": 1e-10,
        "comparisons": 7,
        "reason": None,
    }


DEFINED = {**checked(0.0), "kind": "definition", "reason": "defines the letter a", "error": None}
RECORD = {
    "eq-first-a": DEFINED,
    "eq-first-b": checked(3.2e-16),
    **{label: checked(0.0) for label in PHASES},
}


def build(folder: Path, pages: dict[str, str], record: dict | None) -> tuple[int, str]:
    """Build a book as strictly as the real one; returns the exit code and what was said."""
    for name, text in {**pages, "conf.py": CONF}.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "build").mkdir(exist_ok=True)
    if record is not None:
        (folder / "build" / "equations.json").write_text(json.dumps(record))
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "-n", "--keep-going", ".", "out"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A small book without faults, built."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "out").mkdir()
    (folder / "out" / "gone.html").write_text("a page that the book had before")
    code, said = build(folder, PAGES, RECORD)
    assert code == 0, said
    return folder / "out"


def read(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def words(fragment: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", fragment)).split())


def rows(site: Path, page: str, table: str) -> list[str]:
    body = re.search(rf'<table class="{table}.*?<tbody>(.*?)</tbody>', read(site, page), re.DOTALL)
    assert body is not None
    return re.findall(r"<tr.*?</tr>", body[1], re.DOTALL)


def test_equations_and_lemmas_begin_with_their_chapter(site: Path):
    first, second = read(site, "03_first.html"), read(site, "12_second.html")
    assert re.findall(r'class="eqno">\(([\d.]+)\)', first) == ["3.1", "3.2"]
    assert re.findall(r'class="eqno">\(([\d.]+)\)', second)[0] == "12.1"
    assert 'href="03_first.html#equation-eq-first-b">(3.2)</a>' in second
    assert "lemma 3.1" in words(first).lower()
    assert "lemma 12.1" in words(second).lower()


def test_the_index_lists_each_equation_with_its_check(site: Path):
    content = read(site, "list.html")
    assert f"{len(RECORD)} equations: {len(RECORD) - 1} checked in" in words(content)
    definition, check = (words(row) for row in rows(site, "list.html", "equation-index")[:2])
    assert definition == "(3.1) eq-first-a Defines the letter a."
    assert check == "(3.2) eq-first-b a is b everywhere test_demo.py 7 3·10⁻¹⁶ 10⁻¹⁰"
    assert 'href="03_first.html#equation-eq-first-b"' in content


def test_the_unification_table_says_what_the_models_declare(site: Path):
    found = rows(site, "12_second.html", "unification-table")
    phases = [phase for name in ("gan", "vae") for phase in models.get(name).phases]
    assert len(found) == len(phases)
    for row, phase in zip(found, phases, strict=True):
        assert phase.name in words(row)
        assert f'data-tex="{phase.reduces}"' in html.unescape(row)
        assert f"#equation-{phase.equation}" in row
    for variable in models.get("gan").variables:
        assert variable.meaning in words(found[0])
    assert ["current-model" in row for row in found] == [False] * (len(found) - 1) + [True]


def test_a_comma_stays_with_its_formula(site: Path):
    formula = r'<span class="math notranslate nohighlight" data-tex="x"><mjx-container.*?</span>'
    assert re.search(rf'<span class="keep">{formula},</span>', read(site, "03_first.html"))


def test_formulas_are_set_when_the_page_arrives(site: Path):
    """No script has to run: signs for the eye, MathML for the ear, and the rules for both."""
    page = read(site, "03_first.html")
    formula = re.search(r'<div[^>]*data-tex="b = c"[^>]*>(.*?)</div>', page, re.DOTALL)
    assert formula is not None
    signs = re.findall(r'class="mjx-c([0-9A-F]+)', formula[1])
    assert [chr(int(sign, 16)) for sign in signs] == ["𝑏", "=", "𝑐"]
    assert '<math display="block"><mi>b</mi><mo>=</mo><mi>c</mi></math>' in formula[1]
    assert "mathjax" not in "".join(re.findall(r"<script[^>]*>", page)).lower()
    assert not re.search(r'src="(https?:)?//', page)


def test_the_style_sheet_has_the_rules_and_fonts_of_the_signs_in_the_book(site: Path):
    css = (site / "_static" / mathematics.STYLE_SHEET).read_text()
    pages = "".join(page.read_text(encoding="utf-8") for page in site.glob("*.html"))
    used = set(re.findall(r"mjx-c[0-9A-F]+", pages))
    assert "mjx-c1D44E" in used
    assert set(re.findall(r"mjx-c[0-9A-F]+", css)) <= used
    for sign in used:
        assert re.search(rf"mjx-c\.{sign}[.:].*content", css), sign
    fonts = re.findall(r'url\("(mathjax.*?)"\)', css)
    assert fonts
    assert all((site / "_static" / font).stat().st_size > 500 for font in fonts)


def test_the_fonts_in_the_style_sheet_hold_the_signs_of_the_book_and_no_others(site: Path):
    css = (site / "_static" / mathematics.STYLE_SHEET).read_text()

    def signs(family: str) -> set[str]:
        found = re.search(
            rf'font-family: {family}; src: url\("(data:font/woff;base64,)?(.*?)"', css
        )
        assert found is not None
        inside = (
            base64.b64decode(found[2]) if found[1] else (site / "_static" / found[2]).read_bytes()
        )
        return set(map(chr, TTFont(io.BytesIO(inside)).getBestCmap()))

    assert {"a", "b", "c"} <= signs("MJXTEX-I")  # the formulas of these pages
    assert "w" not in signs("MJXTEX-I")
    assert "=" in signs("MJXTEX")
    assert "⎝" in signs("MJXTEX-S4")  # the foot of a tall parenthesis, which no formula names


def test_tex_that_is_wrong_stops_the_build(tmp_path: Path):
    text = "$$ a = \\nosuchsign $$ (eq-first-a)\n\nAnd ${x$.\n\n$$ b = c $$ (eq-first-b)\n"
    pages = {**PAGES, "03_first.md": f"# Chapter 3 · First\n\n{text}"}
    code, said = build(tmp_path, pages, RECORD)
    assert code != 0
    assert re.search(r"03_first.md:3: .*nosuchsign.*Undefined control sequence", said)
    assert re.search(r"03_first.md:5: .*Extra open brace or missing close brace", said), said


def test_a_page_that_has_left_the_book_is_removed(site: Path):
    assert not (site / "gone.html").exists()


def test_faults_stop_the_build_and_are_named(tmp_path: Path):
    pages = {
        **PAGES,
        "12_second.md": "# Second\n\n$$ x $$ (eq-second-new)\n\n"
        "```{unification-table}\n:models: gna\n```\n\n"
        "```{unification-table}\n:models: gan\n:current: vae\n```\n\n"
        "```{unification-table}\n:models: gan\n```\n",
    }
    code, said = build(tmp_path, pages, RECORD)
    assert code != 0
    assert "the equation eq-second-new has neither a check nor a definition" in said
    assert "There is no model 'gna'" in said
    assert "the current model 'vae' is not in the table" in said
    assert f"target not found: {models.get('gan').phases[0].equation}" in said


def test_without_the_record_the_build_stops(tmp_path: Path):
    pages = {name: PAGES[name] for name in ("index.md", "03_first.md", "12_second.md", "list.md")}
    code, said = build(tmp_path, pages, None)
    assert code != 0
    assert "build/equations.json is missing, so the equation index would be empty" in said


def test_a_notebook_is_read_again_when_the_package_or_a_record_changes(tmp_path: Path, monkeypatch):
    package, records = tmp_path / "package", tmp_path / "records" / "runs"
    package.mkdir()
    records.mkdir(parents=True)
    (package / "code.py").write_text("x = 1\n")
    before = unigen_book.package_key(package, records.parent)
    assert unigen_book.package_key(package, records.parent) == before
    (package / "code.py").write_text("x = 2\n")
    after = unigen_book.package_key(package, records.parent)
    assert after != before
    (records / "seed0.json").write_text("{}")
    assert unigen_book.package_key(package, records.parent) not in (before, after)

    env = SimpleNamespace(found_docs={"07_a", "index"})
    env.doc2path = lambda doc: f"{doc}.ipynb" if doc[0].isdigit() else f"{doc}.md"
    keys = iter([before, before, after, after])
    monkeypatch.setattr(unigen_book, "package_key", lambda: next(keys))
    reread = [unigen_book.reread_notebooks(None, env, set(), set(), set()) for _ in range(4)]
    assert reread == [[], [], ["07_a"], []]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0, "0"), (1e-10, "10⁻¹⁰"), (2.22e-16, "2·10⁻¹⁶"), (9.7e-13, "10⁻¹²")],
)
def test_an_error_is_shown_to_one_digit(value: float | None, shown: str):
    assert unigen_book.measured(value) == shown


def test_symbols_in_words_are_set_as_mathematics():
    parts = unigen_book.UnificationTable.symbols("p_theta and q_omega, at theta_0; r_theta")
    assert [(type(part).__name__, part.astext()) for part in parts] == [
        ("math", r"p_\theta"),
        ("Text", " and "),
        ("math", r"q_\omega"),
        ("Text", ", at "),
        ("math", r"\theta_0"),
        ("Text", "; r_theta"),
    ]


def test_docstrings_keep_their_signs():
    lines = ["The mean of `x * y`, for |x| < 1:", "", "* a bullet with *args", "  f(x)", "end_"]
    unigen_book.read_docstring_as_markdown(None, "function", "f", None, None, lines)
    assert lines == [
        r"The mean of ``x * y``, for \|x\| < 1:",
        "",
        r"* a bullet with \*args",
        "  f(x)",
        "",
        r"end\_",
    ]


def test_the_table_grows_from_chapter_to_chapter():
    up_to = unigen_book.UnificationTable.up_to
    at = {name: models.get(name).chapter for name in models.names()}
    vae, gan, iwgan = up_to(["vae"]), up_to(["gan"]), up_to(["iwgan"])
    assert (vae[0], gan[0], iwgan[0]) == ("vae", "gan", "iwgan")
    assert set(vae) < set(gan) < set(iwgan) < set(models.names())
    assert all(at[name] < at["iwgan"] for name in iwgan[1:])
    assert [at[name] for name in iwgan] == sorted((at[n] for n in iwgan), reverse=True)
    assert up_to(["infogan", "aae"])[:2] == ["infogan", "aae"]
    # A page that comes back to a model shows it beside all that came before the page.
    again = up_to(["vae"], page=10)
    assert again[0] == "vae"
    assert {"gan", "cyclegan"} < set(again)
    assert "ali" not in again
