"""Progress of long calls: callbacks and bars."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")


class _Meter:
    """A bar of fits, whose number becomes known as they are begun."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def expect(self, count: int, what: str) -> None:
        """Say that so many are about to be made, and of what."""
        self._bar.total = (self._bar.total or 0) + count
        self._bar.set_description_str(what)

    def advance(self) -> None:
        """Say that one is done."""
        self._bar.update()


_meter: ContextVar[_Meter | None] = ContextVar("spikedrf_meter", default=None)


@contextmanager
def metered(verbose: bool) -> Iterator[None]:
    """Show a bar of the fits that are made inside: on stderr, and only if that is a terminal.

    Raises
    ------
    ImportError
        If it is asked for and tqdm is not installed.
    """
    if not verbose or _meter.get() is not None:
        yield
        return
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("verbose=True needs tqdm: pip install tqdm") from error
    with tqdm(total=0, unit="fit", file=sys.stderr, disable=None) as bar:
        token = _meter.set(_Meter(bar))
        try:
            yield
        finally:
            _meter.reset(token)


def counted(fits: Iterable[T], count: int, what: str) -> Iterator[T]:
    """Pass on what fits give, and count them on the bar of `metered`, if there is one."""
    meter = _meter.get()
    if meter is not None:
        meter.expect(count, what)
    for fit in fits:
        if meter is not None:
            meter.advance()
        yield fit


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
