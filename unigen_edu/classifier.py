"""The classifier of digits behind the inception score and the Frechet distance.

The usual scores look through a network trained on photographs. Digits deserve one trained on
digits: five layers, 105 thousand parameters, trained on the 60,000 images of MNIST by
`unigen_edu/assets/train_classifier.py`; `results/classifier.json` holds the record of the run. Its
scores are comparable among themselves, and with no score that used another network.
"""

from __future__ import annotations

import hashlib
from importlib import resources

import torch
from torch import Tensor, nn

from unigen_edu.errors import UnigenError

__all__ = ["WEIGHTS_SHA256", "DigitClassifier", "load_classifier"]

WEIGHTS_SHA256 = "5791f91410ea682f917c41f02a3eda5dd91c2ad88b15f521dad74ef6045e0c7a"


class DigitClassifier(nn.Module):
    """p(c|x) for 28x28 grey images: three convolutions and two linear layers, ReLU between.

    Sizes: 28x28x1 -> 14x14x24 -> 7x7x48 -> 4x4x64 -> 64 features -> 10 logits. Strides take the
    place of pooling, which is slow on a CPU.

    Attributes:
        num_features: 64, the width of the last hidden layer. torchmetrics asks for this name.
        num_classes: 10.
    """

    num_features = 64
    num_classes = 10

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
                f"The digit classifier takes float images (B, 1, 28, 28) in [0, 1], not {x.dtype} "
                f"of shape {tuple(x.shape)}: resize or convert them."
            )
        return self.body((x - 0.1307) / 0.3081)  # mean and deviation of the pixels of MNIST

    def forward(self, x: Tensor) -> Tensor:
        """Logits of p(c|x): (B, 1, 28, 28) -> (B, 10)."""
        return self.head(self.features(x))


def load_classifier(device: str | torch.device = "cpu") -> DigitClassifier:
    """The shipped classifier on `device`, in evaluation mode and without gradients.

    Raises:
        UnigenError: the file of weights is missing or is not the recorded one.
    """
    from safetensors.torch import load

    again = "install unigen-edu again"
    file = resources.files("unigen_edu") / "assets" / "classifier.safetensors"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UnigenError(f"{file.name} is missing from the package: {again}.") from error
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise UnigenError(
            f"{file.name} in the package is damaged (its SHA-256 is not the recorded one): {again}."
        )
    classifier = DigitClassifier()
    classifier.load_state_dict(load(content))
    return classifier.eval().requires_grad_(False).to(device)
