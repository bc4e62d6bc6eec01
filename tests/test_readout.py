"""The fitted readout beside scikit-learn's where it has the same problem; optimality conditions."""

import numpy as np
import pytest
from scipy.optimize import linprog
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC, LinearSVR

from spikedrf import losses
from spikedrf.readout import fit_readout
from spikedrf.ridge import ridge_readout

SEVERAL = [
    losses.Huber(0.3),
    losses.PseudoHuber(0.3),
    losses.Absolute(),
    losses.Quantile(0.8),
    losses.Logistic(),
    losses.Hinge(),
    losses.SquaredHinge(),
]
BOTH_SHAPES = pytest.mark.parametrize("shape", [(120, 50), (50, 120)], ids=["n>p", "n<p"])
ALL = pytest.mark.parametrize("loss", SEVERAL, ids=lambda loss: loss.name)


def problem(shape, signs=False, seed=0):
    rng = np.random.default_rng(seed)
    Phi = rng.standard_normal(shape)
    y = 0.5 + Phi @ rng.standard_normal(shape[1]) / np.sqrt(shape[1])
    y += 0.5 * rng.standard_normal(shape[0])
    return Phi, np.where(y >= 0, 1.0, -1.0) if signs else y


@BOTH_SHAPES
def test_square_loss_is_ridge_regression(shape):
    Phi, y = problem(shape)
    fit = fit_readout(Phi, y, "square", 0.2, tol=1e-14)
    np.testing.assert_allclose(fit.a, ridge_readout(Phi, y, 0.2), rtol=1e-6, atol=1e-6)
    assert fit.success
    assert fit.b == 0.0


@BOTH_SHAPES
@ALL
def test_optimality(loss, shape):
    # lam a is a combination of the features with weights f in -loss'(y, h), the subdifferential,
    # and without a penalty on b they add up to 0. By the bound of the docstring, a is known to
    # sqrt(2e-9 objective / lam) < 1e-3, and this to lam times that.
    Phi, y = problem(shape, loss.margin)
    fit = fit_readout(Phi, y, loss, 0.05, intercept=True)
    assert fit.success
    h = Phi @ fit.a / np.sqrt(shape[1]) + fit.b
    slack = 1e-3
    low, high = (-loss.derivative(y, h + side * slack) for side in (1, -1))
    low, high = np.minimum(low, high) - 1e-12, np.maximum(low, high) + 1e-12
    design = np.vstack([Phi.T / np.sqrt(shape[1]), np.ones(shape[0])])
    target = np.append(0.05 * fit.a, 0.0)
    # Smallest t with -t <= design f - target <= t.
    one = np.ones((len(target), 1))
    found = linprog(
        np.append(np.zeros(shape[0]), 1.0),
        A_ub=np.block([[design, -one], [-design, -one]]),
        b_ub=np.concatenate([target, -target]),
        bounds=[*zip(low, high, strict=True), (0, None)],
    )
    assert found.fun < 5e-5
    value = loss.value(y, h).sum() + 0.025 * fit.a @ fit.a
    assert fit.objective == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("intercept", [False, True])
def test_scikit_learn_logistic(intercept):
    Phi, y = problem((120, 50), signs=True)
    fit = fit_readout(Phi, y, "logistic", 0.3, intercept=intercept, tol=1e-14)
    theirs = LogisticRegression(
        C=1 / 0.3, fit_intercept=intercept, solver="newton-cholesky", tol=1e-10
    ).fit(Phi / np.sqrt(50), y)
    np.testing.assert_allclose(fit.a, theirs.coef_[0], rtol=1e-5, atol=1e-6)
    assert fit.b == pytest.approx(np.ravel(theirs.intercept_)[0], abs=1e-6)


@pytest.mark.parametrize("name", ["hinge", "squared_hinge", "absolute"])
def test_scikit_learn_support_vectors(name):
    loss = losses.resolve(name)
    Phi, y = problem((120, 50), loss.margin)
    fit = fit_readout(Phi, y, loss, 0.3, tol=1e-12)
    options = {"C": 1 / 0.3, "fit_intercept": False, "tol": 1e-10, "max_iter": 1_000_000}
    if loss.margin:
        theirs = LinearSVC(loss=name, dual=True, random_state=0, **options)
    else:
        theirs = LinearSVR(epsilon=0.0, random_state=0, **options)
    theirs.fit(Phi / np.sqrt(50), y)
    np.testing.assert_allclose(fit.a, theirs.coef_.ravel(), rtol=1e-3, atol=1e-4)


@ALL
def test_weights_are_repetitions(loss):
    Phi, y = problem((60, 20), loss.margin)
    weight = np.random.default_rng(1).integers(0, 3, 60)
    weighted = fit_readout(Phi, y, loss, 0.1, sample_weight=weight, intercept=True)
    repeated = fit_readout(
        np.repeat(Phi, weight, axis=0), np.repeat(y, weight), loss, 0.1, intercept=True
    )
    assert weighted.success
    assert weighted.objective == pytest.approx(repeated.objective, rel=2e-9)
    np.testing.assert_allclose(weighted.a, repeated.a, atol=1e-3)


def test_small_penalty_is_found_or_owned_up_to():
    # lam 1e-6 and a kink: the gap of a fit that claims success is compared with a better fit.
    Phi, y = problem((150, 100), signs=True)
    fit = fit_readout(Phi, y, "hinge", 1e-6, tol=1e-5)
    better = fit_readout(Phi, y, "hinge", 1e-6)
    assert fit.success
    assert better.success
    assert fit.objective - better.objective <= fit.gap <= 1e-5 * fit.objective
    Phi, y = problem((30, 10))
    hopeless = fit_readout(Phi, y, "quantile", 1e-3, tol=1e-18)
    assert not hopeless.success
    assert hopeless.gap > 1e-18 * hopeless.objective


def test_misuse():
    Phi, y = problem((10, 5))
    with pytest.raises(ValueError, match=r"y must be \+1 or -1 for loss 'hinge', got"):
        fit_readout(Phi, y, "hinge", 0.1)
    with pytest.raises(ValueError, match="lam must be > 0"):
        fit_readout(Phi, y, "huber", 0.0)
    with pytest.raises(ValueError, match="shapes do not match"):
        fit_readout(Phi, y[:-1], "huber", 0.1)
    with pytest.raises(ValueError, match="sample_weight must have shape"):
        fit_readout(Phi, y, "huber", 0.1, sample_weight=np.ones(3))
    with pytest.raises(ValueError, match="must not be zero everywhere"):
        fit_readout(Phi, y, "huber", 0.1, sample_weight=np.zeros(10))
    with pytest.raises(ValueError, match="y must be finite"):
        fit_readout(Phi, np.full(10, np.nan), "huber", 0.1)
