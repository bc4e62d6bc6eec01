"""Features and the gradient step beside what they are made of.

Run with one BLAS thread, else the products use every core and the rest one:
OPENBLAS_NUM_THREADS=1 python -m pytest bench/test_features.py --benchmark-group-by=group
"""

import numpy as np
import pytest

from spikedrf.features import feature_map, spike_features
from spikedrf.first_layer import gradient_step

WIDTH = 1024
SAMPLES = 4096


def layer(d, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((SAMPLES, d)).astype(dtype)
    W = rng.standard_normal((WIDTH, d))
    return X, (W / np.linalg.norm(W, axis=1)[:, None]).astype(dtype)


@pytest.fixture(params=[16, 32, 64, 256, 1024])
def d(request):
    return request.param


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return np.dtype(request.param)


def product(X, W, out):
    return np.matmul(X, W.T, out=out)


def product_then_numpy(X, W):
    return np.tanh(X @ W.T)


FEATURES = {
    "features": lambda X, W, out: feature_map(X, W, "tanh", out=out),
    "bare product": product,
    "features, allocated": lambda X, W, out: feature_map(X, W, "tanh"),
    "np.tanh(X @ W.T)": lambda X, W, out: product_then_numpy(X, W),
}


@pytest.mark.parametrize("rival", FEATURES)
def test_features(benchmark, d, dtype, rival):
    benchmark.group = f"features, d = {d}, {dtype}"
    X, W = layer(d, dtype)
    out = np.empty((SAMPLES, WIDTH), dtype)
    result = benchmark(FEATURES[rival], X, W, out)
    if rival == "bare product":
        result = np.tanh(result)
    # The product of another block size is summed in another order.
    rounding = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(result, product_then_numpy(X, W), rtol=0, atol=rounding)


@pytest.mark.parametrize("activation", ["relu", "erf", "sin", "softplus", "gelu"])
def test_activations(benchmark, activation):
    benchmark.group = "features, d = 64, by activation"
    X, W = layer(64)
    out = np.empty((SAMPLES, WIDTH))
    benchmark(feature_map, X, W, activation, out=out)
    assert np.isfinite(out).all()


def two_products(X, W, block):
    """What no gradient step can do without, in blocks of the same memory."""
    moved = np.zeros_like(W)
    for start in range(0, len(X), block):
        x = X[start : start + block]
        moved += (x @ W.T).T @ x
    return moved


def numpy_gradient_step(X, y, W, a, eta):
    Z = X @ W.T
    phi = np.tanh(Z)
    residual = y - phi @ a / len(W)
    return W + eta / len(X) * a[:, None] * ((residual[:, None] * (1 - phi**2)).T @ X)


STEPS = {
    "gradient step": lambda X, y, W, a: gradient_step(X, y, W, a, "tanh", 3.0).W,
    "its two products": lambda X, y, W, a: two_products(X, W, 512),
    "NumPy": lambda X, y, W, a: numpy_gradient_step(X, y, W, a, 3.0),
}


@pytest.mark.parametrize("rival", STEPS)
def test_gradient_step(benchmark, d, rival):
    benchmark.group = f"gradient step, d = {d}"
    X, W = layer(d)
    y = np.sin(X[:, 0])
    a = np.where(np.arange(WIDTH) % 2, 1.0, -1.0)
    result = benchmark(STEPS[rival], X, y, W, a)
    if rival != "its two products":
        expected = numpy_gradient_step(X, y, W, a, 3.0)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-13)


def spike_by_recomputing(X, W, Z, s, u, v, eta):
    return np.tanh(X @ (W + eta * np.outer(u, v)).T)


SPIKES = {
    "fused": lambda X, W, Z, s, u, v, eta: spike_features(Z, s, u, eta, "tanh"),
    "product and features": lambda X, W, Z, s, u, v, eta: feature_map(
        X, W + eta * np.outer(u, v), "tanh"
    ),
    "NumPy, product": spike_by_recomputing,
    "NumPy, cached product": lambda X, W, Z, s, u, v, eta: np.tanh(Z + eta * np.outer(s, u)),
}


@pytest.mark.parametrize("rival", SPIKES)
def test_spike(benchmark, d, rival):
    benchmark.group = f"spike update, d = {d}"
    X, W = layer(d)
    v = np.ones(d) / np.sqrt(d)
    u = np.where(np.arange(WIDTH) % 2, 1.0, -1.0)
    given = X, W, X @ W.T, X @ v, u, v, 1.5
    result = benchmark(SPIKES[rival], *given)
    np.testing.assert_allclose(result, spike_by_recomputing(*given), rtol=0, atol=1e-13)
