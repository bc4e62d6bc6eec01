"""`Series`: the numbers of a figure, in one shape for all figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.plotting import ErrorCurvesDisplay, LearnedFunctionDisplay

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Series:
    """A line, or points with standard errors.

    Attributes
    ----------
    panel, label : str
        Where it is drawn and what it is called there.
    kind : str
        ``"theory"``, ``"simulation"``, ``"target"`` or ``"data"``.
    x_name, y_name : str
        What ``x`` and ``y`` are.
    x, y : ndarray, shape (N,)
        The numbers.
    sem : ndarray, shape (N,), or None
        Standard errors of ``y``.
    success : ndarray of bool, shape (N,), or None
        Whether each point of the theory has converged.
    """

    panel: str
    label: str
    kind: str
    x_name: str
    y_name: str
    x: Floats
    y: Floats
    sem: Floats | None = None
    success: NDArray[np.bool_] | None = None

    def numbers(self) -> dict[str, Any]:
        """Collect all of it for JSON."""
        return dict(vars(self))


def series_of(panel: str, display: ErrorCurvesDisplay | LearnedFunctionDisplay) -> list[Series]:
    """Collect what a display has drawn."""
    if isinstance(display, ErrorCurvesDisplay):
        names = (display.name, display.quantity)
        lines, success = display.curves, display.success
    else:
        names = ("projection on the " + display.along, "mean output")
        lines, success = display.functions, {}
    collected = [
        Series(panel, label, "theory", *names, display.x, y, success=success.get(label))
        for label, y in lines.items()
    ]
    if isinstance(display, LearnedFunctionDisplay) and display.target is not None:
        collected.append(Series(panel, "target", "target", *names, display.x, display.target))
    for label, (x, y, sem) in display.points_.items():
        error = None if sem is None else np.atleast_1d(np.asarray(sem, dtype=np.float64))
        at, mean = (np.atleast_1d(np.asarray(values, dtype=np.float64)) for values in (x, y))
        collected.append(Series(panel, label, "simulation", *names, at, mean, error))
    return collected
