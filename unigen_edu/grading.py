"""Grade exercise notebooks: `unigen grade FILE_OR_FOLDER`.

A submission runs in a sandbox of its own, without network and without files of the grader's, where
the system has such walls; the tests run in another process that never executes a line of it (see
`unigen_edu.judge` and `unigen_edu.sandbox`). What cannot be graded gets one sentence that says why,
and the rest is graded all the same.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from unigen_edu import courses, exercises, reports, sandbox
from unigen_edu.errors import UnigenError
from unigen_edu.judge import PATIENCE, Job, Verdict

__all__ = ["Grade", "Limits", "grade_path", "grade_submissions"]

LARGEST = 50 * 2**20  # bytes of a submission
GRACE = 60.0  # seconds that a judge may take beside the submission's own


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    ``seconds``: computing time of its Python, so that a busy machine fails nobody; the clock may
    show ``PATIENCE`` times as much.  ``memory``: GiB, of all its processes together.
    """

    seconds: float = 60.0
    memory: float = 4.0

    def __post_init__(self) -> None:
        if not (self.seconds >= 1 and self.memory > 0):
            raise UnigenError(
                f"limits of {self.seconds:g} s and {self.memory:g} GiB leave no room: "
                "give at least one second and some memory."
            )


@dataclass(frozen=True)
class Grade:
    """The result of one submission.  ``reason`` says in a sentence why there are no scores.

    ``says``: question -> the sentence of its public test, where that failed.  ``hidden_failed``:
    question -> how many of its hidden tests failed.  ``errors``: of the first cells that ended in
    an error, their number, its kind and its message.
    """

    file: str
    student: str
    exercise: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    points: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    fingerprint: str = ""
    says: Mapping[str, str] = field(default_factory=dict)
    hidden_failed: Mapping[str, int] = field(default_factory=dict)
    errors: tuple[tuple[int, str, str], ...] = ()

    @property
    def total(self) -> float:
        return sum(self.scores.values())

    @property
    def out_of(self) -> float:
        return sum(self.points.values())


@dataclass(frozen=True)
class _Submission:
    path: Path
    file: str  # relative to the folder that is graded
    student: str


def _submission(path: Path) -> _Submission:
    return _Submission(path, path.name, path.stem)


# ---- the command -----------------------------------------------------------------------------


def grade_path(
    path: Path | str,
    out: Path | str | None = None,
    *,
    limits: Limits | None = None,
    jobs: int = 2,
    home: Path | None = None,
    course: Path | str | None = None,
) -> int:
    """Grade a notebook, or every notebook in a folder; print a line for each and write a CSV.

    The CSV goes to ``out``; for a folder the default is ``grades.csv`` in it, for one notebook
    there is none. It appears when all are graded. Until then the finished rows are in
    ``grades.csv.partial``, and the same command continues from there after an interruption. Beside
    the CSV, ``grades_reports`` has a page for each submission, to be given to the student.

    ``course``: the folder ``staff`` of a course made by `unigen course new`; without it, the
    exercises as the repository holds them.
    Returns 0 if every submission was graded and 1 if some could not be.
    """
    path = Path(path)
    submissions, ignored = _collect(path)
    if out is None and path.is_dir():
        out = path / "grades.csv"
    table = None if out is None else _Table(Path(out), submissions)
    given = courses.load(Path(course)) if course is not None else None
    if limits is None and given is not None:
        limits = Limits(given.seconds, given.memory)
    if ignored:
        print(f"Not looked at, for it is no .ipynb file: {', '.join(ignored)}")
    if not sandbox.best().walls:
        print(f"Submissions run {sandbox.best()}.", file=sys.stderr)

    width = max(len(submission.file) for submission in submissions)
    grades = []
    results = grade_submissions(
        submissions, limits=limits, jobs=jobs, home=home, course=given, known=table
    )
    progress = tqdm(total=len(submissions), unit="notebook", disable=None if table else True)
    try:
        with progress, contextlib.closing(results):  # whatever happens, its processes end
            for grade in results:
                grades.append(grade)
                with progress.external_write_mode():
                    print(f"{grade.file:<{width}}  {_describe(grade)}", flush=True)
                progress.update()
    except KeyboardInterrupt:
        done = f"stopped after {len(grades)} of {len(submissions)}"
        if table is not None:
            done += f"; {table.partial} keeps what is done, and the same command goes on from there"
        raise KeyboardInterrupt(done) from None
    failed = sum(bool(grade.reason) for grade in grades)
    if table is not None:
        table.finish(grades)
    if path.is_dir():
        where = f"; grades in {table.path}" if table else ""
        print(f"{len(grades) - failed} of {len(grades)} graded{where}")
    elif table is not None:
        print(f"grade in {table.path}")
    return 1 if failed else 0


def _describe(grade: Grade) -> str:
    if grade.reason:
        return f"not graded: {grade.reason}"
    parts = [f"{q} {grade.scores[q]:g}/{grade.points[q]:g}" for q in grade.points]
    return f"{'  '.join(parts)}  total {grade.total:g}/{grade.out_of:g}"


def _collect(path: Path) -> tuple[list[_Submission], list[str]]:
    """The notebooks to grade, in order of their names, and the other files beside them."""
    if path.is_file():
        return [_submission(path)], []
    if not path.is_dir():
        raise UnigenError(f"{path} does not exist: name a notebook or a folder of notebooks.")
    found = []
    for notebook in sorted(path.rglob("*.ipynb")):
        relative = notebook.relative_to(path)
        if any(part.startswith(".") for part in relative.parts):
            continue  # .ipynb_checkpoints and the like
        # alice.ipynb or alice/07_lemma1.ipynb
        student = relative.stem if len(relative.parts) == 1 else relative.parts[0]
        found.append(_Submission(notebook, relative.as_posix(), student))
    if not found:
        raise UnigenError(f"{path} holds no notebook: submissions end in .ipynb.")
    others = [
        p.name
        for p in sorted(path.iterdir())
        if p.is_file() and p.suffix not in (".ipynb", ".csv", ".partial") and p.name[0] != "."
    ]
    return found, others


# ---- grading ---------------------------------------------------------------------------------


def grade_submissions(
    submissions: Iterable[Path | _Submission],
    *,
    limits: Limits | None = None,
    jobs: int = 2,
    home: Path | None = None,
    course: courses.Course | None = None,
    known: _Table | None = None,
) -> Generator[Grade, None, None]:
    """Yield the `Grade` of each notebook, in the order given, ``jobs`` at a time.

    The tests are those of ``course`` or, without one, of the exercises in the folder ``home``, by
    default that of the repository.
    """
    limits = limits or Limits()
    exercises.require_otter()
    if course is not None:
        there = tuple(course.exercises)
    else:
        home = exercises.find_home() if home is None else home
        there = exercises.names(home)
    todo = [s if isinstance(s, _Submission) else _submission(s) for s in submissions]
    recognised = [_recognise(submission.path, there) for submission in todo]

    judges = _Judges(max(1, jobs))
    with tempfile.TemporaryDirectory(prefix="unigen-grade-") as temporary:
        work = Path(temporary)
        wanted = sorted({r.exercise for r in recognised if r.exercise})
        if course is not None:
            built = {name: course.exercises[name] for name in wanted}
        else:
            assert home is not None
            built = {
                name: courses.of_build(exercises.build(name, work / name, home)) for name in wanted
            }
        # A submission sees neither the tests nor what the others handed in.
        hidden = [str(folder) for folder in {work, *(s.path.resolve().parent for s in todo)}]
        hidden += [str(folder) for folder in {e.tests.parent for e in built.values()}]

        def one(number: int) -> Grade:
            submission, seen = todo[number], recognised[number]
            file, student = submission.file, submission.student
            if seen.reason:
                grade = Grade(file, student, seen.exercise, reason=seen.reason)
            else:
                exercise = built[seen.exercise]
                stamp = _fingerprint(seen.cells, exercise)
                finished = known.finished(file, stamp, exercise) if known else None
                if finished is not None:
                    return finished
                verdict = judges.decide(seen.cells, exercise.tests, limits, hidden)
                grade = _grade(submission, exercise, verdict, stamp)
            if known is not None:
                known.add(grade)
            return grade

        with _interrupted_once(), ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
            try:
                yield from pool.map(one, range(len(todo)))
            except BaseException:
                judges.stop()
                pool.shutdown(cancel_futures=True)
                raise
            finally:
                judges.stop()


def _grade(
    submission: _Submission, exercise: courses.Exercise, verdict: Verdict, stamp: str
) -> Grade:
    """A verdict as a grade: complete and within the points, or a reason."""
    reason, scores = verdict.reason, verdict.scores
    points = exercise.points
    if not reason and not all(0 <= scores.get(question, -1) <= 1 for question in points):
        reason = "not every question has a score: the judge and the exercise do not agree."
    if reason:
        return Grade(submission.file, submission.student, exercise.name, reason=reason)
    return Grade(
        submission.file,
        submission.student,
        exercise.name,
        {question: scores[question] * points[question] for question in points},
        points,
        fingerprint=stamp,
        says=verdict.says,
        hidden_failed=verdict.hidden_failed,
        errors=tuple((number, kind, message) for number, kind, message in verdict.errors),
    )


@dataclass(frozen=True)
class _Recognised:
    exercise: str = ""
    cells: list[str] = field(default_factory=list)  # of code
    reason: str = ""


def _recognise(path: Path, there: tuple[str, ...]) -> _Recognised:
    """Read a submission and find out which exercise it is, or why it is none."""
    try:
        if path.stat().st_size > LARGEST:
            return _Recognised(
                reason=f"the file has more than {LARGEST // 2**20} MB: clear its outputs, and "
                "hand it in again."
            )
        content = path.read_bytes()
    except OSError as error:
        return _Recognised(reason=f"it cannot be read ({error.strerror}).")
    if not content.strip():
        return _Recognised(reason="the file is empty.")
    try:
        notebook = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        return _Recognised(reason="it is no notebook: it is not text in UTF-8.")
    except json.JSONDecodeError as error:
        return _Recognised(
            reason=f"it is no notebook: its JSON breaks at line {error.lineno}, "
            f"column {error.colno}; ask for the file again."
        )
    except (RecursionError, ValueError):  # a number of a million digits, say
        return _Recognised(reason="it is no notebook: its JSON is nested too deeply.")
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        return _Recognised(reason="it is no Jupyter notebook: it has no list of cells.")
    exercise = _exercise_of(notebook)
    if exercise is None:
        return _Recognised(
            reason="it does not say which exercise it is: its metadata has no name of an "
            f"exercise (there are {', '.join(there)})."
        )
    if exercise not in there:
        return _Recognised(
            reason=f"it is for exercise {exercise!r}, which is not here "
            f"(there are {', '.join(there)})."
        )
    language = _language(notebook)
    if language not in ("", "python"):
        return _Recognised(
            exercise, reason=f"it is a notebook in {language}, and the exercise is in Python."
        )
    try:
        return _Recognised(exercise, _code_cells(notebook))
    except Exception as error:  # nbformat raises many kinds
        return _Recognised(
            exercise, reason=f"it is no valid notebook: {str(error).splitlines()[0][:200]}"
        )


def _exercise_of(notebook: dict[str, Any]) -> str | None:
    metadata = notebook.get("metadata")
    otter = metadata.get("otter") if isinstance(metadata, dict) else None
    name = otter.get("assignment_name") if isinstance(otter, dict) else None
    if isinstance(name, str):
        return name
    # An editor may have dropped the metadata; the first code cell names the exercise too.
    for cell in notebook["cells"]:
        source = cell.get("source", "") if isinstance(cell, dict) else ""
        text = source if isinstance(source, str) else "".join(map(str, source))
        for line in text.splitlines():
            if line.startswith("EXERCISE, REPOSITORY = "):
                return line.partition('"')[2].partition('"')[0]
    return None


def _language(notebook: Mapping[str, Any]) -> str:
    """The programming language that the metadata name, in small letters; "" if they name none."""
    metadata = notebook.get("metadata")
    for part, name in (("kernelspec", "language"), ("language_info", "name")):
        inner = metadata.get(part) if isinstance(metadata, dict) else None
        named = inner.get(name) if isinstance(inner, dict) else None
        if isinstance(named, str) and named:
            return named.lower()[:40]
    return ""


def _code_cells(notebook: dict[str, Any]) -> list[str]:
    """The code of a notebook of any version; raises if it is no valid notebook.

    Only the code is graded: a kernel that exists on the student's machine only, or a cell marked to
    be skipped, changes nothing.
    """
    import nbformat
    from nbformat import converter, reader

    # Not nbformat.reads, which writes what it finds amiss to the log.
    clean = converter.convert(reader.reads(json.dumps(notebook)), 4)
    clean.nbformat_minor = 5
    for number, cell in enumerate(clean.cells):
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.NotebookNode()
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        cell.pop("attachments", None)
    clean.metadata = nbformat.NotebookNode()
    nbformat.validate(clean)
    return [cell.source for cell in clean.cells if cell.cell_type == "code"]


def _fingerprint(cells: list[str], exercise: courses.Exercise) -> str:
    """Changes when the submission or a test changes: a finished row is valid for one of these."""
    digest = hashlib.sha256(json.dumps(cells).encode())
    for test in sorted(exercise.tests.glob("*.py")):
        digest.update(test.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _interrupted_once() -> Iterator[None]:
    """Let the first Ctrl-C interrupt and ignore more of them: ending the processes takes a moment.

    `timeout`, for one, sends two; the second would fall into the middle of the tidying up.
    """

    def first(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    mine = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if mine:
        signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)


# ---- judges ------------------------------------------------------------------------------------


def _close(judge: subprocess.Popen[str]) -> None:
    """End a judge and close the pipes to it."""
    judge.kill()
    judge.wait()
    for pipe in (judge.stdin, judge.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


class _Judges:
    """The processes that decide, at most ``jobs``, and what runs under them."""

    def __init__(self, jobs: int) -> None:
        self._lock, self._marks, self._stopped = threading.Lock(), set[str](), False
        self._free: queue.SimpleQueue[tuple[int, subprocess.Popen[str] | None]]
        self._free = queue.SimpleQueue()
        self._all: list[subprocess.Popen[str]] = []
        for slot in range(jobs):
            self._free.put((slot, None))

    def decide(self, cells: list[str], tests: Path, limits: Limits, hidden: list[str]) -> Verdict:
        """The verdict on one submission; never raises for what a submission does."""
        slot, judge = self._free.get()
        mark = uuid.uuid4().hex
        try:
            with self._lock:
                if self._stopped:
                    return Verdict(reason="grading was stopped.")
                self._marks.add(mark)
            if judge is None or judge.poll() is not None:
                judge = self._start()
            walls = sandbox.best()
            job = Job(
                cells, str(tests), limits.seconds, limits.memory, mark, hidden, slot,
                walls.walls, walls.other_user,
            )  # fmt: skip
            line = self._ask(judge, json.dumps(asdict(job)), PATIENCE * limits.seconds + GRACE)
            if line is not None:
                return Verdict(**json.loads(line))
            _close(judge)
            judge = None
            return Verdict(reason="the judge did not come to a verdict: a test may be broken.")
        finally:
            self._free.put((slot, judge))

    def _start(self) -> subprocess.Popen[str]:
        judge = subprocess.Popen(
            [sys.executable, "-m", "unigen_edu.judge"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,
        )
        with self._lock:
            self._all.append(judge)
        return judge

    @staticmethod
    def _ask(judge: subprocess.Popen[str], request: str, seconds: float) -> str | None:
        """A line of reply; None if the judge ended or was late, in which case it is ended."""
        assert judge.stdin is not None
        assert judge.stdout is not None
        timer = threading.Timer(seconds, judge.kill)
        timer.start()
        try:
            judge.stdin.write(request + "\n")
            judge.stdin.flush()
            return judge.stdout.readline() or None
        except OSError:
            return None
        finally:
            timer.cancel()

    def stop(self) -> None:
        """End them all, and every submission under them."""
        with self._lock:
            self._stopped = True
            marks, judges = set(self._marks), list(self._all)
        for judge in judges:
            _close(judge)
        for mark in marks:
            sandbox.end_processes(mark)


# ---- the CSV -----------------------------------------------------------------------------------


class _Table:
    """The CSV of a run. Rows are kept in a partial file as they come; the CSV appears at the end.

    An existing CSV is replaced only by a run that grades all the files it lists, so that grading
    one notebook cannot wipe out a class.
    """

    FIRST, LAST = ("student", "file", "exercise"), ("total", "points", "reason", "fingerprint")

    def __init__(self, path: Path, submissions: list[_Submission]) -> None:
        self.path, self.partial = path, path.with_name(path.name + ".partial")
        self.reports = path.with_name(f"{path.stem}_reports")
        self._lock = threading.Lock()
        files = {submission.file for submission in submissions}
        if not path.parent.is_dir():
            raise UnigenError(f"the folder {path.parent} does not exist: create it first.")
        if path.exists():
            rows = self._read(path)
            if rows is None:
                raise UnigenError(f"{path} is not a table of grades: choose another --out.")
            lost = [row["file"] for row in rows if row["file"] not in files]
            if lost:
                raise UnigenError(
                    f"{path} has grades of {len(lost)} submissions that are not among these "
                    f"({lost[0]} ...): choose another --out, or move it away."
                )
        self._kept = {row["file"]: row for row in self._read(self.partial) or []}
        self._rows = dict(self._kept)

    @classmethod
    def _read(cls, path: Path) -> list[dict[str, str]] | None:
        """The rows; None if there is no such file or it is something else."""
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                reader = csv.DictReader(stream)
                wanted = {*cls.FIRST, *cls.LAST}
                if not wanted <= set(reader.fieldnames or ()):
                    return None
                return [row for row in reader if all(row[name] is not None for name in wanted)]
        except (OSError, UnicodeDecodeError, csv.Error):
            return None

    def finished(self, file: str, stamp: str, exercise: courses.Exercise) -> Grade | None:
        """The grade of an interrupted run, if neither submission nor tests have changed since."""
        row = self._kept.get(file)
        if row is None or row["fingerprint"] != stamp:
            return None
        try:
            scores = {question: float(row[question]) for question in exercise.points}
        except (KeyError, ValueError):
            return None
        return Grade(
            file, row["student"], exercise.name, scores, exercise.points, fingerprint=stamp
        )

    def add(self, grade: Grade) -> None:
        """Keep a finished grade, in case the run does not come to its end."""
        reports.write(self.reports, grade)
        with self._lock:
            self._rows[grade.file] = self._row(grade)
            _replace(self.partial, self._text(self._rows.values()))

    def finish(self, grades: list[Grade]) -> None:
        """Put the complete table in its place."""
        _replace(self.path, self._text(self._row(grade) for grade in grades))
        self.partial.unlink(missing_ok=True)

    @staticmethod
    def _row(grade: Grade) -> dict[str, str]:
        row = {
            "student": grade.student,
            "file": grade.file,
            "exercise": grade.exercise,
            "reason": grade.reason,
            "fingerprint": grade.fingerprint,
            "total": "",
            "points": "",
        }
        if not grade.reason:  # without a grade there is no number, not even zero
            row.update(total=f"{grade.total:g}", points=f"{grade.out_of:g}")
            row.update({question: f"{score:g}" for question, score in grade.scores.items()})
        return row

    def _text(self, rows: Iterable[Mapping[str, str]]) -> str:
        rows = list(rows)
        fixed = {*self.FIRST, *self.LAST}
        questions = {name for row in rows for name in row if name not in fixed}
        order = sorted(questions, key=exercises.by_number)
        stream = io.StringIO()
        writer = csv.DictWriter(
            stream, [*self.FIRST, *order, *self.LAST], restval="", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)
        return stream.getvalue()


def _replace(path: Path, text: str) -> None:
    """Write a file so that there is never half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
