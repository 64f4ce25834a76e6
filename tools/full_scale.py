"""Run chapters at full scale and keep what they showed, for the book to print beside the quick run.

    python tools/full_scale.py 07_lemma1 15_iwgan      # these chapters
    python tools/full_scale.py                         # all of them, those with a record left out

A copy of the notebook runs with `SCALE = "full"` in place of `SCALE = "quick"`, on the GPU where
there is one. Kept are the outputs of every section that asks for it: text and figures, in
`results/full/CHAPTER/`, with commit, device, versions, date and seconds. A chapter is recorded as a
whole or not at all: a call that was stopped begins again with the chapter that it was at. The full
data sets come from `UNIGEN_DATA`, or are downloaded.
"""

from __future__ import annotations

import argparse
import base64
import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]
QUICK, FULL = 'SCALE = "quick"', 'SCALE = "full"'
RECORDS = ROOT / "results" / "full"


def sections(notebook: Any) -> list[Any]:
    """The code cells of every section (from one `## ` heading to the next) that asks for SCALE."""
    found: list[Any] = []
    section: list[Any] = []
    for cell in [*notebook.cells, nbformat.v4.new_markdown_cell("## The end")]:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            if any("SCALE" in c.source for c in section):
                found += section
            section = []
        elif cell.cell_type == "code":
            section.append(cell)
    return found


def code_sha256(notebook: Any) -> str:
    """Checksum of the code of those sections, as the chapter has it (`SCALE = "quick"`)."""
    code = "\n\n".join(cell.source.replace(FULL, QUICK) for cell in sections(notebook))
    return hashlib.sha256(code.encode()).hexdigest()


def at_full_scale(notebook: Any) -> Any:
    """A copy of a notebook with the switch thrown.

    Raises:
        ValueError: the notebook has no such switch.
    """
    changed = copy.deepcopy(notebook)
    for cell in changed.cells:
        if cell.cell_type == "code":
            cell.source = cell.source.replace(QUICK, FULL)
    if not any(QUICK in cell.source for cell in sections(notebook)):
        raise ValueError(f"There is no line {QUICK!r} to replace.")
    return changed


def outputs(notebook: Any, folder: Path) -> list[dict[str, Any]]:
    """What the cells of an executed notebook showed; its pictures go into `folder`."""
    kept = []
    for cell in sections(notebook):
        entry: dict[str, Any] = {"cell": cell.id, "text": "", "pictures": []}
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stdout":
                entry["text"] += output.text
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{cell.id}-{len(entry['pictures'])}.png"
                (folder / name).write_bytes(base64.b64decode(data["image/png"]))
                entry["pictures"].append(name)
        if entry["text"].strip() or entry["pictures"]:
            kept.append(entry)
    return kept


def differs_from_commit(path: Path) -> bool:
    """Whether a file is not as the last commit has it."""
    status = ["git", "status", "--porcelain", "--", str(path.resolve())]
    done = subprocess.run(status, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode != 0 or bool(done.stdout.strip())


def record(path: Path, records: Path = RECORDS) -> Path:
    """Run one chapter at full scale; returns the folder of its record.

    Raises:
        ValueError: the chapter has no switch.
        CellExecutionError: a cell failed; an earlier record stays as it was.
        DeadKernelError: the process of the notebook died; the same holds.
    """
    from throughput import provenance

    from unigen_edu.training import pick_device

    notebook = nbformat.read(path, 4)
    running = at_full_scale(notebook)
    about = provenance(pick_device("auto"))
    about["uncommitted_changes"] = bool(about["uncommitted_changes"]) or differs_from_commit(path)
    started = time.perf_counter()
    place = {"metadata": {"path": str(path.parent)}}  # where the book's build runs it as well
    NotebookClient(running, timeout=None, resources=place).execute()
    seconds = time.perf_counter() - started
    target = records / path.stem
    draft = records / f".{path.stem}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    content = {
        **about,
        "seconds": round(seconds, 1),
        "code_sha256": code_sha256(notebook),
        "cells": outputs(running, draft),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (draft / "record.json").write_text(text, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    return target


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Run chapters at full scale, and keep the results."
    )
    parser.add_argument(
        "chapters", nargs="*", help="such as 07_lemma1; default: those not recorded"
    )
    given = parser.parse_args()
    paths = {path.stem: path for path in sorted((ROOT / "book").glob("[0-9]*.ipynb"))}
    unknown = sorted(set(given.chapters) - set(paths))
    if unknown:
        print(f"No chapter {', '.join(unknown)}; choose from: {', '.join(paths)}.", file=sys.stderr)
        return 2
    chosen = given.chapters or [
        stem for stem in paths if not (RECORDS / stem / "record.json").is_file()
    ]
    os.environ["TQDM_DISABLE"] = "1"
    if os.environ.get("UNIGEN_DATA"):  # notebooks run in another folder
        os.environ["UNIGEN_DATA"] = str(Path(os.environ["UNIGEN_DATA"]).resolve())
    failed = 0
    for stem in chosen:
        print(f"[full scale] {stem} ...", flush=True)
        started = time.perf_counter()
        try:
            record(paths[stem])
        except (CellExecutionError, DeadKernelError, ValueError) as error:
            failed += 1
            print(f"[full scale] {stem} was not recorded: {error}", file=sys.stderr, flush=True)
        else:
            print(f"[full scale] {stem}: {time.perf_counter() - started:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
