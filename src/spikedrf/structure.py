"""Where a user's function is not smooth: its kinks, its jumps and its narrow parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: What is wider than this is seen wherever it lies, and what is narrower only by chance.
FEATURE_WIDTH = 1e-3

_SPACING = 0.8 * FEATURE_WIDTH  # of the points at which a panel's interpolant is checked
_WIDEST = 0.5  # panels at first, and the largest grain
_FINEST_GRAIN = 0.01
_DEGREE = 16
_OVERLAP = 1.02  # of a panel's half width: how far its interpolant is checked
_OFF = 0.1234567  # panels do not begin on the round numbers at which kinks lie
_RESOLVED = 1e-10  # of the function's size on the panel
_ROUNDING = 1e-14  # of the function's size around 0
_SHARP = 1e-5  # narrower panels are made for kinks and jumps only
_MOST_PANELS = 1 << 14  # in one level of bisection
_MOST_EDGES = 256
_BLOCK = 1 << 16  # points of one evaluation


class Structure(NamedTuple):
    """What a quadrature needs to know of a function.

    Attributes
    ----------
    breaks : tuple of float
        Where panels are to end: kinks, jumps, and the panels around what is merely narrow.
    grain : float
        Width of the panels that resolve the rest, at most 1/2.
    resolved : bool
        False for a function that is rough everywhere: no panels will do.
    """

    breaks: tuple[float, ...]
    grain: float
    resolved: bool


@dataclass(frozen=True)
class _Panels:
    """Intervals, with the ends that are known to be breaks: beyond these another piece begins."""

    left: Floats
    right: Floats
    left_broken: Bools
    right_broken: Bools

    @property
    def width(self) -> Floats:
        return self.right - self.left

    def __getitem__(self, which: Bools | NDArray[np.int64]) -> _Panels:
        return _Panels(
            self.left[which], self.right[which], self.left_broken[which], self.right_broken[which]
        )

    @classmethod
    def all_of(cls, some: list[_Panels]) -> _Panels:
        return cls(
            np.concatenate([p.left for p in some]),
            np.concatenate([p.right for p in some]),
            np.concatenate([p.left_broken for p in some]),
            np.concatenate([p.right_broken for p in some]),
        )

    def halves(self) -> _Panels:
        middle = 0.5 * (self.left + self.right)
        no = np.zeros(middle.size, bool)
        left = _Panels(self.left, middle, self.left_broken, no)
        return _Panels.all_of([left, _Panels(middle, self.right, no, self.right_broken)])


def find_structure(
    function: Callable[[Floats], Floats], reach: float, known: tuple[float, ...] = ()
) -> Structure:
    """Look for whatever keeps polynomials on panels from being the function.

    The interpolant of each panel, through 16 Chebyshev points, is compared with the function at
    points no further apart than 8e-4, from a little outside of the panel to the other side of it.
    A panel that fails is halved. No feature wider than 1e-3 fits between the points, and none
    hides at the end of a panel, where two panels look.

    A sequence of ever narrower panels ends at a kink or a jump if the smooth pieces on its two
    sides explain the function up to there: that point is located, to rounding, and replaces the
    panels around it. Otherwise the ends of the narrow panels are themselves the answer.

    Parameters
    ----------
    function : callable
        Takes an array of any shape.
    reach : float
        Looks at [-reach, reach].
    known : tuple of float
        Breaks that are known, ascending. The pieces between them are looked at one by one.

    Returns
    -------
    Structure
    """
    given = np.asarray(known, dtype=np.float64)
    inside = given[np.abs(given) < reach]
    leaves, rounding, complete = _bisect(function, reach, inside)
    found = _sharp_points(function, leaves, inside, rounding)
    breaks = np.sort(np.append(inside, found))
    free = leaves
    if breaks.size:
        # A leaf is narrow because its parent, twice as wide, saw a break.
        after = np.searchsorted(breaks, leaves.left)
        distance = np.full(after.size, np.inf)
        for index in (after - 1, after):
            b = breaks[np.clip(index, 0, breaks.size - 1)]
            beyond = np.maximum(leaves.left - b, b - leaves.right)
            distance = np.minimum(distance, np.maximum(beyond, 0.0))
        free = leaves[distance > 1.3 * leaves.width]
    grain, edges = _grain(free)
    points = np.unique(np.concatenate([given, found, [] if edges is None else edges]))
    return Structure(tuple(float(b) for b in points), grain, complete and edges is not None)


def _bisect(
    function: Callable[[Floats], Floats], reach: float, known: Floats
) -> tuple[_Panels, float, bool]:
    """Return the panels on which the function is a polynomial, ascending, and its rounding.

    And whether they are all: bisection stops at very many panels.
    """
    uniform = np.arange(-reach, reach, _WIDEST) + _OFF
    edges = np.unique(np.append(uniform, known))
    broken = np.isin(edges, known)
    rest = _Panels(edges[:-1], edges[1:], broken[:-1], broken[1:])
    leaves: list[_Panels] = []
    complete = True
    rounding = _ROUNDING * float(np.abs(function(np.arange(-8.0, 8.0, _SPACING))).max())
    while rest.left.size:
        rough = _rough(function, rest, rounding)
        leaves.append(rest[~rough])
        rest = rest[rough]
        last = rest.width < 2e-13 * np.maximum(1.0, np.abs(rest.left))
        leaves.append(rest[last])
        rest = rest[~last]
        if 2 * rest.left.size > _MOST_PANELS:
            leaves.append(rest)
            complete = False
            break
        rest = rest.halves()
    everything = _Panels.all_of(leaves)
    return everything[np.argsort(everything.left)], rounding, complete


def _rough(function: Callable[[Floats], Floats], panels: _Panels, rounding: float) -> Bools:
    """Say on which panels the interpolant is not the function."""
    check, to_check = _checks(max(24, int(np.ceil(_OVERLAP * panels.width.max() / _SPACING))))
    rough = np.empty(panels.left.size, bool)
    step = max(1, _BLOCK // check.size)
    for start in range(0, rough.size, step):
        part = slice(start, start + step)
        some = panels[np.arange(*part.indices(rough.size))]
        middle, half = 0.5 * (some.left + some.right)[:, None], 0.5 * some.width[:, None]
        at = check
        if some.left_broken.any() or some.right_broken.any():
            # Beyond a known break another piece begins, and its own value belongs to either.
            low = np.where(some.left_broken, -1.0 + 1e-9, -_OVERLAP)[:, None]
            at = np.clip(check, low, np.where(some.right_broken, 1.0 - 1e-9, _OVERLAP)[:, None])
        value = function(middle + half * at)
        miss = function(middle + half * _NODE) @ to_check
        miss -= value
        np.abs(miss, out=miss)
        if at is not check:
            miss[at != check] = 0.0
        most, least = value.max(axis=1), value.min(axis=1)
        # The points themselves are rounded.
        blur = 1e-15 * np.abs(middle / half)[:, 0] * (most - least)
        floor = _RESOLVED * np.maximum(most, -least) + blur + rounding
        rough[part] = miss.max(axis=1) > floor
    return rough


def _sharp_points(
    function: Callable[[Floats], Floats], leaves: _Panels, known: Floats, rounding: float
) -> Floats:
    """Locate the kinks and jumps that narrow panels lead to, where smooth pieces meet."""
    change = np.flatnonzero(np.abs(np.diff(np.log2(leaves.width))) > 0.5)
    first, last = np.append(0, change + 1), np.append(change, leaves.left.size - 1)
    width = leaves.width[first]
    around = np.concatenate([[np.inf], width, [np.inf]])
    lowest = (width <= _SHARP) & (width < around[:-2]) & (width < around[2:])
    left, right = leaves.left[first[lowest]], leaves.right[last[lowest]]
    if not left.size:
        return np.empty(0)
    # Each piece is interpolated as far as the next break, or as far as it takes.
    before, after = np.append(-np.inf, right[:-1]), np.append(left[1:], np.inf)
    if known.size:
        index = np.searchsorted(known, left)
        fence = np.concatenate([[-np.inf], known, [np.inf]])
        before, after = np.maximum(before, fence[index]), np.minimum(after, fence[index + 1])
    pieces = [
        _Piece(function, left - np.minimum(2e-3, 0.8 * (left - before)), left),
        _Piece(function, right, right + np.minimum(2e-3, 0.8 * (after - right))),
    ]
    size = np.maximum(pieces[0].size, pieces[1].size)
    tolerance = 1e-9 * size + rounding
    smooth = (pieces[0].miss <= tolerance) & (pieces[1].miss <= tolerance)
    middle = 0.5 * (left + right)
    gap = pieces[1](middle) - pieces[0](middle)
    slope = pieces[1].slope(middle) - pieces[0].slope(middle)
    kink = np.abs(gap) <= np.abs(slope) * (right - left)
    at = np.where(kink, middle - gap / np.where(slope == 0.0, 1.0, slope), middle)
    low, high = left.copy(), right.copy()
    for _ in range(14):
        half = 0.5 * (low + high)
        value = function(half)
        is_left = np.abs(value - pieces[0](half)) < np.abs(value - pieces[1](half))
        low, high = np.where(is_left, half, low), np.where(is_left, high, half)
    at = np.where(kink, at, 0.5 * (low + high))
    # Between the panels' ends nothing happens but that one piece takes over from the other.
    blur = 3e-13 * np.maximum(1.0, np.abs(at))
    for share in np.linspace(0.03, 0.97, 9):
        x = left + share * (right - left)
        value = function(x)
        expected = np.where(x < at, pieces[0](x), pieces[1](x))
        smooth &= (np.abs(value - expected) <= tolerance) | (np.abs(x - at) <= blur)
    rounded = np.round(at, 9)
    at = np.where(np.abs(rounded - at) < np.where(kink, 1e-11, blur), rounded, at)
    return np.asarray(at[smooth])


class _Piece:
    """The interpolants of a function on many intervals."""

    def __init__(self, function: Callable[[Floats], Floats], left: Floats, right: Floats) -> None:
        self._middle, self._half = 0.5 * (left + right), 0.5 * (right - left)
        self._value = function(self._middle[:, None] + self._half[:, None] * _NODE)
        ends = 1.0 - np.logspace(-6, -1, 11)
        check = np.concatenate([-ends, np.linspace(-0.9, 0.9, 8), ends])
        value = function(self._middle[:, None] + self._half[:, None] * check)
        self.size = np.abs(value).max(axis=1)
        self.miss = np.abs(value - self._value @ _interpolation(check).T).max(axis=1)
        self.miss[self._half < 1e-9] = np.inf

    def __call__(self, x: Floats) -> Floats:
        weight = _interpolation((x - self._middle) / self._half)
        return np.asarray(np.sum(self._value * weight, axis=-1))

    def slope(self, x: Floats) -> Floats:
        t = (x - self._middle) / self._half
        step = 1e-4
        change = _interpolation(t + step) - _interpolation(t - step)
        return np.asarray(np.sum(self._value * change, axis=-1) / (2.0 * step * self._half))


def _grain(free: _Panels) -> tuple[float, Floats | None]:
    """Return the width of panels for all that is no break, and the ends of narrower ones.

    None if these are too many.
    """
    width = free.width
    grain = _WIDEST
    while grain > _FINEST_GRAIN and np.sum(width < 0.9 * grain) > _MOST_EDGES:
        grain *= 0.5
    grain = max(grain, _FINEST_GRAIN)
    narrow = width < 0.9 * grain
    if np.sum(narrow) > _MOST_EDGES:
        return 4.0 * _FINEST_GRAIN, None
    return grain, np.unique(np.append(free.left[narrow], free.right[narrow]))


_NODE = np.cos(np.pi * (np.arange(_DEGREE) + 0.5) / _DEGREE)
_TO_SERIES = chebvander(_NODE, _DEGREE - 1).T * (2.0 / _DEGREE)
_TO_SERIES[0] *= 0.5


@lru_cache(maxsize=32)
def _checks(count: int) -> tuple[Floats, Floats]:
    """Points at which a panel is checked, and what takes the values at its nodes to them."""
    check = np.unique(np.append(np.linspace(-_OVERLAP, _OVERLAP, count), [-1.0, 1.0]))
    return check, _interpolation(check).T.copy()


def _interpolation(t: Floats) -> Floats:
    """Weights, shape (..., 16), that take values at the Chebyshev points of [-1, 1] to t."""
    return np.asarray(chebvander(t, _DEGREE - 1) @ _TO_SERIES)
