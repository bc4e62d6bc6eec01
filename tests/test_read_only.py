"""What is read-only is not written to, and what is shared is not changed."""

import copy

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

from spikedrf import SpikedRandomFeatures, SpikedRFClassifier, SpikedRFRegressor
from spikedrf.readout.ridge import RidgeStatistics, add_gram

MODELS = {
    "features": SpikedRandomFeatures(20, random_state=0),
    "square": SpikedRFRegressor(20, random_state=0),
    "few rows": SpikedRFRegressor(400, random_state=0),
    "huber": SpikedRFRegressor(20, loss="huber", alpha=[0.1, 1.0], random_state=0),
    "absolute": SpikedRFRegressor(20, loss="absolute", alpha=[0.1, 1.0], random_state=0),
    "classes": SpikedRFClassifier(20, alpha=[0.1, 1.0], random_state=0),
    "hinge": SpikedRFClassifier(20, loss="hinge", alpha=[0.1, 1.0], random_state=0),
}


def frozen(array):
    array = array.copy()
    for part in (array.data, array.indices, array.indptr) if sparse.issparse(array) else (array,):
        part.flags.writeable = False
    return array


def data(n=200, d=4, dtype=np.float64, order="C"):
    rng = np.random.default_rng(0)
    X = np.asarray(rng.standard_normal((n, d)), dtype, order=order)
    return X, np.sin(2.0 * X[:, 0]).astype(np.float64)


def labels(model, y):
    return np.where(y > 0, 1, 0) if isinstance(model, SpikedRFClassifier) else y


@pytest.mark.parametrize("kind", ["C", "F", "single", "sparse"])
@pytest.mark.parametrize("name", MODELS)
def test_every_method_takes_read_only_data(name, kind):
    model = clone(MODELS[name])
    dtype, order = np.float32 if kind == "single" else float, "F" if kind == "F" else "C"
    X, y = data(60, dtype=dtype, order=order)
    if kind == "sparse":
        X = sparse.csr_matrix(np.where(np.abs(X) > 1.0, X, 0.0))
    weight = np.random.default_rng(1).uniform(0.5, 2.0, 60)
    model.set_params(W0=frozen(np.random.default_rng(2).standard_normal((model.n_components, 4))))
    X, y, weight = frozen(X), frozen(labels(model, y)), frozen(weight)
    model.fit(X, y, weight)
    for method in (
        "transform",
        "predict",
        "decision_function",
        "predict_proba",
        "predict_log_proba",
    ):
        if hasattr(model, method):
            assert np.isfinite(getattr(model, method)(X)).all()
    if hasattr(model, "score"):
        assert np.isfinite(model.score(X, y, weight))
    if hasattr(model, "partial_fit"):
        stream = clone(model).partial_fit(X, y, weight)
        stream.partial_fit(X, y, weight)
        if hasattr(stream, "merge"):
            stream.merge(copy.deepcopy(stream))


@pytest.mark.parametrize("name", MODELS)
def test_every_method_of_a_memory_map(name, tmp_path):
    """A model whose arrays are read-only does all that it could, and gives the same."""
    X, y = data()
    model, y = clone(MODELS[name]), labels(MODELS[name], y)
    streams = hasattr(model, "partial_fit")
    model.partial_fit(X, y) if streams else model.fit(X, y)
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    for method in (
        "transform",
        "predict",
        "decision_function",
        "predict_proba",
        "predict_log_proba",
    ):
        if hasattr(model, method):
            np.testing.assert_array_equal(getattr(mapped, method)(X), getattr(model, method)(X))
    if streams:
        mapped.partial_fit(X + 1.0, y)
        model.partial_fit(X + 1.0, y)
        np.testing.assert_allclose(mapped.transform(X), model.transform(X), rtol=1e-12)
    if hasattr(model, "merge"):
        joblib.dump(model, tmp_path / "model")
        mapped = joblib.load(tmp_path / "model", mmap_mode="r").merge(model)
        np.testing.assert_allclose(mapped.statistics_n_, 2.0 * model.statistics_n_)
        np.testing.assert_allclose(mapped.statistics_upper_, 2.0 * model.statistics_upper_)
    refitted = mapped.fit(X, y)
    np.testing.assert_allclose(refitted.transform(X), clone(model).fit(X, y).transform(X))


@pytest.mark.parametrize("intercept", [True, False])
def test_sums_that_are_read_only_are_copied(intercept):
    rng = np.random.default_rng(0)
    Phi, y = rng.standard_normal((30, 5)), rng.standard_normal(30)
    sums, plain = (RidgeStatistics(5, intercept=intercept) for _ in range(2))
    for one in (sums, plain):
        one.update(Phi, y)
    for name in ("upper", "moment", "mean"):
        getattr(sums, name).flags.writeable = False
    before = sums.upper.copy()
    other = copy.copy(sums)
    sums.update(frozen(Phi + 1.0), y, np.full(30, 2.0), overwrite=True)
    sums.merge(plain)
    plain.merge(plain_copy := copy.copy(plain))
    plain_copy.update(Phi, y)
    assert sums.n == 120.0
    assert plain.n == 60.0
    np.testing.assert_array_equal(other.upper, before)
    with pytest.raises(ValueError, match="gram must be writable and in Fortran order"):
        add_gram(Phi, frozen(np.zeros((5, 5), order="F")))


@pytest.mark.parametrize("name", ["features", "square"])
def test_a_copy_does_not_share_its_sums(name):
    X, y = data()
    model = clone(MODELS[name]).partial_fit(X, y)
    same = copy.copy(model)
    expected = copy.deepcopy(model).partial_fit(X + 1.0, y).transform(X)
    model.partial_fit(X + 1.0, y)
    same.partial_fit(X + 1.0, y)
    np.testing.assert_array_equal(same.transform(X), expected)
    np.testing.assert_array_equal(model.transform(X), expected)
    if name == "square":
        assert same.statistics_n_ == model.statistics_n_ == 2 * len(y)
        np.testing.assert_array_equal(same.predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("square", {"fit_intercept": False}),
        ("square", {"activation": "relu"}),
        ("square", {"bias": False}),
        ("features", {"activation": "relu"}),
        ("features", {"n_components": 9}),
        ("features", {"update": "rank_one"}),
    ],
)
def test_a_stream_has_one_set_of_parameters(name, change):
    X, y = data()
    model = clone(MODELS[name]).partial_fit(X, y)
    before = model.transform(X)
    (parameter,) = change
    model.set_params(**change)
    with pytest.raises(
        ValueError, match=f"{parameter} must be as in the first call of partial_fit"
    ):
        model.partial_fit(X, y)
    model.set_params(**{parameter: getattr(MODELS[name], parameter)}).partial_fit(X, y)
    assert model.transform(X).shape == before.shape
