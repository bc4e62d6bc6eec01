"""Three hidden layers with random weights, as the theory of their last one sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikedrf import Spike, theory
from spikedrf.figures.plan import Made, Plan
from spikedrf.figures.series import Series
from spikedrf.first_layer.bulk import BulkNodes
from spikedrf.first_layer.model import FirstLayer
from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.style import finish, new_figure, styles

SUMMARY = "three hidden layers with random weights and a power law, beside published numbers"

Floats = NDArray[np.float64]

# Schroeder, Dmitriev, Cui and Loureiro (arXiv 2402.13999), one draw at exponent .01. Of forty draws
# of teacher and features of our own, networks and all, the means and standard deviations are
# .179 +- .020, .346 +- .080 and .065 +- .008: another draw is another number.
PUBLISHED = {50: 0.186, 457: 0.346, 1000: 0.062}
D, RIDGE = 500, 1e-3
EXPONENTS = (0.01, 0.5)
SAMPLES = np.linspace(50, 1000, 96).round()


def make(plan: Plan) -> Made:
    """Draw the test error over the number of samples."""
    figure = new_figure((6.0, 4.5))
    ax = figure.subplots()
    series = []
    for exponent, style in zip(EXPONENTS, styles(len(EXPONENTS)), strict=True):
        error, success = _errors(exponent, np.random.default_rng(plan.seed))
        label = f"exponent {exponent:g}"
        line = {name: style[name] for name in ("color", "linestyle")}
        ax.semilogy(SAMPLES, error, label=label, **line)
        series.append(
            Series("errors", label, "theory", "n", "test_error", SAMPLES, error, None, success)
        )
    x, y = (np.array(part, dtype=np.float64) for part in zip(*PUBLISHED.items(), strict=True))
    ax.plot(x, y, "o", color="black", label="published, exponent 0.01")
    series.append(Series("errors", "published", "data", "n", "test_error", x, y))
    draws = ""
    if plan.d is not None:  # of the published size, whatever is asked for
        rng = np.random.default_rng(plan.seed)
        drawn = np.array([_simulated(EXPONENTS[0], rng) for _ in range(plan.replicates)])
        mean, spread = drawn.mean(axis=0), drawn.std(axis=0, ddof=min(1, len(drawn) - 1))
        label = f"{len(drawn)} draws of teacher and features"
        ax.errorbar(x, mean, spread, fmt="s", color="gray", label=label)
        sem = spread / np.sqrt(len(drawn))
        series.append(Series("errors", label, "simulation", "n", "test_error", x, mean, sem))
        draws = "; networks of other draws " + ", ".join(
            f"{m:.3f} +- {s:.3f}" for m, s in zip(mean, spread, strict=True)
        )
    ax.set(xlabel="samples", ylabel="test error")
    finish(ax)
    legend_beneath(ax)
    ours = np.interp(x, SAMPLES, series[0].y)
    return Made(
        figure,
        series,
        "at n "
        + ", ".join(
            f"{n:g}: {a:.3f} (published {b:.3f})" for n, a, b in zip(x, ours, y, strict=True)
        )
        + ": draws of teacher and features differ by 11%, 23% and 12%"
        + draws,
    )


def _errors(exponent: float, rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
    r"""Ridge regression on ``tanh(W_3 tanh(W_1 tanh(W_1 x)))`` of labels ``theta.tanh(W x)``.

    ``W`` has columns of variance ``k^-.3/d``, ``W_1`` half of it and half of one with
    ``k^-exponent``, ``W_3 = G (W_1 W_1^T + 1/2)^{-1/2}``. What the second layer puts out has,
    layer by layer, the covariance of its linear part and noise; to the third it is an input with
    this covariance, and its rows have theirs.
    """
    teacher, first, theta = _drawn(exponent, rng)
    covariance, slope = _through(teacher, np.eye(D))
    variance = theta @ covariance @ theta
    pull = (theta * slope) @ teacher  # E y x
    covariance = np.eye(D)
    for _ in range(2):
        covariance, slope = _through(first, covariance)
        pull = slope * (first @ pull)
    root = np.linalg.cholesky(covariance)
    of_rows = np.linalg.inv(first @ first.T + 0.5 * np.eye(D))
    value, vectors = np.linalg.eigh(root.T @ of_rows @ root)
    along = vectors.T @ np.linalg.solve(root, pull)
    explained = float(along @ along)
    w = np.full(D, 1.0 / D)
    nodes = BulkNodes(value[:, None], w, w, 0.0 * w, along**2 / explained)
    layer = FirstLayer.along_one(Spike(0.0, value.mean(), 0.0), nodes)
    solution = theory.solve(
        SAMPLES / D, lam=RIDGE / D, activation="tanh", step=layer, rtol=1e-6,
        target=lambda x: np.sqrt(explained) * x, noise=np.sqrt(variance - explained),
    )  # fmt: skip
    return solution.test_error, solution.success


def _drawn(exponent: float, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """``W``, ``W_1`` and ``theta``."""
    k = np.arange(1, D + 1.0)
    teacher = rng.normal(0.0, D**-0.5, (D, D)) * k**-0.15
    first = 0.5 * rng.normal(0.0, D**-0.5, (D, D)) * k ** (-0.5 * exponent) + 0.5 * teacher
    return teacher, first, rng.normal(0.0, D**-0.5, D)


def _simulated(exponent: float, rng: np.random.Generator) -> Floats:
    """Return test errors of one draw of everything, at the published numbers of samples."""
    teacher, first, theta = _drawn(exponent, rng)
    value, vectors = np.linalg.eigh(first @ first.T + 0.5 * np.eye(D))
    third = rng.normal(0.0, D**-0.5, (D, D)) @ (vectors / np.sqrt(value)) @ vectors.T

    def draw(n: int) -> tuple[Floats, Floats]:
        x = rng.standard_normal((n, D))
        h = np.tanh(np.tanh(x @ first.T) @ first.T)
        return np.tanh(h @ third.T), np.tanh(x @ teacher.T) @ theta

    phi, y = draw(max(PUBLISHED))
    test, wanted = draw(4000)
    errors = []
    for n in PUBLISHED:
        gram = phi[:n].T @ phi[:n] + RIDGE * np.eye(D)
        a = np.linalg.solve(gram, phi[:n].T @ y[:n])
        errors.append(np.mean((wanted - test @ a) ** 2))
    return np.array(errors)


def _through(W: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """Covariance of ``tanh(W h)`` by its linear part and independent rest; the slopes."""
    z, w = np.polynomial.hermite_e.hermegauss(60)
    w = w / w.sum()
    inner = W @ covariance @ W.T
    sd = np.sqrt(np.diag(inner))
    f = np.tanh(sd[:, None] * z)
    slope, power = f @ (w * z) / sd, f**2 @ w
    out = np.outer(slope, slope) * inner
    np.fill_diagonal(out, power)
    return out, slope
