"""All derivatives at once beside central differences by `theory.solve`.

Run: python -m pytest bench/test_gradient.py --benchmark-group-by=group. The solve of the same grid
is in each group: the gradient of everything should cost less than three of them.
"""

import numpy as np
import pytest

from spikedrf import GradientStep, Spike, theory

PARAMETERS = ("alpha", "beta", "lam", "noise", "gamma", "r", "c")
STEPS = {"alpha": 1e-3, "beta": 1e-3, "lam": 1e-4, "noise": 1e-3, "gamma": 1e-4}
ALPHA, LAM = np.linspace(0.1, 5, 50)[:, None], np.geomspace(1e-2, 1, 50)
R = np.array([1.1, -0.9, 0.6])


def point(groups):
    return {
        "alpha": ALPHA, "lam": LAM, "beta": 1.0, "noise": 0.1, "gamma": 0.9,
        "r": R[:groups], "c": np.full(groups, 1.05),
    }  # fmt: skip


def posed(p):
    p = dict(p)
    return {
        "step": Spike(p.pop("r"), p.pop("c"), p.pop("gamma")),
        "target": "sin",
        "workers": 1,
    } | p


def differences(p):
    """Second-order central differences: two solves for each parameter."""
    found = {}
    for name in PARAMETERS:
        groups = range(p["r"].size) if name in ("r", "c") else [None]
        columns = []
        for group in groups:
            sides = []
            for sign in (1, -1):
                step = sign * STEPS.get(name, 1e-3)
                if group is not None:
                    step = step * np.eye(p["r"].size)[group]
                sides.append(theory.solve(**posed(p | {name: p[name] + step})).test_error)
            columns.append((sides[0] - sides[1]) / (2 * STEPS.get(name, 1e-3)))
        found[name] = columns[0] if groups == [None] else np.stack(columns, axis=-1)
    return found


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_gradient_of_everything(benchmark, groups):
    benchmark.group = f"2500 points, {groups} groups"
    p = point(groups)
    slope = benchmark(theory.gradient, wrt=PARAMETERS, **posed(p))
    assert slope.success.all()
    for name, expected in differences(p).items():
        size = np.abs(expected).max()
        np.testing.assert_allclose(slope[name], expected, rtol=1e-3, atol=1e-4 * size, err_msg=name)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_gradient_in_lam(benchmark, groups):
    benchmark.group = f"2500 points, {groups} groups"
    p = point(groups)
    slope = benchmark(theory.gradient, wrt="lam", **posed(p))
    expected = differences(p)["lam"]
    np.testing.assert_allclose(slope["lam"], expected, rtol=1e-3, atol=1e-4 * np.ptp(expected))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_solve(benchmark, groups):
    benchmark.group = f"2500 points, {groups} groups"
    solution = benchmark(theory.solve, **posed(point(groups)))
    assert solution.success.all()


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_central_differences(benchmark, groups):
    benchmark.group = f"2500 points, {groups} groups"
    p = point(groups)
    found = benchmark(differences, p)
    exact = theory.gradient(wrt=PARAMETERS, **posed(p))
    np.testing.assert_allclose(found["r"], exact["r"], atol=1e-4 * np.abs(exact["r"]).max())


STEP = GradientStep(np.linspace(0.1, 4, 1000), 20.0)
NEW = {"lam": 0.1, "target": "sin", "step": STEP, "noise": 0.1, "workers": 1}


@pytest.mark.benchmark(group="1000 spikes")
@pytest.mark.parametrize("activation", ["tanh", "relu", "erf"])
def test_gradient_with_a_spike_at_every_point(benchmark, activation):
    names = ("alpha", "beta", "lam", "noise", "eta", "alpha0")
    slope = benchmark(theory.gradient, 1.5, activation=activation, wrt=names, **NEW)
    h = 1e-4
    sides = [
        theory.solve(1.5, activation=activation, **NEW | {"step": GradientStep(STEP.eta + x, 20.0)})
        for x in (h, -h)
    ]
    expected = (sides[0].test_error - sides[1].test_error) / (2 * h)
    np.testing.assert_allclose(slope["eta"], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.benchmark(group="1000 spikes")
@pytest.mark.parametrize("activation", ["tanh", "relu", "erf"])
def test_solve_with_a_spike_at_every_point(benchmark, activation):
    assert benchmark(theory.solve, 1.5, activation=activation, **NEW).success.all()
