"""Known maps from one domain of images to another, image by image.

Adversarial adaptation and CycleGAN need two domains. When the second is a known function of the
first, the right answer is known for every image, and what was learned can be measured against it.
Training never sees a pair: `data.load("A+A/slanted")` takes the two domains from different images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from unigen_edu.errors import UnigenError

__all__ = ["SHEAR", "TRANSFORMS", "coloured", "grey_to_rgb", "inverted", "slanted"]

SHEAR = 0.5  # horizontal shift per row, in pixels: a slant of 27 degrees


def inverted(x: Tensor, seed: int = 0) -> Tensor:
    """Black for white: 255 - x, for bytes (N, C, H, W). `seed` is not used."""
    return 255 - x


def slanted(x: Tensor, seed: int = 0) -> Tensor:
    """Every image sheared by `SHEAR` about its centre, as by a hand that leans to the right.

    Bytes (N, C, H, W), bilinear; what leaves the frame is lost and the ground comes in as black.
    `seed` is not used.
    """
    # affine_grid maps places of the result to places of the source, in units of half a side.
    matrix = torch.tensor([[1.0, SHEAR, 0.0], [0.0, 1.0, 0.0]]).expand(len(x), 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    moved = F.grid_sample(x.float(), grid, align_corners=False)
    return moved.round().clamp(0, 255).to(torch.uint8)


def coloured(x: Tensor, seed: int = 0) -> Tensor:
    """The image as a difference from a smooth, dark ground of random colours: |ground - x|.

    In the manner of MNIST-M, whose grounds are cut from photographs; these are 4x4 random colours
    of at most half the brightness, enlarged bilinearly. The digit stays brighter than its ground,
    but neither its colour nor that of the ground says anything about its class.

    Args:
        x: bytes (N, 1, H, W).
        seed: of the grounds; image i has the i-th of them.

    Returns:
        Bytes (N, 3, H, W).

    Raises:
        UnigenError: the images have colours already.
    """
    if x.shape[1] != 1:
        raise UnigenError(
            f"'coloured' paints grey images, but these have {x.shape[1]} channels: "
            "choose a grey data set."
        )
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 128, (len(x), 3, 4, 4), generator=generator, dtype=torch.uint8)
    ground = F.interpolate(corners.float(), size=x.shape[2:], mode="bilinear", align_corners=True)
    return (ground - x.float()).abs().round().to(torch.uint8)


def grey_to_rgb(x: Tensor) -> Tensor:
    """(N, 1, H, W) -> (N, 3, H, W) with three equal channels; colours pass."""
    return x.expand(-1, 3, -1, -1).contiguous() if x.shape[1] == 1 else x


TRANSFORMS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "inverted": inverted,
    "slanted": slanted,
    "coloured": coloured,
}
