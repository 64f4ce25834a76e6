"""Figures with a slider, in a live notebook and on a page without a kernel.

`slider_figure` draws one picture for each value. Where a kernel is running it draws on demand,
under an ipywidgets slider. While the book is being built (`UNIGEN_BOOK` is set) it draws all of
them at once and returns plain HTML: a range input and the pictures. Both move with the keyboard and
have an alt text for each position.
"""

from __future__ import annotations

import base64
import html
import io
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from unigen_edu.errors import UnigenError

__all__ = ["slider_figure"]

_DPI = 120
_MOST_FRAMES = 60

# Shows the frame that the range input names. No library, so it also works from a file on disk.
# Keys must not reach JupyterLab, which has shortcuts of its own on the arrows.
_SCRIPT = """
(function () {{
  var figure = document.getElementById("{id}");
  var frames = figure.querySelectorAll("img"), range = figure.querySelector("input");
  var readout = figure.querySelector("output");
  function show() {{
    frames.forEach(function (frame, i) {{ frame.hidden = i !== Number(range.value); }});
    var value = frames[range.value].dataset.value;
    readout.textContent = value;
    range.setAttribute("aria-valuetext", value);
  }}
  range.addEventListener("input", show);
  range.addEventListener("keydown", function (event) {{ event.stopPropagation(); }});
  show();
}})();
"""


def slider_figure(
    draw: Callable[[float], Figure],
    values: Sequence[float],
    *,
    name: str,
    label: str,
    alt: str,
    initial: float | None = None,
) -> Any:
    """A figure that follows a slider. Leave it as the last expression of a notebook's cell.

    Args:
        draw: makes the figure for one value; the figure is closed here.
        values: at least 2 positions of the slider, in order, each different.
        name: of the figure, unique on its page: lower-case letters, digits and hyphens.
        label: what the slider moves, in words.
        alt: what the picture shows, with `{value}` where the position belongs, for instance
            "Two bumps at distance {value:.1f}".
        initial: position shown first, one of `values`; the first one if left out.

    Returns:
        An ipywidgets box where a kernel is live, otherwise HTML.

    Raises:
        UnigenError: a bad name, too few or too many or equal values, or an alt text that is the
            same for every value.
    """
    positions = [float(value) for value in values]
    _check(positions, name, label, alt, initial)
    start = 0 if initial is None else positions.index(float(initial))
    words = [f"{value:g}" for value in positions]
    alts = [alt.format(value=value) for value in positions]

    def picture(i: int) -> str:
        figure = draw(positions[i])
        if not isinstance(figure, Figure):
            raise UnigenError(
                f"draw({positions[i]:g}) returned {type(figure).__name__}; it must return a Figure."
            )
        return _png(figure)

    if _kernel_is_live():
        return _live(picture, words, alts, label, start)
    from IPython.display import HTML

    return HTML(_page([picture(i) for i in range(len(positions))], words, alts, name, label, start))


def _check(positions: list[float], name: str, label: str, alt: str, initial: float | None) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise UnigenError(f"The name '{name}' must be lower-case letters, digits and hyphens.")
    if not 2 <= len(positions) <= _MOST_FRAMES or len(set(positions)) != len(positions):
        raise UnigenError(
            f"A slider needs 2 to {_MOST_FRAMES} different values, but got {len(positions)}."
        )
    if initial is not None and float(initial) not in positions:
        raise UnigenError(f"The initial value {initial:g} is not one of the values.")
    if not label.strip():
        raise UnigenError("The slider needs a label that says what it moves.")
    if alt.format(value=positions[0]) == alt.format(value=positions[-1]):
        raise UnigenError("The alt text must contain {value}, so that it tells the pictures apart.")


def _kernel_is_live() -> bool:
    """Whether a reader can move a widget: a notebook's kernel, and not the build of the book."""
    if os.environ.get("UNIGEN_BOOK"):
        return False
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")


def _png(figure: Figure) -> str:
    """The figure as a data URI: PNG with at most 256 colours, a third of the full size.

    Line drawings and greyscale images lose nothing that can be seen. The bytes depend on the
    figure alone: no date, no software version.
    """
    full = io.BytesIO()
    figure.savefig(full, format="png", dpi=_DPI, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    full.seek(0)
    small = io.BytesIO()
    # Median cut, Pillow's default, would merge the rare colours of thin lines.
    image = Image.open(full).convert("RGB")
    image = image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(small, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(small.getvalue()).decode("ascii")


def _page(
    pictures: list[str], words: list[str], alts: list[str], name: str, label: str, start: int
) -> str:
    """Plain HTML with every picture in it; without scripts it shows the first position."""
    identity = f"slider-{name}"
    frames = "\n".join(
        f'<img src="{picture}" alt="{html.escape(alt, quote=True)}" data-value="{word}"'
        f' style="max-width: 100%; height: auto;"{"" if i == start else " hidden"}>'
        for i, (picture, word, alt) in enumerate(zip(pictures, words, alts, strict=True))
    )
    return (
        f'<div class="unigen-slider" id="{identity}">\n{frames}\n'
        f'<p><label for="{identity}-range">{html.escape(label)}:</label> '
        f'<output for="{identity}-range">{words[start]}</output></p>\n'
        f'<input type="range" id="{identity}-range" min="0" max="{len(words) - 1}" step="1" '
        f'value="{start}" aria-valuetext="{words[start]}" autocomplete="off" '
        'style="width: 100%;">\n'
        f"<script>{_SCRIPT.format(id=identity)}</script>\n</div>"
    )


def _live(
    picture: Callable[[int], str], words: list[str], alts: list[str], label: str, start: int
) -> Any:
    """An ipywidgets slider over pictures that are drawn once each, when first asked for."""
    import ipywidgets

    drawn: dict[int, str] = {}

    def image(i: int) -> str:
        if i not in drawn:
            drawn[i] = picture(i)
        alt = html.escape(alts[i], quote=True)
        return f'<img src="{drawn[i]}" alt="{alt}" style="max-width: 100%; height: auto;">'

    slider = ipywidgets.SelectionSlider(
        options=[(word, i) for i, word in enumerate(words)],
        value=start,
        description=label,
        style={"description_width": "initial"},
        layout=ipywidgets.Layout(width="100%", max_width="640px"),
    )
    frame = ipywidgets.HTML(image(start))

    def show(change: dict[str, Any]) -> None:
        frame.value = image(change["new"])

    slider.observe(show, names="value")
    return ipywidgets.VBox([frame, slider])
