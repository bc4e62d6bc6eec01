"""The fitted readout beside scikit-learn's where it has the same problem; optimality conditions."""

import numpy as np
import pytest
from scipy.optimize import linprog
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC, LinearSVR

from spikedrf import losses
from spikedrf.readout.convex import ReadoutProblem, best_constant, fit_readout
from spikedrf.readout.newton import Matrix
from spikedrf.readout.ridge import ridge_readout

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


@BOTH_SHAPES
@ALL
def test_a_path_of_penalties(loss, shape):
    # From one fit to the next, on the same preparations: the minima of separate fits.
    Phi, y = problem(shape, loss.margin)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(y))
    path, fit = ReadoutProblem(Phi, weight, intercept=True), None
    for lam in (10.0, 0.3, 0.01):
        fit = path.fit(y, loss, lam, start=fit)
        alone = fit_readout(Phi, y, loss, lam, intercept=True, sample_weight=weight)
        assert fit.success
        assert fit.objective == pytest.approx(alone.objective, rel=2e-9)
        quick = path.fit(y, loss, lam, start=fit, tol=1e-4, proven=False)
        assert quick.objective > alone.objective * (1 - 1e-9)
        assert quick.objective < alone.objective * (1 + 1e-3)
        # The dual variables make the readout, up to what the gap leaves.
        a = -(weight * fit.multipliers) @ Phi / (lam * np.sqrt(shape[1]))
        np.testing.assert_allclose(fit.a, a, atol=2 * np.sqrt(2e-9 * fit.objective / lam))


@pytest.mark.parametrize("loss", ["huber", "pseudo_huber", "quantile", "absolute"])
def test_labels_have_no_origin(loss):
    Phi, y = problem((120, 50))
    fit = fit_readout(Phi, y, loss, 0.1, intercept=True)
    moved = fit_readout(Phi, y + 1e6, loss, 0.1, intercept=True)
    assert moved.success
    np.testing.assert_allclose(moved.a, fit.a, atol=1e-4)
    assert moved.b - 1e6 == pytest.approx(fit.b, abs=1e-4)


def test_the_middle_of_several_intercepts():
    # Features that explain nothing: any b between the two middle labels is a median.
    fit = fit_readout(
        np.ones((4, 3)), np.array([0.0, 1.0, 3.0, 9.0]), "absolute", 1.0, intercept=True
    )
    assert fit.b == pytest.approx(2.0, abs=1e-9)
    np.testing.assert_allclose(fit.a, 0.0, atol=1e-9)
    assert fit.success


def test_best_constant():
    y, weight = np.array([-1.0, 0.0, 2.0, 7.0]), np.array([1.0, 2.0, 3.0, 2.0])
    for loss, expected in (
        (losses.Square(), np.average(y, weights=weight)),
        (losses.Huber(1e9), np.average(y, weights=weight)),
        (losses.Huber(1e-9), 2.0),
        (losses.Quantile(0.1), -1.0),
        (losses.Quantile(0.8), 7.0),
        (losses.Quantile(0.375), 1.0),
    ):
        assert best_constant(y, loss, weight) == pytest.approx(expected, abs=1e-8)
    signs, weight = np.array([1.0, -1.0, -1.0]), np.array([6.0, 1.0, 1.0])
    assert best_constant(signs, losses.Logistic(), weight) == pytest.approx(np.log(3.0))
    # 6 * 2 (1 - b) = 2 * 2 (1 + b)
    assert best_constant(signs, losses.SquaredHinge(), weight) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["logistic", "squared_hinge"])
@BOTH_SHAPES
def test_separable_classes_at_a_small_penalty(name, shape):
    # The minimum is far out, where the curvature is not at all that of the start.
    Phi, _ = problem(shape)
    y = np.where(Phi @ np.ones(shape[1]) > 0, 1.0, -1.0)
    fit = fit_readout(Phi, y, name, 1e-6, intercept=True)
    assert fit.success
    assert (y * (Phi @ fit.a / np.sqrt(shape[1]) + fit.b) > 0).all()
    assert fit.objective < 0.05


@pytest.mark.parametrize(
    ("loss", "lam", "seeds"),
    [
        (losses.Hinge(), 1e-4, (1, 2, 13)),
        (losses.SquaredHinge(), 1e-4, (1, 2)),
        (losses.Huber(0.01), 1e-9, (3, 18, 37)),
        (losses.PseudoHuber(0.1), 1e-8, (1, 21, 28)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_labels_far_beyond_the_width_of_the_loss(loss, lam, seeds):
    # Nearly all rows are on straight pieces, unbounded features and next to no penalty: a place
    # where the slope along a step is small can be higher than where it began.
    for seed in seeds:
        rng = np.random.default_rng(seed)
        X = 10.0 * rng.standard_normal((60, 4))
        Phi = np.maximum(X @ rng.standard_normal((4, 20)), 0.0)
        if loss.margin:
            y = np.sign(X[:, 0] + 3.0 * rng.standard_normal(60))
        else:
            y = 1e4 * rng.standard_t(1.5, 60)
        weight = rng.choice([0.3, 1.0, 4.0], 60)
        fit = fit_readout(Phi, y, loss, lam, intercept=True, sample_weight=weight, tol=1e-7)
        assert fit.success


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
    with pytest.raises(ValueError, match=r"both signs for loss 'logistic' .* got only \+1"):
        fit_readout(Phi, np.ones(10), "logistic", 0.1, intercept=True)


@pytest.mark.parametrize("loss", [losses.Logistic(), losses.PseudoHuber(0.3)], ids=["signs", "y"])
def test_single_precision_is_enough_to_compare_ridges(loss):
    """A path in single precision reaches the minima of double precision to 1e-5."""
    Phi, y = problem((400, 60), signs=loss.margin)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, 400)
    ridges = np.logspace(1, -3, 5)

    def values(**how):
        path = ReadoutProblem(Phi, weight, intercept=True, **how).fit_path(
            y[:, None], [loss], ridges, tol=1e-6
        )
        a = path.a[:, :, 0]
        h = Phi @ a / np.sqrt(60) + path.b[:, 0]
        return weight @ loss.value(y[:, None], h) + 0.5 * ridges * (a**2).sum(axis=0)

    np.testing.assert_allclose(values(single=True), values(), rtol=1e-5)
    few = ReadoutProblem(Phi[:50], intercept=True, single=True)
    assert few.design.A.dtype == np.float64


def test_a_rough_hessian_is_within_what_is_asked():
    rng = np.random.default_rng(0)
    weight = rng.random(3000)
    design = Matrix(np.ones(3000), False, rng.standard_normal((3000, 40)))
    exact = np.triu((design.A.T * weight) @ design.A)
    for within, least in ((1.0, 1e-7), (1e-6, 0.0)):  # the second in double precision
        rough = np.triu(design.weighted_gram(weight, within))
        off = np.linalg.norm(rough - exact, 2)
        assert least <= off < within
