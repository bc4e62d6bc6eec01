"""Derivatives, optima and diagrams over several gradient steps."""

import json

import numpy as np
import pytest

from command_line import run
from spikedrf import GradientStep, MultiIndex, theory
from spikedrf.explore.page import _facts
from spikedrf.explore.state import State
from spikedrf.explore.view import view
from spikedrf.first_layer.several_steps import SeveralSteps

STEPS = [GradientStep(1.0, 3.0), GradientStep(1.3, 2.0), GradientStep(0.7, 4.0)]
MODEL = {"activation": "tanh", "target": "sin", "noise": 0.1, "lam": 0.1}
PAIR = [GradientStep(1.5, 8.0, u=[1.0, -1.0])] * 2
PLANE = {"activation": "relu", "target": "sin", "noise": 0.1, "lam": 0.1}


def difference(error, x, step=1e-3):
    """Central difference of fourth order."""
    value = {k: error(x + k * step) for k in (-2, -1, 1, 2)}
    return (8 * (value[1] - value[-1]) - value[2] + value[-2]) / (12 * step)


def at(steps, number, **changes):
    """The steps, one of them changed."""
    one = steps[number]
    given = {"eta": one.eta, "alpha0": one.alpha0, "u": one.u} | changes
    return [*steps[:number], GradientStep(**given), *steps[number + 1 :]]


def test_derivatives_through_the_recursion():
    found = theory.gradient(2.0, step=STEPS, wrt=("eta_2", "alpha0_3", "noise", "lam"), **MODEL)
    assert found.success
    expected = {
        "eta_2": difference(
            lambda x: theory.solve(2.0, step=at(STEPS, 1, eta=x), **MODEL).test_error, 1.3
        ),
        "alpha0_3": difference(
            lambda x: theory.solve(2.0, step=at(STEPS, 2, alpha0=x), **MODEL).test_error, 4.0
        ),
        "noise": difference(
            lambda x: theory.solve(2.0, step=STEPS, **MODEL | {"noise": x}).test_error, 0.1
        ),
        "lam": difference(
            lambda x: theory.solve(2.0, step=STEPS, **MODEL | {"lam": x}).test_error, 0.1
        ),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6), name


def test_all_steps_together_are_the_sum():
    equal = [GradientStep(1.0, 3.0)] * 3
    together = theory.gradient(2.0, step=equal, wrt=("eta", "alpha0"), **MODEL)
    names = [f"{name}_{i}" for name in ("eta", "alpha0") for i in (1, 2, 3)]
    each = theory.gradient(2.0, step=equal, wrt=names, **MODEL)
    assert together["eta"] == pytest.approx(sum(each[n] for n in names[:3]), rel=1e-8)
    assert together["alpha0"] == pytest.approx(sum(each[n] for n in names[3:]), rel=1e-8)


def test_derivatives_in_a_plane():
    found = theory.gradient(4.0, step=PAIR, wrt=("eta_2", "lam"), rtol=1e-6, **PLANE)
    assert found.success
    expected = difference(
        lambda x: theory.solve(4.0, step=at(PAIR, 1, eta=x), rtol=1e-9, **PLANE).test_error,
        1.5, 2e-2,
    )  # fmt: skip
    assert found["eta_2"] == pytest.approx(expected, rel=2e-5)
    expected = difference(
        lambda x: theory.solve(4.0, step=PAIR, rtol=1e-9, **PLANE | {"lam": x}).test_error, 0.1
    )
    assert found["lam"] == pytest.approx(expected, rel=1e-6)


def test_batches_without_end_do_not_move():
    steps = [GradientStep(1.0, np.inf)] * 2
    found = theory.gradient(2.0, step=steps, wrt="alpha0", **MODEL)
    assert found["alpha0"] == 0.0


def test_the_best_size_of_one_step():
    """Of the second step, against a grid."""
    steps = [GradientStep(1.0, 3.0)] * 2
    found = theory.optimise(2.0, over="eta_2", step=steps, **MODEL)
    assert found.success
    grid = found.eta * np.array([0.97, 1.03])
    beside = theory.solve(2.0, step=[steps[0], GradientStep(grid, 3.0)], **MODEL).test_error
    assert (beside > found.test_error).all()
    slope = theory.gradient(2.0, step=at(steps, 1, eta=found.eta), wrt="eta_2", **MODEL)["eta_2"]
    assert abs(slope) < 1e-6


def test_the_best_size_of_all_steps():
    """With as many groups as span a plane; on the bound that keeps the search short."""
    found = theory.optimise(
        4.0, over="eta", step=PAIR, bounds={"eta": (1.0, 2.0)}, rtol=1e-6, **PLANE
    )
    both = [GradientStep(found.eta, 8.0, u=[1.0, -1.0])] * 2
    same = theory.solve(4.0, step=both, rtol=1e-6, **PLANE)
    assert found.test_error == pytest.approx(same.test_error, rel=1e-6)
    for eta in (1.2, 1.8):
        other = [GradientStep(eta, 8.0, u=[1.0, -1.0])] * 2
        error = theory.solve(4.0, step=other, rtol=1e-6, **PLANE).test_error
        assert error >= found.test_error * (1 - 1e-6)


def test_a_diagram_over_the_number_of_steps():
    diagram = theory.phase_diagram(eta=[0.5, 1.0], steps=[0, 1, 3], alpha0=3.0, alpha=2.0, **MODEL)
    assert (diagram.x_name, diagram.y_name) == ("eta", "steps")
    for i, count in enumerate((0, 1, 3)):
        for j, eta in enumerate((0.5, 1.0)):
            step = [GradientStep(eta, 3.0)] * count if count else None
            alone = theory.solve(2.0, step=step, **MODEL).test_error
            assert diagram.value[i, j] == pytest.approx(alone, rel=1e-10)


def test_a_diagram_over_one_of_the_steps():
    diagram = theory.phase_diagram(
        alpha=[2.0, 4.0], eta_2=[1.0, 1.5], step=PAIR, rtol=1e-6, **PLANE
    )
    alone = theory.solve(4.0, step=at(PAIR, 1, eta=1.0), rtol=1e-6, **PLANE).test_error
    assert diagram.value[0, 1] == pytest.approx(alone, rel=1e-9)


def test_the_command_lines(capsys):
    line = "phase --eta 0.5:1:2 --steps 1:2:2 --alpha0 3 --noise 0.1 --alpha 2 --json --quiet"
    status, out, err = run(capsys, line)
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["y"] == [1.0, 2.0]
    alone = theory.solve(2.0, step=[GradientStep(1.0, 3.0)] * 2, **MODEL).test_error
    assert found["value"][1][1] == pytest.approx(alone, rel=1e-9)
    line = (
        "curve --alpha 4 --eta 1.5 --alpha0 8 --u 1 -1 --steps 2 --activation relu "
        "--target staircase --noise 0.1 --rtol 1e-6 --json"
    )
    status, out, err = run(capsys, line)
    assert (status, err) == (0, "")
    staircase = PLANE | {"target": MultiIndex("staircase")}
    alone = theory.solve(4.0, step=PAIR, rtol=1e-6, **staircase).test_error
    assert json.loads(out)["with_step"]["test_error"][0] == pytest.approx(alone, rel=1e-6)
    text = run(capsys, line.replace(" --json", ""))[1]
    assert "r 1.2" in text
    assert "; -1.2" in text


def test_the_page():
    state = State(steps=2, u=(1.0, -1.0), activation="relu", target="staircase", eta=1.5, alpha=4.0)
    assert State.from_query(state.query()) == state
    assert "--steps 2" in state.command()
    shown = view(state)
    assert shown.missing == ""
    assert (shown.spectrum, shown.spike.span) == (None, 2)
    names: dict = {}
    exec(state.python().replace("print(here)", ""), names)
    assert names["here"].test_error == pytest.approx(shown.here, rel=1e-4)
    np.testing.assert_allclose(names["learned"], shown.learned, atol=1e-3)
    assert "; -1.2" in _facts(state, shown)
    with pytest.raises(ValueError, match=r"steps must be an integer, got 1\.5"):
        State(steps=1.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.gradient(2.0, step=STEPS, wrt="eta", **MODEL), "which differ: name one"),
        (lambda: theory.gradient(2.0, step=STEPS, wrt="eta_4", **MODEL), "wrt must name some of"),
        (lambda: theory.optimise(2.0, step=STEPS, over=("eta_1", "eta_2"), **MODEL),
         "over may name the eta of one step"),
        (lambda: theory.phase_diagram(alpha=[1.0, 2.0], steps=[1.5, 2.0], eta=1.0, alpha0=1.0,
                                      lam=0.1), "steps must be integers"),
        (lambda: theory.phase_diagram(alpha=[1.0, 2.0], steps=[1, 2], lam=0.1),
         "steps belongs to eta and alpha0"),
        (lambda: SeveralSteps(STEPS).parameter("alpha0"), "alpha0 is that of all steps"),
    ],
)  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
