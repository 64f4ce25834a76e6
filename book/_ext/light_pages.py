"""Takes off each page what the theme loads and the book does not use: two megabytes of it.

Every icon of Font Awesome twice (as a script that replaces each icon once more after the page was
drawn, and as fonts of which a page shows twenty signs), and the search index on pages that send
their reader to the search page anyway. What is left waits for nothing: the fourteen style sheets,
before which a browser shows nothing, come as one; pictures come when the reader comes near them,
scripts run when the page is there, and the theme's measuring of every box of the page, which would
lay all of it out before the reader has seen any, is left to `book.js`.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fontTools import subset
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx

logging.getLogger("fontTools").setLevel(logging.ERROR)  # says what it leaves out, at length

# Scripts that no page but the search page needs.
FOR_SEARCH = ("searchtools.js", "language_data.js", "searchindex.js")
ICON_SCRIPT = "fontawesome.js"
THEME_SCRIPT = "scripts/pydata-sphinx-theme.js"
# Gives every box that scrolls a place in the order of the keyboard, as the theme writes it.
MEASURING = re.compile(r"\.forEach\((\w)=>\{\1\.tabIndex=\1\.scrollWidth[^}]*\?0:-1\}\)")
# These have to be there before the script in the page that fills them in.
AT_ONCE = ("documentation_options.js",)
FONTS = "vendor/fontawesome/webfonts"
STYLE_SHEET = "icons.css"
STYLES = "styles.css"  # all style sheets in one
LINK = re.compile(
    r'<link\b(?=[^>]*\brel="stylesheet")(?![^>]*\bmedia=)[^>]*\bhref="([^"]*?_static/)([^"?]+)[^>]*>'
)
# Family in the theme's style sheet, weight, file.
FACES = (
    ("Font Awesome 6 Free", 900, "fa-solid-900"),
    ("Font Awesome 6 Free", 400, "fa-regular-400"),
    ("Font Awesome 6 Brands", 400, "fa-brands-400"),
)
LEFT_OUT = ("**/*.js.map", "**/*.css.map", f"scripts/{ICON_SCRIPT}", f"{FONTS}/*.ttf")


def without_scripts(page: str, names: tuple[str, ...]) -> str:
    """A page's HTML without the tags that load these scripts."""
    wanted = "|".join(map(re.escape, names))
    tag = rf'\s*<script\b[^>]*\bsrc="[^"]*/?(?:{wanted})(?:\?[^"]*)?"[^>]*></script>'
    return re.sub(tag, "", page)


def deferred(page: str) -> str:
    """A page's HTML whose own scripts, all but `AT_ONCE`, run in their order at its end."""

    def defer(tag: re.Match[str]) -> str:
        text = tag.group()
        at_once = any(f"/{name}" in text for name in AT_ONCE)
        return text if at_once or re.search(r"\b(defer|async)\b", text) else f"{text[:-1]} defer>"

    return re.sub(r'<script\b[^>]*\bsrc="[^"]*_static/[^"]*"[^>]*>', defer, page)


def with_light_pictures(page: str, folder: Path, images: Path) -> str:
    """A page's HTML whose pictures come when the reader comes near them, in their place.

    Those that the page carries (the positions of a slider) become files in `images`; each gets its
    size, so that nothing moves when it arrives. `folder` is that of the page.
    """

    def light(tag: re.Match[str]) -> str:
        text = tag.group()
        source = re.search(r'\bsrc="([^"]*)"', text)
        if source is None or "_static/" in source[1] or re.search(r"\b(width|loading)=", text):
            return text  # the theme's own pictures have their size from its rules
        inside = source[1].partition("data:image/png;base64,")[2]
        path = folder / unquote(source[1])
        if inside:
            content = base64.b64decode(inside)
            path = images / f"{hashlib.sha256(content).hexdigest()}.png"
            images.mkdir(exist_ok=True)
            path.write_bytes(content)
            name = Path(os.path.relpath(path, folder)).as_posix()
            text = text.replace(source[0], f'src="{name}"')
        elif path.suffix != ".png" or not path.is_file():
            return text
        # The first part of a PNG says how large it is.
        width, height = struct.unpack(">II", path.read_bytes()[16:24])
        return text.replace("<img", f'<img loading="lazy" width="{width}" height="{height}"', 1)

    return re.sub(r"<img\b[^>]*>", light, page)


def with_one_style_sheet(page: str) -> tuple[str, list[str]]:
    """A page's HTML with one style sheet, and the names of those that this one has to hold."""
    links = list(LINK.finditer(page))
    names = [link[2] for link in links if link[2] != STYLES]
    if not names:
        return page, []
    link = f'<link rel="stylesheet" href="{links[0][1]}{STYLES}">'
    rest = re.sub(rf"\s*{LINK.pattern}", "", page[links[0].end() :])
    return page[: links[0].start()] + link + rest, names


def style_sheet(path: Path, static: Path) -> str:
    """A style sheet with those that it imports, its addresses as from `static`."""

    def moved(address: re.Match[str]) -> str:
        target = path.parent / re.split("[?#]", address[2])[0]
        if not target.exists():
            return address.group()  # no file: a picture in the rule itself, or a part of one
        place = Path(os.path.relpath(target, static)).as_posix()
        return f'url("{place}{address[2][len(re.split("[?#]", address[2])[0]) :]}")'

    css = re.sub(r'@charset "[^"]*";', "", path.read_text(encoding="utf-8"))
    css = re.sub(r"url\(\s*([\"']?)(?!data:|https?:|#|/)([^\"')]+)\1\s*\)", moved, css)
    return re.sub(r'@import\s+"([^"]+)";', lambda of: style_sheet(path.parent / of[1], static), css)


def write_styles(static: Path, names: list[str]) -> str:
    """All style sheets as one, in their order; returns a mark of what is in it.

    A build that wrote no page anew finds the names of the style sheets in the last one's.
    """
    whole = static / STYLES
    if not names and whole.exists():
        last = whole.read_text(encoding="utf-8").partition(" */")[0].removeprefix("/* ")
        names = last.split()
    css = f"/* {' '.join(names)} */\n"
    css += "\n".join(style_sheet(static / name, static) for name in names)
    whole.write_text(css, encoding="utf-8")
    return hashlib.sha256(css.encode()).hexdigest()[:8]


def icons_in(pages: str, css: str) -> set[str]:
    """The signs of the icons that pages name (fa-rocket) or that the theme's own rules show."""
    named: dict[str, str] = {}
    rule = r'((?:\.fa-[a-z0-9-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}'
    for selectors, code in re.findall(rule, css):
        for name in re.findall(r"\.(fa-[a-z0-9-]+):before", selectors):
            named[name] = chr(int(code, 16))
    rest = re.sub(rule, "", css)
    used = {named[name] for name in set(re.findall(r"fa-[a-z0-9-]+", pages)) if name in named}
    used |= {chr(int(code, 16)) for code in re.findall(r"\\(f[0-9a-f]{3})\b", rest)}
    return used | set(re.findall("[\ue000-\uf8ff]", rest))


def write_icons(static: Path, pages: str) -> None:
    """A font of the icons in use for each of the theme's three, and the rules that prefer it."""
    css = "".join(
        path.read_text(encoding="utf-8")
        for path in sorted(static.rglob("*.css"))
        if path.name not in (STYLE_SHEET, STYLES)
    )
    icons = icons_in(pages, css)
    rules = []
    for family, weight, name in FACES:
        source = static / FONTS / f"{name}.ttf"
        if not source.exists():
            continue  # left out by the last build, which made its font already
        options = subset.Options(drop_tables=["FFTM"], layout_features=[], notdef_outline=True)
        font = TTFont(source)
        chosen = sorted(set(map(ord, icons)) & set(font.getBestCmap()))
        chooser = subset.Subsetter(options)
        chooser.populate(unicodes=chosen)
        chooser.subset(font)
        font.flavor = "woff"
        font.save(static / FONTS / f"{name}-used.woff")
        rules.append(
            f'@font-face {{ font-family: "{family}"; font-style: normal; font-weight: {weight}; '
            f'font-display: block; src: url("{FONTS}/{name}-used.woff") format("woff"); }}\n'
        )
    if rules:
        (static / STYLE_SHEET).write_text("".join(rules), encoding="utf-8")


def lighten(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    static = out / "_static"
    pages = {}
    styles: dict[str, None] = {}
    for path in sorted(out.rglob("*.html")):
        if static in path.parents:
            continue
        page = path.read_text(encoding="utf-8")
        unused = (ICON_SCRIPT, *(() if path.name == "search.html" else FOR_SEARCH))
        light = without_scripts(page, unused)
        if path.name != "search.html":  # its scripts lean on each other in the page
            light = deferred(light)
        # Sphinx writes the one page of the PDF with links as from the root.
        folder = out if app.builder.name == "singlehtml" else path.parent
        light = with_light_pictures(light, folder, out / "_images")
        # Sphinx calls the bibliography a list, and its entries something else than a list's.
        light = light.replace(' role="list" class="citation-list"', ' class="citation-list"')
        light, names = with_one_style_sheet(light)
        styles |= dict.fromkeys(names)
        pages[path] = (page, light)
    write_icons(static, "".join(light for _, light in pages.values()))
    mark = write_styles(static, list(styles))
    for path, (page, light) in pages.items():
        light = re.sub(rf'(/{STYLES})(\?v=\w+)?"', rf'\1?v={mark}"', light)
        if light != page:
            path.write_text(light, encoding="utf-8")
    theme = static / THEME_SCRIPT
    script = theme.read_text(encoding="utf-8")
    theme.write_text(MEASURING.sub(".forEach(()=>{})", script), encoding="utf-8")
    for pattern in LEFT_OUT:
        for path in static.glob(pattern):
            path.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_css_file(STYLE_SHEET, priority=900)  # after the theme's own rules for these families
    app.connect("build-finished", lighten, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
