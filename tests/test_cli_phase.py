"""`spikedrf phase`: its numbers are the library's, its files hold them, and it can be stopped."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from checkpoint_file import MARK, pieces_of
from command_line import MODEL, STEP, rows_of, run
from spikedrf import GradientStep, theory
from spikedrf.cli import main

OPTIONS = (
    "phase --activation relu --target tanh --eta 0.5:2:4 --alpha0 1:100:3:log --u 1 -0.5 "
    "--pi 0.4 0.6 --beta 0.7 --lam 0.05 --noise 0.2 --alpha 1.5"
)
ETA, ALPHA0 = np.linspace(0.5, 2.0, 4), np.geomspace(1.0, 100.0, 3)


def diagram(**changes):
    case = {"eta": ETA, "alpha0": ALPHA0, "alpha": 1.5, **MODEL, "u": STEP["u"], "pi": STEP["pi"]}
    return theory.phase_diagram(**case | changes)


@pytest.mark.parametrize("value", ["test_error", "norm", "gain"])
def test_json_is_what_the_library_says(capsys, value):
    status, out, err = run(capsys, f"{OPTIONS} --value {value} --json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    expected = diagram(value=value)
    assert (result["schema"], result["command"]) == (1, "phase")
    fixed = {"u": STEP["u"], "pi": STEP["pi"], "alpha": 1.5, "rtol": 1e-8}
    readout = {"loss": {"name": "square"}, "labels": "real", "flip": 0.0}
    assert result["parameters"] == {**MODEL, **fixed, **readout, "bulk": "isotropic"}
    assert (result["x_name"], result["y_name"], result["value_name"]) == ("eta", "alpha0", value)
    for name in ("x", "y", "value", "success", "status"):
        np.testing.assert_array_equal(result[name], getattr(expected, name))


def test_the_first_grid_is_horizontal(capsys):
    _, out, _ = run(capsys, "phase --lam 0.1:1:2 --beta 2 --alpha 1:3:3 --json")
    result = json.loads(out)
    assert (result["x_name"], result["x"]) == ("lam", [0.1, 1.0])
    assert (result["y_name"], result["y"]) == ("alpha", [1.0, 2.0, 3.0])
    expected = theory.phase_diagram(
        lam=[0.1, 1.0], alpha=[1.0, 2.0, 3.0], beta=2.0, eta=3.0, alpha0=20.0, target="sin"
    )
    np.testing.assert_array_equal(result["value"], expected.value)


def test_table(capsys):
    status, out, err = run(capsys, OPTIONS)
    assert (status, err) == (0, "")
    expected = diagram()
    table = np.array(rows_of(out), dtype=float)
    np.testing.assert_allclose(table[:, 0], ALPHA0, rtol=5e-6)
    np.testing.assert_allclose(table[:, 1:], expected.value, rtol=5e-6)
    lines = out.splitlines()
    assert lines[0] == (
        "# test_error: relu on tanh, alpha 1.5, u 1 -0.5, pi 0.4 0.6, beta 0.7, lam 0.05, noise 0.2"
    )
    assert lines[1] == "# eta across, alpha0 down: 3 x 4 of 3 x 4 points"
    i, j = np.unravel_index(expected.value.argmin(), (3, 4))
    low = expected.value.min()
    assert lines[2] == f"# smallest {low:#.6g} at eta {ETA[j]:g}, alpha0 {ALPHA0[i]:g}"
    assert lines[4].split() == ["#", "alpha0", *(f"{x:g}" for x in ETA)]
    assert {len(line) for line in lines[4:]} == {len(lines[4])}


def test_a_large_diagram_is_thinned_on_the_terminal_only(capsys):
    _, out, _ = run(capsys, "phase")
    _, text, _ = run(capsys, "phase --json")
    result = json.loads(text)
    assert (result["x_name"], result["y_name"]) == ("eta", "alpha0")
    value = np.array(result["value"])
    assert value.shape == (40, 40)
    table = np.array(rows_of(out), dtype=float)
    assert table.shape == (15, 8)
    assert max(map(len, out.splitlines())) <= 100
    rows = np.searchsorted(result["y"], table[:, 0] * 0.999)
    header = next(line for line in out.splitlines() if line.startswith("#   alpha0"))
    columns = np.searchsorted(result["x"], np.array(header.split()[2:], dtype=float) * 0.999)
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (0, 39, 0, 39)
    np.testing.assert_allclose(table[:, 1:], value[np.ix_(rows, columns)], rtol=5e-6)


def test_files(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    paths = [tmp_path / f"p.{suffix}" for suffix in ("csv", "npz", "png", "svg", "PDF")]
    status, _, err = run(capsys, f"{OPTIONS} --value gain --out", *paths)
    assert status == 0
    assert err == "".join(f"wrote {path}\n" for path in paths)
    expected = diagram(value="gain")
    with paths[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["eta", "alpha0", "gain", "success", "status"]
    for row, (i, j) in zip(rows, np.ndindex(3, 4), strict=True):
        point = [float(row[name]) for name in ("eta", "alpha0", "gain", "success", "status")]
        assert point == [ETA[j], ALPHA0[i], expected.value[i, j], 1.0, 0.0]
    with np.load(paths[1], allow_pickle=False) as arrays:
        for name in ("x", "y", "value", "success", "status"):
            np.testing.assert_array_equal(arrays[name], getattr(expected, name))
        assert str(arrays["x_name"]) == "eta"
        assert json.loads(str(arrays["parameters"]))["alpha"] == 1.5
    heads = [path.read_bytes()[:4] for path in paths[2:]]
    assert heads == [b"\x89PNG", b"<?xm", b"%PDF"]


def test_the_best_ridge(capsys, tmp_path):
    line = "phase --alpha 0.5:100:3:log --noise 0:1:2 --beta 10 --target identity --eta 0 --quiet"
    status, out, err = run(capsys, f"{line} --value lam --json --out", tmp_path / "p.csv")
    assert (status, err) == (0, "")
    result = json.loads(out)
    expected = theory.phase_diagram(
        value="lam", over="lam", alpha=np.geomspace(0.5, 100, 3), noise=[0.0, 1.0], beta=10.0,
        eta=0.0, alpha0=20.0, target="identity",
    )  # fmt: skip
    np.testing.assert_array_equal(result["value"], expected.value)
    np.testing.assert_array_equal(result["side_lam"], expected.side["lam"])
    assert -1 in expected.side["lam"]
    assert result["parameters"]["over"] == ["lam"]
    assert "lam" not in result["parameters"]
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_array_equal([float(row["side_lam"]) for row in rows],
                                  expected.side["lam"].ravel())  # fmt: skip
    _, out, _ = run(capsys, f"{line} --value lam")
    assert out.splitlines()[0] == "# lam: tanh on identity, eta 0, alpha0 20, beta 10, best lam"
    cells = [row[1:] for row in rows_of(out)]
    marks = [[cell.endswith("<") for cell in row] for row in cells]
    np.testing.assert_array_equal(marks, expected.side["lam"] < 0)
    # Of the best ridge any quantity.
    _, out, _ = run(capsys, f"{line} --over lam --value norm --json")
    norm = theory.phase_diagram(
        value="norm", over="lam", alpha=np.geomspace(0.5, 100, 3), noise=[0.0, 1.0], beta=10.0,
        eta=0.0, alpha0=20.0, target="identity",
    )  # fmt: skip
    np.testing.assert_array_equal(json.loads(out)["value"], norm.value)
    status, _, err = run(capsys, f"{line} --over lam --lam 0.1")
    assert status == 2
    assert err.splitlines()[-1].endswith("error: argument --lam: it is optimised (--over)")


def test_the_best_step_has_a_diagram_of_its_own(capsys, monkeypatch):
    seen = {}
    monkeypatch.setattr(theory, "phase_diagram", lambda **given: seen.update(given) or stop())

    def stop():
        raise KeyboardInterrupt

    assert run(capsys, "phase --value eta --over lam")[0] == 130
    assert list(seen)[:2] == ["alpha", "alpha0"]
    assert seen["over"] == ["lam", "eta"]
    assert not {"lam", "eta"} & set(seen)


def test_points_that_did_not_converge_are_marked(capsys):
    line = "phase --u 1 0.99 --lam 1e-6 --beta 0.5 --rtol 1e-11 --eta 1:300:2 --alpha 0.5:5:2"
    status, out, err = run(capsys, line)
    assert status == 3
    _, text, _ = run(capsys, f"{line} --json --quiet")
    success = np.array(json.loads(text)["success"])
    lost = int((~success).sum())
    assert 0 < lost < 4
    assert err == (
        f"spikedrf phase: {lost} of 4 points did not reach --rtol 1e-11; they are marked\n"
    )
    marks = [[cell.endswith("?") for cell in row[1:]] for row in rows_of(out)]
    np.testing.assert_array_equal(marks, ~success)


def test_help_has_an_example_that_works(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "phase --help")
    assert (status, err) == (0, "")
    example = re.search(r"^example:\n +spikedrf (.*)$", out, flags=re.MULTILINE)[1].split()
    assert main(example) == 0
    assert (tmp_path / example[-1]).read_bytes().startswith(b"\x89PNG")


# --------------------------------------------------------------------------------------------------
# Checkpoints


def test_a_checkpoint_is_read_back(capsys, tmp_path, monkeypatch):
    path = tmp_path / "c.sqlite"
    line = f"{OPTIONS} --json --checkpoint"
    first = run(capsys, line, path)
    assert first[::2] == (0, "")
    before = path.read_bytes()
    assert run(capsys, line, path, "--workers", 1) == first
    assert path.read_bytes() == before
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, f"{OPTIONS} --lam 0.1 --noise 0 --checkpoint c.sqlite")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1] == (
        "spikedrf phase: error: argument --checkpoint: checkpoint='c.sqlite' belongs to another "
        "computation: noise was 0.2, is 0.0, lam was 0.05, is 0.1; restore what changed, or begin "
        "another file"
    )
    assert path.read_bytes() == before


def test_a_checkpoint_that_cannot_be_written(capsys, tmp_path):
    from spikedrf.running.checkpoint import Checkpoint

    path = tmp_path / "c.sqlite"
    with Checkpoint(path, {}):
        status, out, err = run(capsys, OPTIONS, "--checkpoint", path)
    assert (status, out) == (1, "")
    assert err == f"spikedrf phase: error: {path}: in use by another process\n"


def test_progress_goes_to_a_terminal_only(capsys, monkeypatch):
    assert run(capsys, OPTIONS)[2] == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert "100%" in run(capsys, OPTIONS)[2]
    assert "12/12" in run(capsys, OPTIONS)[2]
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert run(capsys, OPTIONS)[2].endswith("\rpoint 12 of 12\n")
    assert run(capsys, f"{OPTIONS} --quiet")[2] == ""


def test_interrupted_and_resumed(capsys, tmp_path):
    """Ctrl-C, then the same command again: the same output as without."""
    path = tmp_path / "c.sqlite"
    line = ["phase", "--eta", "0.1:10:150:log", "--alpha0", "0.1:100:150:log", "--json"]
    status, expected, _ = run(capsys, " ".join(line))
    assert status == 0
    command = [sys.executable, "-m", "spikedrf", *line, "--checkpoint", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not (path.exists() and path.read_bytes().count(MARK) > 2):
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err.decode() == (
        f"spikedrf phase: interrupted; what is finished is in {path}, and the same command goes on "
        f"from there\n"
    )
    pieces = len(pieces_of(path))
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert len(pieces_of(path)) > pieces
    assert (done.stdout, done.stderr) == (expected, "")


def test_interrupted_what_is_finished_is_printed(tmp_path):
    """SIGINT after some pieces: their points are printed and written, the others are NaN."""
    path = tmp_path / "p.csv"
    line = ["phase", "--eta", "0.1:10:150:log", "--alpha0", "0.1:100:150:log", "--workers", "1"]
    code = f"""
import sys
from spikedrf.cli import main, output
def progress(args, what):
    return lambda finished, total: print(finished, file=sys.stderr, flush=True)
output.progress = progress
raise SystemExit(main({[*line, "--json", "--out", str(path)]!r}))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stderr.readline()
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    finished = int(re.search(r"spikedrf phase: interrupted after (\d+) of 22500 points", err)[1])
    assert 0 < finished < 22500
    result = json.loads(out)
    value, status = np.array(result["value"], dtype=float), np.array(result["status"])
    assert np.count_nonzero(status == 0) == finished
    assert (np.isnan(value) == (status == -1)).all()
    assert "did not reach" not in err
    i, j = np.argwhere(status == 0)[-1]
    step = theory.solve(
        2.0, lam=0.1, target="sin", step=GradientStep(result["x"][j], result["y"][i])
    )
    assert value[i, j] == pytest.approx(step.test_error, rel=1e-12)
    with path.open(newline="") as file:
        rows = [float(row["status"]) for row in csv.DictReader(file)]
    assert rows.count(-1.0) == 22500 - finished


def test_interrupted_without_a_checkpoint(capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(theory, "phase_diagram", interrupt)
    assert run(capsys, "phase") == (130, "", "spikedrf: interrupted\n")


def test_a_message_does_not_end_up_in_the_line_of_progress(capsys, tmp_path, monkeypatch):
    def interrupt(*args, progress, **kwargs):
        progress(3, 10)
        raise KeyboardInterrupt

    monkeypatch.setattr(theory, "phase_diagram", interrupt)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    err = run(capsys, "phase")[2]
    assert "3/10" in err
    assert err.endswith("\nspikedrf: interrupted\n")
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert run(capsys, "phase")[2] == "\rpoint 3 of 10\nspikedrf: interrupted\n"
