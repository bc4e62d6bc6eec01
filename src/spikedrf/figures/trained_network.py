"""The paper's notebook of the simulation: a small batch, where the network is not its model."""

from __future__ import annotations

import numpy as np

from spikedrf.figures.plan import Made, Plan, Setting, Settings
from spikedrf.figures.series import series_of
from spikedrf.plotting import ErrorCurvesDisplay
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.style import new_panels

SUMMARY = "the simulated setting of the paper: a trained network, its model, and its own theory"

MODEL: Setting = {"activation": "tanh", "target": "tanh", "beta": 1.0, "lam": 0.01}
STEP: Setting = {"eta": 1.0, "alpha0": 0.5}
SRF, NETWORK = "spiked model", "trained network"
CURVES: Settings = {"no step": {}, SRF: STEP, NETWORK: {**STEP, "bulk": "network"}}
SIMULATED = np.linspace(0.2, 3.0, 7)


def make(plan: Plan) -> Made:
    """Draw the test error from alpha 0.2 to 3, and over that of the spiked model; simulate both."""
    points = plan.simulate(SIMULATED, {SRF: STEP}, model="srf", **MODEL)
    points |= plan.simulate(SIMULATED, {NETWORK: STEP}, model="network", **MODEL)
    left, right = new_panels((10.0, 4.5), 2)
    figure = left.figure
    errors = ErrorCurvesDisplay.from_theory(
        "alpha", np.linspace(0.2, 3.0, 57), CURVES, points=points, ax=left, **MODEL
    )
    left.set_title(
        r"tanh on tanh, $\eta = 1$, $\alpha_0 = 0.5$, $\beta = 1$, $\lambda = 0.01$",
        fontsize="medium",
        loc="left",
    )
    srf = errors.curves[SRF]
    above = {}
    for label, (x, mean, sem) in errors.points_.items():
        assert sem is not None
        theirs = np.interp(x, errors.x, srf)
        above[label] = (x, mean / theirs, sem / theirs)
    ratios = ErrorCurvesDisplay(
        "alpha",
        errors.x,
        {label: errors.curves[label] / srf for label in (SRF, NETWORK)},
        success={label: errors.success[label] for label in (SRF, NETWORK)},
    ).plot(right, points=above)
    right.set_ylabel("test error over that of the spiked model")
    for ax in (left, right):
        legend_beneath(ax)
    ratio = ratios.curves[NETWORK]
    finding = (
        f"the trained network's own theory is {100 * (ratio.min() - 1):.1f} to "
        f"{100 * (ratio.max() - 1):.1f}% above the spiked model's"
    )
    if above:
        finding += "; simulated, on average: " + ", ".join(
            f"{label} {100 * (np.mean(y) - 1):+.1f}%" for label, (_, y, _) in above.items()
        )
    return Made(figure, [*series_of("errors", errors), *series_of("ratios", ratios)], finding)
