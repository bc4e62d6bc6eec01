"""theory.solve on several directions, classes and covariances, against an independent solver."""

from __future__ import annotations

import numpy as np
import pytest

import latent_cases
from spikedrf import (
    ConvergenceWarning,
    Covariance,
    GradientStep,
    Mixture,
    MultiIndex,
    Spike,
    _core,
    losses,
    simulate,
    theory,
)
from spikedrf.activations import resolve

STORED = latent_cases.stored()
SPIKE = Spike((1.5, -1.0), (1.05, 1.2), 0.8, (0.6, 0.4))
MODEL = {"lam": 0.1, "beta": 0.8, "activation": "relu", "target": "sin", "noise": 0.2}
ALPHA = [0.7, 2.0, np.inf]


def errors(solution):
    return np.array([solution.test_error, solution.train_error, solution.norm])


@pytest.mark.parametrize("name", latent_cases.CASES)
def test_reference(name):
    """The solver of tests/latent_equations.py, whose own error is below 3e-9."""
    alpha, model = latent_cases.arguments(name)
    ours, exact = theory.solve(alpha, **model), STORED[name]
    assert ours.success
    np.testing.assert_allclose(
        errors(ours), [exact[k] for k in ("test", "train", "norm")], rtol=2e-8
    )
    if ours.class_error is not None:
        np.testing.assert_allclose(ours.class_error, exact["by_class"], rtol=1e-8)
    if "wrong" in exact:
        np.testing.assert_allclose(ours.class_error_rate, exact["wrong"], rtol=1e-8)
        rho = model["inputs"].proportions
        assert ours.error_rate == pytest.approx(rho @ exact["wrong"])
        assert ours.balanced_error == pytest.approx(np.mean(exact["wrong"]))


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": Covariance([1.0, 1.0, 1.0])},
        # Equal but for rounding: section 12 with three nodes.
        {"inputs": Covariance([1.0, 1.0, 1.0 + 1e-13])},
        {"inputs": Mixture([[0.0], [0.0]], proportions=[0.3, 0.7])},
        {"inputs": Mixture([[0.0, 0.0], [0.0, 0.0]], proportions=[0.3, 0.7])},
        {"inputs": Mixture([[0.0], [3.0]], proportions=[1.0, 0.0])},
        {"target": MultiIndex(lambda s: np.sin(s[..., 0]), directions=1)},
        {
            "target": MultiIndex(lambda s: np.sin(s[..., 0]), directions=2),
            "step": Spike((1.5, -1.0), (1.05, 1.2), [0.8, 0.0], (0.6, 0.4)),
        },
        {
            "target": MultiIndex(lambda s: np.sin(0.6 * s[..., 0] + 0.8 * s[..., 1])),
            "step": Spike((1.5, -1.0), (1.05, 1.2), [0.48, 0.64], (0.6, 0.4)),
        },
        {"step": Spike((1.5, -1.0, 9.0), (1.05, 1.2, 1.0), 0.8, (0.6, 0.4, 0.0)),
         "inputs": Covariance([1.0, 1.0 + 1e-13])},
    ],
)  # fmt: skip
def test_degenerate_cases(change):
    plain = theory.solve(ALPHA, step=SPIKE, **MODEL)
    same = theory.solve(ALPHA, **MODEL | {"step": SPIKE} | change)
    np.testing.assert_allclose(errors(same), errors(plain), rtol=1e-10)
    assert same.success.all()


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": Covariance([2.0, 1.0, 0.5]), "init": "gaussian", "activation": "relu"},
        {"inputs": Mixture([[1.0, 0.5], [-1.0, -0.5]], labels=[1, -1], weights=[2.0, 1.0])},
        {"target": "product", "activation": "abs", "step": Spike(1.0, 1.0, [0.6, 0.3])},
    ],
)
def test_no_ridge_below_the_threshold(change):
    """The limit of small ridges, to which errors come with the order of the ridge."""
    model = {"beta": 1.3, "noise": 0.2, **change}
    limit, near = (theory.solve(0.6, lam=lam, **model) for lam in (0.0, 1e-9))
    assert limit.success
    assert limit.train_error == 0.0
    assert np.isinf(limit.V2).all()
    np.testing.assert_allclose(limit.test_error, near.test_error, rtol=1e-7)
    np.testing.assert_allclose(limit.norm, near.norm, rtol=1e-7)


def test_a_step_on_white_inputs_is_the_step():
    step = GradientStep(2.0, 3.0, u=(1.0, -1.0))
    plain = theory.solve(ALPHA, step=step, **MODEL)
    target = MultiIndex(lambda s: np.sin(s[..., 1]), directions=2)
    same = theory.solve(ALPHA, step=step, **MODEL | {"target": target})
    np.testing.assert_allclose(errors(same), errors(plain), rtol=1e-10)
    np.testing.assert_allclose(same.spike.r, plain.spike.r)
    np.testing.assert_allclose(same.spike.c, plain.spike.c)
    np.testing.assert_allclose(same.spike.gamma, [0.0, plain.spike.gamma], atol=1e-14)


def test_nothing_depends_on_the_order():
    """Directions, classes, nodes and groups."""
    spike = Spike((1.2, -0.8), (1.05, 1.2), [0.6, 0.5], (0.6, 0.4))
    turned = Spike((-0.8, 1.2), (1.2, 1.05), [0.5, 0.6], (0.4, 0.6))
    first, second = (
        theory.solve(2.0, lam=0.1, noise=0.1, activation="gelu", step=step, inputs=Mixture(
            np.array(latent_cases.TRIPLE["means"])[order][:, columns],
            proportions=np.array([0.5, 0.3, 0.2])[order], labels=np.array([1.0, -1.0, 0.5])[order],
            covariance=Covariance(
                np.array([2.0, 1.0, 0.5])[order], dimensions=np.array([0.2, 0.4, 0.4])[order],
                target=np.array([[0.7, 0.1], [0.2, 0.3], [0.1, 0.6]])[order][:, columns],
            ),
        ))
        for step, order, columns in ((spike, [0, 1, 2], [0, 1]), (turned, [2, 0, 1], [1, 0]))
    )  # fmt: skip
    np.testing.assert_allclose(errors(second), errors(first), rtol=1e-11)
    np.testing.assert_allclose(second.class_error, first.class_error[[2, 0, 1]], rtol=1e-11)


def tanh_by_hand(z):
    return np.tanh(z)


def ridge_of_cos(z):
    return np.cos(z)


OPPOSITE = [[0.7, 0.4], [-0.7, -0.4]]


@pytest.mark.parametrize(
    ("name", "by_hand", "more"),
    [
        ("tanh", tanh_by_hand, {"inputs": Mixture(OPPOSITE, labels=[1.0, -1.0])}),
        ("tanh", tanh_by_hand, {
            "inputs": Mixture([*OPPOSITE, [0.1, 0.2]], proportions=[0.2, 0.3, 0.5],
                              labels=[1.0, -1.0, 0.4]),
        }),
        ("tanh", tanh_by_hand, {"inputs": Mixture(OPPOSITE, proportions=[0.1, 0.9])}),
        ("tanh", tanh_by_hand, {
            "inputs": Mixture(OPPOSITE, proportions=[0.1, 0.9], weights=[3.0, 0.5]),
        }),
        ("cos", ridge_of_cos, {"inputs": Mixture(OPPOSITE), "target": "hermite2"}),
        ("cos", ridge_of_cos, {"inputs": Mixture(OPPOSITE, labels=[0.3, 0.3])}),
        ("tanh", tanh_by_hand, {
            "inputs": Mixture(OPPOSITE, labels=[1.0, -1.0]), "labels": "sign", "loss": "hinge",
        }),
        ("tanh", tanh_by_hand, {
            "inputs": Mixture(OPPOSITE, labels=[1.0, -0.9]), "loss": losses.Quantile(0.8),
        }),
    ],
)  # fmt: skip
def test_mirror_images_of_classes_are_solved_once(name, by_hand, more):
    """A named function is known to be odd or even, a callable is not: two ways to one answer."""
    more = {"target": "sin", "beta": 0.8, "lam": 0.1, "noise": 0.2, "rtol": 1e-7} | more
    step = Spike(1.3, 1.05, [0.7, 0.5])
    once, each = (theory.solve(2.0, activation=f, step=step, **more) for f in (name, by_hand))
    assert np.all(once.success)
    assert np.all(each.success)
    np.testing.assert_allclose(errors(once), errors(each), rtol=3e-7)
    np.testing.assert_allclose(once.class_error, each.class_error, rtol=3e-7)
    if each.class_error_rate is not None:
        np.testing.assert_allclose(once.class_error_rate, each.class_error_rate, rtol=3e-7)
    np.testing.assert_allclose(once.proportions, each.proportions)


def test_learned_function():
    """Of a function of one of two directions: that of one; its mean square closes the error."""
    step = GradientStep(2.0, 3.0, u=(1.0, -1.0))
    target = MultiIndex(lambda s: np.sin(s[..., 0]), directions=2)
    one = theory.solve(2.0, step=step, **MODEL)
    two = theory.solve([2.0], step=step, **MODEL | {"target": target})
    s = np.linspace(-2, 2, 5)
    plane = np.stack([s, 0 * s], axis=-1)
    np.testing.assert_allclose(
        two.learned_function(plane)[0], one.learned_along_target(s), rtol=1e-10, atol=1e-14
    )
    assert two.learned_function(np.zeros((3, 4, 2))).shape == (1, 3, 4)
    with pytest.raises(ValueError, match="s must have the 2 latents as its last axis"):
        two.learned_function(s)


def test_learned_function_is_that_of_networks():
    """Output of networks against the function of the latents: E (f - fhat)^2 = q > 0."""
    inputs = Covariance([2.0, 0.5], dimensions=[1 / 3, 2 / 3], target=[[0.9, 0.2], [0.1, 0.8]])
    model = {"lam": 0.1, "beta": 1.0, "target": "product", "inputs": inputs,
             "step": Spike(1.3, 1.1, [0.7, 0.5])}  # fmt: skip
    solution = theory.solve(2.0, **model)
    rng = np.random.default_rng(0)
    s = rng.standard_normal((3000, 2))
    residual = s.prod(axis=1) - solution.learned_function(s)
    # What is left of the test error is the spread of the output around its mean, and positive.
    assert 0.0 < solution.test_error - np.mean(residual**2) < 0.5 * solution.test_error
    measured = simulate(2.0, d=240, replicates=16, rng=1, **model)
    assert max(abs(z) for z in measured.z(solution).values()) < 4


def test_infinitely_many_samples():
    inputs = Mixture(**latent_cases.TRIPLE, covariance=Covariance(**latent_cases.COVARIANCE))
    step = Spike((1.2, -0.8), (1.05, 1.2), [0.6, 0.5], (0.6, 0.4))
    many, limit = (
        theory.solve(alpha, lam=1e-7, beta=1.5, activation="relu", inputs=inputs, step=step)
        for alpha in (1e6, np.inf)
    )
    assert limit.test_error == pytest.approx(many.test_error, rel=1e-5)
    assert limit.train_error == pytest.approx(limit.test_error)


def test_batches_and_points_agree():
    step = GradientStep(np.array([0.0, 1.0, 2.0])[:, None], 3.0, u=(1.0, -1.0))
    model = {"target": "product", "noise": [0.1, 0.3]}
    batch = theory.solve(1.5, lam=0.1, step=step, **model)
    assert batch.shape == (3, 2)
    assert batch.spike.gamma.shape == (3, 2, 2)
    one = theory.solve(1.5, lam=0.1, step=GradientStep(2.0, 3.0, u=(1.0, -1.0)), target="product",
                       noise=0.3)  # fmt: skip
    assert batch.test_error[2, 1] == pytest.approx(one.test_error, rel=1e-12)
    data = batch.to_xarray()
    assert data.attrs["target"] == "product"
    assert "target='product'" in repr(one)


def test_a_kink_of_two_directions_is_flagged_or_right():
    """|s_1| s_2 sign-free in closed form: no step learns nothing of it, so the error is E y^2."""
    target = MultiIndex(lambda s: np.abs(s[..., 0] + s[..., 1]) - np.abs(s[..., 0]), directions=2)
    with pytest.warns(ConvergenceWarning):
        rough = theory.solve(2.0, lam=0.1, target=target, rtol=1e-11)
    assert not rough.success
    # E (|a| - |b|)^2 = 2 + 1 - 2 E |a b|, a = s1 + s2 of variance 2, b = s1, correlation 1/sqrt 2.
    rho = np.sqrt(0.5)
    both = np.sqrt(2) * 2 / np.pi * (np.sqrt(1 - rho**2) + rho * np.arcsin(rho))
    mean = np.sqrt(2 / np.pi) * (np.sqrt(2) - 1)
    variance = 3 - 2 * both - mean**2
    # The labels' linear part is 0: the readout only fits noise, V is that of white noise.
    exact = theory.solve(2.0, lam=0.1, target=lambda x: mean + 0 * x, noise=np.sqrt(variance))
    assert abs(rough.test_error - exact.test_error) < 3 * rough.quadrature_error + 1e-3


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"inputs": "power"}, TypeError, "inputs must be a Covariance, a Mixture or None"),
        ({"target": "products"}, ValueError, "one of product, .* got 'products'"),
        ({"init": "uniform"}, ValueError, "init must be 'sphere' or 'gaussian'"),
        ({"inputs": Covariance([1, 2]), "bulk": "network"}, ValueError, "bulk must be 'isotropic'"),
        ({"inputs": Covariance([1, 2]), "loss": "hinge"}, ValueError, "needs labels='sign'"),
        ({"target": "product", "flip": 0.1}, ValueError, "flip is for labels='sign'"),
        ({"target": "product", "lam": 0.0, "alpha": 1.0}, ValueError, "lam = 0 is for alpha >"),
        ({"target": "product", "lam": 0.0, "alpha": 0.5, "step": Spike(1.0, 1.0, [0.5, 0.5])},
         ValueError, "alpha < beta where features do not saturate"),
        ({"target": "product", "step": 3}, TypeError, "step must be a GradientStep"),
        ({"target": "product", "step": SPIKE}, ValueError, "gamma of the spike must have 2 comp"),
        (
            {"target": "product", "inputs": Covariance([1, 2], target=np.full((2, 3), 0.5))},
            ValueError, "shares for 3 directions, but there are only 2",
        ),
    ],
)  # fmt: skip
def test_bad_input(given, error, message):
    with pytest.raises(error, match=message):
        theory.solve(**{"alpha": 1.0, "lam": 0.1} | given)


@pytest.mark.parametrize(
    "name",
    [
        "weights of classes, gelu",
        "two directions, tanh, K = 2",
        "covariance, a step, gelu, K = 2, gaussian",
        "covariance and classes, relu, K = 3",
    ],
)
def test_gradient(name):
    """Exact derivatives against central differences of sixth order."""
    alpha, model = latent_cases.arguments(name)
    model = {"alpha": alpha, "noise": 0.2} | model
    names = ["alpha", "beta", "lam"]
    if isinstance(model.get("step"), Spike):
        names.append("noise")
    found = theory.gradient(**model, wrt=names, rtol=1e-9)
    assert found.success
    assert found.test_error == pytest.approx(float(theory.solve(**model).test_error), rel=1e-9)
    weights = np.array([-1.0, 9.0, -45.0, 0.0, 45.0, -9.0, 1.0]) / 60.0
    for each in names:
        step = 2e-2 * model[each]
        at = model[each] + step * np.arange(-3, 4)
        error = theory.solve(**model | {each: at}, rtol=1e-11).test_error
        assert found[each] == pytest.approx(weights @ error / step, rel=2e-7)


@pytest.mark.parametrize("lam", [1e-1, 1e-7])
def test_groups_of_linear_features_are_one(lam):
    """Two readout values on linear features: the K-group equations are singular at small lam."""
    inputs = Covariance([2.0, 0.5, 1.0])
    model = {"lam": lam, "beta": 2.0, "activation": "identity", "noise": 0.3, "inputs": inputs}
    two = theory.solve(1.5, step=Spike((0.8, -0.4), 1.0, 0.7, (0.6, 0.4)), **model)
    one = theory.solve(1.5, step=Spike(0.8, 1.0, 0.7), **model)
    assert two.success
    np.testing.assert_allclose(errors(two), errors(one), rtol=1e-9)
    if lam < 1e-3:
        return
    # A tiny difference of the groups' variances keeps them apart.
    apart = theory.solve(1.5, step=Spike((0.8, -0.4), (1.0, 1.0 + 1e-9), 0.7, (0.6, 0.4)), **model)
    for name in ("theta", "psi", "q1", "q2", "V1", "V2"):
        np.testing.assert_allclose(
            getattr(two, name), getattr(apart, name), rtol=1e-6, atol=1e-8, err_msg=name
        )


@pytest.mark.parametrize("gamma", [0.9, 0.999])
def test_two_rules_that_agree_by_accident_do_not_certify_a_kink(gamma):
    """Of a callable of two directions no kink is known: its error falls by halves."""
    r, c, pi = (0.42, -0.75, 0.5), (1.1, 1.2, 1.0), (0.3, 0.4, 0.3)
    model = {"lam": 1e-5, "beta": 0.5, "activation": "gelu", "noise": 0.3}
    plain = theory.solve(2.2, target="relu", step=Spike(r, c, gamma, pi), **model)
    target = MultiIndex(lambda s: np.maximum(s[..., 0], 0.0), directions=2)
    with pytest.warns(ConvergenceWarning):
        same = theory.solve(2.2, target=target, step=Spike(r, c, [gamma, 0.0], pi), **model)
    assert not same.success
    assert same.test_error == pytest.approx(float(plain.test_error), rel=1e-5)


def test_rules_of_classes_go_by_name():
    """Steps next to each other, as shares of a smallest scale of one: coarser, then finer."""
    sigma, one = _core.Function(resolve("tanh").core), np.ones(1)
    for start, step in (("uniform", 0.5), ("fine", 0.32)):
        nodes, weight = _core.class_rule(sigma, one, one, 1.0, 0, 1000, start=start)
        np.testing.assert_allclose(np.diff(nodes), step, rtol=1e-12)
        assert weight.sum() == pytest.approx(1.0, abs=1e-8)
    with pytest.raises(ValueError, match="start must be 'hermite', 'uniform' or 'fine', got 'no'"):
        _core.class_rule(sigma, one, one, 1.0, 0, 1000, start="no")


def test_rates_of_few_samples_and_large_ridges():
    """The readout is small and its sign a narrow step: the rules off the middle are to see it."""
    inputs, spike = Mixture([1.0, -1.0], labels=[1.0, -1.0]), Spike(1.134, 1.019, 0.972)
    lam = np.geomspace(0.9, 1.0, 8)
    solution = theory.solve(0.1, lam=lam, noise=0.1, inputs=inputs, target="sin", step=spike)
    assert solution.success.all()
