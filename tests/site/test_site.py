"""Every page of the built book in headless Chromium, served from this machine alone.

`make site-test` builds the book first. Screenshots of every page at the width of a desk and of a
phone are left in `build/screenshots/`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import address
import page_inspection as inspection
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
SCREENSHOTS = ROOT / "build" / "screenshots"
# Sphinx's own pages of search and index come along. The root's index.html only leads to the book.
PAGES = sorted(
    str(path.relative_to(SITE))
    for path in SITE.rglob("*.html")
    if "_static" not in path.parts and path != SITE / "index.html"
)
CHROMIUM = inspection.find_chromium()
MISSING = "the site test was not run: " + (
    "no Chromium found (install it, or set CHROMIUM to its path)"
    if CHROMIUM is None
    else "the book is not built (make book)"
)

if (CHROMIUM is None or not PAGES) and not os.environ.get("CI"):
    pytest.skip(MISSING, allow_module_level=True)
pytestmark = pytest.mark.browser


def test_there_are_a_browser_and_a_book():
    assert CHROMIUM, MISSING
    assert PAGES, MISSING


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.fail(MISSING)
    with sync_playwright() as playwright:
        browser = inspection.launch(playwright, CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with inspection.serve(SITE) as url:
        yield url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    # Without motion: a bar that is still sliding out of a narrowed window would look too wide.
    size = {"width": inspection.DESK, "height": 900}
    context = browser.new_context(viewport=size, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def take_picture(page: Page, name: str) -> None:
    """The first 3000 pixels of a page, in a window of that height: a whole chapter takes long."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    width = page.evaluate("() => innerWidth")
    page.set_viewport_size({"width": width, "height": 3000})
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    page.set_viewport_size({"width": width, "height": 900})


@pytest.mark.parametrize("name", PAGES)
def test_page(page: Page, site: str, name: str):
    """At both widths: no other host, no error, all mathematics set, nothing wider than the window.

    Nothing moves while the page loads, axe-core finds nothing serious, and every slider follows the
    keyboard.
    """
    found = inspection.open_page(page, f"{site}/{name}")
    shift = inspection.layout_shift(page)
    if shift >= 0.02:
        found.append(f"layout shift {shift:.3f}")
    for width in (inspection.DESK, inspection.PHONE):
        inspection.resize(page, width)
        found += [f"at {width} px: {fault}" for fault in inspection.look(page)]
        take_picture(page, f"{name.removesuffix('.html').replace('/', '-')}-{width}")
    for slider in page.locator(".unigen-slider").all():
        found += inspection.move_slider(page, slider)
    found += inspection.accessibility(page)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "how_to_use", "bibliography", "18_experiments", "api"])
def test_colours_can_be_told_apart(browser: Browser, site: str, name: str, theme: str):
    """The style sheet is one for all pages; these have everything that it colours."""
    context = browser.new_context(color_scheme=theme, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(120_000)
    inspection.open_page(page, f"{site}/book/{name}.html")
    found = inspection.accessibility(page, colours=True)
    context.close()
    assert not found, "\n" + "\n".join(found)


def test_the_root_leads_to_the_first_page(page: Page, site: str):
    page.goto(f"{site}/index.html")
    page.wait_for_url("**/book/index.html")
    assert page.locator("article h1").inner_text().startswith("Deep Generative Models")


CHAPTERS = [name for name in PAGES if name.startswith("book/") and name[5:7].isdigit()]


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_can_be_launched_and_its_errors_reported(name: str):
    links = inspection.links(SITE / name)
    url, notebook = address.current(), name.replace(".html", ".ipynb")
    repository = url.removeprefix("https://github.com/")
    assert f"https://colab.research.google.com/github/{repository}/blob/main/{notebook}" in links
    binder = f"https://mybinder.org/v2/gh/{repository}/main?urlpath=lab/tree/{notebook}"
    assert binder in links
    assert [link for link in links if link.startswith(f"{url}/issues/new?title=Chapter")]


def test_a_report_names_the_section_that_was_read(page: Page, site: str):
    inspection.open_page(page, f"{site}/{CHAPTERS[6]}")
    report = page.locator(".bd-header-article a.report-error")
    assert report.is_visible()
    section = page.locator("article section[id] h2").nth(1)
    section.evaluate("e => window.scrollTo(0, e.getBoundingClientRect().top + scrollY - 200)")
    page.evaluate("() => document.addEventListener('click', (event) => event.preventDefault())")
    report.dispatch_event("click")
    title = section.evaluate("e => e.firstChild.textContent").strip()
    form = parse_qs(urlsplit(report.get_attribute("href") or "").query)["body"][0]
    name = CHAPTERS[6].removesuffix(".html")
    assert re.match(rf"Page: {name}\nSection: {re.escape(title)}", form)


def test_equations_are_numbered_by_chapter_and_can_be_followed(page: Page, site: str):
    inspection.open_page(page, f"{site}/book/equation_index.html")
    rows = page.locator("table.equation-index tbody tr")
    links = page.locator("table.equation-index tbody td:first-child a")
    assert rows.count() == links.count() > 0
    for link, chapter in ((links.first, CHAPTERS[0]), (links.last, CHAPTERS[-1])):
        number = link.text_content() or ""
        assert number.startswith(f"({int(chapter[5:7])}.")
        link.click()
        page.wait_for_url(f"**/{chapter}#equation-eq-*")
        target = page.locator(":target")
        expect(target).to_be_in_viewport()  # although nothing above it has been laid out
        assert number in target.locator(".eqno").inner_text()
        page.go_back()


def test_the_unification_table_has_a_row_for_every_phase(page: Page, site: str):
    from unigen_edu import models

    inspection.open_page(page, f"{site}/book/unification_table.html")
    rows = page.locator("table.unification-table tbody tr").count()
    assert rows == sum(len(models.get(name).phases) for name in models.names())


def test_a_chapter_works_from_a_file_on_disk(page: Page):
    """Without a server: mathematics, pictures and sliders, and still no other host."""
    with_slider = [n for n in PAGES if "unigen-slider" in (SITE / n).read_text(encoding="utf-8")]
    name = with_slider[0]
    found = inspection.open_page(page, (SITE / name).as_uri())
    found += inspection.look(page)
    found += inspection.move_slider(page, page.locator(".unigen-slider").first)
    assert not found, "\n" + "\n".join(found)


def test_pictures_wait_for_the_reader_and_a_sliders_for_the_hand(page: Page, site: str):
    with_slider = [n for n in PAGES if "unigen-slider" in (SITE / n).read_text(encoding="utf-8")]
    inspection.open_page(page, f"{site}/{with_slider[0]}")
    slider = page.locator(".unigen-slider").first
    hidden = slider.locator("img[hidden]")
    assert hidden.count() > 3
    come = "all => all.filter((image) => image.naturalWidth > 0).length"
    assert hidden.evaluate_all(come) == 0
    slider.locator("input").hover()
    for image in hidden.element_handles():
        page.wait_for_function("image => image.naturalWidth > 0", arg=image)
    far = page.locator("article figure[id] img").last
    assert far.evaluate("image => [image.naturalWidth, image.width > 0]") == [0, True]
    far.evaluate("image => { location.hash = image.closest('figure').id; }")
    page.wait_for_function("image => image.naturalWidth > 0", arg=far.element_handle())


def test_a_chapter_is_complete_without_javascript(browser: Browser, site: str):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/{CHAPTERS[0]}")
    formulas = page.locator("article .math")
    assert formulas.count() > 50
    hidden = formulas.evaluate_all("all => all.filter((e) => e.offsetWidth < 3).length")
    assert hidden <= page.locator("article details:not([open]) .math").count()
    assert page.locator("article figure img").first.is_visible()
    page.locator("article details summary").last.click()
    assert page.locator("article details[open]").count() == 1
    context.close()


def test_answers_and_read_marks_stay_in_the_browser(page: Page, site: str):
    inspection.open_page(page, f"{site}/{CHAPTERS[0]}")
    areas = page.locator(".own-answer textarea")
    assert areas.count() > 3
    areas.nth(1).fill("The order of the arguments.")
    page.get_by_role("button", name="Mark this chapter as read").click()
    page.reload()
    assert areas.nth(1).input_value() == "The order of the arguments."
    assert areas.nth(0).input_value() == ""
    assert page.get_by_role("button", name="You have read this chapter").is_visible()
    inspection.open_page(page, f"{site}/{CHAPTERS[1]}")
    marked = page.locator("nav.bd-links a:has(.read-mark)")
    assert marked.count() == 1
    assert "Chapter 1 " in marked.inner_text()
    assert all(not area.input_value() for area in areas.all())

    inspection.open_page(page, f"{site}/book/how_to_use.html")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save my answers").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert "The order of the arguments." in text
    assert f"## {Path(CHAPTERS[0]).stem}: " in text
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete all of it").click()
    inspection.open_page(page, f"{site}/{CHAPTERS[0]}")
    assert areas.nth(1).input_value() == ""
    assert page.locator(".read-mark").count() == 0


def test_the_books_own_typefaces_are_used(page: Page, site: str):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    inspection.open_page(page, f"{site}/{CHAPTERS[0]}")
    # Of the icons' fonts only the parts in use; their signs have the width of a sign.
    icons = [url.rsplit("/", 1)[-1] for url in asked if "fontawesome" in url]
    assert icons
    assert all(name.endswith("-used.woff") for name in icons)
    assert (page.locator("i.fa-rocket").first.bounding_box() or {"width": 0})["width"] > 8
    loaded = page.evaluate(
        """() => [...document.fonts].filter((face) => face.status === "loaded")
                 .map((face) => face.family.replaceAll('"', "") + " " + face.style)"""
    )
    wanted = {"Book Sans normal", "Book Sans italic", "Book Serif normal", "Book Mono normal"}
    assert wanted <= set(loaded)


def test_steps_of_a_derivation_fold_and_a_link_into_one_unfolds_it(page: Page, site: str):
    inspection.open_page(page, f"{site}/{CHAPTERS[6]}")
    steps = page.locator("article section:has(> h3 button.fold)")
    assert steps.count() >= 5
    equation = steps.nth(1).locator(".math[id]").first
    assert equation.is_visible()
    steps.nth(1).locator("button.fold").press("Enter")
    assert not equation.is_visible()
    assert steps.nth(1).locator("h3").is_visible()
    page.get_by_role("button", name="Fold all steps").click()
    assert page.locator("section.folded").count() == steps.count()
    name = equation.get_attribute("id")
    page.evaluate("name => { location.hash = name }", name)
    equation.wait_for(state="visible")
    assert page.locator("section.folded").count() == steps.count() - 1


def test_the_contents_beside_a_page_say_where_the_reader_is(page: Page, site: str):
    inspection.open_page(page, f"{site}/{CHAPTERS[6]}")
    headings = page.locator("article > section > section > h2")
    here = page.locator("#pst-page-toc-nav a[aria-current]")
    for number in (8, 3):  # down, and back up past headings that come in from above
        headings.nth(number).evaluate("e => scrollBy(0, e.getBoundingClientRect().top - 250)")
        name = (headings.nth(number).locator("xpath=..").get_attribute("id")) or ""
        expect(here).to_have_attribute("href", f"#{name}")
    page.evaluate("() => scrollTo(0, document.documentElement.scrollHeight)")
    expect(here).to_have_attribute("href", "#further-reading")


def test_a_link_shows_what_it_leads_to(page: Page, site: str):
    """An equation of this page, one of another page, and a source; by mouse and by keyboard."""
    inspection.open_page(page, f"{site}/{CHAPTERS[6]}")
    card = page.locator(".preview")
    link = page.locator("article p a.reference.internal[href^='#equation-']").first
    link.hover()
    card.wait_for()
    tex = card.locator(".math").first.get_attribute("data-tex")
    name = (link.get_attribute("href") or "").removeprefix("#")
    assert tex == page.locator(f"[id='{name}']").get_attribute("data-tex")
    page.keyboard.press("Escape")
    assert card.count() == 0
    page.mouse.move(0, 0)
    source = page.locator("article p a.reference.internal[href*='bibliography.html#']").first
    # Focus may scroll the page under a pointer at rest.
    source.evaluate(
        """(link) => {
          link.focus();
          document.body.dispatchEvent(new MouseEvent("mouseout", {bubbles: true}));
        }"""
    )
    card.wait_for()
    assert "2018" in card.inner_text()
    source.blur()
    assert card.count() == 0

    inspection.open_page(page, f"{site}/book/equation_index.html")
    page.locator("table.equation-index a.reference.internal").first.focus()
    card.wait_for()
    assert card.locator(".math[data-tex]").count() == 1


def test_a_copied_formula_is_its_tex(page: Page, site: str):
    inspection.open_page(page, f"{site}/{CHAPTERS[0]}")
    copied = page.evaluate(
        """() => {
          const formula = document.querySelector("article p .math");
          getSelection().selectAllChildren(formula.closest("p"));
          const clipboardData = new DataTransfer();
          const event = new ClipboardEvent("copy", {clipboardData, cancelable: true});
          document.dispatchEvent(event);
          return [event.clipboardData.getData("text/plain"), formula.dataset.tex];
        }"""
    )
    assert f"${copied[1]}$" in copied[0]
    assert len(copied[0]) > len(copied[1]) + 40  # the words around it too


def test_pages_can_be_found_and_cited(site: str):
    """Titles and descriptions in words, a card for messages, one address each in the sitemap."""
    owner, name = address.parse(address.current())
    base = f"https://{owner}.github.io/{name}/"
    sitemap = (SITE / "sitemap.xml").read_text(encoding="utf-8")
    for page in PAGES:
        text = (SITE / page).read_text(encoding="utf-8")
        if not page.startswith("book/"):
            continue
        assert f"<loc>{base}{page}</loc>" in sitemap
        tags = dict(re.findall(r'<meta (?:property|name)="([\w:]+)" content="([^"]*)"', text))
        assert tags["og:url"] == base + page
        assert 40 < len(tags["description"]) <= 210, page
        assert not re.search(r"[\\$]|_\{", tags["description"]), (page, tags["description"])
        card = SITE / tags["og:image"].removeprefix(base)
        assert card.stat().st_size > 5000, page


def test_a_dark_page_is_legible(browser: Browser, site: str):
    """Text and links have a contrast of at least 4.5 to 1; pictures keep a white panel."""
    context = browser.new_context(color_scheme="dark", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    inspection.open_page(page, f"{site}/{CHAPTERS[0]}")
    take_picture(page, "dark")
    contrast = page.evaluate(
        """() => {
          const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
          const light = (css) => {
            const [r, g, b] = css.match(/[\\d.]+/g).map(Number);
            return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
          };
          const ground = light(getComputedStyle(document.body).backgroundColor);
          return ["article p", "article p a", "article h2", "figcaption", "mjx-container"].map(
            (selector) => {
              const text = light(getComputedStyle(document.querySelector(selector)).color);
              const [high, low] = [Math.max(text, ground), Math.min(text, ground)];
              return [selector, (high + 0.05) / (low + 0.05)];
            });
        }"""
    )
    assert all(ratio >= 4.5 for _, ratio in contrast), contrast
    panel = page.locator("article figure img").first
    style = panel.evaluate("e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).filter]")
    assert style == ["rgb(255, 255, 255)", "none"]
    context.close()


# --- The inspection notices what it is for --------------------------------------------------------

DOT = "<svg xmlns='http://www.w3.org/2000/svg' width='{0}' height='9'></svg>"
DOTS = ["data:image/svg+xml," + quote(DOT.format(width)) for width in (8, 9)]
GOOD = f"""<!doctype html><html lang="en"><head><title>Good</title></head>
<body><article><h1>Good</h1>
<p id="here"><a href="#here">here</a> <a href="other.html#there">there</a></p>
<img alt="A picture of a dot" src="{DOTS[0]}">
<div class="unigen-slider" id="slider-demo"><img alt="first picture" src="{DOTS[0]}">
<img hidden alt="second picture" src="{DOTS[1]}">
<label for="r">demo</label><output>0</output>
<input id="r" type="range" min="0" max="1" value="0">
<script>document.getElementById("r").oninput = (event) => {{
  const on = Number(event.target.value);
  document.querySelectorAll(".unigen-slider img").forEach((image, i) => image.hidden = i !== on);
  document.querySelector("output").textContent = on;
}}</script></div></article></body></html>"""
OTHER = '<!doctype html><html><body><article><h1 id="there">Other</h1></article></body></html>'
FAULTS = {
    "asks another host: http://example.invalid/x.js": (
        "</article>",
        '<script src="http://example.invalid/x.js"></script></article>',
    ),
    "404: ": ("</article>", '<link rel="stylesheet" href="none.css"></article>'),
    "console: oops": ("</article>", '<script>console.error("oops")</script></article>'),
    "script error: ": ("</article>", "<script>nothing.here()</script></article>"),
    "mathematics not set": ("</article>", '<span class="math">\\(x\\)</span></article>'),
    "raw TeX or table: see $$x": ("</article>", "<p>see $$x^2$$</p></article>"),
    "raw TeX or table: | a | b |": ("</article>", "<p>| a | b | |---|---|</p></article>"),
    "wider than the window": ("</article>", '<p style="width: 3000px">wide</p></article>'),
    "image without alt text": ('alt="A picture of a dot"', 'alt="dot.png"'),
    "2 main headings": ("<h1>Good</h1>", "<h1>Good</h1><h1>Better</h1>"),
    "1 different pictures in 2 positions": ("image.hidden = i !== on", "image.hidden = i > 0"),
    "2 pictures are visible": ("image.hidden = i !== on", "image.hidden = false"),
    "1 different values in 2": (".textContent = on", ".textContent = 0"),
    "the range has no name": ('for="r"', 'for="s"'),
    "other.html#nowhere": ("other.html#there", "other.html#nowhere"),
    "gone.html does not exist": ("other.html#there", "gone.html"),
    "serious: Elements must meet minimum color contrast": (
        "</article>",
        '<p style="color: #bbb; background: #fff">pale</p></article>',
    ),
    "serious: Links must have discernible text": (
        "</article>",
        '<a href="#here" style="display: inline-block; width: 9px; height: 9px"></a></article>',
    ),
    "out of the keyboard's reach: pre.": (
        "</article>",
        '<pre style="overflow-x: auto; width: 90px; height: 9px">a long line of text</pre>'
        "</article>",
    ),
    "layout shift": (
        "</article>",
        """</article><script>
        requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => {
          document.body.insertAdjacentHTML("afterbegin", "<div style='height: 500px'></div>");
        }, 50)))</script>""",
    ),
    "formula over its number": (
        "</article>",
        '<div class="math" style="position: relative">'
        '<span class="eqno" style="position: absolute; right: 0">(1)</span>'
        '<mjx-container style="display: block">x</mjx-container></div></article>',
    ),
}


def all_faults(page: Page, folder: Path) -> list[str]:
    with inspection.serve(folder) as url:
        found = inspection.open_page(page, f"{url}/page.html")
        page.wait_for_timeout(200)
        if inspection.layout_shift(page) >= 0.02:
            found.append("layout shift")
        found += inspection.look(page)
        found += inspection.accessibility(page) + inspection.accessibility(page, colours=True)
        found += inspection.move_slider(page, page.locator(".unigen-slider"))
    return found + inspection.broken_links(folder)


def write_pages(folder: Path, page: str) -> None:
    (folder / "page.html").write_text(page)
    (folder / "other.html").write_text(OTHER)


def test_a_good_page_has_no_faults(page: Page, tmp_path: Path):
    write_pages(tmp_path, GOOD)
    assert all_faults(page, tmp_path) == []


@pytest.mark.parametrize("says", FAULTS)
def test_each_fault_is_noticed(page: Page, tmp_path: Path, says: str):
    old, new = FAULTS[says]
    assert old in GOOD
    write_pages(tmp_path, GOOD.replace(old, new))
    found = all_faults(page, tmp_path)
    wanted = "nothing in other.html is called #nowhere" if "#nowhere" in says else says
    assert any(wanted in fault for fault in found), found
