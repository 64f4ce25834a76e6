"""Make `.venv` hold everything the book, the package and the checks need; do nothing if it does.

    python3 tools/environment.py

Needs Python 3.10 or newer and nothing else. The environment is right when `.venv/ready` holds the
key of the files that describe it; anything else (a first run, new requirements, an interrupted
installation, a removed interpreter) is repaired.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
READY = ENVIRONMENT / "ready"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
DESCRIPTION = ("requirements.txt", "constraints.txt", "pyproject.toml")
PAIR_IMPORTS = "import torch, torchvision; torchvision.ops.nms"


def key() -> str:
    """Changes whenever the environment must be made again."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in DESCRIPTION:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def say(line: str) -> None:
    print(f"[environment] {line}", flush=True)


def works(*arguments: str) -> bool:
    """Whether the environment's Python runs, silently, with these arguments."""
    try:
        done = subprocess.run([str(PYTHON), *arguments], capture_output=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def pip(*arguments: str) -> bool:
    """Run pip in the environment with its progress on the screen; says whether it succeeded."""
    command = [str(PYTHON), "-m", "pip", *arguments]
    return subprocess.run(command, cwd=ROOT).returncode == 0


def create() -> None:
    say(f"making {ENVIRONMENT} with Python {sys.version.split()[0]}")
    # Inside an activated .venv, sys.executable is the very file that is about to go.
    base = getattr(sys, "_base_executable", sys.executable)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    done = subprocess.run([base, "-m", "venv", str(ENVIRONMENT)])
    if done.returncode != 0 or not works("-m", "pip", "--version"):
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        raise SystemExit(
            "This Python cannot make virtual environments: on Debian or Ubuntu run 'apt-get "
            "install python3-venv', or choose another one with 'make PYTHON=/path/to/python3'."
        )


def install() -> None:
    say("installing torch and torchvision, a matching pair (the longest step)")
    pins = ["-c", "constraints.txt"]
    pair = ["torch>=2.6", "torchvision>=0.21"]
    if not pip("install", *pins, *pair):
        say("the pinned versions cannot be had here; trying the newest ones that fit the ranges")
        pins = []
        if not pip("install", *pair):
            raise SystemExit("pip could not install torch and torchvision; its last lines say why.")
    if not works("-c", PAIR_IMPORTS):
        say("torch and torchvision do not fit together; installing both again")
        pip("install", "--force-reinstall", "--no-deps", *pins, *pair)
        if not works("-c", PAIR_IMPORTS):
            raise SystemExit(
                "torch and torchvision are installed, but do not import together: run "
                f"'{PYTHON} -c \"{PAIR_IMPORTS}\"' to see why."
            )
    say("installing the book's and the package's requirements")
    everything = ["-r", "requirements.txt", "-e", ".[book,grade,dev]"]
    if not pip("install", *pins, *everything) and (not pins or not pip("install", *everything)):
        raise SystemExit("pip could not install the requirements; its last lines say why.")


def main() -> None:
    if sys.version_info < (3, 10):
        raise SystemExit(
            f"This is Python {sys.version.split()[0]}, but the book needs 3.10 or newer: install "
            "one and choose it with 'make PYTHON=/path/to/python3'."
        )
    wanted = key()
    # A Python that was asked for by name (`make PYTHON=python3.12`) must be the one in use.
    version = f"assert sys.version_info[:2] == {tuple(sys.version_info[:2])}"
    right_python = works("-c", f"import sys; {version if 'PYTHON' in os.environ else 'pass'}")
    if right_python and READY.exists() and READY.read_text() == wanted:
        return
    os.environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    READY.unlink(missing_ok=True)
    if right_python and works("-m", "pip", "--version"):
        say(f"bringing {ENVIRONMENT} up to date")
    else:
        create()
    install()
    READY.write_text(wanted)
    say("ready")


if __name__ == "__main__":
    main()
