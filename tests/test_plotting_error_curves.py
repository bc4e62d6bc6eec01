"""Errors over a parameter for several settings: what lines and points hold."""

import io

import numpy as np
import pytest

from spikedrf import GradientStep, simulate, theory
from spikedrf.plotting import ErrorCurvesDisplay

pytest.importorskip("matplotlib")

MODEL = {"lam": 0.05, "activation": "erf", "target": "sin", "noise": 0.1}
ALPHA = np.geomspace(0.2, 20.0, 5)


def test_lines_hold_the_theory_over_alpha():
    curves = {"no step": {}, "narrow": {"eta": 2.0, "alpha0": 5.0, "beta": 0.5}}
    display = ErrorCurvesDisplay.from_theory("alpha", ALPHA, curves, beta=2.0, **MODEL)
    plain, narrow, linear = display.lines_
    expected = theory.solve(ALPHA, beta=2.0, **MODEL).test_error
    np.testing.assert_allclose(plain.get_ydata(), expected, rtol=1e-12)
    step = GradientStep(2.0, 5.0)
    expected = theory.solve(ALPHA, beta=0.5, step=step, **MODEL).test_error
    np.testing.assert_allclose(narrow.get_ydata(), expected, rtol=1e-12)
    best = (1 - np.exp(-2)) / 2 - np.exp(-1) + 0.01
    np.testing.assert_allclose(linear.get_ydata(), best, rtol=1e-12)
    labels = [text.get_text() for text in display.figure_.legends[0].get_texts()]
    assert labels == ["no step", "narrow", "best linear function"]
    assert plain.get_linestyle() == "--"
    display.figure_.savefig(io.BytesIO())


@pytest.mark.parametrize("name", ["eta", "alpha0"])
def test_lines_hold_the_theory_over_the_step(name):
    x = np.array([0.5, 1.0, 4.0])
    rest = {"eta": 2.0, "alpha0": 3.0, "u": [1.0, -0.5]}
    curves = {"no step": {"step": None}, "step": {}}
    display = ErrorCurvesDisplay.from_theory(
        name, x, curves, quantity="norm", alpha=2.0, **rest, **MODEL
    )
    plain, stepped = display.lines_
    np.testing.assert_allclose(plain.get_ydata(), theory.solve(2.0, **MODEL).norm, rtol=1e-12)
    step = GradientStep(**rest | {name: x})
    expected = theory.solve(2.0, step=step, **MODEL).norm
    np.testing.assert_allclose(stepped.get_ydata(), expected, rtol=1e-12)
    assert display.ax_.get_ylabel() == r"norm of the readout, $|a|^2/p$"


def test_points_are_the_simulations(monkeypatch):
    simulation = simulate([0.5, 2.0], d=20, replicates=2, rng=0, n_test=50, **MODEL)
    curves = {"a": {}, "b": {"beta": 3.0}}
    display = ErrorCurvesDisplay.from_theory(
        "alpha", ALPHA, curves, points={"b": simulation, "c": ([1.0], [0.3], None)}, **MODEL
    )
    drawn = {container.get_label(): container for container in display.ax_.containers}
    assert set(drawn) == {"b, simulated", "c, simulated"}
    line, _, (bars,) = drawn["b, simulated"].lines
    np.testing.assert_array_equal(line.get_xdata(), [0.5, 2.0])
    np.testing.assert_array_equal(line.get_ydata(), simulation.test_error)
    spread = [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]
    np.testing.assert_allclose(spread, simulation.test_error_sem, rtol=1e-12)
    assert line.get_color() == display.lines_[1].get_color()
    alone = ErrorCurvesDisplay.from_simulation({"s": simulation}, quantity="train_error")
    np.testing.assert_array_equal(alone.points_["s"][1], simulation.train_error)
    assert alone.ax_.get_ylabel() == "train error"


def test_signs_are_held_against_the_best_classifier():
    signs = {"loss": "logistic", "labels": "sign", "flip": 0.05}
    x = np.array([0.5, 2.0])
    display = ErrorCurvesDisplay.from_theory("alpha", x, {"a": {}}, **signs, **MODEL)
    line, best = display.lines_
    expected = theory.solve(x, **signs, **MODEL).test_error
    np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12)
    np.testing.assert_allclose(best.get_ydata(), theory.bayes_error("sin", 0.1, 0.05), rtol=1e-12)
    assert best.get_label() == "best classifier"
    assert display.ax_.get_ylabel() == "rate of wrong signs"
    # A flip for each curve has no level in common.
    flips = {"a": {"flip": 0.1}, "b": {"flip": 0.2}}
    model = MODEL | {"loss": "squared_hinge", "labels": "sign"}
    assert len(ErrorCurvesDisplay.from_theory("alpha", x, flips, **model).lines_) == 2
    simulation = simulate(x, d=10, replicates=2, rng=0, n_test=50, **signs, **MODEL)
    alone = ErrorCurvesDisplay.from_simulation({"s": simulation}, quantity="margin")
    np.testing.assert_array_equal(alone.points_["s"][1], simulation.margin)
    with pytest.raises(ValueError, match=r"labels must be the same for all curves, got \['real', "):
        ErrorCurvesDisplay.from_theory("alpha", x, {"a": {}, "b": signs}, **MODEL)


def test_many_curves_can_be_told_apart():
    curves = {f"{i}": np.full(5, 1.0 + i) for i in range(9)}
    display = ErrorCurvesDisplay("alpha", ALPHA, curves, without_step=["0", "1"]).plot()
    looks = {(line.get_color(), str(line.get_linestyle())) for line in display.lines_}
    assert len(looks) == 9


def test_points_that_did_not_converge_are_crossed():
    display = ErrorCurvesDisplay(
        "lam", [1.0, 2.0], {"a": [0.1, 0.2]}, success={"a": [True, False]}
    ).plot()
    crosses = [line for line in display.ax_.lines if line.get_marker() == "x"]
    assert [list(line.get_xydata()[0]) for line in crosses if len(line.get_xdata())] == [[2.0, 0.2]]


def test_bad_input():
    with pytest.raises(ValueError, match="name must be one of alpha, beta, lam"):
        ErrorCurvesDisplay("gamma", [1.0], {})
    with pytest.raises(ValueError, match="quantity must be one of test_error"):
        ErrorCurvesDisplay("alpha", [1.0], {}, quantity="error")
    with pytest.raises(ValueError, match="alpha must be one-dimensional"):
        ErrorCurvesDisplay("alpha", 1.0, {})
    with pytest.raises(ValueError, match=r"curve 'a' must have the shape of alpha, \(1,\)"):
        ErrorCurvesDisplay("alpha", [1.0], {"a": [1.0, 2.0]})
    simulation = simulate(1.0, d=10, lam=1.0, replicates=2, rng=0, n_test=10)
    with pytest.raises(ValueError, match="a simulation is drawn over alpha, not over lam"):
        ErrorCurvesDisplay("lam", [1.0], {"a": [1.0]}).plot(points={"a": simulation})
