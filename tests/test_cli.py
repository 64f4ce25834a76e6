"""The `unigen` command from the first step to the last; bad input is one line and exit status 2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from unigen_edu import checkpoints, models
from unigen_edu.cli import _parser, main

SMALL = ["--data", "ring", "--batch-size", "16", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNIGEN_DATA", raising=False)


@pytest.fixture
def run(capsys):
    """Run the command in this process: status, standard output, standard error."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stopped:  # argparse
            status = int(stopped.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return call


def checksum(out: str) -> str:
    (found,) = re.findall(r"^parameters  sha256 ([0-9a-f]{64})$", out, re.MULTILINE)
    return found


def commands() -> list[str]:
    (sub,) = (a for a in _parser()._actions if getattr(a, "choices", None))
    return list(sub.choices)


# ---- a whole session -----------------------------------------------------------------------------


def test_train_sample_evaluate(run):
    status, out, err = run("train", "gan", *SMALL, "--steps", "4")
    assert (status, err) == (0, "")
    folder = Path("runs/gan-ring-seed0")
    files = {path.name for path in folder.iterdir()}
    assert files == {"checkpoint.safetensors", "history.json", "samples.png"}
    assert (folder / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert "4 steps on cpu" in out
    assert "generator/loss" in out
    model, meta = checkpoints.load_model(folder)
    assert checksum(out) == checkpoints.parameter_checksum(model)
    assert (meta["step"], meta["batch_size"], meta["lr"]) == (4, 16, 5e-4)
    history = json.loads((folder / "history.json").read_text())
    assert history["steps"] == [4]
    shown = re.search(r"generator/loss +([\d.]+)", out)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(history["terms"]["generator/loss"][-1], abs=1e-4)

    pictures = []
    for seed in ("1", "1", "2"):
        status, out, err = run("sample", folder, "-n", "5", "--seed", seed, "--out", "new/a.png")
        assert (status, out, err) == (0, f"{Path('new/a.png')}\n", "")
        pictures.append(Path("new/a.png").read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]

    def no_nan(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    status, out, err = run("evaluate", folder / checkpoints.FILE, "--device", "cpu")
    assert (status, err) == (0, "")
    found = json.loads(out, parse_constant=no_nan)
    assert found["model"] == "gan"
    assert found["data"] == "ring"
    assert found["step"] == 4
    assert 0 <= found["modes_covered"] <= 8
    assert run("evaluate", folder, "--device", "cpu")[1] == out


def test_images_and_options_reach_the_model(run):
    arguments = ["train", "vae", "--steps", "2", "--batch-size", "4", "--device", "cpu", "--quiet",
                 "--network", "conv", "--set", "latent=3", "--set", "likelihood=gaussian",
                 "--lr", "0.01", "--seed", "5", "--out", "here"]  # fmt: skip
    status, out, _ = run(*arguments)
    assert status == 0
    model, meta = checkpoints.load_model("here")
    assert model.config == {
        "shape": (1, 28, 28),
        "network": "conv",
        "latent": 3,
        "likelihood": "gaussian",
    }
    assert (meta["seed"], meta["lr"], meta["data"].split(":")[0]) == (5, 0.01, "mnist-mini")
    assert "samples     here" in out


def test_phases_may_have_step_sizes_of_their_own(run):
    arguments = ("train", "gan", *SMALL, "--steps", "2", "--lr", "1e-3", "--lr", "generator=0.01")
    assert run(*arguments, "--out", "here")[0] == 0
    assert checkpoints.load_model("here")[1]["lr"] == {"discriminator": 1e-3, "generator": 0.01}


def test_the_same_command_gives_the_same_parameters(run):
    first = checksum(run("train", "iwgan", *SMALL, "--steps", "3", "--out", "a")[1])
    assert checksum(run("train", "iwgan", *SMALL, "--steps", "3", "--out", "b")[1]) == first
    other = run("train", "iwgan", *SMALL, "--steps", "3", "--out", "c", "--seed", "1")[1]
    assert checksum(other) != first


# Training stops itself after step 7, as a Ctrl-C at that moment would.
STOPPED = """
import os, signal, sys
import torch
from unigen_edu import training
from unigen_edu.cli import main

torch.set_num_threads(1)
step = training._step

taken = []

def step_and_stop(*arguments, **named):
    taken.append(0)
    if len(taken) == 7:
        os.kill(os.getpid(), signal.SIGINT)
    return step(*arguments, **named)

training._step = step_and_stop
sys.exit(main(sys.argv[1:]))
"""


def test_an_interrupted_run_is_continued_by_the_same_command(run):
    command = ["train", "gan", *SMALL, "--steps", "12", "--out", "run"]
    stopped = subprocess.run(
        [sys.executable, "-c", STOPPED, *command], capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 130
    place = Path("run") / checkpoints.FILE
    assert stopped.stderr == f"unigen: stopped after step 7; the checkpoint is {place}\n"
    assert [path.name for path in Path("run").iterdir()] == [checkpoints.FILE]

    status, out, _ = run(*command)
    assert status == 0
    assert out.startswith(f"Continuing {place} from step 7.\n")
    whole = run(*command[:-1], "whole")[1]
    assert "Continuing" not in whole
    assert checksum(out) == checksum(whole)
    terms = [json.loads(Path(f, "history.json").read_text())["terms"] for f in ("run", "whole")]
    assert terms[0] == terms[1]


def test_more_steps_extend_a_run_and_fresh_starts_again(run):
    train = ["train", "gan", *SMALL, "--out", "run"]
    run(*train, "--steps", "3")
    longer = checksum(run(*train, "--steps", "5")[1])
    assert longer == checksum(run(*train[:-1], "other", "--steps", "5")[1])
    status, _, err = run(*train, "--steps", "2")
    assert status == 2
    assert "already trained for 5 steps" in err
    status, out, _ = run(*train, "--steps", "2", "--fresh")
    assert status == 0
    assert "Continuing" not in out
    assert checkpoints.step_of(Path("run", checkpoints.FILE)) == 2
    assert checksum(out) == checksum(run(*train[:-1], "third", "--steps", "2")[1])


# ---- lists and reports ---------------------------------------------------------------------------


def test_models_lists_every_model_phase_and_option(run):
    status, out, _ = run("models")
    assert status == 0
    for name in models.names():
        assert re.search(rf"^{name} +{re.escape(models.get(name).title)}$", out, re.MULTILINE)
        for phase in models.get(name).phases:
            assert f"phase {phase.name}: moves {', '.join(phase.moves)}" in out
        assert all(f"{option}=" in out for option in models.options(name))


def test_data_lists_names_and_checks_one(run):
    status, out, _ = run("data")
    assert status == 0
    assert {"mnist-mini", "mnist", "ring"} <= set(out.split())
    status, out, _ = run("data", "mnist-mini")
    assert status == 0
    assert "train: 10000 samples of shape (1, 28, 28)" in out
    assert "test: 2000 samples of shape (1, 28, 28)" in out


def test_doctor_reports_versions_and_a_wrong_data_folder(run, monkeypatch, tmp_path):
    import torch

    status, out, _ = run("doctor")
    assert status == 0
    assert f"torch {torch.__version__.split('+')[0]}" in out
    assert "mnist-mini: 10000 training images" in out
    monkeypatch.setenv("UNIGEN_DATA", str(tmp_path))
    assert run("doctor")[0] == 0
    monkeypatch.setenv("UNIGEN_DATA", str(tmp_path / "nowhere"))
    status, out, _ = run("doctor")
    assert status == 1
    assert "which is no folder" in out


@pytest.mark.parametrize("command", [[], *([name] for name in commands())])
def test_help(command, run):
    status, out, err = run(*command, "--help")
    assert (status, err) == (0, "")
    assert out.startswith("usage: unigen")
    assert all(len(line) <= 100 for line in out.splitlines())
    if not command:
        assert all(name in out for name in commands())


def test_without_a_command_help_is_shown(run):
    status, out, _ = run()
    assert status == 2
    assert out.startswith("usage: unigen")


def test_help_does_not_wait_for_torch():
    code = (
        "import sys\nfrom unigen_edu.cli import main\n"
        "try:\n    main(['train', '--help'])\n"
        "except SystemExit as stopped:\n    print('torch' in sys.modules, stopped.code)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.endswith("False 0\n")


def test_the_module_is_the_command():
    from unigen_edu import __version__

    found = subprocess.run(
        [sys.executable, "-m", "unigen_edu", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == f"unigen {__version__}\n"


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("train iwgn", "Did you mean 'iwgan'?"),
        ("train gan --data mnits", "mnist"),
        ("train gan --data ring --network unet", "no network 'unet'"),
        ("train gan --data ring --network conv", "28x28 or 32x32"),
        ("train gan --data ring --device tpu", "no device 'tpu'; choose one of"),
        ("train gan --data ring --set laten=3", "Did you mean 'latent'?"),
        ("train gan --data ring --set latent", "OPTION=VALUE"),
        ("train gan --data ring --set latent=many", "latent is 'many'"),
        ("train iwgan --data ring --set k=2.5", "k is 2.5"),
        ("train gan --data ring --set shape=(3,)", "shape cannot be given by --set"),
        ("train gan --data ring --set seed=1", "use --seed"),
        ("train gan --data ring --steps 0", "steps is 0"),
        ("train gan --data ring --batch-size 20000", "at most 10000"),
        ("train gan --data ring --lr nan", "lr is nan"),
        ("train gan --data ring --lr fast", "--lr is 'fast'"),
        ("train gan --data ring --lr generator=", "--lr is 'generator='"),
        ("train gan --data ring --lr critic=1e-3", "lr names the phase 'critic'"),
        ("train gan --data ring --out FILE/run", "cannot be written"),
        ("train gan --data ring --out DAMAGED", "is damaged"),
        ("train gan --data ring --out FILE", "is"),
        ("train vae --data ring", "likelihood='gaussian'"),
        ("sample nowhere", "There is no checkpoint at nowhere"),
        ("sample FILE", "is no checkpoint"),
        ("sample DAMAGED", "is damaged"),
        ("sample RUN -n 0", "-n is 0"),
        ("sample RUN --out a.docx", "name a picture"),
        ("sample RUN --out FILE/a.png", "cannot be written"),
        ("evaluate nowhere", "There is no checkpoint at nowhere"),
        ("evaluate DAMAGED", "is damaged"),
        ("evaluate RUN --data rong", "ring"),
        ("evaluate RUN --data mnist-mini", "shape"),
        ("evaluate RUN --device tpu", "no device 'tpu'"),
        ("data rign", "ring"),
        ("grade nowhere", "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(arguments, words, run):
    Path("FILE").write_text("precious")
    if "RUN" in arguments or "DAMAGED" in arguments:
        assert run("train", "gan", *SMALL, "--steps", "1", "--out", "RUN")[0] == 0
        content = bytearray(Path("RUN", checkpoints.FILE).read_bytes())
        content[-9] ^= 1
        Path("DAMAGED").mkdir()
        Path("DAMAGED", checkpoints.FILE).write_bytes(content)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    status, out, err = run(*arguments.split())
    assert status == 2, out
    assert words in err
    assert err.startswith("unigen: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    after = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    "arguments",
    [
        "fly",
        "train",
        "train gan --steps many",
        "train gan --seed -1",
        "train gan --seed 99999999999999999999",
        "sample RUN -n 2.5",
        "models --loud",
    ],
)
def test_a_wrong_command_line_is_explained_by_argparse(arguments, run):
    status, out, err = run(*arguments.split())
    assert (status, out) == (2, "")
    assert err.startswith("usage: unigen")
    assert "Traceback" not in err


def test_an_interrupt_elsewhere_is_one_line(run, monkeypatch):
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("unigen_edu.data.load", interrupt)
    status, out, err = run("train", "gan")
    assert (status, out, err) == (130, "", "unigen: stopped\n")


# ---- many seeds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [(), ("--precision", "bf16")])
def test_several_seeds_are_the_runs_one_by_one(run, extra):
    settings = (*SMALL, "--steps", "3", *extra)
    status, out, err = run("train", "gan", *settings, "--seed", "5", "--seeds", "2")
    assert (status, err) == (0, "")
    sums = re.findall(r"^seed (\d+)  sha256 ([0-9a-f]{64})$", out, re.MULTILINE)
    assert [seed for seed, _ in sums] == ["5", "6"]
    for seed, found in sums:
        alone = run("train", "gan", *settings, "--seed", seed, "--out", f"a{seed}")
        assert checksum(alone[1]) == found
        folder = Path("runs/gan-ring") / f"seed{seed}"
        files = {path.name for path in folder.iterdir()}
        assert files == {"checkpoint.safetensors", "history.json", "samples.png"}
    # The mean and the spread are those of the two histories.
    ends = [
        json.loads((Path("runs/gan-ring") / f"seed{seed}" / "history.json").read_text())
        for seed in (5, 6)
    ]
    a, b = (end["terms"]["generator/loss"][-1] for end in ends)
    assert f"{(a + b) / 2:.4f} ± {abs(a - b) / 2**0.5:.4f}" in out


def test_several_seeds_go_without_what_they_cannot_have(run):
    status, _, err = run("train", "gan", *SMALL, "--steps", "3", "--seeds", "2", "--compile")
    assert status == 2
    assert "train the seeds one by one" in err
    assert err.count("\n") == 1
    assert not Path("runs").exists()
    assert run("train", "gan", *SMALL, "--seeds", "0")[2].startswith("unigen: --seeds is 0")
