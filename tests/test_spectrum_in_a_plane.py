"""Spectra where spikes span a plane: theory.md, section 7 with averages over the plane."""

import pickle

import numpy as np
import pytest

from spikedrf import Covariance, GradientStep, Mixture, MultiIndex, Spike, simulate_spectrum, theory

TWO = GradientStep(1.5, 8.0, u=[1.0, -1.0])
STAIRCASE = MultiIndex("staircase")
PLANE = Spike([[1.3, 0.6], [-1.3, 0.5]], [1.1, 1.0], [0.5, 0.0], span=2)
X = np.array([0.1, 0.5, 1.5])


@pytest.mark.parametrize("alpha", [2.0, 0.6])
def test_a_thin_plane_is_a_line(alpha):
    """The second component is 1e-6 of the first; and a small one moves the spectrum little."""
    model = {"alpha": alpha, "activation": "tanh"}

    def found(beside):
        spike = Spike([[1.2, beside], [-0.7, beside]], [1.1, 1.0], [0.5, 0.0], span=2)
        return theory.spectrum(X, step=spike, **model)

    line = theory.spectrum(X, step=Spike([1.2, -0.7], [1.1, 1.0], 0.5), **model)
    thin = found(1e-6)
    np.testing.assert_allclose(thin.by_group, line.by_group, rtol=1e-8)
    np.testing.assert_allclose(thin.cumulative, line.cumulative, rtol=1e-8)
    assert 1e-4 < np.abs(found(0.1).density[:2] / line.density[:2] - 1.0).max() < 0.1


@pytest.mark.parametrize("span", [1, 2])
def test_groups_alike_are_one(span):
    """u = (1, 1), and twice the same spike along two directions, are a single group."""
    if span == 1:
        pair, one = ([GradientStep(1.0, 3.0, u=u)] * 2 for u in ([1.0, 1.0], [1.0]))
    else:
        pair = Spike([[1.2, 0.5], [1.2, 0.5]], [1.1, 1.1], [0.5, 0.0], span=2)
        one = Spike(1.3, 1.1, 0.5)
    model = {"alpha": 2.0, "beta": 0.8, "activation": "relu", "target": "tanh"}
    several, single = (theory.spectrum(X, step=step, **model) for step in (pair, one))
    np.testing.assert_allclose(several.density, single.density, rtol=1e-8)
    np.testing.assert_allclose(several.growth, single.growth, rtol=1e-8)


INPUTS = {
    "steps": {"step": [TWO] * 2, "target": STAIRCASE, "noise": 0.1},
    "lengths": {"step": PLANE, "init": "gaussian"},
    "classes": {
        "step": [TWO] * 2, "target": STAIRCASE,
        "inputs": Mixture([[1.0, 0.6], [-1.0, 0.3]], proportions=[0.7, 0.3]),
    },
    "a covariance": {
        "step": [TWO] * 2,
        "inputs": Covariance([2.0, 0.5], dimensions=[1 / 3, 2 / 3], target=[0.8, 0.2]),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_the_real_axis_joins_on(name):
    """At lam > 0 the transform is the response of ridge regression, on another rule."""
    lam, model = np.array([0.02, 0.5]), {"activation": "relu", "target": "tanh"} | INPUTS[name]
    responses = theory.solve(1.5, lam=lam, rtol=1e-6, **model).V2.sum(axis=-1)
    np.testing.assert_allclose(theory.stieltjes(-lam, alpha=1.5, **model), responses, rtol=1e-8)


@pytest.mark.parametrize(("activation", "alpha"), [("tanh", 2.0), ("relu", 0.6), ("sin", 0.6)])
def test_density_is_the_slope_of_the_distribution(activation, alpha):
    """Both are computed by themselves, at every point."""
    h = 1e-3
    found = theory.spectrum(X, alpha=alpha, activation=activation, step=PLANE)
    around = np.array([-2.0, -1.0, 1.0, 2.0])
    share = found.cdf(X[:, None] * (1.0 + h * around))
    slope = share @ np.array([1.0, -8.0, 8.0, -1.0]) / (12.0 * h * X)
    np.testing.assert_allclose(found.density, slope, rtol=1e-6, atol=1e-9)
    assert found.success.all()


def test_where_the_density_dies_out():
    """1e-6 of its largest, where poles are as close to the plane: features die in a wedge of it."""
    spike = Spike([[1.0, 0.2], [-1.0, 0.3]], [1.1, 1.0], [0.5, 0.0], span=2)
    h = 3e-3
    x = 0.0125 * np.array([1.0 - h, 1.0, 1.0 + h])
    found = theory.spectrum(x, alpha=0.6, activation="gelu", step=spike)
    assert found.success.all()
    slope = (found.cumulative[2] - found.cumulative[0]) / (x[2] - x[0])
    assert found.density[1] == pytest.approx(slope, rel=2e-3)
    assert found.density[1] < 4e-5


def test_steps_with_axes():
    steps = [GradientStep([0.0, 1.0, 1.5], 8.0, u=[1.0, -1.0])] * 2
    model = {"alpha": 2.0, "activation": "relu", "target": STAIRCASE}
    each = [
        theory.stieltjes(1.0 + 0.1j, step=[GradientStep(eta, 8.0, u=[1.0, -1.0])] * 2, **model)
        for eta in (0.0, 1.0, 1.5)
    ]
    together = theory.stieltjes(1.0 + 0.1j, step=steps, **model)
    np.testing.assert_allclose(together, each, rtol=1e-8)


def test_eigenvalues_of_simulations():
    """Kolmogorov distance of the spiked model after two steps, d = 300, pooled over replicates.

    Eigenvalues repel each other, so that counts fluctuate by a few out of 300; with the eigenvalues
    of order p (two means) and the corrections of order 1/p, ten of 300 are allowed.
    """
    model = {"beta": 1.0, "activation": "relu", "target": STAIRCASE, "step": [TWO] * 2}
    drawn = simulate_spectrum(1.5, d=300, replicates=4, rng=0, **model)
    x = np.sort(drawn.eigenvalues.ravel())
    at = np.quantile(x, np.linspace(0.01, 0.99, 25))
    theirs = np.searchsorted(x, at, side="right") / x.size
    found = theory.spectrum(at, alpha=1.5, **model)
    assert np.abs(found.cumulative - theirs).max() < 10.0 / 300.0
    before = theory.spectrum(at, alpha=1.5, **model | {"step": None})
    assert np.abs(before.cumulative - theirs).max() > 20.0 / 300.0


@pytest.mark.slow
def test_isolated_eigenvalues_of_simulations():
    """One along each direction, and two that grow, at two dimensions: |z| < 4, or falling as 1/d.

    The fifth is in the bulk. The first two of four are near each other, and repel: their mean.
    """
    spike = Spike([[0.5, 0.0], [0.0, 0.45]], 0.3, [0.5, 0.0], span=2)
    model = {"beta": 24.0, "activation": "cos", "step": spike}
    found = theory.spectrum(1.0, alpha=60.0, **model)
    assert (found.outliers.size, found.growth.size) == (2, 2)
    away = []
    for d in (20, 40):
        drawn = simulate_spectrum(60.0, d=d, replicates=24, rng=0, **model).eigenvalues
        assert drawn[:, -5].mean() < found.edges.max()
        top = np.column_stack([drawn[:, -4:-2].mean(axis=1), drawn[:, -2:] / (24.0 * d)])
        sem = top.std(axis=0, ddof=1) / np.sqrt(len(top))
        expected = np.r_[found.outliers.mean(), found.growth]
        away.append((np.abs(top.mean(axis=0) - expected), sem))
    (far, _), (near, sem) = away
    assert ((near < 4.0 * sem) | (near < 0.6 * far)).all(), away


def test_copies_go_on():
    """A spectrum that was pickled, or copied, knows its plane."""
    found = theory.spectrum(X, alpha=2.0, activation="relu", step=PLANE)
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.at(X).density, found.density)
