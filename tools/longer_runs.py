"""Run chapters longer and keep what they showed, for the book to print beside the quick run.

    python tools/longer_runs.py 07_lemma1 15_iwgan     # these chapters, at full scale, for a GPU
    python tools/longer_runs.py --scale laptop         # minutes each; those with a record left out

A copy of the notebook runs with `SCALE = "laptop"` or `"full"` in place of `SCALE = "quick"`, on
the GPU where there is one. Kept are the outputs of every cell that depends on the switch: text and
figures, in `results/chapters/SCALE/CHAPTER/`, with commit, device, versions, date and seconds. A
chapter is recorded as a whole or not at all: a call that was stopped begins again with the chapter
that it was at. The full data sets come from `UNIGEN_DATA`, or are downloaded.
"""

from __future__ import annotations

import argparse
import ast
import base64
import copy
import hashlib
import json
import os
import shutil
import subprocess
import symtable
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]
QUICK = 'SCALE = "quick"'
SCALES = ("full", "laptop")  # the longest first: the book shows the first that is recorded
RECORDS = ROOT / "results" / "chapters"


def scaled_cells(notebook: Any) -> list[Any]:
    """The code cells whose results depend on SCALE, followed from assignment to use.

    A statement depends on it that reads SCALE, or a name that such a statement has assigned or
    changed. Functions and classes count as assignments of their names.
    """
    scaled, known, found = {"SCALE"}, set(), []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        depends = False
        statements = ast.parse(TransformerManager().transform_cell(cell.source)).body
        while statements:
            statement = statements.pop(0)
            read, stored, changed = names_of(statement)
            known |= stored
            walked = set()  # what a loop walks with is rarely meant after it
            if isinstance(statement, ast.If) and not names_of(ast.Expr(statement.test))[0] & scaled:
                statements = [*statement.body, *statement.orelse, *statements]
            elif read & scaled or "SCALE" in stored:
                depends = True
                for loop in ast.walk(statement):
                    if isinstance(loop, ast.For):
                        walked |= {n.id for n in ast.walk(loop.target) if isinstance(n, ast.Name)}
                scaled |= (stored - walked) | (changed & known)
            else:
                scaled -= stored
        if depends:
            found.append(cell)
    return found


def names_of(statement: ast.stmt) -> tuple[set[str], set[str], set[str]]:
    """Global names that a statement reads, that it assigns, and whose object it may change."""
    read, stored, changed = set(), set(), set()
    tables = [symtable.symtable(ast.unparse(statement), "cell", "exec")]
    outermost = tables[0]
    while tables:  # the statement, and the functions, classes and comprehensions in it
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if table is outermost or symbol.is_global():
                read |= {symbol.get_name()} if symbol.is_referenced() else set()
                stored |= {symbol.get_name()} if symbol.is_assigned() else set()
    if isinstance(statement, ast.For):  # what it walks through is assigned before it is read
        given = {n.id for n in ast.walk(statement.iter) if isinstance(n, ast.Name)}
        targets = {n.id for n in ast.walk(statement.target) if isinstance(n, ast.Name)}
        read -= targets - given
    for node in ast.walk(statement):
        # runs[arm].append(...) as a statement, or table[k] = ...: the name at the root is changed
        target = None
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            target = node.value.func
        elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            target = node
        while isinstance(target, ast.Subscript | ast.Attribute):
            target = target.value
            if isinstance(target, ast.Name):
                changed.add(target.id)
    return read, stored, changed


def code_sha256(notebook: Any) -> str:
    """Checksum of the code of those cells, as the chapter has it (`SCALE = "quick"`)."""
    code = "\n\n".join(cell.source for cell in scaled_cells(notebook))
    return hashlib.sha256(code.encode()).hexdigest()


def at_scale(notebook: Any, scale: str) -> Any:
    """A copy of a notebook with the switch thrown.

    Raises:
        ValueError: the notebook has no such switch.
    """
    changed = copy.deepcopy(notebook)
    for cell in changed.cells:
        if cell.cell_type == "code":
            cell.source = cell.source.replace(QUICK, f'SCALE = "{scale}"')
    if not any(QUICK in cell.source for cell in scaled_cells(notebook)):
        raise ValueError(f"There is no line {QUICK!r} to replace.")
    return changed


def outputs(notebook: Any, folder: Path) -> list[dict[str, Any]]:
    """What the cells of an executed notebook showed; its pictures go into `folder`."""
    kept = []
    for cell in scaled_cells(notebook):
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


def record(path: Path, scale: str, records: Path = RECORDS) -> Path:
    """Run one chapter at a scale; returns the folder of its record.

    Raises:
        ValueError: the chapter has no switch.
        CellExecutionError: a cell failed; an earlier record stays as it was.
        DeadKernelError: the process of the notebook died; the same holds.
    """
    from throughput import provenance

    from unigen_edu.training import pick_device

    notebook = nbformat.read(path, 4)
    running = at_scale(notebook, scale)
    about = provenance(pick_device("auto"))
    about["uncommitted_changes"] = bool(about["uncommitted_changes"]) or differs_from_commit(path)
    started = time.perf_counter()
    place = {"metadata": {"path": str(path.parent)}}  # where the book's build runs it as well
    NotebookClient(running, timeout=None, resources=place).execute()
    seconds = time.perf_counter() - started
    target = records / scale / path.stem
    draft = records / scale / f".{path.stem}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    content = {
        "scale": scale,
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
    parser = argparse.ArgumentParser(description="Run chapters longer, and keep the results.")
    parser.add_argument("--scale", choices=SCALES, default="full", help="default: full")
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
        stem for stem in paths if not (RECORDS / given.scale / stem / "record.json").is_file()
    ]
    os.environ["TQDM_DISABLE"] = "1"
    if os.environ.get("UNIGEN_DATA"):  # notebooks run in another folder
        os.environ["UNIGEN_DATA"] = str(Path(os.environ["UNIGEN_DATA"]).resolve())
    failed = 0
    for stem in chosen:
        print(f"[{given.scale}] {stem} ...", flush=True)
        started = time.perf_counter()
        try:
            record(paths[stem], given.scale)
        except (CellExecutionError, DeadKernelError, ValueError) as error:
            failed += 1
            print(f"[{given.scale}] {stem} was not recorded: {error}", file=sys.stderr, flush=True)
        else:
            print(f"[{given.scale}] {stem}: {time.perf_counter() - started:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
