"""Gaussian moments of every activation against an independent quadrature and mpmath."""

import mpmath
import numpy as np
import pytest

import brute_force
from spikedrf import Spike, _core, theory
from spikedrf.activations import NAMES, resolve, step_moments

MEAN = np.array([-60.0, -8.3, -2.1, -0.4, 0.0, 0.3, 1.7, 6.5, 45.0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("c", [1e-6, 0.01, 0.3, 1.0, 16.0, 63.9, 64.1, 400.0])
def test_moments_against_quadrature(name, c):
    e0, e1, e2 = _core.Function(resolve(name).code)(MEAN, np.sqrt(c))
    mu0, mu1, mu2, *_ = brute_force.tables(MEAN, 1.0, c, 0.0, name, "identity")
    scale = np.maximum(np.sqrt(mu0[0] ** 2 + c * mu1[0] ** 2 + mu2[0]), 1e-3)
    np.testing.assert_allclose(e0 / scale, mu0[0] / scale, atol=2e-13)
    np.testing.assert_allclose(e1 / scale, np.sqrt(c) * mu1[0] / scale, atol=2e-13)
    np.testing.assert_allclose(e2 / scale**2, mu2[0] / scale**2, atol=4e-13)
    assert (e2 >= 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sd", [0.0, 0.01, 0.6, 3.0, 20.0])
def test_many_means_at_once_are_one_by_one(name, sd):
    """Mirror images, and means that share the function on one lattice, against each mean alone."""
    function = _core.Function(resolve(name).code)
    right = np.geomspace(1e-3, 30.0, 40)
    for mean in (np.concatenate([-right[::-1], right]), np.concatenate([right[::-1], [0], -right])):
        together = np.array(function(mean, sd, slopes=True))
        alone = np.hstack([function(np.array([m]), sd, slopes=True) for m in mean])
        scale = np.maximum(np.sqrt(alone[0] ** 2 + alone[1] ** 2 + alone[2]), 1e-3)
        scale = scale ** np.array([1, 1, 2, 1, 1, 2, 2])[:, None]
        np.testing.assert_allclose(together / scale, alone / scale, atol=2e-13)


def slopes_by_quadrature(f, mean, sd):
    """f2, f3, p1, p2 on Gauss-Legendre panels that end at the kink mean + sd z = 0."""
    out = []
    for m in mean:
        kink = np.clip(-m / sd, -11.0, 11.0)
        edges = np.clip(kink + brute_force.offsets_around(1 / sd, 1.0) * [[-1], [1]], -11.0, 11.0)
        z, w = brute_force.panels(np.unique(edges), 20)
        value = f(m + sd * z) - f(np.array(m))
        rest = value - w @ value - (w @ (z * value)) * z
        w2 = w * rest**2
        he2 = z * z - 1
        out.append([w @ (he2 * rest), w @ ((z**3 - 3 * z) * rest), w2 @ z, w2 @ he2])
    return np.transpose(out)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("c", [0.01, 1.0, 4.0, 100.0])
def test_slopes_against_quadrature(name, c):
    sd = np.sqrt(c)
    found = _core.Function(resolve(name).code)(MEAN, sd, slopes=True)
    plain = _core.Function(resolve(name).code)(MEAN, sd)
    np.testing.assert_allclose(found[:3], plain, rtol=1e-13, atol=1e-17)
    expected = slopes_by_quadrature(brute_force.functions[name], MEAN, sd)
    scale = np.maximum(np.sqrt(found[0] ** 2 + found[1] ** 2 + found[2]), 1e-3)
    for row, power in ((3, 1), (4, 1), (5, 2), (6, 2)):
        np.testing.assert_allclose(
            found[row] / scale**power,
            expected[row - 3] / scale**power,
            atol=3e-12,
            err_msg=str(row),
        )


@pytest.mark.parametrize("name", ["tanh", "relu", "sign", "gelu", "erf"])
def test_slopes_are_the_derivatives(name):
    """The moments' own differences in mean and sd: the heat equation, kinks and jumps included."""
    function = _core.Function(resolve(name).code)
    mean, sd, h = np.array([-1.3, 0.4, 2.0]), 0.8, 1e-3
    weights, at = np.array([1, -8, 8, -1]) / (12 * h), h * np.array([-2, -1, 1, 2])
    by_mean = sum(w * function(mean + x, sd) for w, x in zip(weights, at, strict=True))
    by_sd = sum(w * function(mean, sd + x) for w, x in zip(weights, at, strict=True))
    _, e1, _, f2, f3, p1, p2 = function(mean, sd, slopes=True)
    np.testing.assert_allclose(by_mean, np.array([e1, f2, p1]) / sd, atol=2e-10)
    np.testing.assert_allclose(by_sd, np.array([f2, e1 + f3, p2]) / sd, atol=2e-10)


@pytest.mark.parametrize("name", ["relu", "abs", "sign", "leaky_relu", "erf", "tanh", "sigmoid"])
def test_saturated_tails_keep_relative_accuracy(name):
    """The remainder far out is tiny but divided by lam: it must not drown in rounding."""
    mean, sd = 7.0, 1.0
    _, _, e2 = _core.Function(resolve(name).code)(np.array([mean]), sd)
    functions = {
        "relu": lambda x: max(x, 0),
        "abs": abs,
        "sign": mpmath.sign,
        "leaky_relu": lambda x: x if x > 0 else x / 100,
        "erf": lambda x: mpmath.erf(x / mpmath.sqrt(2)),
        "tanh": mpmath.tanh,
        "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    }
    f = functions[name]
    with mpmath.workdps(40):
        points = [-30, -mean, -5, 0, 5, 30]
        m0 = mpmath.quad(lambda z: mpmath.npdf(z) * f(mean + z), points)
        m1 = mpmath.quad(lambda z: mpmath.npdf(z) * z * f(mean + z), points)
        rest = mpmath.quad(lambda z: mpmath.npdf(z) * (f(mean + z) - m0 - m1 * z) ** 2, points)
    assert e2[0] == pytest.approx(float(rest), rel=1e-7, abs=1e-25)


@pytest.mark.parametrize("name", NAMES)
def test_no_spread_is_the_function_itself(name):
    e0, e1, e2 = _core.Function(resolve(name).code)(MEAN, 0.0)
    np.testing.assert_allclose(e0, brute_force.functions[name](MEAN), rtol=1e-13, atol=1e-300)
    assert not e1.any()
    assert not e2.any()


@pytest.mark.parametrize("name", [n for n in NAMES if n != "sign"])
def test_step_constants(name):
    function = brute_force.functions[name]
    moments = step_moments(resolve(name), slope=True)
    z, w = brute_force.kappa_rule(1.0, 1.0, 0.0)
    f, df = function(z), brute_force.derivatives[name](z)
    assert moments.h0 == pytest.approx(w @ f, rel=1e-12, abs=1e-13)
    assert moments.h1 == pytest.approx(w @ (z * f), rel=1e-12, abs=1e-13)
    assert moments.h2 == pytest.approx(w @ ((z * z - 1) * f), rel=1e-12, abs=1e-13)
    assert moments.second == pytest.approx(w @ (f * f), rel=1e-12)
    variance = w @ (df - w @ df) ** 2
    assert moments.slope_variance == pytest.approx(variance, rel=1e-11, abs=1e-13)


def test_relu_step_constants_in_closed_form():
    moments = step_moments(resolve("relu"), slope=True)
    assert moments.h0 == pytest.approx(1 / np.sqrt(2 * np.pi), rel=1e-14)
    assert moments.h1 == pytest.approx(0.5, rel=1e-14)
    assert moments.h2 == pytest.approx(1 / np.sqrt(2 * np.pi), rel=1e-14)
    assert moments.slope_variance == pytest.approx(0.25, rel=1e-14)


CALLABLES = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softplus": lambda x: np.logaddexp(0, x),
    "sin": np.sin,
    "hermite3": lambda x: (x**3 - 3 * x) / np.sqrt(6),
}


@pytest.mark.parametrize("name", CALLABLES)
def test_callable_moments_equal_named_ones(name):
    named, own = resolve(name), resolve(CALLABLES[name])
    for sd in (0.05, 0.8, 3.0):
        for effort in (0, 4):
            a = _core.Function(named.code)(MEAN, sd, slopes=True)
            b = _core.Function(own.core)(MEAN, sd, effort, slopes=True)
            scale = np.maximum(np.sqrt(a[0] ** 2 + a[1] ** 2 + a[2]), 1e-6)
            np.testing.assert_allclose(b[:2] / scale, a[:2] / scale, atol=3e-13)
            np.testing.assert_allclose(b[2] / scale**2, a[2] / scale**2, atol=3e-13)
            np.testing.assert_allclose(b[3:5] / scale, a[3:5] / scale, atol=3e-12)
            np.testing.assert_allclose(b[5:] / scale**2, a[5:] / scale**2, atol=3e-12)
    a, b = step_moments(named, slope=True), step_moments(own, slope=True)
    assert b.slope_variance == pytest.approx(a.slope_variance, rel=1e-9)
    assert b.h2 == pytest.approx(a.h2, rel=1e-12, abs=1e-14)


def test_kinks_and_jumps_are_found():
    assert resolve(lambda x: np.maximum(x, 0)).structure[0] == (0.0,)
    assert resolve(np.tanh).structure[0] == ()
    assert resolve(lambda x: np.abs(x - 0.3) + np.maximum(x + 2, 0)).structure[0] == (-2.0, 0.3)
    (jump,) = resolve(lambda x: np.where(x > np.pi / 7, 1.0, 0.0)).structure.breaks
    assert jump == pytest.approx(np.pi / 7, abs=1e-12)
    # A sharp but smooth function is resolved, not broken.
    sharp = resolve(lambda x: np.tanh(20 * (x - 0.4))).structure
    # Narrow panels about the bend, and no point of it taken for a kink.
    assert sharp.resolved
    assert 0.001 < np.diff(sharp.breaks).min() < 0.1
    assert np.abs(np.array(sharp.breaks) - 0.4).max() < 1.0


def test_a_huge_spread_makes_a_step_of_a_sigmoid():
    # Its panels end where rounding does, not at the width that the function asks for.
    setting = {"lam": 0.1, "activation": "tanh", "target": "tanh"}
    sharp = theory.solve([0.5, 2.0], step=Spike(r=1e20, c=1e40, gamma=0.9), **setting)
    setting["activation"] = "sign"
    step = theory.solve([0.5, 2.0], step=Spike(r=1.0, c=1.0, gamma=0.9), **setting)
    assert sharp.success.all()
    np.testing.assert_allclose(sharp.test_error, step.test_error, rtol=1e-12)


def test_step_constants_of_shifted_functions():
    from scipy.stats import norm

    def shifted(x):
        return np.maximum(x - 0.3, 0)

    p = norm.sf(0.3)
    for function in (shifted, (shifted, lambda x: np.where(x > 0.3, 1.0, 0.0))):
        moments = step_moments(resolve(function), slope=True)
        assert moments.h0 == pytest.approx(norm.pdf(0.3) - 0.3 * p, rel=1e-12)
        assert moments.h1 == pytest.approx(p, rel=1e-12)
        assert moments.slope_variance == pytest.approx(p * (1 - p), rel=1e-9)
    with pytest.raises(ValueError, match="jump"):
        step_moments(resolve(lambda x: np.sign(x - 0.2)), slope=True)
    # As a target a jump is fine.
    target = step_moments(resolve(lambda x: np.where(x > 0.3, 1.0, 0.0)), slope=False)
    assert target.h1 == pytest.approx(norm.pdf(0.3), rel=1e-12)
    assert target.second == pytest.approx(p, rel=1e-12)
