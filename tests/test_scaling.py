"""Inputs and targets of any scale."""

import io
import tracemalloc
import warnings

import numpy as np
import pytest
import threadpoolctl
from joblib import delayed
from scipy import sparse
from sklearn.base import clone
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spikedrf import SpikedRandomFeatures, SpikedRFClassifier, SpikedRFRegressor, losses
from spikedrf.estimators.rows import Rows
from spikedrf.estimators.scaling import Scaling
from spikedrf.readout.convex import fit_readout, robust_scale
from spikedrf.running import memory, workers


def data(n=400, d=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, np.sin(2.0 * X[:, 0]) + 0.1 * rng.standard_normal(n)


def moved(X):
    """One column in another unit, one far from 0, one constant."""
    return np.column_stack(
        [X * [1e6, 1.0, 1e-9, 1.0, 1.0] + [0.0, 1e5, 0.0, 0.0, 3.0], 7.0 + 0 * X[:, 0]]
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_the_first_layer_sees_standardised_inputs(weighted):
    X, y = data()
    X = moved(X)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(y)) if weighted else None
    model = SpikedRFRegressor(30, step_size=1.0, alpha=0.1, step_fraction=1.0, random_state=0)
    own = clone(model).fit(X, y, weight)
    scaler = StandardScaler().fit(X, sample_weight=weight)
    plain = clone(model).set_params(scale=False).fit(scaler.transform(X), y, weight)
    np.testing.assert_allclose(own.predict(X), plain.predict(scaler.transform(X)), rtol=1e-7)
    np.testing.assert_allclose(own.scale_[:5], scaler.scale_[:5], rtol=1e-12)
    np.testing.assert_allclose(own.mean_, scaler.mean_, atol=1e-12 * np.abs(X).max())
    assert own.scale_[5] == 7.0
    # What is shown is in units of the inputs.
    z = (X - X.mean(axis=0)) @ own.weights_.T + own.weights_ @ X.mean(axis=0) + own.offsets_
    np.testing.assert_allclose(np.tanh(z), own.transform(X), atol=1e-8)
    direction = plain.spike_ / np.where(np.arange(6) < 5, scaler.scale_, 7.0)
    np.testing.assert_allclose(
        own.spike_, direction / np.linalg.norm(direction), rtol=1e-6, atol=1e-20
    )


def test_columns_of_any_unit_are_learned_from():
    X, y = data()
    test, truth = data(2000, seed=1)
    model = SpikedRFRegressor(150, random_state=0)
    standard = clone(model).fit(X, y).score(test, truth)
    assert standard > 0.8
    assert clone(model).fit(moved(X), y).score(moved(test), truth) == pytest.approx(
        standard, abs=0.02
    )


def test_single_precision_far_from_the_origin():
    """Inputs are scaled before they are rounded: an offset of 1e3 costs three digits of them."""
    X, y = data()
    far = (X + 1e3).astype(np.float32)
    model = SpikedRFRegressor(30, step_size=1.0, alpha=0.1, random_state=0)
    near = clone(model).fit(far.astype(float), y)
    single = clone(model).fit(far, y)
    assert single.layer_.dtype == np.float32
    np.testing.assert_allclose(single.predict(far), near.predict(far.astype(float)), atol=2e-3)


def test_sparse_columns_keep_their_zeros():
    X, y = data(300)
    X = np.where(np.abs(X) > 0.7, X, 0.0)
    units = np.array([1e5, 1.0, 1e-4, 1.0, 3.0])
    model = SpikedRFRegressor(30, step_size=1.0, alpha=0.1, random_state=0)
    fit = clone(model).fit(sparse.csr_matrix(X * units), y)
    assert not fit.mean_.any()
    np.testing.assert_allclose(fit.scale_, units * np.sqrt((X**2).mean(axis=0)), rtol=1e-12)
    plain = clone(model).set_params(scale=False).fit(X / np.sqrt((X**2).mean(axis=0)), y)
    np.testing.assert_allclose(
        fit.predict(X * units), plain.predict(X / np.sqrt((X**2).mean(axis=0))), rtol=1e-6
    )


@pytest.mark.parametrize("kind", [SpikedRandomFeatures, SpikedRFRegressor])
def test_a_stream_is_scaled_by_its_first_rows(kind):
    X, y = data()
    X = moved(X)
    model = kind(20, step_size=1.0, random_state=0).partial_fit(X[:200], y[:200])
    first = Scaling.of(Rows(X[:200], y[:200, None], np.ones(200), True, np.arange(200), 200))
    np.testing.assert_array_equal(model.mean_, first.mean)
    model.partial_fit(X[200:], y[200:])
    np.testing.assert_array_equal(model.scale_, first.size)


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e140])
def test_units_of_inputs_whose_squares_overflow(unit):
    X, _ = data(50)
    scaling = Scaling.of(Rows(unit * X, X, np.ones(50), True, np.arange(50), 50))
    np.testing.assert_allclose(scaling.size, unit * X.std(axis=0), rtol=1e-10)


def test_given_weights_are_in_units_of_the_inputs():
    X, y = data()
    X = moved(X)
    model = SpikedRFRegressor(20, step_size=1.0, alpha=0.1, random_state=0).fit(X, y)
    W0 = np.column_stack([model.weights_, model.offsets_])
    same = SpikedRFRegressor(20, step_size=0.0, W0=W0).fit(X, y)
    assert same.scale_ is None
    np.testing.assert_allclose(same.transform(X), model.transform(X), atol=1e-8)


# --------------------------------------------------------------------------------------------------
# Targets


def test_huber_by_name_has_the_scale_of_the_target():
    """On prices it is as good as on standardised targets; in their units if one asks for it."""
    X, y = data(300)
    price = 250_000 + 80_000 * y
    price[:10] *= 50.0
    test, truth = data(2000, seed=1)
    scores = {}
    for loss in ("huber", "pseudo_huber", "absolute", losses.Huber(1.0), losses.Huber(1e5)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = SpikedRFRegressor(60, loss=loss, random_state=0).fit(X, price)
        scores[loss] = model.score(test, 250_000 + 80_000 * truth)
        if loss == "huber":
            middle = np.median(price)
            scale = np.median(np.abs(price - middle)) / 0.6744897501960817
            assert model.delta_ == pytest.approx(1.35 * scale, rel=0.02)
    assert min(scores.values()) > 0.75, scores
    assert model.delta_ == 1e5


def test_robust_scale():
    y = np.array([1.0, 2.0, 3.0, 4.0, 100.0])
    assert robust_scale(y, np.ones(5)) == pytest.approx(1.0 / 0.6744897501960817)
    assert robust_scale(3e7 * y - 5.0, np.ones(5)) == pytest.approx(3e7 / 0.6744897501960817)
    assert robust_scale(np.array([0.0, 0, 0, 0, 2]), np.ones(5)) == pytest.approx(
        0.4 * np.sqrt(np.pi / 2)
    )
    assert robust_scale(np.ones(3), np.ones(3)) == 1.0


@pytest.mark.parametrize("loss", ["square", "huber", "pseudo_huber", "absolute", "quantile"])
@pytest.mark.parametrize("lam", [1e-3, 10.0])
def test_readouts_are_certified_over_thirty_orders_of_magnitude(loss, lam):
    rng = np.random.default_rng(0)
    Phi = np.tanh(rng.standard_normal((60, 15)))
    y = 3.0 + 2.0 * Phi[:, 0] + rng.standard_normal(60)
    for power in range(-15, 16, 3):
        unit = 10.0**power
        fit = fit_readout(Phi, unit * y, loss, lam, intercept=True)
        assert fit.success, power
        assert 0.0 <= fit.gap <= 1e-9 * fit.objective
        kind = losses.resolve(loss)
        h = Phi @ fit.a / np.sqrt(15) + fit.b
        value = kind.value(unit * y, h).sum() + 0.5 * lam * fit.a @ fit.a
        assert fit.objective == pytest.approx(value, rel=1e-9)
        # No other point is lower: not the constant, not the least squares.
        constant = kind.value(unit * y, np.median(unit * y)).sum()
        assert fit.objective <= constant * (1 + 1e-9)


# --------------------------------------------------------------------------------------------------
# Parameters of other kinds


def test_numbers_of_numpy():
    X, y = data(60)
    for size in (np.uint64(20), np.int32(20)):
        model = SpikedRFRegressor(size, step_size=1.0, alpha=0.1, random_state=0).fit(X, y)
        assert model.transform(X).shape == (60, 20)


def test_selectors_of_columns_take_the_importances():
    """The readout has a coefficient for each feature, not for each input: it is no `coef_`."""
    X, _ = data(300)
    y = np.sin(X[:, 1]) + np.tanh(2.0 * X[:, 3])
    model = SpikedRFRegressor(40, step_size=0.0, alpha=0.1, random_state=0)
    assert not hasattr(clone(model).fit(X, y), "coef_")
    for selector in (RFE(model, n_features_to_select=2), SelectFromModel(model, max_features=2)):
        assert np.flatnonzero(selector.fit(X, y).get_support()).tolist() == [1, 3]
    model.set_params(activation="sign")  # whose derivative says nothing
    with pytest.raises(ValueError, match="feature_importances_"):
        RFE(model).fit(X, y)


@pytest.mark.parametrize("step_size", [0.0, 1.0])
def test_selectors_of_columns_take_a_stream(step_size):
    """No rows are kept: gradients are averaged over normal inputs."""
    X, _ = data(1200)
    y = np.sin(X[:, 1]) + np.tanh(2.0 * X[:, 3])
    X = X * [1.0, 1e3, 1.0, 1e-3, 1.0] + [0.0, 0.0, 5.0, 0.0, 0.0]
    model = SpikedRFRegressor(60, step_size=step_size, alpha=0.1, random_state=0)
    selector = SelectFromModel(model, max_features=2, threshold=-np.inf)
    for part in np.array_split(np.arange(len(y)), 4):
        selector.partial_fit(X[part], y[part])
    assert np.flatnonzero(selector.get_support()).tolist() == [1, 3]

    # Differences of the function itself, at draws of our own: 1 / sqrt(4000) is 1.6 %.
    fitted = selector.estimator_
    assert fitted.metric_ is None
    at = np.random.default_rng(5).standard_normal((4000, 5))
    slopes = np.empty((4000, 5))
    for j in range(5):
        move = 1e-2 * np.eye(5)[j]
        ends = [
            fitted.predict((at + sign * move) * fitted.scale_ + fitted.mean_)
            for sign in (1.0, -1.0)
        ]
        slopes[:, j] = (ends[0] - ends[1]) / 2e-2
    square = np.mean(slopes**2, axis=0)
    ours = fitted.feature_importances_
    np.testing.assert_allclose(ours, square / square.sum(), atol=0.03)
    np.testing.assert_array_equal(ours, fitted.feature_importances_)


def test_importances_of_a_linear_stream_are_exact():
    X, _ = data(300)
    model = SpikedRFRegressor(40, activation="identity", step_size=1.0, alpha=0.1, random_state=0)
    model.partial_fit(X, X @ [1.0, 2.0, 0.0, -1.0, 0.0])
    gradient = model.readout_coef_ @ model.layer_[:, :5]
    exact = np.ravel(gradient) ** 2 / np.sum(gradient**2)
    np.testing.assert_allclose(model.feature_importances_, exact, rtol=1e-4)
    # A layer of a fit whose rows are gone has none of theirs left.
    again = clone(model).fit(X, X[:, 0])
    assert np.argmax(again.feature_importances_) == 0
    with pytest.warns(UserWarning, match="fit keeps no sums"):
        again.partial_fit(X, X[:, 2])
    assert again.metric_ is None
    assert np.argmax(again.feature_importances_) == 2


def test_a_pipeline_predicts_as_before():
    X, y = data(100)
    model = SpikedRFClassifier(20, step_size=0.0, alpha=0.1, random_state=0)
    own = clone(model).fit(X, y > 0)
    pipeline = make_pipeline(StandardScaler(), clone(model)).fit(X, y > 0)
    np.testing.assert_allclose(
        own.decision_function(X), pipeline.decision_function(X), rtol=1e-8, atol=1e-10
    )


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_counts_the_fits(terminal, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    X, y = data(100)
    for model in (SpikedRFRegressor(10, random_state=0), SpikedRFClassifier(10, random_state=0)):
        stream = Terminal() if terminal else io.StringIO()
        monkeypatch.setattr("sys.stderr", stream)
        labels = y > 0 if isinstance(model, SpikedRFClassifier) else y
        silent = clone(model).fit(X, labels)
        assert stream.getvalue() == ""
        shown = clone(model).set_params(verbose=True).fit(X, labels)
        text = stream.getvalue()
        assert ("the step, a fifth left out" in text and "100%" in text) is terminal
        assert terminal or text == ""
        np.testing.assert_array_equal(shown.predict(X), silent.predict(X))
    assert capsys.readouterr().out == ""


def test_threads_share_the_cores(monkeypatch):
    """Two fits at a time have one BLAS thread each on two cores, and all is as before after."""
    monkeypatch.setattr(workers, "cores", lambda: 2)

    def threads():
        pools = threadpoolctl.threadpool_info()
        return max(pool["num_threads"] for pool in pools if pool["user_api"] == "blas")

    before = threads()
    assert workers.fits_at_a_time([delayed(threads)()] * 3, 2, "") == [1, 1, 1]
    assert threads() == before


def test_many_columns_are_refused_with_the_number(monkeypatch):
    """A small sparse matrix of many columns: the first layer is what is large, and known before."""
    X = sparse.random_array((60, 100_000), density=1e-3, format="csr", rng=0)
    y = np.asarray(X.sum(axis=1)).ravel()
    monkeypatch.setattr(memory, "available_memory", lambda: 1 << 30)
    for model in (SpikedRFRegressor(1000), SpikedRandomFeatures(1000)):
        with pytest.raises(MemoryError, match=r"1000 features on 100001 inputs .* bytes"):
            model.fit(X, y)


def test_many_columns_take_what_was_said(monkeypatch):
    X = sparse.random_array((60, 20_000), density=1e-3, format="csr", rng=0)
    y = np.random.default_rng(0).standard_normal(60)
    said = []
    monkeypatch.setattr(
        "spikedrf.estimators.base.require_memory", lambda size, *args: said.append(size)
    )
    tracemalloc.start()
    try:
        SpikedRFRegressor(100, random_state=0).fit(X, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert said == [4 * 100 * 20_001 * 8]
    assert 0.3 * said[0] < peak < said[0] + 6 * (1 << 24)  # and blocks of rows
