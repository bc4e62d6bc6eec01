"""Learning curves of inputs with a covariance and of several directions, with simulations."""

import numpy as np
import pytest

from spikedrf import Covariance, GradientStep, simulate, theory
from spikedrf.plotting import LearningCurveDisplay

pytest.importorskip("matplotlib")
STEP = GradientStep(eta=2.0, alpha0=5.0)
ALPHA = np.array([0.5, 1.0])


@pytest.mark.parametrize("target", ["sin", "product"])
@pytest.mark.parametrize("inputs", [None, Covariance.power_law(0.5)])
def test_a_simulation_is_drawn_on_the_curve_of_its_inputs(target, inputs):
    model = {"lam": 0.1, "target": target, "step": STEP, "inputs": inputs}
    points = simulate(ALPHA, d=60, replicates=2, rng=0, n_test=200, **model)
    display = LearningCurveDisplay.from_theory(ALPHA, points=points, **model)
    solution = theory.solve(ALPHA, **model)
    np.testing.assert_allclose(display.test_error, solution.test_error, rtol=1e-12)
    best = theory.best_linear_error(target, inputs=inputs)
    assert display.best_linear == best
    drawn = [c.get_xydata()[:, 1] for c in display.ax_.lines if c.get_marker() == "o"]
    np.testing.assert_array_equal(drawn[0], points.test_error)


@pytest.mark.parametrize("target", ["sin", "product"])
def test_signs_of_inputs_with_a_covariance_are_rates(target):
    model = {"lam": 0.1, "target": target, "step": STEP, "inputs": Covariance.power_law(0.5)}
    display = LearningCurveDisplay.from_theory(ALPHA, labels="sign", **model)
    assert display.ax_.get_ylabel() == "rate of wrong signs"
    assert len(display.lines_) == 2  # the best classifier is known for white inputs only


def test_a_spectrum_says_what_its_inputs_are():
    pytest.importorskip("xarray")
    inputs = Covariance.power_law(0.5)
    spectrum = theory.spectrum([0.5], alpha=2.0, step=STEP, inputs=inputs, init="gaussian")
    about = spectrum.to_xarray().attrs
    assert (about["inputs"], about["init"]) == (repr(inputs), "gaussian")
    assert about == spectrum.to_dataframe().attrs
