"""The classifiers behind the inception score and the Frechet distance.

The usual scores look through a network trained on photographs. Digits deserve one trained on
digits: five layers, 105 thousand parameters, trained on the 60,000 images of MNIST by
`unigen_edu/assets/train_classifier.py`; `results/classifier.json` holds the record of the run. The
same network trained on Fashion-MNIST reads clothes (`results/classifier_fashion.json`). Of the
colour sets none ships: `classifier_of` trains one at its first use, in a few minutes, and keeps it.
The scores of one classifier are comparable among themselves, and with no score that used another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from unigen_edu import data
from unigen_edu.data import Dataset
from unigen_edu.declarations import check_choice
from unigen_edu.errors import UnigenError
from unigen_edu.training import repeatable_convolutions

__all__ = [
    "FASHION_SHA256",
    "READ_AS",
    "WEIGHTS_SHA256",
    "ClothesClassifier",
    "ColourClassifier",
    "DigitClassifier",
    "ImageClassifier",
    "classifier_of",
    "load_classifier",
    "train_classifier",
]

WEIGHTS_SHA256 = "5791f91410ea682f917c41f02a3eda5dd91c2ad88b15f521dad74ef6045e0c7a"
FASHION_SHA256 = "b8f9aa0180a1de66ede148dd0989db6f6fddd41d4fa62be89aaaba7912a97659"

# Data sets whose classes a classifier knows. The colour sets have one each, which is not shipped.
READ_AS = {
    "mnist-mini": "digits",
    "mnist": "digits",
    "usps": "digits",
    "fashion-mnist": "clothes",
    "svhn": "svhn",
    "cifar10": "cifar10",
}

_COLOUR_EPOCHS = 10
_SHIFT = 2  # pixels, in each direction, while a classifier learns


class ImageClassifier(nn.Module):
    """p(c|x) for small images: three convolutions and two linear layers, ReLU between.

    Each convolution halves the image's side. Strides take the place of pooling, which is slow on a
    CPU.

    Attributes:
        shape: of an image, (C, H, W).
        widths: channels after each convolution.
        num_features: width of the last hidden layer. torchmetrics asks for this name.
        num_classes: 10.
        pixel_mean, pixel_sd: of the training images; the input is standardised by them.
        about: which one it is, by the checksum of its weights, and of one that is not shipped the
            images that it was trained on and its accuracy; empty if it was not loaded.
    """

    shape: ClassVar[tuple[int, int, int]]
    widths: ClassVar[tuple[int, int, int]]
    num_features: int
    num_classes = 10
    pixel_mean: float
    pixel_sd: float

    def __init__(self) -> None:
        super().__init__()
        self.about: dict[str, Any] = {}
        a, b, c = self.widths
        side = -(-self.shape[1] // 8)
        self.body = nn.Sequential(
            nn.Conv2d(self.shape[0], a, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(b, c, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(),
            nn.Linear(c * side * side, self.num_features), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(self.num_features, self.num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Activations of the last hidden layer, not negative: x (B, *shape) -> (B, num_features).

        Args:
            x: levels in [0, 1].

        Raises:
            UnigenError: another shape or dtype.
        """
        if x.dim() != 4 or x.shape[1:] != self.shape or not x.is_floating_point():
            wanted = ", ".join(map(str, self.shape))
            raise UnigenError(
                f"The classifier takes float images (B, {wanted}) in [0, 1], not {x.dtype} "
                f"of shape {tuple(x.shape)}: resize or convert them."
            )
        return self.body((x - self.pixel_mean) / self.pixel_sd)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of p(c|x): (B, *shape) -> (B, 10)."""
        return self.head(self.features(x))


class DigitClassifier(ImageClassifier):
    """28x28x1 -> 14x14x24 -> 7x7x48 -> 4x4x64 -> 64 features -> 10 logits."""

    shape = (1, 28, 28)
    widths = (24, 48, 64)
    num_features = 64
    pixel_mean, pixel_sd = 0.1307, 0.3081  # MNIST


class ClothesClassifier(DigitClassifier):
    """The same network for the ten classes of Fashion-MNIST."""

    pixel_mean, pixel_sd = 0.2860, 0.3530  # Fashion-MNIST


class ColourClassifier(ImageClassifier):
    """32x32x3 -> 16x16x32 -> 8x8x64 -> 4x4x128 -> 128 features -> 10 logits."""

    shape = (3, 32, 32)
    widths = (32, 64, 128)
    num_features = 128
    pixel_mean, pixel_sd = 0.46, 0.23  # SVHN and CIFAR-10 differ by less than 0.04 from these


def load_classifier(device: str | torch.device = "cpu", reads: str = "digits") -> DigitClassifier:
    """A shipped classifier on `device`, in evaluation mode and without gradients.

    Args:
        reads: "digits", or "clothes", the articles of Fashion-MNIST.

    Raises:
        UnigenError: the file of weights is missing or is not the recorded one; there is no
            classifier of what is to be read.
    """
    check_choice("classifier", reads, ("digits", "clothes"))
    kind, name, checksum = (
        (DigitClassifier, "classifier.safetensors", WEIGHTS_SHA256)
        if reads == "digits"
        else (ClothesClassifier, "classifier_fashion.safetensors", FASHION_SHA256)
    )
    again = "install unigen-edu again"
    file = resources.files("unigen_edu") / "assets" / name
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UnigenError(f"{file.name} is missing from the package: {again}.") from error
    if hashlib.sha256(content).hexdigest() != checksum:
        raise UnigenError(
            f"{file.name} in the package is damaged (its SHA-256 is not the recorded one): {again}."
        )
    classifier = kind()
    classifier.load_state_dict(load(content))
    classifier.about = {"classifier": reads, "weights_sha256": checksum}
    return classifier.eval().requires_grad_(False).to(device)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def classifier_of(
    name: str,
    device: str | torch.device = "cpu",
    *,
    root: str | Path | None = None,
    verify: bool = True,
    say: Callable[[str], None] = _say,
) -> ImageClassifier:
    """The classifier of a data set's classes, on `device`, in evaluation mode without gradients.

    Of digits and clothes it is the one that is shipped. Of SVHN and CIFAR-10 it is trained from a
    fixed seed at the first use, which takes minutes on a CPU, and kept in the folder that the
    environment variable UNIGEN_CLASSIFIERS names, by default `cache_folder()/classifiers`: one for
    each set of training images. Rounding makes it a slightly other one on another machine: what is
    to be compared must be scored by one of them, which `about["weights_sha256"]` names.

    Args:
        name: a key of `READ_AS`.
        root, verify: as for `data.load`.
        say: called with a line before training and one after; default prints to stderr.

    Raises:
        UnigenError: no classifier knows these classes; the data are not to be had; the file that
            was kept is damaged, or the folder cannot be written.
    """
    check_choice("data set of a classifier", name, tuple(READ_AS))
    if READ_AS[name] in ("digits", "clothes"):
        return load_classifier(device, READ_AS[name])
    train_set = data.load(name, "train", root=root, verify=verify)
    kept_as = f"{train_set.fingerprint.replace(':', '-')}.safetensors"
    folder = os.environ.get("UNIGEN_CLASSIFIERS") or data.cache_folder() / "classifiers"
    path = Path(folder).expanduser() / kept_as
    if not path.exists():
        say(f"Training the classifier of {name}, once: some minutes on a CPU.")
        test_set = data.load(name, "test", root=root, verify=verify)
        right = _train_and_keep(train_set.to(device), test_set.to(device), path)
        say(f"It names the class of {100 * right:.1f} % of the test images; kept as {path}.")
    classifier = ColourClassifier()
    try:
        content = path.read_bytes()
        classifier.load_state_dict(load(content))
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError):
        raise UnigenError(
            f"{path} is no classifier that can be read: delete it, and it is trained again."
        ) from None
    checksum = hashlib.sha256(content).hexdigest()
    classifier.about = {"classifier": name, "weights_sha256": checksum, **about}
    return classifier.eval().requires_grad_(False).to(device)


def _train_and_keep(train_set: Dataset, test_set: Dataset, path: Path) -> float:
    """Train a classifier of colours, write it to `path`; returns its accuracy on the test set."""
    from unigen_edu.metrics import accuracy  # which itself asks for classifiers

    draft = path.with_suffix(f".draft{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.touch()  # before minutes are spent
        with repeatable_convolutions(train_set.device):
            classifier = train_classifier(train_set, epochs=_COLOUR_EPOCHS, kind=ColourClassifier)
        right = accuracy(classifier, test_set)
        about = {"data": train_set.fingerprint, "epochs": _COLOUR_EPOCHS, "test_accuracy": right}
        weights = {key: value.cpu().contiguous() for key, value in classifier.state_dict().items()}
        save_file(weights, draft, metadata={"about": json.dumps(about)})
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        raise UnigenError(
            f"The classifier cannot be kept in {path.parent} ({error}): make room there, or set "
            "UNIGEN_CLASSIFIERS to another folder."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    return right


def train_classifier(
    train_set: Dataset,
    *,
    epochs: int,
    batch_size: int = 64,
    lr: float = 3e-3,
    seed: int = 0,
    progress: bool = False,
    kind: type[ImageClassifier] = DigitClassifier,
) -> ImageClassifier:
    """A classifier trained with Adam, a one-cycle step size and shifts of up to two pixels.

    Args:
        train_set: labelled images of the classifier's shape; training runs on its device.
        epochs: passes over the data.
        lr: largest step size, reached after a quarter of the steps.
        seed: of parameters, order and shifts.
        progress: print the mean loss of each epoch.
        kind: of classifier.
    """
    assert train_set.labels is not None
    device = train_set.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = kind().to(device)
    generator = torch.Generator().manual_seed(seed)
    per_epoch = len(train_set) // batch_size
    adam = torch.optim.AdamW(classifier.parameters(), lr=lr, weight_decay=1e-2, foreach=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        adam, max_lr=lr, total_steps=epochs * per_epoch, pct_start=0.25
    )
    for epoch in range(epochs):
        order = torch.randperm(len(train_set), generator=generator).to(device)
        total = torch.zeros((), device=device)
        for step in range(per_epoch):
            at = order[step * batch_size : (step + 1) * batch_size]
            x = _shifted(train_set.images(at), generator)
            loss = F.cross_entropy(classifier(x), train_set.labels[at])
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
            total += loss.detach()
        if progress:
            mean = total.item() / per_epoch
            print(f"  epoch {epoch + 1:2d}/{epochs}: loss {mean:.4f}", flush=True)
    return classifier.eval()


def _shifted(x: Tensor, generator: torch.Generator) -> Tensor:
    """The batch moved by one random number of pixels per direction; the ground is black.

    A photograph has no ground: its margin is mirrored.
    """
    down, right = torch.randint(0, 2 * _SHIFT + 1, (2,), generator=generator).tolist()
    side = x.shape[-1]
    padded = F.pad(x, [_SHIFT] * 4, "constant" if x.shape[1] == 1 else "reflect")
    return padded[..., down : down + side, right : right + side]
