"""`tools/readers.py`: notebooks run where readers run them."""

from __future__ import annotations

import subprocess
import sys

import address
import readers


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], text=True)


def test_a_process_is_watched_to_its_end():
    with start("held = b'1' * 200_000_000\nfor _ in range(10**8): pass") as process:
        most, seconds, stopped = readers.watch(process, limit=None)
    assert process.returncode == 0
    assert not stopped
    assert 200_000_000 < most < 400_000_000
    assert seconds > 0.3


def test_one_that_holds_too_much_memory_is_stopped_with_all_that_it_started():
    hold = "import time; held = b'1' * 300_000_000; time.sleep(60)"
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {hold!r}])\n"
        "print(child.pid, flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdout=subprocess.PIPE
    ) as process:
        _, _, stopped = readers.watch(process, limit=200_000_000)
        assert process.stdout is not None
        child = int(process.stdout.readline())
    assert stopped
    assert process.returncode != 0
    assert not readers.psutil.pid_exists(child) or (
        readers.psutil.Process(child).status() == readers.psutil.STATUS_ZOMBIE
    )


def test_git_takes_this_repository_for_the_public_one():
    asked = readers.call("git", "ls-remote", address.current(), "HEAD").split()[0]
    assert asked == readers.call("git", "rev-parse", "HEAD").strip()
