"""The simulating commands: their numbers are the library's, and they fail like the others."""

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

import spikedrf
from checkpoint_file import records
from command_line import MODEL, STEP, rows_of, run
from spikedrf import GradientStep, simulate, theory
from spikedrf.cli import main, output
from spikedrf.plotting import LearningCurveDisplay

ALPHA = [0.3, 1.0, 2.0]
OPTIONS = (
    "--activation relu --target tanh --eta 2 --alpha0 5 --u 1 -0.5 --pi 0.4 0.6 "
    "--beta 0.7 --lam 0.05 --noise 0.2 --d 60 --replicates 3 --seed 5 --n-test 500"
)
SIMULATION = {"d": 60, "replicates": 3, "n_test": 500}
ERRORS = ("test_error", "train_error", "norm")


@pytest.fixture(scope="module")
def expected():
    """With the step and without it, as `curve` simulates them: one stream of random numbers."""
    rng = np.random.default_rng(5)
    step = GradientStep(**STEP)
    return {
        name: simulate(ALPHA, step=s, model="network", rng=rng, **MODEL, **SIMULATION)
        for name, s in (("with_step", step), ("without_step", None))
    }


def test_simulate_json_is_what_the_library_says(capsys, expected):
    status, out, err = run(capsys, f"simulate --alpha 0.3 1 2 {OPTIONS} --json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    simulation = expected["with_step"]
    assert (result["schema"], result["command"], result["model"]) == (1, "simulate", "network")
    readout = {"loss": {"name": "square"}, "labels": "real", "flip": 0.0}
    assert result["parameters"] == {**MODEL, **STEP, **readout}
    assert result["alpha"] == ALPHA
    assert result["n"] == [18, 60, 120]
    sizes = {"d": 60, "p": 42, "n0": 300, "n_test": 500, "replicates": 3, "seed": 5}
    assert {name: result[name] for name in sizes} == sizes
    for name in (*ERRORS, "r", "c", "gamma"):
        for key in (name, f"{name}_sem"):
            np.testing.assert_allclose(result[key], getattr(simulation, key), rtol=1e-12)
    spike = GradientStep(**STEP).spike("relu", "tanh", 0.2)
    np.testing.assert_allclose(result["spike"]["r"], spike.r, rtol=1e-12)


def test_simulate_table(capsys, expected):
    status, out, err = run(capsys, f"simulate --alpha 0.3 1 2 {OPTIONS}")
    assert (status, err) == (0, "")
    table = np.array(rows_of(out), dtype=float)
    simulation = expected["with_step"]
    assert table.shape == (3, 7)
    np.testing.assert_allclose(table[:, 0], ALPHA)
    for i, name in enumerate(ERRORS):
        np.testing.assert_allclose(table[:, 1 + 2 * i], getattr(simulation, name), rtol=5e-6)
        sem = getattr(simulation, f"{name}_sem")
        np.testing.assert_allclose(table[:, 2 + 2 * i], sem, rtol=0.06)
    assert "# simulated: network, d 60, p 42, n0 300, 3 replicates, seed 5" in out
    assert "# measured on the first layers: r " in out


def test_simulate_srf(capsys):
    _, out, _ = run(capsys, f"simulate --model srf --alpha 1 {OPTIONS} --json")
    result = json.loads(out)
    step = GradientStep(**STEP)
    simulation = simulate([1.0], step=step, model="srf", rng=5, **MODEL, **SIMULATION)
    np.testing.assert_allclose(result["test_error"], simulation.test_error, rtol=1e-12)
    assert result["n0"] is None
    assert "gamma" not in result


def test_workers_change_nothing(capsys):
    outputs = {
        run(capsys, f"simulate --alpha 1 2 {OPTIONS} --workers {workers}")[1] for workers in (1, 2)
    }
    assert len(outputs) == 1


def test_curve_json_has_z_scores(capsys, expected):
    line = f"curve --simulate network --alpha 0.3 inf 1 2 {OPTIONS} --json"
    status, out, err = run(capsys, line)
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert result["alpha"] == [0.3, "inf", 1.0, 2.0]
    assert (result["simulation"]["model"], result["simulation"]["n0"]) == ("network", 300)
    finite = [0, 2, 3]
    for name, simulation in expected.items():
        solution = theory.solve(
            ALPHA, step=GradientStep(**STEP) if name == "with_step" else None, **MODEL
        )
        z = simulation.z(solution)
        numbers = result["simulation"][name]
        for quantity in ERRORS:
            assert numbers[quantity][1] is None
            assert numbers["z"][quantity][1] is None
            drawn = [numbers[quantity][i] for i in finite]
            np.testing.assert_allclose(drawn, getattr(simulation, quantity), rtol=1e-12)
            drawn = [numbers["z"][quantity][i] for i in finite]
            np.testing.assert_allclose(drawn, z[quantity], rtol=1e-6)
            drawn = [result[name][quantity][i] for i in finite]
            np.testing.assert_allclose(drawn, getattr(solution, quantity), rtol=1e-12)


def test_curve_table_has_z_scores(capsys, expected):
    status, out, err = run(capsys, f"curve --simulate network --alpha 0.3 1 2 inf {OPTIONS}")
    assert (status, err) == (0, "")
    table = np.array(rows_of(out), dtype=float)
    assert table.shape == (4, 11)  # the last two are the network's own bulk and its z
    for column, name in ((1, "without_step"), (5, "with_step")):
        simulation = expected[name]
        mean, sem, z = table[:3, column + 1 : column + 4].T
        np.testing.assert_allclose(mean, simulation.test_error, rtol=5e-6)
        np.testing.assert_allclose(sem, simulation.test_error_sem, rtol=0.06)
        distance = (simulation.test_error - table[:3, column]) / simulation.test_error_sem
        np.testing.assert_allclose(z, distance, atol=0.006)
        assert np.isnan(table[3, column + 1 : column + 4]).all()
    lines = out.splitlines()
    header = next(i for i, line in enumerate(lines) if "without step  " in line)
    assert {len(line) for line in lines[header:]} == {len(lines[header])}


def test_curve_shows_both_bulks_beside_the_network(capsys, tmp_path):
    line = (
        "curve --simulate network --alpha 0.5 2 --eta 3 --alpha0 0.5 --noise 0.1 --d 80 "
        "--replicates 3 --n-test 500 --seed 1"
    )
    model = {"lam": 0.1, "target": "sin", "noise": 0.1}
    step, alpha = GradientStep(3.0, 0.5), [0.5, 2.0]
    own, isotropic = (
        theory.solve(alpha, step=step, bulk=bulk, **model) for bulk in ("network", "isotropic")
    )
    simulation = simulate(
        alpha, step=step, model="network", d=80, replicates=3, n_test=500,
        rng=np.random.default_rng(1), **model,
    )  # fmt: skip
    for bulk, asked, other in (("isotropic", isotropic, own), ("network", own, isotropic)):
        files = tmp_path / f"{bulk}.csv", tmp_path / f"{bulk}.svg"
        _, out, _ = run(capsys, f"{line} --bulk {bulk} --out", *files)
        table = np.array(rows_of(out), dtype=float)
        assert table.shape == (2, 11)
        for column, z_column, solution in ((5, 8, asked), (9, 10, other)):
            np.testing.assert_allclose(table[:, column], solution.test_error, rtol=5e-6)
            z = simulation.z(solution)["test_error"]
            np.testing.assert_allclose(table[:, z_column], z, atol=0.006)
        assert f"# the bulk matters: --bulk {other.bulk} changes the test error" in out
        rows = list(csv.DictReader(files[0].read_text().splitlines()))
        assert float(rows[1]["norm_other_bulk"]) == pytest.approx(other.norm[1], rel=1e-12)
        z = simulation.z(other)["norm"][1]
        assert float(rows[1]["z_norm_other_bulk"]) == pytest.approx(z, rel=1e-6)
        assert "own bulk" in files[1].read_text()


def test_ratios_are_what_d_realises(capsys):
    line = "curve --simulate srf --d 30 --replicates 2 --n-test 10 --alpha 0.51 --beta 0.99 --json"
    _, out, _ = run(capsys, line)
    result = json.loads(out)
    assert result["alpha"] == [0.5]
    assert result["parameters"]["beta"] == 1.0
    np.testing.assert_allclose(
        result["without_step"]["test_error"],
        theory.solve([0.5], lam=0.1, target="sin").test_error,
        rtol=1e-12,
    )
    _, out, _ = run(capsys, "curve --alpha 0.51 --beta 0.99 --json")
    assert json.loads(out)["alpha"] == [0.51]


def test_default_points_of_a_simulated_curve(capsys):
    _, out, _ = run(capsys, "curve --simulate srf --d 30 --replicates 2 --n-test 10")
    assert len(rows_of(out)) == 7


def test_files(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    picture, table = tmp_path / "c.png", tmp_path / "c.csv"
    line = f"curve --simulate network --alpha 0.3 1 inf {OPTIONS}"
    status, _, err = run(capsys, line, "--out", picture, table)
    assert (status, err) == (0, f"wrote {picture}\nwrote {table}\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    _, out, _ = run(capsys, line, "--json")
    numbers = json.loads(out)["simulation"]["with_step"]
    assert float(rows[0]["simulated_norm_sem_with_step"]) == numbers["norm_sem"][0]
    assert float(rows[1]["z_test_error_with_step"]) == numbers["z"]["test_error"][1]
    assert rows[2]["z_test_error_with_step"] == "nan"

    status, _, err = run(capsys, f"simulate --alpha 0.3 1 {OPTIONS}", "--out", table)
    assert (status, err) == (0, f"wrote {table}\n")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["alpha"]) for row in rows] == [0.3, 1.0]
    assert float(rows[0]["test_error"]) == numbers["test_error"][0]


def test_the_picture_holds_points_with_error_bars(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    displays = []
    original = LearningCurveDisplay.plot

    def plot(self, *args, **kwargs):
        displays.append((self, kwargs["points"]))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(LearningCurveDisplay, "plot", plot)
    line = f"curve --simulate srf --alpha 0.3 1 2 {OPTIONS}"
    assert run(capsys, line, "--out", tmp_path / "c.svg")[0] == 0
    ((display, points),) = displays
    assert set(points) == {"with_step", "without_step"}
    assert len(display.ax_.containers) == 2
    assert display.lines_[0].get_xdata().size > 90
    _, out, _ = run(capsys, line, "--json")
    numbers = json.loads(out)["simulation"]["with_step"]
    for drawn, name in zip(
        points["with_step"], ("alpha", *ERRORS[:1], "test_error_sem"), strict=True
    ):
        np.testing.assert_array_equal(drawn, numbers[name])


def stopping(monkeypatch, error, after):
    """Let every simulation stop after so many replicates."""

    def progress(args, what):
        def report(finished, total):
            if finished == after:
                raise error

        return report

    monkeypatch.setattr(output, "progress", progress)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [(KeyboardInterrupt(), 130, "interrupted"), (RuntimeError("no luck"), 4, "RuntimeError")],
)
def test_what_was_finished_is_printed(capsys, monkeypatch, error, status, message):
    stopping(monkeypatch, error, after=2)
    # The last replicate may be done by the time that the second one's report has failed.
    line = f"--alpha 0.3 1 {OPTIONS} --workers 1"
    got, out, err = run(capsys, f"simulate {line}")
    assert got == status
    finished = re.match(rf"spikedrf simulate: {message} after ([23]) of 3 replicates", err)[1]
    assert len(rows_of(out)) == 2
    assert f"{finished} replicates" in out
    got, out, err = run(capsys, f"curve --simulate srf {line} --json")
    assert got == status
    numbers = json.loads(out)["simulation"]
    assert numbers["with_step"]["replicates"] in (2, 3)
    assert "without_step" not in numbers
    _, out, _ = run(capsys, f"curve --simulate srf {line}")
    assert np.array(rows_of(out), dtype=float).shape == (2, 8)


def test_nothing_finished_nothing_printed(capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise spikedrf.SimulationInterrupted("interrupted after 0 of 3 replicates", None)

    monkeypatch.setattr(spikedrf, "simulate", interrupt)
    assert run(capsys, f"simulate {OPTIONS}") == (130, "", "spikedrf: interrupted\n")


def test_progress_goes_to_a_terminal_only(capsys, monkeypatch):
    line = f"simulate --alpha 1 {OPTIONS}"
    assert run(capsys, line)[2] == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert "3/3" in run(capsys, line)[2]
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert run(capsys, line)[2].endswith("replicate 3 of 3\n")
    assert run(capsys, f"{line} --quiet")[2] == ""


def test_a_real_interrupt():
    code = "from spikedrf.cli import main; print('ready', flush=True); raise SystemExit(main())"
    arguments = ["simulate", "--d", "100", "--replicates", "2", "--n-test", "1000000000"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(1.0)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"spikedrf: interrupted\n")


def test_help_has_an_example_that_works(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(capsys, "simulate --help")
    assert status == 0
    example = out.split("example:\n")[1].splitlines()[0].split()
    assert example[0] == "spikedrf"
    assert main(example[1:]) == 0
    assert (tmp_path / "errors.csv").is_file()


def test_checkpoints(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = f"simulate --alpha 0.3 1 2 {OPTIONS} --json"
    whole = run(capsys, line)
    two = line.replace("--replicates 3", "--replicates 2")
    assert run(capsys, two, "--checkpoint", "c.sqlite")[0] == 0
    begun = records(tmp_path / "c.sqlite")
    assert len(begun) == 3
    assert run(capsys, line, "--checkpoint", "c.sqlite") == whole
    finished = (tmp_path / "c.sqlite").read_bytes()
    assert records(tmp_path / "c.sqlite")[:3] == begun
    assert len(records(tmp_path / "c.sqlite")) == 4
    status, out, err = run(capsys, f"{line} --noise 0.1 --checkpoint c.sqlite")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith(
        "spikedrf simulate: error: argument --checkpoint: checkpoint='c.sqlite' belongs to another "
        "computation: noise was 0.2, is 0.1;"
    )
    assert (tmp_path / "c.sqlite").read_bytes() == finished


def test_every_simulation_has_its_checkpoint(capsys, tmp_path):
    line = f"curve --simulate network --alpha 1 {OPTIONS} --eta 1 2 --json"
    path = tmp_path / "c.sqlite"
    whole = run(capsys, line, "--checkpoint", path)
    assert whole[0] == 0
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    names = ("eta-1.0", "eta-1.0.without_step", "eta-2.0", "eta-2.0.without_step")
    assert {file.name for file in files} == {f"c.{name}.sqlite" for name in names}
    assert run(capsys, line, "--checkpoint", path) == whole
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == files


def test_a_checkpoint_in_use(capsys, tmp_path):
    from spikedrf.running.checkpoint import Checkpoint

    path = tmp_path / "c.sqlite"
    with Checkpoint(path, {}):
        status, out, err = run(capsys, f"simulate --alpha 1 {OPTIONS}", "--checkpoint", path)
    assert (status, out) == (1, "")
    assert err == f"spikedrf simulate: error: {path}: in use by another process\n"


@pytest.mark.parametrize("more", ["", "--eta 1 3", "--labels sign"])
def test_simulations_are_drawn(more, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    files = [tmp_path / f"sim.{suffix}" for suffix in ("png", "pdf", "svg", "csv")]
    words = f"simulate --alpha 0.5 1 --d 40 --replicates 2 --n-test 100 {more} --out"
    assert main([*words.split(), *map(str, files)]) == 0
    begins = [file.read_bytes()[:5] for file in files]
    assert begins[:3] == [b"\x89PNG\r", b"%PDF-", b"<?xml"]
    svg = files[2].read_text(encoding="utf-8")
    expected = "rate of wrong signs" if "sign" in more else "test error"
    assert f"{expected}</text>" in svg
    # Error bars, in the axes and in the legend.
    assert svg.count('<g id="LineCollection_') == (4 if "eta" in more else 2)
