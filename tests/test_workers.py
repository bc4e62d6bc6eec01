"""Pieces of work on any workers: the same bits everywhere, and safe on the disk."""

import signal
import subprocess
import sys
import time

import joblib
import numpy as np
import pytest

from checkpoint_file import pieces_of, records
from spikedrf import ConvergenceWarning, GradientStep, Spike, simulate, simulate_spectrum, theory
from spikedrf.running.checkpoint import CheckpointMismatch
from spikedrf.running.workers import as_finished, blas_threads, cores, worker_count

SETTING = {
    "d": 30, "lam": [[0.1], [1.0]], "target": "sin", "step": GradientStep(2.0, 3.0), "noise": 0.1,
    "model": "network", "replicates": 5, "n_test": 60, "rng": 7,
}  # fmt: skip
ALPHA = [0.5, 2.0]
LOGISTIC = {"loss": "logistic", "labels": "sign", "flip": 0.1}


def assert_same(a, b):
    assert {"test_error", "train_error", "norm"} < set(a.samples) == set(b.samples)
    for name in a.samples:
        np.testing.assert_array_equal(a.samples[name], b.samples[name], err_msg=name)


# ---- Which workers ------------------------------------------------------------------------------


def test_how_many_workers():
    assert worker_count(None) == cores()
    assert worker_count(3) == 3
    assert worker_count(-1) == cores()
    with joblib.parallel_config(n_jobs=5):
        assert worker_count(None) == 5
        assert worker_count(2) == 2
    with joblib.parallel_config("loky", n_jobs=3):
        assert worker_count(None) == 3
    with joblib.parallel_config(n_jobs=1):
        assert worker_count(None) == 1
    # Inside a worker there are no more workers.
    counts = joblib.Parallel(2, prefer="threads")(joblib.delayed(worker_count)(None) for _ in "12")
    assert counts == [1, 1]


def square(x):
    return x * x


def twice(x):
    return 2.0 * x


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_positions_belong_to_results(backend):
    with joblib.parallel_config(backend):
        assert sorted(as_finished(square, [3, 1, 2], 2)) == [(0, 9), (1, 1), (2, 4)]


def fail(x):
    if x == 1:
        raise LookupError("one")
    time.sleep(0.01)
    return x


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_ends_the_work(count):
    with pytest.raises(LookupError, match="one"):
        list(as_finished(fail, range(50), count))


def test_blas_threads_are_given_back():
    from threadpoolctl import threadpool_info

    def now():
        return [x["num_threads"] for x in threadpool_info() if x["user_api"] == "blas"]

    with blas_threads(1):
        pass
    before = now()
    with blas_threads(1):
        with blas_threads(7):  # the first one counts
            assert set(now()) == {1}
        assert set(now()) == {1}
    assert now() == before


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_any_backend_gives_the_same_bits(backend):
    expected = simulate(ALPHA, **SETTING, workers=1)
    signs = simulate(ALPHA, **SETTING | LOGISTIC, workers=1)
    cube = simulate(1.0, **SETTING | {"activation": (square, lambda x: 2 * x)}, workers=1)
    grid = {"alpha": np.geomspace(0.1, 10, 9), "lam": np.geomspace(1e-3, 1, 7)}
    diagram = theory.phase_diagram(**grid, value="gain", step=Spike(1.0, 1.1, 0.9), workers=1)
    with joblib.parallel_config(backend, n_jobs=2):
        assert_same(simulate(ALPHA, **SETTING), expected)
        assert_same(simulate(ALPHA, **SETTING | LOGISTIC), signs)
        # A function without a name crosses over too.
        user = simulate(1.0, **SETTING | {"activation": (square, lambda x: 2 * x)})
        assert_same(user, cube)
        there = theory.phase_diagram(**grid, value="gain", step=Spike(1.0, 1.1, 0.9))
    np.testing.assert_array_equal(there.value, diagram.value)
    np.testing.assert_array_equal(there.status, diagram.status)


# ---- Simulations on the disk --------------------------------------------------------------------


class Interrupted(Exception):
    pass


def stop_after(count):
    def progress(finished, total):
        if finished >= count:
            raise Interrupted

    return progress


@pytest.mark.parametrize("readout", [{}, LOGISTIC], ids=["ridge", "logistic"])
def test_a_simulation_resumes(tmp_path, readout):
    path = tmp_path / "c.sqlite"
    setting = SETTING | readout
    whole = simulate(ALPHA, **setting)
    with pytest.raises(Exception, match="Interrupted after 2 of 5 replicates"):
        simulate(ALPHA, **setting, checkpoint=path, progress=stop_after(2), workers=1)
    begun = records(path)
    assert len(begun) == 3
    told = []
    resumed = simulate(
        ALPHA, **setting, checkpoint=path, progress=lambda *counts: told.append(counts)
    )
    assert told == [(k, 5) for k in (2, 3, 4, 5)]
    assert_same(resumed, whole)
    assert records(path)[:3] == begun
    # More replicates add to those that are there, fewer are a part of them.
    assert_same(
        simulate(ALPHA, **setting | {"replicates": 7}, checkpoint=path),
        simulate(ALPHA, **setting | {"replicates": 7}),
    )
    assert len(records(path)) == 8
    assert simulate(ALPHA, **setting | {"replicates": 2}, checkpoint=path).replicates == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lam": [[0.1], [2.0]]}, r"lam was \[\[0.1\], \[1.0\]\], is \[\[0.1\], \[2.0\]\]"),
        ({"target": "tanh"}, "target was sin, is tanh"),
        ({"step": GradientStep(2.0, 4.0)}, "alpha0 was 3.0, is 4.0"),
        ({"step": None}, "step was GradientStep, is None"),
        ({"model": "srf"}, "model was network, is srf"),
        ({"d": 31}, "d was 30, is 31"),
        ({"noise": 0.2}, "noise was 0.1, is 0.2"),
        ({"n_test": 61}, "n_test was 60, is 61"),
        ({"rng": 8}, "rng was PCG64"),
        ({"loss": "huber"}, r"delta was \(absent\), is 1.0, loss was square, is huber"),
        ({"labels": "sign"}, "labels was real, is sign"),
        ({"activation": (square, twice)}, r"activation was tanh, is square \("),
    ],
)
def test_another_simulation_does_not_resume(tmp_path, change, told):
    path = tmp_path / "c.sqlite"
    simulate(ALPHA, **SETTING | {"replicates": 1}, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(CheckpointMismatch, match=told):
        simulate(ALPHA, **SETTING | change, checkpoint=path)
    assert path.read_bytes() == before


def test_a_spectrum_resumes(tmp_path):
    path = tmp_path / "c.sqlite"
    setting = {"d": 30, "step": GradientStep(2.0, 3.0), "model": "network", "rng": 3}
    whole = simulate_spectrum(1.5, **setting, replicates=3)
    simulate_spectrum(1.5, **setting, replicates=2, checkpoint=path)
    resumed = simulate_spectrum(1.5, **setting, replicates=3, checkpoint=path)
    np.testing.assert_array_equal(resumed.eigenvalues, whole.eigenvalues)
    with pytest.raises(CheckpointMismatch, match=r"alpha was 1\.5, is 2\.0"):
        simulate_spectrum(2.0, **setting, replicates=3, checkpoint=path)
    with pytest.raises(CheckpointMismatch, match="command was simulate_spectrum, is simulate"):
        simulate(1.5, lam=0.1, **setting, replicates=3, checkpoint=path)


def test_fits_that_stopped_early_are_told_again(tmp_path, monkeypatch):
    """The warning belongs to the results, not to the process that has computed them."""
    from spikedrf.readout import convex as readout

    monkeypatch.setattr(readout, "_ROUNDS", 1)
    setting = {"d": 20, "lam": 1e-3, "loss": "absolute", "replicates": 2, "n_test": 50, "rng": 0}
    told = r"2 of 2 fits of the readout did not reach their accuracy"
    for _ in range(2):
        with pytest.warns(ConvergenceWarning, match=told):
            simulate(1.5, **setting, checkpoint=tmp_path / "c.sqlite", workers=1)
        monkeypatch.undo()


def test_a_checkpoint_needs_a_seed(tmp_path):
    with pytest.raises(ValueError, match="checkpoint needs a seed"):
        simulate(ALPHA, **SETTING | {"rng": None}, checkpoint=tmp_path / "c.sqlite")


SWEEP = """
import sys
import joblib
from spikedrf import GradientStep, simulate

# Workers of a parent that is no more go when they have waited for so many seconds.
more = {"idle_worker_timeout": 5} if sys.argv[1] == "loky" else {}
with joblib.parallel_config(sys.argv[1], n_jobs=2, **more):
    simulation = simulate(
        [0.5, 2.0], d=60, lam=0.1, target="sin", step=GradientStep(2.0, 3.0), model="network",
        replicates=40, n_test=3000, rng=1, checkpoint=sys.argv[2] if len(sys.argv) > 2 else None,
        progress=lambda finished, total: print(finished, flush=True),
    )
sys.stdout.write(simulation.samples["test_error"].tobytes().hex())
"""


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_a_simulation_killed_at_any_moment(tmp_path, backend):
    """What was told to be finished stays, nothing is done twice, and no bit is another."""
    rng = np.random.default_rng(0)
    command = [sys.executable, "-c", SWEEP, backend]
    whole = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    path = tmp_path / "c.sqlite"
    reported = kills = 0
    while True:
        # Not a pipe: that would be open until the last worker of the killed process has gone. And
        # a file for each process: what a worker still writes would be in the next one's.
        told = tmp_path / f"told{kills}"
        with told.open("w") as out, subprocess.Popen([*command, path], stdout=out) as process:
            while process.poll() is None and told.stat().st_size < 2:
                time.sleep(0.002)
            time.sleep(rng.uniform(0.0, 0.05))
            if kills < 4:
                process.kill()
        lines = told.read_text().splitlines(keepends=True)
        counts = [int(line) for line in lines if line.endswith("\n")]
        assert counts[0] >= reported
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
        reported = counts[-1]
    assert kills >= 2
    assert lines[-1] == whole.splitlines()[-1]
    assert sorted(pieces_of(path)) == list(range(40))
