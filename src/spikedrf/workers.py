"""How many threads a call may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


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


def for_each(task: Callable[[Any], None], items: Sequence[Any], threads: int | None) -> None:
    """Run the task on every item, on at most ``threads`` threads (None: one a core).

    The first exception, a keyboard interrupt among them, cancels what has not begun.
    """
    count = min(len(items), threads or cores())
    if count <= 1:
        for item in items:
            task(item)
        return
    with ThreadPoolExecutor(count) as pool:
        try:
            for _ in pool.map(task, items):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
