"""Other losses and sign labels on several directions, classes and covariances."""

from __future__ import annotations

import numpy as np
import pytest

import latent_cases
from spikedrf import Covariance, GradientStep, Mixture, MultiIndex, Spike, losses, simulate, theory

STORED = latent_cases.stored(latent_cases.CONVEX_PATH)
SPIKE = Spike((1.5, -1.0), (1.05, 1.2), 0.8, (0.6, 0.4))
MODEL = {"lam": 0.1, "beta": 0.8, "activation": "relu", "target": "sin", "noise": 0.2}
READOUTS = {
    "Huber": {"loss": losses.Huber(0.5)},
    "logistic": {"loss": "logistic", "labels": "sign", "flip": 0.05},
    "square of signs": {"labels": "sign"},
    "hinge without noise": {"loss": "hinge", "labels": "sign", "noise": 0.0},
}
NUMBERS = ("test_error", "train_error", "norm", "test_loss", "train_loss")


def numbers(solution):
    return np.array([getattr(solution, name) for name in NUMBERS])


@pytest.mark.parametrize("name", latent_cases.CONVEX)
def test_reference(name):
    """The solver of tests/latent_convex_equations.py, whose own error is below 1e-7."""
    alpha, model = latent_cases.arguments(name)
    ours, exact = theory.solve(alpha, **model), STORED[name]
    assert ours.success
    wanted = [exact[key] for key in ("test", "train", "norm", "test_loss", "train_loss")]
    np.testing.assert_allclose(numbers(ours), wanted, rtol=1e-6)
    if ours.class_error is not None:
        np.testing.assert_allclose(ours.class_error, exact["by_class"], rtol=1e-6)
        np.testing.assert_allclose(ours.class_error_rate, exact["wrong"], rtol=1e-6)
        assert ours.balanced_error == pytest.approx(np.mean(exact["wrong"]))
        assert ours.error_rate == pytest.approx(ours.proportions @ exact["wrong"])


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize(
    "change",
    [
        {"inputs": Covariance([1.0, 1.0, 1.0 + 1e-13])},
        {"inputs": Mixture([[0.0], [0.0]], proportions=[0.3, 0.7])},
        {"inputs": Mixture([[0.0, 0.0], [0.0, 0.0]], proportions=[0.3, 0.7])},
        {"target": MultiIndex(lambda s: np.sin(s[..., 0]), directions=1)},
        {"step": Spike((1.5, -1.0, 9.0), (1.05, 1.2, 1.0), 0.8, (0.6, 0.4, 0.0)),
         "inputs": Covariance([1.0, 1.0 + 1e-13])},
    ],
    ids=["equal eigenvalues", "one mean", "means of two", "one direction", "no group"],
)  # fmt: skip
def test_degenerate_cases_are_the_plain_one(readout, change):
    """The equations of one direction and white inputs, which other code poses and labels."""
    model = MODEL | READOUTS[readout]
    plain = theory.solve(2.0, step=SPIKE, **model)
    same = theory.solve(2.0, **model | {"step": SPIKE} | change)
    assert same.success
    # Rates of wrong signs are held to rtol of 1e-6 and 1e-2 of themselves.
    np.testing.assert_allclose(numbers(same), numbers(plain), rtol=1e-8, atol=1e-10)


def test_a_target_of_two_directions_that_uses_one():
    model = MODEL | {"noise": 0.5, "loss": "logistic", "labels": "sign", "rtol": 1e-6}
    step = Spike(1.2, 1.1, 0.8)
    plain = theory.solve(2.0, step=step, **model)
    turned = MultiIndex(lambda s: np.sin(0.6 * s[..., 0] + 0.8 * s[..., 1]))
    step = Spike(1.2, 1.1, [0.48, 0.64])
    same = theory.solve(2.0, **model | {"target": turned, "step": step})
    np.testing.assert_allclose(numbers(same), numbers(plain), rtol=1e-5)


CLASSES = {"means": [[1.0, 0.5], [-1.0, -0.2]], "proportions": [0.3, 0.7], "weights": [2.0, 0.5]}
STEP = GradientStep(1.0, 4.0)


def test_the_square_loss_is_ridge_regression():
    """As Huber's with wide bounds, and of signs: both through the equations of convex losses."""
    inputs = Mixture(**CLASSES, labels=[1.0, -1.0], covariance=Covariance([2.0, 1.0, 0.5]))
    model = {"lam": 0.1, "inputs": inputs, "step": STEP, "activation": "relu", "init": "gaussian"}
    ridge = theory.solve(2.0, **model)
    wide = theory.solve(2.0, loss=losses.Huber(1e6), **model)
    np.testing.assert_allclose(numbers(wide), numbers(ridge), rtol=1e-8)
    np.testing.assert_allclose(wide.class_error, ridge.class_error, rtol=1e-8)
    for name in ("m", "theta", "psi", "q1", "q2", "V1", "V2"):
        ours, exact = getattr(wide, name), getattr(ridge, name)
        np.testing.assert_allclose(ours, exact, rtol=1e-7, atol=1e-9)
    signs = theory.solve(2.0, labels="sign", **model)
    np.testing.assert_allclose(signs.class_error, ridge.class_error_rate, rtol=1e-8)
    assert signs.norm == pytest.approx(ridge.norm, rel=1e-8)
    assert signs.train_loss == pytest.approx(ridge.train_loss, rel=1e-8)
    s = np.array([[0.3, -0.4], [1.0, 2.0]])
    np.testing.assert_allclose(wide.learned_function(s), ridge.learned_function(s), rtol=1e-7)


def test_order_and_absent_classes_do_not_matter():
    model = {"lam": 0.1, "step": STEP, "loss": "logistic"}
    one = theory.solve(2.0, inputs=Mixture(**CLASSES, labels=[1, -1]), **model)
    other = Mixture(
        [[-1.0, -0.2], [5.0, 5.0], [1.0, 0.5]], proportions=[0.7, 0.0, 0.3],
        weights=[0.5, 1.0, 2.0], labels=[-1, 1, 1],
    )  # fmt: skip
    two = theory.solve(2.0, inputs=other, **model)
    np.testing.assert_allclose(numbers(two), numbers(one), rtol=1e-9)
    np.testing.assert_allclose(two.class_error[[2, 0]], one.class_error, rtol=1e-9)
    assert np.isnan(two.class_error[1])
    assert two.balanced_error == pytest.approx(one.balanced_error)


def test_weights_are_copies_of_rows():
    """A class of weight 2 and share rho is one that comes twice as often, to the readout."""
    model = {"lam": 0.1, "step": Spike(1.0, 1.1, [0.7, 0.3]), "loss": "logistic"}
    weighted = Mixture(**CLASSES | {"weights": [3.0, 3.0]}, labels=[1, -1])
    plain = Mixture(**CLASSES | {"weights": [1.0, 1.0]}, labels=[1, -1])
    one = theory.solve(2.0, inputs=weighted, **model)
    # Three times the loss is the loss with a third of the penalty.
    two = theory.solve(2.0, inputs=plain, **model | {"lam": 0.1 / 3})
    np.testing.assert_allclose(numbers(one), numbers(two), rtol=1e-9)


@pytest.mark.parametrize(
    ("case", "seed"),
    [
        ({"inputs": Mixture(**CLASSES, labels=[1, -1]), "loss": "logistic", "step": STEP}, 1),
        ({"inputs": Covariance([3.0, 1.0, 0.5], target=[0.6, 0.3, 0.1]), "loss": losses.Huber(0.5),
          "noise": 0.3, "target": "sin", "activation": "relu", "init": "gaussian"}, 2),
        ({"target": MultiIndex("staircase"), "labels": "sign", "noise": 0.3, "loss": "hinge",
          "step": Spike(1.5, 1.1, [0.8, 0.6]), "rtol": 1e-4}, 3),
    ],
    ids=["classes", "covariance", "two directions"],
)  # fmt: skip
def test_simulations(case, seed):
    rtol = case.pop("rtol", 1e-8)
    model = {"lam": 0.1, "beta": 1.0, **case}
    exact = theory.solve([2.0], rtol=rtol, **model)
    drawn = simulate([2.0], d=150, replicates=12, rng=seed, **model)
    assert exact.success.all()
    for name, z in drawn.z(exact).items():
        assert np.abs(z).max() < 4.0, (name, z)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lam": 0.0}, "lam must be > 0"),
        ({"alpha": np.inf}, "alpha must be finite"),
        ({"inputs": Mixture([1.0, -1.0], labels=[1.0, -2.0])}, "labels='sign'"),
        ({"inputs": Mixture([1.0, -1.0], labels=[1.0, 1.0])}, "all labels are"),
        ({"flip": 0.7}, "flip"),
    ],
)
def test_bad_input(change, words):
    model = {"alpha": 1.0, "lam": 0.1, "loss": "logistic"}
    model["inputs"] = Mixture([1.0, -1.0], labels=[1.0, -1.0])
    with pytest.raises(ValueError, match=words):
        theory.solve(**model | change)
