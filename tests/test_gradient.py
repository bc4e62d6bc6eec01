"""Exact derivatives against differences, an independent solver, identities and limits."""

import warnings

import numpy as np
import pytest

import brute_force
from conftest import reference_cases
from differences import central, forward
from spikedrf import ConvergenceWarning, GradientStep, Spike, _core, losses, theory
from spikedrf.activations import resolve

MODEL = ("alpha", "beta", "lam", "noise", "gamma", "r", "c")


def test_error(alpha, **arguments):
    """The solver at its most accurate; its certificate is somebody else's test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return theory.solve(alpha, rtol=1e-11, **arguments).test_error


test_error.__test__ = False  # not a test itself


def model_of(case):
    keys = ("alpha", "beta", "lam", "noise", "activation", "target", "gamma")
    return {key: case[key] for key in keys} | {
        "r": np.array(case["r"]),
        "c": np.array(case["c"]),
    }


def arguments_of(model, pi):
    step = Spike(model["r"], model["c"], model["gamma"], pi=pi)
    rest = {k: v for k, v in model.items() if k not in ("r", "c", "gamma")}
    return rest | {"step": step}


def assert_derivative(value, expected, test, name):
    """To 1e-6 relative; where symmetry makes it zero, to the rounding of the differences."""
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=3e-11 * test, err_msg=name)


@pytest.mark.parametrize("number", range(len(reference_cases())))
def test_reference_cases_of_the_spiked_model(number):
    case = reference_cases()[number]
    model = model_of(case)
    slope = theory.gradient(wrt=MODEL, **arguments_of(model, case["pi"]))
    assert slope.success
    assert slope.test_error == pytest.approx(case["test"], rel=1e-7)

    def difference(name, h, group=None):
        def at(x):
            moved = np.array(model[name], dtype=float)
            moved[() if group is None else group] = x
            # The test error is even in the noise.
            moved = abs(moved) if name == "noise" else moved
            return test_error(**arguments_of(model | {name: moved}, case["pi"]))

        return central(at, model[name] if group is None else model[name][group], h)

    for name in ("alpha", "beta", "lam"):
        assert_derivative(slope[name], difference(name, 5e-3 * model[name]), case["test"], name)
    assert_derivative(slope["noise"], difference("noise", 2e-3), case["test"], "noise")
    h = min(1e-2, (1 - abs(case["gamma"])) / 10)
    assert_derivative(slope["gamma"], difference("gamma", h), case["test"], "gamma")
    for group in range(len(case["r"])):
        for name in ("r", "c"):
            h = 5e-3 * max(abs(model[name][group]), 0.3)
            expected = difference(name, h, group)
            assert_derivative(slope[name][group], expected, case["test"], f"{name}[{group}]")


@pytest.mark.parametrize("number", [i for i, c in enumerate(reference_cases()) if "eta" in c])
def test_reference_cases_of_the_gradient_step(number):
    case = reference_cases()[number]
    keys = ("alpha", "beta", "lam", "activation", "target")
    fixed = {key: case[key] for key in keys}
    step = {key: case[key] for key in ("eta", "alpha0", "noise")}

    def at(name, x):
        moved = step | {name: x}
        of_step = GradientStep(moved["eta"], moved["alpha0"], u=case["u"], pi=case["pi"])
        return test_error(step=of_step, noise=abs(moved["noise"]), **fixed)

    slope = theory.gradient(
        wrt=("eta", "alpha0", "noise"),
        step=GradientStep(case["eta"], case["alpha0"], u=case["u"], pi=case["pi"]),
        noise=case["noise"],
        **fixed,
    )
    assert slope.success
    for name, value in step.items():
        h = 5e-3 * value if name != "noise" else 2e-3
        expected = central(lambda x, name=name: at(name, x), value, h)
        assert_derivative(slope[name], expected, case["test"], name)


def check_against_brute_force(number):
    """Along a random direction in all parameters at once, against the independent solver."""
    case = reference_cases()[number]
    rng = np.random.default_rng(number)
    model = model_of(case)
    gap = 1 - abs(case["gamma"])
    move = {
        "alpha": model["alpha"] * rng.normal(),
        "beta": model["beta"] * rng.normal(),
        "lam": model["lam"] * rng.normal(),
        "noise": max(model["noise"], 0.1) * rng.normal(),
        "gamma": gap * rng.uniform(-1, 1),
        "r": rng.normal(size=model["r"].size) * np.maximum(abs(model["r"]), 0.1),
        "c": rng.normal(size=model["c"].size) * model["c"],
    }

    def at(t):
        moved = model | {name: model[name] + t * move[name] for name in MODEL}
        moved["noise"] = abs(moved["noise"])
        return brute_force.solve(pi=case["pi"], **moved)["test"]

    slope = theory.gradient(wrt=MODEL, **arguments_of(model, case["pi"]))
    along = sum(np.sum(slope[name] * move[name]) for name in MODEL)
    assert along == pytest.approx(central(at, 0.0, 4e-3, order=6), rel=1e-6)


def test_against_brute_force():
    check_against_brute_force(6)


@pytest.mark.slow
@pytest.mark.parametrize("number", [i for i in range(len(reference_cases())) if i != 6])
def test_all_cases_against_brute_force(number):
    check_against_brute_force(number)


@pytest.mark.parametrize("groups", [1, 2, 5])
@pytest.mark.parametrize("activation", ["relu", "abs", "leaky_relu"])
def test_homogeneous_activations(activation, groups):
    """sigma(t x) = t sigma(x): nothing changes under r, c, lam -> t r, t^2 c, t^2 lam."""
    rng = np.random.default_rng(groups)
    step = Spike(
        rng.normal(size=groups), rng.uniform(0.7, 1.4, groups), 0.8, pi=rng.dirichlet([1] * groups)
    )
    lam = np.array([[1e-3], [0.1], [10.0]])
    alpha = np.array([0.3, 1.0, 4.0])
    slope = theory.gradient(
        alpha, lam=lam, activation=activation, target="sin", step=step, noise=0.3,
        wrt=("lam", "r", "c"), rtol=1e-10 if groups < 5 else 1e-9,  # rounding moves five by 3e-10
    )  # fmt: skip
    parts = np.concatenate(
        [
            2 * lam[..., None] * slope["lam"][..., None],
            slope["r"] * step.r,
            2 * slope["c"] * step.c,
        ],
        axis=-1,
    )
    np.testing.assert_allclose(parts.sum(axis=-1) / np.abs(parts).max(axis=-1), 0.0, atol=3e-10)


def test_equal_neurons_in_more_groups():
    """Groups that are alike carry a share pi of the derivatives of the whole, moved together."""
    arguments = {"lam": 0.03, "beta": 1.3, "activation": "relu", "target": "sin", "noise": 0.2}
    names = ("alpha", "beta", "lam", "noise", "eta", "alpha0")
    one = theory.gradient([0.5, 2.0], step=GradientStep(2.0, 3.0), wrt=names, **arguments)
    step = GradientStep(2.0, 3.0, u=[1.0] * 3, pi=[0.2, 0.3, 0.5])
    three = theory.gradient([0.5, 2.0], step=step, wrt=names, **arguments)
    for name in names:
        np.testing.assert_allclose(three[name], one[name], rtol=1e-7, err_msg=name)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_chain_rule_through_the_step(groups):
    u, pi = [[1.0], [1.0, -0.6], [1.0, -0.6, 0.3]][groups - 1], None
    arguments = {"lam": 0.05, "activation": "softplus", "target": "relu", "noise": 0.4}
    step = GradientStep(1.7, 0.8, u=u, pi=pi)
    slope = theory.gradient(
        1.4, step=step, wrt=("eta", "alpha0", "noise", "r", "c", "gamma"), **arguments
    )
    alone = theory.gradient(1.4, step=step.spike("softplus", "relu", 0.4), wrt="noise", **arguments)
    _, moves = step.spike_slopes("softplus", "relu", 0.4)
    for name, direct in (("eta", 0.0), ("alpha0", 0.0), ("noise", alone["noise"])):
        dr, dc, dgamma = moves[name]
        total = direct + slope["r"] @ dr + slope["c"] @ dc + slope["gamma"] * dgamma
        assert slope[name] == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize(("activation", "target"), [("relu", "tanh"), ("tanh", "sin")])
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("eta", [1.3, -0.7, 0.0])
def test_slopes_of_the_step(activation, target, noise, eta):
    def spike(eta=eta, alpha0=0.9, noise=noise):
        found = GradientStep(eta, alpha0, u=[1.0, -0.4]).spike(activation, target, abs(noise))
        return np.concatenate([found.r, found.c, [found.gamma]])

    _, moves = GradientStep(eta, 0.9, u=[1.0, -0.4]).spike_slopes(activation, target, noise)
    for name, x in (("eta", eta), ("alpha0", 0.9), ("noise", noise)):
        expected = central(lambda x, name=name: spike(**{name: x}), x, 1e-2)
        if name == "eta" and eta == 0:
            expected[-1] = 0.0  # gamma jumps there; its limit is the one that counts
        np.testing.assert_allclose(np.concatenate([*moves[name][:2], [moves[name][2]]]), expected,
                                   rtol=1e-9, atol=1e-11, err_msg=name)  # fmt: skip


def test_limits_of_many_samples():
    arguments = {"lam": 0.1, "activation": "relu", "target": "tanh", "noise": 0.2, "beta": 1.3}
    names = ("alpha", "beta", "lam", "noise", "eta", "alpha0")
    limit = theory.gradient(np.inf, step=GradientStep(2.0, 3.0), wrt=names, **arguments)
    near = theory.gradient(1e9, step=GradientStep(2.0, 3.0), wrt=names, **arguments)
    assert limit["alpha"] == limit["lam"] == 0.0
    assert near["alpha"] == pytest.approx(0.0, abs=1e-15)
    for name in ("beta", "noise", "eta", "alpha0"):
        assert limit[name] == pytest.approx(near[name], rel=1e-6)
    # A larger batch stops to matter like 1/alpha0.
    many = theory.gradient(1.5, step=GradientStep(2.0, np.inf), wrt=names, **arguments)
    assert many["alpha0"] == 0.0
    large = theory.gradient(
        1.5, step=GradientStep(2.0, np.array([1e4, 1e5])), wrt=names, **arguments
    )
    assert large["alpha0"][0] / large["alpha0"][1] == pytest.approx(100, rel=1e-3)
    assert many["eta"] == pytest.approx(large["eta"][1], rel=1e-3)
    assert many["noise"] == pytest.approx(large["noise"][1], rel=1e-4)
    # Without a step noise adds its variance to the best error there is.
    plain = theory.gradient(np.inf, wrt="noise", **arguments)
    assert plain["noise"] == pytest.approx(2 * 0.2, rel=1e-13)


RIDGELESS = [
    ("tanh", None, 0.5),
    ("relu", None, 0.3),
    ("relu", GradientStep(2.0, 5.0), 2.5),
    ("sin", GradientStep(2.0, 5.0), 0.5),
    ("abs", GradientStep(1.0, 5.0), 0.6),
    ("identity", None, 0.3),
    ("identity", GradientStep(1.0, 5.0), 3.0),
]


@pytest.mark.parametrize(("activation", "step", "alpha"), RIDGELESS)
def test_ridgeless_limit(activation, step, alpha):
    arguments = {"activation": activation, "target": "sin", "noise": 0.3, "step": step, "beta": 1.3}
    names = ("alpha", "beta", "lam", "noise") + (("eta", "alpha0") if step else ())
    limit = theory.gradient(alpha, lam=0.0, wrt=names, **arguments)
    assert limit.success
    expected = forward(lambda lam: test_error(alpha, lam=lam, **arguments), 0.0, 2e-5)
    assert limit["lam"] == pytest.approx(expected, rel=1e-6)
    beta = {k: v for k, v in arguments.items() if k != "beta"}
    expected = central(lambda x: test_error(alpha, lam=0.0, beta=x, **beta), 1.3, 0.01)
    assert limit["beta"] == pytest.approx(expected, rel=1e-7, abs=1e-11)
    # However small the ridge.
    near = theory.gradient(alpha, lam=[1e-11, 1e-29, 1e-31, 1e-300], wrt=names, **arguments)
    assert near.success.all()
    for name in names:
        np.testing.assert_allclose(
            near[name], limit[name], rtol=1e-6, atol=1e-10 * limit.test_error, err_msg=name
        )


def test_as_many_linear_features_as_dimensions():
    with pytest.warns(ConvergenceWarning, match="lack a derivative"):
        slope = theory.gradient(
            2.5, lam=0.0, activation="identity", target="tanh", noise=0.3, wrt=("lam", "beta")
        )
    assert slope["lam"] == np.inf  # like sqrt(lam)
    assert np.isnan(slope["beta"])


@pytest.mark.parametrize(
    ("activation", "target", "u"),
    [("tanh", "sin", [1.0, -1.0]), ("tanh", "relu", [1, 1, -1]), ("relu", "sin", [1.0, 1.0])],
)
def test_groups_that_are_alike_moved_together(activation, target, u):
    """Step B is singular; m is not unique but the error is, and so are its derivatives."""
    arguments = {"activation": activation, "target": target, "noise": 0.3, "beta": 1.3}
    names = ("lam", "noise", "eta", "alpha0")
    point = {"lam": 0.1, "eta": 2.0, "alpha0": 3.0, "noise": 0.3}

    def at(**moved):
        now = point | moved
        step = GradientStep(now["eta"], now["alpha0"], u=u)
        return test_error(1.2, lam=now["lam"], step=step, **arguments | {"noise": now["noise"]})

    slope = theory.gradient(1.2, lam=0.1, step=GradientStep(2.0, 3.0, u=u), wrt=names, **arguments)
    assert slope.success
    for name in names:
        expected = central(lambda x, name=name: at(**{name: x}), point[name], 0.01 * point[name])
        assert slope[name] == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    ("activation", "spike"),
    [
        ("tanh", Spike([1.0, -1.0], 1.1, 0.8)),
        ("relu", Spike([1.0, 1.0], 1.1, 0.8)),
        ("tanh", Spike(0.0, 1.0, 0.8)),
    ],
)
def test_no_derivative_where_the_error_jumps(activation, spike):
    arguments = {"lam": 0.1, "activation": activation, "target": "sin", "noise": 0.1}
    r, c, gamma, _ = spike.arrays()
    apart = r.copy()
    apart[0] += 1e-3
    jump = test_error(1.2, step=spike, **arguments) - test_error(
        1.2, step=Spike(apart, c, gamma), **arguments
    )
    assert jump > 1e-4
    with pytest.warns(ConvergenceWarning, match="lack a derivative"):
        slope = theory.gradient(1.2, step=spike, wrt=("lam", "r"), **arguments)
    assert not slope.success
    assert slope.status == 4
    assert np.isnan(slope["r"]).all()
    expected = central(lambda x: test_error(1.2, step=spike, **arguments | {"lam": x}), 0.1, 1e-3)
    assert slope["lam"] == pytest.approx(expected, rel=1e-8)


def test_different_biases_keep_groups_apart():
    # Opposite spikes of an activation that is not odd: nothing is singular.
    arguments = {"lam": 0.1, "activation": "relu", "target": "sin"}
    slope = theory.gradient(1.2, step=Spike([1.0, -1.0], 1.1, 0.8), wrt="r", **arguments)
    assert slope.success
    expected = central(
        lambda x: test_error(1.2, step=Spike([x, -1.0], 1.1, 0.8), **arguments), 1.0, 0.01
    )
    assert slope["r"][0] == pytest.approx(expected, rel=1e-7)


def test_no_step_yet():
    arguments = {"lam": 0.1, "target": "tanh", "noise": 0.2, "beta": 1.3}
    names = ("eta", "alpha0", "noise", "lam")
    # An activation with a bias: the error is smooth at eta = 0.
    slope = theory.gradient(
        1.2, activation="relu", step=GradientStep(0.0, 3.0), wrt=names, **arguments
    )
    assert slope.success
    expected = central(
        lambda x: test_error(1.2, activation="relu", step=GradientStep(x, 3.0), **arguments),
        0.0,
        0.01,
    )
    assert slope["eta"] == pytest.approx(expected, rel=1e-7)
    assert slope["alpha0"] == 0.0
    plain = theory.gradient(1.2, activation="relu", wrt=("noise", "lam"), **arguments)
    assert slope["noise"] == pytest.approx(plain["noise"], rel=1e-9)
    assert slope["lam"] == pytest.approx(plain["lam"], rel=1e-9)
    # An odd one: any step at all frees the linear part along v from its penalty.
    step = GradientStep(np.array([0.0, 1e-6, 1.0]), 3.0)
    with pytest.warns(ConvergenceWarning):
        slope = theory.gradient(1.2, activation="tanh", step=step, wrt=names, **arguments)
    np.testing.assert_array_equal(np.isnan(slope["eta"]), [True, False, False])
    assert slope.test_error[0] > slope.test_error[1] + 1e-3
    # Unless there is nothing along v: then the slope is that of an even function.
    step = GradientStep(0.0, 3.0)
    even = theory.gradient(1.2, activation="tanh", step=step, wrt="eta", lam=0.1, target="hermite2")
    assert even.success
    assert even["eta"] == pytest.approx(0.0, abs=1e-12)


def test_ends_of_a_range():
    with pytest.warns(ConvergenceWarning, match="1 of 1 points have success=False"):
        slope = theory.gradient(
            1.5, lam=0.1, target="sin", step=Spike(1.0, 1.1, 1.0), wrt=("gamma", "r")
        )
    assert np.isnan(slope["gamma"])
    assert slope["r"] == pytest.approx(
        [
            central(
                lambda x: test_error(1.5, lam=0.1, target="sin", step=Spike(x, 1.1, 1.0)), 1, 0.01
            )
        ],
        rel=1e-7,
    )
    with pytest.warns(ConvergenceWarning):
        slope = theory.gradient(1.5, lam=0.1, step=GradientStep(1.0, 0.0), wrt=("alpha0", "eta"))
    assert np.isnan(slope["alpha0"])
    assert slope["eta"] == 0.0


def test_nearly_alike_groups_are_right_or_flagged():
    for gap in (1e-2, 1e-3, 1e-4, 1e-6):

        def at(r, gap=gap):
            return test_error(
                1.2, lam=0.1, activation="relu", target="sin", step=Spike([1.0, r], 1.1, 0.8)
            )

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            slope = theory.gradient(
                1.2, lam=0.1, activation="relu", target="sin",
                step=Spike([1.0, 1.0 + gap], 1.1, 0.8), wrt=("r", "lam"),
            )  # fmt: skip
        if gap >= 1e-2:
            assert slope.success
            assert slope["r"][1] == pytest.approx(central(at, 1.0 + gap, 0.02 * gap), rel=1e-6)
        if gap <= 1e-6:
            assert not slope.success


def test_no_nodes_are_spent_on_rounding():
    """After a tiny step two groups are nearly alike, and no rule makes the derivative certain."""
    asked = []

    def target(x):
        asked.append(x.size)
        return np.sin(x)

    def evaluations(eta):
        asked.clear()
        step = GradientStep(eta, 50.0, u=[1.0, 3.0])
        case = {"lam": 0.1, "activation": "erf", "step": step, "wrt": "eta"}
        own = theory.gradient(5.0, target=target, **case)
        named = theory.gradient(5.0, target="sin", **case)
        assert own.success == named.success == (eta > 0.01)
        size = max(own.quadrature_error, named.quadrature_error, 1e-8)
        assert own["eta"] == pytest.approx(named["eta"], rel=10.0 * size)
        return sum(asked)

    with pytest.warns(ConvergenceWarning):
        spent = [evaluations(eta) for eta in (1e-3, 4e-3)]
    # Up to the finest rule it would be thousands of times as many.
    assert max(spent) < 20 * evaluations(1.0)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_strong_spikes_and_small_ridges(activation):
    step = Spike(30.0, 1.1, 0.9)
    arguments = {"activation": activation, "target": "sin", "noise": 0.2, "beta": 1.3}
    slope = theory.gradient([0.7, 1.5], lam=1e-6, step=step, wrt=("lam", "r", "gamma"), **arguments)
    assert slope.success.all()
    for i, alpha in enumerate([0.7, 1.5]):
        expected = central(
            lambda x, a=alpha: test_error(a, lam=x, step=step, **arguments), 1e-6, 1e-8
        )
        assert slope["lam"][i] == pytest.approx(expected, rel=1e-7)
        expected = central(
            lambda x, a=alpha: test_error(a, lam=1e-6, step=Spike(x, 1.1, 0.9), **arguments),
            30,
            0.1,
        )
        assert slope["r"][i, 0] == pytest.approx(expected, rel=1e-7)


def test_callables_are_differentiated_like_names():
    names = ("lam", "eta", "alpha0", "noise", "r", "c", "gamma")
    step = GradientStep(1.0, 2.0)
    named = theory.gradient(
        1.5, lam=0.1, activation="relu", target="abs", step=step, noise=0.2, wrt=names
    )
    own = theory.gradient(
        1.5,
        lam=0.1,
        activation=lambda x: np.maximum(x, 0),
        target=np.abs,
        step=step,
        noise=0.2,
        wrt=names,
    )
    for name in names:
        np.testing.assert_allclose(own[name], named[name], rtol=1e-7, atol=1e-13, err_msg=name)


def test_shapes_and_interface():
    step = GradientStep(np.array([1.0, 2.0, 3.0]), 5.0, u=[1.0, -0.5])
    slope = theory.gradient(
        np.array([0.5, 1.5])[:, None, None],
        lam=np.array([0.1, 1.0])[:, None],
        target="sin",
        step=step,
        wrt=("lam", "eta", "r", "lam"),
    )
    assert list(slope) == ["lam", "eta", "r"]
    assert len(slope) == 3
    assert slope["eta"].shape == slope.test_error.shape == slope.success.shape == (2, 2, 3)
    assert slope["r"].shape == (2, 2, 3, 2)
    one = theory.gradient(
        1.5, lam=0.1, target="sin", step=GradientStep(2.0, 5.0, u=[1.0, -0.5]), wrt=("eta", "r")
    )
    assert isinstance(one["eta"], float)
    assert isinstance(one.success, bool)
    assert isinstance(one.status, int)
    assert one["eta"] == pytest.approx(slope["eta"][1, 0, 1], rel=1e-12)
    np.testing.assert_allclose(one["r"], slope["r"][1, 0, 1], rtol=1e-12)
    assert repr(one).startswith("Gradient(eta=-0.0")
    assert "3 of" not in repr(slope)
    assert "12 of 12 converged" in repr(slope)
    default = theory.gradient(1.0, lam=0.1)
    assert tuple(default) == ("alpha", "beta", "lam", "noise")
    empty = theory.gradient(np.empty((0, 3)), lam=0.1, step=step, wrt=("eta", "c"))
    assert empty["eta"].shape == (0, 3)
    assert empty["c"].shape == (0, 3, 2)


def test_one_parameter_of_many_steps_with_several_groups():
    step = GradientStep(np.array([1.0, 2.0, 3.0]), 5.0, u=[1.0, -0.5])
    together = theory.gradient(1.5, lam=0.1, target="sin", step=step, wrt="eta")
    for i, eta in enumerate(step.eta):
        alone = GradientStep(eta, 5.0, u=[1.0, -0.5])
        slope = theory.gradient(1.5, lam=0.1, target="sin", step=alone, wrt="eta")
        assert together["eta"][i] == pytest.approx(slope["eta"], rel=1e-12)


def test_test_error_and_spike_are_those_of_solve():
    step = GradientStep([0.0, 1.0], 5.0)
    slope = theory.gradient([[0.5], [2.0]], lam=0.1, target="sin", step=step, wrt="lam")
    solution = theory.solve([[0.5], [2.0]], lam=0.1, target="sin", step=step)
    np.testing.assert_allclose(slope.test_error, solution.test_error, rtol=1e-12)
    np.testing.assert_array_equal(slope.spike.gamma, solution.spike.gamma)


def test_results_do_not_depend_on_workers():
    alpha = np.geomspace(0.1, 10, 9000)
    arguments = {"lam": 0.01, "target": "relu", "step": Spike(2.0, 1.1, 0.9), "wrt": ("lam", "r")}
    one = theory.gradient(alpha, workers=1, **arguments)
    two = theory.gradient(alpha, workers=2, **arguments)
    np.testing.assert_array_equal(one["r"], two["r"])


def test_equal_spikes_that_move_differently():
    # Without a step every readout leaves the same spike, and eta moves it differently.
    arguments = {"lam": 0.1, "activation": "relu", "target": "tanh", "noise": 0.2, "wrt": "eta"}
    u = np.array([[1.0], [2.0], [1.0]])
    together = theory.gradient(1.2, step=GradientStep(0.0, 3.0, u=u), **arguments)
    alone = [theory.gradient(1.2, step=GradientStep(0.0, 3.0, u=v), **arguments) for v in u]
    np.testing.assert_allclose(together["eta"], [slope["eta"] for slope in alone], rtol=1e-12)
    assert abs(together["eta"][1] / together["eta"][0]) > 1.1


def test_groups_without_neurons_and_merged_linear_groups():
    arguments = {"lam": 0.05, "target": "sin", "noise": 0.2}
    names = ("lam", "r", "c", "gamma")
    empty = theory.gradient(
        2.0, step=Spike([1.0, 5.0, -2.0], 1.1, 0.9, pi=[0.4, 0.0, 0.6]), wrt=names, **arguments
    )
    without = theory.gradient(
        2.0, step=Spike([1.0, -2.0], 1.1, 0.9, pi=[0.4, 0.6]), wrt=names, **arguments
    )
    np.testing.assert_allclose(empty["r"], [without["r"][0], 0, without["r"][1]], rtol=1e-9)
    assert empty["lam"] == pytest.approx(without["lam"], rel=1e-10)
    merged = theory.gradient(
        3.0, activation="identity", step=Spike([1.0, 2.0], 1.0, 0.5, pi=[0.3, 0.7]), wrt=names,
        **arguments,
    )  # fmt: skip
    np.testing.assert_allclose(merged["r"], 0.0, atol=1e-14)
    for group in range(2):

        def at(x, group=group):
            c = np.ones(2)
            c[group] = x
            step = Spike([1.0, 2.0], c, 0.5, pi=[0.3, 0.7])
            return test_error(3.0, activation="identity", step=step, **arguments)

        assert merged["c"][group] == pytest.approx(central(at, 1.0, 0.01), rel=1e-7)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"wrt": "alpha1"}, ValueError, "wrt must name some of alpha, beta, .* got 'alpha1'"),
        ({"wrt": ()}, ValueError, "wrt must name at least one"),
        ({"wrt": "eta"}, ValueError, "wrt='eta' needs a GradientStep"),
        ({"wrt": "alpha0", "step": Spike(1.0, 1.0, 0.5)}, ValueError, "needs a GradientStep"),
        ({"lam": -1.0}, ValueError, "lam must be >= 0"),
        ({"bulk": "trained"}, ValueError, "bulk must be one of 'isotropic', 'network'"),
        ({"loss": "hinge"}, ValueError, "loss 'hinge' .* needs labels='sign'"),
        ({"loss": "huber", "lam": 0.0}, ValueError, "lam must be > 0"),
        ({"wrt": "flip"}, ValueError, "wrt='flip' is for labels='sign'"),
        ({"flip": 0.1}, ValueError, "flip is for labels='sign'"),
        ({"wrt": "delta", "loss": "absolute"}, ValueError, "wrt='delta' needs a loss that has it"),
        ({"objective": "train_error"}, ValueError, "objective must be one of test_error, test_l"),
        ({"rtol": 0.0}, ValueError, "rtol must be"),
        ({"lam": 0.0}, ValueError, "interpolation threshold"),
        ({"step": 3.0}, TypeError, "step must be"),
    ],
)
def test_gradient_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        theory.gradient(**({"alpha": 1.0, "lam": 0.1} | arguments))


def test_exceptions_of_callables_pass():
    def fails(x):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        theory.gradient(1.0, lam=0.1, target=fails)


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_bulk_of_nodes(groups):
    """The core with a general bulk: along moves of the spike, and of each part of the bulk."""
    nodes, rng = 3, np.random.default_rng(groups)
    r, c = rng.normal(size=groups), rng.uniform(0.8, 1.4, groups)
    pi = rng.dirichlet(np.ones(groups))
    value = rng.uniform(1, 2.5, (nodes, groups))
    weight = np.array([[0.3, 0.5, 0.2], [0.5, 0.3, 0.2], [0.2, -0.15, -0.05], [0.3, 0.4, 0.3]])
    move = np.zeros((1, 6, 2 * groups + 1))
    bulk_move = np.zeros((1, 6, nodes * (groups + 4)))
    move[0, 0] = 0.2 * rng.normal(size=2 * groups + 1)
    bulk_move[0, 1, : nodes * groups] = rng.normal(size=nodes * groups)
    for i in range(4):
        shift = 0.1 * rng.normal(size=nodes)  # the weights keep their sums
        at = nodes * (groups + i)
        bulk_move[0, 2 + i, at : at + nodes] = shift - shift.mean()
    functions = (resolve("relu").core, resolve("sin").core)
    point = {"alpha": 1.3, "beta": 0.8, "lam": 0.07, "noise": 0.3}

    def posed(rtol, t=0.0, direction=0, **moved):
        spike = np.concatenate([r, c, [0.7]]) + t * move[0, direction]
        b = t * bulk_move[0, direction]
        problem = _core.Problem(
            *functions,
            np.array([spike[:groups]]),
            np.array([spike[groups : 2 * groups]]),
            np.array([pi]),
            spike[-1:].copy(),
            bulk=(
                np.ascontiguousarray(value + b[: nodes * groups].reshape(nodes, groups))[None],
                np.ascontiguousarray((weight + b[nodes * groups :].reshape(4, nodes))[:, None]),
            ),
            loss=losses.Square().core,
            rtol=rtol,
        )
        where = {name: np.array([x]) for name, x in (point | moved).items()}
        alpha, beta = where.pop("alpha"), where.pop("beta")
        return problem, _core.Points(np.zeros(1, dtype=np.int64), alpha, beta, **where)

    def solve(**moved):
        found = _core.Solutions(1, groups)
        _core.run(*posed(1e-11, **moved), found, 0, 1)
        return found.scalars[0, 0]

    found = _core.Gradients(1, move, np.ones((1, 6)), tuple(point), bulk_move)
    _core.run(*posed(1e-9), found, 0, 1)
    scalars, along = found.scalars, found.along
    assert found.status[0] == 0
    assert scalars[0, 0] == pytest.approx(solve(), rel=1e-12)
    for i, (name, x) in enumerate(point.items()):
        expected = central(lambda x, name=name: solve(**{name: x}), x, 5e-3 * x)
        assert scalars[1 + i, 0] == pytest.approx(expected, rel=1e-8)
    for d in range(6):
        expected = central(lambda t, d=d: solve(t=t, direction=d), 0.0, 5e-3)
        assert along[0, d] == pytest.approx(expected, rel=1e-7, abs=1e-12)
