"""A trained first layer that the user brings: its readout's errors before it is fitted."""

import numpy as np
import pytest

from spikedrf import GradientStep, Spike, theory
from spikedrf.features import feature_map
from spikedrf.gradient_step import gradient_step
from spikedrf.readout.ridge import ridge_readout

D = 300


def unit_rows(rng, p, d=D):
    W = rng.normal(size=(p, d))
    return W / np.linalg.norm(W, axis=1)[:, None]


def trained(rng, step, activation, target, noise, p, d=D):
    """Weights after a step; the target direction is the first axis."""
    X = rng.normal(size=(round(step.alpha0 * d), d))
    y = target(X[:, 0]) + noise * rng.normal(size=len(X))
    u = np.repeat(np.atleast_1d(step.u), p // np.size(step.u))
    return gradient_step(X, y, unit_rows(rng, p, d), u, activation, step.eta).W


def readouts(rng, W, alpha, lam, activation, target, noise, count):
    """Mean and standard error of the errors of readouts on one layer."""
    p, d = W.shape
    found = []
    for _ in range(count):
        X, fresh = rng.normal(size=(round(alpha * d), d)), rng.normal(size=(4000, d))
        y = target(X[:, 0]) + noise * rng.normal(size=len(X))
        phi = feature_map(X, W, activation)
        a = ridge_readout(phi, y, lam)
        output = feature_map(fresh, W, activation) @ a / np.sqrt(p)
        found.append(
            [
                np.mean((target(fresh[:, 0]) - output) ** 2) + noise**2,
                np.mean((y - phi @ a / np.sqrt(p)) ** 2),
                a @ a / p,
            ]
        )
    return np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(count)


CASES = [
    ("tanh", np.tanh, "tanh", 1.0, GradientStep(3.0, 0.5), 0.0),
    ("tanh", np.sin, "sin", 2.0, GradientStep(2.0, 0.3), 0.2),
    ("erf", np.sin, "sin", 0.6, GradientStep(2.0, 0.3), 0.1),
    ("relu", np.tanh, "tanh", 1.0, GradientStep(2.0, 0.3), 0.1),
]


@pytest.mark.parametrize(("activation", "g", "target", "beta", "step", "noise"), CASES)
def test_errors_before_the_readout_is_fitted(activation, g, target, beta, step, noise):
    """One layer each, 16 readouts: |z| < 4, beside 2/sqrt(d) of a layer's own of finite size.

    The isotropic bulk with the same measured spike is further away.
    """
    rng = np.random.default_rng(0)
    W = trained(rng, step, activation, g, noise, round(beta * D))
    layer = theory.from_layer(W, np.eye(D)[0])
    assert layer.beta == beta
    model = {"lam": 0.05, "activation": activation, "target": target, "noise": noise}
    mean, sem = readouts(rng, W, 2.0, 0.05, activation, g, noise, 16)
    own = layer.solve(2.0, **model)
    # The bulk belongs to the layer: whoever gets it uses it, unless told otherwise.
    assert theory.solve(2.0, step=layer, beta=beta, **model).test_error == own.test_error
    isotropic = theory.solve(2.0, step=layer, beta=beta, bulk="isotropic", **model)
    assert (own.bulk, isotropic.bulk) == ("network", "isotropic")
    assert (
        isotropic.test_error == theory.solve(2.0, step=layer.spike, beta=beta, **model).test_error
    )
    predicted = np.array([own.test_error, own.train_error, own.norm])
    assert (np.abs(mean - predicted) < 4 * sem + 0.01 * mean).all(), (mean - predicted) / sem
    assert abs(mean[0] - isotropic.test_error) > 1.5 * abs(mean[0] - own.test_error)
    formula = step.spike(activation, target, noise)
    assert layer.spike.r == pytest.approx(formula.r, rel=0.15)
    assert layer.spike.c == pytest.approx(formula.c, rel=0.25)
    assert layer.spike.gamma == pytest.approx(formula.gamma, abs=0.12)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_a_random_layer_is_isotropic(beta):
    """The spectrum of a sample of p rows is wide; that of what they are drawn from is not."""
    rng = np.random.default_rng(1)
    W = 1.1 * unit_rows(rng, round(beta * D))
    direction = np.zeros(D)
    direction[:2] = 0.8, 0.6
    W[:, 0] += 1.2
    layer = theory.from_layer(W, direction)
    model = {"lam": 0.1, "activation": "relu", "target": "sin", "noise": 0.1}
    expected = theory.solve([0.5, 2.0], step=Spike(1.2, 1.21, 0.8), beta=beta, **model)
    found = layer.solve([0.5, 2.0], **model)
    # A sample's moments are off by order 1/d, its forms by sqrt(2/d).
    for name in ("test_error", "train_error", "norm"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0.04)


def test_groups_are_found():
    rng = np.random.default_rng(2)
    step = GradientStep(2.5, 1.0, u=[1.5, -1.0, 0.2])
    W = trained(rng, step, "tanh", np.sin, 0.1, 300)
    order = rng.permutation(300)
    layer = theory.from_layer(W[order], np.eye(D)[0])
    truth = np.repeat([0, 1, 2], 100)[order]
    same = layer.groups[:, None] == layer.groups
    np.testing.assert_array_equal(same, truth[:, None] == truth)
    given = theory.from_layer(W[order], np.eye(D)[0], groups=truth)
    one, other = (item.solve(1.5, lam=0.1, target="sin", noise=0.1) for item in (layer, given))
    assert one.test_error == pytest.approx(other.test_error, rel=1e-9)
    np.testing.assert_allclose(np.sort(given.spike.r), np.sort(layer.spike.r))
    np.testing.assert_allclose(layer.spike.pi, 1 / 3)
    # Values and variances belong together.
    mean = layer.weight[0] @ layer.value
    np.testing.assert_allclose(mean, layer.spike.c, rtol=1e-6)
    np.testing.assert_allclose(layer.weight.sum(axis=1), [1, 1, 0, 1], atol=1e-12)


def test_samples_stand_for_the_direction():
    rng = np.random.default_rng(3)
    W = trained(rng, GradientStep(3.0, 1.0), "tanh", np.sin, 0.0, D)
    X = rng.normal(size=(40 * D, D))
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=len(X))
    known, found = (
        theory.from_layer(W, np.eye(D)[0]),
        theory.from_layer(W, X=X, y=y, target="sin"),
    )
    assert found.spike.gamma == pytest.approx(known.spike.gamma, abs=0.02)
    one, other = (item.solve(2.0, lam=0.1, target="sin").test_error for item in (known, found))
    assert one == pytest.approx(other, rel=0.03)


def test_the_width_may_be_another():
    """The bulk is that of what the neurons are drawn from, so more can be drawn."""
    rng = np.random.default_rng(4)
    W = trained(rng, GradientStep(3.0, 0.5), "tanh", np.tanh, 0.0, 4 * D)
    few, many = (theory.from_layer(W[: n * D], np.eye(D)[0]) for n in (2, 4))
    model = {"lam": 0.05, "bulk": "network"}
    small, large = (theory.solve(1.5, beta=4.0, step=layer, **model) for layer in (few, many))
    assert small.test_error == pytest.approx(large.test_error, rel=0.02)


def test_a_layer_has_diagrams_and_derivatives_too():
    rng = np.random.default_rng(6)
    layer = theory.from_layer(unit_rows(rng, 150, 100) + 1.5 * np.eye(100)[0], np.eye(100)[0])
    model = {"step": layer, "beta": layer.beta, "bulk": "network", "target": "sin", "noise": 0.1}
    alpha, lam = np.array([0.5, 1.0, 2.0]), np.array([0.05, 0.2])
    diagram = theory.phase_diagram(alpha=alpha, lam=lam, **model)
    expected = layer.solve(alpha, lam=lam[:, None], target="sin", noise=0.1).test_error
    np.testing.assert_allclose(diagram.value, expected, rtol=1e-12)
    assert diagram.parameters["gamma"] == layer.spike.gamma
    slope = theory.gradient(1.0, lam=0.2, wrt="lam", **model)["lam"]
    central = np.subtract(
        *(theory.solve(1.0, lam=0.2 + h, rtol=1e-10, **model).test_error for h in (1e-4, -1e-4))
    )
    assert slope == pytest.approx(central / 2e-4, rel=1e-5)


def test_assumptions_that_are_off():
    rng = np.random.default_rng(5)
    theta = np.eye(D)[0]
    with pytest.warns(theory.LayerWarning, match="no clear spike: the largest two eigenvalues"):
        theory.from_layer(unit_rows(rng, D), theta)
    with pytest.warns(theory.LayerWarning, match="differ in length: .* varies by"):
        theory.from_layer(
            unit_rows(rng, D) * rng.choice([0.6, 1.4], size=(D, 1)) + 2.0 * theta, theta
        )
    smeared = unit_rows(rng, D) + rng.uniform(1.0, 3.0, size=(D, 1)) * theta
    with pytest.warns(theory.LayerWarning, match="groups are not separated"):
        theory.from_layer(smeared, theta, groups=np.zeros(D))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"W": np.ones(3)}, ValueError, r"W must have shape \(p, d\)"),
        ({"W": "x"}, TypeError, "W must be"),
        ({"W": np.full((4, 5), 1e200)}, ValueError, "W must be smaller"),
        ({"W": np.eye(1, 5) * np.ones((4, 1))}, ValueError, "W must have a bulk"),
        ({"W": np.full((4, 5), np.nan)}, ValueError, "W must be finite"),
        ({"theta": np.ones(4)}, ValueError, r"theta must be a direction of shape \(5,\)"),
        ({"theta": np.zeros(5)}, ValueError, "theta must be a direction"),
        ({"theta": None}, ValueError, "give theta, or X and y"),
        ({"theta": None, "X": np.ones((9, 4)), "y": np.ones(9)}, ValueError, r"X must have shape"),
        ({"theta": None, "X": np.ones((9, 5)), "y": np.ones(8)}, ValueError, r"y must have shape"),
        (
            {"theta": None, "X": np.ones((9, 5)), "y": np.ones(9), "target": "hermite2"},
            ValueError,
            "target='hermite2' has E z g",
        ),
        ({"groups": [0, 1]}, ValueError, r"groups must have shape \(6,\)"),
        ({"groups": [[0], [0, 1]]}, ValueError, r"groups must have shape .* unequal length"),
    ],
)
def test_misuse(change, error, message):
    arguments = {"W": np.random.default_rng(0).normal(size=(6, 5)) + 3, "theta": np.ones(5)}
    arguments |= change
    with pytest.raises(error, match=message):
        theory.from_layer(arguments.pop("W"), **arguments)
