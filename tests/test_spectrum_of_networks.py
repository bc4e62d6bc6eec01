"""Spectra of trained networks: the bulk of the first layer at complex argument."""

import warnings

import numpy as np
import pytest

from spikedrf import ConvergenceWarning, GradientStep, simulate_spectrum, theory
from spikedrf.activations import resolve
from spikedrf.features import feature_map
from spikedrf.gradient_step import gradient_step

RELU = {"activation": "relu", "target": "relu", "step": GradientStep(1.5, 0.5), "noise": 0.1}
TANH = {"activation": "tanh", "target": "sin", "step": GradientStep(3.0, 0.5)}
SOFTPLUS = {"activation": "softplus", "target": "sin", "step": GradientStep(4.0, 2.0)}


@pytest.mark.parametrize("model", [TANH, RELU, SOFTPLUS], ids=["tanh", "relu", "softplus"])
def test_the_resolvent_at_complex_argument(model):
    """Nodes and closed form have nothing in common but the values at x > 0.

    Both are analytic off the negative axis, and the nodes converge there too.
    """
    step, rest = model["step"], {k: v for k, v in model.items() if k != "step"}
    bulk = step.first_layer(**rest, bulk="network").bulk
    x = np.array([0.4 + 0.3j, 1.0 - 1.0j, 2.0 + 5.0j, 1e-3 + 1e-3j])
    np.testing.assert_allclose(bulk.forms(x), bulk.nodes(1e-11).forms(x), rtol=2e-7, atol=2e-7)
    np.testing.assert_array_equal(bulk.forms(x.conj()), bulk.forms(x).conj())


def solved(model, alpha, beta, z):
    """One readout value, section 4 at lam = -z, from the closed form of the bulk: damped rounds."""
    step, rest = model["step"], {k: v for k, v in model.items() if k != "step"}
    layer = step.first_layer(**rest, bulk="network")
    sigma = resolve(model["activation"], "activation")
    r, c = layer.r[0, 0], layer.c[0]
    nodes = np.linspace(-9.0, 9.0, 361)
    weights = np.exp(-0.5 * nodes**2)
    weights /= weights.sum()
    value = sigma(r * nodes[:, None] + np.sqrt(c) * nodes)
    mu0, mu1 = value @ weights, value @ (weights * nodes) / np.sqrt(c)
    mu2 = np.maximum(value**2 @ weights - mu0**2 - c * mu1**2, 0.0)
    V1 = V2 = -1.0 / z
    for _ in range(4000):
        over = weights / (1.0 + mu1**2 * V1 + mu2 * V2)
        B, D = alpha / beta * (over @ mu1**2), -z + alpha / beta * (over @ mu2)
        trace = bulk_trace(layer.bulk, beta * V2 * B)
        g = 1.0 / (D + B * trace)
        change = abs(g - V2) + abs(g * trace - V1)
        V1, V2 = 0.5 * (V1 + g * trace), 0.5 * (V2 + g)
        if change < 1e-12 * abs(V2):
            return V2
    raise AssertionError("did not converge")


def bulk_trace(bulk, x):
    return bulk.forms(np.array([x]))[0, 0]


@pytest.mark.parametrize("z", [0.5 + 0.4j, 2.0 + 1.0j, -0.3 + 0.0j])
def test_stieltjes_transform_against_damped_rounds(z):
    found = theory.stieltjes(z, alpha=2.0, beta=0.7, bulk="network", **TANH)
    assert found == pytest.approx(solved(TANH, 2.0, 0.7, z), rel=1e-8)


def test_the_real_axis_joins_on():
    """At lam > 0 the transform is the response of ridge regression, on other nodes."""
    lam = np.array([0.01, 0.3])
    model = RELU | {"beta": 1.3, "bulk": "network"}
    expected = theory.solve(1.5, lam=lam, **model).V2[:, 0]
    np.testing.assert_allclose(theory.stieltjes(-lam, alpha=1.5, **model), expected, rtol=1e-8)


CASES = [
    (TANH, 2.0, 1.0),
    (RELU, 1.5, 1.0),
    ({"step": GradientStep(2.0, 0.3, u=[1.5, -1.0])}, 1.0, 2.0),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_eigenvalues_of_trained_networks(case):
    """Kolmogorov distance of six networks' eigenvalues from the theory, pooled.

    The batch's mean square residual has a relative standard error, and the distribution moves with
    it as with eta^2 (seen in the isotropic bulk): three times that, and one eigenvalue for each of
    the 2K + 1 isolated ones.
    The isotropic bulk is further away.
    """
    model, alpha, beta = CASES[case]
    model = {"activation": "tanh", "target": "tanh", "noise": 0.0} | model
    d, replicates = 300, 6
    step = model["step"]
    networks = simulate_spectrum(
        alpha, d=d, beta=beta, model="network", replicates=replicates, rng=0, **model
    )
    x = np.sort(networks.eigenvalues.ravel())
    share = (np.arange(x.size) + 0.5) / x.size
    positive = x > 0.0
    at = np.quantile(x[positive], np.linspace(0.01, 0.99, 60))

    def cumulative(x, eta=step.eta, bulk="network"):
        moved = GradientStep(eta, step.alpha0, u=step.u)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 1e-3 of |s| in the tail
            spectrum = theory.spectrum(
                1.0, alpha=alpha, beta=beta, bulk=bulk, **model | {"step": moved}
            )
            return spectrum.cdf(x)

    ends = (cumulative(at, factor * step.eta, "isotropic") for factor in (1.05, 0.95))
    moves = np.abs(np.subtract(*ends)).max()
    s = np.random.default_rng(1).standard_normal((2, 100000))
    square = (resolve(model["target"], "target")(s[0]) + model["noise"] * s[1]) ** 2
    error = np.std(square) / np.mean(square) / np.sqrt(replicates * step.alpha0 * d)
    groups = np.size(step.u)
    tolerance = 3 * error * moves / 0.1 / 2 + (2 * groups + 1) / networks.p
    found, isotropic = (
        np.abs(cumulative(x, bulk=bulk) - share)[positive].max()
        for bulk in ("network", "isotropic")
    )
    assert found < tolerance
    assert isotropic > 1.5 * found


def test_spectrum_of_a_given_layer():
    """Features of one trained layer on fresh samples, against what `from_layer` reads off it.

    The nodes are fitted to what ridge regression sees: a percent of the eigenvalues.
    """
    rng = np.random.default_rng(3)
    d, n0, n = 500, 250, 1000
    W = rng.standard_normal((d, d))
    W /= np.linalg.norm(W, axis=1)[:, None]
    X = rng.standard_normal((n0, d))
    W = gradient_step(X, np.sin(X[:, 0]), W, np.ones(d), "tanh", 3.0).W
    layer = theory.from_layer(W, np.eye(d)[0])
    phi = feature_map(rng.standard_normal((n, d)), W, "tanh")
    x = np.linalg.eigvalsh(phi.T @ phi / d)
    share = (np.arange(d) + 0.5) / d
    model = {"alpha": n / d, "beta": layer.beta, "target": "sin", "step": layer}
    own, isotropic = (theory.spectrum(x, bulk=bulk, **model) for bulk in (None, "isotropic"))
    assert (own.bulk, isotropic.bulk) == ("network", "isotropic")
    assert np.abs(own.cumulative - share).max() < 0.01
    assert np.abs(isotropic.cumulative - share).max() > 0.02


@pytest.mark.parametrize("step", [GradientStep(0.0, 0.5), GradientStep(2.0, np.inf)])
def test_where_the_bulk_is_isotropic(step):
    model = {"alpha": 1.5, "step": step, "target": "sin"}
    isotropic, network = (
        theory.spectrum(np.array([0.2, 1.0]), bulk=bulk, **model) for bulk in (None, "network")
    )
    np.testing.assert_allclose(network.density, isotropic.density, rtol=1e-8)
    assert network.success.all()
