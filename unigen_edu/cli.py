"""The `unigen` command: train, sample, evaluate, reproduce, models, data, grade, course, doctor.

Imports of heavy libraries are inside the commands, so that `unigen --help` answers at once.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unigen_edu import __version__
from unigen_edu.errors import UnigenError

if TYPE_CHECKING:
    from torch import Tensor

    from unigen_edu.data import Dataset
    from unigen_edu.declarations import Model

SUCCESS, FAILURE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for bad input, 130 after Ctrl-C."""
    parser = _parser()
    given = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] | None = getattr(given, "run", None)
    if run is None:
        parser.print_help()
        return BAD_INPUT
    try:
        return run(given)
    except UnigenError as error:
        print(f"unigen: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as stopped:
        print(f"unigen: {str(stopped) or 'stopped'}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left: `unigen models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SUCCESS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unigen",
        description="Train, compare and grade the models of the unified view.",
    )
    parser.add_argument("--version", action="version", version=f"unigen {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str, more: str = ""
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=f"{text}\n{more}".strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        return sub

    default = " (default: %(default)s)"
    seed: dict[str, Any] = {"type": _seed, "default": 0}
    device: dict[str, Any] = {"default": "auto", "help": f"auto, cpu, cuda, mps{default}"}

    train = command(
        "train",
        _train,
        "Train a model and keep a checkpoint and a grid of samples.",
        "\nThe run is kept in runs/MODEL-DATA-seedSEED (or --out). If the run is interrupted, the"
        "\nsame command continues it and ends with the same parameters, to the bit."
        "\n\n  unigen train iwgan --data mnist-mini --steps 500 --seed 0"
        "\n  unigen train vae --set latent=16 --network conv --device cuda"
        "\n  unigen train gan --seeds 10"
        "\n  torchrun --nproc-per-node 4 -m unigen_edu train gan --data mnist --batch-size 256",
    )
    train.add_argument("model", help="name of a model; 'unigen models' lists them")
    train.add_argument(
        "--data", help="data set, such as mnist or mnist-mini+usps (default: that of the model)"
    )
    train.add_argument("--steps", type=_count, default=2000, help=f"steps in all{default}")
    train.add_argument("--batch-size", type=_count, default=64, help=f"images a step{default}")
    train.add_argument("--seed", **seed, help=f"of parameters, order and noise{default}")
    train.add_argument(
        "--lr",
        action="append",
        metavar="LR|PHASE=LR",
        help="Adam's step size, of all phases or of one; may be given for several (default: 5e-4 "
        "for games, else 1e-3)",
    )
    train.add_argument(
        "--seeds", type=_count, default=1, help="train so many seeds in one call, from --seed on"
    )
    train.add_argument("--network", help="mlp or conv (default: that of the model)")
    train.add_argument(
        "--set",
        metavar="OPTION=VALUE",
        action="append",
        default=[],
        help="an option of the model, such as k=5 or latent=32; may be repeated",
    )
    train.add_argument("--device", **device)
    train.add_argument(
        "--compile", action="store_true", help="let torch.compile fuse the whole training step"
    )
    train.add_argument(
        "--precision", default="float32", help=f"float32, or bf16 for matrix products{default}"
    )
    graph: dict[str, Any] = {
        "action": "store_true",
        "help": "on an NVIDIA GPU, launch each step as one CUDA graph: faster for small networks, "
        "for losses that are the same operations in every step",
    }
    train.add_argument("--graph", **graph)
    train.add_argument(
        "--out", type=Path, help="folder of the run (default: runs/MODEL-DATA-seedSEED)"
    )
    train.add_argument(
        "--fresh", action="store_true", help="start again even if the folder holds a run"
    )
    train.add_argument("--quiet", action="store_true", help="no progress bar")

    sample = command("sample", _sample, "Draw samples from a trained model into a picture.")
    sample.add_argument("path", type=Path, help="folder of the run, or its checkpoint file")
    sample.add_argument("-n", type=_count, default=64, help=f"number of samples{default}")
    sample.add_argument("--seed", **seed, help=f"of the draws{default}")
    sample.add_argument(
        "--out", type=Path, help="picture to write (default: samples.png in the run)"
    )

    evaluate = command(
        "evaluate",
        _evaluate,
        "Measure a trained model on the test set.",
        "Prints, as JSON, the bounds and scores that apply to the model.",
    )
    evaluate.add_argument("path", type=Path, help="folder of the run, or its checkpoint file")
    evaluate.add_argument("--data", help="data set to compare with (default: that of the run)")
    evaluate.add_argument("--seed", **seed, help=f"of the draws{default}")
    evaluate.add_argument("--device", **device)

    again = command(
        "reproduce",
        _reproduce,
        "Run the comparisons of a table, over many seeds, and print it.",
        "\nEach run leaves a record; the same command does what is missing and continues what was"
        "\ninterrupted. Without a table it lists them."
        "\n\n  unigen reproduce A"
        "\n  unigen reproduce gan-iwgan --scale paper --device cuda",
    )
    again.add_argument("tables", nargs="*", metavar="TABLE", help="A to D, or a comparison's name")
    again.add_argument("--scale", default="laptop", help=f"laptop or paper{default}")
    again.add_argument("--seeds", type=_count, default=10, help=f"seeds of each arm{default}")
    again.add_argument("--device", **device)
    again.add_argument("--graph", **graph)
    again.add_argument(
        "--out", type=Path, default=Path("results/runs"), help=f"folder of the records{default}"
    )
    again.add_argument(
        "--unverified",
        action="store_true",
        help="take files whose checksums are not the published ones, such as a copy of your own "
        "that was encoded anew; the records name it so. Of CIFAR-10 only if you made it: to read "
        "one can run code",
    )
    again.add_argument("--quiet", action="store_true", help="no progress bar")

    command("models", _models, "List the models with their phases and options.")

    data = command(
        "data",
        _data,
        "List the data sets, or load one and check it.",
        "\nFiles are read from the folder in UNIGEN_DATA (torchvision's layout) or downloaded.",
    )
    data.add_argument("name", nargs="?", help="data set to load and check; none lists them")

    grade = command("grade", _grade, "Grade an exercise notebook, or every one in a folder.")
    grade.add_argument("path", type=Path, help="notebook or folder of notebooks")
    grade.add_argument("--out", type=Path, help="CSV to write (default: grades.csv in the folder)")
    grade.add_argument(
        "--course",
        type=Path,
        metavar="STAFF",
        help="folder staff of the course handed out",
    )
    grade.add_argument("--jobs", type=int, default=2, help="submissions at a time (default: 2)")

    course = command("course", _course, "Make a course: exercises drawn from a key of your own.")
    course.add_argument("what", choices=["new"], help="new: write a course into an empty folder")
    course.add_argument("folder", type=Path, help="where to write students/ and staff/")
    course.add_argument(
        "--key-file", type=Path, required=True, help="file with a long random word, kept secret"
    )
    course.add_argument(
        "--exercises", nargs="+", default=[], metavar="NAME", help="some of them (default: all)"
    )
    course.add_argument(
        "--repository", default="", metavar="URL", help="where students/ will be published"
    )

    command("doctor", _doctor, "Report versions, devices, data and what is missing.")
    return parser


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _seed(text: str) -> int:
    seed = _count(text)
    if not 0 <= seed < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 2^63 - 1")
    return seed


def _options(settings: list[str]) -> dict[str, Any]:
    """OPTION=VALUE pairs; a value is a Python literal where it reads as one, else a word."""
    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise UnigenError(f"--set {setting!r} is not of the form OPTION=VALUE, such as k=5.")
        if name in ("shape", "seed"):
            reason = "it is that of the data" if name == "shape" else "use --seed"
            raise UnigenError(f"The {name} cannot be given by --set: {reason}.")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError):
            found[name] = value
    return found


def _step_sizes(
    given: list[str] | None, model_class: type[Model]
) -> dict[str, float] | float | None:
    """What `--lr` says: one number, or numbers of phases; the later one counts."""
    if given is None:
        return None
    phases = [phase.name for phase in model_class.phases]
    found: dict[str, float] = {}
    for part in given:
        name, equals, number = part.rpartition("=")
        try:
            found |= dict.fromkeys([name] if equals else phases, float(number))
        except ValueError:
            raise UnigenError(
                f"--lr is '{part}', but a step size is a number, such as 1e-3 or {phases[0]}=1e-3."
            ) from None
    return found if any("=" in part for part in given) else found[phases[0]]


def _train(given: argparse.Namespace) -> int:
    from unigen_edu import checkpoints, data, models
    from unigen_edu.distributed import is_first, started_by_torchrun
    from unigen_edu.training import fit

    model_class = models.get(given.model)  # a wrong name is reported before any data are loaded
    name = given.data or model_class.default_data
    train_set = data.load(name, "train")
    options = _model_options(given, train_set)
    folder = f"{given.model}-{name.replace('/', '-')}"
    settings: dict[str, Any] = {
        "steps": given.steps,
        "batch_size": given.batch_size,
        "lr": _step_sizes(given.lr, model_class),
        "device": given.device,
        "precision": given.precision,
        "graph": given.graph,
        "resume": not given.fresh,
        "progress": not given.quiet,
    }
    if given.seeds < 1:
        raise UnigenError(f"--seeds is {given.seeds}, but there must be at least 1.")
    if given.seeds > 1:
        if given.compile or started_by_torchrun():
            raise UnigenError(
                "--seeds goes with neither --compile nor torchrun: "
                "train the seeds one by one for these."
            )
        return _train_seeds(given, train_set, options, Path("runs") / folder, settings)
    model = models.create(given.model, seed=given.seed, shape=train_set.shape, **options)
    out = given.out or Path("runs") / f"{folder}-seed{given.seed}"
    checkpoint = out / checkpoints.FILE
    if checkpoint.exists() and not given.fresh and is_first():
        print(f"Continuing {checkpoint} from step {checkpoints.step_of(checkpoint)}.")
    history = fit(
        model,
        train_set,
        seed=given.seed,
        out=out,
        compile=given.compile,
        **settings,
    )
    if not is_first():
        return SUCCESS
    (out / "history.json").write_text(history.to_json())
    picture = _write_samples(model, out, None, n=64, seed=given.seed, data_name=name)
    print(f"{given.steps} steps on {history.device}: {history.seconds:.1f} s, "
          f"{history.images_per_second:.0f} images/s")  # fmt: skip
    for term, values in history.terms.items():
        print(f"  {term:<28} {values[-1]:.4f}")
    print(f"checkpoint  {checkpoint}")
    if picture is not None:
        print(f"samples     {picture}")
    print(f"parameters  sha256 {checkpoints.parameter_checksum(model)}")
    return SUCCESS


def _model_options(given: argparse.Namespace, train_set: Dataset) -> dict[str, Any]:
    """Options from --network and --set, and those that the data decide."""
    from unigen_edu import models

    known = models.options(given.model)
    options: dict[str, Any] = {}
    if "classes" in known and train_set.num_classes is not None:
        options["classes"] = train_set.num_classes
    if "vocabulary" in known and train_set.alphabet is not None:
        options["vocabulary"] = len(train_set.alphabet)
    if given.network is not None:
        options["network"] = given.network
    return options | _options(given.set)


def _train_seeds(
    given: argparse.Namespace,
    train_set: Dataset,
    options: dict[str, Any],
    folder: Path,
    settings: dict[str, Any],
) -> int:
    import statistics

    from unigen_edu import checkpoints
    from unigen_edu.seeds import fit_seeds

    out = given.out or folder
    seeds = range(given.seed, given.seed + given.seeds)
    runs = fit_seeds(given.model, train_set, seeds=seeds, options=options, out=out, **settings)
    for run in runs:
        folder = out / f"seed{run.seed}"
        (folder / "history.json").write_text(run.history.to_json())
        _write_samples(run.model, folder, None, n=64, seed=given.seed, data_name=train_set.name)
    print(f"{given.steps} steps for each of {given.seeds} seeds on {runs[0].history.device}")
    for term in runs[0].history.terms:
        last = [run.history.terms[term][-1] for run in runs]
        print(f"  {term:<28} {statistics.mean(last):.4f} ± {statistics.stdev(last):.4f}")
    for run in runs:
        print(f"seed {run.seed}  sha256 {checkpoints.parameter_checksum(run.model)}")
    print(f"checkpoints {out}")
    return SUCCESS


def _write_samples(
    model: Model, folder: Path, path: Path | None, n: int, seed: int, data_name: str
) -> Path | None:
    """Draws as a picture, sequences as lines of text; None if the model has nothing to show."""
    import torch

    from unigen_edu import data
    from unigen_edu.checkpoints import prepare_folder
    from unigen_edu.declarations import Model

    if type(model).sample is Model.sample and type(model).picture is Model.picture:
        return None
    of_tokens = "sequence" in model.needs
    path = path or folder / ("samples.txt" if of_tokens else "samples.png")
    endings = (".txt",) if of_tokens else (".png", ".pdf", ".svg", ".jpg")
    if path.suffix.lower() not in endings:
        listed = " or ".join([", ".join(endings[:-1]), endings[-1]] if endings[1:] else endings)
        raise UnigenError(f"{path} does not end in {listed}: name a picture.")
    prepare_folder(path.parent)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = model.cpu().picture(data.load(data_name, "test"), n)
    if of_tokens:
        lines = data.load(data_name, "train").text(x)
        path.write_text("".join(f"{line}\n" for line in lines))
    else:
        _draw(x, path)
    return path


def _draw(x: Tensor, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")  # pictures go to files; no screen is needed
    import matplotlib.pyplot as plt

    from unigen_edu import plots

    plots.use_style()
    if x.dim() == 4:
        figure = plots.image_grid(x)
    else:
        figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
        axes.scatter(x[:, 0], x[:, 1], s=8, color=plots.COLOURS["model"])
        axes.set_aspect("equal")
    figure.savefig(path)
    plt.close(figure)


def _sample(given: argparse.Namespace) -> int:
    from unigen_edu import checkpoints

    if given.n < 1:
        raise UnigenError(f"-n is {given.n}, but a picture needs at least 1 sample.")
    model, run = checkpoints.load_model(given.path)
    folder = given.path if given.path.is_dir() else given.path.parent
    name = _data_of(run)
    path = _write_samples(model, folder, given.out, n=given.n, seed=given.seed, data_name=name)
    if path is None:
        raise UnigenError(f"The model '{model.name}' has nothing to draw.")
    print(path)
    return SUCCESS


def _data_of(run: dict[str, Any]) -> str:
    """The name of the data set of a run, from the fingerprint that its checkpoint keeps."""
    return str(run["data"]).split(":")[0]


def _evaluate(given: argparse.Namespace) -> int:
    from unigen_edu import checkpoints, metrics
    from unigen_edu.training import pick_device

    model, run = checkpoints.load_model(given.path)
    name = given.data or _data_of(run)
    model.to(pick_device(given.device))
    found = metrics.evaluate(model, name, seed=given.seed)
    print(json.dumps({"model": model.name, "data": name, "step": run["step"], **found}, indent=2))
    return SUCCESS


def _reproduce(given: argparse.Namespace) -> int:
    from unigen_edu import experiments

    if given.scale not in experiments.SCALES:
        known = ", ".join(experiments.SCALES)
        raise UnigenError(f"There is no scale '{given.scale}'; choose one of: {known}.")
    if not given.tables:
        for table, comparisons in experiments.TABLES.items():
            for comparison in comparisons:
                arms = ", ".join(arm.name for arm in comparison.arms)
                print(f"{table}  {comparison.name:<20} {comparison.title}: {arms}")
        return SUCCESS
    if given.seeds < 1:
        raise UnigenError(f"--seeds is {given.seeds}, but there must be at least 1.")
    chosen, scale = experiments.find(given.tables), experiments.SCALES[given.scale]
    failed: list[Path] = []
    left_out: experiments.LeftOut | None = None
    try:
        failed = experiments.reproduce(
            chosen,
            scale,
            seeds=range(given.seeds),
            device=given.device,
            graph=given.graph,
            out=given.out,
            work=Path("runs") / "reproduce",
            verify=not given.unverified,
            progress=not given.quiet,
        )
    except experiments.LeftOut as error:
        left_out = error
    for comparison in chosen:
        print("\n" + experiments.as_text(comparison, scale, given.out))
    for path in failed:
        print(f"A run failed; {path} says why.", file=sys.stderr)
    if left_out is not None:
        raise left_out
    rows = (row for c in chosen for row in experiments.summarise(c, scale, given.out))
    return FAILURE if any(row.failed for row in rows) else SUCCESS


def _models(given: argparse.Namespace) -> int:
    from unigen_edu import models

    width = max(map(len, models.names())) + 1
    for name in models.names():
        model = models.get(name)
        print(f"{name:<{width}} {model.title}")
        for phase in model.phases:
            moved = ", ".join(phase.moves)
            print(f"{'':<{width}} phase {phase.name}: moves {moved}; {phase.direction}")
        options = ", ".join(f"{k}={v!r}" for k, v in models.options(name).items())
        print(f"{'':<{width}} options: {options}")
        print(f"{'':<{width}} data: {model.default_data}\n")
    return SUCCESS


def _data(given: argparse.Namespace) -> int:
    from unigen_edu import data

    if given.name is None:
        for name in data.names():
            print(name)
        return SUCCESS
    for split in ("train", "test"):
        found = data.load(given.name, split)
        print(f"{found.name} {split}: {len(found)} samples of shape {tuple(found.shape)}")
    return SUCCESS


def _grade(given: argparse.Namespace) -> int:
    from unigen_edu import grading

    if given.jobs < 1:
        raise UnigenError(f"--jobs is {given.jobs}: at least one submission runs at a time.")
    return grading.grade_path(given.path, out=given.out, course=given.course, jobs=given.jobs)


def _course(given: argparse.Namespace) -> int:
    from unigen_edu import courses

    key = courses.read_key(given.key_file)
    found = courses.new(given.folder, key, names=given.exercises, repository=given.repository)
    print(courses.summary(found, given.folder))
    return 0


def _doctor(given: argparse.Namespace) -> int:
    import importlib.util
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from unigen_edu import data

    print(f"unigen {__version__}, Python {platform.python_version()}, {platform.platform()}")
    packages = "torch torchvision numpy matplotlib ipywidgets tqdm safetensors torchmetrics"
    for package in [*packages.split(), "cloudpickle"]:
        try:
            print(f"  {package} {version(package)}")
        except PackageNotFoundError:
            print(f"  {package} is missing: pip install unigen-edu")
    print(f"  devices: {', '.join(_devices(torch))}; {torch.get_num_threads()} CPU threads")
    healthy = True
    try:
        count = len(data.load("mnist-mini", "train"))
        print(f"  mnist-mini: {count} training images, checksum right")
    except UnigenError as error:
        healthy = False
        print(f"  mnist-mini: {error}")
    folder = os.environ.get("UNIGEN_DATA")
    if folder is None:
        print("  UNIGEN_DATA is not set: full data sets are downloaded when first used")
    else:
        exists = Path(folder).is_dir()
        healthy = healthy and exists
        trouble = "" if exists else ", which is no folder: correct or unset it"
        print(f"  UNIGEN_DATA = {folder}{trouble}")
    grader = importlib.util.find_spec("otter") is not None
    if grader:
        from unigen_edu import sandbox

        print(f"  grading: ready; submissions run {sandbox.best()}")
    else:
        print('  grading: pip install "unigen-edu[grade]"')
    return SUCCESS if healthy else FAILURE


def _devices(torch: Any) -> list[str]:
    count = torch.cuda.device_count()
    found = ["cpu", *(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(count))]
    return found + (["mps"] if torch.backends.mps.is_available() else [])
