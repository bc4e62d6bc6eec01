"""Losses of the readout: values, derivatives, names."""

import mpmath
import numpy as np
import pytest

from convex_equations import subgradients
from spikedrf import _core, losses

SEVERAL = [
    losses.Square(),
    losses.Huber(0.7),
    losses.PseudoHuber(0.7),
    losses.Absolute(),
    losses.Quantile(0.8),
    losses.Logistic(),
    losses.Hinge(),
    losses.SquaredHinge(),
]


def labels(loss, rng, size):
    return rng.choice([-1.0, 1.0], size) if loss.margin else rng.normal(size=size)


@pytest.mark.parametrize("loss", SEVERAL, ids=lambda loss: loss.name)
def test_derivatives(loss):
    # Central differences: no error for broken lines and parabolas away from their kinks, about
    # step^2/6 for the others.
    rng = np.random.default_rng(0)
    y, h = labels(loss, rng, 1000), 3 * rng.normal(size=1000)
    step = 1e-4
    slope = (loss.value(y, h + step) - loss.value(y, h - step)) / (2 * step)
    bend = (loss.derivative(y, h + step) - loss.derivative(y, h - step)) / (2 * step)
    t = y * h if loss.margin else y - h
    kinks = {"huber": [-0.7, 0.7], "absolute": [0], "quantile": [0]}
    kinks |= {"hinge": [1], "squared_hinge": [1]}
    away = np.all(np.abs(t[:, None] - np.array(kinks.get(loss.name, [99.0]))) > 1e-3, axis=1)
    assert away.sum() > 950
    np.testing.assert_allclose(loss.derivative(y, h)[away], slope[away], atol=1e-7)
    np.testing.assert_allclose(loss.second_derivative(y, h)[away], bend[away], atol=1e-7)


def test_every_loss_of_the_core_is_tested_here():
    entries = _core.losses()
    assert {loss.name for loss in SEVERAL} == {entry["name"] for entry in entries}
    assert set(losses.NAMES) == {entry["name"] for entry in entries}
    for code, entry in enumerate(entries):
        loss = losses.resolve(entry["name"])
        assert loss.core[0] == code
        assert loss.margin == entry["margin"]


@pytest.mark.parametrize("unit", [1e-3, 7.0])
@pytest.mark.parametrize(
    "loss", [loss for loss in SEVERAL if not loss.margin], ids=lambda loss: loss.name
)
def test_another_unit_of_the_labels(loss, unit):
    y, h = np.random.default_rng(0).standard_normal((2, 50))
    inner = loss.rescaled(unit).value(y / unit, h / unit)
    np.testing.assert_allclose(unit**loss.degree * inner, loss.value(y, h), rtol=1e-12)


def test_values():
    # Written out: residual 2, margin -2.
    assert losses.Square().value(3, 1) == 2.0
    assert losses.Huber(0.5).value(3, 1) == 0.5 * (2 - 0.25)
    assert losses.PseudoHuber(2.0).value(3, 1) == pytest.approx(4 * (2**0.5 - 1), rel=1e-15)
    assert losses.Absolute().value(3, 1) == 2.0
    assert losses.Quantile(0.9).value(3, 1) == pytest.approx(1.8)
    assert losses.Quantile(0.9).value(1, 3) == pytest.approx(0.2)
    assert losses.Logistic().value(-1, 2) == pytest.approx(np.log1p(np.exp(2)), rel=1e-15)
    assert losses.Hinge().value(-1, 2) == 3.0
    assert losses.SquaredHinge().value(-1, 2) == 9.0


def test_far_out():
    # Relative accuracy where exp(-|h|) drowns beside 1, and no overflow.
    h = np.array([40.0, 700.0])
    np.testing.assert_allclose(losses.Logistic().value(1, h), np.exp(-h), rtol=1e-12)
    np.testing.assert_allclose(losses.Logistic().derivative(1, h), -np.exp(-h), rtol=1e-12)
    assert losses.Logistic().value(-1, 1e6) == 1e6
    assert losses.PseudoHuber().value(0, 1e-9) == pytest.approx(5e-19, rel=1e-12)
    assert losses.PseudoHuber().value(0, 1e200) == pytest.approx(1e200)


@pytest.mark.parametrize("V", [1e-8, 1e-2, 1.0, 30.0, 1e4, 1e9])
@pytest.mark.parametrize("loss", SEVERAL, ids=lambda loss: loss.name)
def test_proximal_map(loss, V):
    # (omega - h)/V is a subgradient at h: exactly where that is an interval, elsewhere as closely
    # as h +- a few ulp of everything that it is made of can say.
    rng = np.random.default_rng(1)
    y = labels(loss, rng, 2000)
    omega = np.concatenate([rng.normal(size=1000), (1 + V) * 3 * rng.normal(size=1000)])
    h = loss.prox(y, omega, V)
    ulp = 4e-15 * (np.abs(h) + np.abs(omega) + np.abs(y) + min(V, 1.0))
    force = (omega - h) / V
    low, high = subgradients(loss, y, h - ulp)[0], subgradients(loss, y, h + ulp)[1]
    assert (force >= low - ulp / V - 1e-300).all()
    assert (force <= high + ulp / V + 1e-300).all()
    assert h.shape == loss.prox(y, omega[0], V).shape


def zero(increasing, low, high):
    low, high = mpmath.mpf(low), mpmath.mpf(high)
    for _ in range(140):
        middle = (low + high) / 2
        low, high = (middle, high) if increasing(middle) < 0 else (low, middle)
    return float(low)


@pytest.mark.parametrize("V", [1e-3, 2.0, 1e5])
def test_proximal_map_of_smooth_losses_in_high_precision(V):
    with mpmath.workdps(40):
        for omega in (-3.0 * V, -0.6 * V, -1.3, 0.2, 4.0, 60.0):
            at = mpmath.mpf(omega)
            exact = zero(lambda h, at=at: h - at - V / (1 + mpmath.exp(h)), omega, omega + V)
            ours = float(losses.Logistic().prox(1.0, omega, V))
            assert ours == pytest.approx(exact, rel=1e-14, abs=1e-15 * (1 + abs(omega) + V))
            size = abs(at)
            exact = zero(lambda t, at=size: t + V * t / mpmath.sqrt(1 + 4 * t**2) - at, 0, size)
            ours = float(losses.PseudoHuber(0.5).prox(0.0, abs(omega), V))
            assert ours == pytest.approx(exact, rel=1e-13, abs=1e-15 * abs(omega))


def test_names():
    for name in losses.NAMES:
        loss = losses.resolve(name)
        assert loss.name == name
        assert losses.resolve(loss) is loss
    assert losses.resolve("huber") == losses.Huber(delta=1.0)
    assert [n for n in losses.NAMES if losses.resolve(n).margin] == [
        "logistic", "hinge", "squared_hinge"
    ]  # fmt: skip


def test_misuse():
    with pytest.raises(ValueError, match=r"loss must be .* pseudo_huber.*; got 'hubert'"):
        losses.resolve("hubert")
    with pytest.raises(TypeError, match="loss must be a name or"):
        losses.resolve(losses.Huber)
    with pytest.raises(ValueError, match="delta must be > 0"):
        losses.Huber(0.0)
    with pytest.raises(ValueError, match="level must be > 0 and < 1"):
        losses.Quantile(1.0)
    with pytest.raises(ValueError, match="V must be > 0"):
        losses.Square().prox(1.0, 0.0, 0.0)
