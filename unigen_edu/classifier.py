"""The classifiers of digits and of clothes behind the inception score and the Frechet distance.

The usual scores look through a network trained on photographs. Digits deserve one trained on
digits: five layers, 105 thousand parameters, trained on the 60,000 images of MNIST by
`unigen_edu/assets/train_classifier.py`; `results/classifier.json` holds the record of the run. The
same network trained on Fashion-MNIST reads clothes (`results/classifier_fashion.json`). The scores
of one are comparable among themselves, and with no score that used another.
"""

from __future__ import annotations

import hashlib
from importlib import resources

import torch
from torch import Tensor, nn

from unigen_edu.declarations import check_choice
from unigen_edu.errors import UnigenError

__all__ = [
    "FASHION_SHA256",
    "WEIGHTS_SHA256",
    "ClothesClassifier",
    "DigitClassifier",
    "load_classifier",
]

WEIGHTS_SHA256 = "5791f91410ea682f917c41f02a3eda5dd91c2ad88b15f521dad74ef6045e0c7a"
FASHION_SHA256 = "b8f9aa0180a1de66ede148dd0989db6f6fddd41d4fa62be89aaaba7912a97659"


class DigitClassifier(nn.Module):
    """p(c|x) for 28x28 grey images: three convolutions and two linear layers, ReLU between.

    Sizes: 28x28x1 -> 14x14x24 -> 7x7x48 -> 4x4x64 -> 64 features -> 10 logits. Strides take the
    place of pooling, which is slow on a CPU.

    Attributes:
        num_features: 64, the width of the last hidden layer. torchmetrics asks for this name.
        num_classes: 10.
        pixel_mean, pixel_sd: of the training images; the input is standardised by them.
    """

    num_features = 64
    num_classes = 10
    pixel_mean, pixel_sd = 0.1307, 0.3081  # MNIST

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(48, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, self.num_features), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(self.num_features, self.num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Activations of the last hidden layer, not negative: x (B, 1, 28, 28) -> (B, 64).

        Args:
            x: grey levels in [0, 1].

        Raises:
            UnigenError: another shape or dtype.
        """
        if x.dim() != 4 or x.shape[1:] != (1, 28, 28) or not x.is_floating_point():
            raise UnigenError(
                f"The classifier takes float images (B, 1, 28, 28) in [0, 1], not {x.dtype} "
                f"of shape {tuple(x.shape)}: resize or convert them."
            )
        return self.body((x - self.pixel_mean) / self.pixel_sd)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of p(c|x): (B, 1, 28, 28) -> (B, 10)."""
        return self.head(self.features(x))


class ClothesClassifier(DigitClassifier):
    """The same network for the ten classes of Fashion-MNIST."""

    pixel_mean, pixel_sd = 0.2860, 0.3530  # Fashion-MNIST


def load_classifier(device: str | torch.device = "cpu", reads: str = "digits") -> DigitClassifier:
    """A shipped classifier on `device`, in evaluation mode and without gradients.

    Args:
        reads: "digits", or "clothes", the articles of Fashion-MNIST.

    Raises:
        UnigenError: the file of weights is missing or is not the recorded one; there is no
            classifier of what is to be read.
    """
    from safetensors.torch import load

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
    return classifier.eval().requires_grad_(False).to(device)
