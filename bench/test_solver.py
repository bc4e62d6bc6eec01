"""The certified solve beside its rivals, per point.

Every rival does step A alone; `theory.solve` does steps A, B and C, and certifies the answer.
"""

import subprocess
import sys
from time import perf_counter

import numpy as np
import pytest

import rivals
from spikedrf import GradientStep, Spike, theory

R, C, GAMMA = 1.13405551, 1.0189732, 0.97185444
STRENGTHS = np.array([R, -0.9, 0.6, -0.4, 1.6, -1.3])
NESTED = "nested quadrature, step A"
NUMPY = "NumPy fixed point, step A"


def solve(alpha, lam, step, **more):
    return theory.solve(alpha, lam=lam, target="sin", step=step, noise=0.1, workers=1, **more)


def spike(groups):
    return Spike(STRENGTHS[:groups], C, GAMMA)


def grid(points):
    """About so many points in alpha and lam."""
    side = round(points**0.5)
    return np.linspace(0.1, 5, side)[:, None], np.geomspace(1e-2, 1, side)


def certified(solution):
    assert np.all(solution.success)


def numpy_grid(alpha, lam, groups):
    """The rival's whole work on a grid: its tables, and step A at all points."""
    kappa, w = rivals.hermite(64)
    c, pi = np.full(groups, C), np.full(groups, 1 / groups)
    _, mu1, mu2 = rivals.tables(np.tanh, kappa, STRENGTHS[:groups], c)
    a, ridge = (x.ravel() for x in np.broadcast_arrays(alpha, lam))
    # In chunks that fit into the cache.
    parts = [slice(i, i + 256) for i in range(0, a.size, 256)]
    v2 = [rivals.numpy_step_a(a[i], 1.0, ridge[i], c, pi, mu1, mu2, w)[1] for i in parts]
    return np.concatenate(v2)


# ---- One spike for all points -------------------------------------------------------------------


@pytest.mark.parametrize("entrant", ["spikedrf", NUMPY, NESTED])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_one_spike(race, groups, entrant):
    points = {1: 100_000, 2: 20_000, 4: 2_500}[groups]
    more = {"group": "solver, one spike for all points, per point"}
    more |= {"row": f"K = {groups}, {points} points"}
    alpha, lam = grid(points)
    if entrant == "spikedrf":
        more |= {"points": alpha.size * lam.size, "check": certified}
        race(entrant, solve, alpha, lam, spike(groups), **more)
    elif entrant == NUMPY:
        alpha, lam = grid(1000)
        expected = solve(alpha, lam, spike(groups)).V2.reshape(-1, groups)

        def check(v2):
            np.testing.assert_allclose(v2, expected, rtol=1e-6)

        more |= {"points": len(expected), "check": check, "target": 15.0 if groups == 1 else None}
        race(entrant, numpy_grid, alpha, lam, groups, **more)
    elif groups == 1:
        at = solve(2.0, 0.1, spike(1))

        def check(found):
            np.testing.assert_allclose(found, [at.V1[0, 0], at.V2[0]], rtol=1e-3)

        nested = rivals.nested_quadrature_step_a
        race(entrant, nested, 2.0, 1.0, 0.1, R, C, check=check, target=100_000.0, **more)
    else:
        pytest.skip("written for one group")


# ---- A spike for every point --------------------------------------------------------------------

FUNCTIONS = {"tanh": np.tanh, "sin": np.sin, "softplus": lambda x: np.logaddexp(0, x)}


@pytest.mark.parametrize("entrant", ["spikedrf", NUMPY])
@pytest.mark.parametrize(
    "activation", ["tanh", "relu", "erf", "sin", "softplus", "gelu", "sigmoid"]
)
def test_a_spike_for_every_point(race, activation, entrant):
    """The rival makes its tables by one rule of 64 x 64 nodes, which suits smooth functions."""
    points = 1000 if entrant == "spikedrf" else 50
    step = GradientStep(np.linspace(0.1, 4, points), 20.0)
    more = {"group": "solver, a spike for every point, per point", "row": activation}
    more |= {"points": points}
    if entrant == "spikedrf":
        race(
            entrant,
            lambda: solve(1.5, 0.1, step, activation=activation),
            check=certified,
            **more,
        )
        return
    if activation not in FUNCTIONS:
        pytest.skip("not in NumPy, or not smooth")
    r, c, _, _ = step.spike(activation, "sin", 0.1).arrays()

    def run():
        kappa, w = rivals.hermite(64)
        one, alpha, lam = np.ones(1), np.full(1, 1.5), np.full(1, 0.1)
        found = np.empty(points)
        for i in range(points):
            _, mu1, mu2 = rivals.tables(FUNCTIONS[activation], kappa, r[i], c[i])
            found[i] = rivals.numpy_step_a(alpha, 1.0, lam, c[i], one, mu1, mu2, w)[1][0, 0]
        return found

    expected = solve(1.5, 0.1, step, activation=activation).V2[:, 0]
    race(entrant, run, check=lambda v2: np.testing.assert_allclose(v2, expected, rtol=1e-4), **more)


# ---- What makes it dearer -----------------------------------------------------------------------


def nodes(solution):
    return f"{np.mean(solution.nodes):.0f} nodes"


GROWTH = {f"K = {k}": (1.0, 2500, k) for k in (1, 2, 3, 4, 6)}
GROWTH |= {f"r = {r:g}": (r, 2500, 1) for r in (5.0, 30.0)}
GROWTH |= {f"{n} point{'s' * (n > 1)}": (1.0, n, 1) for n in (1, 9, 100, 10_000, 1_000_000)}


@pytest.mark.parametrize("entrant", ["spikedrf"])
@pytest.mark.parametrize("row", GROWTH)
def test_growth(race, row, entrant):
    strength, points, groups = GROWTH[row]
    alpha, lam = grid(points)
    step = Spike(strength * STRENGTHS[:groups], C, GAMMA)
    size = alpha.size * lam.size
    more = {"group": "solver, what makes a point dearer (2500 points, K = 1, r = 1.1 unless said)"}
    race(
        entrant, solve, alpha, lam, step, check=certified, row=row, points=size, note=nodes, **more
    )


# ---- The trained network's own bulk -------------------------------------------------------------

ISOTROPIC = "isotropic bulk"


def with_bulk(entrant):
    return {"bulk": "network" if entrant == "spikedrf" else "isotropic"}


@pytest.mark.parametrize("entrant", ["spikedrf", ISOTROPIC])
@pytest.mark.parametrize("groups", [1, 2])
def test_bulk(race, groups, entrant):
    step = GradientStep(3.0, 0.5, u=[1.0, -1.0][:groups])
    alpha, lam = grid(10_000)

    def check(solution):
        certified(solution)
        # theory.md, section 10.
        at = theory.solve(1.5, lam=0.05, step=GradientStep(3.0, 0.5), **with_bulk(entrant))
        expected = 0.26355 if entrant == "spikedrf" else 0.24061
        np.testing.assert_allclose(at.test_error, expected, atol=5.1e-6)

    more = {"group": "solver, the trained network's bulk, per point", "points": 10_000}
    more |= {"row": f"one step, K = {groups}", "part": entrant != "spikedrf", "check": check}
    race(entrant, lambda: solve(alpha, lam, step, **with_bulk(entrant)), **more)


@pytest.mark.parametrize("entrant", ["spikedrf", ISOTROPIC])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_bulk_for_every_point(race, activation, entrant):
    step = GradientStep(np.linspace(0.1, 4, 1000), 0.5)
    more = {"group": "solver, the trained network's bulk, per point", "points": 1000}
    more |= {"row": f"a step for every point, {activation}", "part": entrant != "spikedrf"}
    race(
        entrant,
        lambda: solve(1.5, 0.1, step, activation=activation, **with_bulk(entrant)),
        check=certified,
        **more,
    )


# ---- The first answer ---------------------------------------------------------------------------

COLD = {
    "import of the package alone": ("import spikedrf", "import numpy"),
    "import": ("import spikedrf.theory", "import numpy, scipy.linalg"),
    "import and one point": (
        "from spikedrf import theory; theory.solve(1.0, lam=0.1)",
        "import numpy, scipy.linalg, scipy.integrate, scipy.special",
    ),
}


@pytest.mark.benchmark(timer=perf_counter)  # of another process
@pytest.mark.parametrize("entrant", ["spikedrf", "NumPy and SciPy imported"])
@pytest.mark.parametrize("row", COLD)
def test_cold(race, row, entrant):
    code = COLD[row][entrant != "spikedrf"]

    def run():
        return subprocess.run([sys.executable, "-c", code], check=False).returncode

    def check(status):
        assert status == 0

    part = entrant != "spikedrf"
    race(entrant, run, check=check, group="solver, in a new process", row=row, part=part)


@pytest.mark.parametrize("entrant", ["spikedrf", NUMPY])
def test_one_point_in_one_call(race, entrant):
    more = {"group": "solver, one call for one point", "row": "tanh on sin, K = 1"}
    if entrant == "spikedrf":
        race(entrant, solve, 2.0, 0.1, spike(1), check=certified, **more)
        return
    expected = solve(2.0, 0.1, spike(1)).V2

    def check(v2):
        np.testing.assert_allclose(v2[0], expected, rtol=1e-6)

    race(entrant, numpy_grid, 2.0, 0.1, 1, check=check, **more)
