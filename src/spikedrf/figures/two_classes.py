"""Two classes of inputs: errors by class, and networks of three activations."""

from __future__ import annotations

import numpy as np

from spikedrf import GradientStep, Mixture, theory
from spikedrf.figures.plan import Made, Plan, Setting
from spikedrf.figures.series import Series, series_of
from spikedrf.plotting import ErrorCurvesDisplay
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.style import LABELS, finish, new_panels, styles

SUMMARY = "two classes of inputs: errors by class, and networks of three activations"

MEANS = ((1.0, 0.5), (-1.0, -0.5))
SHARES = (0.25, 0.75)
LABELLED: Setting = {"activation": "relu", "beta": 1.0, "lam": 0.3}
ALPHA = np.geomspace(0.3, 30.0, 40)
# Two classes without labels of their own, n = m = d, the target a relu along their means, as in
# Demir and Dogan (arXiv 2503.00856).
REGRESSION: Setting = {
    "target": "relu", "alpha": 1.0, "beta": 1.0, "lam": 1e-2, "alpha0": 4.0, "noise": 0.1,
    "inputs": Mixture([1.0, -1.0]),
}  # fmt: skip
ACTIVATIONS = ("relu", "tanh", "sigmoid")
ETA = np.linspace(0.05, 6.0, 40)
SIMULATED = (1.0, 3.0, 5.0)


def make(plan: Plan) -> Made:
    """Draw rates of wrong signs by class over alpha, and errors of a regression over eta."""
    left, right = new_panels((10.0, 4.5), 2)
    figure = left.figure
    classes = Mixture(MEANS, proportions=SHARES, labels=(1.0, -1.0))
    solution = theory.solve(ALPHA, inputs=classes, step=GradientStep(1.0, 5.0), **LABELLED)
    series = []
    for k, (name, style) in enumerate(zip(("rare", "common"), styles(2), strict=True)):
        rate = solution.class_error_rate[:, k]
        line = {key: style[key] for key in ("color", "linestyle")}
        label = f"{name} class"
        left.semilogx(ALPHA, rate, label=label, **line)
        series.append(
            Series("classes", label, "theory", "alpha", "rate of wrong signs", ALPHA, rate, None,
                   solution.success)
        )  # fmt: skip
    left.set(xlabel=LABELS["alpha"], ylabel="rate of wrong signs", ylim=(0.0, None))
    finish(left)
    legend_beneath(left)
    rest = {name: value for name, value in REGRESSION.items() if name != "alpha"}
    points = {}
    for activation in ACTIVATIONS:
        settings = {f"{eta:g}": {"eta": eta, "activation": activation} for eta in SIMULATED}
        simulated = plan.simulate(REGRESSION["alpha"], settings, model="network", **rest).values()
        if simulated:
            points[activation] = (
                np.array(SIMULATED),
                np.array([s.test_error for s in simulated]),
                np.array([s.test_error_sem for s in simulated]),
            )
    errors = ErrorCurvesDisplay.from_theory(
        "eta", ETA, {name: {"activation": name} for name in ACTIVATIONS}, points=points, ax=right,
        **REGRESSION,
    )  # fmt: skip
    right.set_title("two classes, relu along their means", fontsize="medium", loc="left")
    legend_beneath(right, 3)
    last = solution.class_error_rate[-1]
    return Made(
        figure,
        series + series_of("regression", errors),
        f"at alpha {ALPHA[-1]:g} least squares errs on {last[0]:.0%} of the class of share "
        f"{SHARES[0]:g} and on {last[1]:.0%} of the other",
    )
