"""Several steps with two values of the readout: each finds what the one before could not."""

from __future__ import annotations

import numpy as np

from spikedrf import GradientStep, MultiIndex, theory
from spikedrf.figures.plan import Made, Plan, Setting, Settings
from spikedrf.figures.series import Series, series_of
from spikedrf.plotting import ErrorCurvesDisplay
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.style import BLACK, new_figure
from spikedrf.simulation import Simulation
from spikedrf.theory import Solution

SUMMARY = "a staircase of two directions, climbed in several steps, with two values of the readout"

TARGET = MultiIndex("staircase")
STEP = GradientStep(eta=1.5, alpha0=8.0, u=[1.0, -1.0])
MODEL: Setting = {
    "activation": "relu", "target": TARGET, "beta": 2.0, "lam": 0.1, "noise": 0.1,
}  # fmt: skip
CURVES: Settings = {
    "no step": {"step": None},
    "one step": {"step": STEP},
    "two steps": {"step": [STEP] * 2},
    "three steps": {"step": [STEP] * 3},
}
ALPHA = np.geomspace(0.5, 16.0, 16)
SIMULATED = np.array([1.0, 2.0, 4.0])


def make(plan: Plan) -> Made:
    """Draw errors over alpha, the spikes in the plane of the target, and what was learned."""
    figure = new_figure((12.0, 4.0))
    left, middle, right = figure.subplots(1, 3)
    shared = {"rtol": 1e-6, **MODEL}
    simulated = plan.simulate(SIMULATED, CURVES, model="network", **MODEL)
    points = {
        label: (SIMULATED, one.test_error, one.test_error_sem) for label, one in simulated.items()
    }
    errors = ErrorCurvesDisplay.from_theory(
        "alpha", ALPHA, CURVES, points=points, ax=left, **shared
    )
    legend_beneath(left)
    at = {
        label: theory.solve(4.0, **special, **shared)
        for label, special in CURVES.items()
        if special["step"] is not None
    }
    spikes: list[Series] = []
    names = ("s_1", "s_2")
    colours = [line.get_color() for line in errors.lines_[1:]]
    for (label, solution), colour in zip(at.items(), colours, strict=False):
        x, y = _in_the_plane(solution).T
        middle.plot(x, y, "o", color=colour, label=label)
        spikes.append(Series("spikes", label, "theory", *names, x, y))
        if label in simulated:
            x, y = _measured(simulated[label]).T
            middle.plot(x, y, "+", color=BLACK, markersize=9)
            spikes.append(Series("spikes", label, "simulation", *names, x, y))
    middle.axhline(0.0, color="0.8", zorder=0)
    middle.axvline(0.0, color="0.8", zorder=0)
    middle.set(
        xlabel="spike along $s_1$", ylabel="spike along $s_2$", title="spikes of both groups"
    )
    legend_beneath(middle)
    axis = np.linspace(-2.5, 2.5, 41)
    plane = np.stack(np.meshgrid(axis, axis), axis=-1)
    values = at["three steps"].learned_function(plane)
    right.pcolormesh(axis, axis, values, vmin=-5.0, vmax=5.0, cmap="RdBu", shading="auto")
    right.set(title=r"learned, three steps, $\alpha = 4$", xlabel="$s_1$", ylabel="$s_2$")
    right.set_aspect("equal")
    steps = "; ".join(f"{label} {one.test_error:.3f}" for label, one in at.items())
    beside = [abs(_in_the_plane(one)[0, 1]) for one in at.values()]
    return Made(
        figure,
        [*series_of("errors", errors), *spikes],
        f"test error at alpha 4: {steps}; along the second direction the spikes have "
        + ", ".join(f"{part:.2f}" for part in beside),
    )


def _in_the_plane(solution: Solution) -> np.ndarray:
    """Components of the groups' spikes along the two directions, shape (K, 2)."""
    spike = solution.spike
    if spike.span == 1:
        return np.outer(spike.r, spike.gamma)
    return np.asarray(spike.r @ spike.gamma)


def _measured(simulation: Simulation) -> np.ndarray:
    """Return the same of networks, on average."""
    length = np.asarray(simulation.r)
    return np.asarray(length[:, None] * np.atleast_2d(simulation.gamma))
