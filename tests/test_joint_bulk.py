"""The network's bulk for groups whose covariances do not commute (theory.md, 10 and 12)."""

from __future__ import annotations

import numpy as np
import pytest

from latent_equations import Case, solve
from spikedrf import Covariance, GradientStep, losses, simulate, theory
from spikedrf import step as step_module
from spikedrf.activations import resolve, step_moments
from spikedrf.first_layer.joint_bulk import _resolvent
from spikedrf.first_layer.joint_nodes import joint_nodes
from spikedrf.first_layer.latent_resolvent import LatentLaw, LatentResolvent, Space
from spikedrf.first_layer.matrix_resolvent import MatrixResolvent
from spikedrf.first_layer.residual import residual_law
from spikedrf.inputs import common_nodes

WHITE = Space(np.ones(1), np.ones(1), np.ones(1), np.ones((1, 1)))
TWO = Space(np.array([1.6, 0.4]), np.full(2, 0.5), np.array([1.6, 0.4]), np.sqrt([[0.7, 0.3]]))
SHIFT, NOISE, ALPHA0 = 0.2, 0.3, 0.8


def law_of_sin():
    of = residual_law(resolve("sin", "target"), SHIFT, NOISE, 0.25, 1.0)
    one, first, second = of.weight
    return LatentLaw(of.res, one, first[None], second[None, None], of.reach)


def spike(law, space):
    t1, s2 = law.first[0] @ law.res, law.one @ law.res**2
    pull = t1 * space.axes[0] * space.eigenvalue
    nu = np.sqrt(pull @ pull + s2 / ALPHA0 * (space.dimensions @ space.values**2))
    return np.array([pull @ space.axes[0] / nu]), float(nu)


@pytest.mark.parametrize("space", [WHITE, TWO])
def test_one_group(space):
    """(G^{-1} + B)^{-1} = s Sigma/(1 + x Sigma), x = s B: another system of equations."""
    law = law_of_sin()
    gamma, nu = spike(law, space)
    exact = MatrixResolvent(np.array([0.4]), np.array([0.7]), ALPHA0, law, space, gamma, nu)
    for s, B in ((1.3, 0.9), (0.2, 40.0)):
        trace, forms = exact(np.array([[B]]), np.array([s]))
        alone = LatentResolvent(np.array([s * B]), 0.4, 0.7, ALPHA0, law, space)
        latents, mixed, sums = alone.forms(1)
        np.testing.assert_allclose(trace[0], s * alone.trace(), rtol=1e-10)
        np.testing.assert_allclose(forms[1, 0, 1, 0], s * latents[0, 0, 0], rtol=1e-10)
        ev = (gamma[0] - mixed[0, 0, 0, 0] / nu) / B
        vv = (1.0 - sums[0, 0, 0, 0, 0] / nu**2) / B
        np.testing.assert_allclose(forms[0, 0, :, 0], [vv, ev], rtol=1e-9)


@pytest.mark.parametrize("space", [WHITE, TWO])
def test_sampled_bulks(space):
    """Two groups, at d = 240, where the mean over samples is within O(1/d) of the limit."""
    law, d, draws = law_of_sin(), 240, 10
    gamma, nu = spike(law, space)
    a, b, s = np.array([0.4, -0.3]), np.array([0.7, 0.4]), np.array([1.3, 0.8])
    B = np.array([[0.9, 0.3], [0.3, 0.6]])
    trace, forms = MatrixResolvent(a, b, ALPHA0, law, space, gamma, nu)(B, s)
    rng = np.random.default_rng(0)
    n0, each = round(ALPHA0 * d), d // space.values.size
    omega, theta = np.repeat(space.values, each), np.zeros(d)
    theta[::each] = space.axes[0]
    found = []
    for _ in range(draws):
        z = rng.standard_normal((n0, d))
        res = np.sin(z @ theta) + NOISE * rng.standard_normal(n0) - SHIFT
        x = z * np.sqrt(omega)
        M, S = (x.T @ (res[:, None] ** i * x) / n0 for i in (1, 2))
        inverse = np.kron(B, np.eye(d))
        for k in range(2):
            whole = np.eye(d) + a[k] * M
            sigma = np.sqrt(omega)[:, None] * (whole @ whole + b[k] * S) * np.sqrt(omega)
            part = slice(k * d, (k + 1) * d)
            inverse[part, part] += np.linalg.inv(s[k] * sigma)
        whole = np.linalg.inv(inverse).reshape(2, d, 2, d)
        v = np.sqrt(omega) * (x.T @ res)
        directions = np.stack([v / np.linalg.norm(v), theta])
        seen = np.einsum("la,kaib,mb->lkmi", directions, whole, directions)
        found.append(np.append(np.einsum("kaia->ki", whole) / d, seen))
    expected = np.append(trace, forms)
    mean, sem = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(draws)
    assert (np.abs(mean - expected) < 4.5 * sem + np.abs(expected) * 2 / d).all(), mean / expected


CASES = {
    "relu": ("relu", "tanh", GradientStep(1.5, 0.5, u=[1.0, -0.5])),
    "softplus": ("softplus", "sin", GradientStep(4.0, 0.5, u=[1.0, -1.0])),
    "silu": ("silu", "sin", GradientStep(4.0, 1.0, u=[1.0, 0.5], pi=[0.3, 0.7])),
}


def by_slow_equations(activation, target, step, alpha, lam, noise):
    sigma, g = resolve(activation, "activation"), resolve(target, "target")
    model = step.spike(activation, target, noise)
    of = step_moments(sigma, slope=True)
    h2 = of.cleaned[2]
    u = np.asarray(step.u)
    pi = np.full(u.size, 1.0 / u.size) if step.pi is None else np.asarray(step.pi)
    shift = float(pi @ u) * of.cleaned[0]
    key = (*u.tolist(), float(step.eta), float(step.alpha0), noise, shift)
    exact = _resolvent(g, h2, of.slope_variance - h2**2, key)
    across = np.sqrt(1.0 - model.gamma**2)
    turn = np.array([[1.0, 0.0], [-model.gamma / across, 1.0 / across]])  # (v, xi) from (v, theta)

    def resolvent(B, G):
        trace, forms = exact(B, G)
        return trace, np.einsum("ap,pkqi,bq->akbi", turn, forms, turn)

    case = Case(
        alpha, 1.0, lam, activation, lambda s, _: g(model.gamma * s[:, 0] + across * s[:, 1]),
        r=np.outer(model.r, [1.0, 0.0]), c=model.c, pi=pi, noise=noise, exact=resolvent,
    )  # fmt: skip
    found = solve(case, step=0.1)
    return np.array([found[name] for name in ("test", "train", "norm")])


@pytest.mark.parametrize(
    "name", ["relu", *(pytest.param(n, marks=pytest.mark.slow) for n in ("softplus", "silu"))]
)
def test_errors_are_within_their_bar(name):
    """The equations with the exact resolvent, solved slowly, beside the nodes that stand for it."""
    activation, target, step = CASES[name]
    solution = theory.solve(
        2.0, lam=0.1, noise=0.1, activation=activation, target=target, step=step, bulk="network"
    )
    found = np.array([solution.test_error, solution.train_error, solution.norm])
    expected = by_slow_equations(activation, target, step, 2.0, 0.1, 0.1)
    assert solution.success
    assert solution.bulk_error < 2e-3
    assert np.abs(found / expected - 1).max() < solution.bulk_error
    # What they are for: another bulk gives something else.
    isotropic = theory.solve(
        2.0, lam=0.1, noise=0.1, activation=activation, target=target, step=step
    )
    assert abs(isotropic.test_error / expected[0] - 1) > 5 * solution.bulk_error


def test_bulks_that_commute_have_common_nodes():
    """An even derivative, h2 = 0: the nodes of the fit answer as those that are exact."""
    step, noise = GradientStep(4.0, 0.6, u=[1.0, -0.7]), 0.1
    found = theory.trained_bulk(step, "tanh", "sin", noise)
    of = step_moments(resolve("tanh", "activation"), slope=True)
    key = (1.0, -0.7, 4.0, 0.6, noise, 0.0)
    nodes = joint_nodes(_resolvent(resolve("sin", "target"), 0.0, of.slope_variance, key))
    assert nodes.accuracy < 1e-10
    for x in (0.1, 1.0, 20.0):
        for k in range(2):
            exact = found.forms(x, k)
            sigma = nodes.value[:, k]
            seen = sigma / (1.0 + x * sigma)
            fitted = [seen @ nodes.trace, *(seen @ nodes.inside[:, i, j] for i, j in PAIRS)]
            np.testing.assert_allclose(fitted, exact, rtol=1e-8, atol=1e-10)


PAIRS = ((0, 0), (0, 1), (1, 1))


def shifted(z):
    return np.tanh(z + 0.5)


SHIFTED = (shifted, lambda z: 1.0 - shifted(z) ** 2)


def test_fits_of_lengths_are_in_the_bar(monkeypatch):
    """Lengths of a skew activation, put on common nodes with other functions than the product's."""
    step = GradientStep(3.0, 0.5, u=[1.0, -0.5])
    model = {"lam": 0.05, "noise": 0.1, "activation": SHIFTED, "target": "tanh", "step": step}
    model |= {"bulk": "network", "init": "sphere"}
    found = theory.solve(1.5, **model)
    monkeypatch.setattr(common_nodes, "_FEWER", common_nodes._POWERS)
    nodes_alone = theory.solve(1.5, **model)
    assert nodes_alone.test_error == found.test_error
    lost = found.bulk_error - nodes_alone.bulk_error
    assert 1e-6 < lost < 1e-2
    for powers in ((-1, 0, 1, 2), (-2, -1, 0, 1)):
        monkeypatch.setattr(common_nodes, "_POWERS", powers)
        other = theory.solve(1.5, **model)
        assert other.test_error != found.test_error
        assert abs(other.test_error / found.test_error - 1.0) < lost


def test_lengths_on_common_nodes_where_these_are_exact(monkeypatch):
    """tanh: the bulks commute, so lengths on fitted nodes can be held against exact ones."""
    step = GradientStep(3.0, 4.0, u=[1.0, -0.5])
    model = {"lam": 0.05, "noise": 0.1, "activation": "tanh", "target": "sin", "step": step}
    model |= {"bulk": "network", "init": "sphere"}
    exact = theory.solve(1.5, **model)
    assert exact.bulk_error == 0.0
    monkeypatch.setattr(step_module, "commute", lambda *_: False)
    fitted = theory.solve(1.5, **model)
    lost = abs(fitted.test_error / exact.test_error - 1.0)
    assert 0.0 < lost < fitted.bulk_error < 1e-3


def test_groups_alike_are_one():
    """Two values that differ by a thousandth are one, up to that."""
    model = {"lam": 0.1, "noise": 0.3, "activation": "relu", "target": "tanh", "bulk": "network"}
    x = np.array([0.2, 0.6, 1.2])
    one, two = (
        theory.spectrum(
            x, alpha=1.5, activation="relu", target="tanh", noise=0.3, bulk="network",
            step=GradientStep(1.5, 0.5, u=u), rtol=1e-2,
        )
        for u in (1.0, [1.0, 1.0 + 1e-6])
    )  # fmt: skip
    np.testing.assert_allclose(two.density, one.density, rtol=1e-2)
    alone, both = (
        theory.solve(2.0, step=GradientStep(1.5, 0.5, u=u), init="sphere", **model)
        for u in (1.0, [1.0, 1.0])
    )
    assert both.test_error == pytest.approx(alone.test_error, rel=1e-9)


def test_derivatives():
    step = GradientStep(1.5, 0.5, u=[1.0, -0.5])
    model = {"lam": 0.1, "activation": "relu", "target": "tanh", "bulk": "network"}
    slope = theory.gradient(2.0, step=step, noise=0.1, wrt=("eta", "alpha0", "noise"), **model)

    def error(eta=1.5, alpha0=0.5, noise=0.1):
        moved = GradientStep(eta, alpha0, u=[1.0, -0.5])
        return theory.solve(2.0, step=moved, noise=noise, **model).test_error

    # The differences contain the scatter of the fits, some 1e-5 of the error.
    for name, at, by in (("eta", 1.5, 0.15), ("alpha0", 0.5, 0.05), ("noise", 0.1, 0.02)):
        difference = (error(**{name: at + by}) - error(**{name: at - by})) / (2 * by)
        assert slope[name] == pytest.approx(difference, rel=2e-2)


def test_nothing_is_refused():
    """Other losses, rows, inputs; the bulk's own error is said with each."""
    step = GradientStep(1.5, 0.8, u=[1.0, -0.5])
    for more in (
        {"loss": losses.Huber(1.0), "rtol": 1e-6},
        {"init": "gaussian+gain"},
        {"inputs": Covariance([2.0, 1.0, 0.5])},
        {"inputs": Covariance([2.0, 1.0, 0.5]), "activation": "tanh", "init": "gaussian"},
    ):
        model = {"lam": 0.1, "activation": "relu", "target": "sin", "noise": 0.1} | more
        solution = theory.solve(1.5, step=step, bulk="network", **model)
        assert solution.success
        assert 0.0 < solution.bulk_error < 5e-3
        isotropic = theory.solve(
            1.5, step=step, **{**model, "init": str(model.get("init", "sphere")).split("+")[0]}
        )
        assert abs(isotropic.test_error / solution.test_error - 1) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "u", "inputs"),
    [
        ("relu", [1.0, -0.5], None),
        ("softplus", [1.0, -1.0], None),
        ("relu", [1.0, 0.4], Covariance([2.0, 1.0, 0.5])),
        ("tanh", [1.0, -0.5], Covariance([3.0, 1.0, 0.2])),
    ],
)
def test_networks(activation, u, inputs):
    step = GradientStep(2.0, 0.5, u=u)
    model = {
        "lam": 0.1, "activation": activation, "target": "tanh", "noise": 0.3, "inputs": inputs
    }  # fmt: skip
    simulation = simulate(
        1.5, d=400, step=step, model="network", replicates=40, rng=7, workers=1, **model
    )
    solution = theory.solve(1.5, step=step, bulk="network", init="sphere", **model)
    away = simulation.test_error - solution.test_error
    # Beside the statistical error one of order 1/d.
    assert abs(away) < 4 * simulation.test_error_sem + solution.test_error / 400
