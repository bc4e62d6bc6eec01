"""The best ridge and step against brute force over grids, closed forms, bounds and symmetries."""

import numpy as np
import pytest

import brute_force
from spikedrf import ConvergenceWarning, GradientStep, Spike, theory
from spikedrf.theory import search

STEP = GradientStep(eta=3.0, alpha0=20.0)
ALPHA = np.array([0.3, 1.0, 4.0])


def lowest(errors, axis=0):
    return errors.test_error.min(axis=axis)


def assert_lowest(found, grid):
    """Nothing on the grid is lower, and the grid comes close to what was found."""
    assert np.all(found <= grid * (1 + 1e-9))
    np.testing.assert_allclose(found, grid, rtol=1e-4)


RIDGES = {
    "no step": {"target": "sin", "noise": 0.3},
    "a step": {"target": "sin", "noise": 0.3, "step": STEP, "beta": 0.5},
    "two groups": {
        "activation": "relu",
        "target": "hermite2",
        "noise": 0.1,
        "step": Spike([1.5, -1.0], [1.05, 1.2], 0.9, pi=[0.6, 0.4]),
    },
    "a strong spike": {"target": "relu", "step": Spike(8.0, 1.1, 0.7), "noise": 0.5},
    "interpolating": {"target": "tanh", "noise": 1.0, "beta": 5.0, "activation": "erf"},
}


@pytest.mark.parametrize("case", RIDGES.values(), ids=RIDGES)
def test_best_ridge(case):
    best = theory.optimise(ALPHA, **case)
    assert best.success.all()
    assert not best.at_bound.any()
    lam = best.lam * np.geomspace(1e-3, 1e3, 601)[:, None]
    assert_lowest(best.test_error, lowest(theory.solve(ALPHA, lam=lam, **case)))
    slope = theory.gradient(ALPHA, lam=best.lam, wrt="lam", **case)["lam"]
    assert np.all(abs(slope * best.lam) < 1e-8 * best.test_error)


def test_best_ridge_by_the_slow_solver():
    case = {"activation": "tanh", "target": "sin", "noise": 0.3}
    case |= {"beta": 1.0, "r": 1.2, "c": 1.1, "gamma": 0.8}
    best = theory.optimise(1.5, target="sin", noise=0.3, step=Spike(1.2, 1.1, 0.8))
    around = best.lam * np.array([0.98, 1.0, 1.02])
    test = [brute_force.solve(1.5, lam=lam, **case)["test"] for lam in around]
    # The vertex of the parabola through three points in log lam.
    shift = 0.5 * (test[0] - test[2]) / (test[0] - 2 * test[1] + test[2]) * np.log(1.02)
    assert abs(shift) < 1e-3
    assert best.test_error == pytest.approx(test[1], rel=1e-7)


# Small ridge next to interpolation, large ridge: which of the two minima is lower depends.
TWO_MINIMA = [
    (
        {"activation": "softplus", "target": "abs", "beta": 2.549, "alpha": 6.22},
        Spike(11.02309584, 0.702155, 0.321317),
    ),
    (
        {"activation": "relu", "target": "relu", "beta": 29.174, "alpha": 9.205},
        Spike(-5.74713447, 1.67039, 0.243274),
    ),
]


@pytest.mark.parametrize(("case", "step"), TWO_MINIMA)
def test_two_minima_in_the_ridge(case, step):
    best = theory.optimise(step=step, **case)
    assert best.success
    assert best.minima == 2
    lam = np.geomspace(1e-6, 1e4, 2000)
    test = theory.solve(lam=lam, step=step, **case).test_error
    assert_lowest(best.test_error, test.min())
    assert best.lam == pytest.approx(lam[test.argmin()], rel=0.02)
    # Each is found if the other is out of bounds.
    minima = 1 + np.flatnonzero((test[1:-1] < test[:-2]) & (test[1:-1] < test[2:]))
    between = lam[slice(*minima)][test[slice(*minima)].argmax()]
    parts = [
        theory.optimise(step=step, bounds={"lam": ends}, **case)
        for ends in ((None, between), (between, None))
    ]
    for part, there in zip(parts, minima, strict=True):
        assert part.lam == pytest.approx(lam[there], rel=0.02)
        assert_lowest(part.test_error, test[there])
    assert best.test_error == pytest.approx(min(part.test_error for part in parts), rel=1e-10)
    assert abs(parts[0].test_error / parts[1].test_error - 1) > 1e-3


def test_no_ridge_is_best_with_all_samples():
    for step in (None, STEP, Spike([2.0, -1.0], 1.1, 0.7)):
        best = theory.optimise([1.0, np.inf], step=step, noise=0.3, target="relu")
        assert best.lam[1] == 0.0
        assert best.lam[0] > 0.0
        np.testing.assert_array_equal(best.side["lam"], [0, -1])
        limit = theory.solve(np.inf, lam=0.7, step=step, noise=0.3, target="relu")
        assert best.test_error[1] == limit.test_error


def test_no_ridge_for_wide_networks_without_noise():
    """Random features, a linear target: what they add to its linear part is ridge enough."""
    best = theory.optimise(0.5, beta=[2.0, 10.0, 100.0], target="identity", activation="tanh")
    np.testing.assert_array_equal(best.at_bound, [False, True, True])
    np.testing.assert_array_equal(best.side["lam"], [0, -1, -1])
    np.testing.assert_array_equal(best.lam[1:], 0.0)
    lam = np.geomspace(1e-7, 1.0, 100)[:, None]
    small = theory.solve(0.5, lam=lam, beta=[10.0, 100.0], target="identity", activation="tanh")
    assert (best.test_error[1:] < lowest(small)).all()
    # Linear features as many as dimensions or more find it exactly, with or without a step.
    linear = {"target": "identity", "activation": "identity", "beta": 2.0}
    best = theory.optimise(3.0, **linear)
    assert (best.lam, best.at_bound) == (0.0, True)
    assert best.test_error == pytest.approx(0.0, abs=1e-14)
    best = theory.optimise(0.9, over="eta", lam=1.0, step=GradientStep(1.0, np.inf), **linear)
    assert best.success
    assert best.test_error == pytest.approx(0.0, abs=1e-14)


def test_an_infinite_ridge_where_there_is_nothing_linear_to_learn():
    best = theory.optimise(ALPHA, target="hermite2", activation="relu", noise=0.5)
    np.testing.assert_array_equal(best.side["lam"], 1)
    np.testing.assert_allclose(best.test_error, 1.0 + 0.5**2, rtol=1e-8)


def test_ridge_at_the_threshold_and_without_a_limit():
    """lam = 0 is out of the question there, by itself and as a bound."""
    for bounds in (None, {"lam": (0.0, None)}):
        best = theory.optimise(
            [1.0, 0.5], target="sin", noise=0.2, step=Spike(1.0, 1.0, 0.5), bounds=bounds
        )
        assert best.success.all()
        assert not best.at_bound.any()


def eta_grid(alpha0, target, activation="tanh", noise=0.0, u=1.0):
    growth = GradientStep(0.0, alpha0, u=u).growth(activation, target, noise)
    return np.geomspace(1e-3, 30.0, 400)[:, None] / growth


@pytest.mark.parametrize(
    ("activation", "target", "u"),
    [("tanh", "sin", 1.0), ("relu", "hermite2", [1.0, -0.5]), ("sigmoid", "sign", 1.0)],
)
def test_best_step(activation, target, u):
    alpha0 = np.array([0.5, 5.0, 50.0])
    functions = {"activation": activation, "target": target}
    case = {"lam": 0.1, "noise": 0.1, **functions}
    best = theory.optimise(3.0, over="eta", step=GradientStep(0.0, alpha0, u=u), **case)
    assert best.success.all()
    inside = best.side["eta"] == 0
    assert inside.any()
    grid = GradientStep(eta_grid(alpha0, u=u, noise=0.1, **functions), alpha0, u=u)
    assert_lowest(best.test_error, lowest(theory.solve(3.0, step=grid, **case)))
    there = GradientStep(best.eta[inside], alpha0[inside], u=u)
    slope = theory.gradient(3.0, step=there, wrt="eta", **case)["eta"]
    assert np.all(abs(slope * best.eta[inside]) < 1e-8 * best.test_error[inside])
    spike = there.spike(**functions, noise=0.1)
    np.testing.assert_array_equal(best.solution.spike.gamma[inside], spike.gamma)


def test_no_step_is_best():
    """A linear target and enough samples: what a step turns towards the target is bent."""
    case = {"lam": 1.0, "activation": "relu", "target": "identity"}
    step = GradientStep(1.0, [10.0, np.inf])
    best = theory.optimise(20.0, over="eta", step=step, **case)
    np.testing.assert_array_equal(best.eta, 0.0)
    np.testing.assert_array_equal(best.side["eta"], -1)
    plain = theory.solve(20.0, **case)
    np.testing.assert_array_equal(best.test_error, plain.test_error)
    grid = GradientStep(eta_grid(step.alpha0, "identity", "relu"), step.alpha0)
    assert (lowest(theory.solve(20.0, step=grid, **case)) > plain.test_error).all()
    # Where a step carries nothing its size does not matter.
    for nothing in (GradientStep(1.0, 0.0), GradientStep(1.0, 5.0, u=0.0)):
        best = theory.optimise(2.0, over="eta", lam=0.1, step=nothing)
        assert (best.eta, best.at_bound, best.minima) == (0.0, True, 1)


def test_the_least_step_is_best():
    """An odd activation: any step at all frees the linear part along it, more bends it."""
    case = {"lam": 0.1, "activation": "tanh", "target": "identity"}
    step = GradientStep(1.0, 10.0)
    best = theory.optimise(3.0, over="eta", step=step, **case)
    assert best.success
    assert best.at_bound
    assert best.eta == pytest.approx(1e-5 / step.growth("tanh", "identity"))
    smaller = theory.solve(3.0, step=GradientStep(1e-6, 10.0), **case)
    assert best.test_error == pytest.approx(smaller.test_error, rel=1e-9)
    grid = GradientStep(eta_grid(10.0, "identity"), 10.0)
    assert lowest(theory.solve(3.0, step=grid, **case)) > best.test_error
    assert theory.solve(3.0, **case).test_error > 1.1 * best.test_error


def test_the_largest_step_is_best():
    case = {"lam": 0.01, "noise": 1.0, "target": "sign"}
    step = GradientStep(1.0, np.inf)
    best = theory.optimise(3.0, over="eta", step=step, **case)
    assert best.side["eta"] == 1
    assert best.eta == pytest.approx(30 / step.growth("tanh", "sign", 1.0))
    grid = GradientStep(eta_grid(np.inf, "sign", noise=1.0), np.inf)
    assert_lowest(best.test_error, lowest(theory.solve(3.0, step=grid, **case)))


def test_several_minima_in_the_step():
    """Next to none, or large: see the error between them."""
    case = {"lam": 0.4771, "activation": "softplus", "target": "tanh", "noise": 0.5, "beta": 0.468}
    step = GradientStep(0.0, 10.0)
    best = theory.optimise(12.236, over="eta", step=step, **case)
    assert best.minima == 2
    growth = step.growth("softplus", "tanh", 0.5)
    ends = {"eta": (None, 1.0 / growth)}
    small = theory.optimise(12.236, over="eta", step=step, bounds=ends, **case)
    assert small.side["eta"] == 0
    assert 5 * small.eta < best.eta
    between = theory.solve(12.236, step=GradientStep(1.0 / growth, 10.0), **case)
    assert best.test_error < small.test_error < between.test_error


def test_ascending_the_loss():
    case = {"lam": 0.1, "over": "eta", "target": "hermite3", "noise": 0.1}
    step, wide = GradientStep(1.0, 2.0), {"eta": (-80.0, 80.0)}
    down = theory.optimise(2.0, step=step, bounds={"eta": (None, 80.0)}, **case)
    up = theory.optimise(2.0, step=step, bounds={"eta": (-80.0, 0.0)}, **case)
    assert up.eta == pytest.approx(-down.eta, rel=1e-6)  # an odd activation
    assert up.test_error == pytest.approx(down.test_error, rel=1e-9)
    both = theory.optimise(2.0, step=step, bounds=wide, **case)
    assert abs(both.eta) == pytest.approx(down.eta, rel=1e-6)
    # For relu the direction matters.
    case |= {"activation": "relu", "target": "relu"}
    step = GradientStep(1.0, 2.0, u=-1.0)
    down = theory.optimise(2.0, step=step, **case)
    up = theory.optimise(2.0, step=step, bounds=wide, **case)
    case.pop("over")
    grid = GradientStep(np.linspace(-80, 80, 3201), 2.0, u=-1.0)
    assert_lowest(up.test_error, lowest(theory.solve(2.0, step=grid, **case)))
    assert down.eta == 0.0
    assert up.eta < 0.0


@pytest.mark.parametrize(
    ("activation", "target", "u"), [("tanh", "sin", 1.0), ("softplus", "sin", [1.0, -0.6])]
)
def test_best_ridge_and_step(activation, target, u):
    case = {"activation": activation, "target": target, "noise": 0.3}
    step = GradientStep(1.0, 10.0, u=u)
    best = theory.optimise(3.0, over=("eta", "lam"), step=step, **case)
    assert best.over == ("lam", "eta")
    assert best.success
    assert not best.at_bound
    eta = eta_grid(10.0, target, activation, 0.3, u)[::8]
    lam = np.geomspace(1e-4, 1e4, 80)
    grid = theory.solve(3.0, lam=lam, step=GradientStep(eta, 10.0, u=u), **case).test_error
    assert best.test_error <= grid.min()
    assert best.test_error == pytest.approx(grid.min(), rel=5e-3)
    there = GradientStep(best.eta, 10.0, u=u)
    slope = theory.gradient(3.0, lam=best.lam, step=there, wrt=("lam", "eta"), **case)
    assert abs(slope["lam"] * best.lam) < 1e-8 * best.test_error
    assert abs(slope["eta"] * best.eta) < 1e-8 * best.test_error
    # One after the other is not as good, and both is as good as the one that is left over.
    alone = theory.optimise(3.0, step=there, **case)
    assert alone.lam == pytest.approx(best.lam, rel=1e-6)
    first = theory.optimise(3.0, step=step, **case)
    second = theory.optimise(3.0, over="eta", lam=first.lam, step=step, **case)
    assert best.test_error < second.test_error < first.test_error


def test_shapes():
    step = GradientStep(2.0, np.array([1.0, 10.0]), u=[1.0, -1.0])
    alpha = np.array([0.5, 2.0, 8.0])[:, None]
    ends = {"lam": (0.01, np.array([[[1.0]], [[2.0]]]))}
    best = theory.optimise(alpha, step=step, target="sin", noise=0.2, bounds=ends)
    assert best.shape == best.lam.shape == best.eta.shape == best.success.shape == (2, 3, 2)
    assert best.side["lam"].shape == best.minima.shape == best.at_bound.shape == (2, 3, 2)
    assert best.solution.m.shape == (2, 3, 2, 2)
    np.testing.assert_array_equal(best.solution.test_error, best.test_error)
    one = theory.optimise(
        2.0, step=GradientStep(2.0, 10.0, u=[1.0, -1.0]), target="sin", noise=0.2,
        bounds={"lam": (0.01, 2.0)},
    )  # fmt: skip
    assert one.lam == pytest.approx(best.lam[1, 1, 1], rel=1e-7)
    assert one.test_error == pytest.approx(best.test_error[1, 1, 1], rel=1e-9)
    assert isinstance(one.lam, float)
    assert isinstance(one.at_bound, bool)
    assert isinstance(one.success, bool)
    assert (type(one.side["lam"]), type(one.minima), type(one.status)) == (int, int, int)
    assert (one.eta, one.over, one.shape) == (2.0, ("lam",), ())
    assert repr(one).startswith(f"Optimum(lam={one.lam:.6g}, test_error={one.test_error:.8g}, ")
    assert repr(best).startswith("Optimum(shape=(2, 3, 2), lam ")
    assert repr(best).endswith("converged)")
    empty = theory.optimise(np.empty((0, 3)), target="sin")
    assert empty.lam.shape == (0, 3)
    spike = Spike(r=[[1.0], [2.0]], c=1.1, gamma=0.8, pi=[1.0])
    of_spike = theory.optimise(1.0, step=spike, noise=0.2)
    assert of_spike.lam.shape == (2,)
    assert of_spike.eta is None


def test_in_blocks(monkeypatch):
    case = {"target": "sin", "noise": 0.2, "step": GradientStep(1.0, [1.0, 5.0, 25.0])}
    whole = theory.optimise(ALPHA, over=("lam", "eta"), workers=1, **case)
    monkeypatch.setattr(search, "_POINTS", 1)
    parts = theory.optimise(ALPHA, over=("lam", "eta"), workers=2, **case)
    np.testing.assert_allclose(parts.lam, whole.lam, rtol=1e-7)
    np.testing.assert_allclose(parts.eta, whole.eta, rtol=1e-7)


def test_a_function_of_ones_own():
    case = {"noise": 0.3, "step": Spike(1.0, 1.1, 0.8)}
    named = theory.optimise(1.5, target="relu", **case)
    own = theory.optimise(1.5, activation=np.tanh, target=lambda x: np.maximum(x, 0), **case)
    assert own.lam == pytest.approx(named.lam, rel=1e-7)
    # The least steps make groups that rounding does not let apart.
    case = {"over": "eta", "lam": 0.1, "activation": "erf"}
    case["step"] = GradientStep(0.0, 50.0, u=[1.0, 3.0])
    named, own = (theory.optimise(5.0, target=g, **case) for g in ("sin", lambda x: np.sin(x)))
    assert own.eta == pytest.approx(named.eta, rel=1e-7)
    assert own.test_error == pytest.approx(named.test_error, rel=1e-9)


def test_a_trained_layer_and_the_networks_own_bulk():
    case = {"target": "tanh", "noise": 0.1, "bulk": "network"}
    step = GradientStep(3.0, 0.5)
    best = theory.optimise(1.5, step=step, **case)
    lam = best.lam * np.geomspace(0.1, 10, 201)
    assert_lowest(best.test_error, lowest(theory.solve(1.5, lam=lam, step=step, **case)))
    plain = theory.optimise(1.5, step=step, **case | {"bulk": "isotropic"})
    assert best.test_error > 1.05 * plain.test_error
    rng = np.random.default_rng(0)
    v = np.eye(100)[0]
    layer = theory.from_layer(rng.normal(size=(200, 100)) / 10 + 1.2 * v, v)
    best = theory.optimise([1.0, 3.0], step=layer, beta=2.0, **case)
    lam = best.lam * np.geomspace(0.1, 10, 201)[:, None]
    grid = theory.solve([1.0, 3.0], lam=lam, step=layer, beta=2.0, **case)
    assert_lowest(best.test_error, lowest(grid))
    assert best.eta is None


def test_doubtful_optima_are_flagged(monkeypatch):
    """If most of the scan counts as not known, the minimum next to the rest is in doubt."""
    original, least = theory.gradient, 10.0

    def narrow(*args, lam, **kwargs):
        slope = original(*args, lam=lam, **kwargs)
        few = np.broadcast_to(np.asarray(lam) < least, slope.shape)
        slope.quadrature_error[few], slope.success[few] = 1.0, False
        return slope

    monkeypatch.setattr(search, "gradient", narrow)
    with pytest.warns(ConvergenceWarning, match="2 of 2 points .*still falls"):
        best = theory.optimise([1.0, 2.0], target="sin", noise=0.3)
    np.testing.assert_array_equal(best.status, 5)
    assert not best.success.any()
    assert (best.lam > 10.0).all()
    least = np.inf
    with pytest.warns(ConvergenceWarning):
        best = theory.optimise(1.0, target="sin", noise=0.3)
    assert np.isnan(best.lam)
    assert np.isnan(best.test_error)
    assert not best.success


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"over": "alpha"}, ValueError, "over must name some of lam, eta; got 'alpha'"),
        ({"over": ()}, ValueError, "over must name at least one of lam, eta"),
        ({"over": "eta", "lam": 0.1}, ValueError, "over='eta' needs a GradientStep"),
        ({"over": "eta", "step": STEP}, TypeError, "lam is missing"),
        (
            {"bounds": {"eta": (0, 1)}},
            ValueError,
            r"what is optimised \(lam\), got bounds of 'eta'",
        ),
        ({"bounds": {"lam": 1.0}}, TypeError, r"bounds of lam must be a pair \(lowest, highest\)"),
        ({"bounds": {"lam": (1.0, 0.1)}}, ValueError, "bounds of lam must have lowest <= highest"),
        ({"bounds": {"lam": (-1.0, 0.1)}}, ValueError, "bounds of lam must be >= 0"),
        ({"bounds": {"lam": (0, np.inf)}}, ValueError, "bounds of lam must be .* finite"),
        ({"bounds": {"lam": ([1.0, 2.0], None)}, "alpha": np.ones(3)}, ValueError, "lowest of lam"),
        ({"alpha": 0.0}, ValueError, "alpha must be > 0"),
        ({"rtol": 0.0}, ValueError, "rtol must be"),
        ({"loss": "cubic"}, ValueError, "loss must be"),
        ({"bulk": "round"}, ValueError, "bulk must be"),
        ({"step": 3.0}, TypeError, "step must be"),
        (
            {"over": "eta", "lam": 1, "step": STEP, "activation": "sign"},
            ValueError,
            "gradient step",
        ),
    ],
)
def test_optimise_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        theory.optimise(**({"alpha": 1.0} | arguments))


def test_growth_is_that_of_the_longest_neurons():
    for functions in (("tanh", "sin", 0.3), ("relu", "hermite3", 0.0), ("cos", "abs", 0.1)):
        step = GradientStep(1e6, np.array([0.5, 7.0, np.inf]), u=[1.0, -2.0, 0.3])
        spike = step.spike(*functions)
        length = np.sqrt(spike.r**2 + spike.c).max(axis=-1)
        np.testing.assert_allclose(step.growth(*functions), length / 1e6, rtol=1e-4)
    assert GradientStep(1.0, 0.0).growth() == 0.0
    assert isinstance(GradientStep(1.0, 2.0).growth(), float)
