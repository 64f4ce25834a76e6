"""A process for code that nobody has read: limits, and walls where the system has them.

Linux has all that is needed: namespaces (util-linux: `unshare`), a user without rights (`setpriv`)
and resource limits. `best()` tries what works here, from the strongest on:

walls           no network, no view of other processes, every file read-only but an empty folder in
                memory, the lecturer's folders not visible; as root also another user's identity
limits          computing time, memory, size of files, number of processes; this much always

What no wall of this kind stops is an attack on the kernel itself: see the page for lecturers.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["MARK", "Sandbox", "best", "end_processes", "limit"]

MARK = "UNIGEN_GRADING"  # in the environment of every process that a grading starts

GIB = 2**30
NOBODY = 64_000  # users from here on own nothing
SCRATCH = "256m"  # what a submission may write, in all
PROCESSES = 64
SYSTEM = ("bin", "dev", "etc", "lib", "lib64", "nix", "proc", "sbin", "sys", "usr")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


@dataclass(frozen=True)
class Sandbox:
    """How a process is shut in.  ``walls``: whether it has more than limits."""

    walls: bool
    other_user: bool

    def command(
        self, python: Sequence[str], folder: Path, hidden: Iterable[Path] = (), slot: int = 0
    ) -> list[str]:
        """The command line that runs ``python`` in ``folder``, which it finds empty.

        ``hidden``: folders that it must not see. ``slot``: a number of its own among those that
        run at the same time.
        """
        user = NOBODY + slot if self.other_user else None
        if not self.walls:
            return [*_as_user(user), *python] if user is not None else list(python)
        emptied = _emptied([*hidden, *_private()], folder.resolve(), self.other_user)
        plan = {
            "folder": str(folder.resolve()),
            "emptied": [str(path) for path in emptied],
            "kept": [str(path) for paths in emptied.values() for path in paths],
            "drop": _as_user(user),
            "owner": [] if user is None else [f"uid={user}", f"gid={user}"],
            "python": list(python),
        }
        unshare = ["unshare", "--net", "--pid", "--ipc", "--uts", "--mount", "--fork"]
        unshare += ["--kill-child", "--mount-proc"]
        if os.getuid() != 0:
            unshare += ["--user", "--map-root-user"]
        inside = [interpreter(), "-I", str(Path(__file__).resolve()), json.dumps(plan)]
        return [*unshare, *inside]

    def give(self, folder: Path, slot: int = 0) -> None:
        """Make an empty folder the process's own, where it has no other to write in."""
        if self.other_user and not self.walls:
            os.chown(folder, NOBODY + slot, NOBODY + slot)

    def __str__(self) -> str:
        if self.walls:
            return "without network, other processes or files of yours"
        if self.other_user:
            return (
                "as a user without rights, but this system has no namespaces, so that a submission "
                "can reach the network and what all users may read; grade strangers' work in a "
                "container without network"
            )
        return (
            "with limits on time and memory only: this system has no namespaces, so that a "
            "submission can reach your files and the network; grade strangers' work in a container"
        )


def _as_user(user: int | None) -> list[str]:
    """A command in front of another that takes all rights from it, and its identity if given."""
    drop = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    if user is not None:
        drop += [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    return drop


def interpreter() -> str:
    """This Python by the address at which a sandbox finds it, whatever links lead there.

    The last step stays: `.venv/bin/python` is a link, and must be called by its name.
    """
    path = Path(sys.executable)
    return str(path.parent.resolve() / path.name)


def _needed() -> list[Path]:
    """The folders that hold Python, its packages, this one and the data sets."""
    found = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parent]
    found += [Path(p) for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    if os.environ.get("UNIGEN_DATA"):
        found.append(Path(os.environ["UNIGEN_DATA"]))
    return sorted({path.resolve() for path in found if path.is_dir()})


def _private() -> list[Path]:
    """The lecturer's home and the folder where the command was given: a key may lie there."""
    found = []
    with contextlib.suppress(RuntimeError, OSError):
        found += [Path.home(), Path.cwd()]
    return found


def _emptied(paths: Iterable[Path], folder: Path, other_user: bool) -> dict[Path, list[Path]]:
    """Folders that the process finds empty -> what it needs of them and does find.

    Those are ``paths`` and, for another user, folders on the way that other users may not enter.
    """
    needed = _needed()
    wanted = {Path(path).resolve() for path in paths}
    if other_user:
        for path in (*needed, folder):
            closed = (a for a in reversed(path.parents) if not a.stat().st_mode & stat.S_IXOTH)
            wanted |= set(itertools.islice(closed, 1))
    found: dict[Path, list[Path]] = {}
    for path in sorted(wanted):  # a folder comes before what is in it
        of_system = len(path.parts) < 2 or path.parts[1] in SYSTEM
        covered = any(path.is_relative_to(other) for other in (*found, *needed))
        if path.is_dir() and not of_system and not covered:
            found[path] = [n for n in needed if n.is_relative_to(path)]
    return found


@functools.cache
def best() -> Sandbox:
    """The strongest that works on this machine."""
    if all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        root = os.getuid() == 0
        for walls, other_user in ((True, True), (True, False), (False, True)):
            candidate = Sandbox(walls, other_user)
            if (root or not other_user) and _works(candidate):
                return candidate
    return Sandbox(walls=False, other_user=False)


def _works(sandbox: Sandbox) -> bool:
    """Whether Python starts in it, finds its packages, and can write in its folder only."""
    import tempfile

    probe = (
        "import importlib.util, os, pathlib, subprocess, sys; pathlib.Path('here').touch(); "
        f"same = os.path.realpath(os.__file__) == {os.path.realpath(os.__file__)!r}; "
        "child = subprocess.run([sys.executable, '-c', 'pass']); "
        "there = importlib.util.find_spec('torch'); "
        "raise SystemExit(not same or child.returncode or there is None)"
    )
    with tempfile.TemporaryDirectory() as folder:
        sandbox.give(Path(folder))
        command = sandbox.command([interpreter(), "-c", probe], Path(folder))
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120)
        except OSError:
            return False
        except subprocess.TimeoutExpired:  # not a reason to do without walls
            from unigen_edu.errors import UnigenError

            raise UnigenError(
                "this machine is too busy to start a sandbox within two minutes: try again."
            ) from None
        return done.returncode == 0 and sandbox.walls != bool(list(Path(folder).iterdir()))


def limit(seconds: float, memory: float, count: bool = False) -> None:
    """Limit this process and all that it starts: seconds of computing and GiB of data each.

    ``count``: limit their number too, together with those that the user has now. Within walls they
    are counted by themselves. (The system limits nobody who is root.)
    """
    try:
        import resource
    except ImportError:  # Windows has none
        return
    wanted = {
        "RLIMIT_DATA": int(memory * GIB),
        "RLIMIT_CPU": int(seconds),
        "RLIMIT_FSIZE": GIB // 8,
        "RLIMIT_CORE": 0,
    }
    if count:
        import psutil

        users = [p.info["uids"] for p in psutil.process_iter(["uids"])]
        mine = sum(user is not None and user.real == os.getuid() for user in users)
        wanted["RLIMIT_NPROC"] = mine + PROCESSES
    for name, most in wanted.items():
        with contextlib.suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (most, most))


def share_of_memory(process: Any) -> int:
    """Bytes that a ``psutil.Process`` holds; of what several share, its part (0 when it is gone).

    Where the system does not say (not Linux), what is shared counts in full for each.
    """
    import psutil

    try:
        return int(process.memory_full_info().pss)
    except (AttributeError, psutil.AccessDenied):
        with contextlib.suppress(psutil.Error):
            return int(process.memory_info().rss)
    except (psutil.Error, OSError):
        pass
    return 0


def end_processes(mark: str, but: int = 0) -> None:
    """End everything that carries the mark, sessions of their own included, but one process."""
    import psutil

    for _ in range(20):  # a process may start another while we look
        alive = 0
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid == but or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get(MARK) == mark:
                    process.kill()
                    alive += 1
        if not alive:
            return
        time.sleep(0.05)


# ---- inside the walls: runs before the process that is shut in, with nothing but Python ----------


# A mount's flags: the kernel refuses to make it read-only without those that it has.
KEPT = ("nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime")


def _enter(plan: dict[str, Any]) -> None:
    folder, hidden = plan["folder"], plan["emptied"]

    def mount(*arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True)

    def empty(path: str, *options: str) -> None:
        mount("-t", "tmpfs", "-o", ",".join(options), "tmpfs", path)

    mount("--make-rprivate", "/")
    # Devices, but for the harmless ones, and sockets such as Docker's, are gone. What Python needs
    # of a folder that other users may not enter, such as /root, is all that is left of it.
    empty(folder, "size=1m", "mode=755")
    devices = os.path.join(folder, "devices")
    os.mkdir(devices)
    empty(devices, "size=1m", "mode=755")
    for name in DEVICES:
        if os.path.exists(f"/dev/{name}"):
            open(f"{devices}/{name}", "w").close()
            mount("--bind", f"/dev/{name}", f"{devices}/{name}")
    os.symlink("/proc/self/fd", f"{devices}/fd")
    mount("--rbind", devices, "/dev")
    kept = [(f"/dev/{number}", path) for number, path in enumerate(plan["kept"])]
    for stash, path in kept:
        os.mkdir(stash)
        mount("--rbind", path, stash)
    if os.path.isdir("/run") and not any(folder.startswith(h + "/") for h in ("/run", *hidden)):
        hidden.append("/run")
    for path in hidden:
        empty(path, "size=1m", "mode=755")
    for stash, path in kept:
        os.makedirs(path, exist_ok=True)
        mount("--rbind", stash, path)
        subprocess.run(["umount", "--lazy", stash], check=True)
        os.rmdir(stash)
    os.makedirs(folder, exist_ok=True)
    empty(folder, f"size={SCRATCH}", "mode=700", *plan["owner"])
    for path, options in _mounts():
        if path != folder:
            flags = ["remount", "bind", "ro", *[option for option in options if option in KEPT]]
            done = subprocess.run(["mount", "-o", ",".join(flags), path], capture_output=True)
            if done.returncode and path == "/":
                raise SystemExit("the root of the file system cannot be made read-only")
    os.chdir(folder)
    _limit_processes()
    os.execvp(plan["drop"][0], [*plan["drop"], *plan["python"]])


def _mounts() -> list[tuple[str, list[str]]]:
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            parts = line.split()
            path = parts[4].encode().decode("unicode_escape")  # a blank is written \040
            found.append((path, parts[5].split(",")))
    return found


def _limit_processes() -> None:
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))


if __name__ == "__main__":
    _enter(json.loads(sys.argv[1]))
