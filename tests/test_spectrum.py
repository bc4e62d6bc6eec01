"""The spectrum of the features: closed forms, the theory written out, the real solver, itself."""

import sys
from functools import cache

import numpy as np
import pytest

import brute_force
from spikedrf import ConvergenceWarning, GradientStep, Spike, _core, simulate_spectrum, theory
from spikedrf.activations import resolve

STEP = Spike([1.5, -1.0], [1.05, 1.2], 0.9, pi=[0.6, 0.4])
CASES = {
    "relu": {"alpha": 1.5, "beta": 0.5, "activation": "relu", "step": Spike(1.2, 1.1, 0.8)},
    "relu, n < p": {"alpha": 0.5, "beta": 1.5, "activation": "relu", "step": Spike(-0.9, 0.8, 0.8)},
    "two groups": {"alpha": 1.0, "beta": 1.5, "step": STEP},
    "three groups": {
        "alpha": 2.0, "activation": "sin", "step": Spike([2.0, 0.5, -1.0], [1.0, 1.3, 0.7], 0.9)
    },
    "strong": {"alpha": 3.0, "step": Spike(5.0, 1.1, 0.9)},
    "no step": {"alpha": 2.0, "beta": 0.5, "activation": "softplus"},
}  # fmt: skip


def named(cases):
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


def arrays_of(case):
    spike = case.get("step") or Spike(0.0, 1.0, 0.0)
    r, c, _, pi = spike.arrays()
    alpha, beta = case["alpha"], case.get("beta", 1.0)
    return alpha, beta, case.get("activation", "tanh"), r, c, pi


@cache
def slow_tables(name):
    """Weights, mu1 and mu2^2 of a case."""
    _, _, activation, r, c, _ = arrays_of(CASES[name])
    kappa, weights = brute_force.kappa_rule(r, c, 0.0, activation=activation)
    _, mu1, mu2sq, *_ = brute_force.tables(kappa, r, c, 0.0, activation, "identity")
    return weights, mu1, mu2sq


def slow_stieltjes(z, name):
    """V2 at one z off the real axis: the equations of theory.md, section 4, iterated from V = 0."""
    alpha, beta, _, r, c, pi = arrays_of(CASES[name])
    weights, mu1, mu2sq = slow_tables(name)
    groups, delta = len(r), alpha / beta
    g = np.full(groups, -1.0 / z)
    V = np.zeros(weights.shape, dtype=complex)
    for _ in range(2000):
        weighted = delta * weights / (1.0 + V)
        B, D = (mu1 * weighted) @ mu1.T, -z + mu2sq @ weighted
        G = np.diag(beta * c * pi * g)
        P = np.linalg.inv(np.eye(groups) + B @ G)
        new = 1.0 / (D + c * np.diag(P @ B))
        V = np.sum(mu1 * (G @ P / beta @ mu1), axis=0) + (pi * g) @ mu2sq
        if np.abs(new - g).max() < 1e-13 * np.abs(g).max():
            return pi * new
        g = new
    raise AssertionError("the iteration did not converge")


def trapezoid(x, y):
    return float(np.sum(0.5 * np.diff(x) * (y[1:] + y[:-1])))


# --------------------------------------------------------------------------------------------------
# The transform


@pytest.mark.parametrize("name", CASES)
def test_against_the_equations_iterated(name):
    case = CASES[name]
    for z in (0.4 + 0.7j, 3.0 + 1.0j):
        expected = slow_stieltjes(z, name).sum()
        assert theory.stieltjes(z, **case) == pytest.approx(expected, rel=1e-9)
        assert theory.stieltjes(z.conjugate(), **case) == pytest.approx(expected.conj(), rel=1e-9)


@named(CASES)
def test_on_the_negative_axis_it_is_the_response_of_ridge_regression(case):
    lam = np.geomspace(1e-6, 1e3, 7)
    s = theory.stieltjes(-lam, **case)
    solution = theory.solve(lam=lam, **case)
    assert not s.imag.any()
    np.testing.assert_allclose(s.real, solution.V2.sum(axis=-1), rtol=1e-9)


def test_parameters_broadcast():
    alpha, beta = np.array([0.5, 2.0])[:, None], np.array([0.7, 1.0, 3.0])
    step = GradientStep(np.array([0.0, 1.0, 3.0]), 5.0, u=[1.0, -0.5])
    z = np.array([0.5, 0.3 + 0.2j])[:, None]
    s = theory.stieltjes(z, alpha=alpha, beta=beta, step=step, target="sin", noise=0.1)
    assert s.shape == (2, 3)
    for i in range(2):
        for j, eta in enumerate((0.0, 1.0, 3.0)):
            one = GradientStep(eta, 5.0, u=[1.0, -0.5])
            alone = theory.stieltjes(
                z[i, 0], alpha=alpha[i, 0], beta=beta[j], step=one, target="sin", noise=0.1
            )
            assert isinstance(alone, complex)
            assert s[i, j] == pytest.approx(alone, rel=1e-9)


def test_the_result_does_not_depend_on_neighbours():
    """Every point alone, a thousand in disorder, on two threads: the same root."""
    case = CASES["relu, n < p"]
    x = np.concatenate([np.geomspace(1e-9, 10.0, 1000), [-1.0, 0.3, 0.3]])
    together = theory.stieltjes(x, workers=1, **case)
    order = np.random.default_rng(0).permutation(x.size)
    disorder = theory.stieltjes(x[order], workers=2, **case)
    np.testing.assert_allclose(disorder, together[order], rtol=1e-9)
    for i in range(0, x.size, 50):
        assert theory.stieltjes(x[i], **case) == pytest.approx(together[i], rel=1e-9)


def test_large_z_is_moments():
    """s = -1/z - mean/z^2 - ..."""
    case = CASES["two groups"]
    mean = theory.spectrum(1.0, **case).mean
    z = np.array([1e4, -1e4, 1e4j, 1e80])
    np.testing.assert_allclose(
        theory.stieltjes(z, **case), -1.0 / z - mean / z / z, rtol=1e-7, atol=1e-300
    )


def test_at_zero():
    assert theory.stieltjes(0.0, alpha=0.5).real == np.inf
    assert theory.stieltjes([0.0, 1.0], alpha=1.0).real[0] == np.inf
    assert theory.stieltjes(0.0, alpha=2.0, beta=2.0, activation="identity").real == np.inf
    finite = theory.stieltjes(0.0, alpha=2.0)
    assert finite == pytest.approx(theory.solve(2.0, lam=0.0).V2[0], rel=1e-9)


@pytest.mark.parametrize("groups", [1, 2])
def test_equal_nodes_of_the_bulk_are_the_isotropic_one(groups):
    rng = np.random.default_rng(groups)
    r, c = rng.normal(size=(1, groups)), rng.uniform(0.8, 1.4, (1, groups))
    pi = rng.dirichlet(np.ones(groups), 1)
    z = np.array([-0.3, 0.2, 0.7, 0.5 + 0.4j, 40.0])
    weight = np.array([[0.3, 0.5, 0.2], [0.5, 0.3, 0.2], [0.2, -0.3, 0.1], [0.4, 0.5, 0.1]])

    def solve(bulk=None):
        relu = resolve("relu").core
        problem = _core.Problem(relu, relu, r, c, pi, np.zeros(1), bulk=bulk, rtol=1e-10)
        points = _core.Points(np.zeros(5, np.int64), np.full(5, 1.5), np.full(5, 1.2), z=z)
        out = _core.Transforms(5, groups, form=2 * groups)
        _core.run(problem, points, out, 0, 5)
        assert not out.counts[0].any()
        return [out.V2, out.scalars[0], out.form]

    split = solve((np.tile(c, (3, 1))[None], np.ascontiguousarray(weight[:, None])))
    for theirs, ours in zip(split, solve(), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-9, atol=1e-14)


def test_a_bulk_of_two_values():
    """Rows whose covariance has two values, another pair in each group, against eigenvalues.

    What has rank 4 moves the distribution by 4/p at most, and eigenvalues are too rigid to
    fluctuate by more than some 1/p. The isotropic bulk of the same variance is off at every size.
    """
    d, p, n = 500, 300, 900
    r, pi = np.array([[1.2, -0.5]]), np.array([[0.5, 0.5]])
    value = np.array([[[0.1, 0.3], [3.0, 1.0]]])  # spikes x nodes x groups
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], p // 2)
    sd = np.sqrt(value[0].repeat(d // 2, axis=0).T[group])  # the second axis is that of the inputs
    W = rng.normal(size=(p, d)) * sd / np.sqrt(d)
    v = rng.normal(size=d)
    W += r[0, group, None] * v / np.linalg.norm(v)
    phi = np.tanh(rng.normal(size=(n, d)) @ W.T)
    x = np.linalg.eigvalsh(phi.T @ phi / p)

    def distance(bulk=None):
        tanh = resolve("tanh").core
        problem = _core.Problem(tanh, tanh, r, value.mean(axis=1), pi, np.zeros(1), bulk=bulk)
        points = _core.Points(
            np.zeros(p, np.int64), np.full(p, n / d), np.full(p, p / d), z=x.astype(complex)
        )
        out = _core.Transforms(p, 2)
        _core.run(problem, points, out, 0, p)
        assert not out.counts[0].any()
        share, steps = out.scalars[0], np.arange(p + 1) / p
        return max(np.abs(share - steps[1:]).max(), np.abs(share - steps[:-1]).max())

    assert distance((value, np.full((4, 1, 2), 0.5))) < 8.0 / p
    assert distance() > 0.05


# --------------------------------------------------------------------------------------------------
# Densities that are known


@pytest.mark.parametrize(("alpha", "beta"), [(3.0, 0.5), (0.5, 2.0), (0.3, 0.3), (2.0, 2.0)])
def test_product_of_two_gaussian_matrices(alpha, beta):
    """No step and sigma(x) = x: with S-transforms, (1 + w)(alpha + w)(beta + w) = beta z w.

    w = sum_k m_k z^{-k}, m_k the moments of the d x d matrix X^T X W^T W / p.
    """
    s_of = theory.spectrum(alpha=alpha, beta=beta, activation="identity", resolution=1e-3)
    x = s_of.x[s_of.density > 1e-3 * s_of.density.max()][::20]
    expected = []
    for z in x:
        cubic = np.polymul([1.0, 1.0], np.polymul([1.0, alpha], [1.0 / beta, 1.0]))
        roots = np.roots(np.polysub(cubic, [z, 0.0]))
        s = -(1.0 + roots) / z  # of the d x d matrix; the p x p one has p - d more zeros
        expected.append((s.imag / np.pi / beta).max())
    np.testing.assert_allclose(s_of.at(x).density, expected, rtol=1e-7)
    assert s_of.atom == pytest.approx(max(0.0, 1.0 - min(alpha, 1.0) / beta), abs=1e-12)


@pytest.mark.parametrize("ratio", [0.4, 1.0, 2.5])
def test_marchenko_pastur(ratio):
    """Without a step hermite2 features are independent of each other: mu1 = 0, mu2 = 1."""
    spectrum = theory.spectrum(alpha=2.0 * ratio, beta=2.0, activation="hermite2")
    low, high = (1.0 - ratio**0.5) ** 2, (1.0 + ratio**0.5) ** 2
    np.testing.assert_allclose(spectrum.edges, [[low, high]], rtol=1e-9, atol=1e-12)
    x = low + (high - low) * np.array([0.01, 0.1, 0.5, 0.9, 0.99])
    expected = np.sqrt((high - x) * (x - low)) / (2.0 * np.pi * x)
    np.testing.assert_allclose(spectrum.at(x).density, expected, rtol=1e-9)
    assert spectrum.atom == pytest.approx(max(0.0, 1.0 - ratio), abs=1e-12)
    assert spectrum.mean == pytest.approx(ratio, rel=1e-12)
    outside = spectrum.at([-1.0, 0.99 * low - 1e-3, 1.01 * high])
    assert not outside.density.any()
    left = spectrum.atom if low > 0.1 else 0.0
    np.testing.assert_allclose(outside.cumulative, [0.0, left, 1.0], atol=1e-12)
    assert (spectrum.outliers.size, spectrum.growth.size) == (0, 0)


def test_linear_groups_are_one():
    """Groups of linear features that differ in the spike only, down to the smallest z."""
    step = Spike([1.0, -2.0], 1.0, 0.5)
    two = {"alpha": 2.0, "beta": 1.5, "activation": "identity", "step": step}
    x = np.array([1e-12, 1e-3, 0.5, 2.0])
    both, one = theory.spectrum(x, **two), theory.spectrum(x, **two | {"step": None})
    np.testing.assert_allclose(both.density, one.density, rtol=1e-12)
    np.testing.assert_allclose(both.by_group, 0.5 * one.by_group.repeat(2, axis=1), rtol=1e-12)
    np.testing.assert_allclose(both.growth, [(1.0 + 4.0) / 2.0 * 2.0 / 1.5], rtol=1e-9)
    assert both.atom == one.atom == pytest.approx(1.0 / 3.0)


# --------------------------------------------------------------------------------------------------
# Properties


@pytest.mark.parametrize("name", CASES)
def test_mass_and_moments(name):
    case = CASES[name]
    spectrum = theory.spectrum(**case)
    assert spectrum.success.all()
    assert spectrum.mass == pytest.approx(1.0, abs=1e-6)
    assert spectrum.cumulative[-1] == pytest.approx(1.0, abs=2e-7)
    alpha, beta, _, _, c, pi = arrays_of(case)
    weights, mu1, mu2sq = slow_tables(name)
    mean = alpha / beta * pi @ (c * (mu1**2 @ weights) + mu2sq @ weights)
    assert spectrum.mean == pytest.approx(mean, rel=1e-9)
    # Mass that the grid misplaces is at most at its right end.
    error = 1e-6 * spectrum.x[-1]
    assert trapezoid(spectrum.x, spectrum.x * spectrum.density) == pytest.approx(mean, abs=error)
    # Tr of the squared mean of phi phi^T, and what every sample adds by itself.
    beta, delta = case.get("beta", 1.0), alpha / case.get("beta", 1.0)
    linear, rest = (mu1 * weights) @ mu1.T, mu2sq @ weights
    squares = linear**2 * beta * np.outer(c * pi, c * pi)
    of_mean = squares.sum() + pi @ (c * np.diag(linear) + rest) ** 2
    second = delta**2 * of_mean + delta * weights @ (pi @ (c[:, None] * mu1**2 + mu2sq)) ** 2
    found = trapezoid(spectrum.x, spectrum.x**2 * spectrum.density)
    assert found == pytest.approx(second, abs=error * spectrum.x[-1])
    np.testing.assert_allclose(spectrum.by_group.sum(axis=-1), spectrum.density, rtol=1e-12)
    if alpha > beta:  # no zero eigenvalues: every neuron's weight is in the density
        for k, share in enumerate(pi):
            mass = trapezoid(spectrum.x, spectrum.by_group[:, k])
            assert mass == pytest.approx(share, abs=2e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_mass_around_the_interpolation_threshold(activation, alpha):
    spectrum = theory.spectrum(alpha=alpha, activation=activation, step=GradientStep(3.0, 20.0))
    assert spectrum.mass == pytest.approx(1.0, abs=1e-6)
    assert spectrum.atom == pytest.approx(max(0.0, 1.0 - alpha), abs=1e-12)


@named(CASES)
def test_the_density_is_the_slope_of_the_distribution(case):
    """Two routes through the theory: the resolvent, and the logarithm of a determinant."""
    h = 1e-3
    spectrum = theory.spectrum(resolution=1e-3, **case)
    # Away from edges, where differences would be inaccurate.
    inside = (spectrum.cumulative > spectrum.atom + 0.01) & (spectrum.cumulative < 0.99)
    x = spectrum.x[inside][::10]
    below, above = (spectrum.cdf(x * np.exp(k * h)) for k in (-1, 1))
    far_below, far_above = (spectrum.cdf(x * np.exp(k * h)) for k in (-2, 2))
    slope = (8.0 * (above - below) - (far_above - far_below)) / (12.0 * h)
    np.testing.assert_allclose(slope, x * spectrum.at(x).density, rtol=1e-6)


def test_tails():
    """Saturated samples make eigenvalues over many decades, and poles next to the axis of kappa."""
    spectrum = theory.spectrum(1.0, alpha=0.5, step=Spike(1.5, 1.0, 0.9), rtol=1e-9)
    x, h = np.geomspace(1e-6, 1e-2, 9), 1e-2
    values = [spectrum.cdf(x * np.exp(k * h)) for k in (-2, -1, 1, 2)]
    slope = np.dot([1.0, -8.0, 8.0, -1.0], values) / (12.0 * h)
    density = x * spectrum.at(x).density
    assert density[0] < 1e-2 * density[-1]
    np.testing.assert_allclose(slope, density, rtol=1e-6, atol=1e-12)


def test_bulks_that_separate():
    """Two groups without linear part, with features of very different size."""
    step = Spike(0.0, [0.2, 6.0], 0.0, pi=[0.3, 0.7])
    spectrum = theory.spectrum(alpha=20.0, beta=1.0, activation="hermite2", step=step)
    assert len(spectrum.edges) == 2
    (_, left), (right, _) = spectrum.edges
    np.testing.assert_allclose(spectrum.cdf([left, 0.5 * (left + right), right]), 0.3, atol=1e-10)
    assert not spectrum.at(np.linspace(left * 1.0001, right * 0.9999, 9)).density.any()
    between = spectrum.at(0.5 * (left + right))
    assert between.cumulative == pytest.approx(0.3, abs=1e-12)
    # All of the first group's neurons, and next to nothing of the second's.
    first = spectrum.x < 0.5 * (left + right)
    masses = [trapezoid(spectrum.x[first], spectrum.by_group[first, k]) for k in (0, 1)]
    assert masses[0] > 0.25 > 0.05 > masses[1] > 0.0


def test_an_eigenvalue_that_leaves_the_bulk():
    """cos responds to the spike more far out along it: against simulations of 480 neurons."""
    case = {"alpha": 20.0, "beta": 8.0, "activation": "cos", "step": Spike(0.4, 0.3, 0.5)}
    spectrum = theory.spectrum(1.0, **case)
    edge, (outlier,), (growth,) = spectrum.edges.max(), spectrum.outliers, spectrum.growth
    eigenvalues = simulate_spectrum(d=60, replicates=24, rng=0, **case).eigenvalues
    for top, expected in ((eigenvalues[:, -2], outlier), (eigenvalues[:, -1] / 480, growth)):
        sem = top.std(ddof=1) / np.sqrt(len(top))
        assert abs(top.mean() - expected) < 4.0 * sem
    sem = eigenvalues[:, -2].std(ddof=1) / np.sqrt(24)
    assert eigenvalues[:, -2].mean() - edge > 4.0 * sem
    assert eigenvalues[:, -3].mean() < edge
    # At the eigenvalue the transform itself has nothing to show.
    assert spectrum.at(outlier).density == 0.0
    assert theory.spectrum(1.0, **case | {"step": Spike(0.0, 0.3, 0.5)}).outliers.size == 0


def test_growing_eigenvalues():
    """One for each independent mean function; E mu0^2 in closed form for sin."""
    r, c = 1.3, 0.8
    mean_square = 0.5 * np.exp(-c) * (1.0 - np.exp(-2.0 * r**2))

    def growth(*args, **more):
        step = Spike(*args, c, 0.5, **more)
        return theory.spectrum(1.0, alpha=3.0, beta=2.0, activation="sin", step=step).growth

    np.testing.assert_allclose(growth(r), [1.5 * mean_square], rtol=1e-10)
    np.testing.assert_allclose(growth([r, -r]), [1.5 * mean_square], rtol=1e-10)
    np.testing.assert_allclose(growth([r, 0.0], pi=[0.3, 0.7]), [1.5 * 0.3 * mean_square])
    assert growth([r, 0.5]).size == 2
    assert growth(0.0).size == 0


# --------------------------------------------------------------------------------------------------
# The result


def test_special_points():
    spectrum = theory.spectrum([-1.0, 0.0, 1.0], alpha=0.5, activation="relu")
    np.testing.assert_array_equal(spectrum.density[:2], [0.0, 0.0])
    np.testing.assert_array_equal(spectrum.cumulative[:2], [0.0, 0.5])
    assert theory.spectrum(0.0, alpha=1.0).density == np.inf
    assert theory.spectrum(0.0, alpha=2.0).density == 0.0
    # Dead relu samples leave eigenvalues down to 0, the more the stronger the spike.
    weak, strong = (
        theory.spectrum(0.0, alpha=0.5, activation="relu", step=Spike(r, 1.0, 0.5)).density
        for r in (0.3, 3.0)
    )
    assert (weak, strong) == (0.0, np.inf)


def test_scalars_and_shapes():
    scalar = theory.spectrum(0.5, alpha=2.0)
    assert isinstance(scalar.density, float)
    assert isinstance(scalar.success, bool)
    assert scalar.by_group.shape == (1,)
    assert repr(scalar).startswith("Spectrum(x=0.5, density=0.43681")
    grid = theory.spectrum(np.ones((2, 3)), alpha=2.0, step=Spike([1.0, 2.0, 3.0], 1.0, 0.5))
    assert grid.density.shape == grid.success.shape == (2, 3)
    assert grid.by_group.shape == (2, 3, 3)
    assert repr(grid) == "Spectrum(shape=(2, 3), x 1 to 1, atom=0, 6 of 6 converged)"
    assert theory.spectrum([], alpha=2.0).density.shape == (0,)


def test_a_group_without_neurons():
    step = Spike([1.0, 2.0], 1.0, 0.5, pi=[1.0, 0.0])
    spectrum = theory.spectrum([0.3, 0.8], alpha=2.0, step=step)
    alone = theory.spectrum([0.3, 0.8], alpha=2.0, step=Spike(1.0, 1.0, 0.5))
    np.testing.assert_allclose(spectrum.density, alone.density, rtol=1e-12)
    np.testing.assert_array_equal(spectrum.by_group[:, 1], 0.0)
    np.testing.assert_allclose(spectrum.growth, alone.growth)


def test_to_xarray():
    pytest.importorskip("xarray")
    spectrum = theory.spectrum([0.3, 0.8], alpha=0.5, step=GradientStep(1.0, 5.0))
    data = spectrum.to_xarray()
    np.testing.assert_array_equal(data.sel(x=0.8).density, spectrum.density[1])
    assert data.by_group.dims == ("x", "group")
    assert (data.attrs["alpha"], data.attrs["eta"], data.attrs["atom"]) == (0.5, 1.0, 0.5)
    with pytest.raises(ValueError, match="one-dimensional"):
        theory.spectrum(0.5, alpha=2.0).to_xarray()


def test_points_that_do_not_converge_say_so(monkeypatch):
    """A rule that may not be refined cannot vouch for its answer."""
    monkeypatch.setattr(sys.modules["spikedrf.theory.stieltjes"], "MAX_NODES", 64)
    with pytest.warns(ConvergenceWarning, match="1 of 2 points did not reach rtol=1e-11"):
        spectrum = theory.spectrum([1e-3, 20.0], alpha=0.5, step=Spike(8.0, 1.0, 0.5), rtol=1e-11)
    np.testing.assert_array_equal(spectrum.success, [False, True])
    np.testing.assert_array_equal(spectrum.status, [1, 0])
    assert spectrum.quadrature_error[0] > 1e-11 >= spectrum.quadrature_error[1]


def test_points_that_cannot_be_certified_are_nan():
    """Linear groups of different variance with p > d: their responses cancel as z -> 0."""
    step = Spike([0.1, 0.2], [1.0, 0.1], 0.5)
    case = {"alpha": 2.0, "beta": 1.5, "activation": "identity", "step": step}
    with pytest.warns(ConvergenceWarning, match="move z off the real axis"):
        s = theory.stieltjes([1e-15, 0.5], **case)
    np.testing.assert_array_equal(np.isnan(s), [True, False])
    with pytest.warns(ConvergenceWarning):
        spectrum = theory.spectrum([1e-15, 0.5], **case)
    np.testing.assert_array_equal(spectrum.status, [2, 0])
    np.testing.assert_array_equal(np.isnan(spectrum.density), [True, False])
    assert theory.spectrum(**case).mass == pytest.approx(1.0, abs=1e-6)


def test_callables():
    named_one = theory.spectrum([0.1, 0.5, 2.0], alpha=2.0, step=Spike(1.2, 0.9, 0.5))
    own = theory.spectrum([0.1, 0.5, 2.0], alpha=2.0, step=Spike(1.2, 0.9, 0.5), activation=np.tanh)
    np.testing.assert_allclose(own.density, named_one.density, rtol=1e-8)

    def broken(x):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        theory.spectrum(1.0, alpha=2.0, activation=broken)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: theory.stieltjes("x", alpha=1.0), TypeError, "z must be a complex number"),
        (lambda: theory.stieltjes(None, alpha=1.0), TypeError, "z must be a complex number"),
        (lambda: theory.stieltjes(np.nan, alpha=1.0), ValueError, "z must be finite"),
        (lambda: theory.stieltjes(1j, alpha=np.inf), ValueError, "alpha must be finite"),
        (lambda: theory.stieltjes(1j, alpha=0.0), ValueError, "alpha must be > 0"),
        (lambda: theory.stieltjes(1j, alpha=1.0, bulk="own"), ValueError, "bulk must be"),
        (lambda: theory.stieltjes(1j, alpha=1.0, rtol=0.0), ValueError, "rtol must be"),
        (lambda: theory.stieltjes([1j, 2j], alpha=[1, 2, 3]), ValueError, "do not broadcast"),
        (lambda: theory.spectrum(1j, alpha=1.0), TypeError, "x must be a real number"),
        (lambda: theory.spectrum(np.inf, alpha=1.0), ValueError, "x must be finite"),
        (lambda: theory.spectrum(alpha=[1.0, 2.0]), ValueError, "only x may be an array"),
        (lambda: theory.spectrum(alpha=1.0, beta=-1.0), ValueError, "beta must be > 0"),
        (lambda: theory.spectrum(alpha=1.0, resolution=0.0), ValueError, "resolution must be"),
        (lambda: theory.spectrum(alpha=1.0, activation="no"), ValueError, "activation must be"),
        (lambda: theory.spectrum(1.0, alpha=1.0).cdf(np.nan), ValueError, "x must be finite"),
        (lambda: theory.spectrum(1.0, alpha=1.0, workers=0), ValueError, "workers must be"),
    ],
)
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_support_of_saturating_features_begins_at_zero():
    """With n < p samples far out along the spike make eigenvalues as small as one likes."""
    step = GradientStep(3.0, 20.0)
    fewer = theory.spectrum([0.1], alpha=0.3, beta=2.0, target="sin", step=step)
    assert fewer.edges[0, 0] == 0.0
    assert theory.spectrum([0.1], alpha=0.3, beta=2.0, target="sin").edges[0, 0] > 0.05
    assert theory.spectrum([0.1], alpha=3.0, beta=0.5, target="sin", step=step).edges[0, 0] > 0.0


def test_a_grid_keeps_what_it_has_seen():
    found = theory.spectrum(alpha=0.5, step=Spike(4.0, 1.0, 0.5), resolution=1e-3)
    again = found.at(found.x)
    size = np.hypot(again.density, 1.0 / found.x)  # of the transform, but for its real part
    assert np.all(np.abs(found.density - again.density) < 1e-9 * size)
    np.testing.assert_allclose(found.cumulative, again.cumulative, rtol=0, atol=1e-12)
    assert found.success.all()


@pytest.mark.parametrize("function", [np.tanh, np.cos])
def test_both_sides_of_the_spike_are_one_where_they_are_mirror_images(function):
    """Named functions are known to be odd or even; of a callable nobody knows, and all is kept."""
    slope = {np.tanh: lambda x: 1.0 / np.cosh(x) ** 2, np.cos: lambda x: -np.sin(x)}[function]
    case = {"alpha": 1.5, "beta": 0.8, "step": Spike([1.6, -0.7], [1.1, 1.3], 0.5, pi=[0.3, 0.7])}
    x = np.array([-0.5, 1e-3, 0.1, 0.5, 1.5, 30.0])
    named = theory.spectrum(x, activation=function.__name__, **case)
    whole = theory.spectrum(x, activation=(function, slope), **case)
    np.testing.assert_allclose(named.density, whole.density, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(named.cumulative, whole.cumulative, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(named.growth, whole.growth, rtol=1e-8)
    np.testing.assert_allclose(named.edges, whole.edges, rtol=1e-7)
    np.testing.assert_allclose(named.outliers, whole.outliers, rtol=1e-8)
