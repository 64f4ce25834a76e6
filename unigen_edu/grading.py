"""Grade exercise notebooks: `unigen grade FILE_OR_FOLDER`.

Every submission is run by otter-grader in a process of its own, in an empty folder, with limits on
time and memory. What cannot be graded gets one sentence that says why, and the rest is graded all
the same. This keeps accidents apart, not attackers: a student's code runs as the user who grades.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unigen_edu import exercises
from unigen_edu.errors import UnigenError

__all__ = ["Grade", "Limits", "grade_path", "grade_submissions"]

RESULT, SUBMISSION, OUTPUT = "result.json", "submission.ipynb", "output.txt"
PATIENCE = 3
MARK = "UNIGEN_GRADING"  # in the environment of every process that a grading starts
GIB = 2**30
# What a student's code may know of the grader's environment. HOME and the like are not in it.
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "UNIGEN_DATA", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    ``seconds``: computing time of its Python, so that a busy machine fails nobody; the clock may
    show ``PATIENCE`` times as much.  ``memory``: GiB of data.  Windows has only the clock.
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
    """The result of one submission.  ``reason`` says in a sentence why there are no scores."""

    file: str
    student: str
    exercise: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    points: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    fingerprint: str = ""

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
) -> int:
    """Grade a notebook, or every notebook in a folder; print a line for each and write a CSV.

    The CSV goes to ``out``; for a folder the default is ``grades.csv`` in it, for one notebook
    there is none. It appears when all are graded. Until then the finished rows are in
    ``grades.csv.partial``, and the same command continues from there after an interruption.
    Returns 0 if every submission was graded and 1 if some could not be.
    """
    path = Path(path)
    submissions, ignored = _collect(path)
    if out is None and path.is_dir():
        out = path / "grades.csv"
    table = None if out is None else _Table(Path(out), submissions)
    if ignored:
        print(f"Not looked at, for it is no .ipynb file: {', '.join(ignored)}")

    width = max(len(submission.file) for submission in submissions)
    grades = []
    results = grade_submissions(submissions, limits=limits, jobs=jobs, home=home, known=table)
    try:
        with contextlib.closing(results):  # whatever happens here, its processes end
            for grade in results:
                grades.append(grade)
                print(f"{grade.file:<{width}}  {_describe(grade)}", flush=True)
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
    known: _Table | None = None,
) -> Generator[Grade, None, None]:
    """Yield the `Grade` of each notebook, in the order given, ``jobs`` at a time.

    ``home`` is the folder of the exercises, by default that of the repository.
    """
    limits = limits or Limits()
    exercises.require_otter()
    home = exercises.find_home() if home is None else home
    there = exercises.names(home)
    todo = [s if isinstance(s, _Submission) else _submission(s) for s in submissions]
    recognised = [_recognise(submission.path, there) for submission in todo]

    running = _Running()
    with tempfile.TemporaryDirectory(prefix="unigen-grade-") as temporary:
        work = Path(temporary)
        built = {
            exercise: exercises.build(exercise, work / "exercises" / exercise, home)
            for exercise in sorted({r.exercise for r in recognised if r.exercise})
        }

        def one(number: int) -> Grade:
            submission, seen = todo[number], recognised[number]
            file, student = submission.file, submission.student
            if seen.reason:
                grade = Grade(file, student, seen.exercise, reason=seen.reason)
            else:
                exercise = built[seen.exercise]
                stamp = _fingerprint(seen.content, exercise)
                finished = known.finished(file, stamp, exercise) if known else None
                if finished is not None:
                    return finished
                job = work / f"job-{number}"
                grade = _run_job(job, submission, seen, exercise, stamp, limits, running)
                shutil.rmtree(job, ignore_errors=True)
            if known is not None:
                known.add(grade)
            return grade

        with _interrupted_once(), ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
            try:
                yield from pool.map(one, range(len(todo)))
            except BaseException:
                running.stop()
                pool.shutdown(cancel_futures=True)
                raise


@dataclass(frozen=True)
class _Recognised:
    exercise: str = ""
    content: bytes = b""
    reason: str = ""


def _recognise(path: Path, there: tuple[str, ...]) -> _Recognised:
    """Read a submission and find out which exercise it is, or why it is none."""
    try:
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
    except RecursionError:
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
    try:
        return _Recognised(exercise, _normalise(notebook, exercise))
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


def _normalise(notebook: dict[str, Any], exercise: str) -> bytes:
    """The submission as it is run: this machine's Python, no outputs, no metadata of cells.

    A kernel that exists on the student's machine only, or a cell marked to be skipped, would
    otherwise change what is graded.
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
    clean.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "otter": {"assignment_name": exercise},
        }
    )
    nbformat.validate(clean)
    return exercises.as_json(clean).encode()


def _fingerprint(content: bytes, exercise: exercises.Built) -> str:
    """Changes when the submission or a test changes: a finished row is valid for one of these."""
    digest = hashlib.sha256(content)
    for test in sorted((exercise.key.parent / "tests").glob("*.py")):
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


# ---- one submission, one process ---------------------------------------------------------------


class _Running:
    """The marks of the processes under way, so that Ctrl-C can end them all."""

    def __init__(self) -> None:
        self._lock, self._marks, self._stopped = threading.Lock(), set[str](), False

    def start(self) -> str | None:
        with self._lock:
            mark = uuid.uuid4().hex
            self._marks.add(mark)
            return None if self._stopped else mark

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            marks = set(self._marks)
        for mark in marks:
            _end_processes(mark)


def _run_job(
    job: Path,
    submission: _Submission,
    seen: _Recognised,
    exercise: exercises.Built,
    stamp: str,
    limits: Limits,
    running: _Running,
) -> Grade:
    """Run otter on one submission in a fresh folder and process; never raises for the student."""

    def not_graded(reason: str) -> Grade:
        return Grade(submission.file, submission.student, exercise.name, reason=reason)

    mark = running.start()
    if mark is None:
        return not_graded("grading was stopped.")
    for folder in ("home", "temporary"):
        (job / folder).mkdir(parents=True)
    (job / SUBMISSION).write_bytes(seen.content)
    with (job / OUTPUT).open("wb") as output:
        worker = [sys.executable, "-m", "unigen_edu.grading", str(job), str(exercise.autograder)]
        process = subprocess.Popen(
            [*worker, str(limits.seconds), str(limits.memory)],
            cwd=job,
            env=_environment(job, mark),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(timeout=PATIENCE * limits.seconds)
        except subprocess.TimeoutExpired:
            return not_graded(_too_slow(limits.seconds))
        finally:
            _end_processes(mark)
            process.kill()
            process.wait()
    try:
        result = json.loads((job / RESULT).read_text())
    except (OSError, ValueError):
        return not_graded(f"the grading process ended early, with status {process.returncode}.")
    if result.get("reason"):
        return not_graded(result["reason"])
    scores = {question: float(result["scores"].get(question, -1)) for question in exercise.points}
    if any(not 0 <= scores[question] <= exercise.points[question] for question in scores):
        return not_graded("not every question has a score: the notebook disturbed its own tests.")
    return Grade(
        submission.file,
        submission.student,
        exercise.name,
        scores,
        exercise.points,
        fingerprint=stamp,
    )


def _environment(job: Path, mark: str) -> dict[str, str]:
    """A small environment: nothing secret, nothing of the user's own configuration."""
    package = str(Path(__file__).resolve().parent.parent)
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "HOME": str(job / "home"),
        "TMPDIR": str(job / "temporary"),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "CUDA_VISIBLE_DEVICES": "",  # the same numbers with and without a GPU
        "LANG": "C.UTF-8",
        MARK: mark,
    }


def _end_processes(mark: str) -> None:
    """End everything that carries the mark: otter, its kernel, and whatever that started.

    A kernel has a session of its own, so ending otter's process group would leave it running.
    """
    import psutil  # type: ignore[import-untyped]

    for _ in range(20):  # a process may start another while we look
        alive = 0
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                    process.kill()
                    alive += 1
        if not alive:
            return
        time.sleep(0.05)


def _worker(job: Path, autograder: str, seconds: float, memory: float) -> None:
    """The other end of `_run_job`: limit this process, let otter grade, write the result."""
    _limit(seconds, memory)
    result: dict[str, Any]
    try:
        from otter.api import grade_submission

        graded = grade_submission(SUBMISSION, autograder, quiet=True)
        if graded.catastrophic_error is not None:
            result = {"reason": "it ended before its tests could run: look for exit() or a crash."}
        else:
            result = {"scores": {q: graded.get_score(q) for q in graded.test_files}}
    except BaseException as error:
        if _spent_by_kernel() >= seconds - 1:
            reason = _too_slow(seconds)
        elif type(error).__name__ == "DeadKernelError":
            reason = "its Python died while it ran: out of memory, exit() or a crash."
        else:
            first = (str(error).strip().splitlines() or [""])[0][:200]
            reason = f"otter-grader gave up with {type(error).__name__}: {first}"
        result = {"reason": reason}
    (job / RESULT).write_text(json.dumps(result))


def _too_slow(seconds: float) -> str:
    return (
        f"it did not finish in {seconds:g} s of computing or {PATIENCE * seconds:g} s on the "
        "clock: look for a loop or a wait that never ends."
    )


def _spent_by_kernel() -> float:
    """Seconds of computing of the processes that this one started and that have ended."""
    with contextlib.suppress(ImportError):
        import resource

        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return spent.ru_utime + spent.ru_stime
    return 0.0


def _limit(seconds: float, memory: float) -> None:
    """Limits that the kernel inherits. The time on the clock is watched from outside."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    wanted = {
        "RLIMIT_DATA": int(memory * GIB),
        "RLIMIT_CPU": int(seconds),
        "RLIMIT_FSIZE": GIB,
        "RLIMIT_CORE": 0,
    }
    for name, most in wanted.items():
        with contextlib.suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (most, most))


# ---- the CSV -----------------------------------------------------------------------------------


class _Table:
    """The CSV of a run. Rows are kept in a partial file as they come; the CSV appears at the end.

    An existing CSV is replaced only by a run that grades all the files it lists, so that grading
    one notebook cannot wipe out a class.
    """

    FIRST, LAST = ("student", "file", "exercise"), ("total", "points", "reason", "fingerprint")

    def __init__(self, path: Path, submissions: list[_Submission]) -> None:
        self.path, self.partial = path, path.with_name(path.name + ".partial")
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

    def finished(self, file: str, stamp: str, exercise: exercises.Built) -> Grade | None:
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


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
