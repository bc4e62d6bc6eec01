"""A density of 1000 points beside its rival: python -m pytest bench --benchmark-group-by=group.

The rival iterates the fixed point, at a distance of 0.01 from the real axis (closer it takes ever
longer, and it knows neither edges nor its error). `theory.spectrum` gives the density on the axis
itself, certified, with the cumulative distribution.
"""

import numpy as np
import pytest

import rivals
from spikedrf import Spike, simulate_spectrum, theory

SPIKE = Spike(1.13405551, 1.0189732, 0.97185444)
HEIGHT = 0.01


def spectrum(x, alpha=2.0, step=SPIKE, **more):
    return theory.spectrum(x, alpha=alpha, step=step, workers=1, **more)


@pytest.mark.benchmark(group="density of 1000 points")
def test_density(benchmark):
    x = np.linspace(0.02, 3.0, 1000)
    found = benchmark(spectrum, x)
    assert found.success.all()
    # Two routes: density and cumulative distribution.
    mass = np.sum(0.5 * np.diff(x) * (found.density[1:] + found.density[:-1]))
    np.testing.assert_allclose(mass, found.cumulative[-1] - found.cumulative[0], atol=1e-4)


@pytest.mark.benchmark(group="density of 1000 points")
def test_stieltjes_off_the_axis(benchmark):
    z = np.linspace(0.02, 3.0, 1000) + 1j * HEIGHT
    found = benchmark(theory.stieltjes, z, alpha=2.0, step=SPIKE, workers=1)
    kappa, w = rivals.hermite(128)
    _, mu1, mu2 = rivals.tanh_tables(kappa, SPIKE.r, SPIKE.c)
    expected = rivals.numpy_stieltjes(z[::100], 2.0, 1.0, SPIKE.c, mu1, mu2, w)
    np.testing.assert_allclose(found[::100], expected, rtol=1e-6)


@pytest.mark.benchmark(group="density of 1000 points")
@pytest.mark.slow
def test_numpy_fixed_point_off_the_axis(benchmark):
    z = np.linspace(0.02, 3.0, 1000) + 1j * HEIGHT
    kappa, w = rivals.hermite(64)
    _, mu1, mu2 = rivals.tanh_tables(kappa, SPIKE.r, SPIKE.c)
    arguments = (z, 2.0, 1.0, SPIKE.c, mu1, mu2, w)
    found = benchmark.pedantic(rivals.numpy_stieltjes, arguments, rounds=1)
    ours = theory.stieltjes(z, alpha=2.0, step=SPIKE)
    np.testing.assert_allclose(found, ours, rtol=1e-3)


@pytest.mark.benchmark(group="density of 1000 points")
@pytest.mark.slow
def test_eigenvalues_of_a_network(benchmark):
    case = {"alpha": 2.0, "step": SPIKE}
    drawn = benchmark.pedantic(
        simulate_spectrum, kwargs={"d": 1000, "rng": 0, "workers": 1, **case}, rounds=1
    )
    assert drawn.distance(spectrum(1.0))[0] < 0.02


@pytest.mark.benchmark(group="groups")
@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_several_groups(benchmark, groups):
    r = np.array([1.1, -0.9, 0.6, -0.4])[:groups]
    found = benchmark(spectrum, np.linspace(0.02, 3.0, 1000), step=Spike(r, 1.05, 0.9))
    assert found.success.all()


@pytest.mark.benchmark(group="the whole spectrum, resolved")
@pytest.mark.parametrize("alpha", [0.5, 2.0])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_adaptive_grid(benchmark, activation, alpha):
    found = benchmark(spectrum, None, alpha=alpha, activation=activation)
    assert abs(found.mass - 1.0) < 1e-6
