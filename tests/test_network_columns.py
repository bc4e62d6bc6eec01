"""The trained network's own neurons, ``bulk="network"``: theory.md, section 14."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latent_equations import Case, solve
from spikedrf import Covariance, GradientStep, Mixture, MultiIndex, theory
from spikedrf.activations import resolve
from spikedrf.first_layer.latent_resolvent import LatentLaw, LatentResolvent, Space
from spikedrf.first_layer.residual import residual_law
from spikedrf.first_layer.trained_resolvent import trained_resolvent
from spikedrf.gradient_step import gradient_step as trained_layer
from spikedrf.inputs import trained_neurons
from spikedrf.inputs.layer_on_inputs import layer_on_inputs
from spikedrf.inputs.population import Rows, population
from spikedrf.losses import Huber
from stretched_neurons import stretched_errors

ERRORS = ("test_error", "train_error", "norm")


def errors(solution):
    return np.array([getattr(solution, name) for name in ERRORS])


def curved(x):
    return np.sin(x) + (x * x - 1) / 2


# --------------------------------------------------------------------------------------------------
# Printed numbers

SECTION_14 = [
    ("gelu", curved, 1.0, "sphere", (0.5835, 0.3447, 1.356)),
    ("gelu", curved, 1.0, "gaussian", (0.5757, 0.3414, 1.335)),
    ("tanh", "sin", 3.0, "sphere", (0.0330,)),
    ("tanh", "sin", 3.0, "gaussian", (0.0327,)),
    ("relu", "tanh", 2.0, "sphere", (0.2644,)),
    ("relu", "tanh", 2.0, "gaussian", (0.2571,)),
]


@pytest.mark.parametrize(("activation", "target", "eta", "init", "printed"), SECTION_14)
def test_section_14(activation, target, eta, init, printed):
    solution = theory.solve(
        3.0, lam=0.1, activation=activation, target=target, noise=0.1,
        step=GradientStep(eta, np.inf), bulk="network", init=init,
    )  # fmt: skip
    assert solution.success
    for value, number, digit in zip(errors(solution), printed, (1e-4, 1e-4, 1e-3), strict=False):
        assert abs(value - number) <= 0.51 * digit


def test_large_batches_have_a_limit():
    """What is of order 1/alpha0 goes at that rate."""
    model = {"lam": 0.1, "activation": "gelu", "target": curved, "noise": 0.1, "bulk": "network"}
    for init in ("sphere", "gaussian"):
        limit = errors(theory.solve(3.0, step=GradientStep(1.0, np.inf), init=init, **model))
        near, nearer = (
            errors(theory.solve(3.0, step=GradientStep(1.0, a), init=init, **model)) - limit
            for a in (1e4, 1e5)
        )
        np.testing.assert_allclose(nearer, near / 10, rtol=2e-2, atol=1e-8)


# --------------------------------------------------------------------------------------------------
# The equations, against the reference solver

CASES = {
    "one group": ("tanh", "sin", 0.3, GradientStep(3.0, 0.7), None),
    "one group, not odd": ("softplus", "sin", 0.1, GradientStep(3.0, 0.6), None),
    "two groups": ("tanh", "sin", 0.2, GradientStep(2.0, 0.5, u=[1.5, -1.0], pi=[0.6, 0.4]), None),
    "a covariance": (
        "relu", "tanh", 0.2, GradientStep(1.5, 0.8), Covariance([2.0, 0.5], target=[0.7, 0.3]),
    ),
    "a covariance, two groups": (
        "erf", "sin", 0.1, GradientStep(2.0, 1.5, u=[1.0, -1.0]), Covariance([3.0, 1.0, 0.2]),
    ),
}  # fmt: skip


# What the reference solver finds, see the slow test: test error, train error, norm.
STORED = {
    ("one group", "sphere"): (0.414981303, 0.169958580, 0.954061062),
    ("one group", "gaussian"): (0.414963143, 0.169946749, 0.954087021),
    ("one group, not odd", "sphere"): (0.353134711, 0.185792986, 0.938250918),
    ("one group, not odd", "gaussian"): (0.352763080, 0.185529402, 0.939876534),
    ("two groups", "sphere"): (0.360178376, 0.146949377, 0.875837418),
    ("two groups", "gaussian"): (0.360178361, 0.146949366, 0.875837496),
    ("a covariance", "sphere"): (0.379316870, 0.174566434, 0.739128350),
    ("a covariance", "gaussian"): (0.378161353, 0.173822216, 0.740231988),
    ("a covariance, two groups", "sphere"): (0.277074047, 0.123746367, 0.866716504),
    ("a covariance, two groups", "gaussian"): (0.277074067, 0.123746376, 0.866716209),
}  # fmt: skip


def of_the_product(name, init):
    activation, target, noise, step, inputs = CASES[name]
    return theory.solve(
        1.7, beta=0.8, lam=0.07, activation=activation, target=target, noise=noise, step=step,
        inputs=inputs, bulk="network", init=init, rtol=1e-10,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "init"), STORED)
def test_equations(name, init):
    solution = of_the_product(name, init)
    assert solution.success
    np.testing.assert_allclose(errors(solution), STORED[name, init], rtol=5e-7)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "init"), STORED)
def test_stored_values_are_the_references(name, init):
    """N from the lengths as they are; the product takes out first what the latents explain."""
    activation, target, noise, step, inputs = CASES[name]
    sigma, law = resolve(activation), population(inputs, target)
    layer = layer_on_inputs(step, sigma, law, noise, Rows(init, network=True))
    # v, and what is left of the target's direction beside it.
    gamma = layer.gamma.item()
    across = np.sqrt(1 - gamma**2)
    basis = np.array([[1.0, 0.0], [-gamma / across, 1.0 / across]])
    trained = layer.trained
    value, w = trained.value[-1], trained.trace[-1]
    own = trained.own[-1]
    g = resolve(target, "target")
    case = Case(
        1.7, 0.8, 0.07, activation, lambda s, _: g(s @ [gamma, across]),
        r=np.outer(layer.r, [1.0, 0.0]), sigma=value.T, w=w, A=basis @ trained.forms[-1] @ basis.T,
        pi=layer.pi, noise=noise,
        lengths=(
            basis @ trained.cross[-1],
            own,
            trained.variance - np.einsum("jkk,jk->k", own, value),
        ),
    )  # fmt: skip
    reference = solve(case)
    expected = [reference[n] for n in ("test", "train", "norm")]
    np.testing.assert_allclose(STORED[name, init], expected, rtol=5e-7)


@pytest.mark.parametrize(("a", "b", "alpha0"), [(0.0, 1.5, 0.5), (0.6, 0.8, 0.5), (-0.3, 0.01, 5)])
def test_white_inputs_are_the_smallest_case(a, b, alpha0):
    law = residual_law(resolve("sin", "target"), 0.2, 0.3, 0.25, 1.0)
    x = np.geomspace(1e-2, 1e2, 7)
    known, _ = trained_resolvent(x[None], *(np.array([p]) for p in (a, b, alpha0)), law)
    one, first, second = law.weight
    found = LatentResolvent(
        x, a, b, alpha0, LatentLaw(law.res, one, first[None], second[None, None], law.reach),
        Space(np.ones(1), np.ones(1), np.ones(1), np.ones((1, 1))),
    )  # fmt: skip
    latents, mixed, sums = found.forms(1)
    t1, s2 = first @ law.res, one @ law.res**2
    nu = np.sqrt(t1**2 + s2 / alpha0)
    gamma = t1 / nu
    across = np.sqrt(1 - gamma**2)
    vv = (1 - sums[:, 0, 0, 0, 0] / nu**2) / x
    with_theta = (gamma - mixed[:, 0, 0, 0] / nu) / x
    vx = (with_theta - gamma * vv) / across
    xx = (latents[:, 0, 0] - 2 * gamma * with_theta + gamma**2 * vv) / across**2
    for ours, form in zip((found.trace(), vv, vx, xx), known[:, 0], strict=True):
        np.testing.assert_allclose(ours, form, rtol=1e-10, atol=1e-10)


# --------------------------------------------------------------------------------------------------
# What is asked for

WHITE = {"lam": 0.05, "activation": "tanh", "target": "tanh", "step": GradientStep(3.0, 0.5)}


def test_rows_are_those_of_section_10_unless_said():
    """Its rows are Gaussian given the samples; those of a network have lengths of their own."""
    plain = theory.solve(1.5, bulk="network", **WHITE)
    assert errors(plain) == pytest.approx([0.26355, 0.07716, 0.8053], abs=5e-5)
    found = {
        init: theory.solve(1.5, bulk="network", init=init, **WHITE)
        for init in ("sphere", "gaussian")
    }
    assert {init: s.init for init, s in found.items()} == {n: n for n in found}
    for solution in found.values():
        assert solution.bulk == "network"
        assert 5e-4 < plain.test_error - solution.test_error < 8e-4
    # For the isotropic bulk they are on the sphere.
    isotropic = [theory.solve(1.5, init=init, **WHITE).test_error for init in (None, "sphere")]
    assert isotropic[0] == isotropic[1]


def test_equal_eigenvalues_are_none():
    given = {"bulk": "network", "init": "gaussian", **WHITE}
    white = theory.solve(1.5, **given)
    for inputs in (Covariance([1.0, 1.0]), Mixture([[0.0]])):
        np.testing.assert_allclose(
            errors(theory.solve(1.5, inputs=inputs, **given)), errors(white), rtol=1e-9
        )
    near = theory.solve(1.5, inputs=Covariance([1 + 1e-6, 1 - 1e-6]), **given)
    np.testing.assert_allclose(errors(near), errors(white), rtol=1e-5)
    classes = theory.solve(1.5, inputs=Mixture([[0.0], [0.0]], proportions=[0.3, 0.7]), **given)
    np.testing.assert_allclose(errors(classes), errors(white), rtol=1e-7)


def test_a_multi_index_target_of_one_direction_is_that():
    given = {"bulk": "network", "init": "sphere", "noise": 0.2, "lam": 0.1}
    given |= {"step": GradientStep(2.0, 0.8), "activation": "softplus"}
    one = theory.solve(1.5, target="sin", **given)
    several = theory.solve(
        1.5, target=MultiIndex(lambda s: np.sin(s[..., 0]), directions=2), **given
    )
    np.testing.assert_allclose(errors(several), errors(one), rtol=1e-7)


def test_other_losses():
    """A Huber loss that is square wherever there are residuals."""
    for u in (1.0, [1.0, -0.6]):
        given = {"lam": 0.1, "activation": "tanh", "target": "sin", "noise": 0.2}
        given |= {"bulk": "network", "init": "gaussian", "step": GradientStep(2.0, 0.6, u=u)}
        huber = theory.solve(1.5, loss=Huber(delta=60.0), **given)
        assert huber.success
        np.testing.assert_allclose(errors(huber), errors(theory.solve(1.5, **given)), rtol=1e-9)


def test_derivatives():
    """The readout's side is exact, the step's is held against differences."""
    given = {"activation": "gelu", "target": "sin", "noise": 0.3, "bulk": "network"}
    given |= {"init": "gaussian", "beta": 0.8, "lam": 0.1}
    step = GradientStep(2.0, 0.8)
    slope = theory.gradient(1.5, step=step, wrt=("alpha", "lam", "beta", "eta"), **given)

    def error(**moved):
        at = {"alpha": 1.5, "eta": 2.0} | given | moved
        step = GradientStep(at.pop("eta"), 0.8)
        return theory.solve(at.pop("alpha"), step=step, rtol=1e-11, **at).test_error

    for name, x in (("alpha", 1.5), ("lam", 0.1), ("beta", 0.8), ("eta", 2.0)):
        h = 1e-3 * x
        wanted = (error(**{name: x + h}) - error(**{name: x - h})) / (2 * h)
        assert slope[name] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"step": GradientStep(1.0, 0.0)}, "alpha0 must be > 0, got 0"),
        ({"step": None}, "bulk must be 'isotropic'"),
        ({"inputs": Covariance([1.0, 2.0]), "step": None}, "bulk must be 'isotropic'"),
    ],
)
def test_bad_input(given, message):
    with pytest.raises(ValueError, match=message):
        theory.solve(1.0, lam=0.1, bulk="network", init="gaussian", **given)


def test_variance_of_lengths():
    """SiLU at alpha0 = 2: forms of a row that move together make it half of what each has alone.

    Six layers of 1200 neurons at d = 600; beside the statistical error one of order 1/d.
    """
    step, d = GradientStep(1.26, 2.16), 600
    sigma, law = resolve("silu"), population(None, "tanh")
    expected = layer_on_inputs(step, sigma, law, 0.3, Rows("sphere", network=True)).trained.variance
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((round(step.alpha0 * d), d))
        W = rng.standard_normal((2 * d, d))
        W /= np.linalg.norm(W, axis=1)[:, None]
        y = np.tanh(X[:, 0]) + 0.3 * rng.standard_normal(len(X))
        moved = trained_layer(X, y, W, np.ones(2 * d), "silu", step.eta)
        length = np.sum((moved.W - moved.r[0] * moved.v) ** 2, axis=1)
        found.append(d * length.var() / length.mean() ** 2)
    mean, sem = np.mean(found), np.std(found, ddof=1) / np.sqrt(6)
    assert abs(mean - expected.item()) < 4 * sem + 0.03 * expected.item()


# --------------------------------------------------------------------------------------------------
# Trained networks


def infinite_batch(rng, d, target, eta, gaussian):
    """Neurons of ReLU after a step on all inputs there are: integrals over z are known."""
    from scipy.special import ndtr

    W = rng.standard_normal((d, d))
    W /= np.sqrt(d) if gaussian else np.linalg.norm(W, axis=1)[:, None]
    s = np.linspace(-8.5, 8.5, 171)
    w = np.exp(-(s**2) / 2)
    residual = (target(s) - 1 / np.sqrt(2 * np.pi)) * w / w.sum()
    along = W[:, :1]
    across = np.sqrt(np.sum(W**2, axis=1, keepdims=True) - along**2)
    at = along * s / across
    pull = W * (np.exp(-(at**2) / 2) @ residual / np.sqrt(2 * np.pi))[:, None] / across
    pull[:, 0] = ndtr(at) @ (residual * s)
    return W + eta * pull


def readout_errors(rng, W, alpha, lam, noise, target):
    d = len(W)
    x, fresh = rng.standard_normal((int(alpha * d), d)), rng.standard_normal((2000, d))
    y = target(x[:, 0]) + noise * rng.standard_normal(len(x))
    features, test = (np.maximum(v @ W.T, 0) / np.sqrt(d) for v in (x, fresh))
    a = np.linalg.solve(features.T @ features + lam * np.eye(d), features.T @ y)
    return np.mean((target(fresh[:, 0]) - test @ a) ** 2) + noise**2, a @ a / d


def test_an_infinite_batch_is_the_networks():
    """24 networks of d = 200 on the sphere, |z| < 4 beside a bias of half a percent; then the same
    with Gaussian rows, whose longer ones have another gradient: paired, |z| < 4.

    Section 14, without that, is more than four standard errors away.
    """
    errors = np.empty((2, 24, 2))
    for gaussian in (False, True):
        for seed in range(24):
            rng = np.random.default_rng([3, seed])
            W = infinite_batch(rng, 200, np.tanh, 2.0, gaussian)
            errors[int(gaussian), seed] = readout_errors(rng, W, 3.0, 0.1, 0.1, np.tanh)
    model = {"lam": 0.1, "noise": 0.1, "activation": "relu", "target": "tanh", "bulk": "network"}
    found = {
        init: theory.solve(3.0, init=init, step=GradientStep(2.0, np.inf), **model)
        for init in ("sphere", "sphere+gain", "gaussian", "gaussian+gain")
    }
    predicted = {init: np.array([s.test_error, s.norm]) for init, s in found.items()}
    assert (predicted["sphere"] == predicted["sphere+gain"]).all()

    def z(measured, expected, bias=0.0):
        sem = np.std(measured, axis=0, ddof=1) / np.sqrt(24)
        return np.maximum(np.abs(measured.mean(axis=0) - expected) - bias, 0.0) / sem

    assert (z(errors[0], predicted["sphere"], 0.005 * predicted["sphere"]) < 4).all()
    paired = errors[1] - errors[0]
    assert (z(paired, predicted["gaussian+gain"] - predicted["sphere"]) < 4).all()
    assert z(paired, predicted["gaussian"] - predicted["sphere"])[0] > 4


_GAIN = "gaussian+gain"


def test_gain_is_of_networks():
    with pytest.raises(ValueError, match=r"init='gaussian\+gain' is for a GradientStep with bulk="):
        theory.solve(1.0, lam=0.1, step=GradientStep(1.0, 1.0), init="gaussian+gain")


def test_no_step_has_no_gain():
    """Curves without the step beside it; the step's size and the ridge are found with it."""
    model = {"activation": "relu", "target": "sin", "noise": 0.1}
    without = [theory.solve(2.0, lam=0.1, init=init, **model) for init in ("gaussian", _GAIN)]
    assert without[0].test_error == without[1].test_error
    trained = {"bulk": "network", "init": _GAIN, "step": GradientStep(1.0, 2.0)}
    best = theory.optimise(2.0, over="lam", **model, **trained)
    beside = [theory.solve(2.0, lam=best.lam * f, **model, **trained) for f in (0.9, 1.1)]
    assert best.success
    assert all(best.test_error < point.test_error for point in beside)


@pytest.mark.parametrize(
    ("alpha", "model"),
    [
        (1.5, {"eta": 3.0, "alpha0": 0.5, "activation": "tanh", "target": "tanh", "noise": 0.0}),
        (2.0, {"eta": 3.0, "alpha0": 20.0, "activation": "tanh", "target": "sin", "noise": 0.1}),
    ],
)
def test_stretch_alone_is_the_witnesss(alpha, model, monkeypatch):
    """Of the lengths' fluctuations only what is linear in the initial row and in v."""
    known = trained_neurons.lengths

    def stretch(*arguments):
        of = known(*arguments)
        return replace(of, along=of.along * [1.0, 0.0, 0.0], beside=0.0 * of.beside)

    def variance(rule, c, groups, sums, law, space):
        linear = np.array([g.along[0] ** 2 for g in groups])
        square = sums.inverse * (law.one @ law.res**2) + (law.first[0] @ law.res) ** 2
        return linear * square / c**2

    monkeypatch.setattr(trained_neurons, "lengths", stretch)
    monkeypatch.setattr(trained_neurons, "_variance", variance)
    found = theory.solve(
        alpha, lam=0.05, activation=model["activation"], target=model["target"],
        noise=model["noise"], step=GradientStep(model["eta"], model["alpha0"]), bulk="network",
        init="sphere",
    )  # fmt: skip
    expected = stretched_errors(alpha, lam=0.05, beta=1.0, **model)
    np.testing.assert_allclose(errors(found), expected, rtol=1e-6)
