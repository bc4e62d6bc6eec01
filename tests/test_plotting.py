"""The learning curve's picture: what the lines hold, and that it can be saved."""

import io
import subprocess
import sys

import numpy as np
import pytest

from spikedrf import GradientStep, Spike, theory
from spikedrf.plotting import LearningCurveDisplay
from spikedrf.theory import best_linear_error

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib.figure import Figure  # noqa: E402

ALPHA = np.geomspace(0.2, 20.0, 7)
MODEL = {"lam": 0.05, "beta": 1.5, "activation": "erf", "target": "sin", "noise": 0.1}
STEP = GradientStep(eta=2.0, alpha0=10.0)


@pytest.fixture
def display():
    return LearningCurveDisplay.from_theory(ALPHA, step=STEP, **MODEL)


def legend_texts(display):
    legends = [*display.figure_.legends, display.ax_.get_legend()]
    return [text.get_text() for legend in legends if legend for text in legend.get_texts()]


def test_lines_hold_the_theory(display):
    without, with_step, linear = display.lines_
    np.testing.assert_array_equal(without.get_xdata(), ALPHA)
    np.testing.assert_array_equal(with_step.get_xdata(), ALPHA)
    expected = theory.solve(ALPHA, **MODEL).test_error
    np.testing.assert_allclose(without.get_ydata(), expected, rtol=1e-12)
    expected = theory.solve(ALPHA, step=STEP, **MODEL).test_error
    np.testing.assert_allclose(with_step.get_ydata(), expected, rtol=1e-12)
    best = (1 - np.exp(-2)) / 2 - np.exp(-1) + 0.01
    np.testing.assert_allclose(linear.get_ydata(), best, rtol=1e-12)


def test_labels(display):
    assert r"$\alpha = n/d$" in display.ax_.get_xlabel()
    assert display.ax_.get_ylabel() == "test error"
    assert legend_texts(display) == [
        "no step (random features)",
        "after one gradient step",
        "best linear function",
    ]
    assert display.ax_.get_xscale() == "log"


def test_curves_can_be_told_apart_without_colour(display):
    assert len({line.get_linestyle() for line in display.lines_}) == 3
    assert len({line.get_color() for line in display.lines_}) == 3


def test_narrow_ranges_have_linear_axes():
    display = LearningCurveDisplay([1.0, 2.0], [0.2, 0.1], [0.4, 0.3]).plot()
    assert display.ax_.get_xscale() == "linear"
    assert display.ax_.get_yscale() == "linear"
    assert len(display.lines_) == 2


def test_the_legend_counts_the_steps():
    display = LearningCurveDisplay.from_theory([0.5, 2.0], step=[STEP, STEP], **MODEL)
    assert display.lines_[1].get_label().startswith("after 2 gradient steps")


def test_signs_are_held_against_the_best_classifier():
    signs = {"loss": "squared_hinge", "labels": "sign", "flip": 0.1}
    alpha = [0.5, 2.0]
    display = LearningCurveDisplay.from_theory(alpha, step=STEP, **signs, **MODEL)
    plain, stepped, best = display.lines_
    for line, step in ((plain, None), (stepped, STEP)):
        expected = theory.solve(alpha, step=step, **signs, **MODEL).test_error
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12)
    np.testing.assert_allclose(best.get_ydata(), theory.bayes_error("sin", 0.1, 0.1), rtol=1e-12)
    assert legend_texts(display)[2] == "best classifier"
    assert display.ax_.get_ylabel() == "rate of wrong signs"


def test_draws_on_given_axes():
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    display = LearningCurveDisplay.from_theory(ALPHA, step=STEP, ax=right, **MODEL)
    assert display.ax_ is right
    assert display.figure_ is figure
    assert len(right.lines) == 3
    assert not left.lines
    assert not figure.legends
    assert display.plot(ax=left) is display
    assert display.ax_ is left
    figure.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize(
    ("suffix", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_saves(display, tmp_path, suffix, head):
    path = tmp_path / f"curve.{suffix}"
    display.figure_.savefig(path)
    content = path.read_bytes()
    assert content.startswith(head)
    assert len(content) > 5000


def test_nothing_is_cut_off():
    display = LearningCurveDisplay(
        [0.1, 1.0, 10.0, np.inf], [1e-3, 1e-2, 1e-4, 1e-4], [5.0, 4.0, 3.0, 2.0], best_linear=0.5
    ).plot(title="tanh on sin, $\\eta = 3$,\n$\\beta = 1$")
    display.figure_.draw_without_rendering()
    page = display.figure_.bbox
    texts = [display.ax_.xaxis.label, display.ax_.yaxis.label, *display.figure_.legends]
    for artist in (*texts, display.ax_.title, display.ax_._left_title):
        box = artist.get_window_extent()
        assert page.x0 <= box.x0 <= box.x1 <= page.x1
        assert page.y0 <= box.y0 <= box.y1 <= page.y1


def test_unsorted_and_infinite_alpha():
    alpha = [3.0, np.inf, 1.0]
    display = LearningCurveDisplay.from_theory(alpha, step=STEP, **MODEL)
    solution = theory.solve(alpha, step=STEP, **MODEL)
    line = display.lines_[1]
    np.testing.assert_array_equal(line.get_xdata(), [1.0, 3.0])
    np.testing.assert_allclose(line.get_ydata(), solution.test_error[[2, 0]], rtol=1e-12)
    edge = [
        line for line in display.ax_.lines if line.get_marker() == "<" and len(line.get_xdata())
    ]
    assert [list(line.get_xdata()) for line in edge] == [[1.0], [1.0]]
    assert edge[1].get_ydata()[0] == pytest.approx(solution.test_error[1], rel=1e-12)
    assert r"at $\alpha = \infty$" in legend_texts(display)
    display.figure_.savefig(io.BytesIO(), format="png")


def test_points_that_did_not_converge_are_crossed():
    display = LearningCurveDisplay(
        [1.0, 2.0, 3.0], [0.3, 0.2, 0.1], [0.6, 0.5, 0.4], success=[True, False, True]
    ).plot()
    crosses = [line for line in display.ax_.lines if line.get_marker() == "x"]
    assert [list(line.get_xydata()[0]) for line in crosses if len(line.get_xdata())] == [[2.0, 0.2]]
    assert "not converged" in legend_texts(display)


def test_points_of_a_simulation():
    points = {
        "with_step": ([0.5, 2.0], [0.1, 0.08], [0.01, 0.02]),
        "without_step": ([0.5], [0.4], None),
    }
    display = LearningCurveDisplay.from_theory(ALPHA, step=STEP, points=points, **MODEL)
    simulated = {c.get_label(): c for c in display.ax_.containers}
    assert set(simulated) == {
        "after one gradient step, simulated",
        "no step (random features), simulated",
    }
    line, _, (bars,) = simulated["after one gradient step, simulated"].lines
    np.testing.assert_array_equal(line.get_xydata(), [[0.5, 0.1], [2.0, 0.08]])
    np.testing.assert_allclose(bars.get_segments()[1][:, 1], [0.06, 0.10])
    assert line.get_color() == display.lines_[1].get_color()
    assert len(legend_texts(display)) == 5
    with pytest.raises(ValueError, match="points may have the keys"):
        display.plot(points={"elsewhere": ([1.0], [1.0], None)})


def test_a_spike_is_a_step_too():
    spike = Spike(r=1.2, c=1.1, gamma=0.8)
    display = LearningCurveDisplay.from_theory([0.5, 1.0], lam=0.1, step=spike)
    expected = theory.solve([0.5, 1.0], lam=0.1, step=spike).test_error
    np.testing.assert_allclose(display.lines_[1].get_ydata(), expected, rtol=1e-12)


def test_bad_input():
    with pytest.raises(TypeError, match="step must be a GradientStep or a Spike, got None"):
        LearningCurveDisplay.from_theory([1.0], lam=0.1, step=None)
    with pytest.raises(ValueError, match="only alpha may vary"):
        LearningCurveDisplay.from_theory([1.0, 2.0], lam=[[0.1], [0.2]], step=STEP)
    with pytest.raises(ValueError, match="alpha must be one-dimensional"):
        LearningCurveDisplay.from_theory(1.0, lam=0.1, step=STEP)
    with pytest.raises(ValueError, match="test_error must have the shape of alpha"):
        LearningCurveDisplay([1.0, 2.0], [0.1], [0.2, 0.3])


@pytest.mark.parametrize(
    ("target", "value"),
    [
        ("identity", 0.0),
        ("hermite2", 1.0),
        ("sign", 1 - 2 / np.pi),
        ("abs", 1 - 2 / np.pi),
        ("relu", 0.25 - 1 / (2 * np.pi)),
        (lambda x: 3.0 + 2.0 * x, 0.0),
    ],
)
def test_best_linear_error(target, value):
    assert best_linear_error(target) == pytest.approx(value, rel=1e-12, abs=1e-15)
    assert best_linear_error(target, 0.5) == pytest.approx(value + 0.25, rel=1e-12)


def test_a_linear_target_has_no_reference_line():
    display = LearningCurveDisplay.from_theory(ALPHA, lam=0.1, target="identity", step=STEP)
    assert len(display.lines_) == 2


def test_matplotlib_is_imported_late_and_pyplot_never():
    code = """
import sys
from spikedrf import GradientStep
from spikedrf.plotting import LearningCurveDisplay
assert "matplotlib" not in sys.modules
display = LearningCurveDisplay.from_theory([1.0], lam=0.1, step=GradientStep(3.0, 20.0))
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
        LearningCurveDisplay.from_theory([1.0], lam=0.1, step=STEP)


def test_learning_curve_takes_a_simulation():
    from spikedrf import simulate

    model = {"lam": 0.1, "target": "sin", "step": GradientStep(2.0, 5.0)}
    run = simulate([0.5, 2.0], d=30, replicates=3, rng=0, **model)
    display = LearningCurveDisplay.from_theory([0.5, 1.0, 2.0], points=run, **model)
    (container,) = display.ax_.containers
    np.testing.assert_allclose(container.lines[0].get_ydata(), run.test_error)
    both = {"without_step": run, "with_step": run}
    assert len(display.plot(points=both).ax_.containers) == 2
    square = simulate([[0.5], [2.0]], d=30, replicates=2, rng=0, **model)
    with pytest.raises(ValueError, match="must vary along alpha alone"):
        display.plot(points=square)


def test_files_have_fonts_that_venues_take():
    step = GradientStep(2.0, 5.0)
    display = LearningCurveDisplay.from_theory([0.5, 1.0, 2.0], lam=0.1, target="sin", step=step)
    pdf, svg = io.BytesIO(), io.StringIO()
    display.figure_.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    assert b"/Type3" not in pdf.getvalue()
    assert b"/CIDFontType2" in pdf.getvalue()
    display.figure_.savefig(svg, format="svg")
    assert "after one gradient step" in svg.getvalue()
    assert "<text" in svg.getvalue()
