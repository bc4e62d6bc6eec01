"""The best ridge and step beside SciPy's bounded minimiser on the same theory, per optimum.

SciPy's takes one problem at a time and finds one minimum, whichever it is.
"""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from spikedrf import GradientStep, theory

CASE = {"target": "sin", "noise": 0.3, "workers": 1}
ALPHA0 = 20.0
ONE_BY_ONE = "SciPy, one by one"


@pytest.mark.parametrize("entrant", ["spikedrf", ONE_BY_ONE])
def test_best_ridge(race, entrant):
    alpha = np.linspace(0.3, 5, 500 if entrant == "spikedrf" else 5)
    step = GradientStep(3.0, ALPHA0)
    more = {"group": "optima, per optimum", "row": "ridge", "points": alpha.size}
    expected = theory.optimise(alpha, step=step, **CASE)

    def brent():
        return np.array(
            [
                minimize_scalar(
                    lambda t, a=a: theory.solve(a, lam=np.exp(t), step=step, **CASE).test_error,
                    bounds=(-12, 12),
                    method="bounded",
                ).fun
                for a in alpha
            ]
        )

    def check(found):
        np.testing.assert_allclose(getattr(found, "test_error", found), expected.test_error, 1e-8)

    own = lambda: theory.optimise(alpha, step=step, **CASE)  # noqa: E731
    race(entrant, own if entrant == "spikedrf" else brent, check=check, **more)


@pytest.mark.parametrize("entrant", ["spikedrf", ONE_BY_ONE])
def test_best_step(race, entrant):
    alpha = np.linspace(0.3, 5, 20 if entrant == "spikedrf" else 5)
    more = {"group": "optima, per optimum", "row": "step", "points": alpha.size}
    best = {"over": "eta", "lam": 0.1, "step": GradientStep(0.0, ALPHA0)} | CASE
    expected = theory.optimise(alpha, **best)

    def error(eta, a):
        return theory.solve(a, lam=0.1, step=GradientStep(eta, ALPHA0), **CASE).test_error

    def brent():
        return np.array(
            [
                minimize_scalar(error, bounds=(0.0, 30.0), args=(a,), method="bounded").fun
                for a in alpha
            ]
        )

    def check(found):
        np.testing.assert_allclose(getattr(found, "test_error", found), expected.test_error, 1e-8)

    own = lambda: theory.optimise(alpha, **best)  # noqa: E731
    race(entrant, own if entrant == "spikedrf" else brent, check=check, **more)
