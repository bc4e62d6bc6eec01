"""Real data before the step and after it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.figures.plan import Made, Plan, Skipped
from spikedrf.figures.series import Series
from spikedrf.plotting import FirstLayerDisplay
from spikedrf.plotting.style import BLACK, BLUE, VERMILLION, finish, new_panels, scaled

SUMMARY = "real data (pumadyn32nm) before and after the step, on rows held out"

DATA = "pumadyn32nm.csv.gz"
FEATURES, STEP_SIZE = 1000, 16.0
ALPHAS = np.geomspace(1e-3, 10.0, 9)
_SHOWN = 1000


def make(plan: Plan) -> Made:
    """Draw predictions of held-out rows without a step and after it, and what it turned to."""
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from spikedrf import SpikedRFRegressor

    if plan.data is None or not (plan.data / DATA).is_file():
        raise Skipped(f"needs --data FOLDER, a folder that holds {DATA}, its target last")
    rows = np.loadtxt(plan.data / DATA, delimiter=",")
    X, y = rows[:, :-1], rows[:, -1]
    X_fit, X_new, y_fit, y_new = train_test_split(X, y, test_size=0.2, random_state=plan.seed)
    axes = new_panels((12.0, 4.4), 3)
    figure = axes[0].figure
    series: list[Series] = []
    scores = {}
    for ax, (label, step_size, colour) in zip(
        axes, (("no step", 0.0, VERMILLION), ("after the step", STEP_SIZE, BLUE)), strict=False
    ):
        model = make_pipeline(
            StandardScaler(),
            SpikedRFRegressor(FEATURES, step_size=step_size, alpha=ALPHAS, random_state=plan.seed),
        )
        model.fit(X_fit, y_fit)
        predicted = model.predict(X_new)
        scores[label] = model.score(X_new, y_new)
        _draw(ax, y_new, predicted, colour)
        ax.set_title(rf"{label}: $R^2 = {scores[label]:.2f}$", fontsize="medium", loc="left")
        series.append(Series("rows", label, "data", "observed", "predicted", y_new, predicted))
    weights = FirstLayerDisplay.from_estimator(model, axes=[axes[2]], most=12)
    sizes = weights.sizes
    assert sizes is not None
    inputs = np.arange(sizes.size, dtype=np.float64)
    series.append(Series("inputs", "size", "data", "input", "weight", inputs, sizes))
    series.append(
        Series("inputs", "direction", "data", "input", "weight", inputs, weights.importances)
    )
    return Made(
        figure,
        series,
        f"R^2 on {len(y_new)} rows held out: {scores['no step']:.3f} without a step, "
        f"{scores['after the step']:.3f} after it ({FEATURES} tanh features)",
    )


def _draw(
    ax: Any, observed: NDArray[np.float64], predicted: NDArray[np.float64], colour: str
) -> None:
    low, high = observed.min(), observed.max()
    ax.plot([low, high], [low, high], color=BLACK, linestyle=":", linewidth=scaled(1.2), zorder=4)
    ax.plot(
        observed[:_SHOWN], predicted[:_SHOWN], ".", color=colour, markersize=scaled(3), alpha=0.5
    )
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_xlabel("observed")
    ax.set_ylabel("predicted")
    finish(ax)
