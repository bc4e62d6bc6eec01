"""Phase diagrams: the numbers of `solve`, in any pieces, in little memory, interrupted or not."""

import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import brute_force
from checkpoint_file import pieces_of, specification_of
from spikedrf import ConvergenceWarning, GradientStep, Spike, losses, theory
from spikedrf.running.checkpoint import Checkpoint, CheckpointMismatch
from spikedrf.theory import mesh, phase

MODEL = {"activation": "erf", "target": "sin"}
ETA, ALPHA0 = np.geomspace(0.3, 5.0, 5), np.geomspace(0.5, 50.0, 4)
ALPHA, LAM = np.geomspace(0.2, 20.0, 7), np.geomspace(1e-3, 1.0, 6)
STEP = GradientStep(eta=2.0, alpha0=10.0)

# x comes first.
CASES = [
    {"alpha": ALPHA, "lam": LAM, "step": STEP},
    {"eta": ETA, "alpha0": ALPHA0, "alpha": 2.0, "lam": 0.1, "noise": 0.2},
    {"lam": LAM, "eta": ETA, "alpha": 2.0, "alpha0": np.inf, "beta": 0.7},
    {"alpha0": [0.0, 1.0, np.inf], "beta": [0.5, 2.0], "alpha": 2.0, "eta": 3.0, "lam": 0.1},
    {"noise": [0.0, 0.5], "beta": [0.5, 1.0, 2.0], "alpha": 1.5, "lam": 0.1, "step": STEP},
    {"noise": [0.0, 0.5], "alpha": [1.0, np.inf], "eta": 2.0, "alpha0": 5.0, "lam": 0.1},
    {"r": [-1.0, 2.0], "gamma": [-0.5, 0.0, 1.0], "c": 1.1, "alpha": 1.5, "lam": 0.1},
    {"c": [0.5, 1.5], "alpha": [1.0, np.inf], "r": 1.0, "gamma": 0.9, "lam": 0.1},
    {"alpha": ALPHA, "beta": [0.5, 2.0], "lam": 0.1},
    {"eta": ETA, "alpha": [3.0], "alpha0": 5.0, "lam": 0.1, "u": [1.0, -0.5], "pi": [0.3, 0.7]},
]


@pytest.fixture
def tiny_pieces(monkeypatch):
    """A few points a piece, so that small diagrams have many."""
    monkeypatch.setattr(mesh, "_SPIKES", 3)
    monkeypatch.setattr(mesh, "_POINTS", 8)


def axes_of(case):
    return [name for name, value in case.items() if np.ndim(value) == 1][:2]


def solve_one(case):
    """The point at which every parameter of a case is a number."""
    case = dict(case)
    if "eta" in case:
        parts = {name: case.pop(name) for name in ("eta", "alpha0", "u", "pi") if name in case}
        case["step"] = GradientStep(**parts)
    if "r" in case:
        case["step"] = Spike(**{name: case.pop(name) for name in ("r", "c", "gamma")})
    return theory.solve(case.pop("alpha"), **case, **MODEL)


@pytest.mark.parametrize("case", CASES, ids=[" x ".join(axes_of(case)) for case in CASES])
def test_every_point_is_that_of_solve(case, tiny_pieces):
    x, y = axes_of(case)
    points = [[solve_one(case | {x: a, y: b}) for a in case[x]] for b in case[y]]
    for value in ("test_error", "train_error", "excess_error", "norm"):
        diagram = theory.phase_diagram(value=value, **case, **MODEL)
        assert (diagram.x_name, diagram.y_name, diagram.value_name) == (x, y, value)
        np.testing.assert_array_equal(diagram.x, case[x])
        np.testing.assert_array_equal(diagram.y, case[y])
        expected = [[getattr(point, value) for point in row] for row in points]
        np.testing.assert_array_equal(diagram.value, expected)
        assert diagram.shape == diagram.value.shape == diagram.status.shape
        assert diagram.success.all()
        assert not diagram.status.any()


def test_against_the_slow_solver():
    model = {"activation": "tanh", "target": "sin", "beta": 0.8, "lam": 0.05}
    diagram = theory.phase_diagram(
        value="gain", eta=[0.5, 3.0], noise=[0.0, 0.3], alpha=1.5, alpha0=2.0, **model
    )
    for i, noise in enumerate([0.0, 0.3]):
        plain = brute_force.solve(1.5, noise=noise, **model)
        for j, eta in enumerate([0.5, 3.0]):
            r, c, gamma = brute_force.spike(eta, 2.0, activation="tanh", target="sin", noise=noise)
            after = brute_force.solve(1.5, r=r, c=c, gamma=gamma, noise=noise, **model)
            expected = plain["test"] / after["test"]
            assert diagram.value[i, j] == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("case", [c for c in CASES if "beta" not in axes_of(c) or len(c) > 3])
def test_gain(case, tiny_pieces):
    x, y = axes_of(case)
    diagram = theory.phase_diagram(value="gain", **case, **MODEL)
    plain = {name: case[name] for name in ("alpha", "lam", "beta", "noise") if name in case}
    for i, b in enumerate(case[y]):
        for j, a in enumerate(case[x]):
            here = plain | {name: value for name, value in ((x, a), (y, b)) if name in plain}
            without = solve_one(here).test_error
            assert diagram.value[i, j] == without / solve_one(case | {x: a, y: b}).test_error


BEST = [
    {"over": "lam", "alpha": [0.5, 3.0], "eta": [0.0, 2.0, 6.0], "alpha0": 5.0, "noise": 0.3},
    {"over": "lam", "alpha": [0.5, np.inf], "beta": [0.5, 2.0], "step": STEP, "noise": 0.3},
    {"over": "eta", "alpha0": [0.3, 20.0], "alpha": [0.5, 3.0], "lam": 0.1, "noise": 0.3},
    {"over": ("eta", "lam"), "noise": [0.1, 1.0], "alpha": [0.5, 3.0], "alpha0": 20.0},
    {"over": "eta", "noise": [0.1, 1.0], "alpha": [0.5, 3.0], "step": STEP, "lam": 0.1},
]


@pytest.mark.parametrize("case", BEST, ids=[" x ".join(axes_of(case)) for case in BEST])
def test_every_optimum_is_that_of_optimise(case, tiny_pieces):
    case = dict(case)
    x, y = axes_of({name: value for name, value in case.items() if name != "over"})
    over = case["over"]
    names = {over} if isinstance(over, str) else set(over)
    point = {name: value for name, value in case.items() if name not in ("eta", "alpha0", "step")}
    point |= {y: np.array(case[y])[:, None]} if y in point else {}
    step = case.get("step")
    if "alpha0" in case:
        grids = {name: case.get(name, 1.0) for name in ("eta", "alpha0")}
        grids |= {y: np.array(case[y])[:, None]} if y in grids else {}
        step = GradientStep(**grids)
    best = theory.optimise(**point, **MODEL, step=step)
    expected = {"lam": best.lam, "eta": best.eta, "test_error": best.test_error}
    expected["norm"] = best.solution.norm
    plain = theory.optimise if "lam" in names else theory.solve
    without = {name: value for name, value in point.items() if name != "over"}
    expected["gain"] = plain(**without, **MODEL).test_error / best.test_error
    for value in ("norm", "test_error", "gain", *names) if len(names) == 1 else ("eta",):
        diagram = theory.phase_diagram(value=value, **case, **MODEL)
        assert (diagram.x_name, diagram.y_name, diagram.value_name) == (x, y, value)
        whole = np.broadcast_to(expected[value], diagram.shape)
        np.testing.assert_allclose(diagram.value, whole, rtol=1e-7, err_msg=value)
        assert diagram.success.all()
        assert set(diagram.side) == names
        for name in names:
            np.testing.assert_array_equal(diagram.side[name], best.side[name])


def test_bounds_of_the_optima():
    case = {"over": "lam", "alpha": [0.5, 3.0], "noise": [0.1, 1.0], **MODEL}
    free = theory.phase_diagram(value="lam", **case)
    ends = (1.01 * free.value.min(), 0.99 * free.value.max())
    held = theory.phase_diagram(value="lam", bounds={"lam": ends}, **case)
    np.testing.assert_allclose(held.value, np.clip(free.value, *ends), rtol=1e-7)
    side = np.where(held.value == ends[0], -1, np.where(held.value == ends[1], 1, 0))
    np.testing.assert_array_equal(held.side["lam"], side)
    assert {-1, 1} <= set(side.ravel())


def test_the_first_array_is_horizontal():
    rest = {"alpha": 2.0, "lam": 0.1, **MODEL}
    one = theory.phase_diagram(eta=ETA, alpha0=ALPHA0, **rest)
    other = theory.phase_diagram(alpha0=ALPHA0, eta=ETA, **rest)
    assert (one.x_name, one.y_name, one.value.shape) == ("eta", "alpha0", (4, 5))
    assert (other.x_name, other.y_name, other.value.shape) == ("alpha0", "eta", (5, 4))
    np.testing.assert_array_equal(one.value, other.value.T)


def test_workers_and_pieces_change_no_bit(monkeypatch):
    case = {"eta": ETA, "lam": LAM, "alpha": 2.0, "alpha0": 3.0, "noise": 0.1, **MODEL}
    reference = theory.phase_diagram(workers=1, **case)
    for spikes, points, workers in ((1, 1, 2), (2, 5, 3), (1, 4, -1), (100, 7, None)):
        monkeypatch.setattr(mesh, "_SPIKES", spikes)
        monkeypatch.setattr(mesh, "_POINTS", points)
        diagram = theory.phase_diagram(workers=workers, **case)
        assert diagram.value.tobytes() == reference.value.tobytes()


def test_a_user_function():
    case = {"alpha": [0.5, 2.0], "lam": [0.1, 1.0], "step": STEP, "target": "sin"}
    named = theory.phase_diagram(activation="tanh", **case)
    own = theory.phase_diagram(activation=(np.tanh, lambda x: 1 / np.cosh(x) ** 2), **case)
    np.testing.assert_allclose(own.value, named.value, rtol=1e-8)
    assert own.parameters["activation"] == "tanh"


# --------------------------------------------------------------------------------------------------
# Pieces


@given(
    st.sampled_from(
        [
            ("alpha", "lam"),
            ("eta", "alpha0"),
            ("lam", "eta"),
            ("alpha0", "beta"),
            ("noise", "alpha"),
        ]
    ),
    st.integers(1, 3000),
    st.integers(1, 3000),
)
def test_pieces_cover_everything_once_and_share_tables(names, width, height):
    numbers = {"alpha": 1.0, "lam": 0.1, "eta": 1.0, "alpha0": 1.0}
    axes = {names[0]: np.linspace(0.1, 1.0, width), names[1]: np.linspace(0.1, 1.0, height)}
    grid = mesh.mesh(axes | {n: v for n, v in numbers.items() if n not in axes}, None, None, None)
    count = np.zeros(grid.shape, dtype=np.int8)
    pieces = grid.pieces()
    spiky = [name in ("eta", "alpha0", "noise") for name in grid.names]
    tables = 0
    for piece in pieces:
        count[piece] += 1
        size = count[piece].shape
        assert 1 <= size[0] * size[1] <= mesh._POINTS
        spikes = np.prod([n for n, moves in zip(size, spiky, strict=True) if moves])
        assert spikes <= mesh._SPIKES
        tables += spikes
    assert (count == 1).all()
    distinct = np.prod([n for n, moves in zip(grid.shape, spiky, strict=True) if moves])
    if spiky == [False, False]:
        # Tables once for each piece, of which there are hardly more than needed.
        assert len(pieces) <= 1 + 3 * width * height / mesh._POINTS
    else:
        assert tables == distinct  # the longest axis fits into a piece: no tables are made twice


def test_memory_is_that_of_the_answer():
    """13 bytes a point and a piece at a time; all of `Solution` would be 125 bytes a point."""
    n = 640
    axes = {"alpha": np.geomspace(0.1, 10, n), "lam": np.geomspace(1e-3, 1, n)}
    tracemalloc.start()
    try:
        diagram = theory.phase_diagram(**axes, activation="relu", target="relu", workers=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    kept = diagram.value.nbytes + diagram.status.nbytes + diagram.success.nbytes
    assert kept == 13 * n * n
    # What `solve` holds of a piece: well below 64 doubles a point.
    assert peak < kept + 8 * 64 * mesh._POINTS


def test_too_large_a_diagram_is_refused_at_once():
    many = np.geomspace(0.1, 1.0, 3_000_000)
    with pytest.raises(MemoryError, match=r"the diagram would take 117000000000000 bytes"):
        theory.phase_diagram(eta=many, alpha0=many, alpha=1.0, lam=0.1)


# --------------------------------------------------------------------------------------------------
# The result


def test_any_loss():
    alpha, lam = [0.5, 2.0], [0.1, 1.0, 3.0]
    signs = {"loss": "hinge", "labels": "sign", "flip": 0.1}
    diagram = theory.phase_diagram(alpha=alpha, lam=lam, value="gain", step=STEP, **signs, **MODEL)
    model = {"lam": np.array(lam)[:, None], **signs, **MODEL}
    after, before = (theory.solve(alpha, step=step, **model).error_rate for step in (STEP, None))
    np.testing.assert_allclose(diagram.value, before / after, rtol=1e-12)
    huber = losses.Huber(0.5)
    diagram = theory.phase_diagram(alpha=alpha, lam=lam, value="norm", loss=huber, **MODEL)
    expected = theory.solve(alpha, lam=model["lam"], loss=huber, **MODEL).norm
    np.testing.assert_allclose(diagram.value, expected, rtol=1e-12)
    assert diagram.parameters["loss"] == "huber"
    assert diagram.parameters["delta"] == 0.5


def test_to_xarray():
    xarray = pytest.importorskip("xarray")
    diagram = theory.phase_diagram(
        value="gain", eta=ETA, alpha0=ALPHA0, alpha=2.0, lam=0.1, u=[1.0, -1.0], **MODEL
    )
    data = diagram.to_xarray()
    assert isinstance(data, xarray.Dataset)
    assert data["gain"].dims == ("alpha0", "eta")
    at = data.sel(eta=ETA[3], alpha0=ALPHA0[1])
    assert float(at["gain"]) == diagram.value[1, 3]
    assert bool(at["success"])
    assert int(at["status"]) == 0
    fixed = {name: float(data[name]) for name in ("alpha", "lam", "beta", "noise")}
    assert fixed == {"alpha": 2.0, "lam": 0.1, "beta": 1.0, "noise": 0.0}
    assert data.attrs == {
        "activation": "erf", "target": "sin", "u": [1.0, -1.0], "bulk": "isotropic",
        "loss": "square", "rtol": 1e-8,
    }  # fmt: skip
    case = {"alpha": [0.5, 2.0], "noise": [0.1, 1.0]}
    diagram = theory.phase_diagram(value="lam", over="lam", **case, **MODEL)
    data = diagram.to_xarray()
    assert data["lam"].dims == data["side_lam"].dims == ("noise", "alpha")
    assert float(data["lam"].sel(noise=1.0, alpha=0.5)) == diagram.value[1, 0]
    assert data.attrs["over"] == ["lam"]


def test_without_xarray(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    diagram = theory.phase_diagram(alpha=[1.0], lam=[0.1], **MODEL)
    with pytest.raises(ImportError, match="to_xarray needs xarray: pip install xarray"):
        diagram.to_xarray()


def test_repr():
    diagram = theory.phase_diagram(alpha=ALPHA, lam=LAM, step=STEP, **MODEL)
    low, high = diagram.value.min(), diagram.value.max()
    assert repr(diagram) == (
        f"PhaseDiagram(x=alpha (7), y=lam (6), test_error {low:.4g} to {high:.4g}, "
        f"42 of 42 converged)"
    )


def test_points_that_did_not_converge():
    # As in the tests of `solve`: two groups that hardly differ, a small ridge.
    case = {"u": [1.0, 0.99], "lam": 1e-6, "beta": 0.5, "alpha0": 20.0, "target": "sin"}
    with pytest.warns(ConvergenceWarning) as caught:
        diagram = theory.phase_diagram(
            eta=[1.0, 300.0], alpha=[0.5, 5.0], rtol=1e-11, value="gain", **case
        )
    (warning,) = caught
    assert warning.filename == __file__
    bad = ~diagram.success
    assert 0 < bad.sum() < 4
    i, j = np.argwhere(bad)[0]
    assert str(warning.message).startswith(
        f"{bad.sum()} of 4 points did not reach rtol=1e-11, the first at "
        f"eta={diagram.x[j]:g}, alpha={diagram.y[i]:g};"
    )
    np.testing.assert_array_equal(diagram.status == 0, diagram.success)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        solution = theory.solve(
            [[0.5], [5.0]],
            lam=1e-6,
            beta=0.5,
            target="sin",
            rtol=1e-11,
            step=GradientStep([1.0, 300.0], 20.0, u=[1.0, 0.99]),
        )
    np.testing.assert_array_equal(diagram.status[~solution.success], solution.status[bad])


# --------------------------------------------------------------------------------------------------
# What is refused

GOOD = {"alpha": ALPHA, "lam": LAM}


@pytest.mark.parametrize(
    ("case", "error", "message"),
    [
        ({"lam": LAM}, TypeError, "alpha is missing"),
        ({"alpha": ALPHA}, TypeError, "lam is missing"),
        ({**GOOD, "beta": [1.0]}, ValueError, r"got 3 \(alpha, lam, beta\)"),
        ({"alpha": 1.0, "lam": 0.1}, ValueError, r"got 0 \(none\)"),
        ({**GOOD, "kappa": 1.0}, TypeError, "kappa is no parameter of a phase diagram; those are"),
        ({**GOOD, "lam": [[0.1]]}, ValueError, r"lam must be a number or .* got shape \(1, 1\)"),
        ({**GOOD, "lam": []}, ValueError, r"lam must be a number or .* got shape \(0,\)"),
        ({**GOOD, "lam": [0.1, -1.0]}, ValueError, r"lam must be >= 0 .* at index \(1,\)"),
        ({**GOOD, "alpha": [np.nan]}, ValueError, "alpha must be > 0"),
        ({**GOOD, "value": "error"}, ValueError, "value must be one of test_error, train_error"),
        ({**GOOD, "value": "gain"}, ValueError, "value='gain' compares a step with none"),
        ({**GOOD, "value": "lam"}, ValueError, r"value='lam' is the best lam: over must name it"),
        ({**GOOD, "over": "lam"}, ValueError, "lam is optimised at every point: it cannot be"),
        ({**GOOD, "over": "alpha"}, ValueError, "over must name some of lam, eta; got 'alpha'"),
        ({**GOOD, "over": "beta"}, ValueError, "over must name some of lam, eta; got 'beta'"),
        ({**GOOD, "over": "eta"}, ValueError, "over='eta' needs a GradientStep"),
        ({**GOOD, "bounds": {"lam": (0, 1)}}, ValueError, "bounds are of what is optimised"),
        ({**BEST[1], "bounds": {"lam": 3.0}}, TypeError, "bounds of lam must be a pair"),
        ({**BEST[1], "bounds": {"lam": ([1.0], 3.0)}}, ValueError, "bounds of lam must be numbers"),
        ({**BEST[1], "bounds": {"eta": (1.0, 3.0)}}, ValueError, "bounds must be of what is opt"),
        ({**GOOD, "eta": 1.0}, TypeError, "alpha0 is missing: give all of eta, alpha0"),
        ({**GOOD, "r": 1.0, "c": 1.0}, TypeError, "gamma is missing: give all of r, c, gamma"),
        ({**GOOD, "eta": 1.0, "step": STEP}, ValueError, "eta and step both say what the step is"),
        ({**GOOD, "eta": 1.0, "c": 1.0}, ValueError, "c and eta both say what the step is"),
        ({**GOOD, "u": 1.0}, ValueError, "u belongs to eta and alpha0, which are not given"),
        ({**GOOD, "step": GradientStep([1.0], 2.0)}, ValueError, "step must be one step"),
        ({**GOOD, "step": Spike([[1.0]], 2.0, 0.5)}, ValueError, "step must be one step"),
        ({**GOOD, "step": "large"}, TypeError, "step must be a GradientStep, a Spike, a Layer"),
        ({**GOOD, "rtol": 0.0}, ValueError, "rtol must be >= 1e-11"),
        ({**GOOD, "bulk": "round"}, ValueError, "bulk must be "),
        ({**GOOD, "loss": "cubic"}, ValueError, "loss must be "),
        ({**GOOD, "loss": "logistic"}, ValueError, "loss 'logistic' .* needs labels='sign'"),
        ({**GOOD, "flip": 0.1}, ValueError, "flip is for labels='sign'"),
        ({**GOOD, "labels": "sign", "flip": [0.1]}, ValueError, "flip must be a number"),
        (
            {**GOOD, "loss": "huber", "alpha": np.inf, "beta": [1.0, 2.0]},
            ValueError,
            "alpha must be finite",
        ),
        ({**GOOD, "workers": 0}, ValueError, "workers must be >= 1"),
        ({**GOOD, "activation": "step"}, ValueError, "activation must be a callable or one of"),
        ({**GOOD, "progress": 3}, TypeError, "progress must be a callable, a bool or None"),
        ({**GOOD, "eta": 1.0, "alpha0": 1.0, "activation": "sign"}, ValueError, "cannot take a"),
        (
            {"alpha": [0.5, 0.6], "beta": [1.0, 2.0], "lam": 0.0, "step": STEP},
            ValueError,
            "lam = 0 with alpha",
        ),
        (
            {"alpha": [1.0, 1.0], "noise": [0.1, 0.0], "lam": 0.0},
            ValueError,
            "lam = 0 at the interpolation",
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_done(tmp_path, monkeypatch, case, error, message):
    monkeypatch.setattr(phase._Plan, "compute", None)
    path = tmp_path / "c.sqlite"
    with pytest.raises(error, match=message):
        theory.phase_diagram(checkpoint=path, **case)
    assert not path.exists()


# --------------------------------------------------------------------------------------------------
# Long ones

LONG = {"eta": ETA, "alpha0": ALPHA0, "alpha": 2.0, "lam": 0.1, **MODEL}


class Interrupted(Exception):
    pass


def stop_after(points):
    def progress(finished, total):
        if finished >= points:
            raise Interrupted

    return progress


@pytest.mark.parametrize("workers", [1, 3])
def test_progress(tiny_pieces, workers):
    told = []
    theory.phase_diagram(progress=lambda *counts: told.append(counts), workers=workers, **LONG)
    finished = [count for count, _ in told]
    assert len(told) == 8
    assert finished == sorted(finished)
    assert told[-1] == (20, 20)
    assert {total for _, total in told} == {20}


def test_an_error_in_progress_is_passed_on(tiny_pieces):
    with pytest.raises(Interrupted):
        theory.phase_diagram(progress=stop_after(5), **LONG)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("value", ["train_error", "gain", "lam"])
def test_resume(tmp_path, monkeypatch, tiny_pieces, value, workers):
    path = tmp_path / "c.sqlite"
    case = {"value": value, "workers": workers, **LONG}
    if value == "lam":
        case = case | {"over": "lam"}
        del case["lam"]
        monkeypatch.setattr(mesh, "_SPIKES", 3 * 32)
        monkeypatch.setattr(mesh, "_POINTS", 8 * 32)
    whole = theory.phase_diagram(**case)
    with pytest.raises(Interrupted):
        theory.phase_diagram(progress=stop_after(7), checkpoint=path, **case)
    with Checkpoint(path, specification_of(path)) as file:
        done = {number for number, _ in file.finished()}
    computed = []
    original = phase._Plan.compute

    def compute(self, piece):
        computed.append(self.mesh.pieces().index(piece))
        return original(self, piece)

    monkeypatch.setattr(phase._Plan, "compute", compute)
    told = []
    resumed = theory.phase_diagram(
        checkpoint=path, progress=lambda *counts: told.append(counts), **case
    )
    # Threads that are slow to hear of the interruption may finish what is left.
    assert 3 <= len(done) <= (7 if workers == 1 else 8)
    assert sorted([*done, *computed]) == list(range(8))
    assert 7 <= told[0][0] <= told[-1][0] == 20
    assert_same(resumed, whole)
    # Once complete it is read back.
    computed.clear()
    assert_same(theory.phase_diagram(checkpoint=path, **case), whole)
    assert computed == []


def assert_same(one, other):
    for name in ("x", "y", "value", "success", "status"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert {n: s.tobytes() for n, s in one.side.items()} == {
        n: s.tobytes() for n, s in other.side.items()
    }
    assert one.parameters == other.parameters


def test_points_that_did_not_converge_are_remembered(tmp_path):
    path = tmp_path / "c.sqlite"
    case = {
        "eta": [1.0, 300.0], "alpha": [0.5, 5.0], "u": [1.0, 0.99], "lam": 1e-6, "beta": 0.5,
        "alpha0": 20.0, "target": "sin", "rtol": 1e-11, "checkpoint": path,
    }  # fmt: skip
    diagrams = []
    for _ in range(2):
        with pytest.warns(ConvergenceWarning):
            diagrams.append(theory.phase_diagram(**case))
    assert_same(*diagrams)
    assert not diagrams[1].success.all()


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"alpha": 2.5}, ("alpha",)),
        ({"lam": 0.2, "noise": 0.1}, ("noise", "lam")),
        ({"eta": ETA[:-1]}, ("eta", "piece")),
        ({"eta": np.linspace(ETA[0], ETA[-1], 5)}, ("eta",)),
        ({"eta": 1.0, "beta": [0.5, 1.0, 2.0]}, None),
        ({"value": "norm"}, ("value",)),
        ({"activation": "tanh"}, ("activation",)),
        ({"target": lambda z: np.sin(z)}, ("target",)),
        ({"rtol": 1e-6}, ("rtol",)),
        ({"u": [1.0, -1.0]}, ("u",)),
        (
            {"over": "lam", "lam": None, "bounds": {"lam": (0.1, None)}},
            ("lam", "over", "bounds of lam"),
        ),
    ],
)
def test_another_diagram_does_not_resume(tmp_path, change, changed):
    path = tmp_path / "c.sqlite"
    theory.phase_diagram(checkpoint=path, **LONG)
    before = path.read_bytes()
    case = {name: entry for name, entry in (LONG | change).items() if entry is not None}
    with pytest.raises(CheckpointMismatch) as caught:
        theory.phase_diagram(checkpoint=path, **case)
    if changed is None:
        assert {"eta", "beta", "x", "y"} <= set(caught.value.changed)
    else:
        assert set(caught.value.changed) == set(changed)
    for name in caught.value.changed:
        assert f"{name} was " in str(caught.value)
    assert path.read_bytes() == before


def test_swapped_axes_do_not_resume(tmp_path):
    path = tmp_path / "c.sqlite"
    theory.phase_diagram(checkpoint=path, **LONG)
    with pytest.raises(CheckpointMismatch, match="x was eta, is alpha0, y was alpha0, is eta"):
        theory.phase_diagram(checkpoint=path, **dict(reversed(LONG.items())))


SWEEP = """
import sys
import numpy as np
from spikedrf import theory
from spikedrf.theory import mesh

mesh._SPIKES = 16
diagram = theory.phase_diagram(
    eta=np.geomspace(0.1, 10.0, 80), alpha0=np.geomspace(0.1, 100.0, 100),
    alpha=2.0, lam=0.1, target="sin", value="gain", workers=2,
    checkpoint=sys.argv[1] if len(sys.argv) > 1 else None,
    progress=lambda finished, total: print(finished, flush=True),
)
sys.stdout.buffer.write(diagram.value.tobytes() + diagram.status.tobytes())
"""


def test_killed_at_any_moment(tmp_path):
    """A diagram that is killed and started again is the one that was not, bit for bit."""
    rng = np.random.default_rng(0)
    command = [sys.executable, "-c", SWEEP]
    whole = subprocess.run(command, capture_output=True, check=True, timeout=300).stdout
    path = tmp_path / "c.sqlite"
    reported = kills = 0
    while True:
        with subprocess.Popen([*command, path], stdout=subprocess.PIPE) as process:
            first = int(process.stdout.readline())
            assert first >= reported  # what was reported finished stays finished
            time.sleep(rng.uniform(0.0, 0.1))
            if kills < 10:
                process.kill()
            out = process.stdout.read()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
        reported = max([first, *map(int, out[: out.rfind(b"\n") + 1].split())])
    assert kills >= 3
    size = 80 * 100 * (8 + 4)
    assert out[-size:] == whole[-size:]
    numbers = pieces_of(path)
    assert len(numbers) == len(set(numbers)) == 500  # no piece was computed twice
    with Checkpoint(path, specification_of(path)) as file:
        assert sum(arrays["value"].size for _, arrays in file.finished()) == 80 * 100


def test_a_keyboard_interrupt_leaves_what_is_finished(tmp_path):
    path = tmp_path / "c.sqlite"
    command = [sys.executable, "-c", SWEEP, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for _ in range(5):
            reported = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    last = err.splitlines()[-1].decode()
    with Checkpoint(path, specification_of(path)) as file:
        points = sum(arrays["value"].size for _, arrays in file.finished())
    told = re.search(r"PhaseDiagramInterrupted: interrupted after (\d+) of 8000 points$", last)
    assert told, last
    # It may come after a piece is on the disk and before it is counted.
    assert reported <= int(told[1]) <= points < 8000
