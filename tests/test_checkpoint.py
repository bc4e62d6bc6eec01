"""Checkpoints: nothing finished is lost, nothing is believed that was not finished."""

import json
import os
import resource
import subprocess
import sys
import threading

import numpy as np
import pytest

from spikedrf.running.checkpoint import Checkpoint, CheckpointMismatch

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
    path = tmp_path / "c.jsonl"
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


def test_every_line_is_strict_json(tmp_path):
    path = tmp_path / "c.jsonl"
    with Checkpoint(path, SPECIFICATION) as checkpoint:
        checkpoint.add(5, ARRAYS)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    header, piece = (
        json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()
    )
    assert header["specification"]["alpha0"] == "inf"
    assert piece["arrays"]["value"]["shape"] == [2, 3]


def test_a_file_cut_anywhere_keeps_what_was_complete(tmp_path):
    """As a process leaves it that is killed while it writes."""
    whole = tmp_path / "whole.jsonl"
    ends = []
    with Checkpoint(whole, {"a": 1}) as checkpoint:
        ends.append(whole.stat().st_size)
        for number in range(3):
            checkpoint.add(number, {"value": np.array([number / 7])})
            ends.append(whole.stat().st_size)
    content = whole.read_bytes()
    path = tmp_path / "cut.jsonl"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        complete = sum(end <= length for end in ends[1:])
        assert list(pieces(path, {"a": 1})) == list(range(complete))
        with Checkpoint(path, {"a": 1}) as checkpoint:
            checkpoint.add(9, {"value": np.array([0.5])})
        back = pieces(path, {"a": 1})
        assert list(back) == [*range(complete), 9]
        assert back[9]["value"] == 0.5


def test_damaged_numbers_are_not_believed(tmp_path):
    path = tmp_path / "c.jsonl"
    with Checkpoint(path, {}) as checkpoint:
        for number in range(3):
            checkpoint.add(number, {"value": np.array([1.0 + number])})
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"base64": "AAAA', b'"base64": "AABA')
    path.write_bytes(b"".join(lines))
    assert list(pieces(path, {})) == [0]


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
    path = tmp_path / "c.jsonl"
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
    path = tmp_path / "c.jsonl"
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


def test_another_format_is_refused(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"spikedrf checkpoint": 2, "specification": {}}\n')
    with pytest.raises(ValueError, match="has format 2, this version of spikedrf reads 1"):
        Checkpoint(path, {})


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(TypeError, match="a specification holds numbers, strings and arrays"):
        Checkpoint(tmp_path / "c.jsonl", {"activation": np.tanh})
    with (
        Checkpoint(tmp_path / "d.jsonl", {}) as checkpoint,
        pytest.raises(TypeError, match="a checkpoint holds arrays of numbers, got dtype object"),
    ):
        checkpoint.add(0, {"value": np.array([None])})


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "c.jsonl"
    with Checkpoint(path, {}) as checkpoint:
        with pytest.raises(BlockingIOError, match="in use by another process") as caught:
            Checkpoint(path, {})
        assert caught.value.filename == str(path)
        checkpoint.add(0, {})
    assert list(pieces(path, {})) == [0]


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        Checkpoint(tmp_path / "nowhere" / "c.jsonl", {})


def test_threads_do_not_mix_lines(tmp_path):
    path = tmp_path / "c.jsonl"
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
    """A limit on the size of files fails like a full disk: in the middle of a line."""
    path = tmp_path / "c.jsonl"
    large = {"value": np.arange(1000.0)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoint(path, {}) as checkpoint:
        checkpoint.add(0, large)
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
        try:
            with pytest.raises(OSError, match=r"c\.jsonl"):
                checkpoint.add(1, large)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.stat().st_size == size
        checkpoint.add(2, large)
    assert list(pieces(path, {})) == [0, 2]


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
    path = tmp_path / "c.jsonl"
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
                    # Somewhere in the next lines, most often in the middle of writing one.
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
