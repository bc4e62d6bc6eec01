"""`spikedrf reproduce`: what it writes, says and refuses."""

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

from command_line import run
from spikedrf import figures
from spikedrf.cli import main

pytest.importorskip("matplotlib")


def test_without_a_name_it_says_which_there_are(capsys):
    status, out, err = run(capsys, "reproduce")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(figures.NAMES)
    _, out, _ = run(capsys, "reproduce --json")
    result = json.loads(out)
    assert list(result["figures"]) == list(figures.NAMES)
    assert all(entry["summary"] for entry in result["figures"].values())


def test_files_and_json(capsys, tmp_path):
    folder = tmp_path / "new" / "figures"
    line = f"reproduce learning-curve --format png svg --out {folder}"
    status, out, err = run(capsys, f"{line} --json")
    assert status == 0
    paths = [folder / f"learning-curve.{suffix}" for suffix in ("png", "svg", "csv", "json")]
    assert err == "".join(f"wrote {path}\n" for path in paths)
    result = json.loads(out)
    assert (result["schema"], result["command"], result["skipped"]) == (1, "reproduce", {})
    entry = result["figures"]["learning-curve"]
    assert entry["files"] == list(map(str, paths))
    assert entry["success"] is True
    beside = json.loads(paths[3].read_text())
    assert (beside["schema"], beside["figure"]) == (1, "learning-curve")
    assert beside["series"] == entry["series"]
    with paths[2].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(s["x"]) for s in entry["series"])
    last = entry["series"][-1]
    assert (rows[-1]["label"], rows[-1]["kind"]) == (last["label"], "theory")
    assert (float(rows[-1]["x"]), float(rows[-1]["y"])) == (last["x"][-1], last["y"][-1])
    assert np.isnan(float(rows[-1]["sem"]))
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    status, out, err = run(capsys, f"{line} --quiet")
    assert (status, out, err) == (0, f"learning-curve: {entry['finding']}\n", "")


def test_simulated_points(capsys, tmp_path):
    line = f"reproduce learning-curve --simulate --d 30 --replicates 2 --seed 4 --out {tmp_path}"
    status, out, _ = run(capsys, f"{line} --json")
    assert status == 0
    result = json.loads(out)
    assert result["parameters"] == {"d": 30, "replicates": 2, "seed": 4}
    kinds = [s["kind"] for s in result["figures"]["learning-curve"]["series"]]
    assert kinds.count("simulation") == 2


def test_all_without_data(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "NAMES", ("learning-curve", "real-data"))
    status, out, err = run(capsys, f"reproduce --all --out {tmp_path} --json")
    assert status == 0
    result = json.loads(out)
    assert list(result["figures"]) == ["learning-curve"]
    assert list(result["skipped"]) == ["real-data"]
    assert "real-data was skipped: it needs --data FOLDER" in err


def test_points_that_did_not_converge_give_status_3(capsys, tmp_path, monkeypatch):
    original = figures.make

    def doubtful(name, plan):
        made = original(name, plan)
        made.series[0].success[0] = False
        return made

    monkeypatch.setattr(figures, "make", doubtful)
    assert run(capsys, f"reproduce learning-curve --out {tmp_path}")[0] == 3


def test_a_file_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "learning-curve.png").mkdir()
    status, out, err = run(capsys, f"reproduce learning-curve --out {tmp_path}")
    assert status == 1
    assert "learning-curve.png cannot be written: Is a directory" in err
    assert "learning-curve.csv" in err
    assert out.startswith("learning-curve: ")


MISUSE = [
    ("curve", "argument FIGURE: 'curve' is not one of learning-curve, "),
    ("--all vocabulary", "argument --all: not allowed with the names of figures"),
    ("vocabulary --d 100", "argument --d: is for --simulate only"),
    ("vocabulary --seed 1", "argument --seed: is for --simulate only"),
    ("vocabulary --simulate --d 5", "argument --d: d must be >= 10, got 5"),
    ("vocabulary --simulate --replicates 1", "argument --replicates: replicates must be >= 2"),
    ("vocabulary --simulate --workers 0", "argument --workers: workers must be >= 1"),
    ("vocabulary --format gif", "argument --format: invalid choice: 'gif'"),
    ("vocabulary --data nowhere", "argument --data: 'nowhere' is not a folder"),
    ("vocabulary --out file", "argument --out: 'file': File exists"),
    ("real-data", "argument --data: real-data needs --data FOLDER"),
]


@pytest.mark.parametrize(("arguments", "message"), MISUSE, ids=[a for a, _ in MISUSE])
def test_misuse(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    status, out, err = run(capsys, f"reproduce {arguments}")
    assert (status, out) == (2, "")
    assert message in err


def test_without_matplotlib(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, err = run(capsys, f"reproduce --all --out {tmp_path}")
    assert (status, out) == (2, "")
    assert "pip install 'spikedrf[plot]'" in err
    assert run(capsys, "reproduce")[0] == 0


def test_interrupted(tmp_path):
    """Ctrl-C: the figures that were made stay, and it says so."""
    command = [sys.executable, "-m", "spikedrf", "reproduce", "learning-curve", "vocabulary"]
    command += ["--out", tmp_path, "--simulate", "--d", "3000", "--replicates", "100"]
    code = (
        "import spikedrf.figures.learning_curve as first; from spikedrf.figures import Plan\n"
        "make = first.make; first.make = lambda plan: make(Plan())\n"
        "from spikedrf.cli import main; raise SystemExit(main())"
    )
    command = [sys.executable, "-c", code, *command[3:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not (tmp_path / "learning-curve.json").exists():
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out.startswith(b"learning-curve: ")
    assert err.decode().endswith(
        f"spikedrf reproduce: interrupted in vocabulary; 1 of 2 figures are in {tmp_path}\n"
    )


def test_help_has_an_example_that_works(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, out, _ = run(capsys, "reproduce --help")
    example = re.search(r"^example:\n +spikedrf (.*)$", out, flags=re.MULTILINE)[1].split()
    assert main(example) == 0
    assert (tmp_path / "figures" / "vocabulary.png").is_file()
