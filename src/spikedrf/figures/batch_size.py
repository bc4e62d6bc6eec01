"""The effect of the number of samples that the gradient step sees."""

from __future__ import annotations

import numpy as np

from spikedrf.figures.plan import Made, Plan, Setting, Settings
from spikedrf.figures.series import series_of
from spikedrf.plotting import ErrorCurvesDisplay
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.style import new_panels

SUMMARY = "the effect of the batch: a step on few samples finds the wrong direction, and can harm"

MODEL: Setting = {"activation": "tanh", "target": "sin", "beta": 1.0, "lam": 0.1}
ETA = 2.0
CURVES: Settings = {
    "no step": {"step": None},
    **{rf"$\alpha_0 = {a:g}$": {"eta": ETA, "alpha0": a} for a in (0.3, 1.0, 3.0, 20.0)},
    r"$\alpha_0 = \infty$": {"eta": ETA, "alpha0": np.inf},
}
SAMPLES: Settings = {
    "no step": {"step": None},
    **{rf"$\eta = {e:g}$": {"eta": e, "alpha0": 1.0} for e in (0.5, 1.0, 2.0, 4.0)},
}
ALPHA = 3.0


def make(plan: Plan) -> Made:
    """Draw the error over alpha for several alpha0, and over alpha0 for several eta."""
    left, right = new_panels((10.0, 4.5), 2)
    figure = left.figure
    simulated = {label: CURVES[label] for label in (r"$\alpha_0 = 1$", r"$\alpha_0 = 20$")}
    points = plan.simulate([0.3, 1.0, 3.0, 10.0], simulated, model="srf", **MODEL)
    over_alpha = ErrorCurvesDisplay.from_theory(
        "alpha", np.geomspace(0.1, 30.0, 80), CURVES, points=points, ax=left, **MODEL
    )
    left.set_title(
        rf"tanh on sin, $\eta = {ETA:g}$, $\beta = 1$, $\lambda = 0.1$",
        fontsize="medium",
        loc="left",
    )
    alpha0 = np.geomspace(0.05, 300.0, 120)
    over_batch = ErrorCurvesDisplay.from_theory(
        "alpha0", alpha0, SAMPLES, ax=right, alpha=ALPHA, **MODEL
    )
    right.set_title(rf"$\alpha = {ALPHA:g}$", fontsize="medium", loc="left")
    legend_beneath(left, 3)
    legend_beneath(right, 3)
    plain = over_batch.curves["no step"][0]
    stepped = over_batch.curves[r"$\eta = 2$"]
    enough = float(alpha0[np.argmax(stepped < plain)])
    return Made(
        figure,
        [*series_of("over alpha", over_alpha), *series_of("over alpha0", over_batch)],
        f"at alpha {ALPHA:g} a step of size 2 harms below alpha0 {enough:.2g}, and takes the error "
        f"from {plain:.4f} to {stepped[-1]:.4f} at alpha0 {alpha0[-1]:g}",
    )
