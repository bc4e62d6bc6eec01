"""Random features learn only the linear part of a target, however many there are."""

from __future__ import annotations

import numpy as np

from spikedrf import theory
from spikedrf.figures.measured import mean_outputs
from spikedrf.figures.plan import Made, Plan, Setting, Settings
from spikedrf.figures.series import series_of
from spikedrf.plotting import ErrorCurvesDisplay, LearnedFunctionDisplay
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.error_curves import with_step
from spikedrf.plotting.style import new_panels

SUMMARY = "random features learn only the linear part of the target, however many there are"

MODEL: Setting = {"activation": "tanh", "target": "sin", "lam": 0.01}
STEP: Setting = {"eta": 3.0, "alpha0": 20.0}
CURVES: Settings = {
    r"no step, $\beta = 1$": {"beta": 1.0},
    r"no step, $\beta = 4$": {"beta": 4.0},
    r"no step, $\beta = 16$": {"beta": 16.0},
    r"after the step, $\beta = 4$": {"beta": 4.0, **STEP},
}
#: What is drawn on the right, and where: many samples, but no more than can be simulated.
NETWORKS: Settings = {"no step": {"beta": 4.0}, "after the step": {"beta": 4.0, **STEP}}
ALPHA = 10.0


def make(plan: Plan) -> Made:
    """Draw errors up to alpha 1000, and the functions of the target direction that were learned."""
    left, right = new_panels((10.0, 4.5), 2)
    figure = left.figure
    errors = ErrorCurvesDisplay.from_theory(
        "alpha", np.geomspace(0.1, 1000.0, 120), CURVES, ax=left, **MODEL
    )
    left.set_title(r"tanh on sin, $\lambda = 0.01$", fontsize="medium", loc="left")
    legend_beneath(left)
    solutions = {
        label: theory.solve(ALPHA, **with_step({**MODEL, **special}))
        for label, special in NETWORKS.items()
    }
    learned = LearnedFunctionDisplay.from_theory(
        solutions,
        target="sin",
        points=mean_outputs(plan, NETWORKS, along="target", alpha=ALPHA, **MODEL),
        ax=right,
    )
    right.set_title(rf"$\alpha = {ALPHA:g}$, $\beta = 4$", fontsize="medium", loc="left")
    legend_beneath(right)
    floor, best = errors.best_linear, min(errors.curves[label][-1] for label in list(CURVES)[:3])
    return Made(
        figure,
        [*series_of("errors", errors), *series_of("functions", learned)],
        f"without a step the error at alpha 1000 is at least {best:.4f}, above the {floor:.4f} of "
        f"the best linear function; after the step {errors.curves[list(CURVES)[3]][-1]:.4f}",
    )
