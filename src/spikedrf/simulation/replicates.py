"""Independent repetitions of an experiment: their streams, who runs them, and what stops them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any, TypeVar

import numpy as np

from spikedrf.arrays import Array
from spikedrf.running.checkpoint import Checkpoint
from spikedrf.running.memory import available_memory
from spikedrf.running.progress import Progress, reporting
from spikedrf.running.workers import as_finished, blas_threads, cores

R = TypeVar("R")

#: What a replicate returns, by name.
Measured = Mapping[str, Array]


class SimulationFailed(RuntimeError):
    """A replicate failed; the exception is the ``__cause__``.

    Attributes
    ----------
    partial : Simulation or SimulatedSpectrum
        The replicates that had finished.
    """

    def __init__(self, message: str, partial: Any) -> None:
        super().__init__(message)
        self.partial = partial


class SimulationInterrupted(KeyboardInterrupt):
    """A simulation was interrupted from the keyboard.

    Attributes
    ----------
    partial : Simulation or SimulatedSpectrum or None
        The replicates that had finished, None if there were none.
    """

    def __init__(self, message: str, partial: Any) -> None:
        super().__init__(message)
        self.partial = partial


class Stopped(Exception):
    """Another replicate failed, or the caller gave up: what this one has done is not needed."""


class Stop:
    """Tells replicates that their results are not needed any more; not beyond this process."""

    def __init__(self) -> None:
        self._event = Event()

    def __reduce__(self) -> tuple[type[Stop], tuple[()]]:
        return Stop, ()

    def set(self) -> None:
        """Say so."""
        self._event.set()

    def check(self) -> None:
        """Raise `Stopped` if it has been said."""
        if self._event.is_set():
            raise Stopped


@dataclass(frozen=True)
class _Replicate:
    """One repetition, wherever it runs."""

    task: Callable[[np.random.Generator, Stop], Measured]
    # Threads of BLAS: not by the number of workers, on which the result must not depend.
    threads: int
    stop: Stop = field(default_factory=Stop)

    def __call__(self, source: tuple[type[np.random.BitGenerator], Any]) -> Measured:
        kind, seed = source
        with blas_threads(self.threads):
            return self.task(np.random.Generator(kind(seed)), self.stop)


def _source(stream: np.random.Generator) -> tuple[type[np.random.BitGenerator], Any]:
    """Return what a fresh stream is made of.

    A generator of NumPy 1 does not take its seed along to another process, and spawns others there.
    """
    return type(stream.bit_generator), stream.bit_generator.seed_seq


def streams_of(rng: Any, count: int) -> list[np.random.Generator]:
    """Return independent streams, as `numpy.random.default_rng` takes their source.

    Raises
    ------
    TypeError, ValueError
        If it is none; the message names the argument.
    """
    try:
        return np.random.default_rng(rng).spawn(count)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng must be None, a seed or a numpy random generator, got {rng!r} ({error})"
        ) from None


def fit_memory(each: int, workers: int, needs: str) -> int:
    """Return how many replicates fit at a time, at most ``workers``; refuse if none does.

    Parameters
    ----------
    each : int
        Bytes of one.
    workers : int
        So many are wanted.
    needs : str
        What needs so much, for the message.

    Raises
    ------
    MemoryError
        If there is not enough for one.
    """
    available = available_memory()
    if available is None:
        return workers
    if each > available:
        raise MemoryError(
            f"{needs} need about {each} bytes, but only {available} are available; "
            f"d must be smaller"
        )
    return max(1, min(workers, available // each))


@contextmanager
def kept(
    path: str | os.PathLike[str] | None, rng: Any, specification: Callable[[], dict[str, Any]]
) -> Iterator[Checkpoint | None]:
    """Open the checkpoint of a simulation, if there is to be one.

    Raises
    ------
    ValueError
        If the random numbers have no seed.
    CheckpointMismatch, OSError
        As `spikedrf.running.checkpoint.Checkpoint`.
    """
    if path is None:
        yield None
        return
    if rng is None:
        raise ValueError("checkpoint needs a seed: with rng=None the same call draws other numbers")
    with Checkpoint(path, specification()) as file:
        yield file


def replicate(
    task: Callable[[np.random.Generator, Stop], Measured],
    streams: list[np.random.Generator],
    workers: int,
    progress: Progress | bool | None,
    collect: Callable[[dict[int, Measured]], R],
    checkpoint: Checkpoint | None = None,
) -> R:
    """Run the task on every stream and collect what it returns, by number.

    Parameters
    ----------
    task : callable
        Takes a stream and a `Stop`, which it checks now and then.
    streams : list of Generator
    workers : int
        So many at a time, see `spikedrf.running.workers.as_finished`.
    progress : callable or bool, optional
    collect : callable
        Takes the results by number.
    checkpoint : Checkpoint, optional
        Replicates in it are not run again; others are added as they finish.

    Raises
    ------
    SimulationFailed, SimulationInterrupted
        With what had finished, collected. An error before any has finished is raised as it is.
    """
    count = len(streams)
    run = _Replicate(task, max(1, cores() // count))
    finished: dict[int, Measured] = {}
    if checkpoint is not None:
        finished = {i: arrays for i, arrays in checkpoint.finished() if 0 <= i < count}
    left = [i for i in range(count) if i not in finished]
    try:
        with (
            reporting(progress, count, "replicate") as report,
            blas_threads(run.threads),
            closing(as_finished(run, [_source(streams[i]) for i in left], workers)) as results,
        ):
            if report and finished:
                report(len(finished), count)
            for position, result in results:
                finished[left[position]] = result
                if checkpoint is not None:
                    checkpoint.add(left[position], result)
                if report:
                    report(len(finished), count)
    except BaseException as failure:
        run.stop.set()
        partial = collect(finished) if finished else None
        told = f"after {len(finished)} of {count} replicates"
        if isinstance(failure, KeyboardInterrupt):
            raise SimulationInterrupted(f"interrupted {told}", partial) from None
        if partial is None or not isinstance(failure, Exception):
            raise
        raise SimulationFailed(
            f"{type(failure).__name__} {told}, which are in .partial: {failure}", partial
        ) from failure
    return collect(finished)
