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

Below what they show the curve is continued: `spikedrf.theory.continuation`.

Sources: Schroeder et al., arXiv 2402.13999; Simon et al., arXiv 2311.14646; the relation between
the three is theory.md, sections 4 and 12, with one bulk of given second moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spikedrf.parameters import Floats

#: Points of the walk over the ridge.
_POINTS = 801
#: Stands for no error, and has a logarithm.
TINY = 1e-280


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
        square = np.maximum(rest - drest, TINY * N)
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
        ratio = np.log(np.maximum(left_out.error[order] / one, TINY)) - known
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
        spread = np.maximum(spread, np.var(np.log(np.maximum(error, TINY)), axis=0, ddof=1))
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
