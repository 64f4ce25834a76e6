"""The book's own Sphinx extension.

* `{equation-index}`: every labelled equation, its checks and the error measured in the last run.
* `{unification-table}`: every model's variables, distributions and phases, from its declarations.
* Numbers of equations, figures and lemmas begin with the chapter: (7.3).
* Notebooks are run again when `unigen_edu` changes; runs of `make notebooks` are not repeated.
* Each page links to the form for reporting an error in it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

import nbformat
from docutils import nodes
from docutils.parsers.rst import directives
from jupyter_cache import get_cache
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "unigen_edu"
RECORDS = ROOT / "results"
# Holds equations.json, what nbval computed (executed/) and the notebooks' cache (notebooks/).
BUILD = ROOT / "build"
EXECUTED = BUILD / "executed"

logger = logging.getLogger(__name__)


def package_key(package: Path = PACKAGE, records: Path = RECORDS) -> str:
    """A hash of what a notebook's outputs depend on: the package, the records, torch's version."""
    digest = hashlib.sha256(importlib.metadata.version("torch").encode())
    for folder, pattern in ((package, "*"), (records, "*.json")):
        for path in sorted(folder.rglob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def chapter_of(docname: str) -> int | None:
    """7 for `book/07_lemma1`; None for a page that is no chapter."""
    match = re.match(r"(\d+)_", docname.rsplit("/", 1)[-1])
    return int(match[1]) if match else None


# --- Notebooks ----------------------------------------------------------------------------------


def key_the_cache(app: Sphinx, config: Config) -> None:
    """Keep the outputs of one state of the package apart from those of another."""
    folder = Path(config.unigen_build_folder) / "notebooks"
    current = folder / package_key()
    for old in folder.glob("*"):
        if old != current:
            shutil.rmtree(old, ignore_errors=True)
    config.nb_execution_cache_path = str(current)


def take_over_executed_notebooks(app: Sphinx) -> None:
    """Put the notebooks that `make notebooks` ran, with this package, into the cache."""
    folder = Path(app.config.unigen_build_folder) / "executed" / package_key()
    executed = sorted(folder.rglob("*.ipynb"))
    if executed:
        cache = get_cache(app.config.nb_execution_cache_path)
        for path in executed:
            notebook = nbformat.read(path, as_version=4)
            source = ROOT / path.relative_to(folder)
            try:
                cache.match_cache_notebook(notebook)
            except KeyError:
                cache.cache_notebook_file(
                    str(path),
                    uri=str(source),
                    data={"execution_seconds": notebook.metadata.pop("seconds", 0.0)},
                    check_validity=False,
                    overwrite=True,
                )


def reread_notebooks(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Sphinx looks at the notebooks only; a new package changes their outputs too."""
    key = package_key()
    if getattr(env, "unigen_package_key", key) == key:
        env.unigen_package_key = key  # type: ignore[attr-defined]
        return []
    env.unigen_package_key = key  # type: ignore[attr-defined]
    return [doc for doc in env.found_docs if env.doc2path(doc).endswith(".ipynb")]


# --- Numbers ------------------------------------------------------------------------------------


def number_by_chapter(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Equations, figures and lemmas count from 1 in each chapter, after its number.

    Runs after Sphinx has counted through the whole book. (7.3) is then never ambiguous.
    """
    for docname, by_type in env.toc_fignumbers.items():
        chapter = chapter_of(docname)
        if chapter is not None:
            for numbers in by_type.values():
                for count, node_id in enumerate(numbers, start=1):
                    numbers[node_id] = (chapter, count)
    return []


# --- Tables made from the package ---------------------------------------------------------------


def cell(*content: nodes.Node, **attributes: Any) -> nodes.entry:
    """A cell of a table; nodes side by side in one paragraph unless they are blocks already."""
    entry = nodes.entry("", **attributes)
    if content and isinstance(content[0], nodes.paragraph):
        entry.extend(content)
    else:
        entry += nodes.paragraph("", "", *content)
    return entry


def math(tex: str) -> nodes.math:
    return nodes.math(tex, tex)


def table(
    headings: list[str], rows: list[list[nodes.entry]], classes: list[str], widths: list[int]
) -> nodes.table:
    """A table node; `classes` go on it and thereby into the page's style sheet."""
    group = nodes.tgroup("", cols=len(headings))
    group.extend(nodes.colspec("", colwidth=width) for width in widths)
    head_row = nodes.row("", *(cell(nodes.Text(heading)) for heading in headings))
    group += nodes.thead("", head_row)
    group += nodes.tbody("", *(nodes.row("", *row) for row in rows))
    return nodes.table("", group, classes=[*classes, "colwidths-given"])


def equation_reference(label: str, docname: str) -> pending_xref:
    """A link to an equation, shown as its number."""
    return pending_xref(
        "",
        nodes.literal("", label),
        refdomain="math",
        reftype="numref",
        reftarget=label,
        refdoc=docname,
        refwarn=True,
    )


def equations_file(config: Config) -> Path:
    return Path(config.unigen_build_folder) / "equations.json"


class EquationIndexNode(nodes.General, nodes.Element):
    """Stands for the index until every page has been read."""


class EquationIndex(SphinxDirective):
    """`{equation-index}`: a table for each chapter, made from `build/equations.json`."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(equations_file(self.config)))
        return [EquationIndexNode()]


def measured(value: float | None) -> str:
    """1.7e-15 as 2·10⁻¹⁵: an error is known to one digit."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    digit, exponent = f"{value:.0e}".split("e")
    power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{power}" if digit == "1" else f"{digit}·10{power}"


class FillEquationIndex(SphinxPostTransform):
    """Writes the index, before Sphinx resolves the references in it."""

    default_priority = 5

    def run(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(EquationIndexNode)):
            node.replace_self(self.index())

    def index(self) -> list[nodes.Node]:
        record = equations_file(self.config)
        if not record.exists():
            logger.warning(
                "build/equations.json is missing, so the equation index would be empty: run "
                "'make equations'.",
                location=self.env.docname,
            )
            return []
        checks: dict[str, dict[str, Any]] = json.loads(record.read_text(encoding="utf-8"))
        stated: dict[str, list[str]] = {}
        for label, (docname, _) in self.env.get_domain("math").data["objects"].items():
            if label.startswith("eq-"):
                stated.setdefault(docname, []).append(label)
        content: list[nodes.Node] = [self.summary(checks, stated)]
        for docname in sorted(stated):
            rows = []
            for label in stated[docname]:
                if label not in checks:
                    logger.warning(
                        "the equation %s has neither a check nor a definition: run "
                        "'make equations', and see tests/equations.",
                        label,
                        location=docname,
                    )
                    continue
                rows.append(self.row(label, checks[label]))
            title = self.env.titles[docname].deepcopy()
            section = nodes.section(ids=[nodes.make_id(f"equations-of-{docname}")])
            section += nodes.title("", "", *title.children)
            section += table(
                ["Equation", "Checked by", "Compared", "Largest error", "Tolerance"],
                rows,
                ["equation-index"],
                [25, 36, 13, 13, 13],
            )
            content.append(section)
        return content

    def row(self, label: str, check: dict[str, Any]) -> list[nodes.entry]:
        here = self.env.docname
        name = [equation_reference(label, here), nodes.Text(" "), nodes.literal("", label)]
        if check["kind"] == "definition":
            reason = check["reason"].rstrip(".")
            words = nodes.emphasis("", f"{reason[0].upper()}{reason[1:]}.")
            return [cell(*name), cell(words, morecols=3)]
        tests = [self.test(name) for name in check["tests"]]
        return [
            cell(*name),
            cell(*tests),
            cell(nodes.Text(str(check["comparisons"]))),
            cell(nodes.Text(measured(check["error"]))),
            cell(nodes.Text(measured(check["tolerance"]))),
        ]

    def test(self, name: str) -> nodes.paragraph:
        """`test_lemma1.py::test_each_step` as words, with a link to the file."""
        file, function = name.split("::")
        words = function.removeprefix("test_").replace("_", " ")
        address = self.config.html_theme_options.get("repository_url", "")
        branch = self.config.html_theme_options.get("repository_branch", "main")
        source = f"{address}/blob/{branch}/tests/equations/{file}"
        link = nodes.reference("", "", nodes.literal("", file), refuri=source)
        return nodes.paragraph("", "", nodes.Text(f"{words} "), link)

    @staticmethod
    def summary(checks: dict[str, Any], stated: dict[str, list[str]]) -> nodes.paragraph:
        labels = [label for of_page in stated.values() for label in of_page if label in checks]
        checked = [label for label in labels if checks[label]["kind"] == "checked"]
        errors = [checks[label]["error"] for label in checked if checks[label]["error"] is not None]
        comparisons = sum(checks[label]["comparisons"] for label in checked)
        text = (
            f"{len(labels)} equations: {len(checked)} checked in {comparisons} comparisons, "
            f"{len(labels) - len(checked)} definitions."
        )
        if errors:
            text += f" Largest error of any: {measured(max(errors))}."
        return nodes.paragraph("", text, classes=["equation-summary"])


class UnificationTable(SphinxDirective):
    """`{unification-table}`: the models and what each phase of their training reduces.

    Options: `current`, the name of the model that the chapter is about, or several: they come first
    and are highlighted, and the models of the chapters before this page follow, the latest first,
    so that the table grows from chapter to chapter. `models`, names separated by commas, in their
    order: these and no others (default without `current`: all).
    """

    has_content = False
    option_spec: ClassVar = {
        "models": directives.unchanged_required,
        "current": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        from unigen_edu import models
        from unigen_edu.errors import UnigenError

        for path in PACKAGE.glob("models/*.py"):
            self.env.note_dependency(str(path))
        current = self.names("current")
        chosen = self.names("models")
        try:
            page = chapter_of(self.env.docname)
            listed = chosen or (self.up_to(current, page) if current else models.names())
            for name in current:
                if name not in listed:
                    raise UnigenError(f"the current model '{name}' is not in the table.")
            rows = [row for name in listed for row in self.rows(models.get(name), name in current)]
        except UnigenError as error:
            raise self.error(str(error)) from error
        headings = ["Model", "Each phase, and what it reduces"]
        grown = ["grown"] if current else []
        return [table(headings, rows, ["unification-table", *grown], [31, 69])]

    def names(self, option: str) -> list[str]:
        return [name.strip() for name in self.options.get(option, "").split(",") if name.strip()]

    @staticmethod
    def up_to(current: list[str], page: int | None = None) -> list[str]:
        """The current models, then those of chapters before `page` (or theirs), latest first."""
        from unigen_edu import models

        def number(name: str) -> int:
            return int(models.get(name).chapter.split("_")[0])

        limit = max(map(number, current)) if page is None else page
        before = [n for n in models.names() if n not in current and number(n) < limit]
        return current + sorted(before, key=number, reverse=True)

    def rows(self, model: Any, is_current: bool) -> list[list[nodes.entry]]:
        """One row a phase; the cell of the model itself spans them."""
        classes = ["current-model"] if is_current else []
        span = {"morerows": len(model.phases) - 1} if len(model.phases) > 1 else {}
        rows = []
        for position, phase in enumerate(model.phases):
            row = []
            if position == 0:
                about = [nodes.paragraph("", "", *self.title(model, is_current))]
                about += map(self.variable, model.variables)
                about += map(self.factor, model.factors)
                row.append(cell(*about, classes=classes, **span))
            step = nodes.paragraph("", "", nodes.strong("", phase.name))
            if phase.moves != (phase.name,):
                step += nodes.Text(f" moves {' and '.join(phase.moves)}")
            reduces = nodes.paragraph("", "", math(phase.reduces))
            direction = nodes.paragraph("", "", *self.symbols(f"{phase.direction} "))
            direction += equation_reference(phase.equation, self.env.docname)
            row.append(cell(step, reduces, direction, classes=classes))
            rows.append(row)
        return rows

    def title(self, model: Any, is_current: bool) -> list[nodes.Node]:
        title = nodes.strong("", model.title) if is_current else nodes.Text(model.title)
        if f"book/{model.chapter}" not in self.env.found_docs:
            return [title]
        link = pending_xref(
            "",
            title,
            refdomain="std",
            reftype="doc",
            reftarget=f"/book/{model.chapter}",
            refexplicit=True,
            refdoc=self.env.docname,
            refwarn=True,
        )
        return [link]

    @staticmethod
    def variable(variable: Any) -> nodes.paragraph:
        seen = "observed" if variable.observed else "latent"
        words = nodes.Text(f" {variable.meaning} ({seen})")
        return nodes.paragraph("", "", math(variable.tex), words, classes=["variable"])

    @staticmethod
    def factor(factor: Any) -> nodes.paragraph:
        role = nodes.inline("", factor.role, classes=["role"])
        return nodes.paragraph(
            "", "", math(factor.tex), nodes.Text(" "), role, classes=[f"factor-{factor.role}"]
        )

    @staticmethod
    def symbols(words: str) -> list[nodes.Node]:
        """Words with `p_theta`, `q_phi`, `theta_0` and the like set as mathematics."""
        content: list[nodes.Node] = []
        symbol = r"(?<!\w)(?:[pq]_(?:theta|phi|eta|psi|omega)|(?:theta|phi|eta)_0|q\^r)(?!\w)"
        for part in filter(None, re.split(f"({symbol})", words)):
            if re.fullmatch(symbol, part):
                content.append(math(re.sub(r"(theta|phi|eta|psi|omega)", r"\\\1", part)))
            else:
                content.append(nodes.Text(part))
        return content


class KeepPunctuation(SphinxPostTransform):
    """A comma after inline mathematics stays on its line: browsers may break after a formula."""

    default_priority = 900

    def run(self, **kwargs: Any) -> None:
        for formula in list(self.document.findall(nodes.math)):
            index = formula.parent.index(formula)
            after = formula.parent[index + 1 : index + 2]
            if not after or not isinstance(after[0], nodes.Text):
                continue
            mark = re.match(r"[,.;:!?)\]’”–-]+", after[0])
            if mark:
                parent, rest = formula.parent, after[0][mark.end() :]
                together = nodes.inline("", "", formula, nodes.Text(mark[0]), classes=["keep"])
                parent[index : index + 2] = [together, nodes.Text(rest)]


def read_docstring_as_markdown(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Docstrings are written for the reader of the code: `x` is code, * and | mean themselves."""
    text: list[str] = []
    in_section, depth = False, 0
    for line in lines:
        indent = len(line) - len(line.lstrip())
        in_section = in_section or re.fullmatch(r"[A-Z]\w+:", line) is not None
        if line.strip():
            if indent < depth and not in_section and text[-1]:
                text.append("")  # a formula that was set off by its indentation ends here
            depth = indent
        bullet = re.match(r"\s*\* ", line)
        start = bullet.end() if bullet else 0
        parts = re.split(r"(`+[^`]+`+)", line[start:])
        for i, part in enumerate(parts):
            if i % 2:
                parts[i] = f"``{part.strip('`')}``"
            else:
                parts[i] = re.sub(r"([*|`]|_(?!\w))", r"\\\1", part)
        text.append(line[:start] + "".join(parts))
    lines[:] = text


def skip_fields_of_tuples(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """A named tuple's fields say "Alias for field number 0"; its class says what they are."""
    return True if type(obj).__name__ == "_tuplegetter" else None


# --- Pages and links -----------------------------------------------------------------------------


def remove_stale_pages(app: Sphinx, exception: Exception | None) -> None:
    """A page that is no longer in the book must not be published with it."""
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    made = {f"{docname}.html" for docname in app.env.found_docs}
    made |= {"index.html", "genindex.html", "search.html"}
    for path in out.rglob("*.html"):
        name = path.relative_to(out).as_posix()
        if not name.startswith("_") and name not in made:
            path.unlink()


def link_to_report_form(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Give the template `report-error.html` the address of a form that names the page."""
    repository = context.get("theme_repository_url") or ""
    if repository and doctree is not None:
        title = app.env.titles[pagename].astext() if pagename in app.env.titles else pagename
        query = urlencode({"title": f"{title}: ", "body": f"Page: {pagename}\n\nWhat is wrong:\n"})
        context["report_error_url"] = f"{repository}/issues/new?{query}"


def leave_out_thebe(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Jupyter Book loads its scripts twice although it is off, which is an error in each page."""
    for key in ("script_files", "css_files"):
        context[key] = [
            file
            for file in context.get(key, [])
            if "thebe" not in str(getattr(file, "filename", file)).lower()
            and "THEBE" not in str(getattr(file, "attributes", {}).get("body", ""))
        ]


def setup(app: Sphinx) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT))  # autodoc and the tables see this copy of the package
    app.setup_extension("sphinx.ext.autodoc")
    app.add_config_value("unigen_build_folder", str(BUILD), "")
    app.add_directive("equation-index", EquationIndex)
    app.add_directive("unification-table", UnificationTable)
    app.add_node(EquationIndexNode)
    app.add_post_transform(FillEquationIndex)
    app.add_post_transform(KeepPunctuation)
    app.config.templates_path.append(str(ROOT / "book" / "_templates"))
    app.connect("config-inited", key_the_cache)
    app.connect("builder-inited", take_over_executed_notebooks)
    app.connect("env-get-outdated", reread_notebooks)
    app.connect("env-get-updated", number_by_chapter, priority=900)
    app.connect("env-updated", lambda app, env: [d for d in env.found_docs if "_index" in d])
    app.connect("autodoc-process-docstring", read_docstring_as_markdown, priority=100)
    app.connect("autodoc-skip-member", skip_fields_of_tuples)
    app.connect("html-page-context", link_to_report_form)
    app.connect("html-page-context", leave_out_thebe, priority=900)
    app.connect("build-finished", remove_stale_pages)
    return {
        "version": "1",
        # A change of this file is a reason to make every page again.
        "env_version": int(hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12], 16),
        "parallel_read_safe": False,
        "parallel_write_safe": True,
    }
