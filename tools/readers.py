"""Run every notebook where readers run it: in Colab's environment, or in Binder's.

    python tools/readers.py colab                      # every chapter and every exercise
    python tools/readers.py binder book/04_vae.ipynb   # some of them

colab   An environment with what Colab has of our requirements (torch, torchvision, numpy, ...) and
        nothing of this project. Each notebook alone in an empty folder; its first cell installs.
binder  An environment made from `.binder/` alone, as repo2docker would, in a clone; each notebook
        in its place in that clone, stopped if it and its processes hold more than Binder's 2 GB.

Both take the last commit of this repository for the public one, which need not exist: git is told
so, and no notebook is changed. Python packages come from the package index. Written:
`results/readers_colab.json` or `results/readers_binder.json`, with the seconds of computing and the
most memory of each notebook. The exit status is 1 if a notebook fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import address
import psutil

ROOT = Path(__file__).resolve().parents[1]
# What Colab has of the package's requirements, and what runs a notebook there.
COLAB = ("torch", "torchvision", "numpy", "matplotlib", "ipywidgets", "tqdm", "ipykernel")
# What repo2docker gives to every Binder, and what `.binder/requirements.txt` therefore leaves out.
BINDER = ("jupyterlab", "ipywidgets", "ipykernel")
BINDER_MEMORY = 2 * 2**30
RUN = "import sys, nbclient, nbformat; nb = nbformat.read(sys.argv[1], 4); \
nbclient.NotebookClient(nb, timeout=900, kernel_name='python3').execute(); \
nbformat.write(nb, sys.argv[1])"


def git_environment() -> dict[str, str]:
    """Variables under which git takes this repository for the public one."""
    return {
        **os.environ,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": address.current(),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def call(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=git_environment(),
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def make_environment(kind: str, work: Path) -> tuple[Path, Path]:
    """A fresh virtual environment; returns its Python, and the folder of the clone (binder)."""
    python, clone = work / "env" / "bin" / "python", work / "clone"
    call(sys.executable, "-m", "venv", work / "env")
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    if kind == "colab":
        call(*pip, "-c", "constraints.txt", *COLAB, "nbclient")
    else:
        call("git", "clone", "--quiet", ROOT, clone)
        call(*pip, *BINDER, "nbclient")
        call(*pip, "-r", ".binder/requirements.txt", cwd=clone)
    return python, clone


def watch(process: subprocess.Popen[str], limit: int | None) -> tuple[int, float, bool]:
    """Wait for a process; returns its most memory, its seconds of computing, if it was stopped."""
    most, seconds, stopped = 0, 0.0, False
    computed: dict[int, float] = {}
    while process.poll() is None:
        time.sleep(0.25)
        held = 0
        try:
            family = [psutil.Process(process.pid)]
            family += family[0].children(recursive=True)
        except psutil.Error:
            continue
        for member in family:
            try:
                held += member.memory_info().rss
                times = member.cpu_times()
                computed[member.pid] = times.user + times.system
            except psutil.Error:
                continue
        most, seconds = max(most, held), sum(computed.values())
        if limit and held > limit:
            stopped = True
            for member in family:
                with contextlib.suppress(psutil.Error):
                    member.kill()
            psutil.wait_procs(family[1:], timeout=10)  # the first is for `process` to wait for
    return most, seconds, stopped


def run(kind: str, path: str, python: Path, clone: Path, work: Path) -> dict[str, Any]:
    """Execute one notebook as its reader would; returns what was seen."""
    if kind == "colab":
        # As handed out: neither the package nor the grader is there before the first cell.
        call(python, "-m", "pip", "uninstall", "-q", "-y", "unigen-edu", "otter-grader")
        folder = work / "content"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        notebook = folder / Path(path).name
        shutil.copyfile(ROOT / path, notebook)
    else:
        notebook = clone / path
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [str(python), "-c", RUN, notebook.name],
            cwd=notebook.parent,
            env=git_environment(),
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )
        limit = BINDER_MEMORY if kind == "binder" else None
        most, seconds, stopped = watch(process, limit)
        said.seek(0)
        words = said.read().strip()
    result: dict[str, Any] = {
        "passed": process.returncode == 0 and not stopped,
        "cpu_seconds": round(seconds, 1),
        "most_memory_gib": round(most / 2**30, 2),
    }
    if not result["passed"]:
        result["reason"] = "needs more than 2 GB of memory" if stopped else words[-1500:]
    return result


def versions(python: Path) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json; "
        "print(json.dumps({p: m.version(p) for p in ('torch', 'torchvision', 'numpy')}))"
    )
    return dict(json.loads(call(python, "-c", code)))


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the notebooks where readers run them.")
    parser.add_argument("kind", choices=("colab", "binder"))
    parser.add_argument("notebooks", nargs="*", help="default: all chapters and exercises")
    given = parser.parse_args()
    notebooks = given.notebooks or [
        str(path.relative_to(ROOT))
        for pattern in ("book/*.ipynb", "exercises/*/student/*.ipynb")
        for path in sorted(ROOT.glob(pattern))
    ]
    changed = call("git", "status", "--porcelain", "--untracked-files=no").strip()
    commit = call("git", "rev-parse", "--short", "HEAD").strip()
    work = Path(tempfile.mkdtemp(prefix=f"unigen-{given.kind}-"))
    print(f"[readers] making {given.kind}'s environment in {work}", flush=True)
    python, clone = make_environment(given.kind, work)
    before = versions(python)
    found: dict[str, Any] = {}
    for path in notebooks:
        started = time.perf_counter()
        found[path] = run(given.kind, path, python, clone, work)
        verdict = "passed" if found[path]["passed"] else f"FAILED\n{found[path]['reason']}"
        print(
            f"{path}: {verdict}, {time.perf_counter() - started:.0f} s, "
            f"{found[path]['most_memory_gib']} GiB",
            flush=True,
        )
    after = versions(python)
    if before != after:
        print(f"The notebooks replaced packages: {before} became {after}")
    record = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit + (" with changes" if changed else ""),
        "versions": after,
        "packages_kept": before == after,
        "notebooks": found,
    }
    if not given.notebooks:
        out = ROOT / "results" / f"readers_{given.kind}.json"
        out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(work, ignore_errors=True)
    return 0 if before == after and all(entry["passed"] for entry in found.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
