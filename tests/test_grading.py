"""`unigen grade`: its table, its interruptions, its processes, and bad input.

tests/test_grading_class.py grades a class in which everything goes wrong.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.grading_mini import RIGHT, submission, write_home
from unigen_edu import courses, exercises, grading, judge, sandbox
from unigen_edu.errors import UnigenError
from unigen_edu.grading import Limits, grade_path, grade_submissions
from unigen_edu.judge import Verdict


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of exercises with a single one, 00_mini: q1, q2 and q10, 6 points."""
    return write_home(tmp_path_factory.mktemp("home") / "exercises")


def rows_of(path):
    with Path(path).open(newline="", encoding="utf-8") as stream:
        return {row["student"]: row for row in csv.DictReader(stream)}


# ---- ends of processes --------------------------------------------------------------------------


def test_marked_processes_are_ended_even_in_sessions_of_their_own():
    import psutil

    child = "import time; time.sleep(60)"
    parent = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', "
        f"{child!r}], start_new_session=True); print(p.pid, flush=True); time.sleep(60)"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True,
        env=os.environ | {sandbox.MARK: "abc"},
    )  # fmt: skip
    grandchild = int(started.stdout.readline())
    sandbox.end_processes("another mark")
    assert started.poll() is None
    sandbox.end_processes("abc")
    assert started.wait(timeout=5) == -signal.SIGKILL
    started.stdout.close()
    deadline = time.monotonic() + 5
    while psutil.pid_exists(grandchild) and time.monotonic() < deadline:
        if psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE:
            break  # ended; whoever adopted it has not looked yet
        time.sleep(0.05)
    assert time.monotonic() < deadline


@pytest.mark.slow
def test_ctrl_c_twice_ends_everything_at_once(home, tmp_path, processes_of):
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "cleo.ipynb").write_text(submission("while True:\n    pass"))
    grade = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    grade += "from pathlib import Path; from unigen_edu.grading import grade_path; "
    grade += f"grade_path(Path({str(tmp_path)!r}), home=Path({str(home)!r}))"
    python = subprocess.Popen(
        [sys.executable, "-c", grade],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(work)},
    )
    deadline = time.monotonic() + 60
    while not any("unigen_edu.answering" in command for command in processes_of(work)):
        assert python.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    python.send_signal(signal.SIGINT)
    python.send_signal(signal.SIGINT)
    _, message = python.communicate(timeout=20)
    assert "KeyboardInterrupt: stopped after 0 of 1; " in message
    assert processes_of(work) == []
    assert not (tmp_path / "grades.csv").exists()


def test_a_judge_that_ends_or_hangs_costs_one_verdict_only(home, tmp_path, monkeypatch):
    """A stand-in for the judge: it ends at the first job and never answers the second."""
    judging = tmp_path / "python"
    judging.write_text(
        f"#!{sys.executable}\nimport pathlib, sys, time\n"
        f"mark = pathlib.Path({str(tmp_path)!r}, 'x')\n"
        "sys.stdin.readline()\nif mark.exists():\n    time.sleep(60)\nmark.touch()\n"
    )
    judging.chmod(0o755)
    files = []
    for name in ("a", "b"):
        files.append(tmp_path / f"{name}.ipynb")
        files[-1].write_text(submission(*RIGHT))
    monkeypatch.setattr(sys, "executable", str(judging))
    monkeypatch.setattr(grading, "GRACE", 1.0)
    grades = grade_submissions(files, home=home, limits=Limits(seconds=1), jobs=1)
    assert {grade.reason for grade in grades} == {
        "the judge did not come to a verdict: a test may be broken."
    }


# ---- the CSV ------------------------------------------------------------------------------------


@pytest.fixture
def instant(monkeypatch):
    """Grading without a judge: 1 point for q1; `instant.stop_at` raises there, as Ctrl-C does."""

    class Instant:
        def __init__(self):
            self.graded, self.stop_at = [], ""

    instant = Instant()

    def decide(self, cells, tests, limits, hidden):
        student = cells[-1].partition("# ")[2]
        if student == instant.stop_at:
            raise KeyboardInterrupt
        instant.graded.append(student)
        return Verdict(scores={"q1": 0.5, "q2": 0.0, "q10": 0.0})

    monkeypatch.setattr(grading._Judges, "decide", decide)
    return instant


@pytest.fixture
def three(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    for number, student in enumerate(("ann", "ben", "cleo")):
        own = f"mine = {number}  # {student}"
        (folder / f"{student}.ipynb").write_text(submission(*RIGHT, own))
    return folder


def test_interrupted_run_continues_and_never_replaces_a_complete_table(
    home, three, instant, capsys
):
    assert grade_path(three, home=home) == 0
    table = three / "grades.csv"
    complete = table.read_text()

    instant.graded.clear()
    instant.stop_at = "cleo"
    with pytest.raises(
        KeyboardInterrupt, match=r"stopped after 2 of 3; .*grades.csv.partial keeps"
    ):
        grade_path(three, home=home, jobs=1)
    assert instant.graded == ["ann", "ben"]
    assert table.read_text() == complete
    assert rows_of(three / "grades.csv.partial").keys() == {"ann", "ben"}

    # ben hands in again: only what is finished *and* unchanged is taken over.
    (three / "ben.ipynb").write_text(submission(*RIGHT, "mine = 'new'  # ben"))
    instant.graded.clear()
    instant.stop_at = ""
    assert grade_path(three, home=home, jobs=1) == 0
    assert instant.graded == ["ben", "cleo"]
    assert rows_of(table).keys() == {"ann", "ben", "cleo"}
    assert not (three / "grades.csv.partial").exists()
    assert "ann.ipynb   q1 1/2" in capsys.readouterr().out


def test_finished_rows_are_graded_again_when_a_test_changes(home, three, instant, tmp_path):
    instant.stop_at = "cleo"
    with pytest.raises(KeyboardInterrupt):
        grade_path(three, home=home, jobs=1)
    other = tmp_path / "exercises" / "00_mini"
    other.mkdir(parents=True)
    source = (home / "00_mini" / exercises.SOURCE).read_text()
    (other / exercises.SOURCE).write_text(source.replace("twice(21) == 42", "twice(4) == 8"))
    instant.graded.clear()
    instant.stop_at = ""
    assert grade_path(three, home=other.parent, jobs=1) == 0
    assert instant.graded == ["ann", "ben", "cleo"]


def test_a_table_of_others_is_not_replaced(home, three, instant, tmp_path):
    out = tmp_path / "grades.csv"
    grade_path(three, out, home=home)
    before = out.read_text()
    with pytest.raises(UnigenError, match=r"has grades of 2 submissions that are not among these"):
        grade_path(three / "ann.ipynb", out, home=home)
    out.write_text("my,own,numbers\n1,2,3\n")
    with pytest.raises(UnigenError, match="is not a table of grades"):
        grade_path(three, out, home=home)
    assert out.read_text() == "my,own,numbers\n1,2,3\n"
    out.write_text(before)
    assert grade_path(three, out, home=home) == 0  # the same submissions: replaced
    with pytest.raises(UnigenError, match="create it first"):
        grade_path(three, tmp_path / "nowhere" / "grades.csv", home=home)


def test_one_notebook_prints_its_grade_and_writes_only_what_is_asked(home, three, instant, capsys):
    one = three / "ann.ipynb"
    assert grade_path(one, home=home) == 0
    assert capsys.readouterr().out == "ann.ipynb  q1 1/2  q2 0/1  q10 0/3  total 1/6\n"
    assert not list(three.glob("*.csv*"))
    assert grade_path(str(one), str(three / "ann.csv"), home=home) == 0
    assert rows_of(three / "ann.csv")["ann"]["total"] == "1"


# ---- bad input ----------------------------------------------------------------------------------


def test_bad_paths_and_limits(home, tmp_path):
    with pytest.raises(UnigenError, match="does not exist: name a notebook or a folder"):
        grade_path(tmp_path / "nothing", home=home)
    with pytest.raises(UnigenError, match="holds no notebook"):
        grade_path(tmp_path, home=home)
    with pytest.raises(UnigenError, match="leave no room"):
        Limits(seconds=0)


def test_without_otter_or_without_sources_the_sentence_says_what_to_install(
    home, three, monkeypatch
):
    with monkeypatch.context() as patch:
        real = importlib.util.find_spec
        patch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *a: None if name == "otter" else real(name, *a),
        )
        with pytest.raises(UnigenError, match=r'otter-grader: pip install "unigen-edu\[grade\]"'):
            grade_path(three, home=home)
    monkeypatch.setattr(exercises, "__file__", "/usr/lib/python3/unigen_edu/exercises.py")
    with pytest.raises(UnigenError, match="their sources are in the repository"):
        grade_path(three)


@pytest.mark.parametrize(
    ("scores", "total"),
    [
        ({"q1": 1.0, "q2": 1.0, "q10": 1.0}, 6),
        ({"q1": 0.5, "q2": 0.0, "q10": 1.0}, 4),
        ({"q1": 2.0, "q2": 1.0, "q10": 1.0}, None),
        ({"q1": 1.0, "q2": 1.0}, None),
        ({"q1": float("nan"), "q2": 1.0, "q10": 1.0}, None),
    ],
)
def test_a_score_outside_its_question_is_no_grade(tmp_path, scores, total):
    exercise = courses.Exercise("00_mini", {"q1": 2.0, "q2": 1.0, "q10": 3.0}, tmp_path)
    given = grading._Submission(tmp_path, "a.ipynb", "a")
    grade = grading._grade(given, exercise, Verdict(scores=scores), "stamp")
    if total is None:
        assert grade.reason.startswith("not every question has a score")
        assert not grade.scores
    else:
        assert (grade.total, grade.reason) == (total, "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what processes share")
def test_memory_that_processes_share_counts_once():
    """A DataLoader's workers share what was loaded before them; four times 400 MB is one here."""
    code = (
        "import os, time\nheld = b'1' * 400_000_000\n"
        "for _ in range(3):\n    if os.fork() == 0:\n        break\n"
        "os.write(1, b'ready\\n')\ntime.sleep(60)"
    )
    pipe = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipe) as process:
        try:
            assert [process.stdout.readline() for _ in range(4)] == ["ready\n"] * 4
            judge._watcher(process.pid, 0.8)()
            with pytest.raises(judge._OutOfMemory):
                judge._watcher(process.pid, 0.3)()
        finally:
            os.killpg(process.pid, signal.SIGKILL)
