"""Several directions, classes and a covariance, beside one direction of white inputs.

The rival is this package's own solver of the smallest case, which does a part of the work: the
tables of a target of two directions are integrals over a plane.
"""

import numpy as np
import pytest

from spikedrf import Covariance, GradientStep, Mixture, Spike, theory

SPIKE = {"r": 1.13405551, "c": 1.0189732}
WHITE = "one direction, white inputs"
POINTS = 300  # on each axis: a target of two directions is to be timed once its tables are there
#: What is solved, and at most how many times as long it may take.
CASES = {
    "two directions": ({"target": "product", "gamma": [0.9, 0.3]}, 1.5),
    "two classes": ({"inputs": Mixture([1.0, -1.0], labels=[1.0, -1.0])}, 2.0),
    "two, no mirror images": ({"inputs": Mixture([1.0, -0.8], labels=[1.0, -1.0])}, 2.0),
    "two, labels a function": ({"inputs": Mixture([1.0, -0.8])}, 2.0),
    "three classes": ({"inputs": Mixture([1.0, -1.0, 0.0], labels=[1.0, -1.0, 0.5])}, 3.0),
    "three, no mirror images": (
        {"inputs": Mixture([1.0, -0.8, 0.0], labels=[1.0, -1.0, 0.5])},
        3.0,
    ),
    "eight eigenvalues": ({"inputs": Covariance(np.linspace(0.3, 2.0, 8))}, 4.0),
}


def solve(model):
    """Return the solution on a grid of points in alpha and lam at one spike."""
    given = {"target": "sin", "gamma": 0.97185444} | model
    step = Spike(**SPIKE, gamma=given.pop("gamma"))
    alpha = np.linspace(0.1, 5, POINTS)[:, None]
    lam = np.geomspace(1e-2, 1, POINTS)
    return theory.solve(alpha, lam=lam, noise=0.1, step=step, workers=1, **given)


def certified(solution):
    assert np.all(solution.success)


@pytest.mark.parametrize("entrant", ["spikedrf", WHITE])
@pytest.mark.parametrize("case", CASES)
def test_one_spike(race, case, entrant):
    model, most = CASES[case]
    more = {"group": "solver, inputs with latents, one spike, per point", "points": POINTS**2}
    if entrant == "spikedrf":
        race(entrant, solve, model, check=certified, row=case, **more)
    else:
        race(entrant, solve, {}, check=certified, row=case, part=True, target=most, **more)


STEPS = [GradientStep(1.5, 8.0, u=[1.0, -1.0])] * 3


def solve_after_steps(target):
    """Return the solution on a grid after three steps: a plane of spikes, or a line of them."""
    alpha, lam = np.linspace(0.5, 5, 20)[:, None], np.geomspace(1e-2, 1, 20)
    model = {"activation": "relu", "target": target, "noise": 0.1, "beta": 2.0, "rtol": 1e-6}
    step = STEPS if target == "staircase" else [GradientStep(1.5, 8.0)] * 3
    return theory.solve(alpha, lam=lam, step=step, workers=1, **model)


@pytest.mark.parametrize("entrant", ["spikedrf", WHITE])
def test_plane_of_spikes(race, entrant):
    """Steps and tables in it, which are two tenths of a second: goal 50 ms a point."""
    more = {"group": "solver, three steps, per point of a grid of 400", "points": 400}
    target = "staircase" if entrant == "spikedrf" else "tanh"
    race(
        entrant, solve_after_steps, target, check=certified, row="two values of u, a plane",
        part=entrant == WHITE, **more,
    )  # fmt: skip
