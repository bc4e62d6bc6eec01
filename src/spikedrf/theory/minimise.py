"""The lowest of all minima of a function of one variable, for many functions at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

# A slope is rounding if it changes the value by less than this, relative, over a factor of e.
_FLAT = 1e-13

# Between two points that both fall (or rise), the slope is looked at where a cubic is steepest the
# other way, if it comes to less than this part of the slopes on either side.
_SUSPECT = 0.3

#: Takes x and the numbers of the functions along its last axis; returns values and slopes. Where
#: a value is NaN the function is not known; where only the slope is, it jumps.
Objective = Callable[[Floats, Integers], tuple[Floats, Floats]]


@dataclass(frozen=True, eq=False)
class Minimum:
    """The lowest minimum of each function.

    Attributes
    ----------
    x, value : ndarray, shape (N,)
        Where it is, and the value there; NaN if no value is known.
    count : ndarray of int, shape (N,)
        Number of local minima, ends of the range included.
    cut_off : ndarray of bool, shape (N,)
        Whether the function still falls where it is not known any more.
    """

    x: Floats
    value: Floats
    count: Integers
    cut_off: Booleans


def minimise(objective: Objective, grid: Floats, unit: Floats, tolerance: float) -> Minimum:
    r"""Minimise every function over the range of its grid.

    A minimum lies between two neighbours on the grid if the function falls at the left one and
    rises at the right one, at an end if it rises into the range, and where the function jumps.
    Between neighbours it is a root of the slope in the variable ``u = arcsinh(x / unit)``, which
    is ``x`` itself near 0 and its logarithm beyond the unit. All minima are found; the lowest
    wins, of equal ones the leftmost.

    Parameters
    ----------
    objective : callable
        The functions.
    grid : ndarray, shape (G, N)
        Ascending points for each function, from one end of its range to the other; points may
        coincide. The slopes must change sign at most once between two of them, or so that a cubic
        through values and slopes at the two shows it.
    unit : ndarray, shape (N,)
        The scale of each variable.
    tolerance : float
        Accuracy of the position, relative to ``|x| + unit``.
    """
    scan = _Scan(objective, grid, unit)
    parts = [scan.on_the_grid(), scan.between(*scan.brackets(), tolerance)]
    function, x, value, cut, jump = map(np.concatenate, zip(*parts, strict=True))
    count = unit.size
    order = np.lexsort((x, value, function))
    which, first = np.unique(function[order], return_index=True)
    chosen = order[first]
    out = Minimum(
        x=np.full(count, np.nan),
        value=np.full(count, np.nan),
        count=np.bincount(function[~jump], minlength=count),
        cut_off=np.ones(count, dtype=bool),
    )
    out.x[which], out.value[which], out.cut_off[which] = x[chosen], value[chosen], cut[chosen]
    out.count[which] += jump[chosen]  # a jump is no minimum unless it is the lowest
    return out


class _Scan:
    """What is known on the grid."""

    def __init__(self, objective: Objective, grid: Floats, unit: Floats) -> None:
        self.objective, self.grid, self.unit = objective, grid, unit
        self.value, slope = objective(grid, np.arange(unit.size))
        self.steepness = _steepness(self.value, slope, grid, unit)
        self.known, self.blind = np.isfinite(self.value), np.isnan(slope)
        self.rises = _rising(self.steepness)
        self.falls = ~(self.rises | self.blind)

    def on_the_grid(self) -> tuple[Any, ...]:
        """Find minima at ends and jumps: function, x, value, whether it is cut off and a jump."""
        # What a neighbour tells nothing about, because there is none or the function jumps.
        edge = np.ones((1, self.unit.size), dtype=bool)
        left, right = np.vstack([edge, self.blind[:-1]]), np.vstack([self.blind[1:], edge])
        here = self.known & ((self.rises & left) | (self.falls & right) | self.blind)
        cut = np.zeros_like(here)
        cut[:-1] |= self.falls[:-1] & ~self.known[1:]
        cut[1:] |= self.rises[1:] & ~self.known[:-1]
        row, function = np.nonzero(here)
        at = row, function
        return function, self.grid[at], self.value[at], cut[at], self.blind[at]

    def brackets(self) -> tuple[Integers, Floats, Floats, Floats, Floats]:
        """Enclose minima: function, two ends in u, the better of two known x with its value."""
        row, function = np.nonzero(self.falls[:-1] & self.rises[1:])
        u = np.arcsinh(self.grid / self.unit)
        parts = [(row, function, u[row, function], u[row + 1, function])]
        # Two changes of sign between neighbours, as a cubic through them has it: its slope is
        # s0 + b t + a t^2 at the fraction t of the way.
        width = np.diff(u, axis=0)
        s0, s1 = self.steepness[:-1], self.steepness[1:]
        with np.errstate(invalid="ignore", divide="ignore"):
            secant = np.diff(self.value, axis=0) / width
            a, b = 3 * (s0 + s1 - 2 * secant), 6 * secant - 4 * s0 - 2 * s1
            t = -b / (2 * a)
            back = (s0 + 0.5 * b * t) * np.sign(s0)
            suspect = (s0 * s1 > 0) & (t > 0) & (t < 1)
            suspect &= back < _SUSPECT * np.minimum(np.abs(s0), np.abs(s1))
        row, function = np.nonzero(suspect)
        if row.size:
            middle = u[row, function] + t[row, function] * width[row, function]
            there = self.steepness_at(middle, function)
            turned = there * s0[row, function] < 0
            row, function, middle = row[turned], function[turned], middle[turned]
            first = self.falls[row, function]  # then the minimum comes before the maximum
            left = np.where(first, u[row, function], middle)
            parts.append((row, function, left, np.where(first, middle, u[row + 1, function])))
        row, function, left, right = map(np.concatenate, zip(*parts, strict=True))
        lower = row + (self.value[row, function] > self.value[row + 1, function])
        return function, left, right, self.grid[lower, function], self.value[lower, function]

    def between(
        self,
        function: Integers,
        left: Floats,
        right: Floats,
        end: Floats,
        end_value: Floats,
        tolerance: float,
    ) -> tuple[Any, ...]:
        """Find minima inside brackets, as `on_the_grid`."""
        from scipy.optimize import elementwise  # not imported before it is needed

        x = value = np.empty(0)
        if function.size:
            found = elementwise.find_root(
                self.steepness_at,
                (left, right),
                args=(function,),
                tolerances={"xatol": tolerance, "xrtol": 0.0, "fatol": 0.0, "frtol": 0.0},
            )
            x, value = self.unit[function] * np.sinh(found.x), np.full(function.size, np.nan)
            good = np.isfinite(x)
            value[good] = self.objective(x[good], function[good])[0]
        # Not known somewhere inside: the ends are.
        lost = ~np.isfinite(value)
        x, value = np.where(lost, end, x), np.where(lost, end_value, value)
        return function, x, value, lost, np.zeros_like(lost)

    def steepness_at(self, u: Floats, function: Integers) -> Floats:
        """Slope in u."""
        unit = self.unit[function]
        x = unit * np.sinh(u)
        return _steepness(*self.objective(x, function), x, unit)


def _steepness(value: Floats, slope: Floats, x: Floats, unit: Floats) -> Floats:
    """Slope in arcsinh(x / unit), 0 where it is rounding."""
    steepness = slope * np.hypot(x, unit)
    return np.where(np.abs(steepness) < _FLAT * np.abs(value), 0.0, steepness)


def _rising(steepness: Floats) -> Booleans:
    """Whether functions rise, along the first axis; what is flat goes on as it was before.

    A function that falls to its end and is flat there in double precision then has its minimum at
    the end. What is flat from the start begins as it goes on, and rises if it is flat all over;
    both begin anew behind a jump.
    """
    rises = steepness > 0
    flat = steepness == 0
    for i in range(1, len(rises)):
        rises[i] |= flat[i] & rises[i - 1]
    # Not yet told: flat, and so was all before, back to the start or a jump.
    untold = flat.copy()
    for i in range(1, len(rises)):
        untold[i] &= untold[i - 1] | np.isnan(steepness[i - 1])
    for i in range(len(rises) - 1, -1, -1):
        end = i + 1 == len(rises)
        rises[i] |= untold[i] & (True if end else rises[i + 1] | np.isnan(steepness[i + 1]))
    return rises
