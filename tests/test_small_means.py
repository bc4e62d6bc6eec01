"""Features whose mean over the rest of the input nearly vanishes: it counts, unless it is zero."""

import numpy as np
import pytest
from scipy.special import erf as plain_erf

from spikedrf import ConvergenceWarning, Spike, _core, theory
from spikedrf.activations import resolve


def sine(c, **options):
    step = Spike(r=1.5, c=c, gamma=0.9)
    return theory.solve(
        1.5, beta=1.0, lam=0.01, activation="sin", target="sin", step=step, **options
    )


@pytest.mark.parametrize("c", [30.0, 64.0, 66.0, 68.0])
def test_a_mean_of_any_size_is_fitted(c):
    # The readout of the mean is not penalised, so that its size, exp(-c/2), drops out; what is
    # left of c in the other moments is e^-c.
    solution = sine(c)
    assert solution.test_error == pytest.approx(0.4692239393, rel=2e-10)
    assert solution.success


@pytest.mark.parametrize("c", [60.0, 65.0, 68.0])
def test_a_constant_mean_of_any_size_is_fitted(c):
    step = Spike(r=0.0, c=c, gamma=0.0)
    for activation in ("cos", np.cos):
        solution = theory.solve(
            1.5, beta=1.0, lam=0.01, activation=activation, target="abs", step=step
        )
        assert solution.test_error == pytest.approx(0.9551713613, rel=1e-9)


@pytest.mark.parametrize(
    ("c", "loss"), [(72.0, "square"), (640.0, "square"), (1600.0, "square"), (72.0, "huber")]
)
def test_a_readout_that_no_network_has_is_not_a_success(c, loss):
    with pytest.warns(ConvergenceWarning, match="rest on a readout mean m that no finite network"):
        solution = sine(c, loss=loss)
    assert solution.status == 6
    assert not solution.success
    if c < 1000.0:  # beyond, the square of the mean is no number
        assert abs(solution.m[0]) > 1e15


def test_a_mean_that_a_callable_loses_in_rounding_is_not_taken_for_zero():
    step = Spike(r=0.0, c=80.0, gamma=0.0)
    with pytest.warns(ConvergenceWarning, match="no finite network"):
        solution = theory.solve(1.5, beta=1.0, lam=0.01, activation=np.cos, target="abs", step=step)
    assert solution.status == 6
    assert solution.test_error == pytest.approx(0.9551713613, rel=1e-9)


@pytest.mark.parametrize("c", [40.0, 56.0, 60.0, 66.0])
@pytest.mark.parametrize("loss", ["square", "huber"])
def test_groups_whose_means_differ_in_size_are_not_alike(c, loss):
    def solve(second):
        step = Spike(r=(1.5, 0.7), c=(1.0, second), gamma=0.9, pi=(0.5, 0.5))
        return theory.solve(
            1.5, lam=0.01, activation="sin", target="sin", step=step, loss=loss, rtol=1e-7
        )

    solution = solve(c)
    assert solution.success
    assert solution.test_error == pytest.approx(solve(30.0).test_error, rel=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "sign", "erf", np.tanh, lambda z: plain_erf(3 * z)])
def test_a_weak_spike_is_not_no_spike(activation):
    def solve(r):
        step = Spike(r=r, c=1.0, gamma=0.9)
        return theory.solve(1.5, lam=0.01, activation=activation, target="tanh", step=step)

    # All of the effect of a weak spike is that its direction is known: sizes drop out.
    expected = solve(1e-6).test_error
    for r in (1e-9, 1e-12, 1e-14):
        solution = solve(r)
        assert solution.success
        assert solution.test_error == pytest.approx(expected, rel=1e-9)
    assert solve(0.0).test_error > 1.5 * expected


@pytest.mark.parametrize(
    "function",
    [
        np.tanh,
        lambda z: 1.0 / (1.0 + np.exp(-z)) - 0.5,  # odd to rounding
        lambda z: z * z - 1.0,  # centred, but not odd
        lambda z: np.maximum(z, 0.0) - 1.0 / np.sqrt(2.0 * np.pi),
    ],
)
def test_a_callable_without_a_mean_has_none(function):
    solution = theory.solve(1.5, lam=0.01, activation=function, target="abs")
    assert solution.success
    assert solution.m[0] == 0.0
    # The mean of the labels, 2/pi = E|z|^2, is out of reach.
    assert solution.test_error > 2.0 / np.pi


@pytest.mark.parametrize("r", [1e-7, 1e-9, 1e-12])
@pytest.mark.parametrize("c", [0.01, 2.0, 49.0, 1e4])
@pytest.mark.parametrize("name", ["tanh", "sign", "erf", "hermite3", "hermite5"])
def test_small_means_of_odd_functions_keep_relative_accuracy(name, r, c):
    mean = r * np.linspace(-5.0, 5.0, 11)
    e0, e1, _ = _core.Function(resolve(name).code)(mean, np.sqrt(c))
    # d e0 / d mean = e1 / sd, which is even: the rest is of relative order mean^2.
    expected = mean * e1 / np.sqrt(c)
    np.testing.assert_allclose(e0, expected, rtol=max(1e-13, 25e4 * r**2 / min(c, 1.0)))
