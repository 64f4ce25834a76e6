"""Run notebooks and keep exactly the outputs that are meant to be kept.

    python tools/refresh.py book/07_lemma1.ipynb ...

A cell whose first line is `# NBVAL_CHECK_OUTPUT` prints the same on every machine: its text is
stored, and the tests compare it. Every other output (pictures, timings, numbers of a training run)
is made anew by each run of the book and is never committed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

MARK = "# NBVAL_CHECK_OUTPUT"


def refresh(path: Path) -> float:
    """Run one notebook in its folder, store the marked outputs; return the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, resources=folder).execute()
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number  # nbval compares nothing in a cell without one
        cell.metadata.pop("execution", None)
        kept = cell.source.startswith(MARK)
        cell.outputs = [o for o in cell.outputs if kept and o.output_type == "stream"]
        if kept and not cell.outputs:
            raise SystemExit(f"{path}: a cell is marked with {MARK} but prints nothing")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)
    return time.perf_counter() - started


if __name__ == "__main__":
    os.environ.update(UNIGEN_BOOK="1", TQDM_DISABLE="1", PYTHONHASHSEED="0")
    for name in sys.argv[1:]:
        print(f"{name}: {refresh(Path(name)):.0f} s", flush=True)
