"""Threads, forks and repetition: the same bits, always."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from spikedrf import GradientStep, Spike, SpikedRFRegressor, simulate, theory
from spikedrf.features import feature_map
from spikedrf.gradient_step import gradient_step


def cube(x):
    return x**3 - x


def data():
    rng = np.random.default_rng(5)
    X = rng.standard_normal((300, 12))
    return X, np.tanh(2 * X[:, 0]), rng.standard_normal((40, 12))


def a_grid():
    alpha, lam = np.linspace(0.2, 4, 30)[:, None], np.geomspace(1e-3, 1, 20)
    return theory.solve(alpha, lam=lam, target="relu", step=Spike([2.0, -1.0], 1.1, 0.9)).test_error


def many_spikes():
    step = GradientStep(np.linspace(0.1, 3, 40), 2.0)
    return theory.solve(1.5, lam=0.1, activation="gelu", target="sin", step=step).norm


def a_callable():
    return theory.solve([0.5, 2.0], lam=0.1, activation=cube, step=Spike(1.0, 1.0, 0.8)).q2


def a_gradient():
    step = GradientStep(np.linspace(0.5, 3, 10), 5.0)
    return theory.gradient(1.2, wrt=("lam", "eta"), lam=0.2, step=step)["eta"]


def features():
    X, _, W = data()
    return feature_map(X, W, "sin")


def a_step():
    X, y, W = data()
    return gradient_step(X, y, W, np.ones(40), "softplus", 2.0).W


def a_fit():
    X, y, _ = data()
    return SpikedRFRegressor(30, random_state=0).fit(X, y).readout_coef_


def a_simulation():
    return simulate([0.5, 2.0], d=20, lam=0.1, replicates=2, n_test=50, rng=3).samples["test_error"]


CALLS = [a_grid, many_spikes, a_callable, a_gradient, features, a_step, a_fit, a_simulation]


def everything():
    return [np.asarray(call()).tobytes() for call in CALLS]


@pytest.fixture(scope="module")
def expected():
    return everything()


def test_threads_hammering_one_process(expected):
    """Every thread begins with another call, so that all kinds run beside each other."""

    def work(i):
        order = np.roll(np.arange(len(CALLS)), -i)
        found = {int(k): np.asarray(CALLS[k]()).tobytes() for k in order}
        return [found[k] for k in range(len(CALLS))]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(work, 2 * np.arange(4)):
            assert found == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forks_of_a_process_that_has_been_used(expected):
    """Neither threads of ours nor locks survive into the child."""
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        # Newer Pythons warn of any fork beside threads, and BLAS has threads of its own.
        warnings.simplefilter("ignore", DeprecationWarning)
        with context.Pool(2) as pool:
            results = [pool.apply_async(everything) for _ in range(3)]
            for result in results:
                assert result.get(timeout=120) == expected


def digest():
    return hashlib.sha256(b"".join(everything())).hexdigest()


def test_the_same_bits_in_another_process(expected):
    code = "import test_concurrency; print(test_concurrency.digest())"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", code]
    told = subprocess.check_output(command, env=environment, text=True)
    assert told == hashlib.sha256(b"".join(expected)).hexdigest() + "\n"
