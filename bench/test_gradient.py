"""All derivatives at once beside central differences, and beside one solve of the same points."""

import numpy as np
import pytest

from spikedrf import GradientStep, Spike, theory

PARAMETERS = ("alpha", "beta", "lam", "noise", "gamma", "r", "c")
STEPS = {"alpha": 1e-3, "beta": 1e-3, "lam": 1e-4, "noise": 1e-3, "gamma": 1e-4}
ALPHA, LAM = np.linspace(0.1, 5, 50)[:, None], np.geomspace(1e-2, 1, 50)
R = np.array([1.1, -0.9, 0.6])


def posed(p):
    p = dict(p)
    step = Spike(p.pop("r"), p.pop("c"), p.pop("gamma"))
    return {"step": step, "target": "sin", "workers": 1} | p


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


@pytest.mark.parametrize("entrant", ["spikedrf", "one solve", "central differences"])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_gradient_of_everything(race, groups, entrant):
    p = {
        "alpha": ALPHA, "lam": LAM, "beta": 1.0, "noise": 0.1, "gamma": 0.9,
        "r": R[:groups], "c": np.full(groups, 1.05),
    }  # fmt: skip
    more = {"group": "gradient, all parameters, one spike, per point", "row": f"K = {groups}"}
    more |= {"points": ALPHA.size * LAM.size}
    other = differences(p) if entrant == "spikedrf" else None

    def check(slope):
        assert slope.success.all()
        for name, expected in other.items():
            scale = np.abs(expected).max()
            np.testing.assert_allclose(slope[name], expected, rtol=1e-3, atol=1e-4 * scale)

    if entrant == "spikedrf":
        race(entrant, lambda: theory.gradient(wrt=PARAMETERS, **posed(p)), check=check, **more)
    elif entrant == "one solve":
        more |= {"part": True, "target": 3.0}
        race(
            entrant,
            lambda: theory.solve(**posed(p)),
            check=lambda solution: np.testing.assert_array_equal(solution.success, True),
            **more,
        )
    else:
        exact = theory.gradient(wrt=PARAMETERS, **posed(p))

        def agree(found):
            scale = np.abs(exact["r"]).max()
            np.testing.assert_allclose(found["r"], exact["r"], atol=1e-4 * scale)

        race(entrant, differences, p, check=agree, **more)


@pytest.mark.parametrize("entrant", ["spikedrf", "one solve"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "erf"])
def test_gradient_with_a_spike_for_every_point(race, activation, entrant):
    eta = np.linspace(0.1, 4, 500)
    names = ("alpha", "beta", "lam", "noise", "eta", "alpha0")
    more = {"group": "gradient, all parameters, a spike for every point, per point"}
    more |= {"row": activation, "points": eta.size}

    def given(shift=0.0):
        step = GradientStep(eta + shift, 20.0)
        return {"lam": 0.1, "target": "sin", "step": step, "noise": 0.1, "workers": 1}

    def solve(shift=0.0):
        return theory.solve(1.5, activation=activation, **given(shift))

    def check(slope):
        h = 1e-4
        expected = (solve(h).test_error - solve(-h).test_error) / (2 * h)
        np.testing.assert_allclose(slope["eta"], expected, rtol=1e-4, atol=1e-7)

    if entrant == "spikedrf":
        run = theory.gradient
        race(
            entrant, lambda: run(1.5, activation=activation, wrt=names, **given()), check=check,
            **more,
        )  # fmt: skip
    else:
        more |= {"part": True}
        race(
            entrant,
            solve,
            check=lambda solution: np.testing.assert_array_equal(solution.success, True),
            **more,
        )
