"""Build mnist_mini.npz from the four files of MNIST: python make_mnist_mini.py --mnist FOLDER

The rule has no random number in it, so anyone can repeat it:

* From each class, in the order of the file, take images at evenly spaced positions: number
  floor(i * n / m) for i = 0, ..., m-1, where the class has n images and m = 1000 (training) or
  200 (test). The first m would not do, because the images of MNIST are not in random order: those
  by one writer stand together, and the halves of the test file come from two groups of writers, of
  which the first is harder to read (results/classifier.json has the errors in each half).
* Write the classes in turn, 0 1 2 ... 9 0 1 2 ..., so that every run of ten images has each class
  once; within a class go round the chosen images with a fixed stride (STRIDE below), so that every
  prefix of the set is again spread evenly over the file.

The archive has fixed dates and order. The same arrays always come out; the same *bytes* come out
wherever zlib compresses as it did here (the script says which version that was).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np

from unigen_edu import data

PER_CLASS = {"train": 1000, "test": 200}

# Prime to PER_CLASS, so the round meets every image; and the continued fraction of stride/per-class
# has no term above 3, so no step count comes back close to where it was and leaves wide gaps.
STRIDE = {"train": 633, "test": 117}
ZLIB_VERSION = "1.2.13"  # of the recorded archive
# Of the arrays, whatever compressed them.
CONTENT_SHA256 = "716d773477632b68fd1a94d67a298710c19dbbb5be5df6993469f6b301c8f2ec"


def chosen(labels: np.ndarray, per_class: int, stride: int) -> np.ndarray:
    """Positions in the file, in the order of mnist-mini: (10 * per_class,) int64."""
    columns = []
    for digit in range(10):
        positions = np.flatnonzero(labels == digit)
        spaced = positions[np.arange(per_class) * len(positions) // per_class]
        columns.append(spaced[np.arange(per_class) * stride % per_class])
    return np.stack(columns, axis=1).reshape(-1)


def arrays_from(mnist: Path) -> dict[str, np.ndarray]:
    """The four arrays: {train,test}_images (N, 28, 28) uint8 and {train,test}_labels (N,) uint8."""
    found: dict[str, np.ndarray] = {}
    for split in ("train", "test"):
        whole = data.load("mnist", split, root=mnist, download=False)  # checks the MD5 sums
        assert whole.labels is not None
        at = chosen(whole.labels.numpy(), PER_CLASS[split], STRIDE[split])
        found[f"{split}_images"] = whole.x[at, 0].numpy()
        found[f"{split}_labels"] = whole.labels[at].numpy().astype(np.uint8)
    return found


def content_sha256(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over names and bytes of the arrays, independent of compression."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def archive(arrays: dict[str, np.ndarray]) -> bytes:
    """The npz file: as `numpy.savez_compressed` writes it, but at zlib's best level and undated."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0))
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # else it names the system that it was made on
            entry.external_attr = 0o644 << 16
            file.writestr(entry, member.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return out.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mnist", type=Path, required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("mnist_mini.npz"))
    given = parser.parse_args()
    arrays = arrays_from(given.mnist)
    content = archive(arrays)
    given.out.write_bytes(content)
    print(f"{given.out}: {len(content)} bytes, zlib {zlib.ZLIB_RUNTIME_VERSION}")
    print(f"archive sha256 {hashlib.sha256(content).hexdigest()}")
    print(f"content sha256 {content_sha256(arrays)}")
    same = content_sha256(arrays) == CONTENT_SHA256
    print(f"The arrays {'are' if same else 'are NOT'} the recorded ones.")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
