"""Small batches, where the trained network leaves the paper's model and follows its own theory."""

from __future__ import annotations

import numpy as np

from spikedrf import GradientStep, theory
from spikedrf.figures.plan import Made, Plan, Setting, Settings
from spikedrf.figures.series import Series, series_of
from spikedrf.plotting import ErrorCurvesDisplay
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.style import LABELS, finish, new_panels, plain_ticks, scaled, styles

SUMMARY = "small batches: the trained network leaves the paper's model and follows its own theory"

MODEL: Setting = {"activation": "tanh", "target": "tanh", "alpha": 1.5, "beta": 1.0, "lam": 0.05}
ETA = 3.0
SRF, NETWORK = "spiked model", "trained network"
CURVES: Settings = {
    "no step": {"step": None},
    SRF: {"eta": ETA},
    NETWORK: {"eta": ETA, "bulk": "network"},
}
ALPHA0 = np.geomspace(0.1, 30.0, 60)
SIMULATED = (0.2, 0.5, 1.0, 3.0, 10.0)
ETAS = (1.0, 2.0, 4.0)


def make(plan: Plan) -> Made:
    """Draw both theories over alpha0, and how far apart they are for several eta."""
    left, right = new_panels((10.0, 4.5), 2)
    figure = left.figure
    rest = {name: value for name, value in MODEL.items() if name != "alpha"}
    points = {}
    for label, model in ((SRF, "srf"), (NETWORK, "network")):
        settings = {f"{a:g}": {"eta": ETA, "alpha0": a} for a in SIMULATED}
        simulated = plan.simulate(MODEL["alpha"], settings, model=model, **rest).values()
        if simulated:
            points[label] = (
                np.array(SIMULATED),
                np.array([s.test_error for s in simulated]),
                np.array([s.test_error_sem for s in simulated]),
            )
    errors = ErrorCurvesDisplay.from_theory(
        "alpha0", ALPHA0, CURVES, points=points, ax=left, **MODEL
    )
    left.set_title(
        rf"tanh on tanh, $\eta = {ETA:g}$, $\alpha = 1.5$, $\beta = 1$, $\lambda = 0.05$",
        fontsize="medium",
        loc="left",
    )
    legend_beneath(left)
    series = series_of("errors", errors)
    for eta, style in zip(ETAS, styles(len(ETAS)), strict=True):
        step = GradientStep(eta=eta, alpha0=ALPHA0)
        network, srf = (
            theory.solve(**MODEL, step=step, bulk=bulk) for bulk in ("network", "isotropic")
        )
        above = 100.0 * (network.test_error / srf.test_error - 1.0)
        label = rf"$\eta = {eta:g}$"
        line = {name: style[name] for name in ("color", "linestyle")}
        right.plot(ALPHA0, above, linewidth=scaled(2.0), label=label, **line)
        series.append(
            Series(
                "difference",
                label,
                "theory",
                "alpha0",
                "network above model, %",
                ALPHA0,
                above,
                None,
                network.success & srf.success,
            )
        )
    right.set_xscale("log")
    right.set_ylim(0.0)
    plain_ticks(right)
    right.set_xlabel(LABELS["alpha0"])
    right.set_ylabel("network above the spiked model, %")
    finish(right)
    legend_beneath(right, 3)
    far = {a: np.interp(np.log(a), np.log(ALPHA0), errors.curves[NETWORK]) for a in (0.3, 10.0)}
    near = {a: np.interp(np.log(a), np.log(ALPHA0), errors.curves[SRF]) for a in far}
    return Made(
        figure,
        series,
        "the trained network's error is "
        + " and ".join(
            f"{100 * (far[a] / near[a] - 1):.1f}% above the spiked model's at alpha0 {a:g}"
            for a in far
        ),
    )
