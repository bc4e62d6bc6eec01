"""Feature map, spike update, gradient step and streamed ridge beside what they are made of.

Each races the bare BLAS calls that it cannot do without, and plain NumPy, over the dimension at a
fixed width, over the width, and over the number of samples.
"""

import numpy as np
import pytest
from scipy import linalg
from scipy.linalg import blas

from spikedrf.features import feature_map, spike_features
from spikedrf.gradient_step import gradient_step
from spikedrf.readout.ridge import RidgeStatistics

# (n, d, p)
SIZES = [
    *((4096, d, 1024) for d in (16, 32, 64, 256, 1024, 2048)),
    *((2048, 256, p) for p in (256, 4096, 8192)),
    *((n, 64, 1024) for n in (1024, 16384)),
]
RIDGE_SIZES = [
    *((8192, d, 1024) for d in (16, 256, 1024)),
    *((8192, 64, p) for p in (256, 2048)),
    (32768, 64, 512),
]


def named(size):
    return "n {}, d {}, p {}".format(*size)


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return np.dtype(request.param)


sizes = pytest.mark.parametrize("size", SIZES, ids=named)


def layer(size, dtype):
    n, d, p = size
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)).astype(dtype)
    W = rng.standard_normal((p, d))
    W /= np.linalg.norm(W, axis=1)[:, None]
    return X, W.astype(dtype)


def near(expected, units=30):
    """Sums in another order: so many units of the working precision."""
    return lambda found: np.testing.assert_allclose(
        found, expected, rtol=0, atol=units * np.finfo(expected.dtype).eps * np.abs(expected).max()
    )


# ---- Feature map: sigma(X W^T) ------------------------------------------------------------------


@pytest.mark.parametrize("entrant", ["spikedrf", "product alone", "NumPy"])
@sizes
def test_feature_map(race, size, dtype, entrant):
    X, W = layer(size, dtype)
    Z = X @ W.T
    out = np.empty_like(Z)
    more = {"group": f"feature map, tanh, {dtype}", "row": named(size)}
    d = size[1]
    if entrant == "spikedrf":

        def run():
            return feature_map(X, W, "tanh", out=out)

        race(entrant, run, check=near(np.tanh(Z)), **more)
    elif entrant == "product alone":
        more |= {"part": True, "target": 1.25 if d >= 256 else None}
        race(entrant, lambda: np.matmul(X, W.T, out=out), check=near(Z), **more)
    else:
        more |= {"target": (3.0 if dtype == np.float64 else 2.0) if d <= 32 else None}
        race(entrant, lambda: np.tanh(X @ W.T), check=near(np.tanh(Z)), **more)


NUMPY = {
    "relu": lambda x: np.maximum(x, 0),
    "sin": np.sin,
    "cos": np.cos,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "hermite3": lambda x: (x**3 - 3 * x) / 6**0.5,
}


@pytest.mark.parametrize("entrant", ["spikedrf", "NumPy"])
@pytest.mark.parametrize("activation", NUMPY)
def test_activations(race, dtype, activation, entrant):
    size = 4096, 32, 1024
    X, W = layer(size, dtype)
    out = np.empty((len(X), len(W)), dtype)
    sigma = NUMPY[activation]
    if entrant == "spikedrf":

        def run():
            return feature_map(X, W, activation, out=out)

    else:

        def run():
            return sigma(X @ W.T)

    check = near(sigma(X @ W.T), units=1000)
    group = f"feature map by activation, {named(size)}, {dtype}"
    race(entrant, run, check=check, group=group, row=activation)


# ---- Spike update: sigma(Z + eta s u^T) ---------------------------------------------------------


@pytest.mark.parametrize("entrant", ["spikedrf", "NumPy", "features again"])
@sizes
def test_spike_update(race, size, dtype, entrant):
    X, W = layer(size, dtype)
    n, d, p = size
    Z, u = X @ W.T, np.where(np.arange(p) % 2, 1, -1).astype(dtype)
    v, eta = np.full(d, d**-0.5, dtype), dtype.type(1.5)
    s, out = X @ v, np.empty((n, p), dtype)
    run = {
        "spikedrf": lambda: spike_features(Z, s, u, eta, "tanh", out=out),
        "NumPy": lambda: np.tanh(Z + np.outer(eta * s, u)),
        "features again": lambda: feature_map(X, W + eta * np.outer(u, v), "tanh", out=out),
    }
    check = near(np.tanh(Z + np.outer(eta * s, u)), units=100)
    group = f"spike update, tanh, {dtype}"
    race(entrant, run[entrant], check=check, group=group, row=named(size))


# ---- Gradient step ------------------------------------------------------------------------------


def two_products(X, W, block=512):
    """What no gradient step can do without, in blocks of the same memory."""
    total = np.zeros_like(W)
    for start in range(0, len(X), block):
        x = X[start : start + block]
        total += (x @ W.T).T @ x
    return total


def numpy_gradient_step(X, y, W, a, eta):
    phi = np.tanh(X @ W.T)
    residual = y - phi @ a / len(W)
    return W + eta / len(X) * a[:, None] * ((residual[:, None] * (1 - phi**2)).T @ X)


@pytest.mark.parametrize("entrant", ["spikedrf", "two products", "NumPy"])
@sizes
def test_gradient_step(race, size, dtype, entrant):
    X, W = layer(size, dtype)
    y = np.sin(X[:, 0])
    a = np.where(np.arange(len(W)) % 2, 1, -1).astype(dtype)
    more = {"group": f"gradient step, tanh, {dtype}", "row": named(size)}
    step = dtype.type(3.0)
    expected = numpy_gradient_step(X, y, W, a, step)
    if entrant == "spikedrf":

        def run():
            return gradient_step(X, y, W, a, "tanh", 3.0).W

        race(entrant, run, check=near(expected), **more)
    elif entrant == "NumPy":
        race(entrant, lambda: numpy_gradient_step(X, y, W, a, step), check=near(expected), **more)
    else:
        scale = np.abs(X).max() ** 2 * size[0]
        check = near((X @ W.T).T @ X / scale)
        more |= {"part": True, "target": 1.25}
        race(entrant, lambda: two_products(X, W), check=lambda t: check(t / scale), **more)


# ---- Streamed ridge: features, Gram matrix, factorisation ---------------------------------------

LAM = 0.1


def streamed_ridge(X, y, W):
    """Features in blocks, which become statistics and are forgotten."""
    statistics = RidgeStatistics(len(W), X.dtype)
    for start in range(0, len(X), 2048):
        x = X[start : start + 2048]
        statistics.update(feature_map(x, W, "tanh"), y[start : start + 2048])
    return statistics.solve(LAM)


def bare_ridge(X, y, W):
    """Only the three BLAS calls: the product stands for the features."""
    Z = X @ W.T
    gram = (blas.dsyrk if Z.dtype == np.float64 else blas.ssyrk)(1.0, Z.T)
    gram[np.diag_indices(len(W))] += LAM * len(W)
    factor = linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
    return linalg.cho_solve(factor, Z.T @ y, check_finite=False) * np.sqrt(len(W))


def numpy_ridge(X, y, W):
    Phi = np.tanh(X @ W.T) / np.sqrt(len(W)).astype(X.dtype)
    ridge = np.asarray(LAM, X.dtype) * np.eye(len(W), dtype=X.dtype)
    return np.linalg.solve(Phi.T @ Phi + ridge, Phi.T @ y)


RIDGES = {
    "spikedrf": streamed_ridge,
    "GEMM + SYRK + Cholesky": bare_ridge,
    "NumPy": numpy_ridge,
}


@pytest.mark.parametrize("entrant", RIDGES)
@pytest.mark.parametrize("size", RIDGE_SIZES, ids=named)
def test_streamed_ridge(race, size, dtype, entrant):
    X, W = layer(size, dtype)
    y = np.sin(X[:, 0])
    expected = numpy_ridge(X, y, W)

    def check(a):
        if entrant == "GEMM + SYRK + Cholesky":  # another regression: linear features
            assert np.mean((X @ (W.T @ a) / np.sqrt(len(W)) - y) ** 2) < np.mean(y**2)
        else:
            fit, target = (np.tanh(X[:200] @ W.T) @ b for b in (a, expected))
            scale = np.abs(target).max()
            np.testing.assert_allclose(fit, target, atol=2e4 * np.finfo(dtype).eps * scale)

    part = entrant == "GEMM + SYRK + Cholesky"
    race(
        entrant,
        RIDGES[entrant],
        X,
        y,
        W,
        check=check,
        group=f"streamed ridge, tanh, {dtype}",
        row=named(size),
        part=part,
        target=1.4 if part else None,
        memory=np.inf,
    )
