"""The walls and limits of a process that runs code which nobody has read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unigen_edu import sandbox

walled = pytest.mark.skipif(not sandbox.best().walls, reason="this system has no namespaces")


def run(code, folder, hidden=()):
    command = sandbox.best().command([sys.executable, "-c", code], folder, hidden)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.stdout.split("\n")[:-1]


@walled
def test_nothing_can_be_written_but_in_a_folder_that_vanishes(tmp_path):
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    other.chmod(0o777)
    places = [str(other / "x"), "/tmp/x-of-the-sandbox", __file__, "/dev/shm/x", "here"]
    code = f"""
for place in {places}:
    try:
        open(place, 'a').close()
        print('wrote', place)
    except OSError:
        pass
"""
    assert run(code, folder) == ["wrote here"]
    assert not list(folder.iterdir())
    assert not list(other.iterdir())


@walled
def test_hidden_folders_devices_processes_and_network_are_gone(tmp_path):
    folder, secret = tmp_path / "folder", tmp_path / "secret"
    for path in (folder, secret, secret / "inner"):
        path.mkdir()
        path.chmod(0o755)
    (secret / "key").write_text("42")
    devices = {*sandbox.DEVICES, "fd"}
    code = f"""
import os, socket
print(os.listdir({str(secret)!r}) if os.path.exists({str(secret)!r}) else [])
print(sorted(set(os.listdir('/dev')) - {devices!r}))
print(len([name for name in os.listdir('/proc') if name.isdigit()]))
print([name for _, name in socket.if_nameindex()])
try: socket.create_connection(('127.0.0.1', 9), 1)
except OSError as error: print(type(error).__name__)
"""
    lines = run(code, folder, [secret, secret / "inner", tmp_path / "not there"])
    assert lines[:4] == ["[]", "[]", "1", "['lo']"]
    assert (secret / "key").read_text() == "42"


@walled
def test_it_can_gain_no_rights(tmp_path):
    code = """
import os, subprocess
caps = [l.split()[1] for l in open('/proc/self/status') if l.startswith(('CapEff', 'CapBnd', 'CapPrm'))]
print(set(caps))
for command in ('mount -o remount,rw /', 'umount /dev', 'unshare --user --map-root-user true'):
    print(subprocess.run(command.split(), capture_output=True).returncode != 0)
"""  # noqa: E501
    assert run(code, tmp_path) == ["{'0000000000000000'}", "True", "True", "True"]


@walled
def test_what_it_may_write_and_start_is_limited(tmp_path):
    code = """
import os
try:
    for number in range(10):
        with open(str(number), 'wb') as file: file.write(b'0' * 10**8)
except OSError as error: print(number, type(error).__name__)
started = 0
try:
    while started < 1000:
        if os.fork() == 0:
            import time; time.sleep(20); os._exit(0)
        started += 1
except OSError as error: print(started < 200, type(error).__name__)
"""
    assert run(code, tmp_path) == ["2 OSError", "True BlockingIOError"]


def test_limits_hold_for_memory_computing_and_files(tmp_path):
    code = """
from unigen_edu import sandbox
sandbox.limit({seconds}, 0.5)
{body}
"""

    def ends(body, seconds=20):
        command = [sys.executable, "-c", code.format(seconds=seconds, body=body)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr.strip().splitlines()[-1:] or [""]

    assert ends("bytearray(10**8)")[0] == 0
    assert "MemoryError" in ends("bytearray(10**9)")[1]
    assert ends("while True: pass", seconds=1)[0] < 0
    assert "File too large" in ends("open('big', 'wb').write(b'0' * 2 * 10**8)")[1][0]


@walled
def test_of_the_home_and_the_folder_of_the_command_only_what_python_needs_is_left(
    tmp_path, monkeypatch
):
    """A lecturer's key lies beside the course, or at home."""
    folder, here = tmp_path / "folder", tmp_path / "here"
    for path in (folder, here):
        path.mkdir()
        path.chmod(0o755)
    (here / "key.txt").write_text("secret")
    monkeypatch.chdir(here)
    code = f"""
import os
print(os.path.exists({str(here / "key.txt")!r}))
print(os.path.exists({str(Path.home() / ".bashrc")!r}))
import torch
print(torch.ones(2).sum().item())
"""
    assert run(code, folder) == ["False", "False", "2.0"]


def test_what_python_needs_is_kept_and_the_system_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "home" / "venv").mkdir(parents=True)
    (tmp_path / "home" / "course").mkdir()
    home, venv = (tmp_path / "home").resolve(), (tmp_path / "home" / "venv").resolve()
    monkeypatch.setattr(sandbox, "_needed", lambda: [venv])
    given = [home, home / "course", venv, venv / "lib", tmp_path / "no", Path("/"), Path("/usr")]
    assert sandbox._emptied(given, Path("/nowhere"), other_user=False) == {home: [venv]}
    assert sandbox._emptied([venv, home / "course"], Path("/nowhere"), other_user=False) == {
        home / "course": []
    }


def test_folders_that_another_user_may_not_enter_are_opened(tmp_path, monkeypatch):
    venv = tmp_path.resolve() / "closed" / "venv"
    venv.mkdir(parents=True)
    ancestors = [tmp_path, *tmp_path.parents]
    closed = next((a for a in reversed(ancestors) if not a.stat().st_mode & 0o001), None)
    if closed is None:
        closed = venv.parent
        closed.chmod(0o700)
    monkeypatch.setattr(sandbox, "_needed", lambda: [venv])
    assert sandbox._emptied([], Path("/tmp/x"), other_user=True) == {closed: [venv]}
    assert sandbox._emptied([], Path("/tmp/x"), other_user=False) == {}


def test_without_namespaces_there_are_limits_and_a_warning(tmp_path, monkeypatch):
    weak = sandbox.Sandbox(walls=False, other_user=False)
    assert weak.command(["python", "-c", "1"], tmp_path, [tmp_path]) == ["python", "-c", "1"]
    other = sandbox.Sandbox(walls=False, other_user=True)
    command = other.command(["python", "-c", "1"], tmp_path, slot=2)
    assert command[0] == "setpriv"
    assert "--reuid=64002" in command
    assert "container" in str(weak)
    assert "container" in str(other)
    sandbox.best.cache_clear()
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    assert sandbox.best() == weak
    sandbox.best.cache_clear()


@walled
def test_an_environment_behind_a_link_is_found(tmp_path, monkeypatch):
    """A link under a folder that the sandbox empties, such as /tmp, leads nowhere inside."""
    link = tmp_path / "env"
    link.symlink_to(sys.prefix)
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(link / "bin" / Path(sys.executable).name))
    command = sandbox.best().command([sandbox.interpreter(), "-c", "print(6 * 7)"], folder)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stdout == "42\n", done.stderr
