"""Spikes that span a plane, and several steps with several values of u: theory.md, section 13."""

import numpy as np
import pytest

import latent_equations
from recursion import plane, relu_averages, tanh_averages
from spikedrf import Covariance, GradientStep, Mixture, MultiIndex, Spike, losses, simulate, theory
from spikedrf.activations import resolve
from spikedrf.first_layer.several_steps import SeveralSteps
from spikedrf.inputs.neurons import finished
from spikedrf.inputs.population import population

SIGNS = [1.0, -1.0]
STAIRCASE = MultiIndex("staircase")
TWO = GradientStep(1.5, 8.0, u=SIGNS)
STEEP = {"beta": 2.0, "lam": 0.1, "noise": 0.1, "activation": "relu", "target": STAIRCASE}


def spikes_of(solution):
    """Components of the spikes on the target's directions, and their squared lengths."""
    spike = solution.spike
    if spike.span == 1:
        return np.outer(spike.r, spike.gamma), np.asarray(spike.r) ** 2
    return spike.r @ spike.gamma.reshape(spike.span, -1), np.sum(spike.r**2, axis=1)


def test_odd_activations_stay_on_the_line():
    """Section 13's second row, to half a unit of the last digit; one group is the same network."""
    model = {"activation": "tanh", "target": "sin", "noise": 0.1, "lam": 0.1}
    found = theory.solve(3.0, step=[GradientStep(1.5, 3.0, u=SIGNS)] * 2, **model)
    assert found.spike.span == 1
    along, square = spikes_of(found)
    np.testing.assert_allclose(along[:, 0], [0.806, -0.806], atol=0.51e-3)
    np.testing.assert_allclose(square, 0.727, atol=0.51e-3)
    assert found.test_error == pytest.approx(0.0655, abs=0.51e-4)
    one = theory.solve(3.0, step=[GradientStep(1.5, 3.0)] * 2, **model)
    assert found.test_error == pytest.approx(one.test_error, rel=1e-10)


@pytest.mark.parametrize(
    ("activation", "averages", "u"),
    [("relu", relu_averages, SIGNS), ("tanh", tanh_averages, [1.0, 0.5])],
)
def test_the_recursion(activation, averages, u):
    """Against products of Gauss-Hermite rules over every latent, useful or not."""
    steps, pi = [(1.0, 6.0), (1.5, 3.0), (1.0, np.inf)], np.array([0.4, 0.6])
    vectors, c = plane(
        averages, STAIRCASE, 2, u=np.array(u), pi=pi, steps=steps, noise=0.1, nodes=20
    )
    given = [GradientStep(*step, u=u, pi=pi) for step in steps]
    layer = SeveralSteps(given).first_layer(activation, STAIRCASE, 0.1)
    assert layer.r.shape == (2, 2)
    np.testing.assert_allclose(layer.r @ layer.alignment, vectors[:, :2], atol=2e-8)
    np.testing.assert_allclose(layer.r @ layer.r.T, vectors @ vectors.T, atol=2e-8)
    np.testing.assert_allclose(layer.c, c, atol=2e-8)


def test_section_13():
    """Its third row: spikes and error of three steps, d = 500.

    The table's averages of relu are good to its third digit only: (1.181, .395), 1.716 there. The
    values here are those of the test above.
    """
    steps = [GradientStep(1.0, 6.0, u=SIGNS)] * 3
    found = theory.solve(3.0, step=steps, **STEEP | {"beta": 1.0})
    along, square = spikes_of(found)
    np.testing.assert_allclose(np.abs(along), [[1.181, 0.395]] * 2, atol=3e-3)
    np.testing.assert_allclose(along, [[1.18342, 0.39611], [-1.18342, 0.39611]], atol=1e-5)
    np.testing.assert_allclose(square, 1.716, rtol=5e-3)
    assert found.test_error == pytest.approx(0.789, rel=1.5e-3)


@pytest.mark.parametrize(
    ("count", "spikes"), [(1, (0.74, 0.0)), (2, (1.21, 0.33)), (3, (1.56, 0.69))]
)
def test_the_staircase(count, spikes):
    """Spikes as in trained networks of d = 400, which differ by a few of 1/d."""
    found = theory.solve(4.0, step=[TWO] * count, rtol=1e-6, **STEEP)
    assert found.success
    along, _ = spikes_of(found)
    np.testing.assert_allclose(np.abs(along), [spikes] * 2, atol=0.015)


def slow(spike, target, alpha, beta, lam, noise, activation, directions):
    """The equations in NumPy, on grids of the plane and of the rest."""
    along = spike.r @ spike.gamma.reshape(2, -1)
    value, vector = np.linalg.eigh(spike.r @ spike.r.T - along @ along.T)
    r = np.column_stack([along, vector * np.sqrt(np.maximum(value, 0.0))])
    case = latent_equations.Case(
        activation=activation, label=lambda s, i: target(s[..., :directions]), alpha=alpha,
        beta=beta, lam=lam, noise=noise, r=r, c=spike.c, pi=spike.pi,
    )  # fmt: skip
    return latent_equations.solve(case, step=0.4, rest_step=0.7)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_equations(activation):
    """Test and training error and norm against an independent solver."""
    spike = Spike([[1.2, 0.3], [-0.8, 0.7]], [1.1, 0.9], [[0.7, 0.1], [0.0, 0.6]], [0.6, 0.4], 2)
    model = {"beta": 1.2, "lam": 0.1, "noise": 0.2}
    expected = slow(spike, STAIRCASE, 2.0, *model.values(), activation, 2)
    found = theory.solve(2.0, step=spike, activation=activation, target=STAIRCASE, **model)
    assert found.success
    for name in ("test", "train"):
        value = getattr(found, f"{name}_error")
        assert value == pytest.approx(expected[name], rel=1e-6), name
    assert found.norm == pytest.approx(expected["norm"], rel=1e-6)
    np.testing.assert_allclose(found.q2, expected["q2"], rtol=1e-5)


@pytest.mark.parametrize("target", ["sin", "relu", STAIRCASE])
def test_turns_of_the_plane_change_nothing(target):
    size = 2 if target is STAIRCASE else 1
    r, gamma = np.array([[1.2, 0.3], [-0.8, 0.7]]), np.array([[0.7, 0.2], [0.1, 0.6]])[:, :size]
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    model = {"lam": 0.1, "activation": "gelu", "target": target, "noise": 0.1}
    one = theory.solve(2.0, step=Spike(r, 1.1, gamma, span=2), **model)
    other = theory.solve(2.0, step=Spike(r @ turn.T, 1.1, turn @ gamma, span=2), **model)
    for name in ("test_error", "train_error", "norm"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-9), name
    np.testing.assert_allclose(other.theta, one.theta, atol=1e-8)


def test_a_thin_plane_is_a_line():
    model = {"lam": 0.1, "activation": "tanh", "target": "sin", "noise": 0.1}
    line = theory.solve(2.0, step=Spike([1.2, -0.9], [1.1, 1.0], 0.8), **model)
    thin = [[1.2, 1e-6], [-0.9, 1e-6]]
    plane_rule = theory.solve(2.0, step=Spike(thin, [1.1, 1.0], [0.8, 0.0], span=2), **model)
    assert plane_rule.nodes > 10 * line.nodes
    for name in ("test_error", "train_error", "norm"):
        assert getattr(plane_rule, name) == pytest.approx(getattr(line, name), rel=1e-8)
    flat = Spike([[1.2, 0.0], [-0.9, 0.0]], [1.1, 1.0], [0.8, 0.0], span=2)
    assert theory.solve(2.0, step=flat, **model).nodes == line.nodes


def test_turns_of_the_target_turn_the_spikes():
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    turned = MultiIndex(lambda s: STAIRCASE(s @ turn))
    one = theory.solve(4.0, step=[TWO] * 2, rtol=1e-7, **STEEP)
    other = theory.solve(4.0, step=[TWO] * 2, rtol=1e-7, **STEEP | {"target": turned})
    assert other.test_error == pytest.approx(one.test_error, rel=1e-7)
    (one_along, _), (other_along, _) = spikes_of(one), spikes_of(other)
    np.testing.assert_allclose(other_along, one_along @ turn.T, atol=1e-7)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_one_group_is_on_the_line(activation):
    """The general recursion against that for one spike and one direction."""
    steps = SeveralSteps([GradientStep(1.0, 3.0, u=0.8), GradientStep(1.2, 2.0, u=0.8)])
    line = steps.first_layer(activation, "sin", 0.2)
    law = population(None, "sin")
    layer = finished(steps.neurons(resolve(activation, "activation"), law, 0.2), law)
    np.testing.assert_allclose(layer.r, line.r, rtol=1e-9)
    np.testing.assert_allclose(layer.c, line.c, rtol=1e-9)
    np.testing.assert_allclose(layer.gamma, line.alignment, rtol=1e-9)
    wide = MultiIndex(lambda s: np.sin(s[..., 0]))
    found = theory.solve(2.0, lam=0.1, step=list(steps.steps), activation=activation, noise=0.2,
                         target=wide)  # fmt: skip
    same = theory.solve(2.0, lam=0.1, step=list(steps.steps), activation=activation, noise=0.2,
                        target="sin")  # fmt: skip
    assert found.test_error == pytest.approx(same.test_error, rel=1e-8)


def test_a_layer_is_a_step():
    layer = SeveralSteps([TWO] * 2).first_layer("relu", STAIRCASE, 0.1)
    assert (layer.r.shape, layer.alignment.shape, layer.spike.span) == ((2, 2), (2, 2), 2)
    direct = theory.solve(4.0, step=[TWO] * 2, rtol=1e-7, **STEEP)
    for step in (layer, layer.spike, direct.spike):
        found = theory.solve(4.0, step=step, rtol=1e-7, **STEEP)
        assert found.test_error == pytest.approx(direct.test_error, rel=1e-9)


def test_axes_of_steps_and_of_noise():
    eta = np.array([0.0, 1.5])
    steps = [GradientStep(eta, 8.0, u=SIGNS), TWO]
    model = STEEP | {"target": "sin", "noise": np.array([[0.1], [0.3]])}
    whole = theory.solve(4.0, step=steps, rtol=1e-6, **model)
    assert whole.test_error.shape == (2, 2)
    assert whole.spike.r.shape == (2, 2, 2, 2)
    one = theory.solve(4.0, step=[TWO] * 2, rtol=1e-6, **STEEP | {"target": "sin", "noise": 0.3})
    assert whole.test_error[1, 1] == pytest.approx(one.test_error, rel=1e-9)
    point = whole[1, 1]
    assert point.spike.span == 2
    np.testing.assert_allclose(point.spike.r, one.spike.r, rtol=1e-8)
    at = np.array([-1.0, 0.5])
    np.testing.assert_allclose(point.learned_function(at), one.learned_function(at), rtol=1e-7)
    assert whole.to_dataframe()["theta_0_1"].size == 4


def test_other_losses_in_a_plane():
    """Huber's loss with a delta that nothing reaches is ridge regression."""
    given = {"step": [TWO] * 2, **STEEP}
    ridge = theory.solve(4.0, rtol=1e-6, **given)
    found = theory.solve(4.0, loss=losses.Huber(1e6), rtol=1e-4, **given)
    assert found.success
    assert found.test_error == pytest.approx(ridge.test_error, rel=1e-6)
    assert found.norm == pytest.approx(ridge.norm, rel=1e-6)


@pytest.mark.parametrize("case", [("relu", STAIRCASE), ("tanh", "sin")])
def test_groups_that_are_nearly_alike(case):
    """The limit u = (1, 1 + e), e -> 0, where the difference of groups is one function more.

    In a plane its direction counts, however thin that is. Values move as e, and by rounding over e,
    which the estimate knows. At e = 0, and within rounding of it, there is one group, and its error
    is another.
    """
    activation, target = case
    model = {"lam": 0.1, "beta": 1.0, "noise": 0.1, "activation": activation, "target": target}

    def found(e):
        steps = [GradientStep(1.5, 8.0, u=[1.0, 1.0 + e])] * 2
        return theory.solve(2.0, step=steps, rtol=1e-3, **model)

    near = found(1e-6)
    assert (near.spike.span, near.success) == (2, True)
    for e in (1e-7, 1e-8, 1e-9):
        nearer = found(e)
        away = abs(nearer.test_error / near.test_error - 1.0)
        assert away < 1e-6 + nearer.quadrature_error
        assert nearer.success
        assert nearer.quadrature_error < 4e-14 / e
    one = theory.solve(2.0, step=[GradientStep(1.5, 8.0)] * 2, rtol=1e-3, **model).test_error
    assert one > 1.1 * near.test_error
    for e in (1e-13, 0.0):
        assert found(e).test_error == pytest.approx(one, rel=1e-9)


def test_noisy_signs():
    """Certified, with two latents of the labels beside the plane; eight simulations, |z| < 4."""
    model = {
        "beta": 2.0, "lam": 0.1, "activation": "relu", "target": STAIRCASE, "noise": 1.0,
        "step": [TWO] * 2, "loss": "logistic", "labels": "sign",
    }  # fmt: skip
    found = theory.solve(4.0, rtol=1e-4, **model)
    assert found.success
    drawn = simulate(4.0, d=100, replicates=8, rng=0, n_test=2000, workers=1, **model)
    for name in ("test_error", "norm"):
        away = getattr(drawn, name) - getattr(found, name)
        assert abs(away) < 4 * getattr(drawn, f"{name}_sem"), name


NETWORKS = {
    "a plane": {"step": [GradientStep(1.5, 6.0, u=SIGNS)] * 2, **STEEP, "beta": 1.0},
    "two classes": {
        "step": [GradientStep(1.0, 4.0)] * 2, "activation": "tanh", "lam": 0.1,
        "inputs": Mixture([[1, 0.6], [-1, -0.6]], proportions=[0.7, 0.3], labels=[1, -1]),
    },
    "a covariance": {
        "step": [GradientStep(1.0, 4.0)] * 2, "activation": "tanh", "lam": 0.1, "target": "sin",
        "inputs": Covariance([2.0, 1.0, 0.5], dimensions=[0.2, 0.4, 0.4]), "noise": 0.1,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_trained_networks(name):
    """Spikes of eight networks at d = 300: |z| < 4, or 4% (3/d, and the bulk's correlations)."""
    model = NETWORKS[name]
    networks = simulate(
        2.0, d=300, model="network", replicates=8, rng=0, n_test=500, workers=1, **model
    )
    found = theory.solve(2.0, rtol=1e-6, **model)
    along, _ = spikes_of(found)
    measured_gamma, gamma_sem = (np.atleast_1d(x) for x in (networks.gamma, networks.gamma_sem))
    measured = networks.r[:, None] * measured_gamma
    scale = np.abs(along).max()
    sem = networks.r_sem[:, None] + networks.r[:, None] * gamma_sem
    assert (np.abs(measured - along) < 4 * sem + 0.04 * scale).all(), (measured, along)
    np.testing.assert_allclose(networks.c, found.spike.c, rtol=0.05)
    bias = 0.05 * found.test_error
    assert abs(networks.test_error - found.test_error) < 4 * networks.test_error_sem + bias


def test_spiked_models_of_a_plane():
    """Eight draws at d = 300 of the model itself, |z| < 4."""
    steps = [GradientStep(1.5, 6.0, u=SIGNS)] * 2
    model = STEEP | {"step": steps, "beta": 1.0}
    drawn = simulate(2.0, d=300, replicates=8, rng=1, n_test=2000, workers=1, **model)
    found = theory.solve(2.0, rtol=1e-6, **model)
    for name in ("test_error", "train_error", "norm"):
        away = getattr(drawn, name) - getattr(found, name)
        assert abs(away) < 4 * getattr(drawn, f"{name}_sem"), name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.solve(2.0, step=[GradientStep(1.5, 8.0, u=[1.0, -1.0, 0.5])] * 3, **STEEP),
         "span 3 directions, and averages over more than 2 are out of reach: use fewer values"),
        (lambda: Spike([[1.0, 0.5]], 1.0, 0.5, span=3), "span must be 1 to 2"),
        (lambda: Spike([1.0, 0.5, 0.2], 1.0, 0.5, span=2), r"r must have the shape \(..., K, 2\)"),
        (lambda: Spike([[1.0, 0.5]], 1.0, 0.5, span=2), r"gamma must have the shape \(..., 2\)"),
        (lambda: theory.solve(2.0, lam=0.1, step=Spike([[1.0, 0.5]], 1.0, [0.9, 0.9], span=2)),
         "gamma of the spike must have a length of at most 1"),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
