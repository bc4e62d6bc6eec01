"""The figures of ``spikedrf reproduce``: what the paper shows, each made by one small function.

A figure is a module of this package, and nothing else is needed. The module defines

``SUMMARY``
    one line, in lower case and without a full stop: what the figure shows;
``make(plan)``
    which computes and draws it, with simulated points if the `Plan` asks for them, and returns a
    `Made`; it raises `Skipped` if something that it needs is not there.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from spikedrf.figures.plan import Made, Plan, Skipped
from spikedrf.figures.series import Series

__all__ = ["NAMES", "Made", "Plan", "Series", "Skipped", "make", "summary"]

# Modules of this package that are no figures.
_SHARED = ("measured", "plan", "series")

# Figures that come first, in this order.
_FIRST = (
    "learning-curve",
    "linear-part",
    "step-size",
    "batch-size",
    "learned-functions",
    "vocabulary",
    "spectrum",
    "trained-network",
    "small-batch",
    "multi-index",
    "staircase",
    "power-law",
    "two-classes",
    "data-spread",
    "deep-features",
    "real-data",
)

#: All figures, in the order in which they are made.
NAMES = _FIRST + tuple(
    module.name.replace("_", "-")
    for module in pkgutil.iter_modules(__path__)
    if module.name not in {*_SHARED, *(name.replace("-", "_") for name in _FIRST)}
)


def summary(name: str) -> str:
    """Say in one line what a figure shows."""
    line: str = _module(name).SUMMARY
    return line


def make(name: str, plan: Plan) -> Made:
    """Compute and draw a figure.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    plan : Plan
        What is simulated beside the theory, and where data are.

    Returns
    -------
    Made

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    Skipped
        If something that the figure needs is not there.
    SimulationInterrupted
        On Ctrl-C during a simulation.
    """
    made: Made = _module(name).make(plan)
    return made


def _module(name: str) -> ModuleType:
    if name not in NAMES:
        raise ValueError(f"name must be one of {', '.join(NAMES)}, got {name!r}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
