"""Targets of several directions and inputs on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import k0, ndtr

from command_line import run
from spikedrf import Covariance, GradientStep, Mixture, MultiIndex, theory
from spikedrf.cli.inputs import inputs_of, target_of

STEP = GradientStep(3.0, 20.0)


def curve(capsys, *arguments):
    status, out, err = run(capsys, "curve --alpha 0.5 2 --json", *arguments)
    assert status == 0, err
    return json.loads(out)


@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        (["--target", "product"], {"target": "product"}),
        (["--target", "staircase:3"], {"target": MultiIndex("staircase", directions=3)}),
        (["--inputs", "power:0.5"], {"inputs": Covariance.power_law(0.5)}),
        (
            ["--inputs", "power:0.5:-1"],
            {"inputs": Covariance.power_law(0.5, target_exponent=-1.0)},
        ),
        (["--inputs", "eigenvalues:3,1,1"], {"inputs": Covariance([3.0, 1.0, 1.0])}),
        (
            ["--inputs", "mixture:1,0.6=1;-1,-0.6=-1"],
            {"inputs": Mixture([[1.0, 0.6], [-1.0, -0.6]], labels=[1.0, -1.0])},
        ),
        (
            ["--inputs", "mixture:0.3*1;0.7*-1"],
            {"inputs": Mixture([1.0, -1.0], proportions=[0.3, 0.7])},
        ),
        (
            ["--init", "gaussian", "--activation", "relu"],
            {"init": "gaussian", "activation": "relu"},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_curve_is_the_librarys(arguments, model, capsys):
    printed = curve(capsys, *arguments)
    exact = theory.solve([0.5, 2.0], lam=0.1, step=STEP, **{"target": "sin"} | model)
    np.testing.assert_allclose(printed["with_step"]["test_error"], exact.test_error, rtol=1e-12)
    if exact.class_error_rate is not None:
        np.testing.assert_allclose(
            printed["with_step"]["class_error_rate"], exact.class_error_rate, rtol=1e-12
        )
    linear = theory.best_linear_error(model.get("target", "sin"), 0.0, model.get("inputs"))
    assert printed["best_linear"] == pytest.approx(linear)


def test_rows_with_their_gain(capsys):
    """The theory of trained networks and the networks themselves take the same name."""
    asked = ["--init", "gaussian+gain", "--activation", "relu", "--bulk", "network"]
    sizes = ["--simulate", "network", "--d", "40", "--replicates", "2", "--workers", "1"]
    printed = curve(capsys, *asked, *sizes)
    model = {"lam": 0.1, "target": "sin", "activation": "relu"}
    trained = model | {"bulk": "network", "init": "gaussian+gain"}
    exact = theory.solve([0.5, 2.0], step=STEP, **trained)
    np.testing.assert_allclose(printed["with_step"]["test_error"], exact.test_error, rtol=1e-12)
    plain = theory.solve([0.5, 2.0], init="gaussian", **model)
    np.testing.assert_allclose(printed["without_step"]["test_error"], plain.test_error, rtol=1e-12)
    same = curve(capsys, "--init", "gaussian", *asked[2:], *sizes)
    drawn = [of["simulation"]["with_step"]["test_error"] for of in (printed, same)]
    assert drawn[0] == drawn[1]
    assert printed["with_step"]["test_error"] != same["with_step"]["test_error"]


def test_best_linear_error_of_classes():
    """Two classes +-m with labels +-1: 1 - |m|^2/(1 + |m|^2)."""
    pair = Mixture([[1.0, 0.6], [-1.0, -0.6]], labels=[1, -1])
    square = 1.36
    assert theory.best_linear_error("sin", 0.0, pair) == pytest.approx(1 / (1 + square))
    assert theory.best_linear_error("product", 0.1) == pytest.approx(1.01)


def test_files(tmp_path):
    file = tmp_path / "inputs.json"
    file.write_text(
        '{"means": [[1, 0], [0, 1]], "labels": [1, -1], "proportions": [0.4, 0.6], '
        '"covariance": {"eigenvalues": [1, 2]}}'
    )
    mixture = inputs_of(str(file))
    assert mixture.proportions.tolist() == [0.4, 0.6]
    assert mixture.covariance.scale == 1.5
    table = tmp_path / "inputs.csv"
    table.write_text("eigenvalue,dimensions,target1,target2\n2,.5,.7,.2\n1,.5,.3,.8\n")
    covariance = inputs_of(str(table))
    assert covariance.target.tolist() == [[0.7, 0.2], [0.3, 0.8]]
    table.write_text("mean1,mean2,proportion,label,weight\n1,0,.5,1,2\n-1,0,.5,-1,1\n")
    mixture = inputs_of(str(table))
    assert mixture.means.tolist() == [[1, 0], [-1, 0]]
    assert mixture.weights.tolist() == [2, 1]


def test_target_names():
    assert target_of("sin") == "sin"
    assert target_of("product").directions == 2
    assert target_of("committee:3").directions == 3


def test_class_columns_in_the_table(capsys):
    status, out, _ = run(capsys, "curve --alpha 1 --inputs mixture:1=1;-1=-1")
    assert status == 0
    assert "class 1" in out
    assert "wrong in class 2" in out


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        ("--target product", True),
        ("--target tanh --inputs power:0.3", True),
        ("--target tanh --inputs mixture:1;-1", False),
    ],
)
def test_signs_of_any_target_on_any_inputs(arguments, known, capsys):
    said = "curve --alpha 1 --labels sign --noise 0.5 --rtol 1e-3"
    status, out, _ = run(capsys, said, *arguments.split())
    assert status == 0
    assert ("# best classifier:" in out) is known


def test_best_classifier_of_a_product():
    # The product of two normal variables has the density K_0(|t|)/pi.
    exact, _ = quad(lambda t: 2.0 / np.pi * k0(t) * ndtr(-t / 0.5), 0.0, np.inf)
    expected = [exact, 0.1 + 0.8 * exact]
    np.testing.assert_allclose(theory.bayes_error("product", 0.5, [0.0, 0.1]), expected, rtol=1e-8)
    third = MultiIndex(lambda s: s[..., 0] * s[..., 2], directions=3)
    assert theory.bayes_error(third, 0.5) == pytest.approx(exact, rel=1e-6)
    np.testing.assert_allclose(
        theory.bayes_error(MultiIndex(lambda s: np.tanh(s[..., 0]), 1), 0.5),
        theory.bayes_error("tanh", 0.5),
        rtol=1e-9,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "product:4"], "argument --target: directions must be 1 to 3, got 4"),
        (["--target", "product:x"], "argument --target: target 'product:x' must end in a number"),
        (["--inputs", "power:x"], "argument --inputs: 'power:x': 'x' is not a number"),
        (["--inputs", "nothing"], "inputs are power:A"),
        (["--inputs", "none.json"], "No such file"),
        (["--inputs", "mixture:1=1;2"], "either every class has a label, or none"),
        (["--inputs", "mixture:1,2;1"], "all means must have as many coordinates"),
        (["--inputs", "mixture:0.5*1;0.6*2"], "proportions must sum to one"),
        (["--inputs", "eigenvalues:-1,2"], "eigenvalues must be >= 0"),
        (
            ["--inputs", "eigenvalues:1,2", "--bulk", "network", "--steps", "2", "--u", "1", "-2"],
            "argument --bulk: bulk='network' after several steps is known for one value of u",
        ),
        (["--init", "cube"], "argument --init: invalid choice"),
        (
            ["--init", "gaussian+gain"],
            "argument --init: init='gaussian+gain' is for a GradientStep",
        ),
    ],
)
def test_misuse(arguments, message, capsys):
    status, _, err = run(capsys, "curve --alpha 1", *arguments)
    assert status == 2
    assert message in err


def test_phase_and_spectrum(capsys):
    line = "phase --alpha 0.5:2:2 --lam 0.1:1:2 --json --inputs eigenvalues:3,1"
    status, out, err = run(capsys, line)
    assert status == 0, err
    exact = theory.solve(
        [0.5, 2.0], lam=[[0.1], [1.0]], target="sin", step=STEP, inputs=Covariance([3.0, 1.0])
    )
    np.testing.assert_allclose(json.loads(out)["value"], exact.test_error, rtol=1e-12)
    status, out, err = run(capsys, "spectrum --x 1 --json --inputs eigenvalues:3,1")
    assert status == 0, err
    spectrum = theory.spectrum(alpha=2.0, inputs=Covariance([3.0, 1.0]))
    np.testing.assert_allclose(json.loads(out)["without_step"]["edges"], spectrum.edges)
