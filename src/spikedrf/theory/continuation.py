r"""Learning curves of features beyond what the rows at hand show of them.

Readings (`spikedrf.theory.effective_ridge`) reach down to some effective ridge ``kappa``. Below it
the features are taken for ``p`` drawn at random from a law, of which the rows at hand show, with
the kernel's own ``z(k) = Tr K (K + k)^{-1}``,

    kappa = k (p - z(k))/p,             D1(kappa; p) = z(k),             A(kappa; p) = A(k)

There ``z`` is continued as a power of ``k``, and ``A`` as ``floor + c k^s``. Or our features are
all there are: then what each degree of freedom explains is a power of ``kappa``, and all of them
explain everything but the floor. All shares of the floor, powers and both kinds are weighted by how
well they agree with the last readings (a likelihood, scaled such that the best of them is likely),
which gives a mean of the logarithm and a doubt. Other numbers of features have other ``kappa``, and
the same ``z`` and ``A``.

A fit to more rows than were read reaches further. What it has come to, the least of
``E(kappa)/(1 - D2/n)`` over ``kappa``, is one more reading that they are held to (`Fit`).

Sources: Schroeder et al., arXiv 2402.13999; Simon et al., arXiv 2311.14646.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spikedrf.parameters import Floats
from spikedrf.theory.effective_ridge import TINY, Reading

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
#: Laws of less weight than this, beside the best, are left out: it saves half of the time.
_UNHEARD = 1e-8
#: Logarithm of the odds that our features are all there are, against that they are some of a law.
_ALL = -np.log(3.0)


@dataclass(frozen=True)
class Fit:
    """What a fit to more rows than were read has come to, of one target.

    Attributes
    ----------
    rows : float
        Its rows.
    error : float
        Its mean squared error on others, at its best ridge.
    doubt : float
        Standard deviation of its logarithm, beside that of the rows it was measured on.
    """

    rows: float
    error: float
    doubt: float


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


def continued(reading: Reading, p: int, fits: Sequence[Fit] = ()) -> Curves:
    """Continue what was read to effective ridges below, for some number of features.

    Parameters
    ----------
    reading : Reading
    p : int
        Number of features, of the law of those that were read.
    fits : sequence of Fit
        Of each target, a fit of the very features that were read; or none.

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
        error = np.maximum(other, np.maximum(0.05 * error, TINY))
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
    every = fits if fits and p == own else [None] * error.shape[1]
    parts = [
        _tail(p, k, z, dz, e, s, reading.room[keep], new, trusted, fit)
        for e, s, fit in zip(error.T, reading.sem[keep].T, every, strict=True)
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
    fit: Fit | None,
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
    fit : Fit or None
        One more reading.
    """
    doubt = np.hypot(sem, _OF_D2 * (1.0 - room) / np.maximum(room, 1e-3))
    log_read = np.log(np.maximum(error, TINY))
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

    some = np.arange(top + 1)
    rate = _toward(p, z, dz)[some]
    shapes = _shapes(x, k, dz, rate, start, top)
    part = _FLOORS[:, None, None]
    members = (part + (1.0 - part) * shapes).reshape(-1, len(some))

    unit = log_read[at[0] - new]
    f, r = np.exp(np.minimum(log_read[at - new] - unit, 100.0)), room[at - new]
    spread = doubt[at - new]
    far = _LEAST + _AWAY * (np.log(z[start] / z[at]) ** 2 + _UP * np.log(f) ** 2)
    read = members[:, at]
    if fit is not None and fit.error > 0.0:
        left = 1.0 - (z[some] + dz[some] * rate) / fit.rows
        least = np.where(left > 0.0, members / np.where(left > 0.0, left, 1.0), np.inf).min(axis=1)
        read = np.column_stack([read, np.minimum(least, 1.0 / TINY)])
        f, r = np.append(f, fit.error / np.exp(unit)), np.append(r, 1.0)
        spread, far = np.append(spread, spread[0]), np.append(far, fit.doubt)
    # The same rows make all readings: of nested residuals, and of signals as far as they are alike.
    alike = np.minimum.outer(r, r) / np.maximum.outer(r, r)
    alike *= np.minimum.outer(f, f) / np.maximum.outer(f, f)
    spread, far = spread * f, far * f
    factor = np.linalg.cholesky(np.sqrt(alike) * np.outer(spread, spread) + np.diag(far**2))
    ours = np.linalg.solve(factor, read.T)
    seen_f = np.linalg.solve(factor, f)
    length = np.einsum("im,im->m", ours, ours)
    size = seen_f @ ours / length
    far_off = np.sum((seen_f[:, None] - size * ours) ** 2, axis=0)
    birge = max(1.0, float(far_off.min()) / max(len(f) - 3, 1))
    log_weight = -0.5 * far_off / birge - 0.5 * np.log(length)
    log_weight += np.tile(np.repeat([0.0, _ALL], len(_POWERS)), len(_FLOORS))
    # Readings that rise and fall at random may fit nothing: then all is possible.
    fits = size > 0.0 if (size > 0.0).any() else np.ones(len(size), dtype=bool)
    weight = np.exp(np.where(fits, log_weight, -np.inf) - log_weight[fits].max())
    heard = weight > _UNHEARD
    weight, length, members = weight[heard], length[heard], members[heard]
    weight /= weight.sum()
    size = np.where(size > 0.0, size, 1.0)[heard]
    logs = np.log(np.maximum(members, _REST)) + np.log(size)[:, None]
    mean = weight @ logs
    scale = birge * float(weight @ (1.0 / (size * size * length)))
    away = np.square(logs - mean)
    every = weight @ away
    low = weight @ np.where(logs < mean, away, 0.0)
    down, up = np.sqrt(2.0 * low + scale), np.sqrt(2.0 * np.maximum(every - low, 0.0) + scale)
    mean = mean + unit
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
    x, k, dD1 = x[some], k[some], dz[some] * rate
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
