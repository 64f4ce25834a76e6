"""What can be wrong with a page, looked at in a browser and in its HTML."""

from __future__ import annotations

import contextlib
import functools
import gzip
import os
import shutil
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Playwright,
    Response,
    Route,
)

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE, DESK = 390, 1280

# Elements with a formula that was not set.
_UNSET_MATHEMATICS = """
() => [...document.querySelectorAll(".math")]
    .filter((e) => !e.querySelector("mjx-container mjx-c") || e.querySelector("mjx-merror"))
    .map((e) => e.textContent.trim().slice(0, 80))
"""
# TeX and tables that nobody recognised as such: delimiters in the text of the page.
_RAW_TEX = r"""
() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent;
    const parent = walker.currentNode.parentElement;
    if (/\$\$|\\\(|\\\[|\\begin\{|\\math[a-z]+\{|\|[—–-]+\|/.test(text) &&
        !parent.closest("pre, code, script, style, noscript, mjx-container, textarea"))
      found.push(text.trim().slice(0, 80));
  }
  return found;
}
"""
# Those that come when the reader comes near them are asked for first.
_IMAGES = r"""
async () => {
  const images = [...document.querySelectorAll("article img")];
  images.forEach((image) => { image.loading = "eager"; });
  await Promise.all(images.map((image) => image.decode().catch(() => null)));
  return images.filter((image) => {
    const alt = image.getAttribute("alt") || "";
    return alt.length < 10 || /\.(png|svg|jpe?g)$/.test(alt) || image.naturalWidth === 0;
  }).map((image) => `${(image.getAttribute("src") || "").slice(0, 60)} alt="${image.alt}"`);
}
"""
_TOO_WIDE = """
() => {
  const width = document.documentElement.clientWidth;
  const inScrollingBox = (e) => {
    for (e = e.parentElement; e && e !== document.body; e = e.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)) return true;
    return false;
  };
  if (document.documentElement.scrollWidth <= width) return [];
  const wide = [...document.querySelectorAll("body *")]
    .filter((e) => e.getBoundingClientRect().right > width + 1 && !inScrollingBox(e))
    .map((e) => `${e.tagName.toLowerCase()}.${e.className}`.slice(0, 60));
  return [`${document.documentElement.scrollWidth} px; ` + wide.slice(0, 5).join(", ")];
}
"""
# Code and outputs of one cell may scroll, a table and a formula too; the numbers of equations must
# stay readable beside them.
_COVERED_NUMBERS = """
() => [...document.querySelectorAll("div.math > .eqno")].filter((number) => {
    const formula = number.parentElement.querySelector("mjx-container");
    if (!formula) return false;
    return formula.getBoundingClientRect().right > number.getBoundingClientRect().left + 1;
  }).map((number) => number.textContent)
"""
# Boxes that scroll sideways and that the keyboard cannot reach once somebody uses it.
_OUT_OF_REACH = """
() => {
  document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "Tab", bubbles: true}));
  return [...document.querySelectorAll("article *")].filter((e) => {
    if (e.scrollWidth <= e.clientWidth + 1 || e.clientWidth === 0) return false;
    if (!["auto", "scroll"].includes(getComputedStyle(e).overflowX)) return false;
    return e.tabIndex < 0 && !e.querySelector("a[href], button, input, [tabindex='0']");
  }).map((e) => `${e.tagName.toLowerCase()}.${e.className}: ${e.textContent.trim().slice(0, 60)}`);
}
"""


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome: `$CHROMIUM`, or the first one on the path."""
    given = os.environ.get("CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


def launch(playwright: Playwright, executable: str) -> Browser:
    return playwright.chromium.launch(executable_path=executable, headless=True, args=list(FLAGS))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of this machine; gives the address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def open_page(page: Page, url: str) -> list[str]:
    """Open a page and its fonts; returns requests to other hosts, and errors."""
    found: list[str] = []
    local = urlsplit(url).netloc

    def allow(route: Route) -> None:
        target = urlsplit(route.request.url)
        if target.scheme in ("data", "blob", "file") or target.netloc == local:
            route.continue_()
        else:
            found.append(f"asks another host: {route.request.url}")
            route.abort()

    def answered(response: Response) -> None:
        if response.status >= 400:
            found.append(f"{response.status}: {response.url}")

    def said(message: ConsoleMessage) -> None:
        # Chromium repeats each failed request in the console; those are in the list already.
        if message.type == "error" and "Failed to load resource" not in message.text:
            found.append(f"console: {message.text}")

    page.route("**/*", allow)
    page.on("response", answered)
    page.on("console", said)
    page.on("pageerror", lambda error: found.append(f"script error: {error}"))
    page.goto(url, wait_until="load")
    page.evaluate("() => document.fonts.ready.then(() => null)")
    return found


def resize(page: Page, width: int) -> None:
    """Make the window `width` pixels wide, and wait until the page has been laid out for it."""
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function("(width) => innerWidth === width", arg=width)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def look(page: Page) -> list[str]:
    """Faults of a page that is open, at its present width."""
    found = [f"mathematics not set: {text}" for text in page.evaluate(_UNSET_MATHEMATICS)]
    found += [f"raw TeX or table: {text}" for text in page.evaluate(_RAW_TEX)]
    found += [f"wider than the window: {text}" for text in page.evaluate(_TOO_WIDE)]
    found += [f"formula over its number: {text}" for text in page.evaluate(_COVERED_NUMBERS)]
    found += [f"image without alt text, or broken: {text}" for text in page.evaluate(_IMAGES)]
    found += [f"out of the keyboard's reach: {text}" for text in page.evaluate(_OUT_OF_REACH)]
    headings = page.locator("article h1").count()
    if page.locator("article").count() and headings != 1:
        found.append(f"{headings} main headings instead of one")
    return found


def accessibility(page: Page, colours: bool = False) -> list[str]:
    """What axe-core finds serious or critical in the open page as it looks now; ends the visit.

    `colours`: its rule on contrast, which takes longest, and no other; else all but that one.
    Its time grows with the elements, and most of them are glyphs: one program draws all formulas,
    so twenty are left in the page, and for the colours ten listings and forty entries of the API.
    """
    # Without its `preload`, which asks for style sheets at addresses of its own making.
    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    alike = {"mjx-container": 20}
    if colours:
        options["runOnly"] = {"type": "rule", "values": ["color-contrast"]}
        alike |= {"pre": 10, "dl.py": 40}
    else:
        options["rules"] = {"color-contrast": {"enabled": False}}
    page.evaluate(
        """(alike) => Object.entries(alike).forEach(([name, kept]) =>
             [...document.querySelectorAll(name)].slice(kept).forEach((e) => e.replaceChildren()))
        """,
        alike,
    )
    # The look at the page may have asked for a typeface that is still on its way.
    page.evaluate("() => document.fonts.ready.then(() => new Promise((done) => setTimeout(done)))")
    context = {"exclude": [["mjx-container"]]} if colours else None
    found = Axe().run(page, context=context, options=options).response["violations"]
    return [
        f"{fault['impact']}: {fault['help']}: {node['target'][0]}: {node['html'][:80]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"][:3]
    ]


def layout_shift(page: Page) -> float:
    """How far things have moved in the window since the page began to load (Chromium's CLS)."""
    return float(
        page.evaluate(
            """() => new Promise((done) => {
                 let sum = 0;
                 new PerformanceObserver((list) => {
                   for (const entry of list.getEntries())
                     if (!entry.hadRecentInput) sum += entry.value;
                 }).observe({type: "layout-shift", buffered: true});
                 setTimeout(() => done(sum), 100);
               })"""
        )
    )


def move_slider(page: Page, slider: Locator) -> list[str]:
    """Move a slider with the keyboard, from end to end; returns what did not follow."""
    found = []
    control = slider.locator("input[type=range]")
    name = slider.get_attribute("id")

    def state() -> tuple[str, str, str]:
        shown = slider.locator("img:visible")
        if shown.count() != 1:
            found.append(f"{name}: {shown.count()} pictures are visible instead of one")
            return ("", "", "")
        image = shown.first
        return (
            image.get_attribute("src") or "",
            image.get_attribute("alt") or "",
            slider.locator("output").inner_text(),
        )

    control.focus()
    page.keyboard.press("Home")
    states = [state()]
    steps = int(control.get_attribute("max") or 0)
    for _ in range(steps):
        page.keyboard.press("ArrowRight")
        states.append(state())
    for i, what in enumerate(("picture", "alt text", "value")):
        different = len({state[i] for state in states})
        if different != steps + 1:
            found.append(f"{name}: {different} different {what}s in {steps + 1} positions")
    if not page.get_by_role("slider", name=slider.locator("label").inner_text()).count():
        found.append(f"{name}: the range has no name")
    return found


# --- Links ---------------------------------------------------------------------------------------


class _Links(HTMLParser):
    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.pictures: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        for key in ("id", "name"):
            if given.get(key):
                self.anchors.add(str(given[key]))
        link = given.get("href") if tag in ("a", "link") else given.get("src")
        if link:
            self.targets.append(link)
            if tag == "img":
                self.pictures.append(link)


def links(path: Path) -> list[str]:
    """Everything that a page links to or brings along."""
    return _Links(path.read_text(encoding="utf-8")).targets


def weight(path: Path) -> int:
    """Bytes that a page brings over the line: itself, compressed, and its pictures.

    What all pages share (styles, scripts, fonts) is fetched once and not counted.
    """
    text = path.read_text(encoding="utf-8")
    pictures = {
        (path.parent / unquote(urlsplit(link).path)).resolve()
        for link in _Links(text).pictures
        if not urlsplit(link).scheme
    }
    return len(gzip.compress(text.encode())) + sum(
        picture.stat().st_size for picture in pictures if "_static" not in picture.parts
    )


def broken_links(site: Path) -> list[str]:
    """Links inside the site that lead nowhere: a missing file, or an anchor that no element has."""
    pages = {
        path.resolve(): _Links(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
        if "_static" not in path.parts  # templates of the theme
    }
    found = []
    for path, page in sorted(pages.items()):
        for link in dict.fromkeys(page.targets):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            where = path.relative_to(site.resolve())
            if not target.exists():
                found.append(f"{where}: {link} does not exist")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                found.append(f"{where}: nothing in {target.name} is called #{anchor}")
    return found
