"""Finite-size experiments under any convex loss."""

import numpy as np
import pytest

from spikedrf import ConvergenceWarning, GradientStep, losses, simulate, theory
from spikedrf.readout.convex import ReadoutProblem, fit_readout
from test_convex import ONE, SPIKE, SPIKES, TWO


def run(model, loss, labels, step, **more):
    return simulate(loss=loss, labels=labels, step=step, **model, **more)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "step", "loss", "labels", "flip"),
    [
        (ONE, SPIKE, losses.Hinge(), "sign", 0.0),
        (ONE | {"alpha": 1.2, "lam": 0.3}, SPIKE, losses.Quantile(0.8), "real", 0.0),
        (TWO, SPIKES, losses.Huber(), "real", 0.0),
        (TWO | {"noise": 0.3}, SPIKES, losses.Logistic(), "sign", 0.1),
    ],
    ids=["hinge", "quantile", "huber", "logistic"],
)
def test_theory_and_simulation_agree(model, step, loss, labels, flip):
    # Sixteen replicates: |z| > 3 has a two-sided Student probability of 0.9%; the bias of d = 500
    # is below one standard error.
    solution = theory.solve(step=step, loss=loss, labels=labels, flip=flip, **model)
    z = run(model, loss, labels, step, flip=flip, d=500, replicates=16, rng=2).z(solution)
    assert max(abs(score) for score in z.values()) < 3, z


def test_a_trained_network_is_near_its_theory():
    # The theory takes the step of the squared loss on real labels: so must the simulation. A step
    # on the signs would have a spike twice as strong.
    model = ONE | {"noise": 0.2, "step": GradientStep(eta=2.0, alpha0=2.0)}
    more = {"loss": "logistic", "labels": "sign"}
    solution = theory.solve(bulk="network", **model, **more)
    simulation = simulate(d=200, model="network", replicates=8, rng=0, **model, **more)
    assert simulation.r[0] == pytest.approx(solution.spike.r, rel=0.1)
    assert simulation.test_error == pytest.approx(solution.test_error, rel=0.05)


def test_every_quantity_is_what_it_says():
    # One replicate, and the same numbers from its own readout.
    seen = {}

    class Spy(ReadoutProblem):
        def __init__(self, Phi, *more, **named):
            super().__init__(Phi, *more, **named)
            seen["Phi"] = Phi

        def fit(self, y, *more, **named):
            seen["y"] = y
            return super().fit(y, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spikedrf.readout.convex.ReadoutProblem", Spy)
        model = {"d": 60, "replicates": 1, "rng": 5, "flip": 0.2}
        simulation = run(ONE, "squared_hinge", "sign", SPIKE, **model)
    Phi, y = seen["Phi"], seen["y"]
    assert Phi.shape == (120, 60)
    assert set(np.unique(y)) == {-1.0, 1.0}
    fit = fit_readout(Phi, y, "squared_hinge", 0.1)
    h = Phi @ fit.a / np.sqrt(60)
    assert simulation.norm == pytest.approx(fit.a @ fit.a / 60, rel=1e-4)
    assert simulation.train_error == np.mean(h * y < 0)
    assert simulation.train_loss == pytest.approx(np.mean(np.maximum(0, 1 - h * y) ** 2), rel=1e-4)
    assert simulation.train_margin == pytest.approx(np.mean(h * y), rel=1e-4)


def test_labels_are_turned_around():
    # With no signal left the labels are random; with all of it they follow the target.
    model = {"d": 40, "replicates": 4, "rng": 1}
    half = run(ONE | {"noise": 0.0}, "logistic", "sign", SPIKE, flip=0.5, n_test=8000, **model)
    assert half.test_error == pytest.approx(0.5, abs=0.02)  # 3.6 standard errors of 32,000 samples
    none = run(ONE | {"noise": 0.0, "alpha": 20.0}, "logistic", "sign", SPIKE, **model)
    assert none.test_error < 0.2


def test_square_loss_is_what_it_was():
    plain = simulate(1.5, d=50, lam=0.1, replicates=2, rng=0)
    assert plain.test_loss == 0.5 * plain.test_error
    assert plain.margin is None
    assert (plain.loss, plain.labels) == ("square", "real")
    # The same readout by another way: squares up to 1e8.
    huber = simulate(1.5, d=50, lam=0.1, replicates=2, rng=0, loss=losses.Huber(1e8))
    assert huber.test_error == pytest.approx(plain.test_error, rel=1e-4)
    assert huber.train_loss == pytest.approx(plain.train_loss, rel=1e-4)


def test_points_and_workers():
    grid = {"d": 40, "replicates": 3, "rng": 7}
    alpha, lam = np.array([[0.5], [1.5]]), np.array([0.1, 1.0])
    model = ONE | {"alpha": alpha, "lam": lam}
    together = run(model, "hinge", "sign", SPIKE, workers=1, **grid)
    assert together.shape == together.margin.shape == (2, 2)
    threads = run(model, "hinge", "sign", SPIKE, workers=2, **grid)
    np.testing.assert_array_equal(threads.test_loss, together.test_loss)
    alone = run(ONE | {"alpha": 1.5, "lam": 1.0}, "hinge", "sign", SPIKE, **grid)
    assert alone.norm == pytest.approx(together.norm[1, 1], rel=1e-6)
    z = together.z(theory.solve(step=SPIKE, loss="hinge", labels="sign", **model))
    assert set(z) == {
        "test_error", "train_error", "norm", "test_loss", "train_loss", "margin", "train_margin"
    }  # fmt: skip


def test_fits_that_are_not_accurate_are_said(monkeypatch):
    monkeypatch.setattr("spikedrf.readout.convex._ROUNDS", 1)
    with pytest.warns(ConvergenceWarning, match="2 of 2 fits of the readout did not reach"):
        run(ONE | {"lam": 1e-5}, "quantile", "real", SPIKE, d=40, replicates=2, rng=0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"loss": "logistic"}, "loss 'logistic' .* needs labels='sign'"),
        ({"loss": "huber", "flip": 0.1}, "flip is for labels='sign'"),
        ({"labels": "sign", "flip": [0.1, 0.2]}, "flip must be one number"),
        ({"labels": "sign", "flip": 0.6}, "flip must be >= 0 and <= 0.5"),
        ({"loss": "huber", "lam": 0.0}, "lam must be > 0 with loss 'huber'"),
        ({"labels": "both"}, "labels must be one of real, sign"),
    ],
)
def test_misuse(more, message):
    with pytest.raises(ValueError, match=message):
        simulate(**(ONE | {"d": 20, "step": SPIKE} | more))


def test_z_wants_the_same_loss():
    simulation = run(ONE, losses.Huber(0.5), "real", SPIKE, d=20, replicates=2, rng=0)
    for loss, message in (("absolute", "another loss: 'absolute'"), ("huber", "another delta")):
        with pytest.raises(ValueError, match=message):
            simulation.z(theory.solve(step=SPIKE, loss=loss, **ONE))
