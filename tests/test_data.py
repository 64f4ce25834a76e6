"""Data sets: what is loaded is right, what is damaged is refused, and toys have the density they
claim."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import zlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate

from unigen_edu import data
from unigen_edu.assets import make_mnist_mini
from unigen_edu.data import Dataset
from unigen_edu.errors import UnigenError


def needs(place: str) -> Path:
    """The folder in UNIGEN_DATA, or a skip that says what is missing."""
    folder = os.environ.get("UNIGEN_DATA")
    if not folder or not (Path(folder) / place).exists():
        pytest.skip(f"needs UNIGEN_DATA with {place}")
    return Path(folder)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No UNIGEN_DATA, an empty cache, and every request refused at once. Returns the cache."""

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.delenv("UNIGEN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return data.cache_folder()


# --- Dataset --------------------------------------------------------------------------------------


def test_images_are_scaled_bytes():
    x = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)
    images = Dataset(x).images()
    assert images.dtype == torch.float32
    assert torch.equal(images, torch.arange(256, dtype=torch.float32).view(4, 1, 8, 8) / 255)
    assert x.flatten()[5] == 5  # the bytes themselves are untouched


def test_images_by_index_slice_list_and_tensor_agree():
    mini = data.load("mnist-mini", "test")
    expected = mini.x[[3, 4, 5]].float() / 255
    for idx in (slice(3, 6), [3, 4, 5], torch.tensor([3, 4, 5])):
        assert torch.equal(mini.images(idx), expected)


def test_subset_keeps_samples_and_labels_together():
    mini = data.load("mnist-mini", "test")
    some = mini.subset([7, 0, 7])
    assert torch.equal(some.x, mini.x[[7, 0, 7]])
    assert some.labels.tolist() == [7, 0, 7]
    assert (some.name, some.split, some.num_classes, len(some)) == ("mnist-mini", "test", 10, 3)
    assert mini.subset(slice(0, 4)).labels.tolist() == [0, 1, 2, 3]


def test_binarised_is_fixed_by_its_seed_and_leaves_the_global_state_alone():
    mini = data.load("mnist-mini", "test")
    before = torch.get_rng_state()
    a, b, c = mini.binarised(1), mini.binarised(1), mini.binarised(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.x, b.x)
    assert not torch.equal(a.x, c.x)
    assert set(a.images().unique().tolist()) == {0.0, 1.0}
    assert torch.equal(a.labels, mini.labels)


def test_binarised_pixels_are_white_with_the_probability_of_their_grey_level():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    n = 4000
    share = Dataset(levels.repeat(n, 1, 1, 1)).binarised(0).images().double().mean(0).flatten()
    p = torch.arange(256, dtype=torch.float64) / 255
    z = (share - p) / (p * (1 - p) / n).sqrt().clamp(min=1e-12)
    assert share[0] == 0  # black stays black
    assert share[255] == 1  # and white stays white
    assert z.abs().max() < 4.5  # 256 binomial shares
    assert z.square().sum() < 254 + 5 * math.sqrt(2 * 254)


def test_fingerprint_names_the_samples():
    mini = data.load("mnist-mini", "test")
    assert mini.fingerprint.startswith("mnist-mini:test:2000:")
    assert mini.fingerprint == data.load("mnist-mini", "test").fingerprint
    assert mini.fingerprint != data.load("mnist-mini", "train").fingerprint
    assert mini.fingerprint != mini.binarised(0).fingerprint
    changed = Dataset(mini.x, mini.labels.roll(1), name="mnist-mini", split="test")
    assert mini.fingerprint != changed.fingerprint


def test_to_moves_samples_and_labels():
    moved = data.load("mnist-mini", "test").to("meta")
    assert moved.x.device.type == moved.labels.device.type == "meta"
    mini = data.load("mnist-mini", "test")
    assert mini.to("cpu") is mini


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dataset(torch.zeros(3, 1, 28, 28)), "uint8 images"),
        (lambda: Dataset(torch.zeros(0, 2)), "uint8 images"),
        (lambda: Dataset(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64)), "3 labels"),
        (lambda: data.load("ring").binarised(0), "no grey levels"),
        (lambda: data.load("mnist-mini", "validation"), "'train' or 'test'"),
        (lambda: data.load("mnsit"), "did you mean 'mnist'.*mnist-mini, mnist, fashion-mnist"),
        (lambda: data.load("imagenet"), "choose one of: mnist-mini"),
        (lambda: data.load("mnist-mini", device="abacus"), "device 'abacus'"),
        (lambda: data.load("mnist-mini", size=64), "28 or 32"),
        (lambda: data.load("ring", n=0), "at least one"),
        (lambda: data.toy("rign"), "did you mean 'ring'"),
        (lambda: data.toy("ring", colour=1), "no such option"),
    ],
)
def test_bad_input_is_one_sentence(make, message):
    with pytest.raises(UnigenError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_import_is_light():
    code = (
        "import sys; from unigen_edu import data; data.load('mnist-mini'); "
        "print([m for m in ('torchvision', 'torchmetrics', 'scipy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# --- mnist-mini -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "per_class"), [("train", 1000), ("test", 200)])
def test_mini_is_stratified_and_interleaved(split, per_class):
    mini = data.load("mnist-mini", split)
    assert mini.shape == (1, 28, 28)
    assert mini.x.dtype == torch.uint8
    assert mini.labels.tolist() == list(range(10)) * per_class
    assert len(mini.x.flatten(1).unique(dim=0)) == len(mini)  # no image twice


def test_mini_looks_like_mnist():
    # Mean and deviation of the pixels of MNIST's 60,000 images are .1307 and .3081. Evenly spaced
    # images come close; the standard error of the mean is about .0004.
    images = data.load("mnist-mini", "train").images()
    assert images.mean().item() == pytest.approx(0.1307, abs=0.002)
    assert images.std().item() == pytest.approx(0.3081, abs=0.002)


def test_mini_is_small():
    assert len(data._mini_bytes()) < 2_100_000


def test_damaged_mini_is_refused(monkeypatch):
    content = bytearray(data._mini_bytes())
    content[len(content) // 2] ^= 1
    monkeypatch.setattr(data, "_mini_bytes", lambda: bytes(content))
    with pytest.raises(UnigenError, match="damaged"):
        data.load("mnist-mini")


def test_mini_is_rebuilt_from_mnist_to_the_byte():
    root = needs("MNIST/raw")
    arrays = make_mnist_mini.arrays_from(root)
    assert make_mnist_mini.content_sha256(arrays) == make_mnist_mini.CONTENT_SHA256
    if zlib.ZLIB_RUNTIME_VERSION == make_mnist_mini.ZLIB_VERSION:  # else: same arrays, other bytes
        assert make_mnist_mini.archive(arrays) == data._mini_bytes()


def test_chosen_positions_are_evenly_spaced_and_so_is_every_prefix():
    labels = np.arange(60_000) % 10
    at = make_mnist_mini.chosen(labels, 1000, make_mnist_mini.STRIDE["train"])
    assert np.array_equal(labels[at], np.arange(10_000) % 10)
    assert set(np.diff(np.sort(at[::10]))) == {60}  # every sixth image of a class
    for count in (10, 50, 200):  # images of class 0 in a prefix
        gaps = np.diff(np.sort(at[: 10 * count : 10]), prepend=0, append=60_000)
        assert gaps.max() < 2.7 * 60_000 / count


# --- files ----------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def tiny_mnist(monkeypatch, tmp_path):
    """A folder with 20 training images in MNIST's format, known to the loader by their MD5 sums."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (20, 28, 28)), np.arange(20) % 10
    folder = tmp_path / "files"
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    sums = {}
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        (raw / name).write_bytes(idx(array))
        sums[name] = hashlib.md5(idx(array)).hexdigest()
    monkeypatch.setitem(data._IDX_MD5, "mnist", sums)
    monkeypatch.setitem(data.SOURCES["mnist"].count, "train", 20)
    return folder, images, labels


def test_idx_files_are_read_plain_and_gzipped(tiny_mnist):
    folder, images, labels = tiny_mnist
    for _ in range(2):
        found = data.load("mnist", root=folder, download=False)
        assert np.array_equal(found.x[:, 0].numpy(), images)
        assert found.labels.tolist() == labels.tolist()
        for path in (folder / "MNIST" / "raw").glob("*-ubyte"):  # now the same, gzipped
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()


def test_the_folder_may_come_from_the_environment(tiny_mnist, monkeypatch):
    folder, images, _ = tiny_mnist
    monkeypatch.setenv("UNIGEN_DATA", str(folder))
    assert len(data.load("mnist", download=False)) == len(images)


def shorten(content: bytes) -> bytes:
    return content[:-1]


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes((content[-1] ^ 1,))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shorten, "announces 15680 bytes of data, but holds 15679"),
        (flip, "MD5 differs"),
        (lambda content: b"<!DOCTYPE html><html>404</html>", "does not begin like an IDX file"),
        (lambda content: b"", "does not begin like an IDX file"),
        (lambda content: content[:9], "does not begin like an IDX file"),
    ],
)
def test_damaged_idx_file_is_refused_even_with_a_network(tiny_mnist, damage, message):
    folder, _, _ = tiny_mnist
    path = folder / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnigenError, match=message) as caught:
        data.load("mnist", root=folder)
    assert str(path) in str(caught.value)
    assert "delete the file" in str(caught.value)


def test_damaged_gzip_is_refused(tiny_mnist):
    folder, _, _ = tiny_mnist
    path = folder / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:-20])
    path.unlink()
    with pytest.raises(UnigenError, match="cut short"):
        data.load("mnist", root=folder)


def test_unverified_copy_carries_its_name_and_must_still_have_the_right_size(tiny_mnist):
    folder, _, _ = tiny_mnist
    path = folder / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(flip(path.read_bytes()))
    assert data.load("mnist", root=folder, verify=False).name == "mnist-unverified"
    path.write_bytes(idx(np.zeros((19, 28, 28))))
    with pytest.raises(UnigenError, match="should be 20 images"):
        data.load("mnist", root=folder, verify=False)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "usps", "svhn", "cifar10"])
def test_no_file_and_no_network_names_both_ways_out(name, no_network):
    with pytest.raises(UnigenError) as caught:
        data.load(name)
    message = str(caught.value)
    assert "UNIGEN_DATA" in message
    assert "connect to the network" in message
    assert str(no_network) in message
    assert "\n" not in message


def test_download_switched_off_asks_no_server(monkeypatch, tmp_path):
    monkeypatch.delenv("UNIGEN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(data, "_download", lambda *_: pytest.fail("a download was tried"))
    with pytest.raises(UnigenError, match="switched off"):
        data.load("mnist", download=False)


def test_download_goes_to_the_cache_and_is_checked(tiny_mnist, monkeypatch, tmp_path):
    from torchvision import datasets

    folder, images, _ = tiny_mnist
    raw = folder / "MNIST" / "raw"
    archives = []
    for path in sorted(raw.glob("*-ubyte")):
        archive = raw / f"{path.name}.gz"
        archive.write_bytes(gzip.compress(path.read_bytes()))
        archives.append((archive.name, hashlib.md5(archive.read_bytes()).hexdigest()))
    for name, md5 in list(archives):  # torchvision wants all four files; two will do for a test
        twin = name.replace("train", "t10k")
        shutil.copy(raw / name, raw / twin)
        archives.append((twin, md5))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(raw)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
        monkeypatch.setattr(datasets.MNIST, "resources", archives)
        monkeypatch.delenv("UNIGEN_DATA", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        found = data.load("mnist")
    finally:
        server.shutdown()
        server.server_close()
    assert np.array_equal(found.x[:, 0].numpy(), images)
    assert (data.cache_folder() / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file()
    assert torch.equal(data.load("mnist", download=False).x, found.x)  # now without the server


def usps_lines(labels: list[int], rng: np.random.Generator) -> tuple[np.ndarray, bytes]:
    values = np.round(rng.uniform(-1, 1, (len(labels), 256)), 3)
    rows = (
        f"{label + 1} " + " ".join(f"{i}:{v:g}" for i, v in enumerate(row, 1))
        for label, row in zip(labels, values, strict=True)
    )
    return values, "\n".join(rows).encode() + b"\n"


def test_usps_text_is_decoded(monkeypatch, tmp_path):
    monkeypatch.setitem(data.SOURCES["usps"].count, "test", 20)
    values, text = usps_lines(list(range(10)) * 2, np.random.default_rng(1))
    (tmp_path / "USPS").mkdir()
    path = tmp_path / "USPS" / "usps.t.bz2"
    path.write_bytes(bz2.compress(text))
    found = data.load("usps", "test", root=tmp_path, download=False)
    assert found.labels.tolist() == list(range(10)) * 2
    grey = (values.reshape(20, 16, 16) + 1) / 2
    assert np.abs(found.images()[:, 0].numpy() - grey).max() <= 1.001 / 255
    for damaged in (bz2.compress(text)[:-30], bz2.compress(text[:-8]), b"", bz2.compress(b"no")):
        path.write_bytes(damaged)
        with pytest.raises(UnigenError):
            data.load("usps", "test", root=tmp_path)


def test_usps_agrees_with_torchvision():
    root = needs("USPS/usps.t.bz2")
    from torchvision.datasets import USPS

    theirs = USPS(root / "USPS", train=False)
    ours = data.load("usps", "test", root=root, download=False)
    assert np.array_equal(ours.x[:, 0].numpy(), theirs.data)
    assert ours.labels.tolist() == theirs.targets


def test_usps_in_28_pixels_is_framed_as_mnist_is(monkeypatch, tmp_path):
    monkeypatch.setitem(data.SOURCES["usps"].count, "test", 10)
    _, text = usps_lines(list(range(10)), np.random.default_rng(2))
    (tmp_path / "USPS").mkdir()
    (tmp_path / "USPS" / "usps.t.bz2").write_bytes(bz2.compress(text))
    small = data.load("usps", "test", root=tmp_path)
    large = data.load("usps", "test", root=tmp_path, size=28)
    assert large.shape == (1, 28, 28)
    frame = large.x.clone()
    frame[..., 4:24, 4:24] = 0
    assert frame.max() == 0
    inner = large.images()[..., 4:24, 4:24].mean((1, 2, 3))
    assert torch.allclose(inner, small.images().mean((1, 2, 3)), atol=0.01)


def test_28_pixels_become_32_by_a_black_margin():
    mini = data.load("mnist-mini", "test")
    large = data.load("mnist-mini", "test", size=32)
    assert large.shape == (1, 32, 32)
    assert torch.equal(large.x[..., 2:30, 2:30], mini.x)
    assert large.x.sum(dtype=torch.int64) == mini.x.sum(dtype=torch.int64)


def test_cifar10_batches_are_checked_and_decoded(monkeypatch, tmp_path):
    monkeypatch.setitem(data.SOURCES["cifar10"].count, "test", 20)
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (20, 3072)).astype(np.uint8)
    place = tmp_path / "cifar-10-batches-py"
    place.mkdir()
    content = pickle.dumps({"data": pixels, "labels": list(range(10)) * 2})
    (place / "test_batch").write_bytes(content)
    with pytest.raises(UnigenError, match="MD5 differs"):
        data.load("cifar10", "test", root=tmp_path)
    found = data.load("cifar10", "test", root=tmp_path, verify=False)
    assert found.name == "cifar10-unverified"
    assert np.array_equal(found.x.numpy(), pixels.reshape(20, 3, 32, 32))
    (place / "test_batch").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnigenError, match="cannot be read"):
        data.load("cifar10", "test", root=tmp_path, verify=False)


def test_svhn_file_is_checked_and_decoded(monkeypatch, tmp_path):
    from scipy.io import savemat

    monkeypatch.setitem(data.SOURCES["svhn"].count, "test", 20)
    images = np.random.default_rng(4).integers(0, 256, (20, 3, 32, 32)).astype(np.uint8)
    digits = np.arange(20) % 10
    path = tmp_path / "SVHN" / "test_32x32.mat"
    path.parent.mkdir()
    written = {"X": images.transpose(2, 3, 1, 0), "y": np.where(digits == 0, 10, digits)[:, None]}
    savemat(path, written)
    with pytest.raises(UnigenError, match="MD5 differs"):
        data.load("svhn", "test", root=tmp_path)
    found = data.load("svhn", "test", root=tmp_path, verify=False)
    assert np.array_equal(found.x.numpy(), images)
    assert found.labels.tolist() == digits.tolist()  # the file's 10 is the digit 0


@pytest.mark.parametrize(
    ("name", "place", "mean"),
    [("mnist", "MNIST/raw", 0.1307), ("fashion-mnist", "FashionMNIST/raw", 0.2860)],
)
def test_full_sets_have_the_published_statistics(name, place, mean):
    root = needs(place)
    train, test = (data.load(name, split, root=root, download=False) for split in ("train", "test"))
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.x.double().mean().item() / 255 == pytest.approx(mean, abs=5e-5)


# --- toys -----------------------------------------------------------------------------------------

SIDE = 4.0


def grid_of(cells: int) -> tuple[torch.Tensor, float]:
    """Midpoints of a fine grid on [-4, 4]^2, and the area of a cell."""
    edge = torch.linspace(-SIDE, SIDE, cells + 1, dtype=torch.float64)
    middle = (edge[:-1] + edge[1:]) / 2
    return torch.cartesian_prod(middle, middle), (2 * SIDE / cells) ** 2


@pytest.mark.parametrize("name", data.toy_names())
def test_density_integrates_to_one(name):
    # Midpoint rule with a step of half a standard deviation: error e^-79 for smooth densities.
    points, area = grid_of(160 if name == "moons" else 320)
    mass = data.toy(name).log_density(points).exp().sum().item() * area
    assert mass == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", data.toy_names())
def test_draws_follow_the_density(name):
    """Chi-squared of counts in 40x40 cells against the density, integrated inside each cell."""
    n, cells, fine = 200_000, 40, 4 if name == "moons" else 8
    made = data.toy(name)
    points, area = grid_of(cells * fine)
    mass = made.log_density(points).exp().view(cells, fine, cells, fine).sum((1, 3)) * area * n
    draws = made.sample(n, torch.Generator().manual_seed(0)).double()
    cell = ((draws + SIDE) / (2 * SIDE) * cells).long()
    assert cell.min() >= 0
    assert cell.max() < cells
    counts = torch.bincount(cell[:, 0] * cells + cell[:, 1], minlength=cells**2)
    counts, mass = counts.double(), mass.flatten()
    large = mass >= 5
    pooled = (counts[~large].sum() - mass[~large].sum()) ** 2 / mass[~large].sum().clamp(min=1)
    chi2 = ((counts - mass)[large] ** 2 / mass[large]).sum() + pooled
    freedom = int(large.sum())
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom)


def moons_log_density_by_quad(point: tuple[float, float], sd: float) -> float:
    """By SciPy's adaptive quadrature, arc by arc; scaled by the largest integrand, as the density
    itself underflows far away."""

    def exponent(t: float, sign: float) -> float:
        across, up = sign * (math.cos(t) - 0.5), sign * (math.sin(t) - 0.25)
        return -((point[0] - across) ** 2 + (point[1] - up) ** 2) / (2 * sd**2)

    angles = np.linspace(0, math.pi, 2001)
    peaks = {sign: max(angles, key=lambda t: exponent(t, sign)) for sign in (1.0, -1.0)}
    top = max(exponent(peak, sign) for sign, peak in peaks.items())
    total = sum(
        integrate.quad(
            lambda t, sign: math.exp(exponent(t, sign) - top),
            *(0, math.pi, (sign,)),
            points=[peak],
            epsabs=1e-13,
            epsrel=1e-12,
            limit=500,
        )[0]
        for sign, peak in peaks.items()
    )
    return math.log(total / (2 * math.pi)) + top - math.log(2 * math.pi * sd**2)


def test_moons_density_equals_adaptive_quadrature():
    points = [(0.5, 0.75), (-0.5, 0.2), (0.0, 0.0), (1.5, 0.25), (-3.0, 2.0), (6.0, -8.0)]
    expected = torch.tensor(
        [moons_log_density_by_quad(p, 0.1) for p in points], dtype=torch.float64
    )
    found = data.toy("moons").log_density(torch.tensor(points, dtype=torch.float64))
    assert torch.allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_mixture_density_equals_torch_distributions(name):
    made = data.toy(name)
    parts = torch.distributions.Independent(torch.distributions.Normal(made.centres, made.sd), 1)
    weights = torch.distributions.Categorical(torch.ones(made.num_modes, dtype=torch.float64))
    reference = torch.distributions.MixtureSameFamily(weights, parts)
    x = 3 * torch.randn(200, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(made.log_density(x), reference.log_prob(x), rtol=1e-12)


def test_toy_geometry():
    ring, grid = data.toy("ring"), data.toy("grid")
    assert torch.allclose(ring.centres.norm(dim=1), torch.full((8,), 2.0, dtype=torch.float64))
    assert sorted(map(tuple, grid.centres.tolist())) == [
        (float(i), float(j)) for i in range(-2, 3) for j in range(-2, 3)
    ]
    # Neighbours are far apart beside their width, so a draw's mode is never in doubt.
    assert torch.pdist(ring.centres).min() > 15 * ring.sd
    assert torch.pdist(grid.centres).min() > 15 * grid.sd
    board = data.toy("checkerboard")
    squares = torch.tensor([(-1.5, -1.5), (-0.5, -1.5), (-0.5, -0.5), (1.5, 1.5), (2.5, 1.5)])
    assert board.mode_of(squares).tolist() == [0, -1, 2, 7, -1]  # dark at the lower left


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("ring", 1 - math.exp(-4.5)),
        ("grid", 1 - math.exp(-4.5)),
        ("checkerboard", 1.0),
    ],
)
def test_modes_of_draws_are_the_modes_they_came_from(name, inside):
    made = data.toy(name)
    n = 20_000
    points, modes = made.sample_with_modes(n, torch.Generator().manual_seed(2))
    found = made.mode_of(points)
    near = found >= 0
    assert torch.equal(found[near], modes[near])
    assert near.double().mean().item() == pytest.approx(inside, abs=5 * math.sqrt(0.012 / n))


def test_modes_of_moons():
    made = data.toy("moons")
    # On the arcs, beyond an end (0.2 and 0.4 below it), and between the arcs.
    points = torch.tensor([(-0.5, 0.75), (0.5, -0.75), (-1.5, -0.45), (-1.5, -0.65), (0.0, 1.2)])
    assert made.mode_of(points).tolist() == [0, 1, 0, -1, -1]
    draws, modes = made.sample_with_modes(20_000, torch.Generator().manual_seed(3))
    assert (made.mode_of(draws) == modes).double().mean() > 0.98


def test_toys_load_as_data_sets():
    train, test = data.load("ring", n=500, seed=3), data.load("ring", "test", n=500, seed=3)
    assert train.shape == (2,)
    assert train.x.dtype == torch.float32
    assert train.num_classes == 8
    assert torch.equal(train.images(slice(0, 5)), train.x[:5])  # points are not rescaled
    assert torch.equal(train.x, data.load("ring", n=500, seed=3).x)
    assert not torch.equal(train.x, test.x)  # splits are independent draws
    assert not torch.equal(train.x, data.load("ring", n=500, seed=4).x)
    nearest = torch.cdist(train.x.double(), data.toy("ring").centres).argmin(1)
    assert torch.equal(nearest, train.labels)


def test_options_change_the_toy():
    assert data.toy("ring", modes=3).num_modes == 3
    assert data.toy("grid", side=3, spacing=2.0).centres.abs().max() == 2.0


def test_data_page_names_every_data_set():
    page = (Path(__file__).parents[1] / "book" / "data.md").read_text()
    for source in data.SOURCES.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{source.name}` |"))
        assert f"{source.count['train']:,} + {source.count['test']:,}" in row
        assert f"{source.shape[1]}×{source.shape[2]}" in row
        assert source.terms.split(" as ")[0] in row.replace("see [its page]", "see its page")
        assert source.place.split("/")[0] in page or source.name == "mnist-mini"
    for name in data.toy_names():
        assert f"| `{name}` |" in page


def test_names_lists_everything_once():
    names = data.names()
    assert len(set(names)) == len(names)
    assert set(names) == {*data.SOURCES, *data.toy_names(), *data.SEQUENCES}
    assert names[:2] == ["mnist-mini", "mnist"]


# ---- combined names ------------------------------------------------------------------------------


def test_two_domains_are_trained_on_different_images_and_tested_on_pairs():
    train = data.load("mnist-mini+mnist-mini/inverted", "train")
    whole = data.load("mnist-mini", "train")
    assert torch.equal(train.x, whole.x[:5000])
    assert torch.equal(train.labels, whole.labels[:5000])
    assert torch.equal(255 - train.other.x, whole.x[5000:])
    # Both domains show every digit about as often.
    assert torch.bincount(whole.labels[5000:]).min() > 400
    assert torch.bincount(train.labels).min() > 400
    assert train.other.labels is None
    test = data.load("mnist-mini+mnist-mini/inverted", "test")
    assert torch.equal(255 - test.other.x, test.x)
    assert torch.equal(test.other.labels, test.labels)


def test_two_domains_are_brought_to_one_number_of_channels():
    test = data.load("mnist-mini+mnist-mini/coloured", "test")
    assert test.shape == test.other.shape == (3, 28, 28)
    assert torch.equal(test.x[:, 0], test.x[:, 2])
    assert not torch.equal(test.other.x[:, 0], test.other.x[:, 2])


def test_two_domains_of_points_are_independent_draws():
    both = data.load("ring+ring", "train", n=100)
    assert not torch.equal(both.x, both.other.x)
    assert both.other.labels is None


def test_a_few_labels_are_as_many_of_each_class():
    train = data.load("mnist-mini+100", "train")
    whole = data.load("mnist-mini", "train")
    assert train.labels is None
    assert torch.equal(train.x, whole.x)
    assert torch.bincount(train.other.labels).tolist() == [10] * 10
    first = (whole.labels == 3).nonzero()[:10, 0]
    assert torch.equal(train.other.x[train.other.labels == 3], whole.x[first])
    assert data.load("mnist-mini+100", "test").labels is not None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist-mini/slant", "no transform 'slant'; did you mean 'slanted'?"),
        ("mnist/slanted/inverted", "no transform 'slanted/inverted'"),
        ("ring/inverted", "holds no images"),
        ("mnist-mini+ring", "two domains must hold samples of one shape"),
        ("mnist-mini+105", "choose a multiple of 10 up to"),
        ("mnist-mini+0", "choose a multiple of 10 up to"),
        ("mnist-mini+100000", "choose a multiple of 10 up to"),
        ("mnist-mini+mnits", "no data set 'mnits'; did you mean 'mnist'?"),
        ("mnist-mini+", "no data set ''"),
    ],
)
def test_a_wrong_combination_is_one_sentence(name, words, tmp_path):
    with pytest.raises(UnigenError, match=re.escape(words)) as caught:
        data.load(name, "train", root=tmp_path, download=False)
    assert "\n" not in str(caught.value)


def test_the_fingerprint_knows_the_other_samples():
    a = data.load("mnist-mini+100").fingerprint
    b = data.load("mnist-mini+200").fingerprint
    assert a.split(":")[0] == "mnist-mini+100"
    assert a.rsplit(":", 1)[1] != b.rsplit(":", 1)[1]


def test_sequences_need_an_alphabet_that_holds_their_tokens():
    tokens = torch.tensor([[0, 1], [2, 1]])
    found = Dataset(tokens, alphabet=("a", "b", "c"))
    assert found.images().dtype == torch.int64
    assert found.text(tokens) == ["ab", "cb"]
    words = Dataset(tokens, alphabet=("two", "", "three"))
    assert words.text(torch.tensor([[0, 2], [0, 1], [1, 2]])) == ["two three", "two", "three"]
    with pytest.raises(UnigenError, match="come with their alphabet"):
        Dataset(tokens)
    with pytest.raises(UnigenError, match="go from 0 to 2, but the alphabet has 2"):
        Dataset(tokens, alphabet=("a", "b"))
    with pytest.raises(UnigenError, match="has no text"):
        data.load("mnist-mini").text(tokens)


@pytest.mark.parametrize("name", ["mnist-mini", "mnist-mini+100", "mnist-mini/slanted"])
def test_data_that_nobody_checked_are_named_so(name):
    assert data.load(name, "test", verify=False).name == f"{name}-unverified"
    assert data.load(name, "test").name == name
    assert data.load("ring+grid", "test", verify=False).name == "ring+grid"
