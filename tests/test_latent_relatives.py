"""Gradients, optima, diagrams and spectra on inputs with latents."""

from __future__ import annotations

import numpy as np
import pytest

from spikedrf import (
    Covariance,
    GradientStep,
    Mixture,
    MultiIndex,
    Spike,
    losses,
    simulate_spectrum,
    theory,
)

# Equal but for rounding: the general equations on what the fast path knows too.
ALMOST_WHITE = Covariance([1.0, 1.0 + 1e-13])
MODEL = {"lam": 0.1, "beta": 0.8, "activation": "relu", "noise": 0.2}
STEP = GradientStep(1.5, 4.0, u=(1.0, -0.8), pi=(0.6, 0.4))
SPIKE = Spike((1.5, -1.0), (1.05, 1.2), 0.8, (0.6, 0.4))


@pytest.mark.parametrize(
    ("step", "wrt"),
    [
        (STEP, ("alpha", "beta", "lam", "noise", "eta", "alpha0")),
        (SPIKE, ("r", "c", "gamma", "noise", "lam")),
    ],
)
def test_gradient(step, wrt):
    exact = theory.gradient([0.7, 2.0], target="sin", step=step, wrt=wrt, **MODEL)
    ours = theory.gradient(
        [0.7, 2.0], target="sin", step=step, wrt=wrt, inputs=ALMOST_WHITE, **MODEL
    )
    assert ours.success.all()
    for name in wrt:
        np.testing.assert_allclose(ours[name], exact[name], rtol=1e-9)


def test_gradient_of_several_directions():
    spike = Spike((1.5, -1.0), (1.05, 1.2), [0.8, 0.1], (0.6, 0.4))
    ours = theory.gradient(2.0, target="product", step=spike, wrt="gamma", **MODEL)
    assert ours["gamma"].shape == (2,)
    moved = [
        theory.solve(
            2.0, target="product",
            step=Spike((1.5, -1.0), (1.05, 1.2), [0.8, 0.1 + h], (0.6, 0.4)), **MODEL,
        ).test_error
        for h in (-1e-4, 1e-4)
    ]  # fmt: skip
    assert ours["gamma"][1] == pytest.approx((moved[1] - moved[0]) / 2e-4, rel=1e-5)
    limit = theory.gradient(np.inf, target="product", step=STEP, wrt=("alpha", "lam"), **MODEL)
    assert (limit["alpha"], limit["lam"]) == (0.0, 0.0)


def test_optimum():
    model = {"target": "sin", "noise": 0.1, "step": GradientStep(1.5, 4.0)}
    for over in ("lam", "eta"):
        exact = theory.optimise(2.0, over=over, lam=0.1, **model)
        ours = theory.optimise(2.0, over=over, lam=0.1, inputs=ALMOST_WHITE, **model)
        assert ours.test_error == pytest.approx(exact.test_error, rel=1e-10)
        assert getattr(ours, over) == pytest.approx(getattr(exact, over), rel=1e-5)


@pytest.mark.parametrize("beta", [2.0, np.inf])
def test_best_function(beta):
    model = {"target": "sin", "step": GradientStep(3.0, 20.0), "beta": beta}
    exact = theory.best_function(**model)
    ours = theory.best_function(inputs=ALMOST_WHITE, **model)
    for name in ("variance", "linear", "along", "across", "unexplained"):
        assert getattr(ours, name) == pytest.approx(getattr(exact, name), rel=1e-8)
    assert ours.success


def test_best_function_of_classes():
    """Two classes +-m along one direction, labels +-1: at beta = inf no function of s does better
    than tanh(m s), whose error bounds ours from below, and the linear one's from above."""
    classes = Mixture([1.0, -1.0], labels=[1.0, -1.0])
    best = theory.best_function(inputs=classes, step=Spike(2.0, 1.0, 1.0), activation="tanh")
    s = np.linspace(-9, 11, 4001)
    density = np.exp(-((s - 1) ** 2) / 2) / np.sqrt(2 * np.pi) * (s[1] - s[0])
    bayes = density @ (1 - np.tanh(s)) ** 2
    linear = theory.best_linear_error("sin", 0.0, classes)
    assert bayes < best.unexplained < linear
    assert best.unexplained == pytest.approx(bayes, rel=0.02)
    assert best(np.array([1.0])) == pytest.approx(np.tanh(1.0), abs=0.1)


def test_phase_diagram_is_solve():
    covariance = Covariance([3.0, 1.0], target=[0.8, 0.2])
    model = {"target": "sin", "step": GradientStep(1.0, 4.0), "inputs": covariance}
    diagram = theory.phase_diagram(lam=[0.01, 0.1, 1.0], alpha=[0.5, 2.0], **model)
    points = theory.solve([[0.5], [2.0]], lam=[0.01, 0.1, 1.0], **model)
    np.testing.assert_allclose(diagram.value, points.test_error, rtol=1e-12)
    gain = theory.phase_diagram(
        value="gain", target="product", alpha=[1.0, 2.0], lam=[0.1, 1.0], step=STEP
    )
    assert gain.value.shape == (2, 2)


SIGNS = {"labels": "sign", "noise": 0.4}


@pytest.mark.parametrize(
    ("readout", "wrt", "objective"),
    [
        ({"loss": losses.Huber(0.7), "noise": 0.4},
         ("alpha", "beta", "lam", "noise", "delta", "eta"), "test_error"),
        ({"loss": losses.Quantile(0.7), "noise": 0.4}, ("lam", "level", "alpha0"), "test_loss"),
        ({"loss": "squared_hinge", "flip": 0.0} | SIGNS, ("lam", "flip"), "test_error"),
        ({"loss": "logistic", "flip": 0.5 - 1e-3} | SIGNS, ("flip",), "test_loss"),
    ],
)  # fmt: skip
def test_gradient_of_other_losses(readout, wrt, objective):
    """Differences in the general equations, against closed forms on the plain ones."""
    model = {"lam": 0.1, "beta": 0.8, "target": "sin", "step": STEP, "objective": objective}
    exact = theory.gradient(2.0, wrt=wrt, **model | readout)
    ours = theory.gradient(2.0, wrt=wrt, inputs=ALMOST_WHITE, rtol=1e-6, **model | readout)
    assert ours.success
    assert ours.test_error == pytest.approx(exact.test_error, rel=1e-9)
    assert ours.test_loss == pytest.approx(exact.test_loss, rel=1e-9)
    for name in wrt:
        assert ours[name] == pytest.approx(exact[name], rel=1e-8)


def test_optima_of_other_losses():
    model = {"over": "lam", "beta": 0.8, "step": GradientStep(1.5, 4.0)}
    huber = model | {"loss": losses.Huber(0.7), "noise": 0.4, "target": "sin"}
    best, exact = theory.optimise(2.0, inputs=ALMOST_WHITE, **huber), theory.optimise(2.0, **huber)
    assert (best.lam, best.test_error) == pytest.approx((exact.lam, exact.test_error), rel=1e-6)
    # Classes are signs, where the loss is one of the margin, and the other parameters stay.
    rare = Mixture([[1.0], [-1.0]], labels=[1, -1], proportions=[0.8, 0.2], weights=[0.6, 2.0])
    given = model | {"inputs": rare, "loss": "squared_hinge"}
    grid = {"alpha": [2.0], "beta": [0.8]}
    lam = theory.phase_diagram(value="lam", **given | grid).value.item()
    del given["over"]
    curve = theory.solve(2.0, lam=lam * np.array([0.9, 1.0, 1.1]), **given).test_error
    assert np.argmin(curve) == 1


@pytest.mark.parametrize(
    "model",
    [
        {"inputs": Covariance([3.0, 1.0, 0.3], dimensions=[0.2, 0.3, 0.5]), "activation": "relu"},
        {
            "inputs": Covariance([3.0, 0.5], dimensions=[0.2, 0.8], target=[0.7, 0.3]),
            "target": "sin", "step": GradientStep(2.0, 4.0),
        },
        {"target": "product", "activation": "gelu", "step": GradientStep(1.0, 4.0, u=(1, -1))},
    ],
    ids=["covariance", "a step", "two directions"],
)  # fmt: skip
def test_spectrum(model):
    spectrum = theory.spectrum(alpha=2.0, beta=0.7, **model)
    assert spectrum.mass + spectrum.atom == pytest.approx(1.0, abs=1e-5)
    simulated = simulate_spectrum(2.0, beta=0.7, d=400, rng=0, **model)
    # Rigidity: distances of 1/p times a few, not 1/sqrt p (a wrong bulk gives .05 and more).
    assert simulated.distance(spectrum)[0] < 0.02
    transform = theory.stieltjes(-0.1, alpha=2.0, beta=0.7, **model)
    solution = theory.solve(2.0, beta=0.7, lam=0.1, **model)
    assert transform.real == pytest.approx(solution.V2.sum(), rel=1e-9)
    white = theory.spectrum(alpha=2.0, beta=0.7, activation=model.get("activation", "tanh"))
    assert simulated.distance(white)[0] > 0.03


@pytest.mark.parametrize(
    "model",
    [
        {
            "inputs": Mixture([[2.0, 1.0], [-1.5, 0.5]], proportions=[0.3, 0.7]),
            "activation": "relu", "target": "product",
            "step": Spike((1.5, -0.7), (1.1, 1.3), [0.8, 0.4], (0.6, 0.4)),
        },
        {
            "inputs": Mixture([[1.5], [-1.5]], labels=[1, -1], covariance=Covariance([1.5, 0.5])),
            "init": "gaussian", "step": GradientStep(2.0, 4.0),
        },
    ],
    ids=["two groups", "a covariance"],
)  # fmt: skip
def test_spectra_of_classes_that_differ_along_the_spike(model):
    model = {"alpha": 2.0, "beta": 0.7} | model
    transform, solution = theory.stieltjes(-0.1, **model), theory.solve(lam=0.1, **model)
    assert transform.real == pytest.approx(solution.V2.sum(), rel=1e-9)
    spectrum = theory.spectrum(**model)
    assert spectrum.mass + spectrum.atom == pytest.approx(1.0, abs=1e-5)
    # Samples scatter along the spike, so distances are up to those of their number (1%: 1.63).
    simulated = simulate_spectrum(d=200, rng=0, replicates=12, **model)
    x = np.sort(simulated.eigenvalues, axis=None)
    share = np.arange(1, x.size + 1) / x.size
    assert np.abs(spectrum.cdf(x) - share).max() < 1.63 / np.sqrt(12 * 2.0 * 200)
    one = theory.spectrum(**model | {"inputs": None, "step": Spike(*model_of(solution))})
    assert np.abs(one.cdf(x) - share).max() > 0.03


def model_of(solution):
    """Return the spike of a solution without what it is aligned with."""
    r, c, _, pi = solution.spike.arrays()
    return r, c, 0.0, pi


def test_spectra_of_classes():
    classes = Mixture([[1.0, 0.0], [-1.0, 0.0]])
    same = theory.spectrum(alpha=2.0, inputs=classes)
    np.testing.assert_allclose(same.edges, theory.spectrum(alpha=2.0).edges)
    apart = np.array([[2.0, 1.0], [2.0, -1.0]])
    step = GradientStep(1.0, [2.0, 4.0])
    with pytest.raises(ValueError, match=r"step must be a single one with classes that differ"):
        theory.stieltjes(-1.0, alpha=2.0, inputs=Mixture(apart), step=step, target="product")


@pytest.mark.parametrize(
    ("inputs", "step"),
    [
        (Mixture([[0.0, 3.0], [0.0, -3.0]]), None),
        (Mixture([[0.5, 3.5], [-0.5, -2.5]], proportions=[0.4, 0.6]), Spike(0.6, 0.9, [0.9, 0.0])),
    ],
)
def test_classes_make_an_isolated_eigenvalue(inputs, step):
    """Their means are a direction of larger variance (Baik, Ben Arous and Péché)."""
    model = {"beta": 0.5, "inputs": inputs, "step": step, "target": MultiIndex("product")}
    (isolated,) = theory.spectrum(alpha=2.0, **model).outliers
    grows = theory.spectrum(alpha=2.0, **model).growth.size
    simulated = simulate_spectrum(2.0, d=300, rng=3, replicates=24, **model)
    largest = np.sort(simulated.eigenvalues, axis=-1)[:, -1 - grows]
    z = (largest.mean() - isolated) / (largest.std(ddof=1) / np.sqrt(largest.size))
    assert abs(z) < 4.0
    assert largest.mean() > 1.2 * theory.spectrum(alpha=2.0, **model).edges[-1, 1]


@pytest.mark.parametrize(
    "call",
    [
        lambda **k: theory.gradient(1.0, lam=0.1, **k),
        lambda **k: theory.optimise(1.0, **k),
        lambda **k: theory.phase_diagram(alpha=[1.0, 2.0], lam=[0.1, 1.0], **k),
        lambda **k: theory.spectrum(alpha=1.0, **k),
        lambda **k: theory.stieltjes(-1.0, alpha=1.0, **k),
    ],
)
def test_bad_input(call):
    with pytest.raises(TypeError, match="inputs must be a Covariance, a Mixture or None"):
        call(inputs=3)
    with pytest.raises(ValueError, match="init must be 'sphere' or 'gaussian'"):
        call(init="cube")
    with pytest.raises(ValueError, match="bulk must be 'isotropic'"):
        call(target=MultiIndex("product"), bulk="network", step=Spike(1.0, 1.0, 0.0))
