"""Checkpoints: nothing finished is lost, nothing is believed that was not finished."""

import contextlib
import os
import re
import resource
import sqlite3
import subprocess
import sys
import threading
import warnings
from functools import partial

import numpy as np
import pytest

from checkpoint_file import HEAD, MARK, NUMBERS, pieces_of, specification_of
from spikedrf import GradientStep, simulate
from spikedrf.running.checkpoint import Checkpoint, CheckpointDamaged, CheckpointMismatch

SPECIFICATION = {
    "command": "test",
    "eta": np.linspace(0.1, 1.0, 10),
    "lam": 0.1,
    "alpha0": np.inf,
    "u": [1.0, -0.5],
    "name": None,
}
ARRAYS = {
    "value": np.array([[1 / 3, np.nan, -np.inf], [-0.0, 5e-324, 1e308]]),
    "status": np.array([0, 3, 2], dtype=np.int32),
    "flag": np.array(True),
    "none": np.empty((0, 3), dtype=np.float32),
}


def pieces(path, specification=SPECIFICATION):
    with Checkpoint(path, specification) as checkpoint:
        return dict(checkpoint.finished())


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert (array.dtype, array.shape) == (other[name].dtype, other[name].shape)
        assert array.tobytes() == other[name].tobytes()


def test_round_trip(tmp_path):
    path = tmp_path / "c.sqlite"
    # A NaN that is not the usual one.
    odd = {"value": np.array([0x7FF8000000000123], dtype=np.uint64).view(np.float64)}
    fortran = {"value": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    with Checkpoint(path, SPECIFICATION) as checkpoint:
        checkpoint.add(5, ARRAYS)
        checkpoint.add(0, odd)
    with Checkpoint(path, SPECIFICATION) as checkpoint:
        checkpoint.add(7, fortran)
        back = list(checkpoint.finished())
    assert [number for number, _ in back] == [5, 0, 7]
    for (_, arrays), expected in zip(back, (ARRAYS, odd, fortran), strict=True):
        assert_same_bits(arrays, expected)


def test_large_pieces(tmp_path):
    """A piece of several records comes back in order, and is one piece."""
    path = tmp_path / "c.sqlite"
    large = {"value": np.arange(20_000.0)}
    with Checkpoint(path, SPECIFICATION) as checkpoint:
        checkpoint.add(2, large)
        checkpoint.add(1, ARRAYS)
    back = pieces(path)
    assert list(back) == [2, 1]
    assert_same_bits(back[2], large)
    assert pieces_of(path) == [2, 1]


def test_the_file_says_what_it_is(tmp_path):
    path = tmp_path / "c.sqlite"
    with Checkpoint(path, SPECIFICATION) as checkpoint:
        checkpoint.add(5, ARRAYS)

    said = specification_of(path)
    assert (said["alpha0"], said["u"], said["name"]) == ("inf", [1.0, -0.5], None)
    assert path.read_bytes().startswith(b"SQLite format 3\0")
    assert [file.name for file in tmp_path.iterdir()] == ["c.sqlite"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam": 0.2}, "lam was 0.1, is 0.2;"),
        ({"alpha0": 20.0}, "alpha0 was inf, is 20.0;"),
        ({"u": [1.0, -0.25]}, "u was [1.0, -0.5], is [1.0, -0.25];"),
        ({"name": "x"}, "name was None, is x;"),
        ({"more": 1}, "more was (absent), is 1;"),
        ({"eta": np.linspace(0.1, 1.0, 11)}, "eta was 10 values from 0.1 to 1 (checksum"),
        ({"eta": np.geomspace(0.1, 1.0, 10)}, "is 10 values from 0.1 to 1 (checksum"),
        ({"eta": 0.3}, "is 0.3;"),
        ({"lam": np.nextafter(0.1, 1.0)}, "is 0.10000000000000002;"),
    ],
)
def test_another_specification_is_refused(tmp_path, change, message):
    path = tmp_path / "c.sqlite"
    with Checkpoint(path, SPECIFICATION) as checkpoint:
        checkpoint.add(1, ARRAYS)
    before = path.read_bytes()
    with pytest.raises(CheckpointMismatch) as caught:
        Checkpoint(path, SPECIFICATION | change)
    assert message in str(caught.value)
    assert caught.value.changed == tuple(change)
    assert path.read_bytes() == before
    assert list(pieces(path)) == [1]


def test_an_entry_less_is_a_change(tmp_path):
    path = tmp_path / "c.sqlite"
    Checkpoint(path, SPECIFICATION).close()
    less = {name: value for name, value in SPECIFICATION.items() if name != "lam"}
    with pytest.raises(CheckpointMismatch, match=r"lam was 0\.1, is \(absent\)"):
        Checkpoint(path, less)


@pytest.mark.parametrize("content", [b"alpha,test_error\n1,2\n", b"{}", b'{"a": 1}\n', b"\x89PNG"])
def test_other_files_are_left_alone(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a checkpoint of spikedrf"):
        Checkpoint(path, {})
    assert path.read_bytes() == content


@pytest.mark.parametrize("length", [10, 23, 70, None])
def test_files_of_earlier_versions_are_refused(tmp_path, length):
    """They were lines of JSON."""
    path = tmp_path / "c.jsonl"
    text = '{"spikedrf checkpoint": 1, "specification": {}}\n{"piece": 0, "arrays": {}}\n'
    path.write_text(text[:length])
    with pytest.raises(ValueError, match=r"earlier version of spikedrf, as text, .*begin another"):
        Checkpoint(path, {})
    assert path.read_text() == text[:length]


def test_other_databases_are_left_alone(tmp_path):
    path = tmp_path / "c.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE records (record BLOB)")
        connection.execute("INSERT INTO records VALUES ('1')")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(ValueError, match="is not a checkpoint of spikedrf"):
        Checkpoint(path, {})
    assert path.read_bytes() == before


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(TypeError, match="a specification holds numbers, strings and arrays"):
        Checkpoint(tmp_path / "c.sqlite", {"activation": np.tanh})
    with (
        Checkpoint(tmp_path / "d.jsonl", {}) as checkpoint,
        pytest.raises(TypeError, match="a checkpoint holds arrays of numbers, got dtype object"),
    ):
        checkpoint.add(0, {"value": np.array([None])})


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "c.sqlite"
    with Checkpoint(path, {}) as checkpoint:
        with pytest.raises(BlockingIOError, match="in use by another process") as caught:
            Checkpoint(path, {})
        assert caught.value.filename == str(path)
        checkpoint.add(0, {})
    assert list(pieces(path, {})) == [0]


def test_another_process_is_told(tmp_path):
    path = tmp_path / "c.sqlite"
    code = """
import sys
from spikedrf.running.checkpoint import Checkpoint
Checkpoint(sys.argv[1], {})
"""
    command = [sys.executable, "-c", code, path]
    with Checkpoint(path, {}) as checkpoint:
        checkpoint.add(0, {})
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        checkpoint.add(1, {})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"BlockingIOError: [Errno 11] in use by another process: '{path}'"
    )
    assert list(pieces(path, {})) == [0, 1]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """As some of clusters are: then nobody is kept out, and the file is used all the same."""
    original = sqlite3.connect
    asked = []

    def connect(database, **options):
        asked.append(str(database))
        if not str(database).endswith("?nolock=1"):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_RDLOCK
            error.sqlite_errorname = "SQLITE_IOERR_RDLOCK"
            raise error
        return original(database, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    path = tmp_path / "c d?.sqlite"
    with Checkpoint(path, {}) as checkpoint:
        checkpoint.add(0, ARRAYS)
    assert_same_bits(pieces(path, {})[0], ARRAYS)
    assert len(asked) == 4
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_package_without_locks_of_unix():
    """As on Windows."""
    code = "import sys; sys.modules['fcntl'] = None; import spikedrf, spikedrf.running.checkpoint"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        Checkpoint(tmp_path / "nowhere" / "c.sqlite", {})


def test_threads_do_not_mix_pieces(tmp_path):
    path = tmp_path / "c.sqlite"
    with Checkpoint(path, {}) as checkpoint:

        def work(first):
            for number in range(first, 80, 4):
                checkpoint.add(number, {"value": np.full(number, number / 3)})

        threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    back = pieces(path, {})
    assert sorted(back) == list(range(80))
    for number, arrays in back.items():
        np.testing.assert_array_equal(arrays["value"], np.full(number, number / 3))


def test_a_full_disk_costs_one_piece(tmp_path):
    """A limit on the size of files fails like a full disk: in the middle of writing."""
    path = tmp_path / "c.sqlite"
    large = {"value": np.arange(20_000.0)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoint(path, {}) as checkpoint:
        checkpoint.add(0, large)
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
        try:
            with pytest.raises(OSError, match=r"c\.sqlite"):
                checkpoint.add(1, large)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.stat().st_size == size
        checkpoint.add(2, large)
    assert list(pieces(path, {})) == [0, 2]


# --------------------------------------------------------------------------------------------------
# Damage


SOME = 10


def expected(number):
    return {"value": np.random.default_rng(number).standard_normal(40 + number)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a checkpoint of ten pieces."""
    path = tmp_path_factory.mktemp("whole") / "c.sqlite"
    with Checkpoint(path, SPECIFICATION) as checkpoint:
        for number in range(SOME):
            checkpoint.add(number, expected(number))
    return path.read_bytes()


def after_damage(path, content, specification=SPECIFICATION):
    """What is kept of a damaged file; that it is right, said, and that work can go on."""
    path.write_bytes(content)
    with pytest.warns(CheckpointDamaged, match="is damaged: .* pieces in it are intact") as told:
        kept = pieces(path, specification)
    assert f"damaged: {len(kept)} finished" in str(told[0].message)
    assert (path.parent / f"{path.name}.damaged").read_bytes() == content
    for number, arrays in kept.items():
        assert_same_bits(arrays, expected(number))
    # From here on it is a checkpoint like any other.
    with Checkpoint(path, specification) as checkpoint:
        checkpoint.add(SOME, expected(SOME))
    assert set(pieces(path, specification)) == {*kept, SOME}
    for file in path.parent.iterdir():
        file.unlink()
    return set(kept)


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :]


def places(content):
    """Where the marks of specification and pieces are."""
    return [found.start() for found in re.finditer(re.escape(MARK), content)]


@pytest.mark.parametrize("number", [0, 2, 9])
@pytest.mark.parametrize(
    "inside",
    [0, len(MARK) - 1, len(MARK), len(MARK) + 8, len(MARK) + 16, HEAD - 1, HEAD + 200],
    ids=["mark", "mark's end", "number", "part", "length", "digest", "content"],
)
def test_a_bad_byte_costs_its_piece_alone(tmp_path, whole, number, inside):
    # The record of the highest rowid is the lowest in the page: go by number.
    begin = next(
        at for at in places(whole) if NUMBERS.unpack_from(whole, at + len(MARK))[:2] == (number, 0)
    )
    kept = after_damage(tmp_path / "c.sqlite", flipped(whole, begin + inside))
    assert kept == set(range(SOME)) - {number}


def test_a_piece_does_not_pass_for_another(tmp_path, whole):
    """Its number in the file is changed into each other one, and into one before the first."""
    begin = next(at for at in places(whole) if NUMBERS.unpack_from(whole, at + len(MARK))[0] == 3)
    at = begin + len(MARK)
    for number in (-1, 2, 4, 11):
        content = whole[:at] + number.to_bytes(8, "little", signed=True) + whole[at + 8 :]
        assert after_damage(tmp_path / "c.sqlite", content) == set(range(SOME)) - {3}


def test_a_bad_byte_anywhere(tmp_path, whole):
    """In the header, in the tree of pages, in what is written or free: it costs one piece."""
    path = tmp_path / "c.sqlite"
    page = 1 << 16
    rng = np.random.default_rng(0)
    structure = [*range(0, 110, 3), *range(page, page + 30, 2)]
    seen = 0
    for at in [*structure, *rng.integers(0, len(whole), 40)]:
        path.write_bytes(flipped(whole, at))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            kept = pieces(path)
        assert len(kept) >= SOME - 1
        assert len(kept) == SOME or told
        seen += bool(told)
        for number, arrays in kept.items():
            assert_same_bits(arrays, expected(number))
        with Checkpoint(path, SPECIFICATION) as checkpoint:
            checkpoint.add(SOME, expected(SOME))
        assert set(pieces(path)) == {*kept, SOME}
        for file in tmp_path.iterdir():
            file.unlink()
    assert seen > 20  # and the rest is nobody's


def test_a_file_cut_anywhere_keeps_what_it_has(tmp_path, whole):
    ends = {}
    for at in places(whole):
        number, _, _, length = NUMBERS.unpack_from(whole, at + len(MARK))
        ends[number] = at + HEAD + length
    for length in range(len(whole) - 9000, len(whole), 701):
        there = {number for number, end in ends.items() if number >= 0 and end <= length}
        path = tmp_path / "c.sqlite"
        if there:
            assert after_damage(path, whole[:length]) == there
        else:
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=r"is not a checkpoint|is damaged: neither"):
                Checkpoint(path, SPECIFICATION)
            assert path.read_bytes() == whole[:length]


def test_large_pieces_are_whole_or_lost(tmp_path):
    path = tmp_path / "c.sqlite"
    with Checkpoint(path, {}) as checkpoint:
        for number in range(3):
            checkpoint.add(number, {"value": np.full(20_000, number / 3)})
    content = path.read_bytes()
    lost = next(
        at for at in places(content) if NUMBERS.unpack_from(content, at + len(MARK))[:2] == (1, 4)
    )
    path.write_bytes(flipped(content, lost + 1000))
    with pytest.warns(CheckpointDamaged):
        kept = pieces(path, {})
    assert set(kept) == {0, 2}
    assert (kept[2]["value"] == 2 / 3).all()


def test_what_a_damaged_file_is_of_is_not_guessed(tmp_path, whole):
    """Pieces tell their own computation, also when the file does not."""
    path = tmp_path / "c.sqlite"
    damaged = flipped(whole, whole.index(b'"command": "test"'))
    assert after_damage(path, damaged) == set(range(SOME))
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="is damaged: neither what it is of, nor any piece of"):
        Checkpoint(path, SPECIFICATION | {"lam": 0.2})
    assert path.read_bytes() == damaged
    # Damage elsewhere does not hide that it is another one's.
    path.write_bytes(flipped(whole, places(whole)[0] + HEAD + 50))
    with pytest.raises(CheckpointMismatch, match=r"lam was 0\.1, is 0\.2"):
        Checkpoint(path, SPECIFICATION | {"lam": 0.2})


def collect(told, finished, total):
    told.append((finished, total))


def test_a_damaged_simulation_is_the_same_simulation(tmp_path):
    """Only what was lost is done again, and no bit of the result is another."""
    path = tmp_path / "c.sqlite"
    setting = {
        "d": 30, "lam": 0.1, "target": "sin", "step": GradientStep(2.0, 3.0), "model": "network",
        "replicates": 10, "rng": 0, "workers": 1, "checkpoint": path,
    }  # fmt: skip
    reference = simulate([0.5, 2.0], **setting)
    content = path.read_bytes()
    begin = next(
        at for at in places(content) if NUMBERS.unpack_from(content, at + len(MARK))[0] == 2
    )
    number = begin + len(MARK)
    for damaged in (
        flipped(content, begin + HEAD + 50),
        content[:number] + (-1).to_bytes(8, "little", signed=True) + content[number + 8 :],
    ):
        path.write_bytes(damaged)
        told = []
        with pytest.warns(CheckpointDamaged, match="9 finished pieces in it are intact"):
            again = simulate([0.5, 2.0], **setting, progress=partial(collect, told))
        assert told == [(9, 10), (10, 10)]
        for name, samples in reference.samples.items():
            assert samples.tobytes() == again.samples[name].tobytes()


def test_a_piece_of_no_replicate_is_not_taken(tmp_path):
    """A whole piece with a number before the first does not become the last."""
    path = tmp_path / "c.sqlite"
    setting = {"d": 30, "lam": 0.1, "replicates": 3, "rng": 0, "workers": 1, "checkpoint": path}
    reference = simulate(2.0, **setting)
    with Checkpoint(path, specification_of(path)) as checkpoint:
        (first, *_) = (arrays for _, arrays in checkpoint.finished())
        checkpoint.add(-1, first)
    again = simulate(2.0, **setting)
    assert again.samples["test_error"].tobytes() == reference.samples["test_error"].tobytes()


# --------------------------------------------------------------------------------------------------
# Kills


WORKER = """
import sys
import numpy as np
from spikedrf.running.checkpoint import Checkpoint

with Checkpoint(sys.argv[1], {"seed": 1}) as checkpoint:
    done = {number for number, _ in checkpoint.finished()}
    for number in sorted(set(range(60)) - done):
        rng = np.random.default_rng(number)
        checkpoint.add(number, {"value": rng.standard_normal(2000)})
        print(number, flush=True)
"""


def test_killed_at_any_moment(tmp_path):
    """What a killed process said to have finished is there, once, and as it should be."""
    path = tmp_path / "c.sqlite"
    rng = np.random.default_rng(0)
    said = []
    for _ in range(100):
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, path], stdout=subprocess.PIPE, text=True
        ) as process:
            lines = int(rng.integers(1, 15))
            for line in process.stdout:
                said.append(int(line))
                lines -= 1
                if not lines:
                    # Somewhere in the next pieces, most often in the middle of writing one.
                    os.sched_yield()
                    process.kill()
            process.wait()
        assert set(said) <= set(pieces(path, {"seed": 1}))
        if process.returncode == 0:
            break
    assert process.returncode == 0
    with Checkpoint(path, {"seed": 1}) as checkpoint:
        numbers = [number for number, _ in checkpoint.finished()]
    assert sorted(numbers) == list(range(60))
    assert len(said) == len(set(said))
    for number, arrays in pieces(path, {"seed": 1}).items():
        expected = np.random.default_rng(number).standard_normal(2000)
        assert arrays["value"].tobytes() == expected.tobytes()
