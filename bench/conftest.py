"""A race: what every benchmark notes for the table that `run.py` writes."""

import os
import tracemalloc
from time import perf_counter

import pytest

# One thread everywhere; to be said before NumPy loads its BLAS.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Repeat a measurement until it has taken this many seconds, but so many times at least and at most.
SECONDS, LEAST, MOST = 0.4, 4, 200


@pytest.fixture
def race(benchmark):
    """Let one entrant run: first for its answer, which is checked, then for its time.

    Parameters of the returned function
    -----------------------------------
    entrant : str
        ``"spikedrf"`` for the package itself, the rival's name otherwise.
    function, *args
        What is timed.
    check : callable
        Asserts something of the answer.
    group, row : str
        Table and line.
    points : int
        Times are divided by this.
    part : bool
        Whether the rival does only a part of the work: a bound to come close to, not to beat.
    target : float, optional
        On a rival: beat it by this factor; on a part: take at most so many times as long.
    note : callable, optional
        What to print beside the time, from the answer.
    memory : float, optional
        Bytes that NumPy may have asked for at a time: checked, and the peak is noted.
    """

    def run(
        entrant,
        function,
        *args,
        check,
        group,
        row,
        points=1,
        part=False,
        target=None,
        note=None,
        memory=None,
    ):
        if memory is not None:
            tracemalloc.start()
        start = perf_counter()
        answer = function(*args)
        took = perf_counter() - start
        notes = []
        if memory is not None:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < memory
            notes.append(f"{peak / 2**20:.0f} MiB")
        check(answer)
        if note is not None:
            notes.insert(0, note(answer))
        benchmark.group = group
        benchmark.extra_info |= {
            "entrant": entrant,
            "row": row,
            "points": points,
            "part": part,
            "target": target,
            "note": ", ".join(notes),
        }
        rounds = min(max(int(SECONDS / max(took, 1e-6)), LEAST), MOST)
        benchmark.pedantic(function, args, rounds=1 if took > 2.0 else rounds)

    return run
