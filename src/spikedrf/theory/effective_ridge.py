r"""What rows of features say about fits to other numbers of rows.

Ridge regression on ``n`` rows of features with the second moments ``Sigma`` acts, when rows and
features are many, like a fit to all there is with the *effective ridge* ``kappa``:

    lam = kappa (n - D1(kappa)),        D1 = Tr Sigma (Sigma + kappa)^{-1}

and its test error is ``E(kappa)/(1 - D2(kappa)/n)``, with

    D2 = D1 + kappa D1',    E = A - kappa A',    A(kappa) = E y^2 - b^T (Sigma + kappa)^{-1} b

(``b = E phi y``). Neither ``Sigma`` nor ``b`` has to be known. On the ``N`` rows at hand, with the
Gram matrix ``G`` of the features and any ridge ``l > 0``,

    D1(kappa) = Tr G (G + l)^{-1},      kappa = l/(N - D1)

and ``E`` is the exact leave-one-out error at ``l`` times ``1 - D2/N``. (Without rows to leave out
it is the mean squared residual over ``(1 - D1/N)^2``, which says the same of Gaussian features. Of
real rows it is too small: those far out have large leverages and large errors at once.) So a walk
over ``l`` reads the functions of ``kappa`` off the rows: `read`.

Below what they show (`continued`) the features are taken for ``p`` drawn at random from a law, of
which the rows at hand show, with the kernel's own ``z(k) = Tr K (K + k)^{-1}``,

    kappa = k (p - z(k))/p,             D1(kappa; p) = z(k),             A(kappa; p) = A(k)

There ``z`` is continued as a power of ``k``, and ``A`` as ``floor + c k^s``. Or our features are
all there are: then what each degree of freedom explains is a power of ``kappa``, and all of them
explain everything but the floor. All shares of the floor, powers and both kinds are weighted by how
well they agree with the last readings (a likelihood, scaled such that the best of them is likely),
which gives a mean and a doubt. Other numbers of features have other ``kappa``, and the same ``z``
and ``A``.

Sources: Schroeder et al., arXiv 2402.13999; Simon et al., arXiv 2311.14646; the relation between
the three is theory.md, sections 4 and 12, with one bulk of given second moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikedrf.parameters import Floats

#: Points of the walk over the ridge.
_POINTS = 801
#: Readings are trusted where so much of the rows, 1 - D2/N, is left.
_ROOM = 0.5
#: Doubt about a reading: this times D2/(N - D2), as D2 is known to some percent.
_OF_D2 = 0.03
#: The continuation is fitted to so many readings, down from so many times fewer degrees of freedom.
_READINGS, _SPAN = 10, 8.0
#: One law does not hold over the whole of them: doubt grows with the square of the logarithm.
_AWAY, _UP, _LEAST = 0.05, 1.0, 0.03
#: Powers and shares of the floor that are tried.
_POWERS = np.concatenate([[0.03, 0.1], np.linspace(0.2, 2.0, 12)])
_FLOORS = np.linspace(0.0, 1.0, 21)
#: How far a continuation goes, in units of log k, and its points.
_DEPTH, _CONTINUED = 25.0, 400
_DECADE = np.log(10.0)
#: A continuation leaves at least this part of the error where the readings end.
_REST = 0.02
#: Logarithm of the odds that our features are all there are, against that they are some of a law.
_ALL = -np.log(3.0)
#: Stands for no error, and has a logarithm.
_TINY = 1e-280


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Second moments of rows of features, and what they have in common with the targets.

    Attributes
    ----------
    rows : float
        Number of rows ``N``; one less where an intercept has been taken out.
    features : int
        Number of features ``p``.
    values : ndarray, shape (m,)
        Eigenvalues of ``Phi^T Phi / p``, in descending or ascending order; those that are not there
        are zero.
    shares : ndarray, shape (m, targets)
        Squared components of ``Phi^T y / sqrt p`` along the eigenvectors.
    square : ndarray, shape (targets,)
        ``y^T y``.
    """

    rows: float
    features: int
    values: Floats
    shares: Floats
    square: Floats


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Leave-one-out errors of some ridges.

    Attributes
    ----------
    lam : ndarray, shape (ridges,)
        Ridges, > 0.
    error : ndarray, shape (ridges, targets)
        Mean squared leave-one-out residuals.
    sem : ndarray, shape (ridges, targets)
        Their standard errors, relative.
    """

    lam: Floats
    error: Floats
    sem: Floats


@dataclass(frozen=True, eq=False)
class Reading:
    """What some rows of features show, on a walk over the ridge.

    Attributes
    ----------
    rows : float
        Number of rows ``N`` of which residuals are left out, less one with an intercept.
    features : int
        Number of features ``p``.
    log_kappa : ndarray, shape (points,)
        Logarithms of the effective ridge, ascending.
    D1, dD1 : ndarray, shape (points,)
        The degrees of freedom and their derivative by ``log kappa``.
    room : ndarray, shape (points,)
        ``1 - D2/N``.
    error : ndarray, shape (points, targets)
        ``E``.
    sem : ndarray, shape (points, targets)
        Its standard error, relative.
    leverage : ndarray, shape (points, targets)
        Logarithm of the leave-one-out error over what the mean squared residual says.
    """

    rows: float
    features: int
    log_kappa: Floats
    D1: Floats
    dD1: Floats
    room: Floats
    error: Floats
    sem: Floats
    leverage: Floats


def read(spectrum: Spectrum, left_out: LeftOut | None, *, one: float = 1.0) -> Reading:
    """Walk over the ridge: what the rows show, as far down as they reach.

    Parameters
    ----------
    spectrum : Spectrum
    left_out : LeftOut or None
        None if rows cannot be left out; the standard errors are then those of a mean of ``N - D1``
        squares, of a law with heavier tails than the Gaussian's.
    one : float
        What an intercept multiplies leave-one-out errors by.

    Returns
    -------
    Reading
    """
    s, N = np.maximum(spectrum.values, 0.0), spectrum.rows
    top = float(s.max(initial=0.0)) or 1.0  # features that are all constant explain nothing
    walk = np.geomspace(1e-13 * top, 1e3 * top, _POINTS)[:, None]
    left = 1.0 / (s + walk)
    D1 = (s * left).sum(axis=1)
    dD1 = -(s * left**2).sum(axis=1) * walk[:, 0]
    rest = spectrum.square - left @ spectrum.shares
    drest = (left**2 @ spectrum.shares) * walk
    # Derivatives are by the logarithm of the walk, then by that of kappa.
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa = walk[:, 0] / (N - D1)
        rate = 1.0 + dD1 / (N - D1)
        # sum of squared residuals: the objective less its part of the penalty.
        square = np.maximum(rest - drest, _TINY * N)
        plain = square * N / (N - D1)[:, None] ** 2
        dD1 = dD1 / rate
    keep = (N - D1 > 1e-3 * N) & (rest >= 0.0).all(axis=1) & (D1 + dD1 < (1.0 - 1e-4) * N)
    # Down to the first point that rounding has spoilt.
    keep &= np.cumsum(~keep[::-1])[::-1] == 0
    D1, dD1, plain = D1[keep], dD1[keep], plain[keep]
    if left_out is None or left_out.lam.size == 0:
        leverage = np.zeros_like(plain)
        sem = np.sqrt(6.0 / np.maximum(N - D1, 1.0))[:, None] * np.ones_like(plain)
    else:
        from scipy.interpolate import PchipInterpolator

        lam, order = np.unique(left_out.lam, return_index=True)
        at, x = np.log(lam), np.log(walk[keep, 0])
        known = np.stack([np.interp(at, x, np.log(f)) for f in plain.T], axis=1)
        ratio = np.log(np.maximum(left_out.error[order] / one, _TINY)) - known
        smooth = PchipInterpolator(at, ratio) if len(at) > 1 else lambda _: ratio[[0]]
        leverage = smooth(np.clip(x, at[0], at[-1])) * np.ones_like(plain)
        sem = np.stack([np.interp(x, at, e) for e in left_out.sem[order].T], axis=1)
        # A few rows may agree by chance: no better known than N Gaussian squares, and less so.
        sem = np.fmax(sem, np.sqrt(2.0 / N)) * (1.0 + 3.0 / N)
    room = 1.0 - (D1 + dD1) / N
    error = plain * np.exp(leverage) * room[:, None]
    return Reading(N, spectrum.features, np.log(kappa[keep]), D1, dD1, room, error, sem, leverage)


def pooled(readings: Sequence[Reading], whole: Reading) -> Reading:
    """Put together what parts of the rows show, each of its own version of the same features.

    Parameters
    ----------
    readings : sequence of Reading
    whole : Reading
        Of all rows: the effective ridges and degrees of freedom are its own.

    Returns
    -------
    Reading
    """
    least = max(float(each.log_kappa[0]) for each in readings)
    keep = whole.log_kappa >= least
    x = whole.log_kappa[keep]

    def every(name: str) -> Floats:
        """Return some of their values at these ridges, shape (readings, points, targets)."""
        out = []
        for each in readings:
            values = getattr(each, name).reshape(len(each.log_kappa), -1)
            out.append([np.interp(x, each.log_kappa, column) for column in values.T])
        return np.asarray(out).transpose(0, 2, 1)

    error, count = every("error"), len(readings)
    # Rows differ, and so do the layers that were made without them.
    spread = np.mean(every("sem") ** 2, axis=0)
    if count > 1:
        spread = np.maximum(spread, np.var(np.log(np.maximum(error, _TINY)), axis=0, ddof=1))
    return Reading(
        float(np.mean([each.rows for each in readings])),
        whole.features,
        x,
        whole.D1[keep],
        whole.dD1[keep],
        every("room").mean(axis=0)[:, 0],
        error.mean(axis=0),
        np.sqrt(spread / count),
        every("leverage").mean(axis=0),
    )


@dataclass(frozen=True, eq=False)
class Curves:
    """The functions of the effective ridge for one number of features, continued.

    Attributes
    ----------
    log_kappa : ndarray, shape (points,)
        Ascending.
    D1, dD1 : ndarray, shape (points,)
        The degrees of freedom and their derivative by ``log kappa``.
    log_error : ndarray, shape (points, targets)
        ``log E``.
    below, above : ndarray, shape (points, targets)
        Standard deviations of it, to either side.
    excess : ndarray, shape (points, targets)
        By how much the logarithm of the error of ``rows`` rows is above that of
        ``E/(1 - D2/rows)``: what rows of large leverage cost. It falls with the rows.
    peak : ndarray, shape (points, targets)
        The same of fits with nearly as many degrees of freedom as rows, and only of these.
    leverage : ndarray, shape (points, targets)
        As in `Reading`.
    rows : float
        The rows of the reading.
    """

    log_kappa: Floats
    D1: Floats
    dD1: Floats
    log_error: Floats
    below: Floats
    above: Floats
    excess: Floats
    peak: Floats
    leverage: Floats
    rows: float

    @property
    def D2(self) -> Floats:
        """``Tr Sigma^2 (Sigma + kappa)^{-2}``."""
        return self.D1 + self.dD1

    def ridge(self, rows: Floats) -> Floats:
        """Return ``lam`` of every point of the grid, shape rows.shape + (points,); may be < 0."""
        with np.errstate(invalid="ignore"):
            return np.exp(self.log_kappa) * (np.asarray(rows)[..., None] - self.D1)


def continued(reading: Reading, p: int) -> Curves:
    """Continue what was read to effective ridges below, for some number of features.

    Parameters
    ----------
    reading : Reading
    p : int
        Number of features, of the law of those that were read.

    Returns
    -------
    Curves
    """
    own = reading.features
    most = min(0.999 * p, (0.999 if p == own else 0.9) * own)
    keep = most > reading.D1
    x, z, dD1 = reading.log_kappa[keep], reading.D1[keep], reading.dD1[keep]
    k = x - np.log1p(-z / own)
    toward = np.maximum(1.0 + dD1 / (own - z), 1e-9)  # dlog k/dlog kappa of these features
    dz = dD1 / toward
    error = reading.error[keep]
    if p != own:
        unexplained = integrated(x, error)
        other = unexplained - (unexplained - error) * (_toward(p, z, dz) / toward)[:, None]
        # Differences of readings that are not exact may be less than nothing.
        error = np.maximum(other, np.maximum(0.05 * error, _TINY))
    # Downwards the degrees of freedom are a power of k.
    low = k <= max(k[0] + _DECADE, k[min(5, len(k) - 1)])
    power = float(np.clip(-_trend(k[low], np.log(z[low])), 0.03, 3.0))
    steps = np.linspace(-_DEPTH, 0.0, _CONTINUED, endpoint=False)
    more = z[0] * np.exp(-power * steps)
    steps, more = steps[more < 0.999 * p], more[more < 0.999 * p]
    new = len(more)
    k, z = np.concatenate([k[0] + steps, k]), np.concatenate([more, z])
    dz = np.concatenate([-power * more, dz])
    rate = _toward(p, z, dz)

    trusted = new + int(np.argmax(reading.room[keep] >= _ROOM))
    parts = [
        _tail(p, k, z, dz, e, s, reading.room[keep], new, trusted)
        for e, s in zip(error.T, reading.sem[keep].T, strict=True)
    ]
    log_error, below, above = (np.stack(each, axis=1) for each in zip(*parts, strict=True))
    beyond = np.zeros_like(log_error)
    beyond[new:] = np.log(error) - log_error[new:]
    excess = beyond.copy()
    excess[:trusted] = beyond[trusted]
    peak = beyond - excess
    peak[:new] = 0.0
    leverage = np.concatenate(
        [np.repeat(reading.leverage[keep][trusted - new][None], new, 0), reading.leverage[keep]]
    )
    return Curves(
        k + np.log1p(-z / p),
        z,
        dz * rate,
        log_error,
        below,
        above,
        excess,
        peak,
        leverage,
        reading.rows,
    )


def _toward(p: int, z: Floats, dz: Floats) -> Floats:
    """Return ``dlog k/dlog kappa`` of ``p`` features, from the slope by ``log k``."""
    return np.asarray((p - z) / (p - z - dz))


def integrated(x: Floats, error: Floats) -> Floats:
    """Return ``A``, of which ``E = A - A'`` is known: ``e^x int_x E e^{-t} dt``."""
    weighted = error * np.exp(x[-1] - x)[:, None]
    strips = 0.5 * (weighted[1:] + weighted[:-1]) * np.diff(x)[:, None]
    above = np.concatenate([np.cumsum(strips[::-1], axis=0)[::-1], np.zeros((1, error.shape[1]))])
    return np.asarray((above + error[-1]) * np.exp(x - x[-1])[:, None])


def _tail(
    p: int,
    k: Floats,
    z: Floats,
    dz: Floats,
    error: Floats,
    sem: Floats,
    room: Floats,
    new: int,
    trusted: int,
) -> tuple[Floats, Floats, Floats]:
    """Return ``log E`` of one target and its doubt to either side, continued below the readings.

    Parameters
    ----------
    p : int
        Number of features.
    k, z, dz : ndarray, shape (points,)
        ``log k``, ascending, degrees of freedom and their slope by it.
    error, sem, room : ndarray, shape (points - new,)
        What was read.
    new : int
        The first point that was read.
    trusted : int
        The first whose reading is trusted.
    """
    doubt = np.hypot(sem, _OF_D2 * (1.0 - room) / np.maximum(room, 1e-3))
    log_read = np.log(np.maximum(error, _TINY))
    log_error = np.concatenate([np.zeros(new), log_read])
    below = np.concatenate([np.zeros(new), doubt])
    above = below.copy()
    # Errors fall with the effective ridge: readings that rise know no better.
    seen = slice(trusted - new, None)
    best = int(np.argmin(log_read[seen]))
    least = log_read[seen][best] + doubt[seen][best]
    start = trusted + int(np.argmax(log_read[seen] <= least))
    top = int(np.searchsorted(-z, -max(z[start] / _SPAN, 1.5 * z[-1])))
    x = k + np.log1p(-z / p)
    wanted = np.linspace(x[start], x[min(max(top, start), len(z) - 1)], _READINGS)
    at = np.unique(np.clip(np.searchsorted(x, wanted), start, len(z) - 1))
    top = int(at[-1])

    # The same rows make all readings: of nested residuals, and of signals as far as they are alike.
    f, r = np.exp(np.minimum(log_read[at - new] - log_read[at[0] - new], 100.0)), room[at - new]
    alike = np.minimum.outer(r, r) / np.maximum.outer(r, r)
    alike *= np.minimum.outer(f, f) / np.maximum.outer(f, f)
    spread = doubt[at - new] * f
    far = (_LEAST + _AWAY * (np.log(z[start] / z[at]) ** 2 + _UP * np.log(f) ** 2)) * f
    factor = np.linalg.cholesky(np.sqrt(alike) * np.outer(spread, spread) + np.diag(far**2))
    some = np.arange(top + 1)
    shapes = _shapes(x, k, dz, _toward(p, z, dz), start, top)

    def model(points: Any) -> Floats:
        """Return every share of the floor of every shape, shape (members, points)."""
        part = _FLOORS[:, None, None]
        return (part + (1.0 - part) * shapes[:, points]).reshape(-1, len(points))

    ours = np.linalg.solve(factor, model(at).T)
    seen_f = np.linalg.solve(factor, f)
    length = np.einsum("im,im->m", ours, ours)
    size = seen_f @ ours / length
    far_off = np.sum((seen_f[:, None] - size * ours) ** 2, axis=0)
    birge = max(1.0, float(far_off.min()) / max(len(at) - 3, 1))
    log_weight = -0.5 * far_off / birge - 0.5 * np.log(length)
    log_weight += np.tile(np.repeat([0.0, _ALL], len(_POWERS)), len(_FLOORS))
    # Readings that rise and fall at random may fit nothing: then all is possible.
    fits = size > 0.0 if (size > 0.0).any() else np.ones(len(size), dtype=bool)
    weight = np.exp(np.where(fits, log_weight, -np.inf) - log_weight[fits].max())
    weight /= weight.sum()
    size = np.where(size > 0.0, size, 1.0)
    logs = np.log(np.maximum(model(some), _REST)) + np.log(size)[:, None]
    mean = np.log(weight @ np.exp(logs))
    scale = birge * float(weight @ (1.0 / (size * size * length)))
    down = np.sqrt(2.0 * (weight @ np.minimum(logs - mean, 0.0) ** 2) + scale)
    up = np.sqrt(2.0 * (weight @ np.maximum(logs - mean, 0.0) ** 2) + scale)
    mean = mean + log_read[at[0] - new]
    # Where the rows determine nearly all features there is nothing to continue.
    mean = mean + (z[start] / p) ** 8 * (log_read[start - new] - mean[start])
    # From the model at the first reading over to the readings at the last.
    over = np.clip((k[some] - k[start]) / max(k[top] - k[start], 1e-9), 0.0, 1.0)
    log_error[some] = mean + over * np.where(over > 0.0, log_error[some] - mean, 0.0)
    below[some] = np.hypot((1.0 - over) * down, over * below[some])
    above[some] = np.hypot((1.0 - over) * up, over * above[some])
    return log_error, below, above


def _shapes(x: Floats, k: Floats, dz: Floats, rate: Floats, start: int, top: int) -> Floats:
    """Return shapes of the error above its floor, one at ``start``, shape (shapes, top + 1).

    In a law of features of which ours are some, what is unexplained is a power of ``k``; where our
    features are all there are, what each degree of freedom explains is a power of ``kappa``, and
    all of them explain everything.
    """
    some = slice(0, top + 1)
    x, k, dD1, rate = x[some], k[some], (dz * rate)[some], rate[some]
    power = _POWERS[:, None]
    bend = np.minimum(power, 0.95) * rate
    of_law = np.exp(np.minimum(power * (k - k[start]), 500.0)) * (1.0 - bend)
    each = np.exp(np.minimum(power * (x - x[start]), 500.0)) * np.maximum(-dD1, 0.0)
    strips = 0.5 * (each[:, 1:] + each[:, :-1]) * np.diff(x)
    below = np.concatenate([each[:, :1] / (power + 1.0), strips], axis=1).cumsum(axis=1)
    ours = np.maximum(below - each, 0.05 * below)
    shapes = np.concatenate([of_law, ours])
    return np.asarray(shapes / shapes[:, [start]])


def _trend(x: Floats, f: Floats) -> float:
    """Return the slope of a straight line through the points."""
    x = x - x.mean()
    return float(x @ (f - f.mean()) / (x @ x))
