"""Covariances, classes and targets of several directions: what they are and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from spikedrf import Covariance, DataWarning, Mixture, MultiIndex

# --------------------------------------------------------------------------------------------------
# MultiIndex


def test_named_targets():
    s = np.array([[0.3, -2.0, 0.5], [1.0, 1.5, -0.4]])
    product = MultiIndex("product", directions=3)
    np.testing.assert_allclose(product(s), s.prod(axis=-1))
    np.testing.assert_allclose(
        MultiIndex("staircase", 3)(s), s[:, 0] * (1 + s[:, 1] * (1 + s[:, 2]))
    )
    np.testing.assert_allclose(MultiIndex("committee", 3)(s), np.tanh(s).sum(axis=-1) / np.sqrt(3))
    np.testing.assert_allclose(MultiIndex("sphere", 3)(s), ((s**2).sum(axis=-1) - 3) / np.sqrt(6))
    assert repr(product) == "MultiIndex(product, directions=3)"
    assert product.fingerprint != MultiIndex("staircase", 3).fingerprint


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"function": "foo"}, ValueError, "one of product, staircase"),
        ({"function": 3}, TypeError, "function must be callable or a name, got 3"),
        ({"function": "product", "directions": 4}, ValueError, "directions must be 1 to 3, got 4"),
        ({"function": "product", "directions": 0}, ValueError, "directions must be 1 to 3, got 0"),
        ({"function": "product", "directions": 2.0}, TypeError, "directions must be an integer"),
        ({"function": lambda s: s}, ValueError, r"got \(5, 2, 2\)"),
        ({"function": lambda s: s[0]}, ValueError, "the directions are the last axis"),
        ({"function": lambda s: s[..., 0] * 1j}, TypeError, "real numbers, got dtype complex"),
        ({"function": lambda s: s[..., 0] / 0.0}, ValueError, "must be finite"),
    ],
)
def test_bad_targets(given, error, message):
    with np.errstate(divide="ignore"), pytest.raises(error, match=message):
        MultiIndex(**given)


# --------------------------------------------------------------------------------------------------
# Covariance


def test_covariance_is_normalised():
    covariance = Covariance([5.0, 1.0], dimensions=[0.25, 0.75], target=[1.0, 0.0])
    np.testing.assert_allclose(covariance.eigenvalues, [2.5, 0.5])
    assert covariance.scale == pytest.approx(2.0)
    assert not covariance.isotropic
    assert Covariance([3.0, 3.0, 7.0], dimensions=[0.5, 0.5, 0.0]).isotropic
    np.testing.assert_allclose(covariance.shares(2, 3), [[1.0, 1.0, 0.25], [0.0, 0.0, 0.75]])
    np.testing.assert_allclose(Covariance([1.0, 2.0]).shares(1), [[0.5], [0.5]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"eigenvalues": [-1.0, 2.0]}, "eigenvalues must be >= 0 and finite, got -1.0"),
        ({"eigenvalues": [0.0, 0.0]}, "eigenvalues must have a mean > 0"),
        ({"eigenvalues": [1.0, 0.0], "dimensions": [0.0, 1.0]}, "eigenvalues must have a mean > 0"),
        ({"eigenvalues": [np.nan]}, "eigenvalues must be"),
        ({"eigenvalues": []}, "eigenvalues must have shape"),
        ({"eigenvalues": [1.0, 2.0], "dimensions": [0.5, 0.6]}, "dimensions must sum to one"),
        ({"eigenvalues": [1.0, 2.0], "dimensions": [1.0]}, "dimensions must have shape"),
        ({"eigenvalues": [1.0, 2.0], "target": [0.5, 0.4]}, "target must sum to one"),
        ({"eigenvalues": [1.0, 2.0], "target": [[0.5, 0.5, 0.0]]}, "target must have shape"),
        ({"eigenvalues": [0.0, 1.0], "target": [0.5, 0.5]}, "where the eigenvalue is 0"),
        (
            {"eigenvalues": [1000.0, 1.0, 1.0], "dimensions": [0.01, 0.49, 0.5]},
            "the largest, 1000.0 .* make it a direction of the target or of the means",
        ),
        ({"eigenvalues": [400.0, *np.ones(99)]}, "is 400 times the next"),
    ],
)
def test_bad_covariances(given, message):
    with pytest.raises(ValueError, match=message):
        Covariance(**given)


@pytest.mark.parametrize(("exponent", "target"), [(0.3, None), (0.5, -2.0), (0.4, 0.4)])
def test_power_law_keeps_its_promise(exponent, target):
    law = Covariance.power_law(exponent, target_exponent=target, nodes=10, dimension=None)
    assert law.dimensions @ law.eigenvalues == pytest.approx(1.0)
    # lambda(u) = (1 - a) u^-a, by substitution u = t^m where the integrands are smooth in t.
    t, w = np.polynomial.legendre.leggauss(400)
    t, w = 0.5 * (t + 1), 0.5 * w
    u, du = t**10, 10 * t**9 * w
    value = (1 - exponent) * u**-exponent
    b = 0.0 if target is None else target
    for share, density in ((law.dimensions, du), (law.target, (1 - b) * u**-b * du)):
        if share is None:
            continue
        for x in (1e-3, 0.1, 10.0, 1e3):
            exact = density @ (value / (1 + x * value))
            ours = share @ (law.eigenvalues / (1 + x * law.eigenvalues))
            assert ours == pytest.approx(exact, rel=1.1 * law.accuracy + 1e-7)
    finer = Covariance.power_law(exponent, target_exponent=target, nodes=20, dimension=None)
    assert finer.accuracy < 0.1 * law.accuracy


def test_power_law_in_finite_dimension():
    law = Covariance.power_law(1.2, target_exponent=0.5, nodes=16, dimension=500)
    k = np.arange(1, 501.0)
    value = k**-1.2 / np.mean(k**-1.2)
    ours = law.dimensions @ (law.eigenvalues / (1 + law.eigenvalues))
    assert ours == pytest.approx(np.mean(value / (1 + value)), rel=law.accuracy + 1e-12)
    with pytest.raises(ValueError, match="exponent must be < 1 without dimension, got"):
        Covariance.power_law(1.2, dimension=None)
    with pytest.raises(ValueError, match="target_exponent must be < 1 without dimension"):
        Covariance.power_law(0.5, target_exponent=1.0, dimension=None)
    with pytest.raises(ValueError, match="nodes must be 2 to 64, got 1"):
        Covariance.power_law(0.5, nodes=1)


def rows(n, d=100, seed=0):
    """Rows of eigenvalues 2.5 (a quarter) and .5, a target of which .85 is in the first."""
    rng = np.random.default_rng(seed)
    value = np.repeat([2.5, 0.5], [d // 4, 3 * d // 4])
    direction = np.zeros(d)
    direction[:5], direction[d // 2 : d // 2 + 5] = np.sqrt(0.17), np.sqrt(0.03)
    z = rng.standard_normal((n, d))
    return z * np.sqrt(value), np.sin(z @ direction) + 0.3 * rng.standard_normal(n)


def test_from_data_takes_the_noise_of_the_rows_out():
    X, y = rows(300)
    found = Covariance.from_data(X, y)
    sample = np.linalg.eigvalsh(X.T @ X / len(X))
    sample /= sample.mean()
    exact = np.array([2.5, 0.5])
    for x in (0.1, 1.0, 10.0):
        right = np.array([0.25, 0.75]) @ (exact / (1 + x * exact))
        ours = found.dimensions @ (found.eigenvalues / (1 + x * found.eigenvalues))
        naive = np.mean(sample / (1 + x * sample))
        assert ours == pytest.approx(right, rel=0.02)
        assert abs(ours - right) < 0.3 * abs(naive - right)


def test_from_data_finds_the_target():
    X, y = rows(4000)
    found = Covariance.from_data(X, y)
    assert found.target[found.eigenvalues > 1.0].sum() == pytest.approx(0.85, abs=0.05)
    assert found.link_noise == pytest.approx(0.3, abs=0.02)
    # sin has the linear part e^-1/2 s, of variance 1/e.
    variance = (1 - np.exp(-2)) / 2 + 0.09
    assert found.explained == pytest.approx(np.exp(-1) / variance, abs=0.03)
    assert found.noise == pytest.approx(np.sqrt(variance - np.exp(-1)), abs=0.02)
    assert found.linear(np.array([1.0])) == pytest.approx(np.exp(-0.5), abs=0.03)
    s = np.linspace(-2, 2, 9)
    sign = np.sign(found.link(np.ones(1))[0])
    np.testing.assert_allclose(sign * found.link(sign * s), np.sin(s), atol=0.06)
    assert found.non_gaussian < 0.03


def test_from_data_of_noise_has_no_direction():
    rng = np.random.default_rng(5)
    found = Covariance.from_data(rng.standard_normal((500, 40)), rng.standard_normal(500))
    assert found.explained < 0.0
    assert found.noise == pytest.approx(1.0, abs=0.1)
    assert found.target.sum() == pytest.approx(1.0)


def test_from_data_says_how_far_from_gaussian():
    rng = np.random.default_rng(0)
    X = rng.standard_t(3, size=(2000, 1)) * rng.standard_normal((2000, 30))
    with pytest.warns(DataWarning, match=r"0\.\d\d\d from the normal distribution"):
        found = Covariance.from_data(X)
    assert found.non_gaussian > 0.1
    assert found.target is None


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((4, 3)), None, "X must have shape"),
        (np.ones((20, 3)), None, "X must vary"),
        (np.eye(20), np.ones(19), "y must have shape"),
        (np.eye(20), np.ones(20), "y must vary"),
        (np.full((20, 3), np.nan), None, "X must be finite"),
    ],
)
def test_bad_rows(X, y, message):
    with pytest.raises(ValueError, match=message):
        Covariance.from_data(X, y)


# --------------------------------------------------------------------------------------------------
# Mixture


def test_mixture():
    pair = Mixture([1.0, -1.0], labels=[1, -1])
    assert pair.means.shape == (2, 1)
    assert repr(pair) == "Mixture(2 classes in 1 direction, labels by class)"
    assert "labels by a function" in repr(
        Mixture([[1.0], [0.0]], labels=lambda s, k: s[..., 0] + k)
    )


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"means": np.ones((2, 2, 2))}, ValueError, "means must have shape"),
        ({"means": np.ones((11, 1))}, ValueError, "11 classes, at most 10 are allowed"),
        ({"means": np.ones((2, 11))}, ValueError, "11 directions, at most 10"),
        ({"means": [1.0, np.inf]}, ValueError, "means must be finite"),
        ({"means": [1, 2], "proportions": [0.5, 0.6]}, ValueError, "proportions must sum to one"),
        ({"means": [1, 2], "proportions": [1.5, -0.5]}, ValueError, "proportions must be >= 0"),
        ({"means": [1, 2], "proportions": [1.0]}, ValueError, "proportions must have shape"),
        ({"means": [1, 2], "labels": [1.0]}, ValueError, "labels must have shape"),
        ({"means": [1, 2], "weights": [1.0, 0.0]}, ValueError, "weights must be > 0"),
        (
            {"means": [1, 2], "labels": lambda s, k: s},
            ValueError,
            "must return one number for each",
        ),
        ({"means": [1, 2], "covariance": 3}, TypeError, "covariance must be a Covariance or None"),
    ],
)
def test_bad_mixtures(given, error, message):
    with pytest.raises(error, match=message):
        Mixture(**given)
