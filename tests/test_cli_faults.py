"""What goes wrong around the command line is told in a line, and costs nothing that is computed."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from command_line import run
from spikedrf.cli import curve, output

COMMAND = [sys.executable, "-m", "spikedrf"]
FIT = ["--features", "20", "--alpha", "0.1", "1"]


@pytest.fixture
def table(tmp_path):
    pytest.importorskip("pandas")
    path = tmp_path / "t.csv"
    rows = [f"{i * 7 % 11},{i * 5 % 13},{i * 7 % 11 + 1}" for i in range(40)]
    path.write_text("\n".join(["a,$x_$ größe,y", *rows]))
    return path


def shell(line, **options):
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, timeout=120, **options
    )


@pytest.mark.parametrize("options", ["--step-size 0", "--step-size 0 --loss huber"])
def test_a_constant_target(capsys, tmp_path, options):
    pytest.importorskip("pandas")
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f"{i * 7 % 11},{i * 5 % 13},3\n" for i in range(40)))
    status, out, _ = run(capsys, f"fit {path} --features 20 {options}")
    assert status == 0
    assert "variance 0" in out
    status, out, _ = run(capsys, f"fit {path} --features 20 {options} --json")
    assert json.loads(out)["chosen"].get("r2") is None


def test_dollars_in_names_are_no_formula(capsys, table, tmp_path):
    pytest.importorskip("matplotlib")
    path = table.with_name("cost_$x_$.csv")
    path.write_text(table.read_text())
    pictures = [tmp_path / "p.svg", tmp_path / "p.png"]
    status, out, err = run(capsys, f"fit {path}", *FIT, "--step-size", 1, "--out", *pictures)
    assert (status, err) == (0, "".join(f"wrote {picture}\n" for picture in pictures))
    assert "$x_$" in out


def test_a_picture_that_fails_costs_no_result(capsys, table, tmp_path, monkeypatch):
    from spikedrf.plotting import FirstLayerDisplay, LearningCurveDisplay

    def fail(*_, **__):
        raise RuntimeError("no ink")

    monkeypatch.setattr(FirstLayerDisplay, "from_estimator", fail)
    picture, model = tmp_path / "p.png", tmp_path / "m.skops"
    whole = run(capsys, f"fit {table}", *FIT)[1]
    status, out, err = run(capsys, f"fit {table}", *FIT, "--out", picture, "--model", model)
    assert (status, out) == (output.CANNOT_WRITE, whole)
    assert f"spikedrf fit: error: {picture} was not written" in err
    assert "RuntimeError: no ink" in err
    assert model.exists()
    assert not picture.exists()
    monkeypatch.setattr(LearningCurveDisplay, "plot", fail)
    whole = run(capsys, "curve --alpha 1 2")[1]
    status, out, err = run(capsys, "curve --alpha 1 2 --out", picture)
    assert (status, out) == (output.CANNOT_WRITE, whole)
    assert "RuntimeError: no ink" in err


def test_what_nobody_has_foreseen(capsys, monkeypatch):
    def fail(args):
        raise ZeroDivisionError("by a hair")

    monkeypatch.setattr(curve, "run", fail)
    status, out, err = run(capsys, "curve")
    assert (status, out) == (output.FAULT, "")
    assert "this is a fault of spikedrf and not yours; please report it" in err
    assert "ZeroDivisionError: by a hair" in err
    assert f"NumPy {np.__version__}" in err
    assert "test_cli_faults.py" in err
    assert "Traceback" not in err


def test_letters_that_standard_output_does_not_know(table):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [*COMMAND, "fit", str(table), *FIT, "--step-size", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=120
    )
    assert done.returncode == 0
    assert r"gr\xf6\xdfe" in done.stdout


def test_standard_output_is_closed(tmp_path):
    out = tmp_path / "c.csv"
    command = f"{' '.join(COMMAND)} curve --alpha 1 2"
    done = shell(f"{command} --out {out} >&-")
    assert done.returncode == output.CANNOT_WRITE
    assert done.stderr.splitlines()[-1] == (
        "spikedrf: error: cannot write to standard output: it is closed"
    )
    assert out.read_text().startswith("alpha,")
    done = shell(f"{command} 2>&-")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 2
    assert shell(f"{command} --help >&-").returncode == 0


@pytest.mark.parametrize("address", ["300.1.1.1", "a b", "", "x" * 70, "a..b", "::g"])
def test_an_impossible_address(capsys, address):
    status, out, err = run(capsys, "explore --port 0 --address", address)
    assert (status, out) == (2, "")
    assert f"argument --address: {address!r} is no address of a machine" in err


@pytest.mark.parametrize("port", ["abc", "-1", "70000", "1.5", ""])
def test_an_impossible_port(capsys, port):
    status, out, err = run(capsys, f"explore --port={port}")
    assert (status, out) == (2, "")
    assert f"argument --port: must be 0 to 65535, got {port}" in err


def test_one_replicate_has_no_standard_error(capsys):
    for command in ("simulate", "curve --simulate network"):
        model = "--model network" if command == "simulate" else ""
        status, out, _ = run(capsys, f"{command} {model} --alpha 1 --d 30 --replicates 1")
        assert status == 0
        (measured,) = (line for line in out.splitlines() if "measured" in line)
        assert "nan" not in measured
        assert "+-" not in measured


def test_warnings_are_said_in_a_line(capsys, monkeypatch):
    import warnings

    def warn(args):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("take care", UserWarning, stacklevel=1)
        return output.OK

    monkeypatch.setattr(curve, "run", warn)
    assert run(capsys, "curve") == (0, "", "spikedrf curve: warning: take care\n")
