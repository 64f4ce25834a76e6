"""The process that decides: `python -m unigen_edu.judge`, one for each core that grades.

It reads a job a line from its input and writes a verdict a line to its output. For each job it
starts the submission in a sandbox and puts the tests of each question, hidden ones included, to
stand-ins of what the submission defines. It never runs a student's code itself.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from unigen_edu import sandbox
from unigen_edu.standins import Asker, Gone, Late

PATIENCE = 3  # seconds on the clock for one of computing
# What a student's code may know of the grader's environment. HOME and the like are not in it.
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "UNIGEN_DATA", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Job:
    """One submission and what it may use."""

    cells: list[str]  # of code
    tests: str  # folder of otter's test files, hidden tests included
    seconds: float  # of computing
    memory: float  # GiB
    mark: str  # in the environment of its processes
    hidden: list[str]  # folders that it must not see
    slot: int  # unlike that of any other that runs at the same time
    walls: bool  # of the sandbox, as found once for all judges
    other_user: bool


@dataclass
class Verdict:
    """What the tests of a submission said. ``reason`` says in a sentence why there is no score."""

    scores: dict[str, float] = field(default_factory=dict)  # shares of the points, 0 to 1
    says: dict[str, str] = field(default_factory=dict)  # the sentence of a failed public test
    hidden_failed: dict[str, int] = field(default_factory=dict)  # tests
    errors: list[list[Any]] = field(default_factory=list)  # of cells: number, kind, message
    seconds: float = 0.0  # of computing, of the submission
    reason: str = ""


class _TestsLate(BaseException):
    """The tests of a question take too long. Not an Exception: a test must not catch it."""


class _Stuck(Gone):
    """The tests of the question that is its argument did not come to an end."""


class _OutOfMemory(Gone):
    """The processes of a submission hold more memory than they may."""


def judge(job: Job) -> Verdict:
    """Run one submission and decide."""
    verdict = Verdict()
    before = _computing_of_children()
    with _answering(job) as asker:
        try:
            _question(asker, job, verdict)
        except Late:
            verdict.reason = _too_slow(job.seconds)
        except _OutOfMemory:
            verdict.reason = (
                f"it used more than {job.memory:g} GiB of memory: look for a tensor or a list "
                "that grows."
            )
        except _Stuck as stuck:
            verdict.reason = (
                f"the tests of {stuck} did not end in {job.seconds:g} s: look for a loop in the "
                "answer."
            )
        except Gone:
            if not asker.line.heard:
                verdict.reason = (
                    "its process did not start: see whether `unigen doctor` is content."
                )
                return verdict
            verdict.reason = "its Python ended while it ran: out of memory, exit() or a crash."
    verdict.seconds = round(_computing_of_children() - before, 2)
    if verdict.reason and verdict.seconds >= job.seconds - 1:
        verdict.reason = _too_slow(job.seconds)
    return verdict


def _too_slow(seconds: float) -> str:
    return (
        f"it did not finish in {seconds:g} s of computing or {PATIENCE * seconds:g} s on the "
        "clock: look for a loop or a wait that never ends."
    )


def _question(asker: Asker, job: Job, verdict: Verdict) -> None:
    """Follow the notebook; put a question's tests where it is checked, the rest at the end."""
    tests = {path.stem: str(path) for path in sorted(Path(job.tests).glob("*.py"))}
    asker.line.send(["cells", job.cells])
    while True:
        kind, *data = asker.heard()
        if kind == "check":
            question = data[0] if data else None
            if isinstance(question, str) and question in tests:
                _decide(verdict, asker, question, tests[question], job.seconds)
            asker.enough()
        elif kind == "end":
            for question in [name for name in tests if name not in verdict.scores]:
                _decide(verdict, asker, question, tests[question], job.seconds)
            with contextlib.suppress(Exception):  # from the submission: may be anything
                verdict.errors = [
                    [int(n), str(kind)[:60], str(message)[:300]] for n, kind, message in data[0]
                ][:20]
            asker.enough()
            return
        elif kind != "ready":
            raise Gone("a message is of no known kind")


def _decide(verdict: Verdict, asker: Asker, question: str, path: str, seconds: float) -> None:
    """Put the tests of a question. If it is checked twice, the second time counts.

    ``seconds``: what they may take on the clock.
    """
    file = _test_file(path, os.stat(path).st_mtime)
    wanted = {n for c in file.test_cases for n in inspect.signature(c.body.test_func).parameters}
    verdict.says.pop(question, None)
    try:
        with _alarm(seconds), contextlib.redirect_stdout(None):
            file.run(asker.names(sorted(wanted)))
    except _TestsLate:  # a reply may be under way, so nothing more can be asked
        raise _Stuck(question) from None
    failed = [result for result in file.test_case_results if not result.passed]
    verdict.scores[question] = float(file.score) / float(file.possible)
    verdict.hidden_failed[question] = sum(result.test_case.hidden for result in failed)
    public = [r.message.strip().splitlines()[-1] for r in failed if not r.test_case.hidden]
    if public:
        says = public[0].removeprefix("AssertionError: ")
        if says == public[0]:  # not a sentence of the check, but an error in the answer
            says = f"The answer ended in an error: {says}"
        verdict.says[question] = says[:400]


@lru_cache(maxsize=1000)
def _test_file(path: str, changed: float) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of otter's own imports
        from otter.nbmeta_config import NBMetadataConfig
        from otter.test_files import create_test_file

    return create_test_file(path, NBMetadataConfig())


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise `_TestsLate` in the main thread after ``seconds``; Windows has no alarm."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def late(number: int, frame: object) -> None:
        raise _TestsLate

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


# ---- the submission's process ------------------------------------------------------------------


@contextlib.contextmanager
def _answering(job: Job) -> Iterator[Asker]:
    """Start the process that runs the submission; end it, and all that it started, at the end."""
    ours, theirs = socket.socketpair()
    walls = sandbox.Sandbox(job.walls, job.other_user)
    with ours, tempfile.TemporaryDirectory(prefix="unigen-answering-") as temporary:
        folder = Path(temporary)
        python = [sandbox.interpreter(), "-m", "unigen_edu.answering", str(theirs.fileno())]
        walls.give(folder, job.slot)
        with theirs:
            process = subprocess.Popen(
                walls.command(python, folder, map(Path, job.hidden), job.slot),
                cwd=folder,
                env=_environment(folder, job.mark),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
                preexec_fn=lambda: sandbox.limit(job.seconds, job.memory, not job.walls),
            )
        asker = Asker(ours)
        asker.line.deadline = time.monotonic() + PATIENCE * job.seconds
        asker.line.watch = _watcher(process.pid, job.memory)
        try:
            yield asker
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            sandbox.end_processes(job.mark, but=os.getpid())
            process.wait()


def _watcher(pid: int, memory: float) -> Callable[[], None]:
    """Raises `_OutOfMemory` when a process and its children hold more than ``memory`` GiB."""
    import psutil

    last = 0.0

    def watch() -> None:
        nonlocal last
        if time.monotonic() - last < 0.2:
            return
        last = time.monotonic()
        with contextlib.suppress(psutil.Error, OSError):
            first = psutil.Process(pid)
            family = [first, *first.children(recursive=True)]
            # The quick count takes memory that processes share once for each: look twice then.
            for count in (resident, sandbox.share_of_memory):
                if sum(map(count, family)) <= memory * sandbox.GIB:
                    return
            raise _OutOfMemory

    def resident(process: psutil.Process) -> int:
        with contextlib.suppress(psutil.Error, OSError):
            return process.memory_info().rss
        return 0

    return watch


def _environment(folder: Path, mark: str) -> dict[str, str]:
    """A small environment: nothing secret, nothing of the user's own configuration."""
    package = str(Path(__file__).resolve().parent.parent)
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        "CUDA_VISIBLE_DEVICES": "",  # the same numbers with and without a GPU
        "TQDM_DISABLE": "1",
        "LANG": "C.UTF-8",
        sandbox.MARK: mark,
    }


def _computing_of_children() -> float:
    """Seconds of computing of the processes that this one started and that have ended."""
    with contextlib.suppress(ImportError):
        import resource

        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return spent.ru_utime + spent.ru_stime
    return 0.0


def main() -> None:
    """Judge until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started us ends us
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a test that prints disturbs no verdict
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        torch.set_default_dtype(torch.float32)
        verdict = judge(Job(**json.loads(line)))
        print(json.dumps(asdict(verdict)), file=out, flush=True)


if __name__ == "__main__":
    main()
