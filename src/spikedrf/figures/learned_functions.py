"""The function of the spike's direction that a network has learned, as its samples grow."""

from __future__ import annotations

import numpy as np

from spikedrf import theory
from spikedrf.figures.measured import mean_outputs
from spikedrf.figures.plan import Made, Plan, Setting, Settings
from spikedrf.figures.series import Series, series_of
from spikedrf.plotting import LearnedFunctionDisplay
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.error_curves import with_step
from spikedrf.plotting.style import new_panels

SUMMARY = "the function that a network learns: constant along the spike before the step, then not"

MODEL: Setting = {"beta": 2.0, "lam": 0.01}
STEP: Setting = {"eta": 3.0, "alpha0": 20.0}
PANELS: Settings = {
    "tanh on sin": {"activation": "tanh", "target": "sin"},
    "relu on relu": {"activation": "relu", "target": "relu"},
    "erf on sign": {"activation": "erf", "target": "sign"},
}
NETWORKS: Settings = {
    "no step": {"alpha": 3.0},
    r"$\alpha = 0.5$": {"alpha": 0.5, **STEP},
    r"$\alpha = 3$": {"alpha": 3.0, **STEP},
    r"$\alpha = \infty$": {"alpha": np.inf, **STEP},
}


def make(plan: Plan) -> Made:
    """Draw `Solution.learned_function` beside the best function of the same direction."""
    axes = new_panels((12.0, 4.2), len(PANELS))
    figure = axes[0].figure
    series: list[Series] = []
    told = []
    for ax, (panel, functions) in zip(axes, PANELS.items(), strict=True):
        solutions = {
            label: theory.solve(**with_step({**MODEL, **functions, **special}))
            for label, special in NETWORKS.items()
        }
        measured = {label: NETWORKS[label] for label in ("no step", r"$\alpha = 3$")}
        display = LearnedFunctionDisplay.from_theory(
            solutions,
            target=functions["target"],
            along="spike",
            points=mean_outputs(plan, measured, along="spike", **MODEL, **functions),
            ax=ax,
        )
        ax.set_title(panel, fontsize="medium", loc="left")
        series += series_of(panel, display)
        legend_beneath(ax)
        explained = _explained(display)
        told.append(
            f"{panel} {explained[0]:.1%} without a step, {explained[1]:.1%} at alpha 0.5, "
            f"{explained[-1]:.1%} at alpha = inf"
        )
    return Made(
        figure,
        series,
        f"share of the variance of E[g|kappa] in the learned function: {'; '.join(told)}",
    )


def _explained(display: LearnedFunctionDisplay) -> list[float]:
    """Return ``1 - E (h - fhat)^2 / Var h`` over Gaussian ``kappa``, as far as it is drawn."""
    assert display.target is not None
    weight = np.exp(-0.5 * display.x**2)
    weight /= weight.sum()
    variance = weight @ (display.target - weight @ display.target) ** 2
    left = [weight @ (display.target - y) ** 2 for y in display.functions.values()]
    return [max(0.0, float(1.0 - error / variance)) for error in left]
