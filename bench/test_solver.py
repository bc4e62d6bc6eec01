"""The certified solve beside its rivals. Run: python -m pytest bench --benchmark-group-by=group.

Every rival does step A alone; `theory.solve` does steps A, B and C, and certifies the answer.
Divide the times by the number of points in the name.
"""

import numpy as np
import pytest

import rivals
from spikedrf import GradientStep, Spike, theory

SPIKE = Spike(1.13405551, 1.0189732, 0.97185444)


def solve(alpha, lam, step=SPIKE, **more):
    return theory.solve(alpha, lam=lam, target="sin", step=step, noise=0.1, workers=1, **more)


@pytest.mark.benchmark(group="one spike")
def test_grid_of_10000_points(benchmark):
    alpha, lam = np.linspace(0.1, 5, 100)[:, None], np.geomspace(1e-2, 1, 100)
    solution = benchmark(solve, alpha, lam)
    assert solution.success.all()
    kappa, w = rivals.hermite(64)
    _, mu1, mu2 = rivals.tanh_tables(kappa, SPIKE.r, SPIKE.c)
    v1, v2 = rivals.numpy_step_a(2.0, 1.0, 0.1, SPIKE.c, mu1, mu2, w, tolerance=1e-12)
    at = solve(2.0, 0.1)
    np.testing.assert_allclose([at.V1[0, 0], at.V2[0]], [v1, v2], rtol=1e-8)


@pytest.mark.benchmark(group="one spike")
def test_numpy_fixed_point_of_100_points(benchmark):
    kappa, w = rivals.hermite(64)
    _, mu1, mu2 = rivals.tanh_tables(kappa, SPIKE.r, SPIKE.c)
    alpha, lam = np.linspace(0.1, 5, 10), np.geomspace(1e-2, 1, 10)

    def run():
        points = [(a, ridge) for a in alpha for ridge in lam]
        fixed = [rivals.numpy_step_a(a, 1.0, b, SPIKE.c, mu1, mu2, w)[1] for a, b in points]
        return np.reshape(fixed, (10, 10))

    ours = solve(alpha[:, None], lam)
    np.testing.assert_allclose(benchmark(run), ours.V2[..., 0], rtol=1e-6)


@pytest.mark.benchmark(group="one spike")
@pytest.mark.slow
def test_nested_quadrature_of_1_point(benchmark):
    v1, v2 = benchmark.pedantic(
        rivals.nested_quadrature_step_a, (2.0, 1.0, 0.1, SPIKE.r, SPIKE.c), rounds=1
    )
    ours = solve(2.0, 0.1)
    np.testing.assert_allclose([v1, v2], [ours.V1[0, 0], ours.V2[0]], rtol=1e-3)


@pytest.mark.benchmark(group="groups")
@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_grid_of_2500_points_for_several_groups(benchmark, groups):
    r = np.array([1.1, -0.9, 0.6, -0.4])[:groups]
    alpha, lam = np.linspace(0.1, 5, 50)[:, None], np.geomspace(1e-2, 1, 50)
    solution = benchmark(solve, alpha, lam, Spike(r, 1.05, 0.9))
    assert solution.success.all()


@pytest.mark.benchmark(group="strength")
@pytest.mark.parametrize("r", [1.0, 5.0, 30.0])
def test_grid_of_2500_points_for_strong_spikes(benchmark, r):
    alpha, lam = np.linspace(0.1, 5, 50)[:, None], np.geomspace(1e-4, 1, 50)
    solution = benchmark(solve, alpha, lam, Spike(r, 1.05, 0.9))
    assert solution.success.all()


@pytest.mark.benchmark(group="a spike at every point")
@pytest.mark.parametrize("activation", ["tanh", "relu", "erf", "softplus", "gelu"])
def test_1000_spikes(benchmark, activation):
    step = GradientStep(np.linspace(0.1, 4, 1000), 20.0)
    solution = benchmark(solve, 1.5, 0.1, step, activation=activation)
    assert solution.success.all()
