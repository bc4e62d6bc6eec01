"""Properties that hold whatever the numbers are."""

import numpy as np
import pytest

from spikedrf import GradientStep, Spike, theory

OUTPUTS = ("test_error", "train_error", "norm", "excess_error")


def assert_same(a, b, rtol=1e-11, names=OUTPUTS):
    for name in names:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol, err_msg=name)


@pytest.mark.parametrize("activation", ["relu", "tanh", "erf", "sin", "softplus", "hermite3"])
@pytest.mark.parametrize("alpha", [0.4, 2.5, np.inf])
def test_equal_groups_are_one_group(activation, alpha):
    arguments = {"lam": 0.03, "beta": 1.3, "activation": activation, "target": "relu", "noise": 0.2}
    one = theory.solve(alpha, step=Spike(1.3, 1.2, 0.8), **arguments)
    three = theory.solve(alpha, step=Spike([1.3] * 3, 1.2, 0.8, pi=[0.2, 0.3, 0.5]), **arguments)
    assert_same(one, three, rtol=1e-9)
    # What is shared out in proportion.
    for name in ("q2", "V2", "psi"):
        np.testing.assert_allclose(
            getattr(three, name), np.array([0.2, 0.3, 0.5]) * getattr(one, name), rtol=1e-7
        )
    five = theory.solve(alpha, step=Spike([1.3] * 5, 1.2, 0.8), **arguments)
    assert_same(one, five, rtol=1e-9)


@pytest.mark.parametrize("groups", [2, 3, 4, 5])
def test_order_of_groups_is_irrelevant(groups):
    rng = np.random.default_rng(groups)
    r, c = rng.normal(size=groups), rng.uniform(0.8, 1.5, groups)
    pi = rng.dirichlet(np.ones(groups))
    order = rng.permutation(groups)
    arguments = {"lam": 0.02, "activation": "relu", "target": "hermite3", "noise": 0.1}
    a = theory.solve(1.7, step=Spike(r, c, 0.6, pi=pi), **arguments)
    b = theory.solve(1.7, step=Spike(r[order], c[order], 0.6, pi=pi[order]), **arguments)
    assert_same(a, b, rtol=1e-9)
    np.testing.assert_allclose(a.q2[order], b.q2, rtol=1e-8)
    np.testing.assert_allclose(a.q1[np.ix_(order, order)], b.q1, rtol=1e-7, atol=1e-12)


def test_a_group_without_neurons_does_not_exist():
    arguments = {"lam": 0.05, "activation": "tanh", "target": "hermite2"}
    with_empty = theory.solve(
        2.0, step=Spike([1.0, 5.0, -2.0], 1.1, 0.9, pi=[0.4, 0, 0.6]), **arguments
    )
    without = theory.solve(2.0, step=Spike([1.0, -2.0], 1.1, 0.9, pi=[0.4, 0.6]), **arguments)
    assert_same(with_empty, without)
    np.testing.assert_array_equal(with_empty.q2[1], 0.0)
    np.testing.assert_allclose(with_empty.q2[[0, 2]], without.q2, rtol=1e-11)


@pytest.mark.parametrize("activation", ["tanh", "relu", "cos", "hermite2"])
@pytest.mark.parametrize("gamma", [0.0, 0.7, 1.0])
def test_zero_strength_is_no_step(activation, gamma):
    arguments = {"lam": 0.05, "beta": 0.7, "activation": activation, "target": "relu", "noise": 0.3}
    plain = theory.solve([0.5, 2.0], **arguments)
    assert_same(
        plain, theory.solve([0.5, 2.0], step=Spike(0.0, 1.0, gamma), **arguments), rtol=1e-9
    )


@pytest.mark.parametrize("step", [GradientStep(0.0, 2.0), GradientStep(3.0, 0.0)])
def test_an_empty_gradient_step_is_no_step(step):
    spike = step.spike("relu", "tanh")
    assert (spike.r, spike.c, spike.gamma) == (0.0, 1.0, 0.0)
    assert_same(theory.solve(1.0, lam=0.1, step=step), theory.solve(1.0, lam=0.1))


def test_random_features_learn_only_linear_functions():
    # hermite2 is orthogonal to everything linear: before the step nothing of it is learned.
    plain = theory.solve(np.inf, lam=0.0, activation="relu", target="hermite2")
    assert plain.test_error == pytest.approx(1.0, rel=1e-12)
    curve = plain.learned_function(np.linspace(-2, 2, 5))
    np.testing.assert_allclose(curve, curve[0], atol=1e-14)
    # A step cannot find the direction either (E z g = 0), but with the direction given a
    # vocabulary of two signs expresses |kappa|.
    blind = GradientStep(2.0, 5.0, u=[1.0, -1.0]).spike("relu", "hermite2")
    assert blind.gamma == 0.0
    spike = Spike([4.0, -4.0], 1.0, 1.0)
    before = theory.solve(np.inf, lam=0.0, activation="relu", target="abs")
    assert before.test_error == pytest.approx(1 - 2 / np.pi, rel=1e-10)
    after = theory.solve(np.inf, lam=0.0, activation="relu", target="abs", step=spike)
    assert after.test_error < 0.01 * before.test_error


@pytest.mark.parametrize("groups", [1, 2])
def test_population_limit_is_approached_like_one_over_alpha(groups):
    step = GradientStep(2.0, 3.0, u=[1.0, -0.5][:groups])
    arguments = {"lam": 0.1, "activation": "relu", "target": "tanh", "noise": 0.2, "step": step}
    limit = theory.solve(np.inf, **arguments).test_error
    gap = theory.solve([1e4, 1e6, 1e8], rtol=1e-11, **arguments).test_error - limit
    assert (gap > 0).all()
    np.testing.assert_allclose(gap[:-1] / gap[1:], 100.0, rtol=2e-2)


def test_training_error_is_below_test_error_and_norm_falls_with_lam():
    lam = np.geomspace(1e-6, 1e3, 19)
    for activation, target in [("tanh", "sin"), ("relu", "hermite2"), ("sign", "sign")]:
        for step in (None, Spike([2.0, -0.5], [1.0, 1.4], 0.8, pi=[0.3, 0.7])):
            solution = theory.solve(
                [[0.3], [1.1], [4.0]],
                lam=lam,
                beta=1.2,
                activation=activation,
                target=target,
                step=step,
                noise=0.2,
            )
            assert solution.success.all()
            assert (solution.train_error < solution.test_error).all()
            assert (np.diff(solution.norm, axis=-1) < 0).all()
            assert (np.diff(solution.train_error, axis=-1) > 0).all()
            # A useless ridge predicts a constant at best, and never less than the noise.
            assert (solution.test_error > 0.2**2).all()
            np.testing.assert_allclose(
                solution.excess_error, solution.test_error - 0.04, rtol=1e-9, atol=1e-15
            )


@pytest.mark.parametrize("activation", ["tanh", "erf", lambda x: np.tanh(x)])
def test_odd_random_features_cannot_fit_a_constant(activation):
    # The mean of the labels stays in the error; the rounding of mu0 = 0 must not fit it.
    arguments = {"lam": 0.1, "activation": activation}
    with_mean = theory.solve(1.3, target="relu", **arguments)
    centred = theory.solve(
        1.3, target=lambda x: np.maximum(x, 0) - 1 / np.sqrt(2 * np.pi), **arguments
    )
    assert with_mean.m == pytest.approx([0.0], abs=1e-12)
    # The constant is power that the readout takes for noise.
    noisy = theory.solve(
        1.3,
        target=lambda x: np.maximum(x, 0) - 1 / np.sqrt(2 * np.pi),
        noise=1 / np.sqrt(2 * np.pi),
        **arguments,
    )
    assert with_mean.test_error == pytest.approx(noisy.test_error, rel=1e-10)
    assert with_mean.test_error > centred.test_error + 1 / (2 * np.pi)


def test_infinite_ridge_predicts_the_best_unpenalised_function():
    # m is not penalised: with no step only a constant is left, with h0 != 0.
    solution = theory.solve(1.0, lam=1e12, activation="relu", target="relu")
    variance = 0.5 - 1 / (2 * np.pi)
    assert solution.test_error == pytest.approx(variance, rel=1e-6)


@pytest.mark.parametrize("beta", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_identity_on_identity_is_ridge_regression(beta, noise):
    """Linear features of Gaussian data against the known self-consistent equations.

    Ridge on x W^T is ridge on x with prior covariance W^T W / d-ish: with S = F F^T of Wishart
    type. For beta -> infinity it is ordinary ridge with ridge lam/beta' and the closed form of
    Marchenko-Pastur; for finite beta the two-stage (product Wishart) fixed point is solved here
    independently with scalar unknowns.
    """
    from scipy.optimize import brentq

    alpha, lam = 1.7, 0.3

    # Features phi = W x with rows of W uniform on the unit sphere; a^T phi / sqrt p. The
    # effective linear map has covariance W^T W / p (eigenvalues of mean 1/d p): free product.
    # kappa2 solves the deterministic equivalent of the data, kappa1 that of the weights:
    #   lam = kappa * (1 - df(kappa) / alpha) with df = (1/d) Tr S (S + kappa)^{-1},
    # S = (d/p) W^T W / ... of Marchenko-Pastur ratio d/p and mean one, kappa = nu alpha^{-1}.
    def degrees(kappa):
        # (1/d) Tr S (S + kappa)^{-1} for S = W^T W d / p: S-transform fixed point.
        # t = df solves kappa (t) : t = 1 - 1/(1 + s), s = (1 - t / beta) / kappa
        return brentq(lambda t: t - (1 - t / beta) / (kappa + 1 - t / beta), 0.0, min(1.0, beta))

    # Sample stage: kappa - kappa df(kappa)/alpha = ridge in the units of S.
    # objective: sum (y - x W^T a / sqrt p)^2 + lam |a|^2; b = W^T a / sqrt p has prior
    # covariance W^T W / (p lam) = S / (d lam): b^T (S/d)^+ b lam. So ridge/n = lam d / n.
    ridge = lam / alpha
    kappa = brentq(lambda k: k * (1 - degrees(k) / alpha) - ridge, 1e-12, 1e6)
    # Derivatives by a tight difference of the scalar function.
    h = 1e-6 * kappa
    df = degrees(kappa)
    slope = (degrees(kappa + h) - degrees(kappa - h)) / (2 * h)
    df2 = df + kappa * slope  # (1/d) Tr S^2 (S + kappa)^{-2}
    bias = 1 - df - (df - df2)  # kappa^2 (1/d) Tr (S + kappa)^{-2}
    excess = (bias + noise**2 * df2 / alpha) / (1 - df2 / alpha)
    solution = theory.solve(
        alpha, lam=lam, beta=beta, activation="identity", target="identity", noise=noise
    )
    assert solution.excess_error == pytest.approx(excess, rel=1e-7)


def test_identity_without_ridge_is_least_squares():
    # beta >= 1, lam = 0, alpha > 1: ordinary least squares, excess = noise^2 / (alpha - 1).
    alpha = np.array([1.2, 2.0, 7.0])
    for beta in (1.0, 1.5, 4.0):
        solution = theory.solve(
            alpha, lam=0.0, beta=beta, activation="identity", target="identity", noise=0.5
        )
        np.testing.assert_allclose(solution.excess_error, 0.25 / (alpha - 1), rtol=1e-8)
        assert np.isinf(solution.norm).all() == (beta == 1.0)


def test_linear_groups_merge_into_one():
    # Nearly equal c takes the general path; equal c the merged one.
    arguments = {"lam": 0.05, "beta": 2.0, "activation": "identity", "target": "tanh", "noise": 0.3}
    merged = theory.solve(3.0, step=Spike([1.0, 2.0], 1.0, 0.5, pi=[0.3, 0.7]), **arguments)
    general = theory.solve(
        3.0, step=Spike([1.0, 2.0], [1.0, 1.0 + 1e-9], 0.5, pi=[0.3, 0.7]), **arguments
    )
    for name in ("test_error", "train_error", "norm", "m", "psi", "q1", "q2", "V1", "V2"):
        np.testing.assert_allclose(
            getattr(merged, name), getattr(general, name), rtol=1e-6, atol=1e-12, err_msg=name
        )
    tiny = theory.solve(3.0, **{**arguments, "lam": 1e-12}, step=Spike([1.0, 2.0], 1.0, 0.5))
    none = theory.solve(3.0, **{**arguments, "lam": 0.0}, step=Spike([1.0, 2.0], 1.0, 0.5))
    assert tiny.test_error == pytest.approx(none.test_error, rel=1e-9)


RIDGELESS = [
    ("tanh", None, 0.5, 1.0),
    ("tanh", GradientStep(2.0, 5.0), 2.0, 1.0),
    ("relu", None, 0.3, 2.0),
    ("relu", GradientStep(1.0, 5.0, u=[1.0, -1.0]), 0.5, 1.0),
    ("sin", GradientStep(2.0, 5.0), 0.5, 1.0),
    ("identity", None, 0.3, 2.0),
    ("abs", GradientStep(1.0, 5.0), 0.6, 1.0),
]


@pytest.mark.parametrize(("activation", "step", "alpha", "beta"), RIDGELESS)
def test_ridgeless_limit(activation, step, alpha, beta):
    arguments = {
        "beta": beta,
        "activation": activation,
        "target": "sin",
        "noise": 0.3,
        "step": step,
    }
    limit = theory.solve(alpha, lam=0.0, **arguments)
    assert limit.success
    near = theory.solve(alpha, lam=[1e-9, 1e-11], **arguments)
    gap = np.abs(near.test_error / limit.test_error - 1)
    assert gap[1] < 1e-8
    assert gap[0] < 1e-6
    assert near.norm[1] == pytest.approx(limit.norm, rel=1e-7)
    if alpha < beta:
        assert limit.train_error == 0.0
        assert np.isinf(limit.V2).all()
    else:
        assert near.train_error[1] == pytest.approx(limit.train_error, rel=1e-7)


def test_threshold_is_where_the_error_diverges():
    alpha = 1.0 + np.array([-1e-2, -1e-3, 1e-3, 1e-2])
    solution = theory.solve(alpha, lam=0.0, activation="tanh", target="tanh", noise=0.5)
    assert solution.success.all()
    # The divergence is a simple pole on either side.
    assert solution.test_error[1] / solution.test_error[0] == pytest.approx(10, rel=0.05)
    assert solution.test_error[2] / solution.test_error[3] == pytest.approx(10, rel=0.05)


def test_leave_one_out_identity():
    # A training residual is the leave-one-out residual over 1 + V: with no spike V is constant.
    solution = theory.solve(1.3, lam=0.07, activation="relu", target="tanh", noise=0.2)
    sigma2 = 0.5 - 1 / (2 * np.pi) - 0.25
    V = 0.25 * solution.V1[0, 0] + sigma2 * solution.V2[0]
    assert solution.train_error * (1 + V) ** 2 == pytest.approx(solution.test_error, rel=1e-11)


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_envelope(groups):
    """d(delta train + lam norm)/dlam = norm: the objective at its minimum. Ties steps A to C."""
    rng = np.random.default_rng(groups)
    beta, alpha, lam = 1.3, 0.9, 0.07
    arguments = {
        "beta": beta,
        "activation": "relu",
        "target": "sin",
        "noise": 0.2,
        "rtol": 1e-11,
        "step": Spike(
            rng.normal(size=groups),
            rng.uniform(0.8, 1.3, groups),
            0.7,
            pi=rng.dirichlet(np.ones(groups)),
        ),
    }
    # Fourth-order differences in log lam.
    h = 0.02
    at = lam * np.exp(h * np.array([-2, -1, 1, 2]))
    sides = theory.solve(alpha, lam=at, **arguments)
    objective = alpha / beta * sides.train_error + at * sides.norm
    slope = objective @ np.array([1, -8, 8, -1]) / (12 * h * lam)
    assert slope == pytest.approx(theory.solve(alpha, lam=lam, **arguments).norm, rel=2e-7)


def test_learned_function_matches_the_order_parameters():
    step = Spike([1.5, -1.0], [1.05, 1.2], 0.9, pi=[0.6, 0.4])
    solution = theory.solve([1.0, 2.0], lam=0.1, activation="relu", target="hermite2", step=step)
    kappa = np.array([[-1.0, 0.0, 2.0]])
    value = solution.learned_function(kappa)
    assert value.shape == (2, 1, 3)
    from math import erf, exp, pi, sqrt

    for i in range(2):
        for j, k in enumerate(kappa[0]):
            expected = 0.0
            for g in range(2):
                m, s = step.r[g] * k, sqrt(step.c[g])
                cdf = 0.5 * (1 + erf(m / s / sqrt(2)))
                mu0 = m * cdf + s * exp(-0.5 * (m / s) ** 2) / sqrt(2 * pi)
                expected += solution.m[i, g] * mu0 + k * solution.theta[i, g] * cdf
            assert value[i, 0, j] == pytest.approx(expected, rel=1e-12)
    assert isinstance(theory.solve(1.0, lam=0.1).learned_function(0.5), float)
