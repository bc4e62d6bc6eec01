"""A target of two directions: what one step finds of it, and what is left."""

from __future__ import annotations

import numpy as np

from spikedrf import MultiIndex, theory
from spikedrf.figures.plan import Made, Plan, Setting, Settings
from spikedrf.figures.series import series_of
from spikedrf.plotting import ErrorCurvesDisplay
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.style import new_panels

SUMMARY = "a target of two directions: what one step finds of it, and what is left"


def two_directions(s: np.ndarray) -> np.ndarray:
    """Return ``tanh(s_1) + s_1 s_2``."""
    return np.asarray(np.tanh(s[..., 0]) + s[..., 0] * s[..., 1])


MODEL: Setting = {
    "activation": "tanh", "target": MultiIndex(two_directions), "beta": 2.0, "lam": 0.1,
    "noise": 0.1, "alpha0": 10.0,
}  # fmt: skip
CURVES: Settings = {
    "no step": {"step": None},
    r"$\eta = 1$": {"eta": 1.0},
    r"$\eta = 3$": {"eta": 3.0},
}
ALPHA = np.geomspace(0.2, 30.0, 25)
SIMULATED = np.array([0.5, 1.0, 2.0])


def make(plan: Plan) -> Made:
    """Draw errors over alpha, and the learned function beside the target."""
    left, middle, right = new_panels((11.0, 3.8), 3)
    figure = left.figure
    simulated = plan.simulate(SIMULATED, CURVES, model="network", **MODEL)
    points = {
        label: (SIMULATED, one.test_error, one.test_error_sem) for label, one in simulated.items()
    }
    errors = ErrorCurvesDisplay.from_theory("alpha", ALPHA, CURVES, points=points, ax=left, **MODEL)
    legend_beneath(left)
    rest = {name: value for name, value in MODEL.items() if name != "alpha0"}
    from spikedrf import GradientStep

    solution = theory.solve(5.0, step=GradientStep(3.0, MODEL["alpha0"]), **rest)
    axis = np.linspace(-2.5, 2.5, 61)
    plane = np.stack(np.meshgrid(axis, axis), axis=-1)
    for ax, values, title in (
        (middle, two_directions(plane), "target"),
        (right, solution.learned_function(plane), r"learned, $\alpha = 5$, $\eta = 3$"),
    ):
        ax.pcolormesh(axis, axis, values, vmin=-4.0, vmax=4.0, cmap="RdBu", shading="auto")
        ax.set(title=title, xlabel="$s_1$", ylabel="$s_2$", aspect="equal")
    gamma = np.asarray(solution.spike.gamma)
    # The variance of s_1 s_2 is one; the rest of the error is what is left of tanh, and noise.
    return Made(
        figure,
        series_of("errors", errors),
        f"the spike has overlaps {gamma[0]:.2f} and {abs(gamma[1]):.2f} with the two directions: "
        f"their product, of variance 1, is left, in a test error of {solution.test_error:.2f}",
    )
