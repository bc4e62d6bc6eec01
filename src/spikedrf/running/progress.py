"""Progress of long calls: callbacks and bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Called as ``progress(finished, total)``.
Progress = Callable[[int, int], Any]


@contextmanager
def reporting(progress: Progress | bool | None, total: int, unit: str) -> Iterator[Progress | None]:
    """Turn what the user gave for ``progress`` into a function, or None.

    Raises
    ------
    TypeError
        If it is neither a callable, nor a bool, nor None.
    ImportError
        If a bar is asked for (True) and tqdm is not installed.
    """
    if progress is None or progress is False:
        yield None
    elif progress is True:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError("progress=True needs tqdm: pip install tqdm") from error
        with tqdm(total=total, unit=unit) as bar:
            yield lambda done, _: bar.update(done - bar.n)
    elif callable(progress):
        yield progress
    else:
        raise TypeError(f"progress must be a callable, a bool or None, got {progress!r}")
