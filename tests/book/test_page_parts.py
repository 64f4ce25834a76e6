"""What goes into the head of a page: no needless scripts, the icons in use, words for cards."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import light_pages
import page_metadata
import pydata_sphinx_theme
import pytest
import typefaces
from docutils import nodes
from docutils.utils import new_document
from fontTools.ttLib import TTFont


def test_only_the_named_scripts_go():
    page = (
        '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>\n'
        '  <script src="../searchindex.js"></script>\n<script src="_static/book.js?v=2"></script>'
        '<script>var searchindex = "searchindex.js";</script>'
    )
    assert light_pages.without_scripts(page, ("fontawesome.js", "searchindex.js")) == (
        '\n<script src="_static/book.js?v=2"></script>'
        '<script>var searchindex = "searchindex.js";</script>'
    )


def test_scripts_run_after_the_page_but_for_the_one_that_the_page_fills_in():
    page = (
        '<script src="../_static/documentation_options.js?v=9"></script>\n'
        '<script data-prefix="tab" src="../_static/design-tabs.js?v=f"></script>\n'
        '<script>DOCUMENTATION_OPTIONS.pagename = "a";</script>\n'
        '<script defer src="_static/scripts/bootstrap.js"></script>'
    )
    assert light_pages.deferred(page) == page.replace(
        'src="../_static/design-tabs.js?v=f">', 'src="../_static/design-tabs.js?v=f" defer>'
    )
    assert light_pages.deferred(light_pages.deferred(page)) == light_pages.deferred(page)


def test_pictures_come_when_the_reader_comes_near_and_have_their_place(tmp_path: Path):
    page, images = tmp_path / "book", tmp_path / "_images"
    page.mkdir()
    images.mkdir()
    png = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAIAAAADCAAAAAC4HznGAAAADklEQVR4nGNgYPgPQgAIAAP/dyVqCAAAAABJRU5ErkJggg=="
    )
    (images / "figure.png").write_bytes(png)
    inside = f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}" hidden>'
    html = f'<img alt="a" src="../_images/figure.png" />{inside}<img src="../mark.svg" alt="">'
    first, second, third = re.findall(
        "<img[^>]*>", light_pages.with_light_pictures(html, page, images)
    )
    place = '<img loading="lazy" width="2" height="3" '
    assert first == f'{place}alt="a" src="../_images/figure.png" />'
    name = re.fullmatch(f'{re.escape(place)}src="../(_images/[0-9a-f]{{64}}.png)" hidden>', second)
    assert name is not None
    assert (tmp_path / name[1]).read_bytes() == png
    assert third == '<img src="../mark.svg" alt="">'


STATIC = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"


def test_the_theme_still_measures_as_it_did_where_that_is_taken_out():
    script = (STATIC / light_pages.THEME_SCRIPT).read_text(encoding="utf-8")
    assert len(light_pages.MEASURING.findall(script)) == 1


def test_a_page_has_one_style_sheet_which_holds_the_others(tmp_path: Path):
    (tmp_path / "styles").mkdir()
    (tmp_path / "fonts").mkdir()
    (tmp_path / "fonts" / "a.woff2").write_bytes(b"")
    (tmp_path / "basic.css").write_text("p { color: red }")
    (tmp_path / "styles" / "theme.css").write_text(
        '@charset "UTF-8";@import "../basic.css";a { src: url(../fonts/a.woff2?v=1#b) }'
        "i { background: url(\"data:image/svg+xml,%3Cg fill='url(%23c)'/%3E\") }"
    )
    (tmp_path / "book.css").write_text('b { src: url("fonts/a.woff2") }')
    page = (
        '<head>\n<link href="../_static/styles/theme.css?digest=5" rel="stylesheet" />\n'
        '<link rel="stylesheet" type="text/css" href="../_static/book.css?v=3" />\n'
        '<link rel="icon" href="../_static/mark.svg"/>\n</head>'
    )
    light, names = light_pages.with_one_style_sheet(page)
    assert names == ["styles/theme.css", "book.css"]
    assert light == (
        '<head>\n<link rel="stylesheet" href="../_static/styles.css">\n'
        '<link rel="icon" href="../_static/mark.svg"/>\n</head>'
    )
    mark = light_pages.write_styles(tmp_path, names)
    assert (tmp_path / "styles.css").read_text() == (
        "/* styles/theme.css book.css */\n"
        'p { color: red }a { src: url("fonts/a.woff2?v=1#b") }'
        "i { background: url(\"data:image/svg+xml,%3Cg fill='url(%23c)'/%3E\") }\n"
        'b { src: url("fonts/a.woff2") }'
    )
    # The next build may find this page as it is: it still knows what the sheet has to hold.
    assert light_pages.with_one_style_sheet(light) == (light, [])
    assert light_pages.write_styles(tmp_path, []) == mark
    (tmp_path / "book.css").write_text("b { color: blue }")
    assert light_pages.write_styles(tmp_path, []) != mark
    assert "blue" in (tmp_path / "styles.css").read_text()


CSS = (
    '.fa-rocket:before{content:"\\f135"}.fa-house:before,.fa-home:before{content:"\\f015"}'
    '.fa-bell:before{content:"\\f0f3"}:root{--pst-icon-bell:"\uf0f3"}a::after{content:"\\f107"}'
)


def test_icons_are_those_of_the_pages_and_of_the_themes_own_rules():
    found = light_pages.icons_in('<i class="fa-solid fa-home"></i>', CSS)
    assert found == {"\uf015", "\uf0f3", "\uf107"}


def test_the_font_of_the_icons_holds_no_others(tmp_path: Path):
    fonts = tmp_path / light_pages.FONTS
    fonts.mkdir(parents=True)
    for _, _, name in light_pages.FACES:
        (fonts / f"{name}.ttf").write_bytes(
            (STATIC / light_pages.FONTS / f"{name}.ttf").read_bytes()
        )
    (tmp_path / "theme.css").write_text(CSS, encoding="utf-8")
    light_pages.write_icons(tmp_path, '<i class="fa-solid fa-rocket"></i>')
    held = set(TTFont(fonts / "fa-solid-900-used.woff").getBestCmap())
    assert held == {0xF135, 0xF0F3, 0xF107}
    css = (tmp_path / light_pages.STYLE_SHEET).read_text()
    assert css.count("@font-face") == 3
    assert '"Font Awesome 6 Free"; font-style: normal; font-weight: 900' in css


@pytest.mark.parametrize(
    ("tex", "words"),
    [
        (r"\mathbf{x}", "x"),
        (r"p_\theta(\mathbf{x}\mid y)", "pθ(x|y)"),
        (r"\mathrm{KL}(p\,\|\,q)", "KL(p‖q)"),
        (r"\Phi \ge 0", "Φ≥0"),
        (r"\log p_{data}", "log pdata"),
    ],
)
def test_formulas_in_words(tex: str, words: str):
    assert page_metadata.in_words(tex) == words


def test_the_published_address_follows_from_the_repository():
    found = page_metadata.published_address("https://github.com/ada/her-fork")
    assert found == "https://ada.github.io/her-fork/"


def test_the_style_sheet_carries_the_fonts():
    for given in typefaces.FACES:
        rule = typefaces.face(*given)
        assert (typefaces.FOLDER / f"{given[1]}.woff2").stat().st_size > 5000
        assert ("data:font/woff2;base64,d09GMg" in rule) == given[
            -1
        ]  # wOF2, the mark of the format


def test_a_description_names_no_sources():
    link = nodes.reference("", "Hu et al., 2018", refuri="bibliography.html#id8", internal=True)
    other = nodes.reference("", "Lemma 1", refuri="07_lemma1.html#lemma-1", internal=True)
    words = [nodes.Text("Hu and Xing "), nodes.Text("["), link, nodes.Text("]"), nodes.Text(" by ")]
    document = new_document("page")
    document += nodes.paragraph("", "", *words, other)
    page_metadata.leave_out_sources(document)
    assert document.astext() == "Hu and Xing  by Lemma 1"
