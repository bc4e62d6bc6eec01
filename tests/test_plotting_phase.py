"""The phase diagram's picture: what is drawn where, in which colours, with which lines."""

import io
import subprocess
import sys

import numpy as np
import pytest

from spikedrf import GradientStep, theory
from spikedrf.plotting import PhaseDiagramDisplay
from spikedrf.theory import PhaseDiagram

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib.colors import LogNorm  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

ETA, ALPHA0 = np.geomspace(0.1, 10.0, 9), np.geomspace(0.5, 50.0, 7)
CASE = {"alpha": 2.0, "lam": 0.1, "target": "sin"}


def diagram_of(value, x=ETA, y=ALPHA0, *, value_name="test_error", success=None, **names):
    """A diagram with these values."""
    value = np.asarray(value, dtype=float)
    success = np.ones(value.shape, dtype=bool) if success is None else np.asarray(success)
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    names = {"x_name": "eta", "y_name": "alpha0"} | names
    return PhaseDiagram(
        **names, x=x, y=y, value_name=value_name, value=value, success=success,
        status=np.where(success, 0, 1).astype(np.int32),
    )  # fmt: skip


def test_every_cell_has_the_colour_of_its_value():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    value = np.random.default_rng(0).uniform(1.0, 100.0, (7, 9))
    display = PhaseDiagramDisplay(diagram_of(value)).plot()
    display.contours_.remove()
    for text in list(display.ax_.texts):
        text.remove()
    canvas = FigureCanvasAgg(display.figure_)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba()) / 255
    for i, y in enumerate(ALPHA0):
        for j, x in enumerate(ETA):
            column, row = display.ax_.transData.transform((x, y))
            drawn = image[len(image) - 1 - round(row), round(column)]
            expected = display.mesh_.cmap(display.mesh_.norm(value[i, j]))
            np.testing.assert_allclose(drawn, expected, atol=2 / 255)


def test_from_theory():
    display = PhaseDiagramDisplay.from_theory(eta=ETA, alpha0=ALPHA0, **CASE)
    expected = theory.phase_diagram(eta=ETA, alpha0=ALPHA0, **CASE)
    np.testing.assert_array_equal(display.diagram.value, expected.value)
    np.testing.assert_array_equal(display.mesh_.get_array(), expected.value)
    ax = display.ax_
    assert ax.get_xlabel() == r"size of the step, $\eta$"
    assert ax.get_ylabel() == r"samples of the step over dimension, $\alpha_0 = n_0/d$"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert display.colorbar_.ax.get_ylabel() == "test error"


def test_contours_are_labelled_and_where_the_value_is():
    y, x = np.meshgrid(ALPHA0, ETA, indexing="ij")
    display = PhaseDiagramDisplay(diagram_of(x * y)).plot()
    levels = display.contours_.levels
    assert 4 <= len(levels) <= 10
    drawn = {float(text.get_text()) for text in display.ax_.texts}
    assert drawn
    assert drawn <= set(levels)
    assert set(levels) <= set(display.colorbar_.get_ticks())
    for level, path in zip(levels, display.contours_.get_paths(), strict=True):
        points = path.vertices
        # Between grid points the contours of x y are straight in x and y, the product is not.
        np.testing.assert_allclose(points[:, 0] * points[:, 1], level, rtol=0.3)


def test_gains_diverge_from_one():
    gain = np.geomspace(0.5, 8.0, 63).reshape(7, 9)
    display = PhaseDiagramDisplay(diagram_of(gain, value_name="gain")).plot()
    norm, colours = display.mesh_.norm, display.mesh_.cmap
    assert isinstance(norm, LogNorm)
    assert norm(1.0) == pytest.approx(0.5)
    assert norm(2.0) - 0.5 == pytest.approx(0.5 - norm(0.5))
    assert (norm.vmin, norm.vmax) == (pytest.approx(1 / 8), pytest.approx(8.0))
    red, _, blue, _ = colours(norm(0.3))
    assert red > blue
    red, _, blue, _ = colours(norm(4.0))
    assert blue > red
    widths = dict(zip(display.contours_.levels, display.contours_.get_linewidths(), strict=True))
    assert widths[1.0] > max(width for level, width in widths.items() if level != 1.0)


def test_lightness_grows_with_the_error():
    """What tells them apart in grey print."""
    display = PhaseDiagramDisplay(diagram_of(np.geomspace(0.01, 1.0, 63).reshape(7, 9))).plot()
    rgb = display.mesh_.cmap(display.mesh_.norm(np.geomspace(0.01, 1.0, 50)))[:, :3]
    lightness = rgb @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()
    assert lightness[-1] - lightness[0] > 0.5


@pytest.mark.parametrize(
    ("x", "scale"),
    [
        (np.linspace(1.0, 10.0, 9), "linear"),
        (np.geomspace(1.0, 10.0, 9), "log"),
        (np.geomspace(1.0, 1.1, 9), "log"),
        (np.linspace(0.0, 1.0, 9), "linear"),
        (np.linspace(-1.0, 1.0, 9), "linear"),
    ],
)
def test_axes_are_logarithmic_where_the_grid_is_geometric(x, scale):
    display = PhaseDiagramDisplay(diagram_of(np.ones((7, 9)), x)).plot()
    assert display.ax_.get_xscale() == scale
    low, high = display.ax_.get_xlim()
    assert low < x[0] < x[-1] < high
    if scale == "log":
        assert low > 0


def test_unsorted_axes():
    value = np.arange(6.0).reshape(2, 3) + 1
    display = PhaseDiagramDisplay(diagram_of(value, [3.0, 1.0, 2.0], [5.0, 4.0])).plot()
    np.testing.assert_array_equal(display.mesh_.get_array(), [[5, 6, 4], [2, 3, 1]])


@pytest.mark.parametrize(
    "value",
    [
        np.full((7, 9), 0.3),
        np.zeros((7, 9)),
        np.full((7, 9), np.nan),
        np.full((7, 9), np.inf),
        np.where(np.eye(7, 9), np.nan, np.linspace(0, 1, 63).reshape(7, 9)),
        np.linspace(-1, 1, 63).reshape(7, 9),
    ],
    ids=["constant", "zero", "nan", "inf", "holes", "signs"],
)
@pytest.mark.parametrize("value_name", ["test_error", "gain"])
def test_odd_values_can_be_drawn(value, value_name):
    display = PhaseDiagramDisplay(diagram_of(value, value_name=value_name)).plot()
    display.figure_.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5), (5, 1), (2, 2)])
def test_narrow_diagrams(width, height):
    value = np.arange(1.0, 1 + width * height).reshape(height, width)
    success = np.ones((height, width), dtype=bool)
    success[0, 0] = False
    display = PhaseDiagramDisplay(
        diagram_of(value, np.arange(1.0, 1 + width), np.arange(1.0, 1 + height), success=success)
    ).plot()
    display.figure_.savefig(io.BytesIO(), format="png")


def test_points_that_did_not_converge_are_hatched():
    success = np.ones((7, 9), dtype=bool)
    display = PhaseDiagramDisplay(diagram_of(np.ones((7, 9)), success=success)).plot()
    assert display.ax_.get_legend() is None
    success[2:4, 3:6] = False
    display = PhaseDiagramDisplay(diagram_of(np.ones((7, 9)), success=success)).plot()
    (text,) = display.ax_.get_legend().get_texts()
    assert "not converged" in text.get_text()
    hatched = [c for c in display.ax_.collections if any(getattr(c, "hatches", []))]
    assert len(hatched) == 1


def test_nothing_is_cut_off():
    display = PhaseDiagramDisplay.from_theory(eta=ETA, alpha0=ALPHA0, value="gain", **CASE)
    display.plot(title="tanh on sin, $\\alpha = 2$,\n$\\beta = 1$")
    display.figure_.draw_without_rendering()
    page = display.figure_.bbox
    ax = display.ax_
    texts = [ax.xaxis.label, ax.yaxis.label, display.colorbar_.ax.yaxis.label, ax._left_title]
    for artist in texts:
        box = artist.get_window_extent()
        assert page.x0 <= box.x0 <= box.x1 <= page.x1
        assert page.y0 <= box.y0 <= box.y1 <= page.y1


def test_draws_on_given_axes():
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    display = PhaseDiagramDisplay.from_theory(eta=ETA, alpha0=ALPHA0, ax=right, **CASE)
    assert display.ax_ is right
    assert display.figure_ is figure
    assert not left.collections
    assert display.plot(ax=left) is display
    figure.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize(
    ("suffix", "head", "most"),
    [("png", b"\x89PNG", 1e5), ("svg", b"<?xml", 3e5), ("pdf", b"%PDF", 1e5)],
)
def test_saves(tmp_path, suffix, head, most):
    """Vector graphics hold the colours as one image: their size does not grow with the points."""
    alpha, lam = np.geomspace(0.1, 10.0, 200), np.geomspace(1e-3, 1.0, 200)
    display = PhaseDiagramDisplay.from_theory(
        alpha=alpha, lam=lam, step=GradientStep(3.0, 20.0), target="sin"
    )
    path = tmp_path / f"phase.{suffix}"
    display.figure_.savefig(path)
    content = path.read_bytes()
    assert content.startswith(head)
    assert 5000 < len(content) < most


def test_bad_input():
    value = np.ones((7, 9))
    with pytest.raises(ValueError, match="eta must be finite to be drawn"):
        PhaseDiagramDisplay(diagram_of(value, [*ETA[:-1], np.inf]))
    with pytest.raises(ValueError, match="alpha0 must not hold a value twice"):
        PhaseDiagramDisplay(diagram_of(value, ETA, [*ALPHA0[:-1], ALPHA0[0]]))
    with pytest.raises(TypeError, match="alpha is missing"):
        PhaseDiagramDisplay.from_theory(eta=ETA, alpha0=ALPHA0, lam=0.1)


def test_matplotlib_is_imported_late_and_pyplot_never():
    code = """
import sys
from spikedrf.plotting import PhaseDiagramDisplay
assert "matplotlib" not in sys.modules
display = PhaseDiagramDisplay.from_theory(alpha=[1.0, 2.0, 3.0], lam=[0.1, 0.2])
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'spikedrf\[plot\]'"):
        PhaseDiagramDisplay.from_theory(alpha=[1.0, 2.0], lam=[0.1, 0.2])


def test_optima_on_a_bound_are_grey_and_named():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgba

    value = np.geomspace(0.01, 10.0, 63).reshape(7, 9)
    side = np.zeros(value.shape, dtype=np.int8)
    side[:2, :3], side[5:, 6:] = -1, 1
    value[side == -1], value[side == 1] = 0.0, 1e8
    diagram = diagram_of(value, value_name="lam", side={"lam": side})
    display = PhaseDiagramDisplay(diagram).plot()
    # The colours are those of the others.
    inside = value[side == 0]
    assert isinstance(display.mesh_.norm, LogNorm)
    assert (display.mesh_.norm.vmin, display.mesh_.norm.vmax) == (inside.min(), inside.max())
    np.testing.assert_array_equal(display.mesh_.get_array().mask, side != 0)
    legend = display.ax_.get_legend()
    drawn = {
        text.get_text(): patch.get_facecolor()
        for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)
    }
    assert list(drawn) == ["best: no ridge", "best: the largest ridge"]
    legend.remove()
    display.contours_.remove()
    canvas = FigureCanvasAgg(display.figure_)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba()) / 255
    for (i, j), colour in (((0, 0), drawn["best: no ridge"]), ((6, 8), list(drawn.values())[1])):
        column, row = display.ax_.transData.transform((ETA[j], ALPHA0[i]))
        shown = image[len(image) - 1 - round(row), round(column)]
        np.testing.assert_allclose(shown, to_rgba(colour), atol=2 / 255)
    assert display.colorbar_.ax.get_ylabel() == r"best ridge, $\lambda$"
    # An error at the optimum is a number wherever it is.
    error = diagram_of(np.ones((7, 9)), value_name="test_error", side={"lam": side})
    assert not np.ma.is_masked(PhaseDiagramDisplay(error).plot().mesh_.get_array())
    # All of them on a bound.
    nothing = diagram_of(0 * value, value_name="eta", side={"eta": -np.ones((7, 9), np.int8)})
    legend = PhaseDiagramDisplay(nothing).plot().ax_.get_legend()
    assert legend.get_texts()[0].get_text() == "best: no step, or the least"
