"""The files around the code agree with each other: requirements, pins, versions, workflows."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(lines: list[str]) -> list[Requirement]:
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


PINS = requirements((ROOT / "constraints.txt").read_text().splitlines())


def same(found: list[str], wanted: list[str]) -> bool:
    return sorted(map(str, requirements(found))) == sorted(map(str, requirements(wanted)))


def test_requirements_txt_is_what_the_package_and_the_book_declare():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert same(lines, PROJECT["dependencies"] + EXTRAS["book"])
    assert not same(lines[:-1], PROJECT["dependencies"] + EXTRAS["book"])


def test_the_package_alone_needs_little():
    assert {r.name for r in requirements(PROJECT["dependencies"])} == {
        "torch",
        "torchvision",
        "numpy",
        "matplotlib",
        "ipywidgets",
        "tqdm",
        "safetensors",
        "torchmetrics",
        "cloudpickle",
    }


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", ["dependencies", *EXTRAS])
def test_every_pin_lies_in_its_range(python: str, extra: str):
    """For each Python version there is exactly one pin on Linux, and the range admits it."""
    lines = PROJECT["dependencies"] if extra == "dependencies" else EXTRAS[extra]
    environment = default_environment() | {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
    }
    for wanted in requirements(lines):
        if wanted.marker and not wanted.marker.evaluate(environment):
            continue
        pins = [
            pin
            for pin in PINS
            if canonicalize_name(pin.name) == canonicalize_name(wanted.name)
            and (pin.marker is None or pin.marker.evaluate(environment))
        ]
        assert len(pins) == 1, f"{wanted.name} on Python {python}: {pins}"
        (specifier,) = pins[0].specifier
        assert specifier.operator == "=="
        assert wanted.specifier.contains(specifier.version), f"{wanted} does not admit {pins[0]}"


def test_every_range_of_the_package_has_a_lower_bound():
    declared = PROJECT["dependencies"] + [line for lines in EXTRAS.values() for line in lines]
    for requirement in requirements(declared):
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators & {">=", "=="}, requirement


# Importable names whose distribution is another, or comes with a declared one.
COMES_WITH = {"PIL": "matplotlib", "IPython": "ipywidgets"}
# Needs the extra `grade`, and says so when it is missing.
GRADING = {"courses.py", "exercises.py", "grading.py", "judge.py", "sandbox.py"}


def guarded(node: ast.AST) -> list[ast.AST]:
    """The statements of `try: ... except ImportError`: the package says what is missing."""
    if not isinstance(node, ast.Try):
        return []
    caught = {h.type.id for h in node.handlers if isinstance(h.type, ast.Name)}
    return list(node.body) if "ImportError" in caught else []


def test_the_package_imports_nothing_that_it_does_not_declare():
    declared = {r.name.replace("-", "_") for r in requirements(PROJECT["dependencies"])}
    for path in sorted((ROOT / "unigen_edu").rglob("*.py")):
        if path.name in GRADING:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        optional = {id(inner) for node in ast.walk(tree) for inner in guarded(node)}
        for node in ast.walk(tree):
            if id(node) in optional:
                continue
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            for name in (full.split(".")[0] for full in names):
                known = name in sys.stdlib_module_names or name == "unigen_edu"
                assert known or COMES_WITH.get(name, name) in declared, f"{path.name}: {name}"


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\d+\.\d+\.\d+)", changes, re.MULTILINE)[0] == version


def test_the_python_versions_are_the_same_everywhere():
    declared = [
        line.rsplit(" ", 1)[1]
        for line in PROJECT["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", line)
    ]
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert tuple(declared) == tuple(matrix) == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


@pytest.mark.parametrize("name", ["tests.yml", "book.yml"])
def test_a_workflow_uses_the_same_two_commands_as_a_reader(name: str):
    text = (ROOT / ".github/workflows" / name).read_text(encoding="utf-8")
    assert yaml.safe_load(text)["jobs"]
    assert "bash .ci/run" in text or "make book" in text


def test_ci_is_a_script_that_runs_every_check():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert re.search(r"^(exec )?make test$", script.read_text(), re.MULTILINE)


def test_binder_installs_a_cpu_build_of_torch_for_one_python():
    binder = ROOT / ".binder"
    assert (binder / "runtime.txt").read_text().strip() == "python-3.11"
    lines = (binder / "requirements.txt").read_text()
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in lines
    assert not (ROOT / "binder").exists()  # repo2docker would use one of the two


def test_every_page_in_the_table_of_contents_exists():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = [toc["root"]] + [c["file"] for part in toc["parts"] for c in part["chapters"]]
    for page in pages:
        assert any((ROOT / f"{page}{suffix}").exists() for suffix in (".md", ".ipynb")), page
    chapters = {f"book/{path.stem}" for path in (ROOT / "book").glob("[0-9][0-9]_*.ipynb")}
    assert chapters <= set(pages)


def commits(record: object) -> Iterator[str]:
    """Every commit that a record names, at whatever depth."""
    if isinstance(record, dict):
        for name, value in record.items():
            if name == "commit" and isinstance(value, str):
                yield value
            else:
                yield from commits(value)
    elif isinstance(record, list):
        for value in record:
            yield from commits(value)


def history() -> set[str]:
    """The commits that lead to this one; empty outside of git and in a clone without its past."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--show-toplevel", "--is-shallow-repository"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or done.stdout.split() != [str(ROOT), "false"]:
            return set()
        command = ["git", "-C", str(ROOT), "rev-list", "HEAD"]
        return set(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        )
    except OSError:
        return set()


def test_every_record_names_a_commit_that_is_there():
    known = history()
    if not known:
        pytest.skip("this checkout has no history")
    known |= {commit[:7] for commit in known}
    missing = {}
    for path in sorted((ROOT / "results").rglob("*.json")):
        name = path.relative_to(ROOT).as_posix()
        for commit in commits(json.loads(path.read_text(encoding="utf-8"))):
            # The shipped classifier was trained before its code was committed, and marked so.
            at = commit.removesuffix("+") if name == "results/classifier.json" else commit
            if at not in known:
                missing[name] = commit
    assert missing == {}
