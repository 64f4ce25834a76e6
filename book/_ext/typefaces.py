"""The book's typefaces, as one style sheet.

The style sheet carries the fonts, so that they need no further request and work from a folder on
disk. A browser still unpacks them beside its first layout. A few lines in the head of a page wait
for that, some hundredths of a second, so that no line is drawn twice; without scripts nothing
waits. The same lines set the theme, which the theme's own script does after the first drawing.
Greek letters outside formulas are rare, so their font is fetched when a page needs it.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

FOLDER = Path(__file__).resolve().parents[1] / "_assets" / "fonts"
STYLE_SHEET = "typefaces.css"
LATIN = (
    "U+0000-00FF, U+0131, U+0152-0153, U+02BB-02BC, U+02C6, U+02DA, U+02DC, U+0304, U+0308, "
    "U+0329, U+2000-206F, U+20AC, U+2122, U+2191, U+2193, U+2212, U+2215, U+FEFF, U+FFFD"
)
GREEK = "U+0370-0377, U+037A-037F, U+0384-038A, U+038C, U+038E-03A1, U+03A3-03FF"
# Family, file, style, weights, characters, carried inside.
FACES = (
    ("Book Sans", "source-sans-3-latin-wght-normal", "normal", "200 900", LATIN, True),
    ("Book Sans", "source-sans-3-latin-wght-italic", "italic", "200 900", LATIN, True),
    ("Book Sans", "source-sans-3-greek-wght-normal", "normal", "200 900", GREEK, False),
    ("Book Serif", "source-serif-4-latin-600-normal", "normal", "600", LATIN, True),
    ("Book Mono", "source-code-pro-latin-wght-normal", "normal", "400 700", LATIN, True),
)

WAIT = """<script data-typefaces>
(function (root) {
  if (!root.dataset.theme)
    root.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  if (!document.fonts || !document.fonts.load) return;
  var show = function () { root.style.visibility = ""; };
  root.style.visibility = "hidden";
  Promise.all(["1em 'Book Sans'", "700 1em 'Book Sans'", "italic 1em 'Book Sans'",
    "600 1em 'Book Serif'", "1em 'Book Mono'", "1em MJXZERO", "1em MJXTEX", "1em MJXTEX-I",
    "1em MJXTEX-B", "1em MJXTEX-A", "1em MJXTEX-S1", "1em MJXTEX-S2"].map(function (font) {
    return document.fonts.load(font);
  })).then(show, show);
  setTimeout(show, 3000);
})(document.documentElement);
</script>
"""


def face(family: str, file: str, style: str, weights: str, characters: str, inside: bool) -> str:
    address = f"fonts/{file}.woff2"
    if inside:
        content = base64.b64encode((FOLDER / f"{file}.woff2").read_bytes()).decode()
        address = f"data:font/woff2;base64,{content}"
    return (
        f'@font-face {{ font-family: "{family}"; font-style: {style}; font-weight: {weights}; '
        f'font-display: {"block" if inside else "optional"}; src: url("{address}") '
        f'format("woff2"); unicode-range: {characters}; }}\n'
    )


def write_style_sheet(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        css = "".join(face(*given) for given in FACES)
        (Path(app.outdir) / "_static" / STYLE_SHEET).write_text(css, encoding="utf-8")
        for path in Path(app.outdir).rglob("*.html"):
            page = path.read_text(encoding="utf-8")
            if "_static" in path.parts:
                continue
            page = re.sub(r"<script data-typefaces>.*?</script>\n", "", page, flags=re.DOTALL)
            # After the style sheets: before them there would be nothing to wait for.
            path.write_text(page.replace("</head>", f"{WAIT}</head>", 1), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_css_file(STYLE_SHEET)
    app.connect("build-finished", write_style_sheet)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
