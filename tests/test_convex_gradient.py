"""Derivatives and optima under any loss: differences, limits, identities."""

import numpy as np
import pytest

from differences import central
from spikedrf import ConvergenceWarning, GradientStep, Spike, losses, theory

ONE = {
    "alpha": 2.0, "beta": 1.0, "lam": 0.1, "noise": 0.3, "flip": 0.0, "activation": "tanh",
    "target": "tanh", "r": [1.5], "c": [1.05], "gamma": 0.85, "pi": [1.0],
}  # fmt: skip
TWO = ONE | {
    "noise": 0.5, "activation": "relu", "target": "hermite2", "r": [1.5, -1.0], "c": [1.05, 1.2],
    "gamma": 0.8, "pi": [0.6, 0.4],
}  # fmt: skip
FLIPPED = ONE | {"flip": 0.1}
STEP = GradientStep(3.0, 20.0)

CASES = {
    "Huber": (ONE, losses.Huber(0.7), "real", "test_error"),
    "pseudo-Huber, two groups": (TWO, losses.PseudoHuber(0.5), "real", "test_error"),
    "pseudo-Huber, its loss": (ONE, losses.PseudoHuber(), "real", "test_loss"),
    "absolute": (ONE, losses.Absolute(), "real", "test_error"),
    "quantile": (ONE, losses.Quantile(0.8), "real", "test_error"),
    "quantile, its loss": (ONE | {"alpha": 0.6}, losses.Quantile(0.8), "real", "test_loss"),
    "logistic": (FLIPPED, losses.Logistic(), "sign", "test_error"),
    "logistic, its loss, two groups": (TWO, losses.Logistic(), "sign", "test_loss"),
    "hinge": (FLIPPED, losses.Hinge(), "sign", "test_error"),
    "squared hinge, its loss": (ONE, losses.SquaredHinge(), "sign", "test_loss"),
    "square loss of signs": (FLIPPED, losses.Square(), "sign", "test_error"),
    "Huber of signs": (FLIPPED, losses.Huber(0.5), "sign", "test_error"),
    "logistic, no noise": (ONE | {"noise": 0.0}, losses.Logistic(), "sign", "test_error"),
}


def arguments(model, loss, labels):
    spike = [model[name] for name in ("r", "c", "gamma")]
    step = Spike(*spike, pi=model["pi"])
    rest = {name: value for name, value in model.items() if name not in ("r", "c", "gamma", "pi")}
    return rest | {"step": step, "loss": loss, "labels": labels, "workers": 1}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_derivatives_against_differences(case):
    """Along a random direction in all parameters at once, those of the loss among them."""
    model, loss, labels, objective = case
    rng = np.random.default_rng(0)
    names = ["alpha", "beta", "lam", "gamma", "r", "c"]
    names += [name for name in ("noise", "flip") if model[name]]
    # What may be 0 is moved in proportion to 1, groups each on their own.
    move = {name: 0.3 * rng.normal(size=np.shape(model[name])) for name in names}
    move["gamma"] = 0.1 * move["gamma"]
    for name in ("alpha", "beta", "lam", "noise", "flip"):
        move[name] = move.get(name, 0.0) * model[name]
    of_loss = {name: 0.2 * value * rng.normal() for name, value in vars(loss).items()}

    def at(t):
        moved = model | {name: np.add(model[name], t * move[name]) for name in names}
        other = type(loss)(
            **{name: value + t * of_loss[name] for name, value in vars(loss).items()}
        )
        solution = theory.solve(rtol=1e-10, **arguments(moved, other, labels))
        return getattr(solution, objective)

    wrt = [*names, *of_loss]
    slope = theory.gradient(wrt=wrt, objective=objective, **arguments(model, loss, labels))
    assert slope.success
    assert slope.value == pytest.approx(at(0.0), rel=1e-8)
    along = sum(np.sum(slope[name] * (move | of_loss)[name]) for name in wrt)
    scale = sum(np.sum(np.abs(slope[name] * (move | of_loss)[name])) for name in wrt)
    assert along == pytest.approx(central(at, 0.0, 0.05, order=6), rel=1e-6, abs=1e-6 * scale)


@pytest.mark.parametrize(
    ("loss", "labels"), [("logistic", "sign"), ("pseudo_huber", "real")], ids=str
)
def test_through_the_step(loss, labels):
    """eta, alpha0 and the noise of both stages, with the network's own bulk."""
    model = {"alpha": 1.5, "lam": 0.1, "target": "sin", "loss": loss, "labels": labels}
    model |= {"bulk": "network", "workers": 1}
    move = {"eta": 0.4, "alpha0": 0.3, "noise": 0.05}
    start = {"eta": 2.0, "alpha0": 2.0, "noise": 0.3}

    def at(t):
        now = {name: value + t * move[name] for name, value in start.items()}
        step = GradientStep(now["eta"], now["alpha0"])
        return theory.solve(step=step, noise=now["noise"], rtol=1e-9, **model).test_error

    slope = theory.gradient(step=GradientStep(2.0, 2.0), noise=0.3, wrt=tuple(move), **model)
    assert slope.success
    along = sum(slope[name] * move[name] for name in move)
    assert along == pytest.approx(central(at, 0.0, 0.05), rel=1e-6)


def test_huge_delta_is_ridge_regression():
    """The square loss through the general equations, all derivatives and both groups."""
    wrt = ("alpha", "beta", "lam", "noise", "gamma", "r", "c")
    ridge = theory.gradient(wrt=wrt, **arguments(TWO, losses.Square(), "real"))
    other = theory.gradient(wrt=wrt, **arguments(TWO, losses.Huber(1e8), "real"))
    for name in wrt:
        np.testing.assert_allclose(other[name], ridge[name], rtol=1e-7, err_msg=name)
    assert other.test_loss == pytest.approx(0.5 * ridge.test_error, rel=1e-8)
    half = theory.gradient(wrt="lam", objective="test_loss", **arguments(TWO, "square", "real"))
    assert half["lam"] == pytest.approx(0.5 * ridge["lam"])


def test_groups_that_are_alike():
    """Together they are one group; apart they free a function, and the error jumps."""
    twins = ONE | {"r": [1.5, 1.5], "c": [1.05, 1.05], "pi": [0.5, 0.5]}
    one = theory.gradient(wrt=("lam", "gamma"), **arguments(ONE, "huber", "real"))
    two = theory.gradient(wrt=("lam", "gamma"), **arguments(twins, "huber", "real"))
    for name in one:
        assert two[name] == pytest.approx(one[name], rel=1e-6)
    with pytest.warns(ConvergenceWarning):
        apart = theory.gradient(wrt="r", **arguments(twins, "huber", "real"))
    assert apart.status == 4
    assert np.isnan(apart["r"]).all()


def test_without_noise():
    """Sign labels do not feel a first bit of noise, unless the target touches 0 where it is."""
    silent = arguments(ONE | {"noise": 0.0}, "logistic", "sign")
    assert theory.gradient(wrt="noise", **silent)["noise"] == 0.0
    flat = arguments(ONE | {"noise": 0.0, "target": "relu", "flip": 0.1}, "logistic", "sign")
    with pytest.warns(ConvergenceWarning):
        assert theory.gradient(wrt="noise", **flat).status == 4


RIDGES = {
    "logistic": {"loss": "logistic", "labels": "sign", "noise": 0.3},
    "hinge": {"loss": "hinge", "labels": "sign", "noise": 0.5},
    "logistic, its loss": {
        "loss": "logistic", "labels": "sign", "noise": 0.3, "objective": "test_loss",
    },
    "absolute": {"loss": "absolute", "noise": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("case", RIDGES.values(), ids=RIDGES)
def test_best_ridge_against_a_grid(case):
    case = case | {"step": STEP, "target": "sin", "workers": 1, "rtol": 1e-7}
    objective = case.get("objective", "test_error")
    best = theory.optimise(2.0, bounds={"lam": (0.05, 20.0)}, **case)
    assert best.success
    assert not best.at_bound
    case.pop("objective", None)
    lam = best.lam * np.geomspace(0.2, 5.0, 21)
    grid = getattr(theory.solve(2.0, lam=lam, **case), objective)
    found = getattr(best.solution, objective)
    assert found <= grid.min() * (1 + 1e-7)
    assert found == pytest.approx(grid.min(), rel=1e-3)


def test_best_step_of_signs():
    case = {"lam": 0.1, "target": "sin", "noise": 0.2, "loss": "square", "labels": "sign"}
    case |= {"workers": 1, "rtol": 1e-6}
    best = theory.optimise(2.0, over="eta", bounds={"eta": (0.5, 8.0)}, step=STEP, **case)
    assert best.success
    grid = GradientStep(np.geomspace(0.5, 8.0, 9), STEP.alpha0)
    assert best.test_error <= theory.solve(2.0, step=grid, **case).test_error.min() * (1 + 1e-6)
    slope = theory.gradient(2.0, wrt="eta", step=GradientStep(best.eta, STEP.alpha0), **case)
    assert best.side["eta"] or abs(slope["eta"] * best.eta) < 1e-5 * best.test_error


def test_diagram_of_best_ridges():
    model = {"loss": "square", "labels": "sign", "flip": 0.1, "target": "sin", "step": STEP}
    diagram = theory.phase_diagram(
        value="lam", over="lam", alpha=[1.0, 4.0], noise=[0.2, 0.5], bounds={"lam": (0.01, 10.0)},
        rtol=1e-6, workers=1, **model,
    )  # fmt: skip
    one = theory.optimise(4.0, noise=0.2, bounds={"lam": (0.01, 10.0)}, rtol=1e-6, **model)
    assert diagram.success.all()
    assert diagram.value[0, 1] == pytest.approx(one.lam, rel=1e-5)
