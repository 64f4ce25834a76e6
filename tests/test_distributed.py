"""Two processes give the parameters of one; what differs between them is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.models.test_every_model import small_data, small_model
from unigen_edu import checkpoints, models
from unigen_edu.distributed import Processes
from unigen_edu.errors import UnigenError
from unigen_edu.training import History, fit

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
NAMES = models.names()
STEPS = 7  # which end within an interval of the log

# Run by every process, and once alone.
TRAIN = """
import sys
from pathlib import Path
import torch
from tests.models.test_every_model import NAMES, small_data, small_model
from unigen_edu.checkpoints import parameter_checksum
from unigen_edu.distributed import is_first
from unigen_edu.training import fit

torch.set_num_threads(1)
out = Path(sys.argv[1])
for name in NAMES:
    model = small_model(name).double()
    history = fit(model, small_data(name, 40), steps=STEPS, batch_size=8, device="cpu",
                  progress=False, log_every=2, out=out / name,
                  watch=lambda model, step: {"step": float(step)}, watch_every=3)
    if is_first():
        (out / f"{name}.json").write_text(history.to_json())
    # Every process must end with the same bits.
    # One write for each line: the processes share the pipe, and torchrun runs them unbuffered.
    sys.stdout.write(f"{name} {parameter_checksum(model)}\\n")
""".replace("STEPS", str(STEPS))


def torchrun(script: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            "--nproc-per-node", "2", str(script), *map(str, arguments),
        ],
        capture_output=True, text=True, check=False, timeout=300,
        env={**ENVIRONMENT, **variables},
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path, str]:
    """Folders of the models trained by two processes and by one, and what the two said."""
    folder = tmp_path_factory.mktemp("distributed")
    script = folder / "train.py"
    script.write_text(TRAIN)
    two, one = folder / "two", folder / "one"
    done = torchrun(script, two)
    assert done.returncode == 0, done.stderr
    subprocess.run(
        [sys.executable, str(script), str(one)], capture_output=True, check=True, env=ENVIRONMENT
    )
    return two, one, done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_give_the_parameters_of_one(name, trained):
    two, one, said = trained
    found, about = checkpoints.load(two / name / checkpoints.FILE)
    wanted, wanted_about = checkpoints.load(one / name / checkpoints.FILE)
    assert about["step"] == wanted_about["step"] == STEPS
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():  # parameters, Adam, running averages, random numbers
        gap = (found[key].double() - value.double()).abs().max().item()
        scale = max(1.0, value.double().abs().max().item())
        # Adam divides by the size of a gradient, so the rounding of a tiny one (1e-17) grows:
        # most where an adversary takes many updates a step. A missing mean leaves 1e-3.
        assert gap < 1e-8 * scale, f"{key} differs by {gap}"
    # Both processes ended with the same bits.
    ends = [line.split()[1] for line in said.splitlines() if line.split()[0] == name]
    assert len(ends) == 2
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", NAMES)
def test_the_history_is_that_of_the_whole_batch(name, trained):
    two, one, _ = trained
    found = json.loads((two / f"{name}.json").read_text())
    wanted = json.loads((one / f"{name}.json").read_text())
    assert found["steps"] == wanted["steps"] == [2, 4, 6, 7]
    assert found["watched"] == wanted["watched"] == {"step": [0.0, 3.0, 6.0, 7.0]}
    for term, values in wanted["terms"].items():
        assert found["terms"][term] == pytest.approx(values, rel=1e-9, abs=1e-9)


def test_one_process_continues_what_two_began(trained, tmp_path):
    two, _, _ = trained

    def train(out: Path) -> tuple[torch.nn.Module, History]:
        model = small_model("gan").double()
        history = fit(model, small_data("gan", 40), steps=9, batch_size=8, device="cpu",
                      progress=False, log_every=2, out=out)  # fmt: skip
        return model, history

    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / checkpoints.FILE).write_bytes((two / "gan" / checkpoints.FILE).read_bytes())
    (continued, went_on), (whole, wanted) = train(begun), train(tmp_path / "whole")
    for term, values in wanted.terms.items():
        assert went_on.terms[term] == pytest.approx(values, rel=1e-9, abs=1e-9)
    for a, b in zip(continued.parameters(), whole.parameters(), strict=True):
        assert (a - b).abs().max() < 1e-9


COMMAND = """
import os, sys
from unigen_edu.cli import main
given = sys.argv[1:]
if os.environ["RANK"] == "1":
    change = os.environ["CHANGE"].split()
    given[given.index(change[0]) + 1] = change[1]
sys.exit(main(given))
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("--seed 1", "started for different runs (seed is 0 in process 0 and 1 in process 1)"),
        ("--steps 9", "(steps is 4 in process 0 and 9 in process 1)"),
    ],
)
def test_processes_of_different_runs_are_one_sentence(change, words, tmp_path):
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    done = torchrun(
        script, "train", "gan", "--data", "ring", "--batch-size", "16", "--device", "cpu",
        "--quiet", "--seed", "0", "--steps", "4", "--out", tmp_path / "run",
        CHANGE=change,
    )  # fmt: skip
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("unigen:")]
    assert said
    assert all(words in line for line in said)
    assert "start all of them with the same command." in said[0]
    assert not (tmp_path / "run" / checkpoints.FILE).exists()


def test_the_command_under_torchrun_writes_once(tmp_path):
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    done = torchrun(
        script, "train", "gan", "--data", "ring", "--batch-size", "16", "--device", "cpu",
        "--quiet", "--seed", "0", "--steps", "4", "--out", tmp_path / "run",
        CHANGE="--seed 0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("parameters  sha256") == 1
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"checkpoint.safetensors", "history.json", "samples.png"}


def test_a_batch_that_cannot_be_split_is_one_sentence():
    assert Processes(0, 2).share(8) == 4
    with pytest.raises(UnigenError, match="batch_size is 7, which 2 processes cannot split evenly"):
        Processes(0, 2).share(7)


def test_one_process_alone_changes_nothing():
    alone = Processes()
    gradients = [torch.randn(2), torch.randn(3)]
    assert all(a is b for a, b in zip(alone.average(gradients), gradients, strict=True))
    assert alone.from_first("x") == "x"
    assert alone.any(True) is True
