"""Two classes that are wider along a direction each: networks beside the theory of fixed means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikedrf import GradientStep, Mixture, theory
from spikedrf.figures.plan import Made, Plan
from spikedrf.figures.series import Series
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.style import finish, new_figure, styles

SUMMARY = "two classes, each wider along a direction of its own: networks of three activations"

Floats = NDArray[np.float64]

# Two classes N(0, I + spread gamma_c gamma_c^T) in equal parts, n = m = d, labels relu(xi.x), as in
# Demir and Dogan (arXiv 2503.00856); here xi lies between the two directions.
ACTIVATIONS = ("relu", "tanh", "sigmoid")
NOISE, RIDGE, ETA, ALPHA0 = 0.1, 1e-2, 1.0, 4.0
SPREAD = np.concatenate([[0.0], np.geomspace(0.1, 30.0, 16)])
SIMULATED = np.array([0.3, 1.0, 3.0, 10.0, 30.0])
DIRECTIONS = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2.0)
# A normal law of this width is a mixture of five narrower ones while the spread is of order one.
NODES = 5


def make(plan: Plan) -> Made:
    """Draw test errors over the spread, in units of the labels' mean square."""
    figure = new_figure((6.0, 4.5))
    ax = figure.subplots()
    series, gaps = [], []
    for name, style in zip(ACTIVATIONS, styles(len(ACTIVATIONS)), strict=True):
        solutions = [_solve(spread, name) for spread in SPREAD]
        error = np.array([s.test_error for s in solutions]) / _power(SPREAD)
        success = np.array([s.success for s in solutions])
        line = {key: style[key] for key in ("color", "linestyle")}
        ax.semilogx(SPREAD[1:], error[1:], label=name, **line)
        series.append(
            Series("errors", name, "theory", "spread", "test_error", SPREAD, error, None, success)
        )
        if plan.d is None:
            continue
        rng = np.random.default_rng(plan.seed)
        drawn = np.array(
            [[_network(spread, name, plan.d, rng) for _ in range(plan.replicates)]
             for spread in SIMULATED]
        ) / _power(SIMULATED)[:, None]  # fmt: skip
        mean = drawn.mean(axis=1)
        sem = drawn.std(axis=1, ddof=1) / np.sqrt(plan.replicates) if plan.replicates > 1 else None
        ax.errorbar(SIMULATED, mean, sem, fmt="o", color=style["color"])
        series.append(
            Series("errors", name, "simulation", "spread", "test_error", SIMULATED, mean, sem)
        )
        gap = mean / np.interp(SIMULATED, SPREAD, error) - 1.0
        gaps.append(f"{name} " + ", ".join(f"{g:+.0%}" for g in gap))
    ax.set(xlabel="spread along a direction of each class", ylabel="test error over mean square")
    finish(ax)
    legend_beneath(ax, 3)
    one = ", ".join(
        f"{s.label} {float(np.interp(1.0, s.x, s.y)):.3f}" for s in series if s.kind == "theory"
    )
    finding = f"at spread 1 the theory has {one} of the labels' mean square"
    if gaps:
        finding += f"; networks from it at spreads {SIMULATED.tolist()}: " + "; ".join(gaps)
    return Made(figure, series, finding)


def _power(spread: Floats) -> Floats:
    """Mean square of the labels, without noise: xi sees half of the spread."""
    return np.asarray(0.5 * (1.0 + 0.5 * spread))


def classes(spread: float) -> Mixture:
    """Return the two classes, each as five of unit width along its direction."""
    x, w = np.polynomial.hermite_e.hermegauss(NODES)
    means = np.sqrt(spread) * np.concatenate([np.outer(x, v) for v in DIRECTIONS])
    return Mixture(means, proportions=np.tile(w / w.sum(), 2) / 2.0)


def _solve(spread: float, activation: str) -> theory.Solution:
    return theory.solve(
        1.0, lam=RIDGE, beta=1.0, activation=activation, target="relu", noise=NOISE,
        inputs=classes(spread), step=GradientStep(ETA, ALPHA0), rtol=1e-6,
    )  # fmt: skip


def _network(spread: float, activation: str, d: int, rng: np.random.Generator) -> float:
    """Train one network on the classes themselves and return its test error."""
    from spikedrf.features import feature_map
    from spikedrf.gradient_step import gradient_step
    from spikedrf.readout.ridge import ridge_readout

    def draw(n: int) -> tuple[Floats, Floats]:
        x = rng.standard_normal((n, d))
        wide = np.sqrt(spread) * rng.standard_normal(n)
        x[:, :2] += wide[:, None] * DIRECTIONS[rng.integers(0, 2, n)]
        return x, np.maximum(x[:, 0], 0.0) + NOISE * rng.standard_normal(n)

    W = rng.standard_normal((d, d))
    W /= np.linalg.norm(W, axis=1)[:, None]
    x, y = draw(round(ALPHA0 * d))
    W = gradient_step(x, y, W, np.ones(d), activation, ETA).W
    x, y = draw(d)
    a = ridge_readout(feature_map(x, W, activation), y, RIDGE)
    x, y = draw(4 * d)
    h = feature_map(x, W, activation) @ a / np.sqrt(d)
    return float(np.mean((y - h) ** 2))
