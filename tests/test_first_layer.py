"""What produces a first layer, and the one thing that the theory takes of it."""

from dataclasses import replace

import numpy as np
import pytest

from spikedrf import GradientStep, Spike, simulate, theory
from spikedrf.first_layer.bulk import BulkNodes
from spikedrf.first_layer.model import FirstLayer, Producer

MODEL = {"activation": "tanh", "target": "sin"}
NOISE = 0.2


def given_layer():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((150, 100)) / 10.0
    return theory.from_layer(W + 1.5 * np.eye(100)[0], np.eye(100)[0])


PRODUCED = [
    (None, None),
    (Spike(1.2, 1.1, 0.8), None),
    (Spike([1.2, -0.7], 1.1, 0.8, pi=[0.3, 0.7]), None),
    (GradientStep(2.0, 0.5), "isotropic"),
    (GradientStep(2.0, 0.5), "network"),
    (GradientStep(2.0, 0.5, u=[1.5, -1.0]), "network"),
    (given_layer(), None),
    (given_layer(), "isotropic"),
]


@pytest.mark.parametrize(("step", "bulk"), PRODUCED)
def test_what_is_produced_is_all_that_the_theory_takes(step, bulk):
    produce = (step or Spike(0.0, 1.0, 0.0)).first_layer
    layer = produce(**MODEL, noise=NOISE, bulk=bulk)
    expected = theory.solve([0.5, 2.0], lam=0.1, step=step, noise=NOISE, bulk=bulk, **MODEL)
    found = theory.solve([0.5, 2.0], lam=0.1, step=layer, noise=NOISE, **MODEL)
    np.testing.assert_array_equal(found.test_error, expected.test_error)
    assert found.bulk == expected.bulk == layer.bulk.name
    groups = np.size(layer.pi)
    assert (layer.r.shape, layer.alignment.shape) == ((groups, 1), (1, 1))
    np.testing.assert_allclose(layer.bulk.nodes().average(np.abs, 0)[0], layer.c[0], rtol=1e-6)


def test_a_layer_keeps_its_bulk_or_gives_it_up():
    step = GradientStep(3.0, 0.5)
    layer = step.first_layer("tanh", "tanh", bulk="network")
    for bulk in ("network", "isotropic"):
        expected = theory.solve(1.5, lam=0.05, step=step, bulk=bulk).test_error
        assert theory.solve(1.5, lam=0.05, step=layer, bulk=bulk).test_error == expected
    with pytest.raises(ValueError, match="needs a GradientStep; got step=FirstLayer"):
        theory.solve(1.5, lam=0.05, step=step.first_layer(), bulk="network")


def test_forms_of_every_bulk():
    """What the nodes answer, the closed form answers; and the isotropic bulk c/(1 + x c)."""
    x = np.array([0.0, 0.3, 5.0])
    layer = GradientStep(2.0, [0.5, 3.0]).first_layer("relu", "sin", NOISE, bulk="network")
    np.testing.assert_allclose(
        layer.bulk.forms(x), layer.bulk.nodes(1e-10).forms(x), rtol=1e-9, atol=1e-11
    )
    # The powers of all groups are fractions of the largest one.
    several = GradientStep(2.0, 0.5, u=[1.5, -1.0, 0.0]).first_layer(**MODEL, bulk="network").bulk
    for group in range(3):
        np.testing.assert_allclose(
            several.forms(x, group), several.nodes(1e-10).forms(x, group), rtol=1e-9, atol=1e-11
        )
    isotropic = Spike(1.0, [1.1, 0.7], 0.8).first_layer().bulk
    for bulk in (isotropic, isotropic.nodes()):
        seen = 0.7 / (1 + 1j * x * 0.7)
        expected = np.stack([seen, seen, 0 * seen, seen])
        np.testing.assert_allclose(bulk.forms(1j * x, group=1), expected, rtol=1e-14)


class Halved(Producer):
    """A producer that the package does not know: a step, of whose spike half is kept."""

    def __init__(self, step):
        self.step = step

    def first_layer(self, activation, target, noise=0.0, *, bulk=None, wrt=()):
        spike = self.step.spike(activation, target, noise)
        return Spike(0.5 * spike.r, spike.c, spike.gamma).first_layer(bulk=bulk)


def test_a_new_producer_is_one_class():
    step = GradientStep(2.0, 4.0)
    spike = step.spike(**MODEL, noise=NOISE)
    known = Spike(0.5 * spike.r, spike.c, spike.gamma)
    calls = [
        lambda step: theory.solve(1.5, lam=0.1, step=step, noise=NOISE, **MODEL).test_error,
        lambda step: theory.gradient(1.5, lam=0.1, step=step, noise=NOISE, **MODEL)["lam"],
        lambda step: theory.optimise(1.5, step=step, noise=NOISE, **MODEL).lam,
        lambda step: theory.stieltjes(0.5 + 0.1j, alpha=1.5, step=step, noise=NOISE, **MODEL),
        lambda step: (
            theory.phase_diagram(
                alpha=[1.0, 2.0], lam=[0.1, 0.2], step=step, noise=NOISE, **MODEL
            ).value
        ),
        lambda step: (
            simulate(
                1.5, d=30, lam=0.1, step=step, noise=NOISE, replicates=2, rng=0, **MODEL
            ).test_error
        ),
    ]
    for call in calls:
        np.testing.assert_array_equal(call(Halved(step)), call(known))
    with pytest.raises(ValueError, match="takes a GradientStep or no step, not a Halved"):
        simulate(1.5, d=30, lam=0.1, step=Halved(step), model="network", **MODEL)


def test_moves_come_when_asked_for():
    step = GradientStep([0.0, 2.0], 0.5)
    layer = step.first_layer("tanh", "sin", NOISE, wrt=("eta", "noise"))
    assert isinstance(layer, FirstLayer)
    assert set(layer.moves) == {"eta", "noise"}
    h = 1e-6
    up, down = (GradientStep(2.0 + s * h, 0.5).first_layer("tanh", "sin", NOISE) for s in (1, -1))
    assert layer.moves["eta"].r[0] == pytest.approx((up.r - down.r)[0, 0] / (2 * h), rel=1e-8)
    assert layer.moves["eta"].c[1, 0] == pytest.approx((up.c - down.c)[0] / (2 * h), rel=1e-8)
    # At eta = 0 gamma keeps its limit: it moves nothing there, since r = 0.
    assert layer.alignment[0, 0, 0] == layer.alignment[1, 0, 0]
    assert step.first_layer("tanh", "sin", NOISE).alignment[0, 0, 0] == 0.0


def test_a_bulk_of_other_groups_is_refused():
    half = np.array([0.5, 0.5])
    bulk = BulkNodes(np.array([[0.5], [1.5]]), half, half, 0.0 * half, half)
    layer = replace(Spike([1.2, -0.7], 1.1, 0.8).first_layer(), bulk=bulk)
    with pytest.raises(ValueError, match=r"bulk must have values for the 2 readout groups.* got 1"):
        theory.solve(1.0, lam=0.1, step=layer)
