"""Workers of a call: threads, processes, and the backends of joblib."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from spikedrf.running.progress import counted

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Return the number of cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count(workers: int | None) -> int | None:
    """Return the number of threads that ``workers`` asks for; None leaves it to the caller.

    Raises
    ------
    TypeError, ValueError
        If ``workers`` is neither None, nor -1 (one thread a core), nor a positive integer.
    """
    if workers is None:
        return None
    if isinstance(workers, bool) or not isinstance(workers, (int, np.integer)):
        raise TypeError(f"workers must be an integer or None, got {workers!r}")
    if workers == -1:
        return cores()
    if workers < 1:
        raise ValueError(f"workers must be >= 1, or -1 for one thread a core, got {workers}")
    return int(workers)


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keep BLAS to one thread for a while, so that its sums do not depend on how many there are."""
    limits: AbstractContextManager[Any] = _blas().limit(limits=1, user_api="blas")
    return limits


@cache
def _blas() -> Any:
    """Return the BLAS libraries of NumPy and SciPy: to look for them takes 40 ms."""
    import scipy.linalg  # noqa: F401  # loads its own
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def for_each(task: Callable[[Any], None], items: Sequence[Any], threads: int | None) -> None:
    """Run the task on every item, on at most ``threads`` threads (None: one a core).

    The first exception, a keyboard interrupt among them, cancels what has not begun.
    """
    count = min(len(items), threads or cores())
    if count <= 1:
        for item in items:
            task(item)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count) as pool:
        try:
            for _ in pool.map(task, items):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def parallel(n_jobs: int | None, return_as: str, **more: Any) -> Any:
    """Return joblib's `Parallel`, threads preferred, that yields results as they come.

    All at the end where a backend, as Ray's, can do no other.
    """
    from joblib import Parallel
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend(prefer="threads")
    if not getattr(backend, "supports_return_generator", False):
        return_as = "list"
    return Parallel(n_jobs, prefer="threads", return_as=return_as, **more)


def fits_at_a_time(fits: Iterable[Any], n_jobs: int | None, what: str) -> list[Any]:
    """Make some fits in threads, among which BLAS shares out the cores.

    Left alone every one of them would start as many threads as there are cores. (Processes, if
    `joblib.parallel_config` asks for them, do so themselves.)

    Parameters
    ----------
    fits : iterable
        Of calls, `joblib.delayed`.
    n_jobs : int or None
        As joblib's.
    what : str
        What they are, for the progress bar.
    """
    from joblib import effective_n_jobs

    calls, jobs = list(fits), effective_n_jobs(n_jobs)
    with nullcontext() if jobs <= 1 else blas_threads(max(1, cores() // jobs)):
        return list(counted(parallel(n_jobs, "generator")(calls), len(calls), what))


# --------------------------------------------------------------------------------------------------
# Pieces that stand alone: threads here, or wherever the user wants them


def worker_count(workers: int | None) -> int:
    """Return how many pieces to do at a time: as asked, as joblib is configured, or one a core.

    Raises
    ------
    TypeError, ValueError
        As `thread_count`.
    """
    asked = thread_count(workers)
    if asked is not None:
        return asked
    import joblib

    with joblib.parallel_config() as active:  # changes nothing, tells what the user has set
        backend, n_jobs = active["backend"], active["n_jobs"]
    given = isinstance(n_jobs, int)
    if hasattr(backend, "effective_n_jobs"):
        return max(1, int(backend.effective_n_jobs(n_jobs if given else backend.default_n_jobs)))
    if not given:
        return cores()
    return int(n_jobs) if n_jobs > 0 else max(1, cores() + 1 + int(n_jobs))


def as_finished(
    task: Callable[[T], R], items: Sequence[T], count: int
) -> Generator[tuple[int, R], None, None]:
    """Run the task on every item and yield ``(position, result)`` in the order they finish.

    On ``count`` threads, unless `joblib.parallel_config` names another backend (processes, a Dask
    or Ray cluster): then task and items must be picklable. An exception, a keyboard interrupt
    among them, is raised at once; what has not been yielded yet is lost. To be closed by who does
    not want the rest.
    """
    import joblib

    # Pieces are large, and each is to be safe as soon as it is done: no batches of them.
    pool = parallel(count, "generator_unordered", batch_size=1)
    outputs = iter(pool(joblib.delayed(_numbered)(task, i, item) for i, item in enumerate(items)))
    try:
        for output in outputs:  # noqa: UP028  (a closed `yield from` warns of what is not used)
            yield output
    except GeneratorExit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            if hasattr(outputs, "close"):
                outputs.close()
        raise


def _numbered(task: Callable[[T], R], position: int, item: T) -> tuple[int, R]:
    return position, task(item)


class _BlasThreads:
    """How many threads BLAS uses in this process, by agreement of all who work in it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holders = 0
        self._limits: Any = None

    @contextmanager
    def __call__(self, threads: int) -> Iterator[None]:
        from threadpoolctl import threadpool_limits

        import spikedrf.readout.ridge  # noqa: F401  (only a BLAS that is loaded can be limited)

        with self._lock:
            if self._holders == 0:
                self._limits = threadpool_limits(threads, user_api="blas")
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    self._limits.restore_original_limits()


#: ``with blas_threads(n):`` limits the threads of BLAS until the last of several such blocks is
#: left, whichever began first. What rounds how depends on their number: a result that must be the
#: same on any worker fixes it.
blas_threads = _BlasThreads()
