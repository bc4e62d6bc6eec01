"""``--loss``, ``--labels`` and ``--flip`` on the command line."""

import csv
import json

import numpy as np
import pytest

from command_line import rows_of, run
from spikedrf import GradientStep, losses, simulate, theory

LINE = "--alpha 0.5 2 --target tanh --noise 0.3 --eta 2"
STEP = GradientStep(eta=2.0, alpha0=20.0)
MODEL = {"lam": 0.1, "target": "tanh", "noise": 0.3}
SIGNS = {"loss": "hinge", "labels": "sign", "flip": 0.1}


def test_curve_is_what_the_library_says(capsys):
    line = f"curve {LINE} --loss hinge --labels sign --flip 0.1"
    status, out, err = run(capsys, f"{line} --json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    expected = theory.solve([0.5, 2.0], step=STEP, **MODEL, **SIGNS)
    for name in ("test_error", "train_error", "excess_error", "norm", "train_loss", "margin"):
        np.testing.assert_allclose(result["with_step"][name], getattr(expected, name), rtol=1e-12)
    assert result["parameters"]["loss"] == {"name": "hinge"}
    assert result["parameters"]["flip"] == 0.1
    least = theory.bayes_error("tanh", 0.3, 0.1)
    assert result["bayes_error"] == pytest.approx(least, rel=1e-12)
    assert "best_linear" not in result
    status, out, _ = run(capsys, line)
    assert "hinge loss, sign labels, flip 0.1" in out
    assert f"# best classifier: {least:#.6g}" in out
    np.testing.assert_allclose([float(row[2]) for row in rows_of(out)], expected.test_error, 1e-5)


def test_parameters_of_losses(capsys):
    status, out, _ = run(capsys, f"curve {LINE} --loss huber:0.5 --json")
    assert status == 0
    result = json.loads(out)
    assert result["parameters"]["loss"] == {"name": "huber", "delta": 0.5}
    expected = theory.solve([0.5, 2.0], step=STEP, loss=losses.Huber(0.5), **MODEL)
    np.testing.assert_allclose(result["with_step"]["test_error"], expected.test_error, rtol=1e-12)
    assert result["best_linear"] == theory.best_linear_error("tanh", 0.3)


def test_simulation_beside_the_theory(capsys, tmp_path):
    file = tmp_path / "curve.csv"
    line = f"{LINE} --loss logistic --labels sign --d 40 --replicates 2 --quiet"
    status, out, _ = run(capsys, f"curve {line} --simulate srf --out", file)
    assert status == 0
    step = GradientStep(eta=2.0, alpha0=20.0)
    simulation = simulate(
        [0.5, 2.0], d=40, replicates=2, rng=np.random.default_rng(0), step=step,
        loss="logistic", labels="sign", **MODEL,
    )  # fmt: skip
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    for name in ("test_error", "train_loss", "margin"):
        column = [float(row[f"simulated_{name}_with_step"]) for row in rows]
        np.testing.assert_allclose(column, getattr(simulation, name), rtol=1e-12)
    assert "train_margin_with_step" in rows[0]
    status, out, _ = run(capsys, f"simulate {line} --model srf")
    assert status == 0
    assert "margin" in out
    np.testing.assert_allclose([float(r[1]) for r in rows_of(out)], simulation.test_error, 1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--loss hubert", "argument --loss: loss must be a"),
        ("--loss hinge:2 --labels sign", "argument --loss: hinge has no parameter"),
        ("--loss huber:-1", "argument --loss: delta must be > 0"),
        ("--loss logistic", "argument --loss: loss 'logistic' is one of the margin"),
        ("--flip 0.1", "argument --flip: flip is for labels='sign'"),
        ("--labels sign --lam 0", "argument --lam: lam must be > 0 with"),
        ("--labels sign --alpha inf", "argument --alpha: alpha must be finite with"),
    ],
)
def test_misuse(capsys, options, message):
    status, out, err = run(capsys, f"curve {options}")
    assert (status, out) == (2, "")
    assert message in err
