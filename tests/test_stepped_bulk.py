"""The trained network's own bulk after several steps."""

import numpy as np
import pytest

from spikedrf import GradientStep, simulate, theory
from spikedrf.activations import resolve
from spikedrf.first_layer.line import BEFORE, Walk
from spikedrf.first_layer.producers import producer_of
from spikedrf.first_layer.stepped_bulk import law_of_step
from spikedrf.first_layer.stepped_resolvent import Spectrum, SteppedResolvent

STEPS = [GradientStep(1.0, 0.7), GradientStep(0.8, 1.5)]
MODEL = {"lam": 0.1, "activation": "relu", "target": "tanh", "bulk": "network"}

X = np.array([0.03, 0.5, 8.0])


def bulk_of(steps, activation, target, noise=0.0):
    return producer_of(steps).first_layer(activation, target, noise, bulk="network")


@pytest.mark.parametrize(
    ("activation", "target", "noise", "eta"),
    [("relu", "tanh", 0.2, 1.5), ("tanh", "sin", 0.0, 3.0), ("silu", "relu", 0.1, -2.0)],
)
def test_a_first_step_is_the_closed_form(activation, target, noise, eta):
    """Section 10, by other equations: an isotropic bulk before the step."""
    sigma, g = (resolve(name, "activation") for name in (activation, target))
    before = Spectrum(np.ones(1), np.array([[1.0], [1.0], [0.0], [1.0]]))
    law = law_of_step(Walk(sigma, g, noise, 1.0), BEFORE, 1.4)
    # One value of u: a negative one is a step the other way.
    step = GradientStep(abs(eta), 0.7, u=float(np.sign(eta)))
    layer = step.first_layer(sigma, g, noise, bulk="network")
    if eta < 0.0:
        law = law_of_step(Walk(sigma, g, noise, -1.0), BEFORE, 1.4)
    sign = np.sign(float(layer.spike.r))
    found = SteppedResolvent(before, law, eta, 0.7, 0.0, 0.0, sign)
    np.testing.assert_allclose(np.sqrt(found.square), abs(layer.spike.r), rtol=1e-12)
    exact = layer.bulk.forms(X)
    np.testing.assert_allclose(found.forms(X), exact, rtol=1e-9, atol=1e-10 * exact[0].max())


def sampled_forms(rng, d, sigma, g, noise, steps):
    """Forms of the bulk that two steps leave, its matrices made of samples."""
    walk = Walk(sigma, g, noise, 1.0)
    states = walk.states([(float(step.eta), float(step.alpha0)) for step in steps])
    bulk, spike = np.eye(d), np.zeros(d)
    for step, (r, c, _) in zip(steps, states, strict=False):
        n = round(step.alpha0 * d)
        x = rng.standard_normal((n, d))
        v = spike / np.linalg.norm(spike) if spike.any() else spike
        kappa, sd = x @ v, np.sqrt(c)
        mu1, bend, spread = walk.slope(r * kappa, sd)
        res = g(x[:, 0]) - walk.feature(r * kappa, sd)[0] + noise * rng.standard_normal(n)
        moved = np.eye(d) + step.eta * (x.T * (res * bend / sd)) @ x / n
        bulk = moved @ bulk @ moved + step.eta**2 / step.alpha0 * (x.T * (res**2 * spread)) @ x / n
        spike = spike + step.eta * (res * mu1) @ x / n
    values, vectors = np.linalg.eigh(bulk)
    v = spike / np.linalg.norm(spike)
    xi = np.eye(d)[0] - v[0] * v
    xi /= np.linalg.norm(xi)
    a, b = vectors.T @ v, vectors.T @ xi
    seen = values / (1.0 + X[:, None] * values)
    return np.stack([seen @ w for w in (np.full(d, 1.0 / d), a * a, a * b, b * b)])


@pytest.mark.parametrize(("activation", "noise"), [("relu", 0.1), ("tanh", 0.0)])
def test_two_steps_beside_matrices_of_samples(activation, noise):
    """8 draws of d = 250, |z| < 4 for all forms beside a bias of 2/d of the trace."""
    sigma, g = resolve(activation, "activation"), resolve("tanh", "target")
    rng = np.random.default_rng(5)
    drawn = np.array([sampled_forms(rng, 250, sigma, g, noise, STEPS) for _ in range(8)])
    found = bulk_of(STEPS, activation, "tanh", noise).bulk.forms(X)
    sem = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    size = found[0]
    away = np.maximum(np.abs(drawn.mean(axis=0) - found) - 0.008 * size, 0.0)
    assert (away < 4.0 * sem).all(), away / sem
    if activation == "relu":  # an isotropic bulk of the same variance is not it
        c = bulk_of(STEPS, activation, "tanh", noise).c[0]
        isotropic = c / (1.0 + X * c)
        assert abs(drawn.mean(axis=0)[0, 2] - isotropic[2]) > 10.0 * sem[0, 2]


def test_nodes_are_of_the_bulk():
    """Weights sum to 1, 1, 0, 1; the mean is the bulk variance of the recursion."""
    layer = bulk_of(STEPS, "relu", "sin")
    nodes = layer.bulk.nodes()
    sums = [w.sum() for w in (nodes.trace, nodes.vv, nodes.vx, nodes.xx)]
    np.testing.assert_allclose(sums, [1.0, 1.0, 0.0, 1.0], atol=1e-10)
    assert nodes.trace @ nodes.value[:, 0] == pytest.approx(layer.c[0], rel=1e-9)


def test_no_second_step_is_one_step():
    one = theory.solve([1.0, 3.0], step=STEPS[0], **MODEL)
    for still in (GradientStep(0.0, 1.0), GradientStep(1.0, 0.0)):
        both = theory.solve([1.0, 3.0], step=[STEPS[0], still], **MODEL)
        np.testing.assert_allclose(both.test_error, one.test_error, rtol=1e-10)
        assert both.bulk == "network"
        assert both.success.all()


def test_infinite_batches_move_only_what_samples_know():
    """tanh, alpha0 = inf: the trace sees one value, 1 + e E bend, and v another, E kappa^2 bend."""
    steps = [GradientStep(1.0, np.inf)] * 2
    sigma, g = resolve("tanh", "activation"), resolve("sin", "target")
    nodes = bulk_of(steps, "tanh", "sin").bulk.nodes()
    walk = Walk(sigma, g, 0.0, 1.0)
    r, c, gamma = walk.states([(1.0, np.inf)])[-1]
    assert (c, gamma) == pytest.approx((1.0, 1.0), rel=1e-12)
    kappa, weight = np.polynomial.hermite_e.hermegauss(120)
    mu0, (_, bend, _) = walk.feature(r * kappa, 1.0)[0], walk.slope(r * kappa, 1.0)
    pulled = (np.sin(kappa) - mu0) * bend * weight / weight.sum()
    mean = [w @ nodes.value[:, 0] for w in (nodes.trace, nodes.vv)]
    expected = [(1.0 + pulled.sum()) ** 2, (1.0 + pulled @ kappa**2) ** 2]
    np.testing.assert_allclose(mean, expected, rtol=1e-8)
    assert expected[1] != pytest.approx(expected[0], rel=0.01)


def test_derivatives():
    """Beside differences of solutions, by the second step's size."""
    slope = theory.gradient(2.0, step=STEPS, wrt=("lam", "eta_2"), **MODEL)

    def error(eta):
        return theory.solve(2.0, step=[STEPS[0], GradientStep(eta, 1.5)], **MODEL).test_error

    h = 1e-3
    plain = (error(0.8 + h) - error(0.8 - h)) / (2.0 * h)
    assert slope["eta_2"] == pytest.approx(plain, rel=1e-5)
    assert slope.success


def test_what_is_not_known():
    model = {name: value for name, value in MODEL.items() if name != "lam"}
    with pytest.raises(ValueError, match="after several steps is known for errors, not for spec"):
        theory.spectrum(alpha=1.0, step=STEPS, **model)
    two = [GradientStep(1.0, 2.0, u=[1.0, -1.0])] * 2
    with pytest.raises(ValueError, match="known after several steps of one value of u"):
        producer_of(two).first_layer("relu", "tanh", bulk="network")
    with pytest.raises(ValueError, match="x must be >= 0 for a bulk after several steps"):
        bulk_of(STEPS, "relu", "tanh").bulk.forms(1j)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "target", "noise", "steps"),
    [
        ("tanh", "tanh", 0.0, [(2.0, 0.4), (1.5, 0.4)]),
        ("relu", "tanh", 0.1, [(1.0, 0.5), (1.0, 0.5)]),
        ("gelu", "sin", 0.1, [(1.0, 0.5)] * 3),
    ],
)
def test_networks(activation, target, noise, steps):
    """10 networks of d = 800, |z| < 4; an isotropic bulk is more than three away in the error."""
    model = {"activation": activation, "target": target, "noise": noise, "lam": 0.05}
    model |= {"step": [GradientStep(*step) for step in steps]}
    networks = simulate(
        1.5, d=800, replicates=10, rng=1, n_test=10_000, model="network", workers=1, **model
    )
    own, isotropic = (theory.solve(1.5, bulk=bulk, **model) for bulk in ("network", "isotropic"))
    for name in ("test_error", "train_error", "norm"):
        sem = getattr(networks, f"{name}_sem")
        assert abs(getattr(networks, name) - getattr(own, name)) < 4.0 * sem
    assert abs(networks.test_error - isotropic.test_error) > 3.0 * networks.test_error_sem
