"""Train the digit classifier twice, on MNIST and on mnist-mini, and record both runs.

    UNIGEN_DATA=FOLDER python unigen_edu/assets/train_classifier.py

writes classifier.safetensors (the weights from the full training set) beside this file and
results/classifier.json. Then put the SHA-256 that it prints into `classifier.WEIGHTS_SHA256`.

    UNIGEN_DATA=FOLDER python unigen_edu/assets/train_classifier.py --clothes

trains the classifier of Fashion-MNIST instead: classifier_fashion.safetensors,
results/classifier_fashion.json and `classifier.FASHION_SHA256`. Rounding differs between machines,
so another machine gives other weights of the same quality.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from unigen_edu import data, metrics
from unigen_edu.classifier import (
    ClothesClassifier,
    DigitClassifier,
    ImageClassifier,
    train_classifier,
)

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent


def _run(
    name: str,
    epochs: int,
    seed: int,
    device: str,
    kind: type[ImageClassifier] = DigitClassifier,
) -> tuple[ImageClassifier, dict[str, Any]]:
    train_set, test_set = (data.load(name, split, device=device) for split in ("train", "test"))
    print(f"{name}: {len(train_set)} images, {epochs} epochs", flush=True)
    start = time.perf_counter()
    classifier = train_classifier(train_set, epochs=epochs, seed=seed, progress=True, kind=kind)
    seconds = time.perf_counter() - start
    accuracy = metrics.accuracy(classifier, test_set)
    print(f"  test accuracy {accuracy:.4f}, {seconds:.0f} s", flush=True)
    record = {
        "data": name,
        "train_fingerprint": train_set.fingerprint,
        "test_fingerprint": test_set.fingerprint,
        "epochs": epochs,
        "seed": seed,
        "test_images": len(test_set),
        "test_accuracy": round(accuracy, 5),
        "seconds": round(seconds, 1),
    }
    return classifier, record


def _commit() -> str | None:
    """The commit that is checked out, with "+" if files have changed since; None outside git."""

    def git(*arguments: str) -> str:
        run = subprocess.run(
            ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _source_sha256() -> dict[str, str]:
    files = (HERE.parent / "classifier.py", Path(__file__).resolve())
    # The constants with the weights' own checksums cannot be a part of what made the weights.
    return {
        str(file.relative_to(REPOSITORY)): hashlib.sha256(
            "".join(
                line for line in file.read_text().splitlines(keepends=True)
                if not line.startswith(("WEIGHTS_SHA256 =", "FASHION_SHA256 ="))
            ).encode()
        ).hexdigest()
        for file in files
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10, help="on MNIST (default: %(default)s)")
    parser.add_argument("--mini-epochs", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clothes", action="store_true", help="train on Fashion-MNIST")
    given = parser.parse_args()

    if given.clothes:
        _keep_clothes(given)
    else:
        _keep_digits(given)
    return 0


def _keep_digits(given: argparse.Namespace) -> None:
    mini, mini_run = _run("mnist-mini", given.mini_epochs, given.seed, given.device)
    full, full_run = _run("mnist", given.epochs, given.seed, given.device)
    mini_test = data.load("mnist-mini", "test", device=given.device)
    mnist_test = data.load("mnist", "test", device=given.device)
    full_run["mini_test_accuracy"] = round(metrics.accuracy(full, mini_test), 5)
    mini_run["mnist_test_accuracy"] = round(metrics.accuracy(mini, mnist_test), 5)
    halves = [mnist_test.subset(slice(0, 5000)), mnist_test.subset(slice(5000, 10000))]
    # A fact about MNIST that the choice of mnist-mini rests on, seen by a network of either run.
    for run, classifier in ((full_run, full), (mini_run, mini)):
        run["test_errors_by_half"] = [
            round((1 - metrics.accuracy(classifier, half)) * len(half)) for half in halves
        ]

    _keep(
        full,
        "classifier",
        {
            "what": "digit classifier behind the inception score and the Frechet distance",
            "command": "python unigen_edu/assets/train_classifier.py",
            "shipped": "mnist",
            "runs": [full_run, mini_run],
        },
        given.device,
    )


def _keep_clothes(given: argparse.Namespace) -> None:
    clothes, run = _run("fashion-mnist", given.epochs, given.seed, given.device, ClothesClassifier)
    _keep(
        clothes,
        "classifier_fashion",
        {
            "what": "classifier of clothes behind the scores of Fashion-MNIST",
            "command": "python unigen_edu/assets/train_classifier.py --clothes",
            "shipped": "fashion-mnist",
            "runs": [run],
        },
        given.device,
    )


def _keep(classifier: ImageClassifier, name: str, about: dict[str, Any], device: str) -> None:
    """Write the weights beside this file and the record of the runs to `results`."""
    weights = {key: value.cpu().contiguous() for key, value in classifier.state_dict().items()}
    content = save(weights, metadata={"data": about["shipped"], "license": "MIT"})
    commit = _commit()  # before the weights are written, which are a change of their own
    (HERE / f"{name}.safetensors").write_bytes(content)
    checksum = hashlib.sha256(content).hexdigest()
    record = {
        "what": about["what"],
        "command": about["command"],
        "commit": commit,
        "source_sha256": _source_sha256(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "device": device,
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "parameters": sum(value.numel() for value in weights.values()),
        "weights_bytes": len(content),
        "weights_sha256": checksum,
        "shipped": about["shipped"],
        "runs": about["runs"],
    }
    (REPOSITORY / "results" / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    print(f"SHA-256 {checksum}  ({len(content)} bytes)")


if __name__ == "__main__":
    sys.exit(main())
