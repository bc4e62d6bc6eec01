"""Simulations on classes, covariances and targets of several directions, against the equations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import latent_cases
from spikedrf import (
    Covariance,
    GradientStep,
    Mixture,
    MultiIndex,
    Spike,
    simulate,
    simulate_spectrum,
)
from spikedrf.activations import resolve
from spikedrf.inputs.layer_on_inputs import layer_on_inputs
from spikedrf.inputs.population import population

STORED = latent_cases.stored()
NAMES = {"test_error": "test", "train_error": "train", "norm": "norm"}


def scores(name, **sizes):
    alpha, model = latent_cases.arguments(name)
    measured = simulate(alpha, rng=1, workers=1, **sizes, **model)
    exact = STORED[name]
    z = {}
    for ours, theirs in NAMES.items():
        t = (getattr(measured, ours) - exact[theirs]) / getattr(measured, f"{ours}_sem")
        # Few replicates: the normal score that is as rare as this Student's t.
        z[ours] = stats.norm.isf(stats.t.sf(abs(t), measured.replicates - 1))
    return z, measured


@pytest.mark.parametrize("name", latent_cases.CASES)
def test_small_networks(name):
    """z of 16 replicates; d is such that effects of finite size are below the noise."""
    z, _ = scores(name, d=240, replicates=16)
    assert max(map(abs, z.values())) < 4, z


@pytest.mark.slow
@pytest.mark.parametrize("name", latent_cases.CASES)
def test_large_networks(name):
    z, _ = scores(name, d=1000, replicates=16)
    assert max(map(abs, z.values())) < 4, z


def test_classes_one_by_one():
    _, measured = scores("weights of classes, gelu", d=240, replicates=16)
    exact = STORED["weights of classes, gelu"]
    for name, value in (("class_error", exact["by_class"]), ("class_error_rate", exact["wrong"])):
        z = (getattr(measured, name) - value) / getattr(measured, f"{name}_sem")
        assert np.abs(z).max() < 4, (name, z)
    rate = measured.samples["class_error_rate"]
    assert rate.shape == (16, 2)


def test_weights_of_classes_both_ways():
    """Kernel matrix (n < p) and Gram matrix of the same readout agree."""
    mixture = Mixture([1.0, -1.0], labels=[1, -1], proportions=[0.8, 0.2], weights=[0.5, 2.0])
    model = {"lam": 0.1, "inputs": mixture, "activation": "relu", "replicates": 1, "rng": 0}
    below = simulate(0.98, d=100, beta=1.0, **model)
    above = simulate([0.98, 1.2], d=100, beta=1.0, **model)
    assert above.train_error[0] == pytest.approx(below.train_error, rel=1e-9)
    even = Mixture([1.0, -1.0], labels=[1, -1], proportions=[0.8, 0.2])
    plain = simulate(0.98, d=100, beta=1.0, **model | {"inputs": even})
    assert plain.train_error != pytest.approx(below.train_error, rel=1e-3)


LAYERS = {
    "a covariance, tanh": {
        "target": "sin", "noise": 0.1, "step": GradientStep(3.0, 4.0),
        "inputs": Covariance([5.0, 1.0], dimensions=[0.25, 0.75], target=[0.7, 0.3]),
    },
    "two directions, a covariance, relu, K = 2": {
        "activation": "relu", "step": GradientStep(2.0, 4.0, u=(1.0, -1.5)), "noise": 0.1,
        "target": MultiIndex(lambda s: s[..., 0] * s[..., 1] + np.sin(s[..., 1]) + s[..., 0] / 2),
        "inputs": Covariance(**latent_cases.TILTED),
    },
    "two classes, relu": {
        "activation": "relu", "step": GradientStep(2.0, 4.0, u=(1.0, -1.5)),
        "inputs": Mixture([[1, 0.6], [-1, -0.6]], proportions=[0.7, 0.3], labels=[1, -1]),
    },
    "three classes and a covariance, tanh": {
        "step": GradientStep(1.0, 4.0),
        "inputs": Mixture(**latent_cases.TRIPLE, covariance=Covariance(**latent_cases.COVARIANCE)),
    },
    "a power law, gaussian rows": {
        "target": "sin", "step": GradientStep(2.0, 4.0), "init": "gaussian",
        "inputs": Covariance.power_law(0.5, target_exponent=0.5, dimension=400),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_closed_form_of_a_step(name):
    """r, c, gamma of trained layers: within 3% (the bulk's own correlations) or |z| < 4."""
    model = LAYERS[name]
    measured = simulate(0.5, d=400, lam=0.1, beta=0.5, replicates=8, rng=2, model="network",
                        n_test=100, workers=1, **model)  # fmt: skip
    law = population(model["inputs"], model.get("target", "tanh"))
    exact = layer_on_inputs(model["step"], resolve(model.get("activation", "tanh")), law,
                         model.get("noise", 0.0), model.get("init", "sphere"))  # fmt: skip
    for ours, theirs, sem in (
        (measured.r, exact.r[:, 0], measured.r_sem),
        (measured.c, exact.c, measured.c_sem),
        (np.atleast_1d(measured.gamma), exact.gamma[0], measured.gamma_sem),
    ):
        away = np.abs(ours - theirs)
        assert np.all((away < 0.03 * np.abs(theirs)) | (away < 4 * sem)), (ours, theirs, sem)


def test_spectra_of_features():
    """Eigenvalues of features on a covariance: their mean is E sigma^2, whatever the inputs."""
    covariance = Covariance([3.0, 0.5], dimensions=[0.2, 0.8])
    simulated = simulate_spectrum(3.0, d=200, activation="relu", inputs=covariance, rng=0)
    assert simulated.eigenvalues.shape == (1, 200)
    # E relu(<w, x>)^2 = 1/2 at Tr Omega = d, times n/p.
    assert simulated.eigenvalues.mean() == pytest.approx(1.5, rel=0.05)


def test_white_inputs_are_as_before():
    """One direction, one class, equal eigenvalues: bit for bit the simulation without inputs."""
    model = {"d": 60, "lam": 0.1, "replicates": 2, "rng": 3, "step": Spike(1.0, 1.1, 0.8)}
    plain = simulate(1.0, target="sin", **model)
    for inputs in (Covariance([2.0, 2.0]), Covariance([1.0])):
        same = simulate(1.0, target="sin", inputs=inputs, **model)
        assert same.test_error == plain.test_error
    one = simulate(1.0, target=MultiIndex(lambda s: np.sin(s[..., 0]), directions=1), **model)
    assert one.test_error == pytest.approx(plain.test_error, rel=1e-12)


def test_a_network_has_its_gain_by_itself():
    """The same rows by either name, bit for bit; other rows of the spiked model are refused."""
    model = {"d": 40, "lam": 0.1, "replicates": 2, "rng": 3, "activation": "relu", "workers": 1}
    step = GradientStep(1.0, 2.0)
    errors = {}
    for init in ("sphere", "sphere+gain", "gaussian", "gaussian+gain"):
        trained = simulate(1.0, model="network", step=step, init=init, **model)
        errors[init] = trained.test_error, trained.norm
    assert errors["sphere"] == errors["sphere+gain"] != errors["gaussian"]
    assert errors["gaussian"] == errors["gaussian+gain"]
    spectra = [
        simulate_spectrum(1.0, d=40, rng=0, step=step, model="network", init=init).eigenvalues
        for init in ("gaussian", "gaussian+gain")
    ]
    np.testing.assert_array_equal(*spectra)
    with pytest.raises(ValueError, match=r"init='sphere\+gain' is for model='network'"):
        simulate(1.0, model="srf", step=step, init="sphere+gain", **model)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"inputs": 3}, TypeError, "inputs must be a Covariance, a Mixture or None, got 3"),
        ({"init": "cube"}, ValueError, "init must be 'sphere' or 'gaussian', got 'cube'"),
        (
            {"target": "product", "inputs": Mixture([1.0, -1.0])},
            ValueError, "means must have at least 2 columns",
        ),
        (
            {"target": "product", "step": Spike(1.0, 1.0, 0.5)},
            ValueError, "gamma of the spike must have 2 components",
        ),
        (
            {"target": "product", "step": Spike(1.0, 1.0, [0.9, 0.9])},
            ValueError, "length of at most 1",
        ),
        (
            {"inputs": Covariance([2.0, 1.0], dimensions=[0.01, 0.99])},
            ValueError, "d = 50 is too small for the inputs: eigenvalue",
        ),
        (
            {"inputs": Covariance.power_law(0.6, dimension=None), "init": "gaussian"},
            ValueError, "give dimension= to Covariance.power_law",
        ),
    ],
)  # fmt: skip
def test_bad_input(given, error, message):
    with pytest.raises(error, match=message):
        simulate(1.0, d=50, lam=0.1, replicates=1, **given)
