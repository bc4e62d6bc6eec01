"""Several values of a parameter at once: what one value each gives, in one table."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from command_line import rows_of, run
from spikedrf import GradientStep, simulate, theory
from spikedrf.cli import cases, main

SMALL = "--d 40 --replicates 3 --n-test 200 --seed 2"
CURVE = "curve --activation erf --target sin --alpha 0.5 2 inf --noise 0.1"


def single(capsys, line):
    status, out, err = run(capsys, f"{line} --json")
    assert (status, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize("name", cases.PARAMETERS)
def test_curve_json(capsys, name):
    values = [0.5, 2.0]
    result = single(capsys, f"{CURVE} --{name} 0.5 2")
    assert (result["over"], result["values"]) == (name, values)
    assert name not in result["parameters"]
    for value, curve in zip(values, result["curves"], strict=True):
        alone = single(capsys, f"{CURVE} --{name} {value}")
        assert curve == {k: alone[k] for k in curve}
        assert {"spike", "alpha", "with_step", "without_step", "gain"} <= set(curve)


def test_a_grid_is_several_values(capsys):
    assert single(capsys, f"{CURVE} --eta 1:3:3")["values"] == [1.0, 2.0, 3.0]
    assert "over" not in single(capsys, f"{CURVE} --eta 2")


def test_steps_in_turn(capsys):
    """Without a number behind --steps, values are those of one step after another."""
    steps = [GradientStep(1.0, 6.0), GradientStep(1.0, 6.0), GradientStep(0.5, 3.0)]
    line = f"{CURVE} --eta 1 1 .5 --alpha0 6 6 3 --steps"
    result = single(capsys, line)
    expected = theory.solve(
        [0.5, 2.0, np.inf], lam=0.1, activation="erf", target="sin", noise=0.1, step=steps
    )
    np.testing.assert_allclose(result["with_step"]["test_error"], expected.test_error, rtol=1e-12)
    assert result["parameters"]["eta"] == [1.0, 1.0, 0.5]
    # One value is for all steps; a simulation takes them too.
    same = single(capsys, f"{CURVE} --eta 1 1 1 --alpha0 6 --steps")
    assert same["with_step"] == single(capsys, f"{CURVE} --eta 1 --alpha0 6 --steps 3")["with_step"]
    drawn = single(capsys, f"simulate --alpha 2 --eta 1 .5 --alpha0 3 --steps {SMALL}")
    again = simulate(
        2.0, lam=0.1, step=[GradientStep(1.0, 3.0), GradientStep(0.5, 3.0)], model="network",
        d=40, replicates=3, n_test=200, rng=2, activation="tanh", target="sin",
    )  # fmt: skip
    np.testing.assert_allclose(drawn["test_error"], [again.test_error], rtol=1e-12)
    for wrong, message in (
        ("--eta 1 2 3 --alpha0 1 2 --steps", "argument --alpha0: 2 values for 3 steps"),
        ("--steps", "argument --steps: without a number"),
        ("--eta 1 2 --steps --lam 1 2 --beta 1 2", "argument --lam: only one parameter"),
    ):
        status, _, err = run(capsys, f"{CURVE} {wrong}")
        assert status == 2
        assert message in err


def test_curve_table(capsys):
    status, out, err = run(capsys, f"{CURVE} --lam 0.01 1")
    assert (status, err) == (0, "")
    table = np.array(rows_of(out), dtype=float)
    assert table[:, 0].tolist() == [0.01] * 3 + [1.0] * 3
    for value in (0.01, 1.0):
        _, alone, _ = run(capsys, f"{CURVE} --lam {value}")
        np.testing.assert_array_equal(
            table[table[:, 0] == value, 1:], np.array(rows_of(alone), dtype=float)
        )
    assert "# lam 0.01: r " in out
    assert "# lam 1: r " in out
    headers = [line.split()[1:4] for line in out.splitlines() if line.startswith("#")]
    assert ["lam", "alpha", "without"] in headers


def test_curve_csv(capsys, tmp_path):
    path = tmp_path / "c.csv"
    status, _, err = run(capsys, f"{CURVE} --eta 1 4 --out {path}")
    assert (status, err) == (0, f"wrote {path}\n")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    result = single(capsys, f"{CURVE} --eta 1 4")
    assert [float(row["eta"]) for row in rows] == [1.0] * 3 + [4.0] * 3
    errors = [e for curve in result["curves"] for e in curve["with_step"]["test_error"]]
    assert [float(row["test_error_with_step"]) for row in rows] == errors


@pytest.mark.parametrize(("name", "lines"), [("eta", 3), ("alpha0", 3), ("beta", 2), ("noise", 2)])
def test_curve_picture(capsys, tmp_path, monkeypatch, name, lines):
    pytest.importorskip("matplotlib")
    from spikedrf.plotting import ErrorCurvesDisplay

    displays = []
    original = ErrorCurvesDisplay.plot

    def plot(self, *args, **kwargs):
        displays.append(original(self, *args, **kwargs))
        return displays[-1]

    monkeypatch.setattr(ErrorCurvesDisplay, "plot", plot)
    path = tmp_path / "c.png"
    status, _, _ = run(capsys, f"curve --{name} 0.5 2 --alpha 0.5 1 2", "--out", path)
    assert status == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    (display,) = displays
    assert len(display.curves) == lines
    result = single(capsys, f"curve --{name} 0.5 2 --alpha 0.5 1 2")
    drawn = list(display.curves.values())[-2:]
    for curve, error in zip(result["curves"], drawn, strict=True):
        np.testing.assert_array_equal(curve["with_step"]["test_error"], error)
    assert (display.best_linear is None) == (name == "noise")


def test_simulated_curves(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    line = f"curve --simulate srf --alpha 0.5 2 {SMALL}"
    result = single(capsys, f"{line} --eta 1 3")
    for value, curve in zip((1, 3), result["curves"], strict=True):
        assert curve["simulation"] == single(capsys, f"{line} --eta {value}")["simulation"]
    status, out, _ = run(capsys, f"{line} --eta 1 3 --out {tmp_path / 'c.png'}")
    assert status == 0
    assert np.array(rows_of(out), dtype=float).shape == (4, 10)


def test_simulate(capsys, tmp_path):
    line = f"simulate --alpha 0.5 2 {SMALL}"
    result = single(capsys, f"{line} --lam 0.01 1")
    assert (result["over"], result["values"]) == ("lam", [0.01, 1.0])
    for value, curve in zip((0.01, 1.0), result["curves"], strict=True):
        alone = single(capsys, f"{line} --lam {value}")
        assert curve == {k: alone[k] for k in curve}
    path = tmp_path / "s.csv"
    status, out, _ = run(capsys, f"{line} --lam 0.01 1 --out {path}")
    assert status == 0
    table = np.array(rows_of(out), dtype=float)
    assert table.shape == (4, 8)
    assert table[:, 0].tolist() == [0.01, 0.01, 1.0, 1.0]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[2]["test_error"]) == result["curves"][1]["test_error"][0]


def test_stacked_tables_may_lack_columns():
    tables = [{"a": ["1", "2"], "b": ["3", "4"]}, {"a": ["5"], "c": ["6"]}]
    stacked = cases.stack("eta", [0.5, 2.0], tables, "nan")
    assert {key: list(column) for key, column in stacked.items()} == {
        "eta": [0.5, 0.5, 2.0],
        "a": ["1", "2", "5"],
        "b": ["3", "4", "nan"],
        "c": ["nan", "nan", "6"],
    }


@pytest.mark.parametrize("command", ["curve", "simulate"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--eta 1 2 --lam 1 2", "argument --lam: only one parameter beside alpha may take several"),
        ("--eta 1 1", "argument --eta: a value comes twice"),
        ("--eta 1 inf", "argument --eta: eta must be finite"),
        ("--beta 1 0", "argument --beta: beta must be > 0"),
        ("--eta 1 x", "argument --eta: 'x' is neither a number nor MIN:MAX:N"),
    ],
)
def test_misuse(capsys, command, arguments, message):
    status, out, err = run(capsys, f"{command} {arguments}")
    assert (status, out) == (2, "")
    assert message in err


def test_what_was_finished_is_printed(capsys, monkeypatch):
    original = cases.options.checked
    calls = []

    def third_is_interrupted(*args):
        calls.append(args)
        if len(calls) == 4 + 3:  # all four are checked before anything is computed
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(cases.options, "checked", third_is_interrupted)
    status, out, err = run(capsys, f"{CURVE} --eta 1 2 3 4")
    assert status == 130
    assert err == "spikedrf curve: interrupted after 2 of 4 values\n"
    assert {row[0] for row in rows_of(out)} == {"1", "2"}
    calls[:] = [None] * 4
    assert run(capsys, f"{CURVE} --eta 1 2") == (130, "", "spikedrf: interrupted\n")


@pytest.mark.parametrize(
    "line",
    [
        "simulate --alpha 0.5 --eta 1 2 3 --d 30 --replicates 2 --n-test 100",
        "curve --simulate network --alpha 0.5 --eta 1 2 3 --d 30 --replicates 2 --n-test 100",
    ],
)
def test_a_real_interrupt(line):
    """SIGINT while the second value is simulated: the first is printed, and status 130."""
    code = f"""
import sys
from spikedrf.cli import cases, main
run = cases.options.checked
calls = []
def checked(*args):
    calls.append(args)
    if len(calls) == 3 + 2:
        args[0].d, args[0].n_test = 100, 10**9  # takes long
        print("busy", file=sys.stderr, flush=True)
    return run(*args)
cases.options.checked = checked
raise SystemExit(main({line.split()!r}))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr.readline() == "busy\n"
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == f"spikedrf {line.split()[0]}: interrupted after 1 of 3 values\n"
    assert {row[0] for row in rows_of(out)} == {"1"}


def test_main_takes_the_same_arguments_twice(capsys):
    """Nothing of one call is left for the next: the parser's defaults are not changed."""
    for _ in range(2):
        assert main(["curve", "--alpha", "1", "--eta", "1", "2", "--json"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
