"""Colours stay apart, grids and bands show the numbers given, models are drawn as declared."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyArrowPatch

from unigen_edu import models, plots
from unigen_edu.declarations import Factor, Model, Variable
from unigen_edu.errors import UnigenError

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
SEEN_AS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def linear(colour: str) -> np.ndarray:
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of linear RGB."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ rgb / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(plots.COLOURS, 2)])
def test_colours_differ_in_greyscale_and_for_every_kind_of_eye(one: str, other: str):
    a, b = linear(plots.COLOURS[one]), linear(plots.COLOURS[other])
    assert abs(lab(a)[0] - lab(b)[0]) > 12
    for eye, matrix in SEEN_AS.items():
        distance = np.linalg.norm(lab(np.clip(matrix @ a, 0, 1)) - lab(np.clip(matrix @ b, 0, 1)))
        assert distance > 20, f"{one} and {other} look alike to {eye}"
    assert plots.LINES[one] != plots.LINES[other]


@pytest.mark.parametrize("meaning", ["data", "model", "discriminator", "latent"])
def test_every_colour_stands_out_from_white(meaning: str):
    luminance = linear(plots.COLOURS[meaning]) @ np.array([0.2126, 0.7152, 0.0722])
    assert 1.05 / (luminance + 0.05) >= 3


def test_the_style_is_applied_and_leaves_a_white_panel():
    with plt.rc_context():
        plots.use_style()
        fig, _ = plt.subplots()
        assert fig.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
        first = plt.rcParams["axes.prop_cycle"].by_key()["color"]
        assert first == list(plots.COLOURS.values())


def shown(fig) -> np.ndarray:
    return np.asarray(fig.axes[0].images[0].get_array())


def test_image_grid_puts_each_image_in_its_place():
    images = torch.rand(5, 1, 4, 6)
    canvas = shown(plots.image_grid(images, rows=2))
    assert canvas.shape == (2 * 4 + 2, 3 * 6 + 2 * 2)
    np.testing.assert_array_equal(canvas[6:10, 8:14], images[4, 0])  # row 1, column 1
    assert (canvas[6:10, 16:] == 1).all()  # the sixth place is empty
    assert (canvas[4:6] == 1).all()  # the gap


def test_image_grid_takes_colour_bytes_and_plain_matrices():
    colour = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    canvas = shown(plots.image_grid(colour))
    assert canvas.shape == (12, 12, 3)
    np.testing.assert_allclose(canvas[:5, :5], colour[0].permute(1, 2, 0) / 255)
    assert shown(plots.image_grid(torch.rand(3, 4, 4), cols=3)).shape == (4, 16)


@pytest.mark.parametrize(
    ("images", "options", "says"),
    [
        (torch.rand(0, 1, 4, 4), {}, "shape"),
        (torch.rand(4, 2, 4, 4), {}, "C = 1 or 3"),
        (torch.rand(4, 2), {}, "shape"),
        (torch.rand(4, 1, 4, 4) * 2 - 1, {}, "outside"),
        (torch.full((1, 1, 2, 2), float("nan")), {}, "outside"),
        (torch.rand(5, 1, 4, 4), {"rows": 2, "cols": 2}, "do not fit"),
    ],
)
def test_image_grid_refuses_what_it_cannot_show(images, options, says: str):
    with pytest.raises(UnigenError, match=says):
        plots.image_grid(images, **options)


def test_mean_and_deviation_are_those_of_the_seeds():
    rows = [[0.0, 1.0, 2.0], [2.0, 1.0, 5.0], [4.0, 1.0, 8.0]]
    _, ax = plt.subplots()
    plots.mean_sd(ax, [10, 20, 30], rows, colour="data", label="a")
    line = ax.lines[0]
    np.testing.assert_allclose(line.get_ydata(), [2.0, 1.0, 5.0])
    assert line.get_color() == plots.COLOURS["data"]
    band = ax.collections[0].get_paths()[0].vertices
    at_10 = band[np.isclose(band[:, 0], 10), 1]
    # Standard deviation of a sample: sqrt((4 + 0 + 4) / 2) = 2, and not sqrt(8 / 3).
    assert (at_10.min(), at_10.max()) == (0.0, 4.0)


def test_one_seed_has_no_band_and_unequal_rows_are_refused():
    _, ax = plt.subplots()
    plots.mean_sd(ax, [0, 1], torch.tensor([[1.0, 2.0]]), colour="#123456")
    assert not ax.collections
    with pytest.raises(UnigenError, match="lengths"):
        plots.mean_sd(ax, [0, 1], [[1.0, 2.0], [1.0]], colour="data")
    with pytest.raises(UnigenError, match="3 positions"):
        plots.mean_sd(ax, [0, 1, 2], [[1.0, 2.0]], colour="data")


@pytest.mark.parametrize("name", models.names())
def test_every_model_is_drawn_as_declared(name: str):
    model = models.get(name)
    ax = plots.graphical_model(model).axes[0]
    circles = [p for p in ax.patches if isinstance(p, Circle)]
    assert len(circles) == len(model.variables)
    shaded = sum(c.get_facecolor() != (1.0, 1.0, 1.0, 1.0) for c in circles)
    assert shaded == sum(v.observed for v in model.variables)
    # Circles do not touch: at least two diameters from centre to centre.
    for a, b in itertools.combinations(circles, 2):
        assert np.linalg.norm(np.subtract(a.center, b.center)) >= 4 * a.radius
    arrows = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    assert len(arrows) == 2 * sum(len(f.parents) for f in model.factors)  # a line and a head each
    texts = [t.get_text() for t in ax.texts]
    assert all(f"${f.tex}$" in texts for f in model.factors)
    ax.figure.canvas.draw()  # every label is TeX that matplotlib can set


class Adversarial(Model):
    """Adversarial autoencoder in miniature: the adversary looks at the code, not at the image."""

    name, title, paper, chapter = "demo", "Demo", "none", "none"
    variables = (
        Variable("z", "z", "code", observed=False),
        Variable("x", "x", "image", observed=True),
        Variable("y", "y", "source", observed=True),
    )
    factors = (
        Factor("p(x|z)", "x", ("z",), "generative", "decoder"),
        Factor("q(z|x,y)", "z", ("x", "y"), "inference", "encoder"),
        Factor("q(y|z)", "y", ("z",), "adversarial", None),
    )
    phases = ()


def test_roles_are_told_apart_by_dash_and_head():
    ax = plots.graphical_model(Adversarial).axes[0]
    lines = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    bodies, heads = lines[0::2], lines[1::2]
    assert [body.get_linestyle() == "-" for body in bodies] == [True, False, False, True]
    white = (1.0, 1.0, 1.0, 1.0)
    assert [head.get_facecolor() == white for head in heads] == [False, False, False, True]


def test_a_drawing_is_described_in_words():
    assert plots.describe(Adversarial) == (
        "Graphical model, Demo: z (code, latent), x (image, observed), y (source, observed); "
        "solid arrow from z to x (decoder); dashed arrows from x and y to z (encoder); "
        "arrow with a hollow head from z to y."
    )
