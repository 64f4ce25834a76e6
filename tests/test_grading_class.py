"""`unigen grade` on a class in which nearly everything goes wrong, some of it on purpose."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.grading_mini import NAME, RIGHT, SEED, WRONG, notebook, submission, write_home
from unigen_edu import sandbox
from unigen_edu.grading import Limits, grade_path

LIMITS = Limits(seconds=10, memory=2)
SLOW = (
    "it did not finish in 10 s of computing or 30 s on the clock: look for a loop or a wait that "
    "never ends."
)
ENDED = "its Python ended while it ran: out of memory, exit() or a crash."
HUNGRY = "it used more than 2 GiB of memory: look for a tensor or a list that grows."
STUCK = "the tests of q2 did not end in 10 s: look for a loop in the answer."
THERE = f"(there are {NAME})."
# points for q1, q2, q10 and in all, then the reason
ALL, NONE = ("2", "1", "3", "6", ""), ("0", "0", "0", "0", "")
LEFT_BEHIND = """
import os
from pathlib import Path
stray = [p.name for p in Path.cwd().rglob("*") if p.name == "left_behind"]
secrets = [name for name in os.environ if "SECRET" in name]
Path("left_behind").touch()
"""


def not_graded(*reasons):
    """No number, and one of these reasons: which limit is met first depends on the machine."""
    return {("", "", "", "", reason) for reason in reasons}


HONEST = {
    # An error ends a cell, not the notebook; nobody finds what another left behind.
    "ann": (
        [LEFT_BEHIND, "q1 = 3 if not stray else stray", RIGHT[1], "raise ValueError",
         f"q10 = {SEED} if not secrets else secrets"], ALL),
    "ben": (
        [LEFT_BEHIND, "q1 = 3 if not stray else stray", "twice = 'four'", "q10 = = 5"],
        ("2", "0", "0", "2", "")),
    "cleo": (["q1 = 3\nwhile True:\n    pass"], not_graded(SLOW)),
    "dan": ([*RIGHT, "import os; os._exit(7)"], not_graded(ENDED)),
    # More than the limit: that cell fails, the others count.
    "eve": ([*RIGHT[:2], f"bytearray(3 * 2**30); q10 = {SEED}"], ("2", "1", "0", "3", "")),
    "fay": ([*RIGHT, "import sys; sys.exit(1)"], ALL),
    "gil": (["q1 = 3", "def double(x):\n    return 2 * x", RIGHT[2]], ("2", "0", "3", "5", "")),
    "hana": ([RIGHT[1]], ("0", "1", "0", "1", "")),  # cells are missing
    "Žofie Ó'Néill": (RIGHT, ALL),
    "ines": (
        ["q1 = 3", "def twice(x):\n    while True: pass", RIGHT[2]], not_graded(STUCK, SLOW)),
    "jon": (
        ["q1 = 3", "def twice(x):\n    import time; time.sleep(99)", RIGHT[2]],
        not_graded(STUCK, SLOW)),
    # Magics, and checks in the middle: what is defined there counts, not what comes later.
    "kim": (
        ["%matplotlib inline\n!true", "import otter\ngrader = otter.Notebook()", *RIGHT,
         'grader.check("q1")\ngrader.check("q99")\ngrader.check_all()', "q1 = 17"], ALL),
    "lou": (["q1 = 1", 'grader.check("q1")', "q1 = 3", 'grader.check("q1")', *RIGHT[1:]], ALL),
}  # fmt: skip

# A second for each place, however much lies there on this machine.
FIND = f"""
import os, time
found = []
for place in ("THE CLASS/..", os.getcwd(), "/tmp", "/var/tmp"):
    started = time.monotonic()
    for folder, _, names in os.walk(place):
        for name in names:
            if name.startswith("q") and name.endswith(".py"):
                try:
                    found += [line for line in open(folder + "/" + name) if "q10 ==" in line]
                except OSError:
                    pass
        if time.monotonic() > started + 1:
            break
q10 = {SEED} if found else 0
"""
WRITE = """
import json
for place in (".", "..", "/tmp", "THE CLASS"):
    for name in ("result.json", "grades.csv", "grades.csv.partial", "q1.py"):
        try:
            with open(f"{place}/{name}", "w") as file:
                json.dump({"scores": {"q1": 2, "q2": 1, "q10": 3}}, file)
        except OSError:
            pass
"""
PATCH_TORCH = """
import builtins, numpy, torch
torch.allclose = numpy.allclose = torch.equal = lambda *a, **k: True
torch.Tensor.__eq__ = lambda *a: True
builtins.abs = lambda x: 0
"""
PATCH_GRADER = """
import otter, unigen_edu.judge, unigen_edu.grading, unigen_edu.standins
unigen_edu.judge._decide = unigen_edu.grading._grade = lambda *a: None
unigen_edu.judge.Verdict.scores = {"q1": 1, "q2": 1, "q10": 1}
otter.Notebook = None
"""
PATCH_PROTOCOL = """
import unigen_edu.standins
unigen_edu.standins.Answers._reply = lambda *a: ["q1", "q2", "q10", 2, 3]
"""
EQUAL = """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __call__(self, x): return self
    __hash__ = None
q1 = q10 = twice = Yes()
"""
EQUAL_NUMBER = """
class Yes(float):
    def __eq__(self, other): return True
    __hash__ = float.__hash__
q1, q10, twice = Yes(1), Yes(1), lambda x: Yes(1)
"""
SHOUT = """
import os
for descriptor in range(3, 60):
    try: os.write(descriptor, b"xxxxxxxxxxxxxxxx")
    except OSError: pass
"""
STAY = """
import subprocess, sys
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
subprocess.Popen(sleep, start_new_session=True)
"""
HOSTILE = {
    "patched torch": ([PATCH_TORCH, *WRONG], NONE),
    "patched grader": ([PATCH_GRADER, *WRONG], NONE),
    "patched protocol": ([PATCH_PROTOCOL, *WRONG], NONE),
    "equal to everything": ([EQUAL], NONE),
    "a number that is equal": ([EQUAL_NUMBER], NONE),
    "a list without end": (
        ["q1 = []\nfor _ in range(100_000): q1 = [q1]", RIGHT[1], "q10 = 'x' * 10**9"],
        ("0", "1", "0", "1", "")),
    "wrote a score": ([WRITE, *WRONG], NONE),
    "giant output": (["for _ in range(200): print('x' * 10**6)", *RIGHT], ALL),
    "left running": ([STAY, *RIGHT], ALL),
    "shouts on the line": ([SHOUT, *RIGHT], not_graded(ENDED)),
}  # fmt: skip

FORK = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
MANY = """
import subprocess, sys, time
hold = [sys.executable, "-c", "import time; held = b'1' * 700_000_000; time.sleep(60)"]
held = [subprocess.Popen(hold) for _ in range(5)]
time.sleep(20)
"""
KILL = """
import os
for process in (-1, os.getppid(), 1):
    try: os.kill(process, 9)
    except OSError: pass
"""
DELETE = """
import os, time
for place in ("THE CLASS/..", "..", os.path.expanduser("~"), "/tmp"):
    started = time.monotonic()
    for folder, folders, files in os.walk(place, topdown=False):
        for remove, names in ((os.unlink, files), (os.rmdir, folders)):
            for name in names:
                try: remove(folder + "/" + name)
                except OSError: pass
        if time.monotonic() > started + 1:
            break
"""
FILL = """
try:
    for number in range(100):
        with open(f"filler{number}", "wb") as file: file.write(b"0" * 10**8)
    q1 = 0
except OSError:
    q1 = 3
"""
CALL = """
import socket
try:
    socket.create_connection(("1.1.1.1", 53), 1)
    q1 = 0
except OSError:
    q1 = 3
"""
# What only walls stop.
WALLED = {
    "fork bomb": ([FORK], not_graded(HUNGRY, SLOW)),
    "memory of many": ([MANY, *RIGHT], not_graded(HUNGRY)),
    "deletes files": ([DELETE, *RIGHT], ALL),
    "looks for the tests": ([*RIGHT[:2], FIND], ("2", "1", "0", "3", "")),
    "fills the disk": ([FILL, *RIGHT[1:]], ALL),
    "calls home": ([CALL, *RIGHT[1:]], ALL),
}
UNREADABLE = {
    "gus": (
        '{"cells": [',
        "it is no notebook: its JSON breaks at line 1, column 12; ask for the file again."),
    "hal": ("", "the file is empty."),
    "ida": (
        json.dumps(notebook([], otter={"assignment_name": "99_other"})),
        f"it is for exercise '99_other', which is not here {THERE}"),
    "jim": (
        json.dumps(notebook([], title="holiday photos")),
        f"it does not say which exercise it is: its metadata has no name of an exercise {THERE}"),
    "kai": (b"\x80\x81", "it is no notebook: it is not text in UTF-8."),
    "lea": ('{"worksheets": []}', "it is no Jupyter notebook: it has no list of cells."),
    "max": ("[" * 100_000, "it is no notebook: its JSON is nested too deeply."),
    "rob": (
        submission("q1 <- 3", otter={"assignment_name": NAME},
                   kernelspec={"name": "ir", "display_name": "R", "language": "R"}),
        "it is a notebook in r, and the exercise is in Python."),
}  # fmt: skip


def fill_class(folder, students):
    for name, (cells, _) in students.items():
        written = [cell.replace("THE CLASS", str(folder)) for cell in cells]
        (folder / f"{name}.ipynb").write_text(submission(*written), encoding="utf-8")
    for name, (content, _) in UNREADABLE.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / f"{name}.ipynb").write_bytes(data)
    # Metadata lost, a kernel that only this student has, a cell marked to be skipped, no ids.
    own = {"name": "my-own-kernel", "display_name": "mine", "language": "python"}
    named = f'EXERCISE, REPOSITORY = "{NAME}", "https://example.org"'
    old = json.loads(submission(named, *RIGHT, kernelspec=own))
    old["cells"][1]["metadata"] = {"tags": ["otter_ignore"]}
    old["nbformat_minor"] = 0
    for each in old["cells"]:
        del each["id"]
    (folder / "sam").mkdir()
    (folder / "sam" / "mine.ipynb").write_text(json.dumps(old))
    (folder / "mia.ipynb").write_text(submission(*RIGHT).replace('"code"', '"cod"'))
    (folder / "notes.txt").write_text("not a notebook")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "ann.ipynb").write_text("{}")


@pytest.mark.slow
def test_a_class_in_which_nearly_everything_goes_wrong(tmp_path, monkeypatch, capsys, processes_of):
    home = write_home(tmp_path / "exercises")
    folder, work, out = tmp_path / "class", tmp_path / "work", tmp_path / "grades.csv"
    folder.mkdir()
    work.mkdir()
    students = HONEST | HOSTILE | (WALLED if sandbox.best().walls else {})
    if sandbox.best().walls:
        # It reaches nobody but itself, and may have ended itself.
        students["kills"] = ([KILL, *RIGHT], {ALL, *not_graded(ENDED)})
    fill_class(folder, students)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr("tempfile.tempdir", str(work))
    monkeypatch.setenv("SECRET_TOKEN", "of the teacher")
    assert grade_path(folder, out, home=home, limits=LIMITS) == 1

    output = capsys.readouterr().out.splitlines()
    with out.open(newline="", encoding="utf-8") as stream:
        rows = {row["student"]: row for row in csv.DictReader(stream)}
    assert rows.pop("mia")["reason"].startswith("it is no valid notebook: ")
    found = {
        name: tuple(row[column] for column in ("q1", "q2", "q10", "total", "reason"))
        for name, row in rows.items()
    }
    expected = {name: wanted for name, (_, wanted) in students.items()}
    expected |= {name: not_graded(reason) for name, (_, reason) in UNREADABLE.items()}
    expected["sam"] = ALL
    assert found.keys() == expected.keys()
    surprises = {
        name: found[name]
        for name, wanted in expected.items()
        if found[name] not in (wanted if isinstance(wanted, set) else {wanted})
    }
    assert surprises == {}
    assert {row["points"] for row in rows.values() if not row["reason"]} == {"6"}

    assert output[0] == "Not looked at, for it is no .ipynb file: notes.txt"
    graded = sum(not row["reason"] for row in rows.values())
    assert output[-1] == f"{graded} of {len(rows) + 1} graded; grades in {out}"
    width = max(len(row["file"]) for row in rows.values())
    assert f"{'ann.ipynb':<{width}}  q1 2/2  q2 1/1  q10 3/3  total 6/6" in output
    assert f"{'cleo.ipynb':<{width}}  not graded: {SLOW}" in output

    # Nothing is left, and nothing of the lecturer's has changed.
    assert processes_of(work) == []
    assert not list(work.iterdir())
    assert not list(tmp_path.glob("*.partial"))
    if sandbox.best().walls:
        assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before

    pages = {p.stem: p.read_text(encoding="utf-8") for p in (tmp_path / "grades_reports").iterdir()}
    assert len(pages) == len(rows) + 1
    assert "<strong>6</strong> of 6 points" in pages["ann"]
    assert "code cell 4: <code>ValueError</code>" in pages["ann"]
    assert "not right in other worlds" in pages["patched torch"]
    assert "q2 still has dots in it." in pages["gil"]
    assert SLOW in pages["cleo"]
    assert str(SEED) not in "".join(pages.values())


def test_a_page_holds_nothing_of_a_submission_unescaped():
    from unigen_edu.grading import Grade
    from unigen_edu.reports import page

    script = "<script>alert(1)</script>"
    grade = Grade(
        f"{script}.ipynb", script, "ex", {"q1": 0.0}, {"q1": 1.0}, says={"q1": script},
        errors=((1, script, script),),
    )  # fmt: skip
    assert script not in page(grade)
    assert script not in page(Grade("a", script, reason=script))
    assert page(grade).count("&lt;script&gt;") == 5


def test_the_folder_of_pages_takes_any_name(tmp_path):
    from unigen_edu.grading import Grade
    from unigen_edu.reports import write

    files = ("a/b.ipynb", "ü ñ.ipynb", "a")
    there = {write(tmp_path, Grade(file, file, reason="no")).name for file in files}
    assert there == {"a__b.html", "ü ñ.html", "a.html"}
    assert all(Path(tmp_path / name).is_file() for name in there)
