"""The check of ``rtol``, and the warning about points that did not reach it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np

from spikedrf.parameters import ConvergenceWarning, real_array


class Certified(Protocol):
    """A result that says at every point whether it is as accurate as was asked for."""

    @property
    def success(self) -> Any:
        """Whether it is."""

    @property
    def status(self) -> Any:
        """Why it is not: see `Solution`."""

    @property
    def quadrature_error(self) -> Any:
        """Estimate of the relative error."""


def check_accuracy(rtol: float) -> float:
    """Return the accuracy that a caller asks for.

    Raises
    ------
    TypeError, ValueError
        If it is not one number between 1e-11, what rounding lets one tell, and 1.
    """
    accuracy = real_array("rtol", rtol, minimum=1e-11, maximum=1.0)
    if accuracy.ndim:
        raise ValueError(f"rtol must be one number, got an array of shape {accuracy.shape}")
    return float(accuracy)


#: Status of points at which the ridgeless limit is infinite.
INFINITE = 7

#: Status of points at which the equations at hand have no solution that is known.
UNDEFINED = 8

_LEFT_TO_CALLER: ContextVar[bool] = ContextVar("_LEFT_TO_CALLER", default=False)


@contextmanager
def one_warning_for_all() -> Iterator[None]:
    """Leave it to the caller to warn once of all the calls in here.

    `warnings.catch_warnings` would change what the whole process hears, and what is left of it
    when several threads do that at the same time is a matter of chance.
    """
    before = _LEFT_TO_CALLER.set(True)
    try:
        yield
    finally:
        _LEFT_TO_CALLER.reset(before)


def left_to_caller() -> bool:
    """Whether this call is a part of another, which says what is to be said."""
    return _LEFT_TO_CALLER.get()


def about_infinite(count: int) -> str:
    """Return what a warning says of points without a ridgeless limit."""
    if not count:
        return ""
    return f" {count} of them have no ridgeless limit: the error is inf at lam = 0, raise lam."


def about_undefined(count: int) -> str:
    """Return what a warning says of points without an answer."""
    if not count:
        return ""
    return (
        f" {count} of them have no answer and are NaN: at lam = 0, alpha = inf or where all labels "
        f"are the same there is no formula."
    )


def warn(result: Certified, rtol: float, *, cure: str = "raise lam") -> None:
    """Issue one `ConvergenceWarning` for a call, if any of its points did not reach ``rtol``.

    Parameters
    ----------
    result : Certified
        What the call returns.
    rtol : float
        The accuracy that was asked for.
    cure : str
        What helps a point that did not converge at all.
    """
    if _LEFT_TO_CALLER.get():
        return
    if np.count_nonzero(result.success) == np.size(result.success):
        return
    failed = np.flatnonzero(~np.atleast_1d(result.success))
    status = np.atleast_1d(result.status).ravel()[failed]
    total = np.size(result.success)
    error = np.array(result.quadrature_error, dtype=np.float64).ravel()
    where = ""
    if np.ndim(result.success):
        index = tuple(int(i) for i in np.unravel_index(failed[0], np.shape(result.success)))
        where = f", the first at index {index}"
    newton = int(np.count_nonzero(status == 2))
    undefined = int(np.count_nonzero(status == 4))
    unattainable = int(np.count_nonzero(status == 6))
    infinite = int(np.count_nonzero(status == INFINITE))
    error[failed[status == INFINITE]] = 0.0
    unsolved = int(np.count_nonzero(status == UNDEFINED))
    error[failed[status == UNDEFINED]] = 0.0
    if undefined + unattainable + infinite + unsolved == failed.size:
        text = f"{failed.size} of {total} points{where} have success=False."
    else:
        text = (
            f"{failed.size} of {total} points did not reach rtol={rtol:g}{where} (largest "
            f"quadrature_error {error[failed].max():.1e}); they have success=False. Raise rtol, "
            f"or look at quadrature_error and status."
        )
    if undefined:
        text += f" {undefined} of them lack a derivative: it does not exist there and is NaN."
    if unattainable:
        text += (
            f" {unattainable} of them rest on a readout mean m that no finite network has: a "
            f"network of p neurons is near the limit for p >> m**2 only."
        )
    text += about_infinite(infinite)
    text += about_undefined(unsolved)
    doubtful = int(np.count_nonzero(status == 5))
    if doubtful:
        text += (
            f" The optimum of {doubtful} is in doubt: the error still falls where it is not known."
        )
    if newton:
        text += f" {newton} of them did not converge at all and are NaN: {cure}."
    warnings.warn(text, ConvergenceWarning, stacklevel=3)
