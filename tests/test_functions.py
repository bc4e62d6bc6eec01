"""Named functions and losses: names, formulas and properties come from the core alone."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from spikedrf import _core, losses, theory
from spikedrf.activations import FORMULAS, NAMES, resolve

DOCS = Path(__file__).parents[1] / "docs"

NUMPY = {
    name: getattr(np, name) for name in ["tanh", "sqrt", "sin", "cos", "exp", "log", "abs", "sign"]
}
NUMPY |= {"max": np.maximum, "erf": special.erf}


@pytest.mark.parametrize("name", NAMES)
def test_formulas_are_what_the_kernels_compute(name):
    z = np.concatenate([np.linspace(-30.0, 30.0, 1201), [-1e-9, 1e-9, 0.3]])
    found = resolve(name)(z)
    expected = eval(FORMULAS[name], {"__builtins__": {}}, NUMPY | {"z": z})
    # What cancels in the formula: exp(-30) beside 1, polynomials near their zeros.
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14 * np.abs(found).max())


def test_the_table_in_the_documentation_has_every_function():
    text = (DOCS / "functions.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.+)` \|$", text, re.MULTILINE))
    assert rows == FORMULAS


def test_properties_of_named_functions():
    for code, entry in enumerate(_core.activations()):
        function = resolve(entry["name"])
        assert function.code == code
        slope = function.derivative(np.array([-60.0, 60.0]))
        assert tuple(np.abs(slope) < 1e-9) == entry["saturates"], entry["name"]
        bent = function.derivative(np.linspace(-3.0, 3.0, 100))
        assert (np.ptp(bent) == 0.0) == (entry["linear"] or entry["name"] == "sign"), entry["name"]


def test_erf_plain_is_the_error_function_of_scipy():
    model = {"lam": 0.1, "target": "sin"}
    named = theory.solve(1.5, activation="erf_plain", **model).test_error
    assert named == pytest.approx(theory.solve(1.5, activation=special.erf, **model).test_error)
    assert abs(named / theory.solve(1.5, activation="erf", **model).test_error - 1.0) > 0.01


def test_a_loss_that_the_core_does_not_know_is_refused():
    class Cubic(losses.Loss):
        name = "cubic"

    with pytest.raises(ValueError, match="the theory knows no loss 'cubic'; it knows square, hub"):
        theory.solve(1.0, lam=0.1, loss=Cubic())


@pytest.mark.parametrize("number", [-1, 99])
def test_numbers_beyond_the_lists_are_refused(number):
    with pytest.raises(ValueError, match=f"no activation of number {number}"):
        _core.Function(number)
    one = np.ones((1, 1))
    with pytest.raises(ValueError, match=f"no loss of number {number}"):
        _core.Problem(0, 0, one, one, one, one[0], loss=(number, 0.0))


def test_a_problem_without_a_loss_is_not_solved_as_another():
    one = np.ones((1, 1))
    problem = _core.Problem(0, 0, one, one, one, one[0])
    points = _core.Points(np.zeros(1, np.int64), one[0], one[0], lam=one[0], noise=one[0])
    with pytest.raises(ValueError, match="no loss"):
        _core.run(problem, points, _core.Solutions(1, 1), 0, 1)
