"""What follows from solutions and the tables that they rest on, on rules that get finer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.inputs.frame import Frame
from spikedrf.inputs.tables import Tables, make_tables
from spikedrf.theory.convergence import INFINITE, UNDEFINED
from spikedrf.theory.latents.solve import Solved

Floats = NDArray[Any]

#: Numbers from a frame, its tables, and the solution at one point.
Measure = Callable[[Frame, Tables, dict[str, Any]], Floats]

_NAMES = ("m", "columns", "lengths", "q1", "q2", "V1", "V2")


def settled(
    solved: Solved, sigma: Activation, parameters: dict[str, Floats], measure: Measure, rtol: float
) -> tuple[Floats, Floats]:
    """Measure at every point, on rules that get finer until the numbers stand still.

    Points that the solution has set aside are NaN.

    Parameters
    ----------
    solved : Solved
    sigma : Activation
    parameters : dict of ndarray
        ``alpha, beta, lam, noise``; they broadcast.
    measure : callable
        Gets the order parameters of a point and its parameters by name.
    rtol : float
        By how much the numbers may still move, relative to the largest of them.

    Returns
    -------
    values : ndarray, shape (P, Q)
    error : ndarray, shape (P,)
        By how much they moved last, and not less than the error of the solution.
    """
    count = solved.which.size
    flat = {n: np.broadcast_to(v, solved.shape).ravel() for n, v in parameters.items()}
    found: dict[int, Floats] = {}
    error = np.zeros(count)
    lost = np.isin(solved.values["status"], (INFINITE, UNDEFINED))
    ladders: list[list[Tables | None]] = [[] for _ in solved.frames]
    for point in map(int, np.flatnonzero(~lost)):
        index = int(solved.which[point])
        frame, tables = solved.frames[index], ladders[index]
        at: dict[str, Any] = {name: solved.values[name][point] for name in _NAMES}
        at["columns"] = at["columns"][:, : frame.size]
        at |= {name: float(value[point]) for name, value in flat.items()}
        before: Floats | None = None
        moved, level = np.inf, 0
        while moved > rtol:
            if len(tables) <= level:
                tables.append(make_tables(frame, sigma, level))
            rule = tables[level]
            if rule is None:
                break
            now = measure(frame, rule, at)
            if before is not None:
                moved = float(np.abs(now - before).max() / max(np.abs(now).max(), 1e-300))
            before, level = now, level + 1
        assert before is not None
        found[point] = before
        error[point] = moved
    values = np.full((count, next(iter(found.values())).size if found else 0), np.nan)
    for point, measured in found.items():
        values[point] = measured
    return values, np.fmax(error, solved.values["error"])


def response(frame: Frame, tables: Tables, at: dict[str, Any]) -> tuple[Floats, Floats]:
    """Return ``1 + w V`` at every node, and the weight ``w`` that its samples have in the loss."""
    mu1 = tables.mu1
    V = np.einsum("kn,ln,kl->n", mu1, mu1, at["V1"]) + at["V2"] @ tables.mu2
    own = np.repeat(frame.population.weights, np.diff(tables.begin))
    return 1.0 + own * V, own
