"""What several values of the initial readout buy: one learned function for each.

The limit must be read with care where the functions nearly coincide. Their combination then has
large coefficients ``m``, and the noise of the ``p`` features is in proportion to ``m^2/p``: tanh
on sin with ``u = 1, 2`` has ``m`` of -9 and 6 at its best step, and at d = 300 five times the
error of the limit. Here ``m`` is below 5, and networks of some hundred dimensions come close.
"""

from __future__ import annotations

import numpy as np

from spikedrf import GradientStep, theory
from spikedrf.figures.plan import Made, Plan, Setting
from spikedrf.figures.series import series_of
from spikedrf.plotting import ErrorCurvesDisplay, LearnedFunctionDisplay
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.error_curves import with_step
from spikedrf.plotting.style import new_panels, scaled

SUMMARY = "what a larger vocabulary of the initial readout buys, each with its best step"

MODEL: Setting = {"activation": "erf", "target": lambda x: np.sin(2.0 * x), "beta": 2.0, "lam": 0.1}
ALPHA0, ALPHA = 50.0, 5.0
#: Values of the initial readout. For an odd activation a value and its negative are the same
#: function, so these all have one sign.
VOCABULARIES = {
    "$u = 1$": [1.0],
    "$u = 1, 3$": [1.0, 3.0],
    "$u = 1, 3, 5$": [1.0, 3.0, 5.0],
}
ETA = np.geomspace(0.3, 60.0, 80)


def make(plan: Plan) -> Made:
    """Draw errors over alpha and over eta, and the functions learned at alpha = inf."""
    over_eta_ax, over_alpha_ax, function_ax = new_panels((13.0, 4.2), 3)
    figure = over_eta_ax.figure
    steps = {label: {"u": u, "alpha0": ALPHA0} for label, u in VOCABULARIES.items()}
    over_eta = ErrorCurvesDisplay.from_theory(
        "eta", ETA, {"no step": {"step": None}, **steps}, ax=over_eta_ax, alpha=ALPHA, **MODEL
    )
    over_eta_ax.set_title(
        rf"erf on $\sin 2x$, $\alpha = {ALPHA:g}$, $\alpha_0 = {ALPHA0:g}$",
        fontsize="medium",
        loc="left",
    )
    best, lowest = {}, {}
    for (label, u), line in zip(VOCABULARIES.items(), over_eta.lines_[1:], strict=False):
        step = GradientStep(eta=1.0, alpha0=ALPHA0, u=u)
        bounds = {"eta": (ETA[0], ETA[-1])}
        optimum = theory.optimise(ALPHA, over="eta", step=step, bounds=bounds, **MODEL)
        best[label] = {**steps[label], "eta": optimum.eta}
        lowest[label] = optimum.test_error
        over_eta_ax.plot(
            optimum.eta,
            optimum.test_error,
            "*",
            color=line.get_color(),
            markersize=scaled(11),
            zorder=22,
        )
    points = plan.simulate([0.5, 2.0, 8.0], best, model="srf", **MODEL)
    over_alpha = ErrorCurvesDisplay.from_theory(
        "alpha",
        np.geomspace(0.2, 100.0, 80),
        {"no step": {"step": None}, **best},
        points=points,
        ax=over_alpha_ax,
        **MODEL,
    )
    over_alpha_ax.set_title(r"at its best $\eta$", fontsize="medium", loc="left")
    solutions = {
        label: theory.solve(np.inf, **with_step({**MODEL, **special}))
        for label, special in best.items()
    }
    learned = LearnedFunctionDisplay.from_theory(
        solutions, target=MODEL["target"], along="spike", ax=function_ax
    )
    function_ax.set_title(r"$\alpha = \infty$", fontsize="medium", loc="left")
    for ax in (over_eta_ax, over_alpha_ax, function_ax):
        legend_beneath(ax)
    return Made(
        figure,
        [
            *series_of("over eta", over_eta),
            *series_of("over alpha", over_alpha),
            *series_of("functions", learned),
        ],
        f"lowest error over eta at alpha {ALPHA:g}: "
        + "; ".join(f"{label.strip('$')}: {value:.4f}" for label, value in lowest.items()),
    )
