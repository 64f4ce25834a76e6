"""When `.venv` is left alone, brought up to date, or made anew. Nothing is installed here."""

from __future__ import annotations

from pathlib import Path

import environment
import pytest


@pytest.fixture
def steps(tmp_path: Path, monkeypatch) -> list[str]:
    """The steps taken, in an environment of which every test decides what works."""
    taken: list[str] = []
    folder = tmp_path / ".venv"
    folder.mkdir()
    monkeypatch.setattr(environment, "ENVIRONMENT", folder)
    monkeypatch.setattr(environment, "READY", folder / "ready")
    monkeypatch.setattr(environment, "works", lambda *arguments: True)
    monkeypatch.setattr(environment, "create", lambda: taken.append("create"))
    monkeypatch.setattr(environment, "install", lambda: taken.append("install"))
    monkeypatch.delenv("PYTHON", raising=False)
    return taken


def test_nothing_is_done_when_nothing_changed(steps):
    environment.main()
    assert steps == ["install"]
    environment.main()
    assert steps == ["install"]


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt", "pyproject.toml"])
def test_a_change_of_what_describes_it_installs_again(steps, tmp_path, monkeypatch, name):
    for file in environment.DESCRIPTION:
        (tmp_path / file).write_text("one\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    environment.main()
    (tmp_path / name).write_text("two\n")
    environment.main()
    assert steps == ["install", "install"]


def test_an_interrupted_installation_is_repeated(steps, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    environment.main()
    environment.READY.write_text("the key of older requirements")
    monkeypatch.setattr(environment, "install", interrupt)
    with pytest.raises(KeyboardInterrupt):
        environment.main()
    assert not environment.READY.exists()


def test_a_broken_interpreter_is_replaced(steps, monkeypatch):
    environment.main()
    monkeypatch.setattr(environment, "works", lambda *arguments: False)
    environment.main()
    assert steps == ["install", "create", "install"]


def test_another_python_is_taken_only_when_it_is_asked_for(steps, monkeypatch):
    environment.main()
    # The environment holds another version: its interpreter rejects the question about its version.
    monkeypatch.setattr(environment, "works", lambda *arguments: "assert" not in arguments[-1])
    environment.main()
    assert steps == ["install"]
    monkeypatch.setenv("PYTHON", "python3.12")
    environment.main()
    assert steps == ["install", "create", "install"]


def test_an_old_python_is_told_what_to_do(steps, monkeypatch):
    monkeypatch.setattr(environment.sys, "version_info", (3, 9, 18))
    with pytest.raises(SystemExit, match=r"needs 3\.10 or newer"):
        environment.main()
    assert steps == []


def test_a_pair_that_does_not_import_is_installed_again_and_then_reported(monkeypatch):
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(environment, "pip", lambda *given: commands.append(given) or True)
    monkeypatch.setattr(environment, "works", lambda *arguments: False)
    with pytest.raises(SystemExit, match="do not import together"):
        environment.install()
    assert "--force-reinstall" in commands[-1]


def test_versions_that_cannot_be_had_are_replaced_by_the_newest_that_fit(monkeypatch):
    commands: list[tuple[str, ...]] = []

    def pip(*given: str) -> bool:
        commands.append(given)
        return "constraints.txt" not in given

    monkeypatch.setattr(environment, "pip", pip)
    monkeypatch.setattr(environment, "works", lambda *arguments: True)
    environment.install()
    assert ["constraints.txt" in command for command in commands] == [True, False, False]
    assert ".[book,grade,dev]" in commands[-1]
