"""The paper's notebook of the theory: tanh on sin, before the step and after it."""

from __future__ import annotations

import numpy as np

from spikedrf.figures.plan import Made, Plan, Setting, Settings
from spikedrf.figures.series import series_of
from spikedrf.plotting import ErrorCurvesDisplay

SUMMARY = "the learning curve of tanh on sin, whose step reaches below every linear function"

MODEL: Setting = {"activation": "tanh", "target": "sin", "beta": 1.0, "lam": 0.1}
CURVES: Settings = {"no step": {}, "after the step": {"eta": 3.0, "alpha0": 20.0}}


def make(plan: Plan) -> Made:
    """Draw the test error from alpha 0.2 to 3, simulated networks beside it."""
    points = plan.simulate([0.2, 0.9, 1.6, 2.3, 3.0], CURVES, **MODEL)
    display = ErrorCurvesDisplay.from_theory(
        "alpha", np.linspace(0.2, 3.0, 57), CURVES, points=points, **MODEL
    )
    display.ax_.set_title(
        r"tanh on sin, $\eta = 3$, $\alpha_0 = 20$, $\beta = 1$, $\lambda = 0.1$",
        fontsize="medium",
        loc="left",
    )
    before, after = (display.curves[label][-1] for label in CURVES)
    return Made(
        display.figure_,
        series_of("learning curve", display),
        f"at alpha 3 the error is {after:.4f} after the step and {before:.4f} without it; the best "
        f"linear function has {display.best_linear:.4f}",
    )
