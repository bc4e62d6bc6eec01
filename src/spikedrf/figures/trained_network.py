"""The paper's notebook of the simulation: a small batch, where the network is not its model."""

from __future__ import annotations

import numpy as np

from spikedrf.figures.plan import Made, Plan, Setting, Settings
from spikedrf.figures.series import series_of
from spikedrf.plotting import ErrorCurvesDisplay

SUMMARY = "the simulated setting of the paper: a trained network, its model, and its own theory"

MODEL: Setting = {"activation": "tanh", "target": "tanh", "beta": 1.0, "lam": 0.01}
STEP: Setting = {"eta": 1.0, "alpha0": 0.5}
SRF, NETWORK = "spiked model", "trained network"
CURVES: Settings = {"no step": {}, SRF: STEP, NETWORK: {**STEP, "bulk": "network"}}
SIMULATED = np.linspace(0.2, 3.0, 7)


def make(plan: Plan) -> Made:
    """Draw the test error from alpha 0.2 to 3; simulate the spiked model and the network."""
    points = plan.simulate(SIMULATED, {SRF: STEP}, model="srf", **MODEL)
    points |= plan.simulate(SIMULATED, {NETWORK: STEP}, model="network", **MODEL)
    display = ErrorCurvesDisplay.from_theory(
        "alpha", np.linspace(0.2, 3.0, 57), CURVES, points=points, **MODEL
    )
    display.ax_.set_title(
        r"tanh on tanh, $\eta = 1$, $\alpha_0 = 0.5$, $\beta = 1$, $\lambda = 0.01$",
        fontsize="medium",
        loc="left",
    )
    ratio = display.curves[NETWORK] / display.curves[SRF]
    finding = (
        f"the trained network's own theory is {100 * (ratio.min() - 1):.1f} to "
        f"{100 * (ratio.max() - 1):.1f}% above the spiked model"
    )
    if points:
        finding += "; simulated, in standard errors: " + ", ".join(
            f"{label} {_distance(display, label):.1f}" for label in (SRF, NETWORK)
        )
    return Made(display.figure_, series_of("learning curve", display), finding)


def _distance(display: ErrorCurvesDisplay, label: str) -> float:
    """Return the root mean square z-score of the simulated points of a curve."""
    x, mean, sem = (np.asarray(values, np.float64) for values in display.points_[label])
    z = (mean - np.interp(x, display.x, display.curves[label])) / sem
    return float(np.sqrt(np.mean(z**2)))
