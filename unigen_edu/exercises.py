"""The graded exercises: one source notebook each, and what is generated from it.

An exercise is a folder ``exercises/NAME`` of the repository:

    source.ipynb   prompts, reference solutions, public and hidden tests, in otter-assign's format,
                   with places that a course fills from its key
    answers.toml   plausible wrong answers and other right ones; the project's tests grade them all
    student/       generated and committed: NAME.ipynb and its public tests, nothing else
    generated/     generated, not committed: the autograder and the answer key

``python -m unigen_edu.exercises`` brings student/ and generated/ up to date;
``python -m unigen_edu.exercises --check`` says whether student/ is.

The sources are open, so nothing rests on nobody having read them. The worlds, shapes, seeds and
numbers of a course are drawn from its secret key: in a question, ``KEYED["seed"]`` stands for a
whole number that the key and the name of the question determine, and a raw cell that begins with
``# KEYED`` may define ``values(seed)``, whose results stand for ``KEYED["name"]`` in the code and
for ``{{name}}`` in the text of that question. The repository's own notebooks are those of
`OPEN_KEY`.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import hmac
import importlib.util
import json
import pprint
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unigen_edu.errors import UnigenError

__all__ = ["Built", "build", "find_home", "generate", "names", "out_of_date"]

SOURCE = "source.ipynb"
OPEN_KEY = b"open"  # of the notebooks in the repository, whose answers anybody may read
# The first cell of every notebook; its source has only the line that names the two.
FIRST_CELL = '''\
# Run this cell first. It does nothing where the book is installed; in Colab it installs what is
# missing. It never replaces the torch or numpy that you have.
import importlib
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

{line}
COURSE, TESTS = REPOSITORY, f"exercises/{{EXERCISE}}/student/tests"
missing = [m for m in ("unigen_edu", "otter") if importlib.util.find_spec(m) is None]


def fetch(address: str) -> Path:
    """A copy of a repository, in this folder."""
    folder = Path(address.rpartition("/")[2])
    clone = ["git", "clone", "--quiet", "--depth", "1", address, str(folder)]
    if not address or not (folder.is_dir() or subprocess.run(clone).returncode == 0):
        raise RuntimeError(
            f"Could not fetch {{address or 'the tests'}}: connect to the network, or download the "
            f"whole folder of {{EXERCISE}}, the notebook with its folder tests."
        )
    return folder


if missing:
    kept = [p for p in ("torch", "torchvision", "numpy") if importlib.util.find_spec(p)]
    pins = Path("kept-versions.txt")
    pins.write_text("".join(f"{{p}}=={{importlib.metadata.version(p)}}\\n" for p in kept))
    wanted = [f"./{{fetch(REPOSITORY)}}" if m == "unigen_edu" else "otter-grader" for m in missing]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(pins)]
    subprocess.run([*pip, *wanted], check=True)
    importlib.invalidate_caches()
if not Path("tests").is_dir():
    shutil.copytree(fetch(COURSE) / TESTS, "tests")

import otter

grader = otter.Notebook()
'''
BANNER = "# Generated from exercises/{name}/source.ipynb by `make exercises`. Do not edit.\n"


@dataclass(frozen=True)
class Built:
    """What one source notebook gives for one key.

    ``points``: question -> points, in order.  ``values``: question -> what its key-dependent places
    hold.
    """

    name: str
    points: dict[str, float]
    values: dict[str, dict[str, Any]]
    student: Path  # folder with NAME.ipynb and tests/
    autograder: Path  # otter's zip file, with the hidden tests
    key: Path  # the notebook with the reference solutions


def find_home() -> Path:
    """The folder ``exercises`` of the repository this package was imported from."""
    home = Path(__file__).resolve().parent.parent / "exercises"
    if not any(home.glob(f"*/{SOURCE}")):
        raise UnigenError(
            f"no exercises in {home}: their sources are in the repository, not in the installed "
            "package, so clone it and install it with pip install -e '.[grade]'."
        )
    return home


def names(home: Path | None = None) -> tuple[str, ...]:
    """The exercises there are, in order of their chapters."""
    home = find_home() if home is None else home
    return tuple(sorted(source.parent.name for source in home.glob(f"*/{SOURCE}")))


def seed_of(key: bytes, name: str, question: str) -> int:
    """What a course's key says of one question: 0 <= seed < 2**31, and no way back to the key."""
    digest = hmac.new(key, f"{name}/{question}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def keyed(notebook: dict[str, Any], key: bytes, name: str) -> dict[str, dict[str, Any]]:
    """Fill the places of a source notebook that depend on the key, in place.

    Returns question -> the values that stood for its places. Raises UnigenError if a place asks
    for a value that its question does not define.
    """
    found: dict[str, dict[str, Any]] = {}
    rest: list[dict[str, Any]] = []
    within: list[dict[str, Any]] = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        begins = re.match(r"# BEGIN QUESTION\s+name: (\w+)", text)
        if begins:
            question = begins.group(1)
            found[question], within = {"seed": seed_of(key, name, question)}, []
        elif not found and ("KEYED[" in text or text.startswith("# KEYED")):
            raise UnigenError(f"{name}: KEYED belongs to a question, and none has begun.")
        if cell["cell_type"] == "raw" and text.startswith("# KEYED"):
            environment: dict[str, Any] = {}
            exec(compile(text, f"{name}/{question}: KEYED", "exec"), environment)
            found[question] |= environment["values"](found[question]["seed"])
            continue
        rest.append(cell)
        within.append(cell)
        if text.startswith("# END QUESTION"):
            for part in within:
                code = part["cell_type"] != "markdown"
                filled = fill("".join(part["source"]), found[question], code, f"{name} {question}")
                part["source"] = filled.splitlines(keepends=True)
    notebook["cells"] = rest
    return found


def fill(text: str, values: Mapping[str, Any], code: bool, where: str) -> str:
    """``text`` with ``KEYED["name"]`` (code) or ``{{name}}`` (prose) replaced by the values."""

    def value(match: re.Match[str]) -> str:
        if match.group(1) not in values:
            raise UnigenError(f"{where}: KEYED has no value {match.group(1)!r}.")
        given = values[match.group(1)]
        if not code:
            return str(given)
        return pprint.pformat(given, width=90, compact=True, sort_dicts=False)

    return re.sub(r'KEYED\["(\w+)"\]' if code else r"\{\{(\w+)\}\}", value, text)


def build(name: str, into: Path, home: Path | None = None, key: bytes = OPEN_KEY) -> Built:
    """Build the student's notebook, the autograder and the answer key in the folder ``into``.

    ``key``: the secret of the course, from which its worlds and numbers are drawn.
    """
    source = (find_home() if home is None else home) / name / SOURCE
    if not source.is_file():
        raise UnigenError(f"there is no exercise {name!r}: {source} does not exist.")
    require_otter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of otter's own imports
        from otter.assign import main as assign
        from otter.nbmeta_config import NBMetadataConfig
        from otter.test_files import create_test_file

        # otter names what it writes after the file it reads, so the copy carries the final name.
        into.mkdir(parents=True, exist_ok=True)
        master = into / f"{name}.ipynb"
        notebook = json.loads(source.read_text(encoding="utf-8"))
        _complete_first_cell(notebook, name)
        values = keyed(notebook, key, name)
        functions = _functions_of(notebook)
        master.write_text(as_json(notebook), encoding="utf-8")
        try:
            assign(str(master), str(into), no_run_tests=True, no_pdfs=True)
        finally:
            master.unlink()

    student, private = into / "student", into / "autograder"
    _tidy_notebook(student / f"{name}.ipynb", name)
    _tidy_notebook(private / f"{name}.ipynb", name)
    for test in sorted((student / "tests").glob("*.py")):
        test.write_text(BANNER.format(name=name) + _as_written(test.read_text(), functions))
    tests = sorted((private / "tests").glob("*.py"), key=lambda t: by_number(t.stem))
    points = {t.stem: float(create_test_file(str(t), NBMetadataConfig()).possible) for t in tests}
    (archive,) = private.glob("*.zip")
    return Built(name, points, values, student, archive, private / f"{name}.ipynb")


def _complete_first_cell(notebook: dict[str, Any], name: str) -> None:
    """Write the cell tagged ``setup`` out, from the line that names exercise and repository."""
    for cell in notebook["cells"]:
        if "setup" in cell["metadata"].get("tags", []):
            line = re.search(r"^EXERCISE, REPOSITORY = .*$", "".join(cell["source"]), re.MULTILINE)
            if line is None:
                raise UnigenError(f"{name}: the cell tagged 'setup' names no EXERCISE, REPOSITORY.")
            text = FIRST_CELL.format(line=line.group(0)).strip()
            cell["source"] = text.splitlines(keepends=True)


def by_number(question: str) -> tuple[int, str]:
    """A key that sorts q2 before q10."""
    return len(question), question


def require_otter() -> None:
    """Raise `UnigenError` if otter-grader, or the kernel it runs notebooks with, is missing."""
    for module in ("otter", "ipykernel", "psutil"):
        if importlib.util.find_spec(module) is None:
            raise UnigenError(
                f"grading needs {'otter-grader' if module == 'otter' else module}: "
                'pip install "unigen-edu[grade]".'
            )


def _functions_of(notebook: Mapping[str, Any]) -> dict[str, str]:
    """The functions in the code cells of a notebook, by name, as they were typed."""
    found = {}
    for cell in notebook["cells"]:
        code = "".join(cell["source"])
        if cell["cell_type"] != "code" or not re.search(r"^def ", code, re.MULTILINE):
            continue
        for node in ast.parse(code).body:
            if isinstance(node, ast.FunctionDef):
                found[node.name] = ast.get_source_segment(code, node) or ""
    return found


def _as_written(test: str, functions: Mapping[str, str]) -> str:
    """A test file with its functions as they were typed: otter drops layout and comments."""
    parts, lines, last = [], test.splitlines(), 0
    for node in ast.parse(test).body:
        if isinstance(node, ast.FunctionDef):
            parts += [*lines[last : node.lineno - 1], functions[node.name], ""]
            last = node.end_lineno or node.lineno
    text = "\n".join([*parts, *lines[last:]])
    return re.sub(r"\n{3,}@", "\n\n\n@", text).strip() + "\n"


def _tidy_notebook(path: Path, name: str) -> None:
    """Give a generated notebook the same bytes every time: fixed ids and metadata, no outputs."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for number, cell in enumerate(notebook["cells"], start=1):
        cell["id"] = f"cell-{number:02d}"
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "otter": {"assignment_name": name},
    }
    path.write_text(as_json(notebook), encoding="utf-8")


def as_json(notebook: dict[str, Any]) -> str:
    """A notebook as nbformat writes it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def generate(name: str, home: Path | None = None) -> Path:
    """Write ``student/`` and ``generated/`` of an exercise anew; returns the student's notebook."""
    folder = (find_home() if home is None else home) / name
    with tempfile.TemporaryDirectory() as temporary:
        built = build(name, Path(temporary), home)
        for target in (folder / "student", folder / "generated"):
            shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(built.student, folder / "student")
        (folder / "generated").mkdir()
        shutil.copyfile(built.autograder, folder / "generated" / "autograder.zip")
        shutil.copyfile(built.key, folder / "generated" / "answer_key.ipynb")
    return folder / "student" / f"{name}.ipynb"


def out_of_date(name: str, home: Path | None = None) -> list[str]:
    """The files of ``student/`` that differ from what the source gives now; empty if none does."""
    folder = (find_home() if home is None else home) / name / "student"
    with tempfile.TemporaryDirectory() as temporary:
        fresh = build(name, Path(temporary), home).student
        wanted = {p.relative_to(fresh).as_posix(): p for p in fresh.rglob("*") if p.is_file()}
        there = {p.relative_to(folder).as_posix(): p for p in _student_files(folder)}
        return sorted(
            file
            for file in wanted.keys() | there.keys()
            if file not in wanted
            or file not in there
            or wanted[file].read_bytes() != there[file].read_bytes()
        )


def _student_files(folder: Path) -> list[Path]:
    """Notebooks and tests; not the logs and caches that running a notebook leaves behind."""
    found = [*folder.glob("*.ipynb"), *(folder / "tests").glob("*.py")]
    return [path for path in found if path.is_file()]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m unigen_edu.exercises",
        description="Generate student notebooks, autograders and answer keys from their sources.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="exercises (default: all)")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail if a student version is stale"
    )
    given = parser.parse_args(arguments)
    try:
        chosen = given.names or names()
        stale = 0
        for name in chosen:
            if not given.check:
                print(generate(name))
                continue
            differing = out_of_date(name)
            stale += bool(differing)
            print(f"{name}: {'differs: ' + ', '.join(differing) if differing else 'up to date'}")
        if stale:
            print("Run `make exercises` and commit what it changes.", file=sys.stderr)
        return 1 if stale else 0
    except UnigenError as error:
        print(f"exercises: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
