"""Inputs whose eigenvalues follow a power law: targets at the head and at the tail."""

from __future__ import annotations

import numpy as np

from spikedrf import Covariance
from spikedrf.figures.plan import Made, Plan, Setting, Settings
from spikedrf.figures.series import series_of
from spikedrf.plotting import ErrorCurvesDisplay
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.style import new_figure

SUMMARY = "inputs with a power law of eigenvalues: targets at its head and at its tail"

EXPONENT = 0.5
MODEL: Setting = {
    "activation": "tanh", "target": "sin", "beta": 2.0, "lam": 0.05, "noise": 0.1, "step": None,
}  # fmt: skip
TARGETS = {"head": 0.8, "everywhere": None, "tail": -2.0}
ALPHA = np.geomspace(0.1, 30.0, 40)
SIMULATED = np.array([0.5, 1.0, 2.0])


def make(plan: Plan) -> Made:
    """Draw learning curves without a step."""
    # Simulations have eigenvalues of their own number of dimensions, and so has the theory then.
    dimension = 1000 if plan.d is None else plan.d
    curves: Settings = {
        f"target at the {name}" if name != "everywhere" else "target everywhere": {
            "inputs": Covariance.power_law(EXPONENT, target_exponent=exponent, dimension=dimension)
        }
        for name, exponent in TARGETS.items()
    }
    figure = new_figure((6.0, 4.5))
    ax = figure.subplots()
    simulated = plan.simulate(SIMULATED, curves, model="srf", **MODEL)
    points = {
        label: (SIMULATED, one.test_error, one.test_error_sem) for label, one in simulated.items()
    }
    errors = ErrorCurvesDisplay.from_theory("alpha", ALPHA, curves, points=points, ax=ax, **MODEL)
    ax.set_title(rf"eigenvalues $k^{{-{EXPONENT:g}}}$, no step", fontsize="medium", loc="left")
    legend_beneath(ax, 3)
    at = {name: np.interp(0.0, np.log(ALPHA), line) for name, line in errors.curves.items()}
    head, _, tail = at.values()
    return Made(
        figure,
        series_of("errors", errors),
        f"at alpha 1 the error is {head:.3f} with the target at the head, {tail:.3f} at the tail",
    )
