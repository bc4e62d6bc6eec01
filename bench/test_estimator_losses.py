"""Readouts under other losses beside scikit-learn's solvers, on the same features.

Both minimise ``sum_mu loss(y_mu, Phi_mu . a / sqrt p + b) + (lam/2) |a|^2``; what they reach is
compared before the time is.
"""

import numpy as np
import pytest
from sklearn.linear_model import HuberRegressor, LogisticRegression

from spikedrf import SpikedRFClassifier, SpikedRFRegressor, losses
from spikedrf.readout.convex import ReadoutProblem

ROWS, INPUTS, WIDTH, FOLDS = 10_000, 50, 1000, 2
#: From 1 on the rivals, which know no coordinates but the features, come to the minimum as well.
RIDGES = np.logspace(3, 0, 7)
SIZE = f"n {ROWS}, d {INPUTS}, p {WIDTH}"
#: What the objectives may differ by: what the choice of a ridge needs.
CLOSE = 2e-4


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, INPUTS))
    y = np.sin(2.0 * X[:, 0]) + 0.5 * X[:, 1] + 0.3 * rng.standard_normal(ROWS)
    plain = SpikedRFRegressor(WIDTH, step_size=0.0, alpha=1.0, random_state=0).fit(X, y)
    return X, y, plain.transform(X)


def objective(loss, y, phi, lam, a, b):
    h = phi @ a / np.sqrt(WIDTH) + b
    return loss.value(y, h).sum() + 0.5 * lam * a @ a


def parts(y):
    fold = np.arange(ROWS) % FOLDS
    return [fold != f for f in range(FOLDS)]


def ours(loss, y, phi):
    """Every ridge without every part of the rows."""
    found = []
    for kept in parts(y):
        path = ReadoutProblem(phi[kept], intercept=True).fit_path(y[kept, None], [loss], RIDGES)
        found += [(path.a[:, i, 0], path.b[i, 0]) for i in range(RIDGES.size)]
    return found


def logistic(y, phi):
    """The same by scikit-learn, each from the ridge before."""
    found, scaled = [], phi / np.sqrt(WIDTH)
    for kept in parts(y):
        fit = LogisticRegression(warm_start=True, tol=1e-6, max_iter=5000)
        for lam in RIDGES:
            fit.set_params(C=1.0 / lam).fit(scaled[kept], y[kept])
            found.append((fit.coef_[0].copy(), fit.intercept_[0]))
    return found


def huber(y, phi):
    """HuberRegressor fits a scale too: given the one that it finds, it minimises what we do."""
    found, scaled = [], phi / np.sqrt(WIDTH)
    for kept in parts(y):
        fit = HuberRegressor(warm_start=True, max_iter=2000)
        for lam in RIDGES:
            fit.set_params(alpha=lam).fit(scaled[kept], y[kept])
            found.append((fit.coef_.copy(), fit.intercept_, fit.scale_))
    return found


@pytest.mark.parametrize("entrant", ["spikedrf", "LogisticRegression(lbfgs)"])
def test_logistic_path(race, data, entrant):
    _, y, phi = data
    y = np.where(y > 0, 1.0, -1.0)
    loss = losses.Logistic()
    run = {
        "spikedrf": lambda: ours(loss, y, phi),
        "LogisticRegression(lbfgs)": lambda: logistic(y, phi),
    }
    expected = ours(loss, y, phi)

    def check(found):
        for i, ((a, b), (c, d)) in enumerate(zip(found, expected, strict=True)):
            kept, lam = parts(y)[i // RIDGES.size], RIDGES[i % RIDGES.size]
            value, least = (
                objective(loss, y[kept], phi[kept], lam, *fit) for fit in ((a, b), (c, d))
            )
            assert abs(value - least) < CLOSE * least

    group = f"readout, {RIDGES.size} ridges x {FOLDS} folds, {SIZE}"
    race(
        entrant, run[entrant], check=check, group=group, row="logistic", target=0.67, memory=np.inf
    )


@pytest.mark.parametrize("entrant", ["spikedrf", "HuberRegressor"])
def test_huber_path(race, data, entrant):
    _, y, phi = data
    run = {
        "spikedrf": lambda: ours(losses.Huber(1.0), y, phi),
        "HuberRegressor": lambda: huber(y, phi),
    }

    def check(found):
        for i, fit in enumerate(found):
            kept, lam = parts(y)[i // RIDGES.size], RIDGES[i % RIDGES.size]
            if entrant == "spikedrf":
                loss, ridge = losses.Huber(1.0), lam
            else:  # its objective is 2/scale times ours, with this width and this ridge
                loss, ridge = losses.Huber(1.35 * fit[2]), lam * fit[2]
            problem = ReadoutProblem(phi[kept], intercept=True)
            least = problem.fit(y[kept], loss, float(ridge), tol=1e-9).objective
            assert objective(loss, y[kept], phi[kept], ridge, *fit[:2]) < (1 + CLOSE) * least

    group = f"readout, {RIDGES.size} ridges x {FOLDS} folds, {SIZE}"
    race(entrant, run[entrant], check=check, group=group, row="Huber", target=0.67, memory=np.inf)


@pytest.mark.parametrize("entrant", ["spikedrf", "LogisticRegression, its features, its ridge"])
def test_whole_fit_of_a_classifier(race, data, entrant):
    X, y, _ = data
    y = y > 0
    fitted = SpikedRFClassifier(WIDTH, random_state=0).fit(X, y)
    phi = fitted.transform(X) / np.sqrt(WIDTH)

    def one():
        return LogisticRegression(C=1.0 / fitted.alpha_, tol=1e-6, max_iter=5000).fit(phi, y)

    def whole():
        return SpikedRFClassifier(WIDTH, random_state=0).fit(X, y)

    def check(found):
        a = found.coef_[0] if isinstance(found, LogisticRegression) else (
            found.readout_coef_[0] * np.sqrt(WIDTH))  # fmt: skip
        signs = np.where(y, 1.0, -1.0)
        args = losses.Logistic(), signs, phi * np.sqrt(WIDTH), fitted.alpha_
        least = objective(*args, fitted.readout_coef_[0] * np.sqrt(WIDTH), fitted.intercept_[0])
        assert objective(*args, a, found.intercept_[0]) == pytest.approx(least, rel=1e-5)

    group = f"fit of a classifier, step and ridge chosen, {SIZE}"
    run = whole if entrant == "spikedrf" else one
    race(entrant, run, check=check, group=group, row="", part=entrant != "spikedrf", memory=np.inf)
