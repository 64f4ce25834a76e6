"""Data sets as tensors that live on the device of your choice.

`load` returns a `Dataset`: images stay bytes in memory and are scaled to [0, 1] when a batch is
taken, so MNIST costs 47 MB instead of 188 MB and no worker processes are needed. `mnist-mini` is a
part of the package and works offline; the full sets are read from a folder in torchvision's layout
(`root=`, or the environment variable UNIGEN_DATA) or downloaded once into `cache_folder()`. Every
file is checked before it is used: by checksum where the true one is known, by its sizes otherwise.

`toy` returns points in the plane whose density is known, for checks against the truth.

Names combine. "mnist-mini/slanted" is a known transform of a set, "mnist-mini+usps" adds a second
domain (`Dataset.other`), and "mnist-mini+100" keeps the labels of 100 images only.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
import math
import os
import pickle
import socket
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unigen_edu.errors import UnigenError
from unigen_edu.transforms import TRANSFORMS, grey_to_rgb

__all__ = [
    "SEQUENCES",
    "SOURCES",
    "Checkerboard",
    "Dataset",
    "GaussianMixture",
    "Moons",
    "Source",
    "Toy",
    "cache_folder",
    "load",
    "names",
    "toy",
    "toy_names",
]

Split = Literal["train", "test"]

MNIST_MINI_SHA256 = "d87889ad9c5e1f046841a08d253f7451978554da059c2a41e921a3265b7bae49"


@dataclass(frozen=True)
class Source:
    """Where an image data set comes from and what may be done with it.

    Attributes:
        shape: (channels, height, width) as distributed.
        count: images per split.
        place: where its files lie below the data folder.
        terms: licence, or what is known about it.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    num_classes: int
    count: dict[str, int]
    place: str
    holder: str
    terms: str
    url: str


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "mnist-mini",
            "MNIST, 12,000 images chosen by a fixed rule",
            (1, 28, 28),
            10,
            {"train": 10_000, "test": 2_000},
            "(in the package)",
            "Y. LeCun and C. Cortes",
            "CC BY-SA 3.0",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        Source(
            "mnist",
            "MNIST handwritten digits",
            (1, 28, 28),
            10,
            {"train": 60_000, "test": 10_000},
            "MNIST/raw",
            "Y. LeCun and C. Cortes",
            "CC BY-SA 3.0",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        Source(
            "fashion-mnist",
            "Fashion-MNIST articles of clothing",
            (1, 28, 28),
            10,
            {"train": 60_000, "test": 10_000},
            "FashionMNIST/raw",
            "Zalando SE, 2017",
            "MIT",
            "https://github.com/zalandoresearch/fashion-mnist",
        ),
        Source(
            "usps",
            "USPS handwritten digits",
            (1, 16, 16),
            10,
            {"train": 7_291, "test": 2_007},
            "USPS",
            "U.S. Postal Service; J. J. Hull, 1994",
            "none stated",
            "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
        ),
        Source(
            "svhn",
            "SVHN street view house numbers, cropped digits",
            (3, 32, 32),
            10,
            {"train": 73_257, "test": 26_032},
            "SVHN",
            "Y. Netzer and others, 2011",
            "see its page",
            "http://ufldl.stanford.edu/housenumbers/",
        ),
        Source(
            "cifar10",
            "CIFAR-10 small colour photographs",
            (3, 32, 32),
            10,
            {"train": 50_000, "test": 10_000},
            "cifar-10-batches-py",
            "A. Krizhevsky, 2009",
            "none stated",
            "https://www.cs.toronto.edu/~kriz/cifar.html",
        ),
    )
}

# MD5 of the *uncompressed* files. Those of Fashion-MNIST were computed from files whose gzip
# archives have the MD5 sums that the authors publish.
_IDX_MD5 = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


class Dataset:
    """Samples on one device, with their labels.

    Attributes:
        x: uint8 (N, C, H, W); float32 (N, 2) for points in the plane; int64 (N, T) for sequences
            of tokens.
        labels: (N,) int64, or None.
        name: as given to `load`.
        split: "train" or "test".
        num_classes: number of labels, or None.
        other: a second stream of samples, or None: the other domain, or the labelled images of a
            semi-supervised task. Training visits the two in unrelated orders.
        alphabet: the tokens of sequences, or None.
    """

    def __init__(
        self,
        x: Tensor,
        labels: Tensor | None = None,
        *,
        name: str = "unnamed",
        split: str = "train",
        num_classes: int | None = None,
        other: Dataset | None = None,
        alphabet: tuple[str, ...] | None = None,
    ):
        kinds = ((torch.uint8, 4), (torch.float32, 2), (torch.int64, 2))
        if (x.dtype, x.dim()) not in kinds or len(x) == 0:
            raise UnigenError(
                f"A Dataset holds uint8 images (N, C, H, W), float32 points (N, D) or int64 tokens "
                f"(N, T), not {x.dtype} of shape {tuple(x.shape)}: convert it, images in [0, 1] by "
                "(255 * x).round().to(torch.uint8)."
            )
        if (x.dtype == torch.int64) != (alphabet is not None):
            raise UnigenError(
                "Sequences of tokens come with their alphabet, and nothing else does: "
                "give alphabet=(...) with int64 tokens only."
            )
        if alphabet is not None and not (int(x.min()) >= 0 and int(x.max()) < len(alphabet)):
            raise UnigenError(
                f"The tokens go from {int(x.min())} to {int(x.max())}, but the alphabet has "
                f"{len(alphabet)}: number the tokens from 0 to {len(alphabet) - 1}."
            )
        if other is not None and other.device != x.device:
            raise UnigenError(
                f"The samples are on {x.device} and the other ones on {other.device}: "
                "put both on one device."
            )
        if labels is not None and labels.shape != x.shape[:1]:
            raise UnigenError(
                f"{len(x)} samples need {len(x)} labels, not labels of shape "
                f"{tuple(labels.shape)}: give one per sample."
            )
        self.x = x
        self.labels = None if labels is None else labels.to(x.device, torch.int64)
        self.name = name
        self.split = split
        self.num_classes = num_classes
        self.other = other
        self.alphabet = alphabet

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, {self.split!r}, {len(self)} samples of shape {self.shape} "
            f"on {self.device})"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W), (2,) or (T,)."""
        return tuple(self.x.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.x.device

    @cached_property
    def fingerprint(self) -> str:
        """`name:split:N:hash`, with 16 hexadecimal digits of the SHA-256 of the samples."""
        digest = hashlib.sha256(self.x.cpu().numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.cpu().numpy().tobytes())
        if self.other is not None:
            digest.update(self.other.fingerprint.encode())
        return f"{self.name}:{self.split}:{len(self)}:{digest.hexdigest()[:16]}"

    def images(self, idx: Tensor | Sequence[int] | slice | None = None) -> Tensor:
        """Samples `idx` (None: all): images (B, C, H, W) float32 in [0, 1], points (B, 2) float32,
        sequences (B, T) int64."""
        return _unit(self.x if idx is None else self.x[_index(idx, self.device)])

    def binarised(self, seed: int) -> Dataset:
        """The same images in black and white, drawn **once**: pixel ~ Bernoulli(its grey level).

        Likelihoods of binary images are compared on one fixed binarisation, so the draw depends on
        `seed` and on nothing else: it is made on the CPU in the order of the data set.

        Raises:
            UnigenError: the samples are points.
        """
        if self.x.dtype != torch.uint8:
            raise UnigenError(
                f"'{self.name}' holds points, which have no grey levels: binarise images only."
            )
        generator = torch.Generator().manual_seed(seed)
        # With u uniform on {0, ..., 254}, P(u < v) is v / 255 exactly: black and white stay.
        threshold = torch.randint(0, 255, self.x.shape, generator=generator, dtype=torch.uint8)
        white = (threshold < self.x.cpu()).to(torch.uint8) * 255
        return self._with(white.to(self.device), self.labels)

    def subset(self, indices: Tensor | Sequence[int] | slice) -> Dataset:
        """The samples at `indices`, in that order."""
        at = _index(indices, self.device)
        return self._with(self.x[at], None if self.labels is None else self.labels[at])

    def to(self, device: str | torch.device) -> Dataset:
        """This data set on `device`; itself when it is there already."""
        target = _device(device)
        if target == self.device:
            return self
        other = None if self.other is None else self.other.to(target)
        return self._with(self.x.to(target), self.labels, other)

    def text(self, tokens: Tensor) -> list[str]:
        """Sequences of tokens (B, T) as strings; words are set apart by blanks, letters are not.

        An empty token, such as the end of a sequence, leaves no trace.

        Raises:
            UnigenError: the samples are no sequences.
        """
        if self.alphabet is None:
            raise UnigenError(f"'{self.name}' holds no sequences: it has no text.")
        between = " " if max(map(len, self.alphabet)) > 1 else ""
        written = [[self.alphabet[i] for i in row] for row in tokens.tolist()]
        return [between.join(token for token in row if token) for row in written]

    def _with(
        self, x: Tensor, labels: Tensor | None, other: Dataset | Literal["same"] | None = "same"
    ) -> Dataset:
        return Dataset(
            x,
            labels,
            name=self.name,
            split=self.split,
            num_classes=self.num_classes,
            other=self.other if other == "same" else other,
            alphabet=self.alphabet,
        )


def _unit(x: Tensor) -> Tensor:
    return x.to(torch.float32).div_(255.0) if x.dtype == torch.uint8 else x


def _index(idx: Tensor | Sequence[int] | slice, device: torch.device) -> Tensor | slice:
    if isinstance(idx, slice):
        return idx
    if isinstance(idx, Tensor):
        return idx.to(device)
    return torch.as_tensor(list(idx), dtype=torch.int64, device=device)


def _device(device: str | torch.device) -> torch.device:
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:
        raise UnigenError(
            f"The device '{device}' is not available here: use 'cpu', or install a torch build "
            "that supports it."
        ) from error
    # "cuda" and "cuda:0" name one place; only the second compares equal to a tensor's device.
    if target.type == "cuda" and target.index is None:
        target = torch.device("cuda", torch.cuda.current_device())
    return target


# --- loading by name ------------------------------------------------------------------------------


SEQUENCES = ("number-names",)


def names() -> list[str]:
    """All single names that `load` knows: images first, then the toys, then sequences."""
    return [*SOURCES, *toy_names(), *SEQUENCES]


def load(
    name: str,
    split: Split = "train",
    *,
    device: str | torch.device = "cpu",
    root: str | Path | None = None,
    size: int | None = None,
    n: int = 10_000,
    seed: int = 0,
    download: bool = True,
    verify: bool = True,
) -> Dataset:
    """Load a data set by name.

    Args:
        name: see `names()`; NAME/TRANSFORM for a known transform of images (`transforms.py`); A+B
            for two domains, brought to one size and number of channels, with B in `other`; or
            A+NUMBER for a semi-supervised task: all images of A without labels, and in `other` the
            first NUMBER images with labels, as many of each class. The training split of A+B has
            no labels for B, and if B is a transform of A the domains are taken from different
            images (first and second half); in its test split x and other.x are pairs.
        split: "train" or "test".
        device: where the tensors are to live.
        root: folder in torchvision's layout; default UNIGEN_DATA, then `cache_folder()`.
        size: side of the images. 28 for `usps`: the 16x16 image, which its digit fills, is enlarged
            to 20x20 (bilinear) and set on a black 28x28 ground, as the makers of MNIST set theirs;
            32 for 28x28 images: two black pixels on every side. None keeps the images as they are.
        n: number of points (toys only).
        seed: of the points (toys only); the two splits are independent draws.
        download: whether files that are in no folder may be fetched from the network.
        verify: whether checksums must be the known ones. Sizes and counts are always checked. With
            False a re-encoded copy is accepted, under the name "<name>-unverified". CIFAR-10 is a
            pickle, and reading a pickle can run code: use False only for a file that you made.

    Returns:
        Dataset on `device`.

    Raises:
        UnigenError: unknown name or split, no file and no network, a damaged file.
    """
    if split not in ("train", "test"):
        raise UnigenError(f"There is no split {split!r}; choose 'train' or 'test'.")
    target = _device(device)
    how: dict[str, Any] = {
        "root": root, "size": size, "n": n, "seed": seed, "download": download, "verify": verify
    }  # fmt: skip
    if "+" in name or "/" in name:
        composed = (_load_two if "+" in name else _load_transformed)(name, split, how)
        if not verify and composed.x.dtype == torch.uint8:  # images, which come from files
            composed.name += "-unverified"
        return composed.to(target)
    if name in SEQUENCES:
        from unigen_edu import corpora

        tokens, alphabet = corpora.number_names(split)
        return Dataset(tokens, name=name, split=split, alphabet=alphabet).to(target)
    if name in toy_names():
        if n < 1:
            raise UnigenError(f"n is {n}, but a data set needs at least one point: raise n.")
        made = toy(name)
        generator = torch.Generator().manual_seed(2 * seed + (split == "test"))
        points, modes = made.sample_with_modes(n, generator)
        return Dataset(points, modes, name=name, split=split, num_classes=made.num_modes).to(target)
    if name not in SOURCES:
        raise UnigenError(_unknown(name, names(), "data set"))
    source = SOURCES[name]
    if name == "mnist-mini":
        x, labels = _read_mini(split)
    else:
        x, labels = _read_full(source, split, root, download, verify)
    _check_arrays(source, split, x, labels)
    images = _fit_size(torch.from_numpy(x), size, name)
    shown = name if verify else f"{name}-unverified"
    found = Dataset(
        images, torch.from_numpy(labels), name=shown, split=split, num_classes=source.num_classes
    )
    return found.to(target)


def _load_transformed(name: str, split: Split, how: dict[str, Any]) -> Dataset:
    base_name, _, transform = name.partition("/")
    if transform not in TRANSFORMS:
        raise UnigenError(_unknown(transform, list(TRANSFORMS), "transform"))
    base = load(base_name, split, **how)
    if base.x.dtype != torch.uint8:
        raise UnigenError(
            f"'{base_name}' holds no images, so it cannot be {transform}: transform images only."
        )
    x = TRANSFORMS[transform](base.x, int(split == "test"))
    return Dataset(x, base.labels, name=name, split=split, num_classes=base.num_classes)


def _load_two(name: str, split: Split, how: dict[str, Any]) -> Dataset:
    first_name, _, second = name.partition("+")
    if second.isdecimal():
        return _load_partly_labelled(name, first_name, int(second), split, how)
    first = load(first_name, split, **how)
    other = load(second, split, **{**how, "seed": how["seed"] + 1})
    if len(first.shape) == 3 and len(other.shape) == 3 and first.shape[1] != other.shape[1]:
        larger = max(first.shape[1], other.shape[1])
        first = load(first_name, split, **{**how, "size": larger})
        other = load(second, split, **{**how, "size": larger})
    x_first, x_other = first.x, other.x
    if first.shape != other.shape and len(first.shape) == len(other.shape) == 3:
        x_first, x_other = grey_to_rgb(x_first), grey_to_rgb(x_other)
    if x_first.shape[1:] != x_other.shape[1:]:
        raise UnigenError(
            f"'{first_name}' has samples of shape {first.shape} and '{second}' of {other.shape}: "
            "two domains must hold samples of one shape."
        )
    labels, other_labels = first.labels, other.labels
    if split == "train":
        other_labels = None  # the task is to do without
        if first_name.partition("/")[0] == second.partition("/")[0] and first_name != second:
            # Halves, not alternate images: mnist-mini counts through its classes 0, 1, ..., 9.
            half = len(x_first) // 2
            x_first, x_other = x_first[:half], x_other[half:]
            labels = None if labels is None else labels[:half]
    return Dataset(
        x_first.contiguous(),
        labels,
        name=name,
        split=split,
        num_classes=first.num_classes,
        other=Dataset(
            x_other.contiguous(),
            other_labels,
            name=second,
            split=split,
            num_classes=other.num_classes,
        ),
    )


def _load_partly_labelled(
    name: str, base_name: str, count: int, split: Split, how: dict[str, Any]
) -> Dataset:
    base = load(base_name, split, **how)
    if base.labels is None or base.num_classes is None:
        raise UnigenError(f"'{base_name}' has no labels of which {count} could be kept.")
    if split == "test":
        return Dataset(base.x, base.labels, name=name, split=split, num_classes=base.num_classes)
    each, rest = divmod(count, base.num_classes)
    fewest = int(torch.bincount(base.labels, minlength=base.num_classes).min())
    if rest or not 1 <= each <= fewest:
        raise UnigenError(
            f"'{name}' asks for {count} labelled images, but it must be as many of each of "
            f"{base.num_classes} classes: choose a multiple of {base.num_classes} up to "
            f"{fewest * base.num_classes}."
        )
    kept = torch.cat([(base.labels == c).nonzero()[:each, 0] for c in range(base.num_classes)])
    labelled = base.subset(kept)
    labelled.name = f"{base_name}, {count} with labels"
    return Dataset(
        base.x, None, name=name, split=split, num_classes=base.num_classes, other=labelled
    )


def cache_folder() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/unigen_edu, by default ~/.cache/unigen_edu."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unigen_edu"


def _unknown(name: str, known: list[str], what: str) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean '{near[0]}'? The names are" if near else "choose one of"
    return f"There is no {what} '{name}'; {hint}: {', '.join(known)}."


def _fit_size(x: Tensor, size: int | None, name: str) -> Tensor:
    side = x.shape[-1]
    if size is None or size == side:
        return x
    margin = size - side
    if name == "usps" and size in (28, 32):
        grown = F.interpolate(x.float(), size=(20, 20), mode="bilinear", align_corners=False)
        x = grown.round().to(torch.uint8)
        margin = size - 20
    elif not (side == 28 and size == 32):
        offers = {16: "16, 28 or 32", 28: "28 or 32", 32: "32"}[side]
        raise UnigenError(f"'{name}' cannot be had with size={size}: use {offers}.")
    return F.pad(x, [margin // 2] * 4)


def _check_arrays(source: Source, split: str, x: np.ndarray, labels: np.ndarray) -> None:
    """The last door: whatever the format was, counts, shapes and labels must be the known ones."""
    count = source.count[split]
    if x.dtype != np.uint8 or x.shape != (count, *source.shape):
        raise UnigenError(
            f"'{source.name}' ({split}) should be {count} images of shape {source.shape}, but the "
            f"file holds {x.dtype} {x.shape}: replace the file."
        )
    classes = list(range(source.num_classes))
    if labels.shape != (count,) or np.unique(labels).tolist() != classes:
        raise UnigenError(
            f"The labels of '{source.name}' ({split}) are not {count} numbers from 0 to "
            f"{source.num_classes - 1}: replace the file."
        )


# --- mnist-mini -----------------------------------------------------------------------------------


def _mini_bytes() -> bytes:
    try:
        return (resources.files("unigen_edu") / "assets" / "mnist_mini.npz").read_bytes()
    except OSError as error:
        raise UnigenError(
            "mnist_mini.npz is missing from the package: install unigen-edu again."
        ) from error


def _read_mini(split: str) -> tuple[np.ndarray, np.ndarray]:
    content = _mini_bytes()
    if hashlib.sha256(content).hexdigest() != MNIST_MINI_SHA256:
        raise UnigenError(
            "mnist_mini.npz in the package is damaged (its SHA-256 is not the recorded one): "
            "install unigen-edu again."
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return arrays[f"{split}_images"][:, None], arrays[f"{split}_labels"].astype(np.int64)


# --- full data sets -------------------------------------------------------------------------------

Read = Callable[[Path, str, bool], tuple[np.ndarray, np.ndarray]]


class _Damaged(Exception):
    """A file exists but is not what it should be; the message is the reason."""


def _read_full(
    source: Source, split: str, root: str | Path | None, download: bool, verify: bool
) -> tuple[np.ndarray, np.ndarray]:
    stated = root if root is not None else os.environ.get("UNIGEN_DATA")
    folders = [*([Path(stated).expanduser()] if stated else []), cache_folder()]
    read = _READERS[source.name]
    for folder in folders:
        try:
            return read(folder, split, verify)
        except FileNotFoundError:
            continue
        except _Damaged as damage:
            raise UnigenError(
                f"{damage}: delete the file and put an intact copy of '{source.name}' there, or "
                "let unigen download one."
            ) from damage
    try:
        if not download:
            raise OSError("downloading was switched off")
        _download(source.name, split, cache_folder())
        return read(cache_folder(), split, verify)
    except (_Damaged, OSError, RuntimeError, ImportError) as error:
        raise UnigenError(
            f"'{source.name}' is neither in {' nor in '.join(str(f) for f in folders)} nor could "
            f"it be downloaded ({_first_line(error)}): set UNIGEN_DATA to a folder that holds "
            f"{source.place}, or connect to the network and try again."
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _download(name: str, split: str, folder: Path) -> None:
    """Fetch the files with torchvision, which shows its progress and checks its MD5 sums."""
    from torchvision import datasets

    folder.mkdir(parents=True, exist_ok=True)
    train = split == "train"
    with _patience(30.0):
        if name == "mnist":
            datasets.MNIST(folder, train=train, download=True)
        elif name == "fashion-mnist":
            datasets.FashionMNIST(folder, train=train, download=True)
        elif name == "usps":
            (folder / "USPS").mkdir(exist_ok=True)
            datasets.USPS(folder / "USPS", train=train, download=True)
        elif name == "svhn":
            (folder / "SVHN").mkdir(exist_ok=True)
            datasets.SVHN(folder / "SVHN", split=split, download=True)
        else:
            datasets.CIFAR10(folder, train=train, download=True)


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """A server that says nothing for so long counts as absent (torchvision sets no limit)."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _check_md5(path: Path, content: bytes, expected: str | None) -> None:
    if expected is not None and hashlib.md5(content, usedforsecurity=False).hexdigest() != expected:
        raise _Damaged(f"{path} is not the published file (its MD5 differs)")


def _read_idx_file(path: Path, md5: str | None) -> np.ndarray:
    """An IDX file, plain or gzipped: four bytes of type, one 4-byte size per axis, then bytes."""
    if path.is_file():
        content = path.read_bytes()
    else:
        path = path.with_name(path.name + ".gz")
        try:
            content = gzip.decompress(path.read_bytes())
        except FileNotFoundError:
            raise
        except (OSError, EOFError, zlib.error) as error:
            raise _Damaged(f"{path} is cut short or damaged") from error
    axes = content[3] if len(content) > 4 else 0
    start = 4 + 4 * axes
    if content[:3] != b"\0\0\x08" or axes not in (1, 3) or len(content) < start:
        raise _Damaged(f"{path} does not begin like an IDX file of bytes")
    sizes = tuple(int(v) for v in np.frombuffer(content, ">u4", count=axes, offset=4))
    if len(content) - start != math.prod(sizes):
        raise _Damaged(
            f"{path} announces {math.prod(sizes)} bytes of data, but holds {len(content) - start}"
        )
    _check_md5(path, content, md5)
    array: np.ndarray = np.frombuffer(content, np.uint8, offset=start).reshape(sizes)
    return array.copy()  # bytes are read-only, and a tensor must not be


def _idx_reader(name: str) -> Read:
    def read(folder: Path, split: str, verify: bool) -> tuple[np.ndarray, np.ndarray]:
        known = _IDX_MD5[name]
        prefix = "train" if split == "train" else "t10k"
        found = []
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            file = f"{prefix}-{kind}"
            path = folder / SOURCES[name].place / file
            found.append(_read_idx_file(path, known[file] if verify else None))
        return found[0][:, None], found[1].astype(np.int64)

    return read


def _read_usps(folder: Path, split: str, verify: bool) -> tuple[np.ndarray, np.ndarray]:
    """LIBSVM text in bz2: `label 1:v ... 256:v`, label = digit + 1, v in [-1, 1].

    The copies in circulation differ in their last digits, so no checksum is asked for: bz2 carries
    its own, and the number of lines, labels and pixels is checked.
    """
    import bz2

    path = folder / "USPS" / ("usps.bz2" if split == "train" else "usps.t.bz2")
    content = path.read_bytes()
    try:
        text = bz2.decompress(content)
    except (OSError, ValueError, EOFError) as error:
        raise _Damaged(f"{path} is cut short or damaged") from error
    lines = text.count(b"\n") if text.endswith(b"\n") else text.count(b"\n") + 1
    # Every token, "label" or "index:value", becomes numbers of one flat array.
    try:
        numbers = np.array(text.replace(b":", b" ").split(), dtype=np.float64)
        rows = numbers.reshape(lines, 1 + 2 * 256)
    except ValueError as error:
        raise _Damaged(f"{path} is not 256 pixels and a label a line") from error
    labels, indices, values = rows[:, 0] - 1, rows[:, 1::2], rows[:, 2::2]
    if (indices != np.arange(1, 257)).any() or np.abs(values).max() > 1.0:
        raise _Damaged(f"{path} has pixels out of order or out of [-1, 1]")
    grey = ((values.astype(np.float32) + 1) / 2 * 255).astype(np.uint8)  # as torchvision rounds
    return grey.reshape(-1, 1, 16, 16), labels.astype(np.int64)


def _read_cifar10(folder: Path, split: str, verify: bool) -> tuple[np.ndarray, np.ndarray]:
    place = folder / "cifar-10-batches-py"
    batches = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    images, labels = [], []
    for file in batches:
        path = place / file
        content = path.read_bytes()
        _check_md5(path, content, _CIFAR10_MD5[file] if verify else None)
        try:
            batch = pickle.loads(content, encoding="latin1")
            images.append(np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32))
            labels.append(np.asarray(batch["labels"], dtype=np.int64))
        except Exception as error:  # a damaged pickle can raise anything
            raise _Damaged(f"{path} cannot be read as a batch of CIFAR-10") from error
    return np.concatenate(images), np.concatenate(labels)


_CIFAR10_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def _read_svhn(folder: Path, split: str, verify: bool) -> tuple[np.ndarray, np.ndarray]:
    path = folder / "SVHN" / f"{split}_32x32.mat"
    content = path.read_bytes()
    _check_md5(path, content, _SVHN_MD5[split] if verify else None)
    try:
        from scipy import io as scipy_io
    except ImportError as error:
        raise UnigenError("SVHN is a MATLAB file, read by SciPy: pip install scipy.") from error
    try:
        arrays = scipy_io.loadmat(io.BytesIO(content))
        x = np.ascontiguousarray(np.transpose(arrays["X"], (3, 2, 0, 1)))
        labels = arrays["y"].astype(np.int64).squeeze(1)
    except Exception as error:  # as above
        raise _Damaged(f"{path} cannot be read as SVHN's images and labels") from error
    return x, labels % 10  # the file writes the digit 0 as 10


_SVHN_MD5 = {
    "train": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test": "eb5a983be6a315427106f1b164d9cef3",
}

_READERS: dict[str, Read] = {
    "mnist": _idx_reader("mnist"),
    "fashion-mnist": _idx_reader("fashion-mnist"),
    "usps": _read_usps,
    "svhn": _read_svhn,
    "cifar10": _read_cifar10,
}


# --- toys: points in the plane with a known density -----------------------------------------------


class Toy(ABC):
    """A distribution on the plane with named modes.

    Attributes:
        name: as given to `toy`.
        num_modes: how many modes it has; a draw's label is the mode it came from.
        centres: (K, 2) float64 centres of the modes, or None where modes are curves.
    """

    name: str
    num_modes: int
    centres: Tensor | None

    @abstractmethod
    def sample_with_modes(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n independent draws (n, 2) float32 and the index of the mode of each (n,) int64."""

    @abstractmethod
    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) in nats: x (n, 2) -> (n,), computed in the dtype of x. -inf off the support."""

    @abstractmethod
    def mode_of(self, x: Tensor) -> Tensor:
        """Mode that each point is near enough to belong to, else -1: (n, 2) -> (n,) int64."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n independent draws: (n, 2) float32."""
        if n < 1:
            raise UnigenError(f"n is {n}, but a sample needs at least one point: raise n.")
        return self.sample_with_modes(n, generator or torch.default_generator)[0]


@dataclass(frozen=True)
class GaussianMixture(Toy):
    """K round Gaussians of equal weight: p(x) = (1/K) sum_k N(x; c_k, sd^2 I)."""

    name: str
    centres: Tensor
    sd: float

    @property
    def num_modes(self) -> int:  # type: ignore[override]
        return len(self.centres)

    def sample_with_modes(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        modes = torch.randint(self.num_modes, (n,), generator=generator)
        noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return (self.centres[modes] + self.sd * noise).float(), modes

    def _squared_distances(self, x: Tensor) -> Tensor:
        return (x[:, None, :] - self.centres.to(x)).square().sum(-1)

    def log_density(self, x: Tensor) -> Tensor:
        log_norm = math.log(2.0 * math.pi * self.sd**2) + math.log(self.num_modes)
        scaled = self._squared_distances(x) / (2.0 * self.sd**2)
        return torch.logsumexp(-scaled, 1) - log_norm

    def mode_of(self, x: Tensor) -> Tensor:
        """Nearest centre if it is within three standard deviations, else -1.

        In the plane a Gaussian puts 1 - exp(-9/2) = 98.9 % of its mass there.
        """
        squared, nearest = self._squared_distances(x).min(1)
        return torch.where(squared <= (3.0 * self.sd) ** 2, nearest, -1)


@dataclass(frozen=True)
class Moons(Toy):
    """Two interleaved half circles of radius 1, blurred by Gaussian noise of deviation `sd`.

    A draw: choose an arc, an angle t ~ U(0, pi), then add N(0, sd^2 I). The density is therefore
    the average over t of a Gaussian around the arc's point. Its integrand is an entire function of
    t, so Gauss-Legendre quadrature converges faster than any power: for sd >= 0.1 and `nodes` = 256
    it is exact to rounding (float64) within ten radii of the origin.
    """

    name: str = "moons"
    sd: float = 0.1
    nodes: int = 256
    num_modes = 2
    centres = None

    @staticmethod
    def _arcs(t: Tensor) -> Tensor:
        """Points of both arcs at angle t: (T,) -> (2, T, 2), centred on the origin."""
        upper = torch.stack((t.cos() - 0.5, t.sin() - 0.25), -1)
        return torch.stack((upper, -upper))  # the second arc is the first, turned by half a circle

    def sample_with_modes(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        modes = torch.randint(2, (n,), generator=generator)
        t = math.pi * torch.rand(n, generator=generator, dtype=torch.float64)
        noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return (self._arcs(t)[modes, torch.arange(n)] + self.sd * noise).float(), modes

    def log_density(self, x: Tensor) -> Tensor:
        node, weight = np.polynomial.legendre.leggauss(self.nodes)
        t = torch.from_numpy(math.pi * (node + 1.0) / 2.0)
        # The weights of [-1, 1] sum to 2, and each arc is chosen with probability 1/2.
        log_weight = torch.from_numpy(np.log(weight / 4.0)).repeat(2).to(x)
        across, up = self._arcs(t).reshape(-1, 2).T.to(x)
        log_norm = math.log(2.0 * math.pi * self.sd**2)
        parts = []
        for some in torch.split(x, 4096):  # 4096 x 512 distances at a time
            squared = (some[:, :1] - across).square() + (some[:, 1:] - up).square()
            parts.append(torch.logsumexp(log_weight - squared / (2.0 * self.sd**2), 1) - log_norm)
        return torch.cat(parts)

    def mode_of(self, x: Tensor) -> Tensor:
        """Nearer arc if it is within three standard deviations, else -1."""
        distances = []
        for sign in (1.0, -1.0):
            u = sign * x - x.new_tensor((-0.5, -0.25))  # now the arc is the upper half unit circle
            on_side = u[:, 1] >= 0
            to_circle = (u.norm(dim=1) - 1.0).abs()
            to_end = torch.minimum((u - u.new_tensor((1.0, 0.0))).norm(dim=1),
                                   (u + u.new_tensor((1.0, 0.0))).norm(dim=1))  # fmt: skip
            distances.append(torch.where(on_side, to_circle, to_end))
        distance, nearest = torch.stack(distances, 1).min(1)
        return torch.where(distance <= 3.0 * self.sd, nearest, -1)


@dataclass(frozen=True)
class Checkerboard(Toy):
    """Uniform on the eight dark squares of a 4x4 board on [-2, 2]^2: log p = -log 8 on them."""

    name: str = "checkerboard"
    num_modes = 8

    @property
    def centres(self) -> Tensor:  # type: ignore[override]
        """(8, 2) centres of the dark squares, row by row from the bottom."""
        return torch.tensor(
            [(column - 1.5, row - 1.5) for row in range(4) for column in range(4)
             if (row + column) % 2 == 0],
            dtype=torch.float64,
        )  # fmt: skip

    def sample_with_modes(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        modes = torch.randint(8, (n,), generator=generator)
        within = torch.rand(n, 2, generator=generator) - 0.5
        return self.centres[modes].float() + within, modes

    def log_density(self, x: Tensor) -> Tensor:
        return torch.where(self.mode_of(x) >= 0, -math.log(8.0), -math.inf).to(x.dtype)

    def mode_of(self, x: Tensor) -> Tensor:
        """The dark square that holds the point, -1 on light squares and outside."""
        inside = ((x - self.centres.to(x)[:, None]).abs() <= 0.5).all(-1)  # (8, n)
        return torch.where(inside.any(0), inside.to(torch.int64).argmax(0), -1)


def _ring(modes: int = 8, radius: float = 2.0, sd: float = 0.1) -> Toy:
    angle = 2.0 * math.pi * torch.arange(modes, dtype=torch.float64) / modes
    return GaussianMixture("ring", radius * torch.stack((angle.cos(), angle.sin()), 1), sd)


def _grid(side: int = 5, spacing: float = 1.0, sd: float = 0.05) -> Toy:
    line = spacing * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2)
    return GaussianMixture("grid", torch.cartesian_prod(line, line), sd)


_TOYS: dict[str, Callable[..., Toy]] = {
    "ring": _ring,
    "grid": _grid,
    "moons": Moons,
    "checkerboard": Checkerboard,
}


def toy_names() -> list[str]:
    """Names that `toy` knows."""
    return list(_TOYS)


def toy(name: str, **options: Any) -> Toy:
    """A toy distribution by name, with its density.

    ring(modes=8, radius=2.0, sd=0.1), grid(side=5, spacing=1.0, sd=0.05), moons(sd=0.1),
    checkerboard(). All lie within about three units of the origin.

    Raises:
        UnigenError: unknown name or option.
    """
    if name not in _TOYS:
        raise UnigenError(_unknown(name, toy_names(), "toy"))
    try:
        return _TOYS[name](**options)
    except TypeError as error:
        raise UnigenError(f"The toy '{name}' has no such option ({error}): see `toy`.") from error
