"""Forecasts of fitted estimators."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spikedrf import SpikedRFRegressor, plotting, theory

RIDGES = np.logspace(-3, 2, 11)


def rows(n, seed, targets=None):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 8))
    y = np.tanh(2.0 * X[:, 0]) + 0.5 * X[:, 1] * X[:, 2] + 0.3 * rng.standard_normal(n)
    return X, y if targets is None else np.column_stack([y, X[:, 3] ** 2])


def plain(**parameters):
    return SpikedRFRegressor(**{"n_components": 80, "step_size": 0, "random_state": 0} | parameters)


@pytest.mark.parametrize("n", [60, 400])
def test_present_rows_give_the_leave_one_out_error(n):
    X, y = rows(n, 0)
    model = plain(alpha=RIDGES).fit(X, y)
    here = model.forecast(n, alpha=model.alpha_)
    # Between points of its grid the curve is read by straight lines.
    assert here.test_error == pytest.approx(model.loo_error_, rel=2e-3)
    assert here.lower < model.loo_error_ < here.upper
    assert model.forecast([n / 2, n, 10 * n]).test_error.shape == (3,)


def test_against_readouts_of_more_rows():
    """The same first layer, its readout fitted to ten times the rows: inside the 99 % range."""
    X, y = rows(400, 1)
    model = plain(alpha=RIDGES).fit(X, y)
    more, fresh = rows(4000, 2), rows(20000, 3)
    forecast = model.forecast(4000, level=0.99)
    refitted = plain(alpha=forecast.lam).fit(*more)
    np.testing.assert_array_equal(refitted.offsets_, plain(alpha=1.0).fit(*more).offsets_)
    came = np.mean((fresh[1] - refitted.predict(fresh[0])) ** 2)
    assert forecast.lower < came < forecast.upper
    # The range is a third wide; the page promises a tenth for plain features.
    assert came == pytest.approx(forecast.test_error, rel=0.1)


def test_a_single_ridge_and_many_say_the_same():
    X, y = rows(300, 4)
    n = [100.0, 300.0, 3000.0]
    many = plain(alpha=RIDGES).fit(X, y).forecast(n, alpha=0.1)
    one = plain(alpha=0.1).fit(X, y).forecast(n, alpha=0.1)
    np.testing.assert_allclose(one.test_error, many.test_error, rtol=0.02)


def test_weights_are_rows_and_their_scale_is_the_ridges():
    X, y = rows(200, 5)
    base = plain(alpha=0.1).fit(X, y)
    heavy = plain(alpha=0.4).fit(X, y, sample_weight=np.full(200, 4.0))
    np.testing.assert_allclose(
        heavy.forecast([100, 2000], alpha=0.4).test_error,
        base.forecast([100, 2000], alpha=0.1).test_error,
        rtol=1e-6,
    )
    uneven = np.random.default_rng(0).uniform(0.1, 3.0, 200)
    measured = plain(alpha=0.1).fit(X, y, sample_weight=uneven).forecast(50)
    assert measured.rows == pytest.approx(uneven.sum() ** 2 / np.sum(uneven**2))


def test_streams_forecast_from_their_sums():
    X, y = rows(600, 6)
    model = plain(alpha=0.1, step_fraction=1.0)
    for part in (slice(0, 200), slice(200, 600)):
        model.partial_fit(X[part], y[part])
    stream = model.forecast([600, 6000], alpha=0.1)
    whole = plain(alpha=0.1).fit(X, y)
    # Scales of the inputs are those of the first rows: two slightly different layers.
    np.testing.assert_allclose(
        stream.test_error, whole.forecast([600, 6000], alpha=0.1).test_error, rtol=0.1
    )
    assert (stream.upper > 1.1 * stream.test_error).all()
    before = model.forecast(600).rows
    model.partial_fit(X[:50], y[:50])
    assert (before, model.forecast(600).rows) == (600.0, 650.0)


def test_several_targets():
    X, y = rows(300, 7, targets=2)
    both = plain(alpha=0.1).fit(X, y).forecast([300, 3000], alpha=0.1)
    assert both.r2.shape == (2, 2)
    alone = plain(alpha=0.1).fit(X, y[:, 1]).forecast([300, 3000], alpha=0.1)
    np.testing.assert_allclose(both.r2[:, 1], alone.r2, rtol=1e-6)


def test_a_model_from_disk_forecasts():
    X, y = rows(150, 8)
    model = plain(alpha=RIDGES).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert again.forecast(1000).r2 == model.forecast(1000).r2
    with pytest.raises(NotFittedError):
        clone(model).forecast(1000)


def test_steps_are_judged_by_rows_that_did_not_take_them():
    """The readout's own leave-one-out error is too good; the forecast is not."""
    rng = np.random.default_rng(9)
    X = rng.standard_normal((300, 40))
    y = np.sin(2.0 * X[:, 0]) + 0.5 * rng.standard_normal(300)
    model = SpikedRFRegressor(150, step_size=3.0, alpha=RIDGES, random_state=0).fit(X, y)
    assert model.step_size_ == 3.0
    fresh = rng.standard_normal((20000, 40))
    truth = np.sin(2.0 * fresh[:, 0]) + 0.5 * rng.standard_normal(20000)
    came = np.mean((truth - model.predict(fresh)) ** 2)
    here = model.forecast(300, alpha=model.alpha_)
    assert here.lower < came < here.upper


def test_what_a_layer_hides_is_read_off_its_own_leave_one_out_errors():
    """The share by which the least of them is below the error of rows held out of the step too."""
    rng = np.random.default_rng(9)
    X = rng.standard_normal((300, 40))
    y = np.sin(2.0 * X[:, 0]) + 0.5 * rng.standard_normal(300)
    model = SpikedRFRegressor(150, step_size=3.0, alpha=RIDGES, random_state=0).fit(X, y)
    F = model.transform(X).astype(float)
    F = (F - F.mean(axis=0)) / np.sqrt(150)
    errors = []
    for ridge in model.alpha_ * np.logspace(-4.0, 4.0, 9):
        hat = F @ np.linalg.solve(F.T @ F + ridge * np.eye(150), F.T) + 1.0 / 300
        errors.append(np.mean(((y - hat @ y) / (1.0 - np.diag(hat))) ** 2))
    hidden = model.forecast_statistics_["judged"][-1]
    assert hidden == pytest.approx(1.0 - min(errors) / model.loo_error_, rel=1e-4)
    assert 0.1 < hidden < 0.9


def test_layers_of_several_steps_and_other_widths():
    """Error of the fit itself and of a readout on five times the rows, also of half the features.

    The ranges are at 99 %; rows for the readouts are fresh.
    """
    rng = np.random.default_rng(20)

    def draw(n):
        X = rng.standard_normal((n, 6))
        return X, np.sin(2.0 * X[:, 0]) + 0.3 * rng.standard_normal(n)

    X, y = draw(1200)
    fresh, truth = draw(10000)
    layers = {
        p: SpikedRFRegressor(p, metric="full", n_steps=0, random_state=0).fit(X, y)
        for p in (60, 120)
    }
    model = layers[120]
    assert model.step_size_ > 0.0
    assert model.forecast_statistics_["judged"] is not None
    here = model.forecast(1200, alpha=model.alpha_, level=0.99)
    assert here.lower < np.mean((truth - model.predict(fresh)) ** 2) < here.upper
    for p, its in layers.items():
        Phi, tests = its.transform(fresh[:6000]), its.transform(fresh[6000:])
        readout = theory.from_features(Phi, truth[:6000]).solve(6000).lam
        F = (Phi - Phi.mean(axis=0)) / np.sqrt(p)
        a = np.linalg.solve(
            F.T @ F + readout * np.eye(p), F.T @ (truth[:6000] - truth[:6000].mean())
        )
        away = truth[6000:] - truth[:6000].mean() - (tests - Phi.mean(axis=0)) @ a / np.sqrt(p)
        forecast = model.forecast(6000, n_components=p, level=0.99)
        assert forecast.lower < np.mean(away**2) < forecast.upper
        assert forecast.upper < 3.0 * forecast.lower


def test_few_rows_say_little():
    X, y = rows(6, 13)
    with_few = plain(alpha=RIDGES).fit(X, y).forecast(600)
    assert with_few.upper > 10.0 * with_few.lower


def test_other_losses_are_refused():
    X, y = rows(60, 10)
    model = plain(alpha=0.1, loss="huber").fit(X, y)
    with pytest.raises(ValueError, match=r"loss='square', got loss='huber'.*'quantile'"):
        model.forecast(100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": -1}, "n must be > 0"),
        ({"n": "many"}, "n must be a real number"),
        ({"n": 10, "alpha": -1.0}, "alpha must be > 0"),
        ({"n": 10, "level": 2.0}, "level must be"),
    ],
)
def test_bad_arguments(arguments, message):
    model = plain(alpha=0.1).fit(*rows(60, 11))
    with pytest.raises((TypeError, ValueError), match=message):
        model.forecast(**arguments)


def test_picture():
    X, y = rows(200, 12)
    model = make_pipeline(StandardScaler(), plain(alpha=RIDGES)).fit(X, y)
    display = plotting.ForecastDisplay.from_estimator(model, X=X, y=y, cv=3)
    limit = model[-1].forecast(np.inf)
    labels = [text.get_text() for text in display.figure_.legends[0].get_texts()]
    assert "no number of rows brings 80 features above" in labels
    assert "the 200 rows at hand" in labels
    (line,) = (item for item in display.ax_.lines if item.get_label().startswith("forecast"))
    np.testing.assert_allclose(line.get_ydata(), model[-1].forecast(line.get_xdata()).r2)
    assert line.get_ydata()[-1] < limit.r2
    assert len(display.measured[0]) == 5
    with pytest.raises(ValueError, match="X and y must be given together"):
        plotting.ForecastDisplay.from_estimator(model, X=X)
    with pytest.raises(TypeError, match=r"forecast.*got StandardScaler"):
        plotting.ForecastDisplay.from_estimator(StandardScaler())
