"""The repository's address: one source, derived places in step with it, and nowhere else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import address
import pytest

OLD = "https://github.com/OLD-owner/old.name"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository that holds the address in every form."""
    files = {
        "_config.yml": f"title: x\nrepository:\n  url: {OLD}\n  branch: main\n",
        "pyproject.toml": f'[project.urls]\nRepository = "{OLD}"\nIssues = "{OLD}/issues"\n',
        "CITATION.cff": f"repository-code: {OLD}\n",
        "CONTRIBUTING.md": f"Clone `{OLD}.git`. The book: https://old-owner.github.io/old.name/.\n",
        "README.md": (
            "[Colab](https://colab.research.google.com/github/OLD-owner/old.name/blob/main/b.ipynb)"
            " [Binder](https://mybinder.org/v2/gh/OLD-owner/old.name/main)\n"
            "See https://github.com/OLD-owner/old.name-2, https://github.com/other/old.name and "
            f"either OLD-owner/old.name or {OLD}.\n"
        ),
        "book/07.ipynb": f'{{"source": "%pip install git+{OLD}"}}\n',
        "exercises/07/source.ipynb": f'"{OLD}"\n',
        "exercises/07/student/07.ipynb": f'"{OLD}/blob/main"\n',
        "unigen_edu/code.py": "x = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_this_repository_agrees_with_its_address():
    assert address.problems() == []


def test_every_form_is_changed_and_nothing_else(tree: Path):
    assert address.problems(tree) == []
    changed = address.change("https://github.com/New/fork.git/", tree)
    assert len(changed) == 8
    assert address.problems(tree) == []
    assert address.current(tree) == "https://github.com/New/fork"
    readme = (tree / "README.md").read_text()
    assert "colab.research.google.com/github/New/fork/blob/main/b.ipynb" in readme
    assert "mybinder.org/v2/gh/New/fork/main" in readme
    # Longer names, other owners and plain prose are not the address.
    assert "https://github.com/OLD-owner/old.name-2, https://github.com/other/old.name" in readme
    assert "either OLD-owner/old.name or https://github.com/New/fork." in readme
    contributing = (tree / "CONTRIBUTING.md").read_text()
    assert contributing == (
        "Clone `https://github.com/New/fork.git`. The book: https://new.github.io/fork/.\n"
    )
    assert address.change("https://github.com/New/fork", tree) == []


def test_an_address_edited_by_hand_is_carried_to_the_other_files(tree: Path):
    config = tree / "_config.yml"
    config.write_text(config.read_text().replace(OLD, "https://github.com/me/mine"))
    assert len(address.problems(tree)) == 7
    address.change(address.current(tree), tree)
    assert address.problems(tree) == []
    assert "git+https://github.com/me/mine" in (tree / "book/07.ipynb").read_text()


def test_there_and_back_again_is_the_same(tree: Path):
    before = {path: path.read_text() for path in tree.rglob("*") if path.is_file()}
    address.change("https://github.com/a/b", tree)
    address.change(OLD, tree)
    after = {path: path.read_text() for path in before}
    assert after == before


def test_a_stray_address_is_named(tree: Path):
    (tree / "unigen_edu/code.py").write_text(f"HOME = '{OLD}'\n")
    (found,) = address.problems(tree)
    assert found.startswith("unigen_edu/code.py holds the address")


def test_a_derived_file_without_the_address_is_named(tree: Path):
    (tree / "book/07.ipynb").write_text("{}")
    (tree / "CITATION.cff").unlink()
    found = address.problems(tree)
    assert found[0] == "CITATION.cff is missing; it should hold the address."
    assert found[1].startswith("book/07.ipynb does not hold the address")


@pytest.mark.parametrize(
    "url", ["", "me/mine", "https://github.com/me", "https://gitlab.com/a/b", "http://x y"]
)
def test_what_is_no_address_is_refused_and_changes_nothing(tree: Path, url: str):
    before = (tree / "_config.yml").read_text()
    with pytest.raises(address.AddressError, match="you/your-fork"):
        address.change(url, tree)
    assert (tree / "_config.yml").read_text() == before
