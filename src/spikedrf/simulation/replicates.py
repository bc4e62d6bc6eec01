"""Independent repetitions of an experiment: their random streams, threads, and what stops them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from threading import Event
from typing import Any, TypeVar

import numpy as np

from spikedrf.memory import available_memory
from spikedrf.progress import Progress, reporting
from spikedrf.workers import cores

T = TypeVar("T")
R = TypeVar("R")


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


def fit_memory(each: int, threads: int, needs: str) -> int:
    """Return how many replicates fit at a time, at most ``threads``; refuse if none does.

    Parameters
    ----------
    each : int
        Bytes of one.
    threads : int
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
        return threads
    if each > available:
        raise MemoryError(
            f"{needs} need about {each} bytes, but only {available} are available; "
            f"d must be smaller"
        )
    return max(1, min(threads, available // each))


def replicate(
    task: Callable[[np.random.Generator, Event], T],
    streams: list[np.random.Generator],
    threads: int,
    progress: Progress | bool | None,
    collect: Callable[[dict[int, T]], R],
) -> R:
    """Run the task on every stream and collect what it returns, by number.

    Raises
    ------
    SimulationFailed, SimulationInterrupted
        With what had finished, collected. An error before any has finished is raised as it is.
    """
    count = len(streams)
    with reporting(progress, count, "replicate") as report:
        finished, failure = _run(task, streams, threads, report)
    if failure is None:
        return collect(finished)
    partial = collect(finished) if finished else None
    told = f"after {len(finished)} of {count} replicates"
    if isinstance(failure, KeyboardInterrupt):
        raise SimulationInterrupted(f"interrupted {told}", partial) from None
    if partial is None or not isinstance(failure, Exception):
        raise failure
    raise SimulationFailed(
        f"{type(failure).__name__} {told}, which are in .partial: {failure}", partial
    ) from failure


def _run(
    task: Callable[[np.random.Generator, Event], T],
    streams: list[np.random.Generator],
    threads: int,
    report: Progress | None,
) -> tuple[dict[int, T], BaseException | None]:
    """Return the finished replicates, and what stopped the others."""
    from threadpoolctl import threadpool_limits

    import spikedrf.ridge  # noqa: F401  (only a BLAS that is loaded can be limited: SciPy's here)

    finished: dict[int, T] = {}
    stop = Event()
    # Threads of BLAS per replicate: not by `workers`, on which the result must not depend.
    inner = max(1, cores() // len(streams))
    with threadpool_limits(inner, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        futures: dict[Future[T], int] = {}
        try:
            for i, stream in enumerate(streams):
                futures[pool.submit(task, stream, stop)] = i
            for future in as_completed(futures):
                finished[futures[future]] = future.result()
                if report is not None:
                    report(len(finished), len(streams))
        except BaseException as error:
            stop.set()
            pool.shutdown(cancel_futures=True)
            for future, i in futures.items():
                if not future.cancelled() and future.exception() is None:
                    finished[i] = future.result()
            return finished, error
    return finished, None
