"""Densities of eigenvalues beside their rivals, per point.

The rival iterates the fixed point at a distance of 0.01 from the real axis, which smooths the
density by as much: closer it takes ever longer, and it knows neither edges nor its error.
`theory.spectrum` gives the density on the axis itself, certified, and the distribution function.
The other rival draws a network and diagonalises its features.
"""

import numpy as np
import pytest

import rivals
from spikedrf import Spike, simulate_spectrum, theory

C, GAMMA = 1.0189732, 0.97185444
STRENGTHS = np.array([1.13405551, -0.9, 0.6, -0.4])
ALPHA, HEIGHT = 2.0, 0.01
X = np.geomspace(0.02, 3.0, 1000)
NUMPY = f"NumPy fixed point, {HEIGHT} off the axis"
NETWORK = "eigenvalues of a network, d = 1000"


def spectrum(x, groups, **more):
    step = Spike(STRENGTHS[:groups], C, GAMMA)
    return theory.spectrum(x, alpha=ALPHA, step=step, workers=1, **more)


def certified(found):
    """Two routes to the same mass: the density, and the distribution function."""
    assert found.success.all()
    mass = np.sum(0.5 * np.diff(found.x) * (found.density[1:] + found.density[:-1]))
    np.testing.assert_allclose(mass, found.cumulative[-1] - found.cumulative[0], atol=1e-4)


@pytest.mark.parametrize("entrant", ["spikedrf", NUMPY, NETWORK])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_density(race, groups, entrant):
    more = {"group": "spectrum, 1000 points", "row": f"K = {groups}"}
    if entrant == "spikedrf":
        race(entrant, spectrum, X, groups, check=certified, **more)
    elif entrant == NUMPY:
        # On a tenth of the points; what it would take for all of them is shown.
        z = X[::10] + 1j * HEIGHT
        step = Spike(STRENGTHS[:groups], C, GAMMA)
        expected = theory.stieltjes(z, alpha=ALPHA, step=step)
        c, pi = np.full(groups, C), np.full(groups, 1 / groups)

        def run():
            kappa, w = rivals.hermite(64)
            _, mu1, mu2 = rivals.tables(np.tanh, kappa, STRENGTHS[:groups], c)
            return rivals.numpy_step_a(np.full(z.size, ALPHA), 1.0, -z, c, pi, mu1, mu2, w)[1]

        def check(v2):
            np.testing.assert_allclose(v2.sum(axis=1), expected, rtol=2e-3)

        race(entrant, run, check=check, points=z.size / X.size, **more)
    elif groups == 1:
        case = {"d": 1000, "step": Spike(STRENGTHS[0], C, GAMMA), "rng": 0, "workers": 1}

        def check(drawn):
            assert drawn.distance(spectrum(1.0, 1))[0] < 0.02

        race(entrant, lambda: simulate_spectrum(ALPHA, **case), check=check, **more)
    else:
        pytest.skip("the same for any number of groups")


@pytest.mark.parametrize("entrant", ["spikedrf"])
@pytest.mark.parametrize("alpha", [0.5, 2.0])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_adaptive_grid(race, activation, alpha, entrant):
    """The whole spectrum, total mass 1 to within 1e-6."""
    step = Spike(STRENGTHS[0], C, GAMMA)

    def run():
        return theory.spectrum(alpha=alpha, activation=activation, step=step, workers=1)

    def check(found):
        assert found.success.all()
        assert abs(found.mass - 1.0) < 1e-6

    row = f"{activation}, alpha {alpha:g}"
    note = lambda found: f"{found.x.size} points"  # noqa: E731
    race(entrant, run, check=check, group="spectrum, resolved", row=row, note=note)


@pytest.mark.parametrize("entrant", ["spikedrf"])
@pytest.mark.parametrize("alpha", [0.5, 2.0])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "relu"])
def test_many_decades(race, activation, alpha, entrant):
    """Features that die out along a strong spike: eigenvalues down to 1e-28 of their mean."""
    step = Spike(8.0, C, GAMMA)

    def run():
        return theory.spectrum(alpha=alpha, activation=activation, step=step, workers=1)

    def check(found):
        assert found.success.all()
        assert abs(found.mass - 1.0) < 1e-6
        # The distribution function by its own route, where half of what is not zero is passed.
        middle = found.x[np.searchsorted(found.cumulative, 0.5 * (1.0 + found.atom))]
        below = found.x <= middle
        mass = np.sum(
            0.5 * np.diff(found.x[below]) * (found.density[below][1:] + found.density[below][:-1])
        )
        np.testing.assert_allclose(mass, found.cdf(middle) - found.atom, atol=1e-6)

    def note(found):
        span = np.log10(found.x[found.density > 0.0][[0, -1]])
        return f"{found.x.size} points, {span[1] - span[0]:.0f} decades"

    row = f"{activation}, r = 8, alpha {alpha:g}"
    race(entrant, run, check=check, group="spectrum, resolved", row=row, note=note)
