"""What search engines and cards in messages show of a page.

sphinxext-opengraph writes it; it needs the address of the published book, which follows from the
repository's, and descriptions in plain words. The sitemap lists every page of the book, whichever
of them the last build wrote.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import address


def published_address(repository: str) -> str:
    """https://github.com/OWNER/NAME gives https://OWNER.github.io/NAME/."""
    owner, name = address.parse(repository)
    return f"https://{owner}.github.io/{name}/"


def set_address(app: Sphinx, config: Config) -> None:
    repository = config.html_theme_options.get("repository_url")
    if repository:
        config.html_baseurl = config.ogp_site_url = published_address(repository)


def in_words(tex: str) -> str:
    r"""Short TeX as plain text: `p_\theta(\mathbf{x})` is pθ(x)."""

    def sign(match: re.Match[str]) -> str:
        size = "SMALL" if match[1].islower() else "CAPITAL"
        try:
            return unicodedata.lookup(f"GREEK {size} LETTER {match[1].upper()}")
        except KeyError:
            return {"log": "log ", "ge": "≥", "le": "≤", "mid": "|"}.get(match[1], "")

    tex = re.sub(r"\\(?:math\w+|text|operatorname)\s*\{([^{}]*)\}", r"\1", tex)
    tex = tex.replace(r"\|", "‖").replace(r"\,", "").replace("_", "").replace("^", "")
    return re.sub(r"\\([A-Za-z]+)\s*", sign, tex).translate({ord(c): None for c in "{}\\"})


def describe_in_words(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """The page has been written when this is called; only descriptions are made of `doctree`."""
    if doctree is not None:
        for formula in list(doctree.findall(nodes.math)):
            formula.parent.replace(formula, nodes.Text(in_words(formula.astext())))
        leave_out_sources(doctree)


def leave_out_sources(doctree: nodes.document) -> None:
    """Take the citations out: links to the bibliography, and the brackets around them."""
    for link in list(doctree.findall(nodes.reference)):
        if "bibliography.html#" not in link.get("refuri", ""):
            continue
        parent = link.parent
        at = parent.index(link)
        around = parent[max(at - 1, 0) : at + 2]
        for part in around:
            if part is link or part.astext().strip() in ("[", "]", ";", ","):
                parent.remove(part)


def write_sitemap(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.name != "html" or not app.config.html_baseurl:
        return
    root = ElementTree.Element("urlset", xmlns="http://www.sitemaps.org/schemas/sitemap/0.9")
    for docname in sorted(app.env.found_docs):
        page = app.config.html_baseurl + app.builder.get_target_uri(docname)
        ElementTree.SubElement(ElementTree.SubElement(root, "url"), "loc").text = page
    tree = ElementTree.ElementTree(root)
    tree.write(Path(app.outdir) / "sitemap.xml", encoding="utf-8", xml_declaration=True)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", set_address, priority=900)
    app.connect("build-finished", write_sitemap)
    app.connect("html-page-context", describe_in_words, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
