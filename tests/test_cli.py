"""The command line: what it prints and writes, and how it fails."""

import csv
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import spikedrf
from command_line import MODEL, STEP, rows_of, run
from spikedrf import GradientStep, theory
from spikedrf.cli import COMMANDS, main

ALPHA = [0.3, 1.0, 2.0, 3.0, np.inf]
ARGUMENTS = (
    "curve --activation relu --target tanh --eta 2 --alpha0 5 --u 1 -0.5 --pi 0.4 0.6 "
    "--beta 0.7 --lam 0.05 --noise 0.2 --alpha 0.3 1:3:3 inf"
)


@pytest.fixture(scope="module")
def expected():
    return {
        "with_step": theory.solve(ALPHA, step=GradientStep(**STEP), **MODEL),
        "without_step": theory.solve(ALPHA, **MODEL),
    }


def test_json_is_what_the_library_says(capsys, expected):
    status, out, err = run(capsys, ARGUMENTS, "--json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert (result["schema"], result["command"]) == (1, "curve")
    assert result["version"] == spikedrf.__version__
    readout = {"loss": {"name": "square"}, "labels": "real", "flip": 0.0}
    assert result["parameters"] == {
        **MODEL, **STEP, "bulk": "isotropic", **readout, "rtol": 1e-8
    }  # fmt: skip
    assert result["alpha"] == [0.3, 1.0, 2.0, 3.0, "inf"]
    for name, solution in expected.items():
        for quantity in ("test_error", "train_error", "excess_error", "norm"):
            np.testing.assert_allclose(
                result[name][quantity], getattr(solution, quantity), rtol=1e-12
            )
        assert result[name]["success"] == [True] * 5
        assert result[name]["status"] == [0] * 5
        assert max(result[name]["quadrature_error"]) <= 1e-8
    gain = expected["without_step"].test_error / expected["with_step"].test_error
    np.testing.assert_allclose(result["gain"], gain, rtol=1e-12)
    r, c, gamma, pi = GradientStep(**STEP).spike("relu", "tanh", 0.2).arrays()
    for name, value in {"r": r, "c": c, "gamma": gamma, "pi": pi}.items():
        np.testing.assert_allclose(result["spike"][name], value, rtol=1e-12)


def test_table_shows_both_curves_side_by_side(capsys, expected):
    status, out, err = run(capsys, ARGUMENTS)
    assert (status, err) == (0, "")
    table = np.array(rows_of(out), dtype=float)
    columns = [
        ALPHA,
        expected["without_step"].test_error,
        expected["with_step"].test_error,
        expected["with_step"].train_error,
    ]
    np.testing.assert_allclose(table[:, :4], np.transpose(columns), rtol=5e-6)
    np.testing.assert_allclose(table[:, 4], table[:, 1] / table[:, 2], rtol=5e-4)
    assert "u 1 -0.5, pi 0.4 0.6" in out
    # Aligned: every row of the table is as long as its header.
    lines = out.splitlines()
    header = next(i for i, line in enumerate(lines) if "without step  " in line)
    assert {len(line) for line in lines[header:]} == {len(lines[header])}


def test_defaults_show_the_effect(capsys):
    status, out, _ = run(capsys, "curve", "--json")
    assert status == 0
    result = json.loads(out)
    assert result["parameters"]["target"] == "sin"
    assert len(result["alpha"]) == 25
    # Var sin - (E z sin)^2, in closed form.
    linear = (1 - np.exp(-2)) / 2 - np.exp(-1)
    assert result["best_linear"] == pytest.approx(linear, rel=1e-12)
    assert min(result["without_step"]["test_error"]) > linear
    assert max(result["with_step"]["test_error"]) < linear


def test_reference_values_of_the_documented_example(capsys):
    _, out, _ = run(capsys, "curve --alpha 0.2 0.9 1.6 2.3 3 inf --json")
    error = json.loads(out)["with_step"]["test_error"]
    np.testing.assert_allclose(error[:5], [0.04848, 0.04250, 0.03731, 0.03430, 0.03252], atol=5e-6)
    assert error[5] == pytest.approx(0.02659297, abs=5e-9)


def test_best_linear_includes_the_noise_and_ignores_the_constant(capsys):
    _, out, _ = run(capsys, "curve --alpha 1 --target relu --noise 0.5 --json")
    # relu: second moment 1/2, mean 1/sqrt(2 pi), linear coefficient 1/2.
    linear = 0.5 - 1 / (2 * np.pi) - 0.25 + 0.25
    assert json.loads(out)["best_linear"] == pytest.approx(linear, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2", [2.0]),
        ("1:3:5", [1.0, 1.5, 2.0, 2.5, 3.0]),
        ("0.1:10:3:log", [0.1, 1.0, 10.0]),
        ("3:1:3", [3.0, 2.0, 1.0]),
    ],
)
def test_ranges(capsys, text, values):
    _, out, _ = run(capsys, "curve", "--alpha", text, "--json")
    np.testing.assert_allclose(json.loads(out)["alpha"], values, rtol=1e-14)


def test_infinite_parameters_stay_strict_json(capsys):
    _, out, _ = run(capsys, "curve --alpha0 inf --alpha 1 inf --json")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    result = json.loads(out, parse_constant=refuse)
    assert result["parameters"]["alpha0"] == "inf"
    np.testing.assert_array_equal(np.array(result["alpha"], dtype=float), [1, np.inf])


def test_csv_round_trip(capsys, tmp_path, expected):
    path = tmp_path / "curve.csv"
    status, _, err = run(capsys, ARGUMENTS, "--out", path)
    assert status == 0
    assert err == f"wrote {path}\n"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["alpha"]) for row in rows] == ALPHA
    for name, solution in expected.items():
        for quantity in ("test_error", "train_error", "excess_error", "norm"):
            values = [float(row[f"{quantity}_{name}"]) for row in rows]
            np.testing.assert_allclose(values, getattr(solution, quantity), rtol=1e-12)
        assert [float(row[f"success_{name}"]) for row in rows] == [1] * 5


def test_several_files_at_once(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    paths = [tmp_path / f"c.{suffix}" for suffix in ("png", "SVG", "pdf", "csv")]
    first, *rest = paths
    status, out, err = run(capsys, "curve", "--out", first, "--out", *rest, "--quiet")
    assert (status, err) == (0, "")
    assert len(rows_of(out)) == 25
    heads = [path.read_bytes()[:8] for path in paths]
    assert heads[0].startswith(b"\x89PNG")
    assert heads[1].startswith(b"<?xml")
    assert heads[2].startswith(b"%PDF")
    assert heads[3] == b"alpha,te"


def test_points_that_did_not_converge_are_marked(capsys, tmp_path):
    # Two groups that hardly differ: rounding, amplified by the small ridge, keeps the last digits
    # moving from rule to rule.
    arguments = "curve --eta 300 --u 1 0.99 --lam 1e-6 --beta 0.5 --alpha 0.5 5 --rtol 1e-11"
    path = tmp_path / "curve.csv"
    status, out, err = run(capsys, arguments, "--out", path, "--quiet")
    assert status == 3
    assert "did not reach --rtol 1e-11" in err
    marked = [cell for row in rows_of(out) for cell in row if "+-" in cell]
    assert marked
    for cell in marked:
        error, left = map(float, cell.split("+-"))
        assert 0 < left < 1e-6 * error
    _, out, _ = run(capsys, arguments, "--json")
    result = json.loads(out)
    flags = result["with_step"]["success"] + result["without_step"]["success"]
    assert flags.count(False) == len(marked)
    text = path.read_text()
    assert text.count("\n") == 3


def test_a_bad_file_is_refused_before_anything_is_computed(capsys, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("computed before --out was looked at")

    monkeypatch.setattr(theory, "solve", refuse)
    (tmp_path / "folder.csv").mkdir()
    for path in ("curve.xyz", tmp_path / "no" / "curve.csv", tmp_path / "folder.csv"):
        status, out, err = run(capsys, "curve", "--out", path)
        assert (status, out) == (2, "")
        assert "argument --out: " in err


def test_pictures_without_matplotlib(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, err = run(capsys, "curve", "--out", tmp_path / "c.png")
    assert (status, out) == (2, "")
    assert "pip install 'spikedrf[plot]'" in err
    status, out, _ = run(capsys, "curve", "--out", tmp_path / "c.csv")
    assert status == 0
    assert len(rows_of(out)) == 25


def test_a_full_disk_is_reported_after_the_table(capsys, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    path = tmp_path / "c.csv"
    monkeypatch.setattr(Path, "open", full)
    status, out, err = run(capsys, "curve", "--alpha", "1", "--out", path)
    assert status == 1
    assert f"{path} cannot be written: No space left on device" in err
    assert len(rows_of(out)) == 1


def test_interrupt(capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(theory, "solve", interrupt)
    assert run(capsys, "curve") == (130, "", "spikedrf: interrupted\n")


def test_help_has_an_example_that_works(capsys):
    for arguments in ("--help", "curve --help"):
        status, out, err = run(capsys, arguments)
        assert (status, err) == (0, "")
        example = re.search(r"^example:\n +spikedrf (.*)$", out, flags=re.MULTILINE)[1].split()
        assert main([*example[: example.index("--out")], "--json"]) == 0
        json.loads(capsys.readouterr().out)
    for name in ("alpha", "alpha0", "activation", "target", "eta", "u", "pi", "beta", "lam"):
        assert f"--{name} " in out
    for name in ("tanh", "leaky_relu", "hermite5"):
        assert name in out


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"spikedrf {spikedrf.__version__}\n", "")


SCRIPT = Path(sysconfig.get_path("scripts")) / "spikedrf"


def test_installed_script_and_module_agree():
    outputs = [
        subprocess.run(
            [*program, "curve", "--alpha", "0.5", "2", "--json"],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        for program in ([SCRIPT], [sys.executable, "-W", "error", "-m", "spikedrf"])
    ]
    assert [output.stderr for output in outputs] == ["", ""]
    assert outputs[0].stdout == outputs[1].stdout
    step = GradientStep(eta=3.0, alpha0=20.0)
    error = theory.solve([0.5, 2.0], lam=0.1, target="sin", step=step).test_error
    result = json.loads(outputs[0].stdout)
    np.testing.assert_allclose(result["with_step"]["test_error"], error, rtol=1e-12)


def test_exit_statuses_of_the_script():
    def status(*arguments):
        return subprocess.run(
            [SCRIPT, *arguments], capture_output=True, check=False, timeout=120
        ).returncode

    assert status("curve", "--lam", "-1") == 2
    assert status("curve", "--activation", "sin", "--eta", "3000", "--alpha0", "5") == 3


def test_a_reader_that_leaves_early_sees_no_traceback():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(
            [SCRIPT, "curve"], stdout=pipe, stderr=subprocess.PIPE, check=False, timeout=120
        )
    assert done.stderr == b""
    assert done.returncode == 141


def test_the_bulk_is_told_when_it_matters(capsys):
    line = "curve --alpha 0.5 2 --noise 0.1 --alpha0"
    step = GradientStep(3.0, 0.5)
    own, isotropic = (
        theory.solve([0.5, 2.0], lam=0.1, target="sin", noise=0.1, step=step, bulk=bulk)
        for bulk in ("network", "isotropic")
    )
    _, out, _ = run(capsys, f"{line} 0.5")
    change = own.test_error / isotropic.test_error - 1
    assert f"--bulk network changes the test error with step by {change[0]:+.1%}" in out
    _, out, _ = run(capsys, f"{line} 0.5 --bulk network")
    assert "network's own bulk" in out.splitlines()[0]
    assert "--bulk isotropic changes the test error with step by -" in out
    table = np.array(rows_of(out), dtype=float)
    np.testing.assert_allclose(table[:, 2], own.test_error, rtol=5e-6)
    _, out, _ = run(capsys, f"{line} 0.5 --json")
    np.testing.assert_allclose(json.loads(out)["other_bulk"]["norm"], own.norm, rtol=1e-12)
    _, out, _ = run(capsys, f"{line} 50")  # a large batch
    assert "bulk" not in out
    # Groups of an activation that is not odd, and several steps, of one group and of two.
    _, out, _ = run(capsys, f"{line} 0.5 --activation relu --u 1 -1")
    assert "--bulk network changes the test error with step by" in out
    _, out, _ = run(capsys, f"{line} 0.5 --steps 2")
    assert "--bulk network changes the test error with step by" in out
    _, out, _ = run(capsys, f"{line} 5 --steps 2 --u 1 -1")
    assert "bulk" not in out
    status, _, err = run(capsys, f"{line} 5 --steps 2 --u 1 -1 --bulk network")
    assert status == 2
    assert "argument --bulk: bulk='network' after several steps is known for one value of u" in err


def test_help_and_tables_import_nothing_heavy():
    code = """
import sys
from spikedrf.cli import COMMANDS, main
helps = [[name, "--help"] for name in COMMANDS]
for arguments in (["--help"], *helps, ["curve", "--alpha", "1"]):
    try:
        main(arguments)
    except SystemExit:
        pass
heavy = {"matplotlib", "sklearn", "scipy", "xarray", "pandas", "tqdm", "bokeh", "skops"}
heavy &= set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_everything_but_pictures_works_without_what_is_optional(tmp_path):
    """Every command in one process that can import none of the extras: JSON, tables and files."""
    (tmp_path / "t.csv").write_text("a,b,y\n" + "1,2,3\n2,1,4\n0,1,1\n5,3,2\n" * 5)
    lines = [
        "--version",
        "curve --alpha 1 2 --json",
        "curve --alpha 1 2 --out c.csv",
        "simulate --alpha 1 --d 20 --replicates 2 --n-test 20 --json --out s.csv",
        "phase --lam 0.1:1:2 --eta 1:2:2 --json --out p.csv p.npz",
        "fit t.csv --features 10 --step-size 1 --alpha 1 --json --out f.csv",
        "reproduce",
        "reproduce --json",
    ]
    code = f"""
import sys
for name in ("matplotlib", "tqdm", "xarray", "skops", "bokeh"):
    sys.modules[name] = None
from spikedrf.cli import COMMANDS, main
for line in {lines!r}:
    try:
        status = main(line.split())
    except SystemExit as stop:
        status = stop.code
    if status:
        sys.exit(f"{{line}}: {{status}}")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        *("t.csv", "c.csv", "s.csv", "p.csv", "p.npz", "f.csv")
    }
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            assert json.loads(line)["schema"] == 1


def test_every_command_has_an_example_in_its_help(capsys):
    for name in COMMANDS:
        status, out, err = run(capsys, f"{name} --help")
        assert (status, err) == (0, "")
        assert re.search(rf"^example:\n  spikedrf {name} ", out, flags=re.MULTILINE)
        assert re.search(r"^exit status:", out, flags=re.MULTILINE)
        for option in ("--json", "--quiet"):
            assert option in out


def test_the_library_prints_nothing(capfd):
    solution = theory.solve([0.5, 2.0], lam=0.1, step=GradientStep(eta=3.0, alpha0=20.0))
    solution.learned_function([0.0, 1.0])
    assert capfd.readouterr() == ("", "")


def test_points_without_a_ridgeless_limit_are_inf(capsys):
    arguments = ["curve", "--lam", "0", "--alpha", "0.5", "1", "2", "--target", "sin"]
    assert main(arguments) == 3
    out, err = capsys.readouterr()
    assert err == (
        "spikedrf curve: 3 of 6 points have no ridgeless limit, their error is inf at --lam 0; "
        "raise it there\n"
    )
    rows = [line.split() for line in out.splitlines() if not line.startswith("#")]
    assert [row[2] for row in rows[:2]] == ["inf", "inf"]
    assert float(rows[2][2]) < 0.1
