"""The theory of any convex loss beside its equations in NumPy, and beside ridge regression."""

import numpy as np
import pytest

import convex_rival
import rivals
from spikedrf import GradientStep, Spike, losses, theory

SPIKE = Spike(1.5, 1.05, 0.85)
STEP = GradientStep(3.0, 0.5)
NUMPY = "the equations in NumPy"
RIDGE, NETWORK = "ridge regression", "the loss, with the network's own bulk"

#: 36 points of one spike.
ALPHA, LAM = np.linspace(0.5, 4.0, 6)[:, None], np.geomspace(0.03, 1.0, 6)
MIDDLE = {"alpha": 2.0, "lam": 0.1}


def solve(alpha=ALPHA, lam=LAM, step=SPIKE, noise=0.3, **more):
    return theory.solve(alpha, lam=lam, step=step, noise=noise, workers=1, **more)


def certified(solution):
    assert np.all(solution.success)


def nodes(solution):
    return f"{np.mean(solution.nodes):.0f} nodes"


# ---- The same equations -------------------------------------------------------------------------

REAL, SIGN = convex_rival.real_labels, convex_rival.sign_labels
CUT = convex_rival.noiseless_signs
#: The rival's proximal map, averages and inner nodes, more of them across kinks; how far it can be
#: trusted, where the core's own estimate of its error is below 1e-8; what is asked for.
RACES = {
    "logistic, noisy signs": ("logistic", convex_rival.logistic, SIGN, 48, 1e-6, 50.0),
    "hinge, noisy signs": ("hinge", convex_rival.hinge, SIGN, 96, 1e-3, 50.0),
    "Huber": ("huber", convex_rival.huber, REAL, 96, 1e-5, 50.0),
    "pseudo-Huber": ("pseudo_huber", convex_rival.pseudo_huber, REAL, 48, 1e-6, 50.0),
    "quantile 0.8": (losses.Quantile(0.8), convex_rival.quantile, REAL, 96, 1e-3, 50.0),
    "logistic, signs without noise": ("logistic", convex_rival.logistic, CUT, 64, 1e-6, 50.0),
}


@pytest.mark.parametrize("entrant", ["spikedrf", NUMPY])
@pytest.mark.parametrize("row", RACES)
def test_equations(race, row, entrant):
    """The rival solves one point on as many nodes, its tables given, and without any certificate.

    Averages are over three variables, over two for real labels. For signs without noise zeta given
    the field is done in closed form, which leaves two, in the core too.
    """
    loss, phi, averages, inner, accuracy, target = RACES[row]
    model = {"loss": loss, "labels": "real" if averages is REAL else "sign"}
    model |= {"noise": 0.0} if averages is CUT else {}
    more = {"group": "solver, any convex loss, per point", "row": row}
    if entrant == "spikedrf":
        race(entrant, lambda: solve(**model), check=certified, points=36, note=nodes, **more)
        return
    expected = solve(**MIDDLE, **model)
    r, c, gamma, pi = SPIKE.arrays()
    rule = rivals.hermite(int(expected.nodes))
    tables = rivals.tables(np.tanh, rule[0], r, c)

    def run():
        return convex_rival.solve(
            averages, phi, np.tanh, MIDDLE["alpha"], 1.0, MIDDLE["lam"], r, c, float(gamma), pi,
            model.get("noise", 0.3), rule, tables, inner,
        )  # fmt: skip

    def check(found):
        state, rounds = found
        assert rounds < convex_rival.MOST_ROUNDS
        for name, theirs in zip(("V1", "V2", "q1", "q2"), state, strict=False):
            np.testing.assert_allclose(theirs, getattr(expected, name), rtol=accuracy)

    race(entrant, run, check=check, target=target, note=lambda f: f"{f[1]} rounds", **more)


# ---- What a loss costs --------------------------------------------------------------------------


@pytest.mark.parametrize("entrant", ["spikedrf", RIDGE, NETWORK])
@pytest.mark.parametrize("row", losses.NAMES)
def test_cost(race, row, entrant):
    """The square loss is that of signs, whose error rates have no closed form either."""
    loss = losses.resolve(row)
    more = {"loss": loss, "labels": "sign" if loss.margin or row == "square" else "real"}
    if entrant == RIDGE:
        more = {}
    more |= {"bulk": "network" if entrant == NETWORK else "isotropic", "step": STEP}
    where = {"group": "solver, what a loss costs, per point", "row": row, "points": 36}
    race(entrant, lambda: solve(**more), check=certified, part=entrant != "spikedrf", **where)
