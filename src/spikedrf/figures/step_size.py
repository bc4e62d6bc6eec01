"""The error over the size of the step, and where it is smallest.

A step however small frees the linear part along the spike from its penalty, so that the curves
begin below that without a step. From a small batch nothing is better than such a step: there the
right panel shows nothing.
"""

from __future__ import annotations

import numpy as np

from spikedrf import GradientStep, theory
from spikedrf.figures.plan import Made, Plan, Setting, Settings
from spikedrf.figures.series import Series, series_of
from spikedrf.plotting import ErrorCurvesDisplay
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.style import LABELS, finish, new_panels, plain_ticks, scaled, styles

SUMMARY = "the error over the size of the step: it has an optimum, which the batch decides"

MODEL: Setting = {"activation": "tanh", "target": "sin", "alpha": 2.0, "beta": 1.0, "lam": 0.1}
CURVES: Settings = {
    "no step": {"step": None},
    **{rf"$\alpha_0 = {a:g}$": {"alpha0": a} for a in (1.0, 3.0, 10.0, 30.0)},
}
ETA = np.geomspace(0.1, 30.0, 120)
ALPHA0 = np.geomspace(0.3, 100.0, 80)
NOISES = (0.0, 0.5, 1.0)


def make(plan: Plan) -> Made:
    """Draw the error over eta with its minimum, and the best eta over alpha0."""
    left, right = new_panels((10.0, 4.5), 2)
    figure = left.figure
    rest = {name: value for name, value in MODEL.items() if name != "alpha"}
    points = {}
    for label in (r"$\alpha_0 = 3$", r"$\alpha_0 = 30$"):
        etas = (0.5, 2.0, 8.0)
        settings = {f"{eta:g}": {**CURVES[label], "eta": eta} for eta in etas}
        simulated = plan.simulate(MODEL["alpha"], settings, model="srf", **rest).values()
        if simulated:
            points[label] = (
                np.array(etas),
                np.array([s.test_error for s in simulated]),
                np.array([s.test_error_sem for s in simulated]),
            )
    errors = ErrorCurvesDisplay.from_theory("eta", ETA, CURVES, points=points, ax=left, **MODEL)
    left.set_title(
        r"tanh on sin, $\alpha = 2$, $\beta = 1$, $\lambda = 0.1$", fontsize="medium", loc="left"
    )
    series = series_of("errors", errors)
    labels = [label for label in CURVES if label != "no step"]
    steps = GradientStep(eta=1.0, alpha0=np.array([CURVES[label]["alpha0"] for label in labels]))
    best = theory.optimise(step=steps, over="eta", **MODEL)
    for i, label in enumerate(labels):
        line = next(line for line in errors.lines_ if line.get_label() == label)
        at, lowest = best.eta[i : i + 1], best.test_error[i : i + 1]
        left.plot(at, lowest, "*", color=line.get_color(), markersize=scaled(12), zorder=22)
        series.append(
            Series(
                "optima",
                label,
                "theory",
                "eta",
                "test_error",
                at,
                lowest,
                None,
                best.success[i : i + 1],
            )
        )
    left.plot([], [], "*", color="#777777", markersize=scaled(10), label="optimum")
    legend_beneath(left, 3)
    for noise, style in zip(NOISES, styles(len(NOISES)), strict=True):
        optima = theory.optimise(
            step=GradientStep(eta=1.0, alpha0=ALPHA0), over="eta", noise=noise, **MODEL
        )
        label = f"noise {noise:g}"
        inside = np.where(optima.at_bound, np.nan, optima.eta)
        look = {name: style[name] for name in ("color", "linestyle")}
        right.plot(ALPHA0, inside, linewidth=scaled(2.0), label=label, **look)
        series.append(
            Series(
                "best step", label, "theory", "alpha0", "eta", ALPHA0, inside, None, optima.success
            )
        )
    right.set_xscale("log")
    right.set_yscale("log")
    plain_ticks(right)
    right.set_xlabel(LABELS["alpha0"])
    right.set_ylabel(r"best size of the step, $\eta$")
    finish(right)
    legend_beneath(right, 3)
    told = ", ".join(
        f"{label.strip('$').replace(chr(92) + 'alpha_0 =', 'alpha0')}: {eta:.2f} ({error:.4f})"
        for label, eta, error in zip(labels, best.eta, best.test_error, strict=True)
    )
    return Made(figure, series, f"best eta at alpha 2, and its error, for {told}")
