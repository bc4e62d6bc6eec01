"""Fits on the blocks of a Dask array: those of the same rows in one place, whatever dies."""

import os
import signal
import subprocess
import sys
import tracemalloc

import joblib
import numpy as np
import pytest
from sklearn.base import clone

from spikedrf import (
    Spike,
    SpikedRandomFeatures,
    SpikedRFClassifier,
    SpikedRFRegressor,
    simulate,
    theory,
)
from spikedrf.estimators import network
from spikedrf.losses import Huber

pytest.importorskip("distributed", reason="NO DASK: fits on a cluster are NOT tested")
import dask
import dask.array as da

N, D = 1200, 8


def data(n=N):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((n, D))
    y = 5.0 + np.sin(2 * X[:, 0]) + 0.1 * rng.standard_normal(n)
    weight = rng.uniform(0.0, 2.0, n) * (rng.random(n) > 0.1)
    weight[160:320] = 0.0  # a whole block
    return X, y, weight


def blocks(X, rows=160):
    return da.from_array(X, chunks=(rows, *X.shape[1:]))


def assert_same_fit(fit, expected):
    for name in ("readout_coef_", "intercept_", "weights_", "offsets_", "spike_", "step_size_",
                 "alpha_", "alphas_", "step_sizes_", "loo_error_", "loo_errors_",
                 "step_gain_"):  # fmt: skip
        ours, theirs = (np.asarray(getattr(model, name)) for model in (fit, expected))
        scale = np.abs(theirs).max() if theirs.size else 1.0
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * scale, err_msg=name)
    assert fit.n_features_in_ == expected.n_features_in_


CASES = {
    "auto": {},
    "given": {"step_size": 1.0, "alpha": 0.1},
    "no step": {"step_size": 0},
    "fresh rows": {"step_fraction": 0.4},
    "rank one": {"update": "rank_one", "step_fraction": 0.5, "alpha": 0.1},
    "plain": {"bias": False, "fit_intercept": False, "readout": "normal", "alpha": [0.1, 1.0]},
    "wide": {"n_components": 360, "step_size": 1.0, "alpha": 0.1},
}


@pytest.mark.parametrize(
    ("case", "weighted"), [*((case, False) for case in CASES), ("auto", True), ("fresh rows", True)]
)
def test_the_local_fit(case, weighted):
    X, y, weight = data()
    n = 350 if case == "wide" else N
    X, y, weight = X[:n], y[:n], weight[:n] if weighted else None
    given = {"n_components": 30, "random_state": 0} | CASES[case]
    expected = SpikedRFRegressor(**given).fit(X, y, weight)
    of_weight = None if weight is None else blocks(weight, 130)
    fit = SpikedRFRegressor(**given).fit(blocks(X), blocks(y, 500), of_weight)
    assert_same_fit(fit, expected)


def test_more_rows_than_are_needed_to_choose(monkeypatch):
    """Step and ridge are then chosen on a part of the rows, the ridge without a step on all."""
    monkeypatch.setattr(network, "_ENOUGH_ROWS", 400)
    X, y, _ = data()
    noise = np.random.default_rng(0).standard_normal(N)
    for target, steps in ((y, True), (noise, False)):
        expected = SpikedRFRegressor(30, random_state=1).fit(X, target)
        assert (expected.step_size_ != 0.0) == steps
        assert_same_fit(SpikedRFRegressor(30, random_state=1).fit(blocks(X), target), expected)


def test_several_targets():
    X, y, _ = data()
    Y = np.column_stack([y, X[:, 1] ** 2])
    given = {"n_components": 30, "random_state": 0, "alpha_per_target": True}
    expected = SpikedRFRegressor(**given).fit(X, Y)
    fit = SpikedRFRegressor(**given).fit(blocks(X), da.from_array(Y, chunks=(500, 1)))
    assert_same_fit(fit, expected)
    predicted = fit.predict(blocks(X))
    assert predicted.chunks == ((160,) * 7 + (80,), (2,))
    np.testing.assert_allclose(predicted.compute(), expected.predict(X), atol=1e-10)


def test_single_precision():
    X, y, _ = data()
    X = X.astype(np.float32)
    expected = SpikedRFRegressor(50, step_size=1.0, alpha=1.0, random_state=0).fit(X, y)
    fit = SpikedRFRegressor(50, step_size=1.0, alpha=1.0, random_state=0).fit(blocks(X), y)
    assert fit.readout_coef_.dtype == fit.weights_.dtype == np.float32
    np.testing.assert_allclose(fit.weights_, expected.weights_, atol=1e-5)
    predicted = fit.predict(blocks(X))
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, expected.predict(X), atol=1e-3)


def test_predictions_and_features_are_lazy():
    X, y, _ = data()
    fit = SpikedRFRegressor(40, step_size=1.0, alpha=0.1, random_state=0).fit(X, y)
    features = SpikedRandomFeatures(40, random_state=0).fit(blocks(X), y)
    local = SpikedRandomFeatures(40, random_state=0).fit(X, y)
    np.testing.assert_allclose(features.weights_, local.weights_, atol=1e-12)
    np.testing.assert_array_equal(features.step_rows_, local.step_rows_)
    loaded = []

    def load(x):
        loaded.append(len(x))
        return x

    lazy = blocks(X).map_blocks(load, meta=np.empty((0, 0)))
    predicted, transformed = fit.predict(lazy), features.transform(lazy)
    assert isinstance(predicted, da.Array)
    assert isinstance(transformed, da.Array)
    assert predicted.shape == (N,)
    assert transformed.shape == (N, 40)
    assert not loaded
    np.testing.assert_array_equal(predicted[:200].compute(), fit.predict(X[:200]))
    assert loaded == [160, 160]
    np.testing.assert_array_equal(transformed.compute(), features.transform(X))
    empty = da.concatenate([blocks(X)[:0], blocks(X)[:10]])
    np.testing.assert_array_equal(fit.predict(empty).compute(), fit.predict(X[:10]))


def test_features_are_never_in_one_place(monkeypatch):
    n, p = 32_000, 80
    monkeypatch.setattr(network, "_ENOUGH_ROWS", 1000)

    def block(block_info):
        rng = np.random.default_rng(block_info[None]["chunk-location"][0])
        return rng.standard_normal((4000, D))

    X = da.map_blocks(block, chunks=((4000,) * 8, (D,)), meta=np.empty((0, 0)))
    y = da.sin(2 * X[:, 0])
    tracemalloc.start()
    try:
        with dask.config.set(scheduler="synchronous"):
            fit = SpikedRFRegressor(p, random_state=0).fit(X, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fit.step_size_ > 0
    assert peak < 8 * n * p / 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda X, y: (X.rechunk((160, 5)), y), r"X must have all columns in one block, got bl"),
        (lambda X, y: (X[X[:, 0] > 0], y), r"blocks of X must be known: call X\.compute_chunk"),
        (lambda X, y: (X, y[y > 5]), r"blocks of y must be known: call y\.compute_chunk_sizes"),
        (lambda X, y: (X, y[:-1]), r"y must have 1200 rows, as X, got shape \(1199,\)"),
        (lambda X, y: (X[:, 0], y), r"X must have 2 axes, got shape \(1200,\)"),
        (lambda X, y: (da.where(X > 3, np.nan, X), y), "Input X contains NaN"),
        (lambda X, y: (X, da.where(y > 5, np.inf, y)), "Input y contains infinity"),
        (lambda X, y: (X[:1], y[:1]), "X must have at least 2 rows, got 1"),
    ],
)
def test_what_is_refused(change, told):
    X, y, _ = data()
    with pytest.raises(ValueError, match=told):
        SpikedRFRegressor(20, random_state=0).fit(*change(blocks(X), blocks(y)))


def test_what_else_is_refused():
    X, y, weight = data()
    X, y = blocks(X), blocks(y)
    with pytest.raises(ValueError, match="sample_weight must be >= 0"):
        SpikedRFRegressor(20).fit(X, y, weight - 1.0)
    with pytest.raises(ValueError, match="X must be in memory for partial_fit"):
        SpikedRFRegressor(20, random_state=0).partial_fit(X, y)
    model = SpikedRFRegressor(20, random_state=0).fit(np.eye(8), np.arange(8.0))
    with pytest.raises(ValueError, match="X has 5 features, but SpikedRFRegressor is expecting 8"):
        model.predict(X[:, :5])


class Frame:
    """What a Dask DataFrame is to us: something with an array in blocks."""

    def __init__(self, array):
        self.array = array

    def to_dask_array(self, lengths):
        assert lengths
        return self.array

    def __array__(self, *args, **kwargs):
        raise AssertionError("gathered")


def test_a_frame_is_worked_on_in_its_blocks():
    X, y, _ = data()
    model = SpikedRFRegressor(20, step_size=1.0, alpha=0.1, random_state=0)
    expected = clone(model).fit(blocks(X), blocks(y))
    fit = clone(model).fit(Frame(blocks(X)), Frame(blocks(y)))
    np.testing.assert_array_equal(fit.readout_coef_, expected.readout_coef_)
    for method in ("predict", "transform"):
        lazy = getattr(fit, method)(Frame(blocks(X)))
        assert isinstance(lazy, da.Array)
        np.testing.assert_allclose(lazy.compute(), getattr(expected, method)(X))


LOSSES = {
    "two classes": (SpikedRFClassifier(24, n_steps=1, metric=None), 2),
    "three classes": (SpikedRFClassifier(24, step_size=1.0, alpha=[0.1, 1.0]), 3),
    "balanced": (SpikedRFClassifier(24, step_size=0, class_weight="balanced"), 2),
    "squared hinge": (SpikedRFClassifier(24, step_size=1.0, alpha=0.1, loss="squared_hinge"), 2),
    "several steps": (SpikedRFClassifier(24), 2),
    "huber": (SpikedRFRegressor(24, loss="huber", n_steps=1, metric=None), 0),
    "fresh rows": (SpikedRFRegressor(24, loss=Huber(0.1), step_fraction=0.5, step_size=2.0), 0),
    "wide": (SpikedRFRegressor(1300, loss="huber", step_size=1.0, alpha=0.1), 0),
}


@pytest.mark.parametrize("case", LOSSES)
def test_other_losses_are_minimised_where_the_rows_are(case):
    """Newton's method on sums over blocks, to the digits of the local fit."""
    model, classes = LOSSES[case]
    model = clone(model).set_params(random_state=0)
    X, y, weight = data()
    if classes:
        edges = np.quantile(y, np.linspace(0.0, 1.0, classes + 1)[1:-1])
        y = np.array(["red", "green", "blue"])[np.digitize(y, edges)]
    expected = clone(model).fit(X, y, weight)
    fit = clone(model).fit(blocks(X), blocks(y), weight)
    for name in ("alpha_", "step_size_", "layer_", "readout_coef_", "intercept_"):
        ours, theirs = (np.asarray(getattr(m, name)) for m in (fit, expected))
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-8 * scale, err_msg=name)
    for method in ("predict", "decision_function", "predict_proba", "predict_log_proba"):
        if hasattr(model, method):
            lazy = getattr(fit, method)(blocks(X))
            here = getattr(fit, method)(X)
            assert isinstance(lazy, da.Array)
            assert lazy.shape == here.shape
            assert lazy.dtype == here.dtype
            np.testing.assert_array_equal(lazy.compute(), here)


def test_absolute_errors_are_minimised_where_the_rows_are():
    X, y, _ = data()
    model = SpikedRFRegressor(24, loss="absolute", step_size=1.0, alpha=0.1, random_state=0)
    expected = clone(model).fit(X, y)
    fit = clone(model).fit(blocks(X), blocks(y))
    np.testing.assert_allclose(fit.predict(X), expected.predict(X), atol=1e-5)


@pytest.mark.parametrize("kind", [lambda a: a, Frame])
def test_nothing_is_gathered_unannounced(kind):
    X, y, _ = data()
    labels = y > np.median(y)
    model = SpikedRFClassifier(20, step_size=0.0, alpha=0.1, random_state=0)
    fit = clone(model).fit(kind(blocks(X)), kind(blocks(labels)))
    expected = clone(model).fit(X, labels)
    assert isinstance(fit.predict(kind(blocks(X))), da.Array)
    np.testing.assert_array_equal(fit.predict(kind(blocks(X))).compute(), expected.predict(X))
    with pytest.raises(ValueError, match="y must be in memory if X is"):
        clone(model).fit(X, kind(blocks(labels)))
    with pytest.raises(ValueError, match="X must be in memory for partial_fit"):
        SpikedRFRegressor(20).partial_fit(kind(blocks(X)), kind(blocks(y)))


def test_dask_is_imported_by_who_uses_it():
    code = (
        "import sys, numpy as np, spikedrf\n"
        "spikedrf.SpikedRFRegressor(5).fit(np.eye(9), np.arange(9.0)).predict(np.eye(9))\n"
        "assert 'dask' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- Several processes --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    from distributed import Client, LocalCluster

    folder = tmp_path_factory.mktemp("dask")
    with (
        dask.config.set({"distributed.worker.resources": {}, "temporary-directory": str(folder)}),
        LocalCluster(
            n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def load(folder, deaths, block_info=None):
    """Make a block; the processes that do it for the given numbers of times die of it, once."""
    number = len(os.listdir(folder))
    (folder / f"{number}-{os.getpid()}-{os.urandom(4).hex()}").touch()
    if number in deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    X = data(N)[0]
    (begin, end), _ = block_info[None]["array-location"]
    return X[begin:end]


@pytest.mark.parametrize(
    "death",
    [12, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 5, 20, 27, 36))],
)
def test_a_worker_is_killed_during_the_fit(client, tmp_path, death):
    X, y, _ = data()
    given = {"n_components": 30, "step_fraction": 0.4, "random_state": 0}
    expected = SpikedRFRegressor(**given).fit(X, y)
    before = set(client.run(os.getpid).values())
    calls = tmp_path / "calls"
    calls.mkdir()
    lazy = da.map_blocks(
        load, calls, range(death, death + 1), chunks=((160,) * 7 + (80,), (D,)),
        meta=np.empty((0, 0)),
    )  # fmt: skip
    fit = SpikedRFRegressor(**given).fit(lazy, y)
    assert_same_fit(fit, expected)
    killed = before - set(client.run(os.getpid).values())
    assert len(killed) >= 1
    assert len(list(calls.iterdir())) > death + 1
    predicted = fit.predict(blocks(X)).compute()
    np.testing.assert_allclose(predicted, expected.predict(X), atol=1e-10)


def test_a_worker_is_killed_during_newtons_method(client, tmp_path):
    X, y, _ = data()
    labels = y > np.median(y)
    model = SpikedRFClassifier(20, step_size=1.0, alpha=0.1, random_state=0)
    expected = clone(model).fit(X, labels)
    before = set(client.run(os.getpid).values())
    calls = tmp_path / "calls"
    calls.mkdir()
    lazy = da.map_blocks(
        load, calls, range(60, 61), chunks=((160,) * 7 + (80,), (D,)), meta=np.empty((0, 0))
    )
    fit = clone(model).fit(lazy, labels)
    np.testing.assert_allclose(
        fit.readout_coef_, expected.readout_coef_, atol=1e-8 * np.abs(expected.readout_coef_).max()
    )
    assert before - set(client.run(os.getpid).values())


def test_simulations_and_diagrams_on_the_cluster(client):
    setting = {"d": 30, "lam": 0.1, "replicates": 5, "n_test": 60, "rng": 7}
    grid = {"alpha": np.geomspace(0.1, 10, 9), "lam": np.geomspace(1e-3, 1, 7)}
    step = Spike(1.0, 1.1, 0.9)
    expected = simulate([0.5, 2.0], **setting, step=step, workers=1)
    diagram = theory.phase_diagram(**grid, value="gain", step=step, workers=1)
    with joblib.parallel_config("dask"):
        simulation = simulate([0.5, 2.0], **setting, step=step)
        there = theory.phase_diagram(**grid, value="gain", step=step)
    for name, samples in expected.samples.items():
        np.testing.assert_array_equal(simulation.samples[name], samples)
    np.testing.assert_array_equal(there.value, diagram.value)
