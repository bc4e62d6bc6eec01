"""Functions of a user's own: their kinks, jumps and narrow parts are found wherever they lie."""

import math

import numpy as np
import pytest
from scipy import special
from scipy.stats import norm

from piecewise import Piecewise, band, clip, ramp, random_piecewise, step
from spikedrf import Function, GradientStep, Spike, SpikedRFRegressor, _core, simulate, theory
from spikedrf.activations import resolve, step_moments
from spikedrf.callables import central_difference
from spikedrf.parameters import ConvergenceWarning
from spikedrf.structure import find_structure


def check_as_target(function):
    """What the best linear odd function leaves of a target, in closed form."""
    solution = theory.solve(
        np.inf, lam=0.1, beta=1e6, activation="identity", target=function, rtol=1e-8
    )
    assert solution.success
    mean, _, rest = function.moments()
    assert solution.test_error == pytest.approx(mean**2 + rest, rel=1e-9)


def check_as_activation(function):
    means = np.linspace(-3, 3, 7)
    found = np.array(_core.Function(resolve(function).core)(means, 0.7))
    exact = np.array([function.moments(mean, 0.7) for mean in means]).T
    np.testing.assert_allclose(found, exact, atol=1e-9 * abs(exact).max(axis=1).min())


@pytest.mark.parametrize("seed", range(2))
def test_piecewise_functions(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        function = random_piecewise(rng)
        check_as_target(function)
        check_as_activation(function)


@pytest.mark.slow
def test_a_thousand_piecewise_functions():
    rng = np.random.default_rng(7)
    for _ in range(1000):
        function = random_piecewise(rng)
        check_as_target(function)
        check_as_activation(function)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_bands_and_steps_after_a_step(gamma):
    """The whole way: the target's tables from its known breaks, in the solver of the tests."""
    import brute_force

    rng = np.random.default_rng(1)
    for _ in range(4):
        function = random_piecewise(rng)
        kappa, w = function.rule(gamma)
        mu0, mu1, mu2, *_ = brute_force.tables(kappa, 2.0, 1.1, gamma, "tanh", "sin", 0.0)
        sd = np.sqrt((1 - gamma) * (1 + gamma))
        if sd:
            h, hz, rest = np.array([function.moments(gamma * k, sd) for k in kappa]).T
        else:
            h, hz, rest = function(kappa), 0 * kappa, 0 * kappa
        tables = mu0, mu1, mu2, h, hz, h**2 + hz**2 + rest
        exact = brute_force.order_parameters(
            2.0, 1.0, 0.1, tables, kappa, w, np.array([1.1]), np.array([1.0])
        )
        solution = theory.solve(2.0, lam=0.1, target=function, step=Spike(2.0, 1.1, gamma))
        assert solution.success
        assert solution.test_error == pytest.approx(exact["test"], rel=2e-8)


@pytest.mark.parametrize("t", [0.15, 0.17, 0.33, 0.35, 0.1234567, 0.6234567, 0.1234567 + 1e-9])
def test_positions_where_panels_end(t):
    hard_tanh = clip(-t, 2 * t, 1.0)
    for function in (hard_tanh, ramp(t, 1.0), step(t, 1.0), band(t, 0.02, 1.0)):
        check_as_target(function)
        check_as_activation(function)
    moments = step_moments(
        resolve((lambda z: np.clip(z, -t, t), lambda z: (np.abs(z) < t) * 1.0)), slope=True
    )
    inside = norm.cdf(t) - norm.cdf(-t)
    assert moments.h1 == pytest.approx(inside, rel=1e-12)
    assert moments.slope_variance == pytest.approx(inside * (1 - inside), rel=1e-11)


def test_breaks_are_exact():
    assert find_structure(step(0.35, 1.0), 16.0).breaks == (0.35,)
    found = find_structure(ramp(np.pi / 4, -3.0), 64.0).breaks
    assert found == pytest.approx([np.pi / 4], abs=1e-13)
    # The sharpest transition that is no jump keeps its panels.
    assert len(find_structure(lambda x: np.tanh(1e6 * x), 16.0).breaks) > 10
    # Rounding is no structure.
    assert find_structure(lambda x: np.log(1 + np.exp(x)), 64.0).breaks == ()


def test_many_steps():
    """Hundreds of jumps are as good as two: E floor(10 z)^2 and E z floor(10 z) as series."""
    levels = np.arange(-120, 121) / 10
    second = np.sum((2 * np.arange(-120, 121) - 1) * norm.sf(levels)) + 121.0**2
    slope = np.sum(norm.pdf(levels))
    solution = theory.solve(
        np.inf, lam=0.1, beta=1e6, activation="identity", target=lambda z: np.floor(10 * z)
    )
    assert solution.success
    assert solution.test_error == pytest.approx(second - slope**2, rel=1e-8)


def test_narrower_features_are_seen_if_their_breaks_are_given():
    left, right = 0.35, 0.35 + 1e-5
    exact = norm.cdf(right) - norm.cdf(left) - (norm.pdf(left) - norm.pdf(right)) ** 2

    def narrow(z):
        return ((z > left) & (z < right)).astype(float)

    arguments = {"lam": 0.1, "beta": 1e6, "activation": "identity"}
    solution = theory.solve(np.inf, target=Function(narrow, breaks=[right, left]), **arguments)
    assert solution.test_error == pytest.approx(exact, rel=1e-9)
    # In an activation, beyond where it is looked for.
    far = step(80.0, 1.0)
    means = np.array([79.0, 80.0, 81.0])
    found = _core.Function(resolve(Function(far, breaks=(80.0,))).core)(means, 0.3)
    np.testing.assert_allclose(found[0], norm.cdf((means - 80) / 0.3), rtol=1e-12)


def test_ufuncs_with_a_name_here_are_those():
    for ufunc, name in ((np.tanh, "tanh"), (np.abs, "abs"), (special.expit, "sigmoid")):
        assert resolve(ufunc).code == resolve(name).code
    assert resolve(special.erf).code is None  # "erf" is erf(z / sqrt 2)


def test_derivatives_of_bare_callables():
    x = np.linspace(-6, 6, 101)
    np.testing.assert_allclose(central_difference(np.arctan, x), 1 / (1 + x**2), rtol=1e-10)
    of_pair = GradientStep(3.0, 5.0).spike(
        (lambda z: np.arctan(2 * z), lambda z: 2 / (1 + 4 * z**2)), "sin"
    )
    bare = GradientStep(3.0, 5.0).spike(lambda z: np.arctan(2 * z), "sin")
    for name in ("r", "c", "gamma"):
        assert getattr(bare, name) == pytest.approx(getattr(of_pair, name), rel=1e-9)


def test_finite_networks_take_steps_on_bare_callables():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 10))
    y = np.tanh(X[:, 0])
    own = SpikedRFRegressor(
        40, activation=lambda z: np.tanh(z), step_size=2.0, alpha=0.1, random_state=0
    )
    named = SpikedRFRegressor(40, activation=np.tanh, step_size=2.0, alpha=0.1, random_state=0)
    np.testing.assert_allclose(
        own.fit(X, y).predict(X), named.fit(X, y).predict(X), rtol=1e-7, atol=1e-9
    )
    arguments = {"lam": 0.1, "d": 60, "step": GradientStep(2.0, 2.0), "target": "sin"}
    arguments |= {"model": "network", "replicates": 2, "rng": 0}
    runs = [simulate(1.0, activation=f, **arguments) for f in (lambda z: np.tanh(z), "tanh")]
    np.testing.assert_allclose(runs[0].test_error, runs[1].test_error, rtol=1e-8)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (math.tanh, TypeError, "'tanh' must be vectorised: it takes a number but not an array"),
        (lambda z: z if z > 0 else 0.0, TypeError, "must be vectorised"),
        (lambda z, w: z + w, TypeError, "must be a function of one argument"),
        (np.add, TypeError, "'add' must be a function of one argument"),
        ((np.tanh, np.ones_like), ValueError, r"derivative given with .* is not its derivative"),
        ((np.tanh, math.cosh), TypeError, "the derivative of .* must be vectorised"),
        ((np.sin, lambda z: np.cos(z) * (1 + 0.05 * (z > 2))), ValueError, "is not its"),
    ],
)
@pytest.mark.parametrize("role", ["activation", "target"])
def test_what_is_no_function_of_one_array_is_refused(role, function, error, message):
    with pytest.raises(error, match=message):
        theory.solve(1.0, lam=0.1, **{role: function})


def test_bad_breaks_and_derivatives():
    with pytest.raises(TypeError, match="function must be callable"):
        Function("tanh")
    with pytest.raises(TypeError, match="derivative must be callable"):
        Function(np.tanh, 2.0)
    with pytest.raises(ValueError, match="breaks must"):
        Function(np.abs, breaks=[np.nan])
    assert Function(np.abs, breaks=[1, 0]).breaks == (0.0, 1.0)


def test_sums_of_pieces():
    """The reference itself, at a jump and a slope in one place."""
    both = step(0.5, 2.0) + ramp(0.5, 1.0)
    assert isinstance(both, Piecewise)
    np.testing.assert_allclose(both(np.array([0.4, 0.6])), [0.0, 2.1])
    assert both.moments()[0] == pytest.approx(
        2 * norm.sf(0.5) + norm.pdf(0.5) - 0.5 * norm.sf(0.5), rel=1e-12
    )


@pytest.mark.parametrize("argument", ["activation", "target"])
def test_what_is_rough_everywhere_is_flagged_after_few_values(argument):
    asked = []

    def weierstrass(z):
        asked.append(np.size(z))
        return sum(0.5**k * np.cos(3.0**k * np.pi * z) for k in range(12))

    with pytest.warns(ConvergenceWarning, match="1 of 1 points"):
        solution = theory.solve(
            2.0, lam=0.1, step=Spike(r=1.0, c=1.0, gamma=0.5), **{argument: weierstrass}
        )
    assert not solution.success
    assert sum(asked) < 8e6  # it was 2e8
    if argument == "target":
        # The answer with a hundred times the values.
        assert solution.test_error == pytest.approx(0.8876, rel=1e-3)


def test_parts_of_a_spectrum_share_the_values_of_a_function():
    asked = []

    def hat(z):
        asked.append(np.size(z))
        return np.tanh(z) * np.exp(-z * z / 9.0)

    spectrum = theory.spectrum(alpha=2.0, step=Spike(r=1.0, c=1.0, gamma=0.9), activation=hat)
    assert spectrum.success.all()
    assert sum(asked) < 1e6  # it was 7e6
