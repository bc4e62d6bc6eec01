"""Streams, merging and persistence of the estimators."""

import copy
import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge

from spikedrf import SpikedRandomFeatures, SpikedRFRegressor


def data(n=600, d=6, seed=0, targets=None):
    rng = np.random.default_rng(seed)
    X = 1.0 + rng.standard_normal((n, d))
    y = 5.0 + np.sin(2.0 * X[:, : targets or 1]) + 0.1 * rng.standard_normal((n, targets or 1))
    return X, y if targets else y[:, 0]


def blocks(n, size=70):
    return [slice(start, start + size) for start in range(0, n, size)]


@pytest.mark.parametrize("update", ["full", "rank_one"])
@pytest.mark.parametrize("targets", [None, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_features_of_a_stream_are_those_of_all_rows(update, targets, weighted, offset):
    X, y = data(targets=targets)
    y = y + offset  # of which the spread is a millionth
    weight = np.random.default_rng(1).uniform(0.0, 3.0, len(X)) if weighted else np.ones(len(X))
    model = SpikedRandomFeatures(24, step_size=3.0, update=update, scale=False, random_state=0)
    whole = clone(model).fit(X, y, weight)
    for rows in blocks(len(X)):
        model.partial_fit(X[rows], y[rows], weight[rows])
    np.testing.assert_allclose(model.weights_, whole.weights_, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(model.spike_, whole.spike_, rtol=1e-9, atol=1e-10)


def test_a_stream_of_constant_targets_has_no_gradient():
    X, _ = data()
    model = SpikedRandomFeatures(24, random_state=0)
    for rows in blocks(300):
        with pytest.warns(UserWarning, match="gradient of the step is zero"):
            model.partial_fit(X[rows], np.full(len(X[rows]), 1e6 / 3))
    assert not model.spike_.any()


@pytest.mark.parametrize("targets", [None, 2])
@pytest.mark.parametrize("intercept", [True, False])
def test_readout_of_a_stream_is_that_of_all_rows(targets, intercept):
    X, y = data(targets=targets)
    weight = np.random.default_rng(1).uniform(0.0, 3.0, len(X))
    model = SpikedRFRegressor(
        40, step_size=2.0, alpha=0.03, fit_intercept=intercept, random_state=0
    )
    for rows in blocks(len(X)):
        model.partial_fit(X[rows], y[rows], weight[rows])
    Phi = model.transform(X)
    ridge = Ridge(alpha=0.03 * 40, fit_intercept=intercept, solver="svd").fit(Phi, y, weight)
    np.testing.assert_allclose(model.predict(X), ridge.predict(Phi), rtol=1e-10)
    # The step is that of the first block, and the first block alone what fit makes of it.
    first = blocks(len(X))[0]
    begun = clone(model).fit(X[first], y[first], weight[first])
    np.testing.assert_array_equal(begun.weights_, model.weights_)
    # Without a step, a stream and a fit are the same altogether.
    plain = clone(model).set_params(step_size=0.0, scale=False)
    whole = clone(plain).fit(X, y, weight)
    for rows in blocks(len(X)):
        plain.partial_fit(X[rows], y[rows], weight[rows])
    np.testing.assert_allclose(plain.predict(X), whole.predict(X), rtol=1e-10)


def test_a_stream_chooses_on_its_first_rows():
    X, y = data(2000)
    model = SpikedRFRegressor(100, random_state=0)
    alone = clone(model).fit(X[:1000], y[:1000])
    model.partial_fit(X[:1000], y[:1000])
    np.testing.assert_allclose(model.predict(X), alone.predict(X), rtol=1e-9)
    assert model.step_size_ == alone.step_size_ > 0
    assert model.alpha_ == alone.alpha_
    before = model.score(X[1500:], y[1500:])
    model.partial_fit(X[1000:1500], y[1000:1500])
    assert model.alpha_ == alone.alpha_
    assert model.score(X[1500:], y[1500:]) > before


def sibling(model):
    """Another estimator with the same first layer."""
    W = np.column_stack([model.weights_, model.offsets_])
    return SpikedRFRegressor(len(W), W0=W, step_size=0.0, alpha=model.alpha_)


def test_merge():
    X, y = data(targets=2)
    model = SpikedRFRegressor(30, step_size=2.0, alpha=0.1, random_state=0)
    whole = clone(model).partial_fit(X[:200], y[:200]).partial_fit(X[200:], y[200:])
    model.partial_fit(X[:200], y[:200])
    others = [
        sibling(model).partial_fit(X[rows], y[rows]) for rows in (slice(200, 450), slice(450, None))
    ]
    kept = others[1].predict(X)
    for other in others:
        assert model.merge(other) is model
    np.testing.assert_allclose(model.predict(X), whole.predict(X), rtol=1e-10)
    np.testing.assert_array_equal(others[1].predict(X), kept)


def test_what_cannot_be_merged():
    X, y = data()
    model = SpikedRFRegressor(10, step_size=1.0, alpha=0.1, random_state=0)
    streamed = clone(model).partial_fit(X, y)
    with pytest.raises(TypeError, match="cannot merge Ridge"):
        streamed.merge(Ridge())
    with pytest.raises(ValueError, match="made by partial_fit"):
        streamed.merge(clone(model).fit(X, y))
    other = clone(model).set_params(random_state=1).partial_fit(X, y)
    with pytest.raises(ValueError, match="first layers"):
        streamed.merge(other)


def test_streams_of_several_steps_are_merged():
    """Workers begin with a copy that has seen no rows; its bounds are those of the layer."""
    X, y = data(n=1800)
    model = SpikedRFRegressor(30, random_state=0).partial_fit(X[:1200], y[:1200])
    assert model.bounds_ is not None
    whole = copy.deepcopy(model).partial_fit(X[1200:], y[1200:])
    others = [model.without_rows() for _ in range(2)]
    np.testing.assert_array_equal(others[0].predict(X), model.predict(X))
    for other, rows in zip(others, (slice(1200, 1500), slice(1500, None)), strict=True):
        model.merge(other.partial_fit(X[rows], y[rows]))
    assert model.statistics_n_ == 1800
    np.testing.assert_allclose(model.predict(X), whole.predict(X), rtol=1e-9, atol=1e-10)

    W = np.column_stack([model.weights_, model.offsets_])
    given = SpikedRFRegressor(30, W0=W, step_size=0, alpha=model.alpha_)
    with pytest.raises(ValueError, match=r"bounds .* without_rows"):
        model.merge(given.partial_fit(X, y))


def test_a_fit_keeps_nothing_to_add_to():
    X, y = data()
    model = SpikedRFRegressor(10, step_size=1.0, alpha=0.1, random_state=0).fit(X, y)
    layer = model.layer_
    with pytest.warns(UserWarning, match="fit keeps no sums"):
        model.partial_fit(X[:100], y[:100])
    assert model.layer_ is layer
    ridge = Ridge(alpha=1.0, solver="svd").fit(model.transform(X[:100]), y[:100])
    np.testing.assert_allclose(model.predict(X), ridge.predict(model.transform(X)), rtol=1e-9)


def test_features_of_a_fit_begin_anew():
    X, y = data()
    model = SpikedRandomFeatures(10, random_state=0).fit(X, y)
    with pytest.warns(UserWarning, match="fit keeps no sums"):
        model.partial_fit(X[:100], y[:100])
    alone = SpikedRandomFeatures(10, random_state=0).partial_fit(X[:100], y[:100])
    np.testing.assert_array_equal(model.weights_, alone.weights_)
    assert not hasattr(model, "step_rows_")


def test_a_later_call_must_have_as_many_targets():
    X, y = data(targets=2)
    model = SpikedRFRegressor(10, step_size=1.0, alpha=0.1).partial_fit(X, y)
    with pytest.raises(ValueError, match="as many targets as in the first call, 2, got 1"):
        model.partial_fit(X, y[:, 0])


MODELS = [
    SpikedRandomFeatures(8, random_state=0),
    SpikedRFRegressor(8, random_state=0),
    SpikedRFRegressor(8, activation="relu", alpha=[0.1, 1.0], alpha_per_target=True),
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_pickle_holds_plain_things(model, method):
    X, y = data()
    model = clone(model)
    getattr(model, method)(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    plain = (int, float, str, bool, tuple, list, np.ndarray, np.generic, type(None))
    state = model.__getstate__()
    # The measures of a forecast lie together, under one name.
    state |= state.pop("forecast_statistics_", {})
    assert [name for name, value in state.items() if not isinstance(value, plain)] == []
    arrays = [value for value in state.values() if isinstance(value, np.ndarray)]
    assert {array.dtype.kind for array in arrays} <= set("fib")


@pytest.mark.parametrize("model", MODELS[:2])
def test_another_version_warns(model, monkeypatch):
    X, y = data()
    saved = pickle.dumps(clone(model).fit(X, y))
    monkeypatch.setattr("spikedrf.__version__", "99.0")
    with pytest.warns(UserWarning, match=r"saved by spikedrf 0\.\S+ and is loaded by 99\.0"):
        pickle.loads(saved)


@pytest.mark.parametrize("model", MODELS)
def test_skops(model):
    skops = pytest.importorskip("skops.io")
    X, y = data()
    model = clone(model).fit(X, y)
    saved = skops.dumps(model)
    # Nothing to be trusted but the estimator itself.
    ours = f"{type(model).__module__}.{type(model).__name__}"
    assert skops.get_untrusted_types(data=saved) == [ours]
    again = skops.load(io.BytesIO(saved), trusted=[ours])
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    if hasattr(model, "predict"):
        np.testing.assert_array_equal(again.predict(X), model.predict(X))


STREAM = """
import resource
import numpy as np
from spikedrf import SpikedRFRegressor

rng = np.random.default_rng(0)
model = SpikedRFRegressor(1000, step_size=2.0, alpha=0.1, random_state=0)
for block in range(100):
    X = rng.standard_normal((10_000, 100))
    model.partial_fit(X, np.sin(X[:, 0]) + 0.1 * rng.standard_normal(10_000))
assert model.statistics_n_ == 1_000_000
X = rng.standard_normal((5000, 100))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, model.score(X, np.sin(X[:, 0])))
"""


@pytest.mark.slow
def test_a_million_rows_in_a_gigabyte():
    """1,000,000 x 100 rows at 1000 features: the whole process, libraries and a block included."""
    done = subprocess.run(
        [sys.executable, "-c", STREAM], capture_output=True, text=True, check=True
    )
    gigabytes, score = map(float, done.stdout.split())
    assert gigabytes < 0.5
    assert score > 0.95


def test_memory_does_not_grow_with_the_rows():
    """A fit of many rows, and its choices, allocate much less than the features would take."""
    import tracemalloc

    X, y = data(40_000, 5)
    model = SpikedRFRegressor(200, step_size=[1.0], alpha=[0.1, 1.0], step_fraction=1.0)
    tracemalloc.start()
    try:
        model.fit(X, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * 8 * len(X) * 200
