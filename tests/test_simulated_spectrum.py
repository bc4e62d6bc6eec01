"""Simulated eigenvalues: they agree with the theory, and are those of the features drawn."""

import numpy as np
import pytest

from spikedrf import (
    GradientStep,
    SimulationInterrupted,
    Spike,
    simulate,
    simulate_spectrum,
    theory,
)
from spikedrf.features import feature_map
from spikedrf.simulation import network

TWO = Spike([1.5, -1.5], 1.05, 0.9, pi=[0.5, 0.5])
MIXED = Spike([1.5, -1.0], [1.05, 1.2], 0.9, pi=[0.6, 0.4])
# Activation, step, alpha, beta (alpha/beta on both sides of 1), the rank of what is not bulk.
SETTINGS = [
    ("tanh", GradientStep(3.0, 20.0), 2.0, 1.0, 2),
    ("tanh", GradientStep(3.0, 20.0), 1.0, 2.0, 2),
    ("relu", Spike(1.2, 1.1, 0.8), 2.0, 1.0, 2),
    ("relu", Spike(1.2, 1.1, 0.8), 1.0, 2.0, 2),
    ("tanh", MIXED, 1.5, 0.9, 4),
    ("tanh", MIXED, 1.0, 2.0, 4),
    ("relu", TWO, 2.0, 1.0, 4),
    ("relu", TWO, 0.9, 1.8, 4),
    ("relu", None, 1.0, 1.0, 1),
]


def case_of(setting):
    names = ("activation", "step", "alpha", "beta")
    return dict(zip(names, setting, strict=False)) | {"target": "sin"}


@pytest.mark.parametrize("setting", SETTINGS)
def test_pooled_eigenvalues(setting):
    """The distribution of the eigenvalues of ten replicates together.

    Tolerance: a matrix of rank k moves the distribution by k/p, and eigenvalues are too rigid to
    add more than 1/p. The projections of the samples on the spike are a sample themselves, whose
    distribution is off by 1.5/sqrt(nR) in one of fifty cases; a share of other samples changes no
    larger share of the min(n, p) eigenvalues that they make.
    """
    case = case_of(setting)
    simulated = simulate_spectrum(d=240, replicates=10, rng=0, **case)
    x = np.sort(simulated.eigenvalues.ravel())
    steps = np.arange(x.size + 1) / x.size
    cumulative = theory.spectrum(1.0, **case).cdf(x)
    positive = x > 0.0
    found = np.abs(cumulative - steps[1:])[positive].max()
    n, p = simulated.n, simulated.p
    tolerance = (setting[-1] + 1.0) / p + 1.5 * min(1.0, n / p) / np.sqrt(10 * n)
    assert found < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_kolmogorov_distance_at_size(setting):
    case = case_of(setting)
    simulated = simulate_spectrum(d=2000, rng=0, **case)
    assert simulated.distance(theory.spectrum(1.0, **case))[0] < 0.01


def test_the_trained_network():
    """A large batch leaves the bulk nearly isotropic, and the theory of the spike holds."""
    step = GradientStep(3.0, 20.0)
    simulated = simulate_spectrum(
        1.5, d=300, step=step, target="sin", model="network", replicates=2, rng=0
    )
    after = simulated.distance(theory.spectrum(1.0, alpha=1.5, step=step, target="sin"))
    before = simulated.distance(theory.spectrum(1.0, alpha=1.5))
    assert after.max() < 0.05
    assert before.min() > 2.0 * after.max()
    assert simulated.n0 == 6000


@pytest.mark.parametrize(("alpha", "beta"), [(0.6, 1.2), (2.0, 0.7)])
def test_eigenvalues_are_those_of_the_features(alpha, beta):
    """Redraw one replicate from its stream: singular values of the features, squared, over p."""
    d = 50
    simulated = simulate_spectrum(alpha, d=d, beta=beta, step=MIXED, replicates=3, rng=7)
    one = network.make_network("srf", d, beta, "tanh", "tanh", MIXED, 0.0)
    for_layer, for_samples, _ = np.random.default_rng(7).spawn(3)[1].spawn(3)
    layer = network.first_layer(one, for_layer)
    x, _ = network.Samples(one, layer, for_samples, 200).draw(round(alpha * d))
    singular = np.linalg.svd(feature_map(x, layer.W, "tanh"), compute_uv=False)
    expected = np.zeros(one.p)
    expected[-singular.size :] = singular[::-1] ** 2 / one.p
    np.testing.assert_allclose(simulated.eigenvalues[1], expected, rtol=1e-9, atol=1e-13)
    assert simulated.eigenvalues.shape == (3, one.p)
    if alpha < beta:
        assert not simulated.eigenvalues[:, : one.p - simulated.n].any()
    assert repr(simulated) == (
        f"SimulatedSpectrum(model='srf', d=50, p={one.p}, n={simulated.n}, replicates=3)"
    )


def test_the_same_seed_draws_the_networks_of_a_simulation_of_errors():
    step = GradientStep(2.0, 3.0)
    case = {"d": 40, "step": step, "model": "network", "replicates": 2, "rng": 3}
    errors = simulate(1.0, lam=0.1, **case)
    one = network.make_network("network", 40, 1.0, "tanh", "tanh", step, 0.0)
    for_layer, for_samples, _ = np.random.default_rng(3).spawn(2)[1].spawn(3)
    layer = network.first_layer(one, for_layer)
    np.testing.assert_array_equal(layer.measured["r"], errors.samples["r"][1])
    x, _ = network.Samples(one, layer, for_samples, 40).draw(40)
    phi = feature_map(x, layer.W, "tanh")
    trace = simulate_spectrum(1.0, **case).eigenvalues[1].sum()
    assert trace == pytest.approx(np.sum(phi**2) / 40, rel=1e-12)


def test_workers_and_more_replicates_change_nothing():
    case = {"d": 40, "step": GradientStep(2.0, 3.0), "model": "network", "rng": 1}
    few = simulate_spectrum(1.5, replicates=2, workers=1, **case)
    more = simulate_spectrum(1.5, replicates=5, workers=2, **case)
    np.testing.assert_array_equal(few.eigenvalues, more.eigenvalues[:2])
    assert (few.replicates, more.replicates) == (2, 5)


def test_distance():
    """Of a sample that is not one: all eigenvalues at one point."""
    spectrum = theory.spectrum(1.0, alpha=0.5)
    simulated = simulate_spectrum(0.5, d=40, rng=0)
    same = type(simulated)(
        np.full((1, 40), 0.3), np.array([0]), "srf", 40, 40, 20, parameters=simulated.parameters
    )
    at = spectrum.cdf(0.3)
    np.testing.assert_allclose(same.distance(spectrum), max(at, 1.0 - at))
    with pytest.raises(ValueError, match=r"another alpha: 2, not 0\.5"):
        simulated.distance(theory.spectrum(1.0, alpha=2.0))
    with pytest.raises(ValueError, match=r"another noise: 0\.1, not 0"):
        simulated.distance(theory.spectrum(1.0, alpha=0.5, noise=0.1))


def test_progress_and_failure():
    seen = []
    simulate_spectrum(1.0, d=20, replicates=3, rng=0, progress=lambda *at: seen.append(at))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(SimulationInterrupted, match="of 60 replicates") as stopped:
        simulate_spectrum(1.0, d=150, replicates=60, workers=1, rng=0, progress=stop)
    partial = stopped.value.partial
    assert 2 <= partial.replicates < 60
    whole = simulate_spectrum(1.0, d=150, replicates=2, rng=0)
    np.testing.assert_array_equal(partial.eigenvalues[:2], whole.eigenvalues)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"alpha": [1.0, 2.0]}, ValueError, "alpha must be a number"),
        ({"alpha": np.inf}, ValueError, "alpha must be > 0 and finite"),
        ({"alpha": 0.01}, ValueError, "d = 20 is too small for alpha = 0.01"),
        ({"d": 1}, ValueError, "d must be >= 2"),
        ({"replicates": 0}, ValueError, "replicates must be >= 1"),
        ({"model": "theory"}, ValueError, "model must be 'srf' or 'network'"),
        ({"model": "network", "step": MIXED}, ValueError, "takes a GradientStep"),
        ({"d": 10**7}, MemoryError, "d = 10000000, p = 10000000, n = 10000000 need about"),
        ({"rng": "x"}, TypeError, "rng must be None, a seed"),
    ],
)
def test_misuse(changes, error, message):
    with pytest.raises(error, match=message):
        simulate_spectrum(**{"alpha": 1.0, "d": 20} | changes)
