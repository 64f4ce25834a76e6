"""Sets the mathematics of the book while it is built, so that a page holds it when it arrives.

MathJax 3.2.2, from the package sphinx-mathjax-offline, runs here in V8 (mini-racer) and writes each
formula as HTML that the reader's browser only has to paint: no script, no second layout, and the
page is complete with JavaScript off. Its boxes carry their own sizes, so the fonts may come late
without moving anything; but a browser sets each formula anew when one comes, so those that most
formulas need are in the style sheet, with the signs of the book alone. A copy in MathML goes with
each formula for screen readers. TeX that MathJax does not understand is a warning, and thereby
stops the build.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import re
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

from docutils import nodes
from fontTools import subset
from fontTools.ttLib import TTFont
from py_mini_racer import JSEvalException, MiniRacer
from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

PACKAGE = "sphinx-mathjax-offline"
# SHA-256 of core.js of MathJax 3.2.2, equal to the one in npm's package of that version.
SHA256 = "44d9c29f77d89537e024d165e2c0d7e981a98d75ed53b6c236fac899ed631abb"
PARTS = (
    "loader.js",
    "core.js",
    "adaptors/liteDOM.js",
    "input/tex-full.js",
    "output/chtml.js",
    "output/chtml/fonts/tex.js",
    "a11y/assistive-mml.js",
)
FONTS = "output/chtml/fonts/woff-v2"
STYLE_SHEET = "mathematics.css"
# In the style sheet itself. That of no signs gives each line of a formula its height.
INSIDE = ("Zero", *(f"{name}-Regular" for name in ("Main", "AMS", "Size1", "Size2")))
INSIDE += ("Main-Bold", "Math-Italic")
# All rules are kept here and the unused ones left out when every page is known: MathJax's own way
# of choosing (adaptiveCSS) would forget the pages that are not written again.
SET_UP = """
var parts = MathJax._;
var adaptor = parts.adaptors.liteAdaptor.liteAdaptor();
parts.a11y["assistive-mml"].AssistiveMmlHandler(parts.handlers.html_ts.RegisterHTMLHandler(adaptor));
var output = new parts.output.chtml_ts.CHTML({
  font: new parts.output.chtml.fonts.tex_ts.TeXFont({fontURL: "mathjax", adaptiveCSS: false}),
  adaptiveCSS: false,
});
var page = parts.mathjax.mathjax.document("", {
  InputJax: new parts.input.tex_ts.TeX({
    packages: ["base", "ams", "newcommand", "boldsymbol", "textmacros", "mathtools"],
    tags: "none",
    formatError: (jax, error) => { throw Error(error.message) },
  }),
  OutputJax: output,
});
function set(tex, display) {
  const sizes = {em: 16, ex: 8, containerWidth: 1280};
  return adaptor.outerHTML(page.convert(tex, {display: display, ...sizes}));
}
function styleSheet() { return adaptor.textContent(output.styleSheet(page)) }
"""

# The TeX goes along, so that a copied formula is what its author wrote (book.js).
CLASSES = "math notranslate nohighlight"
# Signs of an inline formula that a phone surely has room for in one line.
LONG = 24

logger = logging.getLogger(__name__)


def mathjax_folder() -> Path:
    """Where the package sphinx-mathjax-offline keeps MathJax, which must be version 3.2.2."""
    for file in importlib.metadata.files(PACKAGE) or []:
        if file.name == "core.js":
            path = Path(str(file.locate()))
            if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
                raise RuntimeError(f"{path} is not of MathJax 3.2.2: install {PACKAGE} again.")
            return path.parent
    raise RuntimeError(f"{PACKAGE} holds no MathJax: install it again.")


class Typesetter:
    """MathJax in a V8 of its own; a formula that comes twice is set once."""

    def __init__(self) -> None:
        self.done: dict[tuple[str, bool], str] = {}

    @cached_property
    def engine(self) -> MiniRacer:
        engine = MiniRacer()
        engine.eval("globalThis.global = globalThis; globalThis.MathJax = {loader: {load: []}};")
        for part in PARTS:
            engine.eval((mathjax_folder() / part).read_text(encoding="utf-8"))
        engine.eval(SET_UP)
        return engine

    def close(self) -> None:
        if "engine" in self.__dict__:
            self.engine.close()
            del self.__dict__["engine"]

    def render(self, tex: str, display: bool) -> str:
        """The HTML of a formula. Raises `ValueError` with MathJax's words for TeX that is wrong."""
        key = (tex, display)
        if key not in self.done:
            try:
                html = str(self.engine.call("set", tex, display))
            except JSEvalException as error:
                found = re.search(r"Error: (.+)", str(error))
                raise ValueError(found[1] if found else str(error)[:200]) from error
            self.done[key] = slim(html)
        return self.done[key]

    def style_sheet(self, characters: set[str]) -> str:
        """MathJax's rules, those for single characters only where a page shows them."""
        css = str(self.engine.eval("styleSheet()"))
        kept = []
        for rule in re.findall(r'[^{}]+\{(?:"[^"]*"|[^{}"])*\}', css):  # "{" is a sign as well
            # A rule for stretchy signs names the parts of one; it belongs to what it is made of.
            needed = re.findall(r"mjx-c[0-9A-F]+", rule.split("{")[0])
            if not needed or characters.issuperset(needed):
                kept.append(re.sub(r"\s+", " ", rule).strip())
        # The hidden copy for screen readers stays beside its formula and takes no room: with
        # MathJax's own size it would make formulas scroll.
        kept.append("mjx-container { position: relative; }")
        kept.append(
            "mjx-assistive-mml, mjx-assistive-mml[display] "
            "{ height: 1px !important; overflow: hidden !important; width: 1px !important; }"
        )
        return "\n".join(kept) + "\n"


def slim(html: str) -> str:
    """Leave out what no rule and no browser asks for: a third of a formula's bytes."""
    html = re.sub(r' (?:data-mjx-[a-z-]+|texclass|xmlns|unselectable)="[^"]*"', "", html)
    html = html.replace('class="MathJax" jax', "jax").replace('class=" MJX-TEX"', 'class="MJX-TEX"')
    return html.replace('jax="CHTML" style="position: relative;"', 'jax="CHTML"')


TYPESETTER = Typesetter()


def typeset(translator: HTML5Translator, node: nodes.Element, tex: str, display: bool) -> str:
    try:
        return TYPESETTER.render(tex, display)
    except ValueError as error:
        logger.warning("MathJax does not understand %r: %s", tex, error, location=node)
        return translator.encode(tex)


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    tex = node.astext().strip()
    html = typeset(self, node, tex, display=False)
    # One that may be wider than a phone scrolls there (book.css).
    classes = CLASSES + " long" * (html.count("<mjx-c ") > LONG)
    self.body.append(self.starttag(node, "span", "", CLASS=classes, **{"data-tex": tex}))
    self.body.append(html + "</span>")
    raise nodes.SkipNode


def visit_display(self: HTML5Translator, node: nodes.math_block) -> None:
    tex = node.astext().strip()
    self.body.append(self.starttag(node, "div", "", CLASS=CLASSES, **{"data-tex": tex}))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, _("Link to this equation"))
        self.body.append("</span>")
    self.body.append(typeset(self, node, tex, display=True))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def font_of(name: str, signs: set[str]) -> bytes:
    """One of MathJax's fonts, with these signs of it alone."""
    path = mathjax_folder() / FONTS / f"MathJax_{name}.woff"
    font = TTFont(path, recalcTimestamp=False)  # the same signs, the same bytes
    chosen = sorted(set(map(ord, signs)) & set(font.getBestCmap()))
    if not chosen:  # that of no signs
        return path.read_bytes()
    chooser = subset.Subsetter(subset.Options(drop_tables=["FFTM"], notdef_outline=True))
    chooser.populate(unicodes=chosen)
    chooser.subset(font)
    font.flavor = "woff"
    written = io.BytesIO()
    font.save(written)
    return written.getvalue()


def write_style_sheet(app: Sphinx, exception: Exception | None) -> None:
    """The rules and the fonts of MathJax that the pages need."""
    if exception is None and app.builder.format == "html":
        out = Path(app.outdir)
        text = "".join(page.read_text(encoding="utf-8") for page in out.rglob("*.html"))
        css = TYPESETTER.style_sheet(set(re.findall(r"mjx-c[0-9A-F]+", text)))
        shown = re.findall(r'content: "([^"]*)"', css)
        named = (re.sub(r"\\([0-9A-F]+)", lambda code: chr(int(code[1], 16)), s) for s in shown)
        signs = set("".join(named))
        fonts = out / "_static" / "mathjax"
        shutil.rmtree(fonts, ignore_errors=True)
        fonts.mkdir()
        for name in sorted(set(re.findall(r"mathjax/MathJax_([\w-]+)\.woff", css))):
            content = font_of(name, signs)
            if name in INSIDE:
                inside = f"data:font/woff;base64,{base64.b64encode(content).decode()}"
                css = css.replace(f"mathjax/MathJax_{name}.woff", inside)
            else:
                (fonts / f"MathJax_{name}.woff").write_bytes(content)
        (out / "_static" / STYLE_SHEET).write_text(css, encoding="utf-8")
    TYPESETTER.close()


def setup(app: Sphinx) -> dict[str, Any]:
    # Sphinx prefers a renderer of mathematics that is not its own MathJax, without being told.
    app.add_html_math_renderer("typeset", (visit_inline, None), (visit_display, None))
    app.add_css_file(STYLE_SHEET)
    app.connect("build-finished", write_style_sheet)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
