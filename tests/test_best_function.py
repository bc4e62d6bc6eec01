"""What a vocabulary can express: closed forms, an independent fit, the solution at alpha = inf."""

import importlib

import numpy as np
import pytest
from scipy.special import erf

import brute_force
from spikedrf import ConvergenceWarning, GradientStep, Spike, theory

best_function = importlib.import_module("spikedrf.theory.best_function")

KAPPA = np.linspace(-3, 3, 13)


@pytest.mark.parametrize("target", ["tanh", "sin", "relu", "hermite2", "sign", "identity"])
@pytest.mark.parametrize("groups", [1, 2])
def test_linear_only_before_the_step(target, groups):
    """Random features: the mean and the linear part, however wide."""
    best = theory.best_function(
        activation="relu", target=target, step=Spike(np.zeros(groups), 1.0, 0.0)
    )
    plain = theory.best_function(activation="relu", target=target)
    assert best.success
    assert best.along == pytest.approx(0.0, abs=1e-12)
    assert best.across == pytest.approx(best.linear, abs=1e-12)
    assert best.unexplained == pytest.approx(theory.best_linear_error(target), abs=1e-12)
    assert plain.across == pytest.approx(best.across, abs=1e-12)
    mean, slope = (brute_force_mean(target, power) for power in (0, 1))
    np.testing.assert_allclose(best(KAPPA), mean, atol=1e-12)
    np.testing.assert_allclose(best(KAPPA, 2.0), mean + 2.0 * slope, atol=1e-12)


def brute_force_mean(target, power):
    z, w = brute_force.kappa_rule(1.0, 1.0, 0.0)
    return w @ (z**power * brute_force.functions[target](z))


def test_linear_features_stay_linear():
    spike = Spike([1.5, -0.7], [1.2, 0.9], 0.8)
    best = theory.best_function(activation="identity", target="hermite2", step=spike)
    assert best.explained == pytest.approx(0.0, abs=1e-12)
    best = theory.best_function(activation="identity", target="tanh", step=spike)
    assert best.along == pytest.approx(0.8**2 * best.linear, rel=1e-12)
    assert best.across == pytest.approx((1 - 0.8**2) * best.linear, rel=1e-12)


def test_the_vocabulary_explains_itself():
    """A target made of erf features' mu0_k, erf(r_k kappa / sqrt(2 (1 + c_k))), is learned."""
    r, c = np.array([2.0, -0.6]), np.array([1.1, 1.7])
    rate = r / np.sqrt(2 * (1 + c))

    def one(x):
        return erf(rate[0] * x)

    def both(x):
        return 0.7 * erf(rate[0] * x) - 1.3 * erf(rate[1] * x)

    for target, spike in ((one, Spike(r[0], c[0], 1.0)), (both, Spike(r, c, 1.0))):
        best = theory.best_function(activation="erf", target=target, step=spike)
        assert best.success
        assert best.explained == pytest.approx(1.0, abs=1e-10)
        assert best.across == pytest.approx(0.0, abs=1e-12)
        np.testing.assert_allclose(best(KAPPA), target(KAPPA), atol=1e-6)
    # One entry of the vocabulary is not enough for two.
    best = theory.best_function(activation="erf", target=both, step=Spike(r[0], c[0], 1.0))
    assert best.explained < 0.999


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 1.0])
def test_hermite_features_of_hermite_targets(gamma):
    """Features (x^2 - 1)/sqrt 2 express 1 and kappa^2, and kappa zeta: all of it that there is.

    The target (s^2 - 1)/sqrt 2 with s = gamma kappa + g zeta is gamma^2 (kappa^2 - 1)/sqrt 2
    + sqrt 2 gamma g kappa zeta + g^2 (zeta^2 - 1)/sqrt 2, of powers gamma^4, 2 gamma^2 g^2, g^4.
    """
    step, rest = Spike(1.3, 1.2, gamma), 1 - gamma**2
    best = theory.best_function(activation="hermite2", target="hermite2", step=step)
    assert best.variance == pytest.approx(1.0, rel=1e-12)
    assert best.along == pytest.approx(gamma**4, abs=1e-12)
    assert best.across == pytest.approx(2 * gamma**2 * rest, abs=1e-12)
    assert best.unexplained == pytest.approx(rest**2, abs=1e-12)
    np.testing.assert_allclose(best(KAPPA), gamma**2 * (KAPPA**2 - 1) / np.sqrt(2), atol=1e-10)
    cross = best(KAPPA, 1.0) - best(KAPPA)
    np.testing.assert_allclose(cross, np.sqrt(2 * rest) * gamma * KAPPA, atol=1e-10)
    # Of a cubic they express nothing along, and kappa^2 zeta not either.
    for target in ("hermite1", "hermite3"):
        best = theory.best_function(activation="hermite2", target=target, step=step)
        assert best.along == pytest.approx(0.0, abs=1e-12)


CASES = [
    ("tanh", "sin", [1.5], [1.1], 0.9),
    ("relu", "tanh", [1.2, -0.8], [1.1, 1.3], 0.7),
    ("softplus", "abs", [2.0, 0.5, -1.0], [1.1, 1.0, 1.5], 0.95),
    ("tanh", "sign", [6.0], [1.1], 0.99),
]


@pytest.mark.parametrize(("activation", "target", "r", "c", "gamma"), CASES)
def test_an_independent_fit(activation, target, r, c, gamma):
    best = theory.best_function(activation=activation, target=target, step=Spike(r, c, gamma))
    assert best.success
    kappa, w = brute_force.kappa_rule(np.array(r), np.array(c), gamma)
    mu0, mu1, _, h, hz, _ = brute_force.tables(kappa, np.array(r), np.array(c), gamma, activation,
                                               target)  # fmt: skip
    root = np.sqrt(w)
    design = np.vstack([mu0, kappa * mu1]).T
    fit = design @ np.linalg.lstsq(design * root[:, None], h * root, rcond=None)[0]
    assert best.along == pytest.approx(w @ h**2 - (w @ h) ** 2 - w @ (h - fit) ** 2, rel=1e-8)
    slope = mu1.T @ np.linalg.lstsq(mu1.T * root[:, None], hz * root, rcond=None)[0]
    assert best.across == pytest.approx(w @ hz**2 - w @ (hz - slope) ** 2, rel=1e-8)
    near = abs(kappa) < 3
    np.testing.assert_allclose(best(kappa[near]), fit[near], atol=1e-6)
    np.testing.assert_allclose(best(kappa[near], 1.0) - fit[near], slope[near], atol=1e-6)


@pytest.mark.parametrize("bulk", ["isotropic", "network"])
def test_finite_width_is_the_solution_of_all_samples(bulk):
    step = GradientStep(2.0, [0.7, 20.0], u=[1.0, -0.4], pi=[0.3, 0.7])
    beta = np.array([[0.5], [4.0], [100.0]])
    model = {"target": "sin", "step": step, "noise": 0.3, "bulk": bulk}
    best = theory.best_function(beta=beta, **model)
    limit = theory.solve(np.inf, lam=0.0, beta=beta, **model)
    assert best.shape == (3, 2)
    assert best.success.all()
    np.testing.assert_allclose(best.unexplained, limit.excess_error, rtol=1e-8)
    np.testing.assert_array_equal(best(KAPPA, 0.5), limit.learned_function(KAPPA, 0.5))
    assert (best.fluctuation > 0).all()
    # Wider networks come closer to what the vocabulary expresses, like 1/beta.
    wide = theory.best_function(**model)
    assert wide.fluctuation.tolist() == [0.0, 0.0]
    gap = best.unexplained - wide.unexplained
    assert (gap > 0).all()
    assert (np.diff(gap, axis=0) < 0).all()
    one = model | {"step": GradientStep(2.0, 20.0)}
    gap = theory.best_function(beta=[1e3, 1e4, np.inf], **one).unexplained
    assert (gap[0] - gap[2]) / (gap[1] - gap[2]) == pytest.approx(10.0, rel=1e-2)


def test_a_larger_vocabulary_explains_more():
    """More readout values, more functions."""
    words = ([1.0], [1.0, -0.5], [1.0, -0.5, -2.0])
    explained = [
        theory.best_function(
            activation="softplus", target="sin", step=GradientStep(8.0, 30.0, u=u)
        ).explained
        for u in words
    ]
    assert (np.diff(explained) > 1e-5).all()


def test_shapes_and_scalars():
    best = theory.best_function(target="sin", step=GradientStep(3.0, 20.0))
    for name in ("along", "across", "fluctuation", "unexplained", "explained", "quadrature_error"):
        assert isinstance(getattr(best, name), float)
    assert (best.success, best.status, best.shape, best.m.shape) == (True, 0, (), (1,))
    assert best(0.3) == best(np.array([0.3]))[0]
    assert repr(best).startswith("BestFunction(variance=0.432332, along=0.398")
    step = GradientStep(np.array([[0.0], [1.0]]), 20.0, u=[1.0, -1.0, 7.0], pi=[0.5, 0.5, 0.0])
    best = theory.best_function(beta=[1.0, np.inf, 2.0], target="sin", step=step)
    assert best.shape == best.success.shape == (2, 3)
    assert best.psi.shape == (2, 3, 3)
    assert best(KAPPA).shape == (2, 3, 13)
    assert not best.m[..., 2].any()  # a group without neurons
    assert repr(best) == "BestFunction(shape=(2, 3), 6 of 6 converged)"
    one = theory.best_function(target="sin", step=GradientStep(1.0, 20.0))
    assert best.along[1, 1] == pytest.approx(one.along, rel=1e-9)
    nothing = theory.best_function(activation="relu", target=lambda x: np.full(x.shape, 2.0))
    assert (nothing.variance, nothing.explained) == (pytest.approx(0.0, abs=1e-15), 1.0)


def test_an_odd_vocabulary_cannot_express_a_mean():
    best = theory.best_function(activation="tanh", target=lambda x: x + 2.0)
    assert best.along == pytest.approx(-4.0, rel=1e-12)
    assert best.unexplained == pytest.approx(4.0, rel=1e-12)


def test_what_is_not_resolved_is_flagged(monkeypatch):
    gamma = np.array([0.3, 0.9999])
    monkeypatch.setattr(best_function, "MAX_NODES", 200)
    with pytest.warns(ConvergenceWarning, match="1 of 2 points did not reach rtol=1e-08"):
        best = theory.best_function(target="sign", step=Spike([[0.5], [9.0]], 1.0, gamma))
    np.testing.assert_array_equal(best.success, [True, False])
    np.testing.assert_array_equal(best.status, [0, 1])
    monkeypatch.undo()
    exact = theory.best_function(target="sign", step=Spike([[0.5], [9.0]], 1.0, gamma))
    assert exact.success.all()
    error = abs(best.along - exact.along) / best.variance
    assert (error <= np.maximum(best.quadrature_error, 1e-8)).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"beta": 0.0}, ValueError, "beta must be > 0 and not NaN, got 0.0"),
        ({"target": "cube"}, ValueError, "target must be"),
        ({"step": 3.0}, TypeError, "step must be"),
        ({"bulk": "square"}, ValueError, "bulk must be"),
        ({"rtol": 0.0}, ValueError, "rtol must be"),
        ({"noise": -1.0}, ValueError, "noise must be"),
    ],
)
def test_best_function_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        theory.best_function(**arguments)
