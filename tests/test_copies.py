"""Copies of a row in every guise, and units of weights, targets and inputs."""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier, BaggingRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score

from spikedrf import SpikedRandomFeatures, SpikedRFClassifier, SpikedRFRegressor
from spikedrf.estimators.rows import Rows
from spikedrf.readout.leave_one_out import Block, ridge_path


def data(n=300, d=6, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, np.sin(2.0 * X[:, 0]) + noise * rng.standard_normal(n)


def without_copies(model, X, y, weight, ridge):
    """Squared residual of each row by ridge regressions that know none of its copies."""
    Phi = model.transform(X)
    squares = np.empty(len(y))
    for i in range(len(y)):
        left = np.where((X[i] == X).all(axis=1), 0.0, weight)
        fit = Ridge(alpha=ridge * Phi.shape[1], solver="svd").fit(Phi, y, sample_weight=left)
        squares[i] = (fit.predict(Phi[i : i + 1])[0] - y[i]) ** 2
    return squares


@pytest.mark.parametrize("p", [15, 120])
@pytest.mark.parametrize("ridge", [0.3, [0.3, 2.0]])
def test_leave_one_out_leaves_out_all_copies(p, ridge):
    """Rows that are there several times, with weights, some with different targets."""
    X, y = data(40, 3)
    rng = np.random.default_rng(1)
    some = rng.integers(0, 40, 60)
    X, y = X[some], y[some] + 0.2 * (rng.random(60) < 0.5)
    weight = rng.choice([0.5, 1.0, 3.0], 60)
    model = SpikedRFRegressor(p, step_size=0.0, alpha=ridge, random_state=0)
    model.fit(X, y, weight)
    squares = without_copies(model, X, y, weight, 0.3)
    found = model.loo_error_ if np.ndim(ridge) == 0 else model.loo_errors_[0, 0]
    assert found == pytest.approx(np.average(squares, weights=weight), rel=1e-7)


def test_without_a_ridge_and_with_copies():
    """At most as many rows as features and no ridge: the interpolator, a few rows repeated."""
    X, y = data(30, 4)
    few = np.r_[np.arange(30), [0, 0, 3, 7]]
    model = SpikedRFRegressor(80, step_size=0.0, alpha=0.0, random_state=0).fit(X[few], y[few])
    Phi = np.column_stack([model.transform(X), np.full(30, 1e4)])  # an intercept, not penalised
    squares = np.empty(30)
    for i in range(30):
        out = np.arange(30) != i
        a = np.linalg.lstsq(Phi[out], y[out], rcond=None)[0]
        squares[i] = (Phi[i] @ a - y[i]) ** 2
    assert model.loo_error_ == pytest.approx(squares[few].mean(), rel=1e-4)


@pytest.mark.parametrize("p", [60, 500])
def test_three_copies_of_all_rows_are_the_rows(p):
    """And so is a weight of three: but for the ridge, which counts rows, nothing is different."""
    X, y = data()
    model = SpikedRFRegressor(p, random_state=0)
    one = clone(model).fit(X, y)
    for other in (
        clone(model).fit(X, y, np.full(len(y), 3.0)),
        clone(model).fit(X.repeat(3, axis=0), y.repeat(3)),
    ):
        assert other.step_size_ == pytest.approx(one.step_size_, rel=1e-9)
        assert other.alpha_ == pytest.approx(3.0 * one.alpha_, rel=1e-9)
        assert other.loo_error_ == pytest.approx(one.loo_error_, rel=1e-7)
        assert other.step_gain_sem_ == pytest.approx(one.step_gain_sem_, rel=1e-6)
        np.testing.assert_allclose(other.predict(X), one.predict(X), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", ["huber", "absolute", "logistic"])
def test_three_copies_under_other_losses(loss):
    X, y = data(120, 4)
    model = SpikedRFRegressor(30, loss=loss, random_state=0)
    if loss == "logistic":
        model, y = SpikedRFClassifier(30, random_state=0), y > 0
    one = clone(model).fit(X, y)
    for other in (
        clone(model).fit(X, y, np.full(len(y), 3.0)),
        clone(model).fit(X.repeat(3, axis=0), y.repeat(3)),
    ):
        assert other.step_size_ == pytest.approx(one.step_size_, rel=1e-9)
        assert other.alpha_ == pytest.approx(3.0 * one.alpha_, rel=1e-9)
        assert other.step_gain_sem_ == pytest.approx(one.step_gain_sem_, rel=1e-2)
        assert other.cv_loss_ == pytest.approx(one.cv_loss_, rel=1e-3)
        np.testing.assert_allclose(other.predict(X), one.predict(X), rtol=1e-4, atol=1e-5)


def test_bootstraps_take_a_step():
    """A bagging hands the numbers of copies on as weights."""
    X, y = data(300, 8)
    test, truth = data(2000, 8, seed=1)
    model = SpikedRFRegressor(200, random_state=0)
    one = clone(model).fit(X, y)
    bag = BaggingRegressor(model, n_estimators=3, random_state=0).fit(X, y)
    assert all(each.step_size_ > 0 for each in bag.estimators_)
    assert bag.score(test, truth) > one.score(test, truth) - 0.05


def test_weights_that_sum_to_one_take_a_step():
    """Boosting normalises its weights: the first are all 1/n."""
    X, y = data(600, 4, noise=0.0)
    model = SpikedRFClassifier(60, random_state=0)
    boost = AdaBoostClassifier(model, n_estimators=2, random_state=0).fit(X, y > 0)
    one = clone(model).set_params(**boost.estimators_[0].get_params()).fit(X, y > 0)
    assert one.step_size_ > 0
    assert boost.estimators_[0].step_size_ == pytest.approx(one.step_size_, rel=1e-9)
    assert all(each.step_size_ > 0 for each in boost.estimators_)


def test_balanced_classes_are_a_ratio_of_weights():
    X, y = data(500, 8)
    y = y > 0.95
    ratio = (~y).sum() / y.sum()
    model = SpikedRFClassifier(100, random_state=0)
    balanced = clone(model).set_params(class_weight="balanced").fit(X, y)
    scaled = clone(model).set_params(class_weight={False: 1.0 / ratio, True: 1.0}).fit(X, y)
    assert balanced.step_size_ == pytest.approx(scaled.step_size_, rel=1e-9)
    assert balanced.alpha_ == pytest.approx(scaled.alpha_ * len(y) / (~y).sum() / 2 * ratio)
    score = balanced_accuracy_score(y, balanced.predict(X))
    assert score == pytest.approx(balanced_accuracy_score(y, scaled.predict(X)), abs=1e-9)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
@pytest.mark.parametrize("what", ["weights", "targets", "inputs"])
@pytest.mark.parametrize("loss", ["square", "huber", "absolute"])
def test_choices_have_no_unit(what, unit, loss):
    """In another unit the same is chosen, and predicted: weights, targets and inputs."""
    X, y = data(200, 3, noise=0.1)
    weight = np.random.default_rng(3).uniform(0.5, 2.0, len(y))
    model = SpikedRFRegressor(30, loss=loss, random_state=0)
    one = clone(model).fit(X, y, weight)
    size = {name: unit if name == what else 1.0 for name in ("weights", "targets", "inputs")}
    other = clone(model).fit(X * size["inputs"], y * size["targets"], weight * size["weights"])
    degree = 1 if loss == "absolute" else 2
    ridge = size["weights"] * size["targets"] ** (degree - 2)
    assert one.step_size_ > 0 or loss == "absolute"
    assert other.step_size_ == pytest.approx(one.step_size_, rel=1e-7)
    assert other.alpha_ == pytest.approx(ridge * one.alpha_, rel=1e-7)
    np.testing.assert_allclose(
        other.predict(X * size["inputs"]) / size["targets"], one.predict(X), rtol=2e-4, atol=1e-5
    )


@pytest.mark.parametrize("what", ["weights", "targets"])
@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_sizes_whose_squares_overflow(what, unit):
    X, y = data(120, 4)
    y = y / 1e60 if what == "targets" and unit > 1 else y  # squares of y itself must not overflow
    labels = y > 0
    one = SpikedRFClassifier(20, random_state=0).fit(X, labels)
    if what == "weights":
        other = SpikedRFClassifier(20, random_state=0).fit(X, labels, np.full(len(y), unit))
        assert other.step_size_ == pytest.approx(one.step_size_, rel=1e-9)
        np.testing.assert_allclose(
            other.decision_function(X), one.decision_function(X), rtol=1e-4, atol=1e-6
        )
        return
    for loss in ("square", "huber", "absolute"):
        model = SpikedRFRegressor(20, loss=loss, random_state=0)
        expected = clone(model).fit(X, y).predict(X) * unit
        np.testing.assert_allclose(
            clone(model).fit(X, y * unit).predict(X), expected, rtol=1e-4, atol=1e-5 * unit
        )


@pytest.mark.parametrize("unit", [1e-8, 1e-6, 1e6])
def test_a_stream_in_single_precision_has_no_unit(unit):
    X, y = data(600, 5)
    X = X.astype(np.float32)
    model = SpikedRandomFeatures(30, step_size=2.0, scale=False, random_state=0)
    whole = clone(model).fit(X, y)
    stream = clone(model)
    for i in range(0, 600, 200):
        stream.partial_fit(X[i : i + 200], unit * y[i : i + 200])
    start = clone(model).set_params(step_size=0.0).fit(X, y).weights_
    moved = np.linalg.norm(whole.weights_ - start)
    assert np.linalg.norm(stream.weights_ - whole.weights_) < 1e-4 * moved


def test_distinct_rows_are_means_of_their_copies():
    X = np.array([[1.0, 0.0], [2.0, 0.0], [1.0, -0.0], [3.0, 1.0]])
    y = np.array([[1.0], [5.0], [4.0], [2.0]])
    weight = np.array([1.0, 1.0, 2.0, 1.0])
    rows = Rows(X, y, weight, True, np.arange(4), 4)
    distinct = rows.distinct(7)
    assert distinct.number.tolist() == [0, 1, 3]
    assert distinct.weight.tolist() == [3.0, 1.0, 1.0]
    assert distinct.y.ravel().tolist() == [3.0, 5.0, 2.0]
    assert distinct.within.ravel().tolist() == [2.0, 0.0, 0.0]
    assert distinct.variance == pytest.approx(rows.variance, rel=1e-14)
    assert distinct.distinct(7) is distinct


def test_near_copies_are_not_copies():
    """What is equal up to rounding counts as different rows, and no warning hides it."""
    X, y = data(50, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SpikedRFRegressor(20, step_size=0.0, alpha=[0.1, 1.0], random_state=0)
        near = clone(model).fit(np.vstack([X, X + 1e-7]), np.r_[y, y])
    copies = clone(model).fit(np.vstack([X, X]), np.r_[y, y])
    assert near.loo_error_ < copies.loo_error_


@dataclass
class LeftOut:
    """Features and labels as `ridge_path` takes them."""

    Phi: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    within: None = None

    def __len__(self):
        return len(self.y)

    def blocks(self):
        yield Block(slice(None), self.Phi.copy(), self.y, self.weight)

    def take(self, index):
        return LeftOut(self.Phi[index], self.y[index], self.weight[index])

    def sum(self, measure):
        return measure(self)

    def here(self):
        return self


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("p", [12, 150])
def test_leave_one_out_accuracy_of_classes(classes, weighted, p):
    """Which classes ridge regression predicts for rows left out, against fits without them.

    RidgeClassifierCV reports another number for two classes (scikit-learn, issue 34942).
    """
    rng = np.random.default_rng(classes)
    X = rng.standard_normal((90, 3))
    y = np.digitize(X[:, 0] + 0.7 * rng.standard_normal(90), np.linspace(-0.8, 0.8, classes - 1))
    weight = rng.choice([0.3, 1.0, 4.0], 90) if weighted else np.ones(90)
    Phi = np.tanh(X @ rng.standard_normal((3, p)))
    signs = np.where(y[:, None] == np.arange(classes), 1.0, -1.0)
    signs = signs[:, 1:] if classes == 2 else signs
    lam = np.array([1e-2, 1.0])

    def named(outputs):
        return (outputs[:, 0] > 0).astype(int) if classes == 2 else outputs.argmax(axis=1)

    path = ridge_path(LeftOut(Phi, signs, weight), p, lam, intercept=True)
    ((_, residual),) = path.leave_one_out()
    for i, ridge in enumerate(lam):
        expected = np.empty_like(signs)
        for row in range(90):
            kept = np.arange(90) != row
            fit = Ridge(alpha=ridge * p, solver="svd").fit(Phi[kept], signs[kept], weight[kept])
            expected[row] = fit.predict(Phi[[row]])
        found = signs - residual[:, i]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
        accuracy = np.average(named(found) == y, weights=weight)
        assert accuracy == pytest.approx(np.average(named(expected) == y, weights=weight))
        assert 1.0 / classes < accuracy < 1.0


@pytest.mark.parametrize("classes", [2, 3])
def test_what_the_step_of_a_classifier_is_chosen_by(classes):
    """Without a step: the squared error of ridge regression of the labels, each row left out."""
    rng = np.random.default_rng(classes)
    X = rng.standard_normal((70, 3))
    y = np.digitize(X[:, 0] + 0.5 * rng.standard_normal(70), np.linspace(-0.4, 0.4, classes - 1))
    weight = rng.choice([0.5, 1.0, 3.0], 70)
    model = SpikedRFClassifier(20, step_size=[1.0], random_state=0).fit(X, y, weight)
    plain = clone(model).set_params(step_size=0.0).fit(X, y, weight)
    signs = np.where(y[:, None] == np.arange(classes), 1.0, -1.0)[
        :, -(classes if classes > 2 else 1) :
    ]
    least = np.inf
    for ridge in 10.0 ** np.arange(-6, 3.5, 0.5):
        squares = [without_copies(plain, X, t, weight, ridge) for t in signs.T]
        least = min(least, np.average(np.mean(squares, axis=0), weights=weight))
    # Its own grid has two ridges a decade too, moved by less than one: at the minimum that is flat.
    assert model.step_errors_[0] == pytest.approx(least, rel=0.01)
