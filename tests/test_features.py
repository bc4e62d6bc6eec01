"""Feature maps, the spike update and the gradient step against plain NumPy and mpmath."""

import numpy as np
import pytest
from mpmath import mp

from finite_size import functions
from spikedrf import GradientStep, _core
from spikedrf.activations import NAMES, resolve, step_moments
from spikedrf.features import feature_map, spike_features
from spikedrf.gradient_step import TrainedLayer, gradient_step
from spikedrf.running import memory

PRECISIONS = [np.float64, np.float32]


def unit_rows(rng, p, d):
    W = rng.standard_normal((p, d))
    return W / np.linalg.norm(W, axis=1)[:, None]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture(params=PRECISIONS, ids=["double", "float"])
def dtype(request):
    return np.dtype(request.param)


def elementwise(name, x):
    """The activation of each entry, through the feature map: x (n, 1) times the weight 1."""
    return feature_map(x[:, None], np.ones((1, 1), x.dtype), name)[:, 0]


# ---- Accuracy of the activations ----------------------------------------------------------------


EXACT = {
    "tanh": mp.tanh,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "erf": lambda x: mp.erf(x / mp.sqrt(2)),
    "erf_plain": mp.erf,
    "gelu": lambda x: x * mp.ncdf(x),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "sin": mp.sin,
    "cos": mp.cos,
}


def hard_arguments(dtype):
    rng = np.random.default_rng(11)
    size = np.concatenate(
        [
            np.abs(rng.standard_normal(400)),
            rng.uniform(0, 20, 400),
            10.0 ** rng.uniform(-12, 2, 300),
            np.arange(1, 40) * np.pi / 2,
            [1e3, 12345.678, 1e5, 3e6],
        ]
    )
    return np.concatenate([size, -size]).astype(dtype)


@pytest.mark.parametrize("name", EXACT)
def test_at_most_4_units_in_the_last_place(name, dtype):
    x = hard_arguments(dtype)
    value = elementwise(name, x)
    smallest = float(np.finfo(dtype).smallest_normal)
    with mp.workdps(60):
        exact = [EXACT[name](mp.mpf(float(t))) for t in x]
        # Below the normal range the unit is that of the smallest normal number.
        unit = [
            mp.mpf(2) ** (mp.floor(mp.log(max(abs(e), smallest), 2)) - np.finfo(dtype).nmant)
            for e in exact
        ]
        error = [
            float(abs(mp.mpf(float(v)) - e) / u) for v, e, u in zip(value, exact, unit, strict=True)
        ]
    assert max(error) <= 4, f"{max(error)} at {x[np.argmax(error)]!r}"


EXACT_SLOPE = {
    "tanh": lambda x: mp.sech(x) ** 2,
    "sigmoid": lambda x: mp.sech(x / 2) ** 2 / 4,
    "softplus": lambda x: 1 / (1 + mp.exp(-x)),
    "erf": lambda x: mp.sqrt(2 / mp.pi) * mp.exp(-(x**2) / 2),
    "erf_plain": lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-(x**2)),
    "gelu": lambda x: mp.ncdf(x) + x * mp.npdf(x),
    "silu": lambda x: (1 + (1 + x) * mp.exp(-x)) / (1 + mp.exp(-x)) ** 2,
    "sin": mp.cos,
    "cos": lambda x: -mp.sin(x),
}


@pytest.mark.parametrize("name", EXACT)
def test_value_and_slope_of_the_gradient_pass(name, dtype):
    """Within 4 and 6 units in the last place; slopes that cross zero, within that of 1."""
    x = hard_arguments(dtype)[::3]
    slope, residual = x[:, None].copy(), np.empty_like(x)
    _core.residual_block(resolve(name).code, slope, 0 * x, np.ones(1, dtype), residual)
    eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).smallest_normal
    with mp.workdps(60):
        for kind, found, exact, ulps in (
            ("value", -residual, EXACT[name], 4),
            ("slope", slope[:, 0], EXACT_SLOPE[name], 6),
        ):
            absolute = kind == "slope" and name in ("gelu", "silu")
            for t, v in zip(x, found, strict=True):
                e = exact(mp.mpf(float(t)))
                floor = 1.0 if absolute else tiny
                unit = eps * mp.mpf(2) ** mp.floor(mp.log(max(abs(e), floor), 2))
                # A slope of tanh that nears the end of the range may be 0.
                lost = 1e5 * tiny if (kind, name) == ("slope", "tanh") else 0.0
                assert abs(mp.mpf(float(v)) - e) <= ulps * unit + lost, f"{kind} at {t!r}"


def test_values_of_every_name(rng, dtype):
    Z = 3 * rng.standard_normal((7, 301))
    zero, one = np.zeros(7, dtype), np.ones(301, dtype)
    for name in NAMES:
        value = spike_features(Z.astype(dtype), zero, one, 1.0, name)
        expected = functions[name](Z.astype(dtype).astype(float))
        tolerance = 200 * np.finfo(dtype).eps
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance, err_msg=name)


def test_zeros_and_subnormals(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([0.0, tiny, 7 * tiny, -tiny, -7 * tiny], dtype)
    # A product may lose the sign of zero; the update does not where it adds -0.
    zero = spike_features(
        np.array([[-0.0]], dtype), -np.zeros(1, dtype), np.ones(1, dtype), 1.0, "tanh"
    )
    assert zero[0, 0] == 0.0
    assert np.signbit(zero[0, 0])
    for name in ("tanh", "sin", "relu", "abs", "identity", "leaky_relu", "sign"):
        expected = np.asarray(functions[name](x.astype(float)))
        value = elementwise(name, x)
        np.testing.assert_allclose(value, expected.astype(dtype), rtol=0, atol=tiny, err_msg=name)
    for name in ("erf", "gelu", "silu"):
        slope = np.sqrt(2 / np.pi) if name == "erf" else 0.5
        value = elementwise(name, x).astype(float)
        np.testing.assert_allclose(value, slope * x.astype(float), rtol=0, atol=tiny, err_msg=name)
    assert (elementwise("cos", x) == 1).all()
    assert (elementwise("sigmoid", x) == 0.5).all()


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_preactivations_that_overflow(dtype):
    huge = np.array([[np.finfo(dtype).max], [-np.finfo(dtype).max]])
    ends = {"tanh": (1, -1), "erf": (1, -1), "sigmoid": (1, 0), "relu": (np.inf, 0)}
    ends |= {"softplus": (np.inf, 0), "sign": (1, -1), "silu": (np.inf, 0), "gelu": (np.inf, 0)}
    for name, expected in ends.items():
        value = feature_map(huge, np.array([[4.0]], dtype), name)[:, 0]
        np.testing.assert_array_equal(value, expected, err_msg=name)


def test_sine_of_far_arguments(dtype):
    x = np.array([1e10, -3e15, 1.0, 1e30, 0.5] * 70, dtype)
    for name, function in (("sin", np.sin), ("cos", np.cos)):
        expected = function(x.astype(float))
        np.testing.assert_allclose(elementwise(name, x), expected, rtol=1e-6)
        Z = np.broadcast_to(x, (3, x.size)).copy()
        moved = spike_features(Z, np.zeros(3, dtype), np.ones(x.size, dtype), 1.0, name, out=Z)
        np.testing.assert_allclose(moved, np.broadcast_to(expected, Z.shape), rtol=1e-6)


# ---- The feature map ----------------------------------------------------------------------------


def close(dtype):
    return {"rtol": 0, "atol": 100 * np.finfo(dtype).eps}


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (700, 30, 1001), (5, 300, 2)])
def test_features_are_the_activation_of_the_product(rng, shape, dtype):
    n, d, p = shape
    X, W = rng.standard_normal((n, d)).astype(dtype), unit_rows(rng, p, d)
    for name in ("tanh", "relu", "sin"):
        Phi = feature_map(X, W, name)
        assert Phi.dtype == dtype
        assert Phi.shape == (n, p)
        expected = functions[name](X @ W.T.astype(dtype))
        np.testing.assert_allclose(Phi, expected, **close(dtype))


def layouts(A):
    readonly = A.copy()
    readonly.flags.writeable = False
    wide = np.full((2 * A.shape[0], 3 * A.shape[1]), np.nan, A.dtype)
    wide[::2, ::3] = A
    unaligned = np.zeros(A.nbytes + 1, np.uint8)[1:].view(A.dtype).reshape(A.shape)
    unaligned[...] = A
    return {
        "read-only": readonly,
        "Fortran": np.asfortranarray(A),
        "strided": wide[::2, ::3],
        "reversed": A[::-1, ::-1].copy()[::-1, ::-1],
        "other byte order": A.astype(A.dtype.newbyteorder()),
        "unaligned": unaligned,
        "list": A.tolist() if A.dtype == np.float64 else A,
    }


def test_any_layout(rng, dtype):
    X, W = rng.standard_normal((600, 11)).astype(dtype), unit_rows(rng, 40, 11).astype(dtype)
    y, a = rng.standard_normal(600).astype(dtype), np.where(np.arange(40) < 9, 1.0, -2.0)
    s, u = X[:, 0].copy(), W[:, 0].copy()
    Z = X @ W.T
    expected = feature_map(X, W, "tanh")
    spiked = spike_features(Z, s, u, 0.7, "tanh")
    layer = gradient_step(X, y, W, a, "tanh", 2.0)
    columns = {key: value[:, 0] for key, value in layouts(s[:, None]).items() if key != "list"}
    for (key, x), w, z in zip(
        layouts(X).items(), layouts(W).values(), layouts(Z).values(), strict=True
    ):
        np.testing.assert_allclose(feature_map(x, w, "tanh"), expected, **close(dtype))
        value = spike_features(z, columns.get(key, s), u, 0.7, "tanh")
        np.testing.assert_array_equal(value, spiked, err_msg=key)
        other = gradient_step(x, y, w, a, "tanh", 2.0)
        np.testing.assert_allclose(other.W, layer.W, **close(dtype))
    for out in (np.empty((600, 40), dtype, order="F"), np.empty((1200, 80), dtype)[::2, ::2]):
        assert feature_map(X, W, "tanh", out=out) is out
        np.testing.assert_allclose(out, expected, **close(dtype))
        assert spike_features(Z, s, u, 0.7, "tanh", out=out) is out
        np.testing.assert_array_equal(out, spiked)


def test_callables(rng, dtype):
    X, W = rng.standard_normal((600, 5)).astype(dtype), unit_rows(rng, 8, 5).astype(dtype)
    Z, s, u = X @ W.T, X[:, 1].copy(), W[:, 1].copy()

    def cube(x):
        return x**3

    Phi = feature_map(X, W, cube)
    assert Phi.dtype == dtype
    np.testing.assert_allclose(Phi, Z**3, rtol=1e-3 if dtype == np.float32 else 1e-10)
    np.testing.assert_allclose(
        spike_features(Z, s, u, 0.5, cube),
        (Z + 0.5 * s[:, None] * u) ** 3,
        rtol=1e-4 if dtype == np.float32 else 1e-11,
        atol=1e-6 if dtype == np.float32 else 1e-14,
    )
    with pytest.raises(ValueError, match="vectorised"):
        feature_map(X, W, lambda x: 1.0)


# ---- The spike update ---------------------------------------------------------------------------


def test_spike_update_is_the_map_of_moved_weights(rng, dtype):
    X, W = rng.standard_normal((50, 20)).astype(dtype), unit_rows(rng, 777, 20).astype(dtype)
    v = unit_rows(rng, 1, 20)[0].astype(dtype)
    u = rng.standard_normal(777).astype(dtype)
    for eta in (0.0, 0.3, -4.0):
        for name in ("tanh", "relu", "sin", "softplus"):
            value = spike_features(X @ W.T, X @ v, u, eta, name)
            expected = feature_map(X, W + dtype.type(eta) * np.outer(u, v), name)
            np.testing.assert_allclose(value, expected, rtol=0, atol=500 * np.finfo(dtype).eps)


def test_spike_update_in_place(rng, dtype):
    Z = rng.standard_normal((9, 600)).astype(dtype)
    s, u = Z[:, 0].copy(), Z[0].copy()
    for name in ("tanh", "cos"):
        expected = spike_features(Z, s, u, 0.5, name)
        here = Z.copy()
        assert spike_features(here, s, u, 0.5, name, out=here) is here
        np.testing.assert_array_equal(here, expected)


# ---- The gradient step --------------------------------------------------------------------------


def plain_step(X, y, W, a, sigma, slope, eta):
    Z = X @ W.T
    residual = y - sigma(Z) @ a / len(W)
    return W + eta * a[:, None] * ((residual[:, None] * slope(Z)).T @ X) / len(X)


SLOPES = {
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "relu": lambda z: (z > 0).astype(float),
    "sin": np.cos,
    "cos": lambda z: -np.sin(z),
    "hermite2": lambda z: np.sqrt(2) * z,
    "softplus": lambda z: 1 / (1 + np.exp(-z)),
}


@pytest.mark.parametrize("name", SLOPES)
@pytest.mark.parametrize("d", [1, 21, 70])  # with more than 64 inputs by BLAS
@pytest.mark.parametrize("block", [None, 1, 64, 1000])
def test_gradient_step(rng, name, block, d, dtype):
    X, W = rng.standard_normal((333, d)), unit_rows(rng, 290, d)
    y, a = rng.standard_normal(333), rng.choice([1.0, -0.5, 2.0], 290)
    before = W.copy()
    layer = gradient_step(
        X.astype(dtype), y.astype(dtype), W.astype(dtype), a, name, 3.0, block=block
    )
    expected = plain_step(X, y, W, a, functions[name], SLOPES[name], 3.0)
    assert layer.W.dtype == dtype
    np.testing.assert_allclose(layer.W, expected, rtol=0, atol=100 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(W, before)
    pair = gradient_step(X, y, W, a, (functions[name], SLOPES[name]), 3.0, block=block)
    np.testing.assert_allclose(pair.W, expected, rtol=0, atol=1e-13)


def test_the_measured_spike(rng):
    X, W = rng.standard_normal((400, 30)), unit_rows(rng, 60, 30)
    theta = 5 * unit_rows(rng, 1, 30)[0]
    y = np.tanh(X @ theta)
    a = np.repeat([2.0, -1.0, 0.5], [10, 20, 30])
    layer = gradient_step(X, y, W, a, "tanh", 1.5, theta=theta)
    assert isinstance(layer, TrainedLayer)
    np.testing.assert_array_equal(layer.u, [2.0, -1.0, 0.5])  # in order of appearance
    np.testing.assert_array_equal(layer.u[layer.groups], a)
    residual = y - np.tanh(X @ W.T) @ a / 60
    v = X.T @ residual / np.linalg.norm(X.T @ residual)
    np.testing.assert_allclose(layer.v, v, rtol=0, atol=1e-14)
    assert layer.gamma == pytest.approx(v @ theta / 5, abs=1e-14)
    for k in range(3):
        rows = layer.W[layer.groups == k]
        assert layer.r[k] == pytest.approx(np.mean(rows @ v), abs=1e-13)
        spread = np.mean(np.sum((rows - layer.r[k] * v) ** 2, axis=1))
        assert layer.c[k] == pytest.approx(spread, rel=1e-12)
    spike = layer.spike
    np.testing.assert_allclose(spike.pi, [1 / 6, 1 / 3, 1 / 2])
    assert spike.gamma == layer.gamma
    unaligned = gradient_step(X, y, W, a, "tanh", 1.5)
    assert unaligned.gamma is None
    with pytest.raises(ValueError, match="theta"):
        _ = unaligned.spike
    assert "K" not in repr(layer)
    assert "TrainedLayer(p=60, d=30" in repr(layer)


def test_a_step_without_signal(rng):
    X, W = rng.standard_normal((40, 6)), unit_rows(rng, 10, 6)
    layer = gradient_step(X, np.zeros(40), W, np.zeros(10), "tanh", 1.0, theta=np.ones(6))
    np.testing.assert_array_equal(layer.W, W)
    np.testing.assert_array_equal(layer.v, 0)
    assert (layer.r[0], layer.gamma) == (0.0, 0.0)
    assert layer.c[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("activation", "target", "eta", "alpha0", "noise", "u", "pi"),
    [
        ("tanh", "tanh", 1.0, 0.5, 0.0, [1.0], [1.0]),
        ("tanh", "sin", 3.0, 2.0, 0.1, [1.5, -1.0], [0.6, 0.4]),
        ("relu", "relu", 1.5, 2.0, 0.3, [1.0], [1.0]),
        ("softplus", "hermite2", 2.0, 1.0, 0.2, [1.0, -1.0], [0.5, 0.5]),
    ],
)
@pytest.mark.parametrize("d", [250, 500, 1000, pytest.param(2000, marks=pytest.mark.slow)])
def test_the_measured_spike_tends_to_the_formula(activation, target, eta, alpha0, noise, u, pi, d):
    """Sums over the samples fluctuate by 1/sqrt(d), expectations are off by 1/d.

    The spike's length is nu = |X^T res|/n0, nu^2 = t^2 + s^2 for the components along and across
    theta. To leading order Var t = Var(res z)/n0, and s^2 = s2/alpha0 has the relative variance
    2/d + Var(res^2)/(s2^2 n0). The standard deviations of r and gamma follow, and that of c from
    its two terms, whose means over the samples are those of res and of res^2. The mean of the
    replicates must lie within 4 standard errors + 8/d of the formula.
    """
    n0, p, replicates = round(alpha0 * d), d, 4 if d < 1000 else 2
    u, pi = np.array(u), np.array(pi)
    a = np.repeat(u, np.round(pi * p).astype(int))
    formula = GradientStep(eta, alpha0, u, pi).spike(activation, target, noise)
    g, of_sigma = functions[target], step_moments(resolve(activation), slope=True)

    rng = np.random.default_rng(d)
    z = rng.standard_normal(200_000)
    res = g(z) + noise * rng.standard_normal(z.size) - u @ pi * of_sigma.h0
    t, s2 = np.mean(res * z), np.mean(res**2)
    across = np.sqrt(s2 / alpha0)
    nu = np.hypot(t, across)
    sd_t = np.std(res * z) / np.sqrt(n0)
    sd_across = 0.5 * across * np.sqrt(2 / d + np.var(res**2) / s2**2 / n0)
    sd_r = np.abs(formula.r) / nu**2 * np.hypot(t * sd_t, across * sd_across)
    sd_gamma = across / nu**3 * np.hypot(across * sd_t, t * sd_across)
    shrink, move = 1 + eta * u * np.mean(res) * of_sigma.h2, eta * u
    sd_c = np.abs(2 * shrink * move * of_sigma.h2) * np.std(res) / np.sqrt(n0)
    sd_c += move**2 * of_sigma.slope_variance / alpha0 * np.std(res**2) / np.sqrt(n0)

    off = np.zeros(2 * len(u) + 1)
    for _ in range(replicates):
        theta = unit_rows(rng, 1, d)[0]
        X = rng.standard_normal((n0, d))
        y = g(X @ theta) + noise * rng.standard_normal(n0)
        layer = gradient_step(X, y, unit_rows(rng, p, d), a, activation, eta, theta=theta)
        off += [*(layer.r - formula.r), *(layer.c - formula.c), layer.gamma - formula.gamma]
    off /= replicates
    error = np.array([*sd_r, *sd_c, sd_gamma]) / np.sqrt(replicates)
    size = np.array([*np.maximum(1, np.abs(formula.r)), *formula.c, 1.0])
    assert (np.abs(off) < 4 * error + 8 * size / d).all(), (off / error, off * d / size)


# ---- What is refused ----------------------------------------------------------------------------


def arrays():
    rng = np.random.default_rng(0)
    return {
        "X": rng.standard_normal((300, 4)),
        "W": rng.standard_normal((6, 4)),
        "y": rng.standard_normal(300),
        "a": np.ones(6),
        "Z": rng.standard_normal((300, 6)),
        "s": rng.standard_normal(300),
        "u": rng.standard_normal(6),
    }


CALLS = {
    ("X", "W"): lambda given: feature_map(given["X"], given["W"], "tanh"),
    ("Z", "s", "u"): lambda given: spike_features(given["Z"], given["s"], given["u"], 1.0, "tanh"),
    ("X", "y", "W"): lambda given: gradient_step(
        given["X"], given["y"], given["W"], given["a"], "tanh", 1.0
    ),
}


@pytest.mark.parametrize(
    ("name", "call"), [(name, call) for names, call in CALLS.items() for name in names]
)
def test_bad_arrays(name, call):
    good = arrays()
    call(good)
    for dtype in (np.int64, object, bool, complex, np.float16):
        with pytest.raises(TypeError, match=rf"^{name} must be an array of float32 or float64"):
            call(good | {name: good[name].real.astype(dtype)})
    with pytest.raises(TypeError, match=f"^{name} must be"):
        call(good | {name: "abc"})
    with pytest.raises(ValueError, match=rf"^{name} must not be empty, got shape \(0"):
        call(good | {name: good[name][:0]})
    with pytest.raises(ValueError, match=f"^{name} must have . axes, got shape"):
        call(good | {name: good[name][None]})
    with pytest.raises(ValueError, match=rf"shapes do not match: .*{name}\["):
        call(good | {name: good[name][..., :-1] if name in "XW" else good[name][:-1]})
    for bad in (np.nan, np.inf, -np.inf):
        wrong = good[name].copy()
        at = tuple(length - 1 for length in wrong.shape)
        wrong[at] = bad
        index = ", ".join(map(str, at))
        with pytest.raises(
            ValueError, match=rf"^{name} must be finite, got {bad} at index \[{index}\]"
        ):
            call(good | {name: wrong})


def test_the_first_bad_row_of_an_update_in_place():
    given = arrays()
    Z = np.asfortranarray(given["Z"])
    Z[17, 2], Z[40, 0] = np.inf, np.nan
    for z in (Z.copy(order="C"), Z):
        with pytest.raises(ValueError, match=r"got inf at index \[17, 2\]"):
            spike_features(z, given["s"], given["u"], 0.5, "tanh", out=z)
    with pytest.raises(ValueError, match=r"got inf at index \[17, 2\]"):
        spike_features(Z, given["s"], given["u"], 0.5, lambda x: x)


def test_bad_out():
    given = arrays()
    X, W = given["X"], given["W"]
    good = np.empty((300, 6))
    with pytest.raises(TypeError, match=r"^out must be an array of float64, got an array of"):
        feature_map(X, W, "tanh", out=good.astype(np.float32))
    with pytest.raises(TypeError, match=r"^out must be an array of float64, got list"):
        feature_map(X, W, "tanh", out=[])
    with pytest.raises(ValueError, match=r"shape \(300, 6\), got shape \(6, 300\)"):
        feature_map(X, W, "tanh", out=good.T)
    good.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        feature_map(X, W, "tanh", out=good)
    square = np.ones((6, 6))
    with pytest.raises(ValueError, match=r"^out must not share memory with W"):
        feature_map(np.ones((6, 6)), square, "tanh", out=square)
    wide = np.ones((300, 12))
    with pytest.raises(ValueError, match=r"^out must not share memory with Z"):
        spike_features(wide[:, :6], given["s"], given["u"], 1.0, "tanh", out=wide[:, 1:7])


def test_bad_parameters():
    X, W, y, a = (arrays()[name] for name in ("X", "W", "y", "a"))

    def step(activation="tanh", eta=1.0, a=a, **more):
        return gradient_step(X, y, W, a, activation, eta, **more)

    with pytest.raises(ValueError, match="'floor' has a jump"):
        step(np.floor)
    with pytest.raises(ValueError, match="'sign' cannot take a gradient step"):
        step("sign")
    with pytest.raises(ValueError, match="activation must be"):
        feature_map(X, W, "tahn")
    with pytest.raises(ValueError, match="eta must be finite"):
        step(eta=np.nan)
    with pytest.raises(ValueError, match="eta must be a number"):
        step(eta=np.ones(2))
    with pytest.raises(TypeError, match="eta must be a real number"):
        step(eta="big")
    with pytest.raises(ValueError, match=r"a must have shape \(6,\)"):
        step(a=np.ones(5))
    with pytest.raises(ValueError, match="a must be finite"):
        step(a=np.full(6, np.inf))
    with pytest.raises(TypeError, match="a must be a real number"):
        step(a=np.ones(6, object))
    with pytest.raises(ValueError, match=r"theta must have shape \(4,\)"):
        step(theta=np.ones(3))
    with pytest.raises(ValueError, match="theta must not be zero"):
        step(theta=np.zeros(4))
    with pytest.raises(ValueError, match="block must be at least 1"):
        step(block=0)


def test_a_step_that_overflows_is_refused(rng):
    X, W = rng.normal(size=(20, 3)), rng.normal(size=(4, 3))
    y, a = rng.normal(size=20), np.array([1.0, 1.0, -1.0, -1.0])
    large = gradient_step(X, y, W, a, "tanh", 1e150)
    assert np.isfinite(large.c).all()
    with pytest.raises(ValueError, match=r"overflow float64, with eta=1e\+160"):
        gradient_step(X, y, W, a, "tanh", 1e160)
    with pytest.raises(ValueError, match=r"overflow float32, with eta=1e\+25"):
        gradient_step(*(v.astype(np.float32) for v in (X, y, W)), a, "tanh", 1e25)


def test_memory_that_would_not_fit(monkeypatch):
    tall = np.lib.stride_tricks.as_strided(np.ones(2), (1 << 22, 2), (0, 8))
    with pytest.raises(MemoryError, match=rf"would take {(1 << 22) ** 2 * 8} bytes"):
        feature_map(tall, tall, "tanh")
    monkeypatch.setattr(memory, "available_memory", lambda: 1 << 20)
    with pytest.raises(MemoryError, match=r"gradient step .* would take .* 1048576 are available"):
        gradient_step(
            np.ones((2, 3000)), np.ones(2), np.ones((3000, 3000)), np.ones(3000), "tanh", 1
        )


def test_available_memory(monkeypatch, tmp_path):
    available = memory.available_memory()
    assert available is None or available > 0
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       8000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CONTROL_GROUP", tmp_path)
    assert memory.available_memory() == 8000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_memory() == 8000 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 500\n")
    assert memory.available_memory() == 2500
    memory.require_memory(1 << 20, "a little is not looked at")
