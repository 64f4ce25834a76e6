"""Figures in one style: colours with a fixed meaning, means with their spread, drawn models.

A colour always means the same thing: what comes from the data, from the generative model, from a
discriminator, or is latent. The four differ in lightness, so that they can be told apart in
greyscale and with any common colour-vision deficiency, and `LINES` gives each its own dash.

Figures have a white panel of their own and stay legible on a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch
from torch import Tensor

from unigen_edu.declarations import Factor, Model
from unigen_edu.errors import UnigenError

__all__ = [
    "COLOURS",
    "LINES",
    "describe",
    "graphical_model",
    "image_grid",
    "mean_sd",
    "use_style",
]

COLOURS: dict[str, str] = {
    "data": "#0A2A52",  # navy, the darkest
    "latent": "#6C338F",  # purple
    "model": "#C9460A",  # vermilion
    "discriminator": "#1FA48D",  # green, the lightest; still 3:1 on white
}
LINES: dict[str, Any] = {
    "data": "-",
    "latent": ":",
    "model": "--",
    "discriminator": "-.",
}
_INK = "#222222"
_STYLE: dict[str, Any] = {
    "figure.dpi": 144,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#666666",
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": plt.cycler(color=list(COLOURS.values())),
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "font.size": 10,
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture on every machine
    "mathtext.fontset": "cm",
    "svg.hashsalt": "unigen",
}


def use_style() -> None:
    """Use the book's style for every figure made afterwards in this process."""
    plt.rcParams.update(_STYLE)


def image_grid(images: Tensor, rows: int | None = None, cols: int | None = None) -> Figure:
    """Images side by side, row by row, without gaps that look like pixels.

    Args:
        images: (N, C, H, W) or (N, H, W) with C = 1 or 3; float in [0, 1] or uint8.
        rows, cols: at most one may be left out if N is no multiple; both left out gives a grid
            close to a square. Empty places stay white.

    Raises:
        UnigenError: no images, another shape, values outside [0, 1], or a grid that is too small.
    """
    pixels = images.detach().cpu()
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or len(pixels) == 0:
        raise UnigenError(
            f"The images have shape {tuple(images.shape)}; give (N, C, H, W), N > 0, C = 1 or 3."
        )
    if pixels.dtype == torch.uint8:
        pixels = pixels.float() / 255
    low, high = pixels.min().item(), pixels.max().item()
    if not (low >= 0 and high <= 1):
        raise UnigenError(f"The images have values from {low:g} to {high:g}, outside [0, 1].")
    n, channels, height, width = pixels.shape
    if cols is None:
        cols = math.ceil(math.sqrt(n)) if rows is None else math.ceil(n / rows)
    if rows is None:
        rows = math.ceil(n / cols)
    if rows * cols < n:
        raise UnigenError(f"{n} images do not fit into {rows} rows of {cols}: give more of either.")

    gap = 2
    canvas = torch.ones(rows * (height + gap) - gap, cols * (width + gap) - gap, channels)
    for i, image in enumerate(pixels):
        top, left = (i // cols) * (height + gap), (i % cols) * (width + gap)
        canvas[top : top + height, left : left + width] = image.permute(1, 2, 0)
    inches = 0.55 if max(rows, cols) <= 12 else 6.6 / max(rows, cols)
    fig, ax = plt.subplots(figsize=(inches * cols, inches * rows * height / width))
    ax.imshow(canvas.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_axis_off()
    fig.subplots_adjust(0, 0, 1, 1)
    return fig


def mean_sd(
    ax: Axes,
    x: Sequence[float],
    rows: Sequence[Sequence[float]] | Tensor | np.ndarray,
    *,
    colour: str,
    label: str | None = None,
    **line: Any,
) -> None:
    """Draw the mean over seeds as a line and one standard deviation on each side as a band.

    Args:
        ax: axes to draw on.
        x: (T,) positions, for instance training steps.
        rows: (seeds, T), one row a seed. The deviation is that of a sample (divided by seeds - 1);
            one seed has no band.
        colour: a key of `COLOURS`, or any colour of matplotlib.
        label: name in the legend.
        line: passed on to `Axes.plot`.

    Raises:
        UnigenError: rows of unequal length, or another length than `x`.
    """
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or lengths != {len(x)}:
        raise UnigenError(
            f"There are {len(x)} positions, but the rows have lengths {sorted(lengths)}: give one "
            "row a seed, each as long as the positions."
        )
    values = np.stack([np.asarray(row, dtype=float) for row in rows])
    mean = values.mean(0)
    line.setdefault("linestyle", LINES.get(colour, "-"))
    line["color"] = COLOURS.get(colour, colour)
    ax.plot(x, mean, label=label, **line)
    if len(values) > 1:
        sd = values.std(0, ddof=1)
        ax.fill_between(x, mean - sd, mean + sd, color=line["color"], alpha=0.18, linewidth=0)


# --- Graphical models -----------------------------------------------------------------------------

_ROLE_COLOUR = {"generative": "model", "inference": "latent", "adversarial": "discriminator"}
_RADIUS = 0.3
# Words on a patch of paper, so that no arrow runs through them.
_LABEL: dict[str, Any] = {
    "ha": "center",
    "va": "center",
    "zorder": 6,
    "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.5},
}


def _columns(model: type[Model]) -> dict[str, int]:
    """Column of each variable: after its generative parents; an adversary's verdict comes last."""
    judged = {f.child for f in model.factors if f.role == "adversarial"}
    parents: dict[str, set[str]] = {v.name: set() for v in model.variables}
    for factor in model.factors:
        if factor.role == "generative":
            parents[factor.child] |= set(factor.parents) - judged
    column: dict[str, int] = {}
    left = [v.name for v in model.variables if v.name not in judged]
    while left:
        ready = [name for name in left if parents[name] <= set(column)] or left[:1]
        for name in ready:
            column[name] = max((column[p] + 1 for p in parents[name] if p in column), default=0)
            left.remove(name)
    for factor in model.factors:
        if factor.role == "adversarial":
            after = 1 + max(column[p] for p in factor.parents)
            column[factor.child] = max(after, column.get(factor.child, 0))
    return column


def _positions(model: type[Model]) -> dict[str, tuple[float, float]]:
    """Centre of each variable's circle, in units of the drawing."""
    column = _columns(model)
    position = {}
    for c in sorted(set(column.values())):
        here = [v.name for v in model.variables if column[v.name] == c]
        for i, name in enumerate(here):
            position[name] = (2.2 * c, 1.4 * ((len(here) - 1) / 2 - i))
    return position


def _arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], bend: float, role: str
) -> None:
    colour = COLOURS[_ROLE_COLOUR[role]]
    hollow = role == "adversarial"
    # The line and the head are drawn apart: a dashed line would dash the head's outline too.
    shape: dict[str, Any] = {
        "connectionstyle": f"arc3,rad={bend}",
        "shrinkA": 0,
        "shrinkB": 0,
        "color": colour,
        "linewidth": 1.6,
        "mutation_scale": 16,
    }
    full = FancyArrowPatch(start, end, arrowstyle="-", **shape)
    full.set_linestyle((0, (4, 2.5)) if role == "inference" else "-")
    ax.add_patch(full)
    # The head sits on the last bit of the same curve, a quadratic Bezier with this control point.
    (x0, y0), (x1, y1) = start, end
    control = ((x0 + x1) / 2 + bend * (y1 - y0), (y0 + y1) / 2 - bend * (x1 - x0))
    bit = 0.2 / max(math.dist(control, end), 0.2)
    near = (bit * control[0] + (1 - bit) * x1, bit * control[1] + (1 - bit) * y1)
    head = FancyArrowPatch(near, end, arrowstyle="-|>", **{**shape, "connectionstyle": "arc3"})
    head.set_facecolor("white" if hollow else colour)
    head.set_zorder(3)
    ax.add_patch(head)


def graphical_model(model: Model | type[Model]) -> Figure:
    """The graphical model, drawn from the model's declared variables and factors.

    Solid arrows generate, dashed arrows infer, arrows with a hollow head belong to an adversary.
    Shaded circles are observed. `describe` says the same in words.
    """
    declared = model if isinstance(model, type) else type(model)
    position = _positions(declared)
    arrows = {(p, f.child) for f in declared.factors for p in f.parents}
    bend = {arrow: _bend(position, *arrow, reverse=arrow[::-1] in arrows) for arrow in arrows}
    xs, ys = zip(*position.values(), strict=True)
    # A bent arrow reaches half as far from its chord as its control point.
    rise = max(abs(b) * math.dist(*(position[v] for v in arrow)) / 2 for arrow, b in bend.items())
    low, high = min(ys) - max(0.85, rise + 0.45), max(ys) + max(0.85, rise + 0.45)
    width, height = max(xs) - min(xs) + 2.0, high - low
    # Not inside the context: a notebook's first figure loads the backend, which turns interactive
    # mode on. The context would turn it off again, and no later figure would be shown.
    fig, ax = plt.subplots(figsize=(1.05 * width, 1.05 * height))
    with plt.rc_context(_STYLE):
        ax.set(xlim=(min(xs) - 1.0, max(xs) + 1.0), ylim=(low, high))
        ax.set_aspect("equal")
        ax.set_axis_off()
        labels: list[tuple[float, float]] = []
        for factor in declared.factors:
            for i, parent in enumerate(factor.parents):
                x, y = _factor_arrow(ax, position, factor, parent, bend[parent, factor.child])
                if i == 0:
                    # Two factors may share an arrow: their labels stand one above the other.
                    while any(math.dist((x, y), other) < 0.25 for other in labels):
                        y += 0.25
                    labels.append((x, y))
                    ax.text(x, y, f"${factor.tex}$", fontsize=11, **_LABEL)
            if not factor.parents:
                x, y = position[factor.child]
                ax.text(x, y + _RADIUS + 0.2, f"${factor.tex}$", fontsize=11, **_LABEL)
        for variable in declared.variables:
            x, y = position[variable.name]
            shade = "#D3D3D3" if variable.observed else "white"
            ax.add_patch(Circle((x, y), _RADIUS, facecolor=shade, edgecolor=_INK, lw=1.4, zorder=4))
            ax.text(x, y, f"${variable.tex}$", ha="center", va="center", fontsize=15, zorder=5)
            words = variable.meaning.split(":")[0]
            ax.text(x, y - _RADIUS - 0.17, words, fontsize=8.5, **_LABEL)
        fig.subplots_adjust(0, 0, 1, 1)
    return fig


def _bend(position: dict[str, tuple[float, float]], start: str, end: str, reverse: bool) -> float:
    """Of an arrow, to its left if negative: beside its reverse, and round a circle on its way."""
    (x0, y0), (x1, y1) = position[start], position[end]
    if reverse:
        between = any(y == y0 == y1 and min(x0, x1) < x < max(x0, x1) for x, y in position.values())
        return -0.68 if between else -0.32
    length = math.dist((x0, y0), (x1, y1))
    for name, (x, y) in position.items():
        ahead = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length
        to_left = ((y - y0) * (x1 - x0) - (x - x0) * (y1 - y0)) / length
        if name not in (start, end) and 0 < ahead < length and abs(to_left) < 2 * _RADIUS:
            return 0.24 if to_left > 0 else -0.24
    return 0.0


def _factor_arrow(
    ax: Axes,
    position: dict[str, tuple[float, float]],
    factor: Factor,
    parent: str,
    bend: float,
) -> tuple[float, float]:
    """Draw one arrow; returns where its label belongs."""
    a, b = np.array(position[parent]), np.array(position[factor.child])
    along = (b - a) / np.linalg.norm(b - a)
    side = np.array([-along[1], along[0]]) * (-1 if bend > 0 else 1)  # where it bends to, or left
    # A bent arrow leaves and arrives off the axis, so that both directions stay apart.
    lean = along * math.cos(0.5) + (side * math.sin(0.5) if bend else 0)
    arrive = along * math.cos(0.5) - (side * math.sin(0.5) if bend else 0)
    start = a + _RADIUS * 1.06 * lean / np.linalg.norm(lean)
    end = b - _RADIUS * 1.10 * arrive / np.linalg.norm(arrive)
    _arrow(ax, tuple(start), tuple(end), bend, factor.role)
    top = (start + end) / 2 + side * abs(bend) * np.linalg.norm(end - start) / 2
    x, y = top + 0.2 * side
    return float(x), float(y)


def describe(model: Model | type[Model]) -> str:
    """The drawing of `graphical_model` in words, for its alt text.

    "Graphical model of a ...: x (image, observed), z (noise, latent). Solid arrows from z to x ..."
    """
    declared = model if isinstance(model, type) else type(model)
    seen = (
        f"{v.name} ({v.meaning}, {'observed' if v.observed else 'latent'})"
        for v in declared.variables
    )
    style = {
        "generative": "solid arrow",
        "inference": "dashed arrow",
        "adversarial": "arrow with a hollow head",
    }
    arrows = []
    for factor in declared.factors:
        *first, last = factor.parents
        parents = f"{', '.join(first)} and {last}" if first else last
        plural = "s" if first else ""
        network = f" ({factor.network})" if factor.network else ""
        arrows.append(f"{style[factor.role]}{plural} from {parents} to {factor.child}{network}")
    return f"Graphical model, {declared.title}: {', '.join(seen)}; {'; '.join(arrows)}."
