"""The slider on a page without a kernel, and the same slider with one."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from unigen_edu import plots, widgets
from unigen_edu.errors import UnigenError


def draw(value: float):
    fig, ax = plt.subplots(figsize=(3, 2))
    ax.plot([0, 1], [0, value])
    ax.set_ylim(0, 3)
    return fig


def slider(values=(0.0, 0.5, 3.0), **changes):
    options = {"name": "demo", "label": "slope <a>", "alt": 'Slope "{value:.1f}"', **changes}
    return widgets.slider_figure(draw, values, **options)


class Tags(HTMLParser):
    """Start tags with their attributes, and the text between `output` tags."""

    def __init__(self, source: str):
        super().__init__()
        self.tags: dict[str, list[dict]] = {}
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.setdefault(tag, []).append(dict(attributes))


@pytest.fixture
def page(monkeypatch) -> dict[str, list[dict]]:
    monkeypatch.setenv("UNIGEN_BOOK", "1")
    return Tags(slider(initial=0.5).data).tags


def test_the_page_holds_every_picture_and_shows_the_initial_one(page):
    images = page["img"]
    assert [image["data-value"] for image in images] == ["0", "0.5", "3"]
    assert ["hidden" in image for image in images] == [True, False, True]
    pixels = []
    for image in images:
        head, data = image["src"].split(",")
        assert head == "data:image/png;base64"
        pixels.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")))
    assert not np.array_equal(pixels[0], pixels[2])
    assert plt.get_fignums() == []  # the inline backend would show open figures once more


def test_the_range_is_labelled_and_moves_over_the_frames(page):
    (control,) = page["input"]
    assert (control["type"], control["min"], control["max"]) == ("range", "0", "2")
    assert (control["value"], control["aria-valuetext"]) == ("1", "0.5")
    assert page["label"] == [{"for": control["id"]}]
    assert [image["alt"] for image in page["img"]] == ['Slope "0.0"', 'Slope "0.5"', 'Slope "3.0"']


def test_label_and_alt_text_are_escaped_and_the_page_is_the_same_every_time(monkeypatch):
    monkeypatch.setenv("UNIGEN_BOOK", "1")
    once, again = slider().data, slider().data
    assert once == again
    assert "slope &lt;a&gt;:" in once
    assert "&quot;0.5&quot;" in once


def test_a_frame_is_much_smaller_than_the_full_picture():
    full = io.BytesIO()
    figure = draw(1.0)
    for i, colour in enumerate(plots.COLOURS.values()):
        figure.axes[0].plot([0, 1], [i, 2 - i], ":", color=colour, linewidth=1)
    figure.savefig(full, format="png", dpi=widgets._DPI, bbox_inches="tight")
    small = base64.b64decode(widgets._png(figure).split(",")[1])
    assert len(small) < 0.7 * full.getbuffer().nbytes
    # Small, yet the same picture: no pixel is off by more than a shade.
    a = np.asarray(Image.open(full).convert("RGB"), dtype=int)
    b = np.asarray(Image.open(io.BytesIO(small)).convert("RGB"), dtype=int)
    assert abs(a - b).max() < 16


def test_with_a_kernel_the_pictures_are_drawn_once_when_asked_for(monkeypatch):
    monkeypatch.setattr(widgets, "_kernel_is_live", lambda: True)
    drawn = []

    def draw_and_count(value: float):
        drawn.append(value)
        return draw(value)

    box = widgets.slider_figure(
        draw_and_count, (0.0, 1.0, 2.0), name="demo", label="slope", alt="{value}"
    )
    frame, control = box.children
    assert isinstance(control, ipywidgets.SelectionSlider)
    assert drawn == [0.0]
    first = frame.value
    control.value = 2
    assert frame.value != first
    assert 'alt="2.0"' in frame.value
    control.value = 0
    assert frame.value == first
    assert drawn == [0.0, 2.0]


def test_a_kernel_is_live_in_a_notebook_but_not_in_the_build_of_the_book(monkeypatch):
    from IPython.core import getipython

    assert not widgets._kernel_is_live()  # pytest has none
    monkeypatch.setattr(getipython, "get_ipython", lambda: type("Shell", (), {"kernel": 1})())
    assert widgets._kernel_is_live()
    monkeypatch.setenv("UNIGEN_BOOK", "1")
    assert not widgets._kernel_is_live()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "Two words"}, "lower-case"),
        ({"values": [1.0]}, "2 to 60 different values, but got 1"),
        ({"values": [1.0, 1.0]}, "different"),
        ({"values": range(61)}, "but got 61"),
        ({"initial": 0.7}, "0.7 is not one of the values"),
        ({"label": " "}, "label"),
        ({"alt": "A line"}, "{value}"),
    ],
)
def test_a_slider_that_would_not_work_is_refused(changes, says: str):
    with pytest.raises(UnigenError, match=says):
        slider(**changes)


def test_draw_must_return_a_figure():
    with pytest.raises(UnigenError, match=r"draw\(0\) returned NoneType"):
        widgets.slider_figure(lambda v: None, [0, 1], name="a", label="b", alt="{value}")
