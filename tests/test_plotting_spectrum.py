"""The picture of a spectrum: what lines, areas and marks hold."""

import io
import subprocess
import sys

import numpy as np
import pytest

from spikedrf import GradientStep, Spike, simulate_spectrum, theory
from spikedrf.plotting import SpectrumDisplay

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

STEP = GradientStep(3.0, 20.0)
CASE = {"alpha": 2.0, "beta": 0.5, "target": "sin"}


def legend_of(display):
    return [text.get_text() for text in display.figure_.legends[0].get_texts()]


def test_lines_hold_the_theory():
    display = SpectrumDisplay.from_theory(step=STEP, **CASE)
    for line, step in zip(display.lines_, (None, STEP), strict=True):
        x, y = line.get_data()
        spectrum = theory.spectrum(x, step=step, **CASE)
        inside = spectrum.density > 0.0
        np.testing.assert_allclose(y[inside], spectrum.density[inside], rtol=1e-9, atol=1e-12)
        # At its ends the line reaches the axis, and goes no further along it.
        first, last = np.flatnonzero(inside)[[0, -1]]
        assert (y[first - 1], y[last + 1]) == (0.0, 0.0)
        assert np.isfinite(y).sum() == last - first + 3
        tail = next(t for t in display.tail_ax_.lines if t.get_color() == line.get_color())
        np.testing.assert_allclose(
            tail.get_ydata(), 1.0 - spectrum.at(tail.get_xdata()).cumulative, atol=1e-9
        )
    growth = theory.spectrum(1.0, step=STEP, **CASE).growth[0]
    assert legend_of(display) == [
        "no step (random features)",
        f"after one gradient step; isolated at ${growth:.3g}\\,p$",
    ]
    edge = theory.spectrum(1.0, **CASE).edges.max()
    for ax in (display.ax_, display.tail_ax_):
        assert ax.get_xscale() == "linear"
        assert ax.get_xlim() == pytest.approx((0.0, 1.05 * edge))
        assert ax.get_xlabel() == "eigenvalue, $x$"
    assert display.tail_ax_.get_yscale() == "log"
    display.figure_.savefig(io.BytesIO())


def test_several_steps_are_called_so():
    display = SpectrumDisplay.from_theory(**CASE | {"step": [GradientStep(1.0, 3.0)] * 2}).plot()
    assert legend_of(display)[1].startswith("after 2 gradient steps")


def test_areas_are_shares_of_the_eigenvalues():
    """Also where the axis is logarithmic, and of the simulated ones."""
    case = {"alpha": 0.5, "activation": "relu", "step": STEP}
    display = SpectrumDisplay.from_simulation(d=100, replicates=2, rng=0, **case)
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_ylabel() == r"density of eigenvalues, per unit of $\ln x$"
    x, y = display.lines_[1].get_data()
    inside = (x > 0.01) & (x < 0.5)
    u, y = np.log(x[inside]), y[inside]
    area = np.sum(0.5 * np.diff(u) * (y[1:] + y[:-1]))
    spectrum = display.spectra["with_step"]
    assert area == pytest.approx(np.subtract(*spectrum.cdf(x[inside][[-1, 0]])), abs=1e-4)
    for patch, name in zip(display.ax_.patches, display.spectra, strict=True):
        values, edges, _ = patch.get_data()
        eigenvalues = display.simulated[name].eigenvalues.ravel()
        counted = np.histogram(eigenvalues, edges)[0] / eigenvalues.size
        np.testing.assert_allclose(values * np.diff(np.log(edges)), counted)
    assert sum("0.5 of all at 0" in label for label in legend_of(display)) == 2


def test_from_simulation_draws_both_networks():
    display = SpectrumDisplay.from_simulation(
        d=60, step=STEP, model="network", replicates=2, rng=4, noise=0.1, **CASE
    )
    source = np.random.default_rng(4)
    for name, step in (("without_step", None), ("with_step", STEP)):
        expected = simulate_spectrum(
            d=60, step=step, model="network", replicates=2, rng=source, noise=0.1, **CASE
        )
        np.testing.assert_array_equal(display.simulated[name].eigenvalues, expected.eigenvalues)
    # In the tail every eigenvalue is one step down, from all of them to none.
    for stairs, name in zip(display.tail_ax_.patches, display.spectra, strict=True):
        values, edges, _ = stairs.get_data()
        np.testing.assert_array_equal(
            edges[1:-1], np.sort(display.simulated[name].eigenvalues.ravel())
        )
        np.testing.assert_allclose(np.diff(values), -1.0 / (edges.size - 2))
        assert (values[0], values[-1]) == (1.0, 0.0)


def test_isolated_eigenvalues_are_marked():
    step = Spike(0.4, 0.3, 0.5)
    case = {"alpha": 20.0, "beta": 8.0, "activation": "cos", "step": step}
    display = SpectrumDisplay.from_theory(**case)
    (marks,) = (line for line in display.ax_.lines if line.get_marker() == "^" and line._x.size)
    np.testing.assert_allclose(marks.get_xdata(), display.spectra["with_step"].outliers)
    assert "isolated eigenvalue" in legend_of(display)
    assert display.ax_.get_xlim()[1] > marks.get_xdata()[0]


def test_points_that_did_not_converge_are_crossed():
    spectrum = theory.spectrum(np.linspace(0.01, 4.0, 9), alpha=2.0)
    spectrum.success[3] = False
    display = SpectrumDisplay({"without_step": spectrum}).plot()
    (cross,) = (line for line in display.ax_.lines if line.get_marker() == "x" and line._x.size)
    np.testing.assert_array_equal(cross.get_xdata(), spectrum.x[3:4])
    assert legend_of(display)[-1] == "not converged"


def test_draws_on_given_axes():
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    display = SpectrumDisplay.from_theory(step=STEP, ax=right, **CASE)
    assert display.ax_ is right
    assert display.tail_ax_ is None
    assert not left.lines
    assert display.plot(ax=left, title="a title") is display
    assert left.get_title(loc="left") == "a title"
    figure.savefig(io.BytesIO(), format="png")


def test_nothing_is_cut_off():
    display = SpectrumDisplay.from_theory(step=STEP, **CASE)
    display.plot(title="tanh on sin, $\\alpha = 2$,\n$\\beta = 1$")
    display.figure_.draw_without_rendering()
    page = display.figure_.bbox
    texts = [*display.figure_.legends, display.figure_._suptitle]
    for ax in (display.ax_, display.tail_ax_):
        texts += [ax.xaxis.label, ax.yaxis.label]
    for artist in texts:
        box = artist.get_window_extent()
        assert page.x0 <= box.x0 <= box.x1 <= page.x1
        assert page.y0 <= box.y0 <= box.y1 <= page.y1


def test_bad_input():
    spectrum = theory.spectrum([0.5, 1.0], alpha=2.0)
    with pytest.raises(ValueError, match="spectra may have the keys without_step, with_step"):
        SpectrumDisplay({"after": spectrum})
    with pytest.raises(ValueError, match="simulated may have the keys"):
        SpectrumDisplay({"with_step": spectrum}, simulated={"x": None})
    with pytest.raises(ValueError, match="spectra holds no spectrum"):
        SpectrumDisplay({})
    with pytest.raises(TypeError, match="step must be a GradientStep or a Spike, got None"):
        SpectrumDisplay.from_theory(alpha=1.0, step=None)
    with pytest.raises(TypeError, match="step must be a GradientStep or a Spike, got None"):
        SpectrumDisplay.from_simulation(alpha=1.0, d=20, step=None)


def test_matplotlib_is_imported_late_and_pyplot_never():
    code = """
import sys
from spikedrf import GradientStep
from spikedrf.plotting import SpectrumDisplay
assert "matplotlib" not in sys.modules
SpectrumDisplay.from_theory(alpha=2.0, step=GradientStep(3.0, 20.0))
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
