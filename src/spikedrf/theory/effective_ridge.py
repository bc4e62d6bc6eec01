r"""What rows of features say about fits to other numbers of rows.

Ridge regression on ``n`` rows of features with the second moments ``Sigma`` acts, when rows and
features are many, like a fit to all there is with the *effective ridge* ``kappa``:

    lam = kappa (n - D1(kappa)),        D1 = Tr Sigma (Sigma + kappa)^{-1}

The test error is ``E(kappa)/(1 - D2(kappa)/n)`` and the train error is the test error times
``((n - D1)/n)^2``, with

    D2 = D1 + kappa D1',    E = A - kappa A',    A(kappa) = E y^2 - b^T (Sigma + kappa)^{-1} b

(``b = E phi y``). Neither ``Sigma`` nor ``b`` has to be known. On the ``N`` rows at hand, with the
Gram matrix ``G`` of the features and any ridge ``l > 0``,

    D1(kappa) = Tr G (G + l)^{-1},      kappa = l/(N - D1),      A(kappa) = objective(l)/(N - D1)

where ``objective`` is the minimum of the penalised sum of squares. So a walk over ``l`` gives the
three functions of ``kappa``, down to the smallest that ``N`` rows reach: 0 where ``N > p``. The
factor ``1/(N - D1)`` takes out of the unexplained part what the fit has explained by chance. Below
what the rows reach the curves are continued, with a doubt that says how far.

The width. For ``p`` features drawn at random from a law, with the kernel's own
``z(k) = Tr K (K + k)^{-1}``,

    kappa = k (p - z(k))/p,             D1(kappa; p) = z(k),             A(kappa; p) = A(k)

so the same two functions of ``k`` serve every other number of features.

Sources: Schroeder et al., arXiv 2402.13999; Simon et al., arXiv 2311.14646; the relation between
the three is theory.md, sections 4 and 12, with one bulk of given second moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikedrf.parameters import Floats

#: Points of the walk over the ridge.
_POINTS = 1601
#: What is left of the rows after the fit, N - D1 over N, where the functions are still read off
#: the rows; below they are continued.
_LEFT = 0.5
#: Width, in units of log kappa, over which the slopes at the end are measured.
_DECADE = np.log(10.0)
#: By how much the power of a continuation may be wrong.
_POWER = 0.3
#: A continuation leaves at least this part of the error where the rows end.
_LEAST = 0.5


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
class Curves:
    """The functions of the effective ridge, on a grid of its logarithm.

    Attributes
    ----------
    log_kappa : ndarray, shape (points,)
        Ascending.
    D1, dD1 : ndarray, shape (points,)
        The degrees of freedom and their derivative by ``log kappa``.
    A, dA : ndarray, shape (points, targets)
        The same of what is unexplained.
    doubt : ndarray, shape (points, targets)
        Doubt about ``log E`` where it was continued, 0 where it was read off the rows.
    """

    log_kappa: Floats
    D1: Floats
    dD1: Floats
    A: Floats
    dA: Floats
    doubt: Floats

    @property
    def D2(self) -> Floats:
        """``Tr Sigma^2 (Sigma + kappa)^{-2}``."""
        return self.D1 + self.dD1

    @property
    def E(self) -> Floats:
        """The test error of infinitely many rows at this effective ridge."""
        return np.maximum(self.A - self.dA, 0.0)

    def ridge(self, rows: Floats) -> Floats:
        """Return ``lam`` of every point of the grid, shape rows.shape + (points,); may be < 0."""
        with np.errstate(invalid="ignore"):
            return np.exp(self.log_kappa) * (np.asarray(rows)[..., None] - self.D1)

    def of_kernel(self, p: int) -> Curves:
        """Return the curves as functions of the kernel's own effective ridge.

        With ``k = kappa/(1 - z/p)`` and slopes by ``log k``: ``dlog kappa/dlog k`` is
        ``(p - z)/(p - z + D1')``.
        """
        kept = 0.9 * p > self.D1
        z, dz = self.D1[kept], self.dD1[kept]
        rate = (p - z) / (p - z + dz)
        return Curves(
            self.log_kappa[kept] - np.log1p(-z / p),
            z,
            dz * rate,
            self.A[kept],
            self.dA[kept] * rate[:, None],
            self.doubt[kept],
        )

    def of_width(self, p: int) -> Curves:
        """Return curves of the kernel's effective ridge as those of ``p`` features."""
        kept = (1.0 - 1e-9) * p > self.D1
        z, dz = self.D1[kept], self.dD1[kept]
        rate = (p - z) / (p - z - dz)
        return Curves(
            self.log_kappa[kept] + np.log1p(-z / p),
            z,
            dz * rate,
            self.A[kept],
            self.dA[kept] * rate[:, None],
            self.doubt[kept],
        )


def read_curves(spectrum: Spectrum) -> Curves:
    """Walk over the ridge: the curves as far down as the rows reach.

    Parameters
    ----------
    spectrum : Spectrum

    Returns
    -------
    Curves
    """
    s, N = np.maximum(spectrum.values, 0.0), spectrum.rows
    top = float(s.max())
    walk = np.geomspace(1e-13 * top, 1e3 * top, _POINTS)[:, None]
    left = 1.0 / (s + walk)
    D1 = (s * left).sum(axis=1)
    dD1 = -(s * left**2).sum(axis=1) * walk[:, 0]
    rest = spectrum.square - left @ spectrum.shares
    drest = (left**2 @ spectrum.shares) * walk
    # Derivatives are by the logarithm of the walk, then by that of kappa.
    kappa = walk[:, 0] / (N - D1)
    rate = 1.0 + dD1 / (N - D1)
    A = rest / (N - D1)[:, None]
    dA = (drest / (N - D1)[:, None] + A * (dD1 / (N - D1))[:, None]) / rate[:, None]
    known = (N - D1 > _LEFT * N) & (A >= 0.0).all(axis=1)
    return Curves(
        np.log(kappa[known]),
        D1[known],
        (dD1 / rate)[known],
        A[known],
        dA[known],
        np.zeros((int(known.sum()), A.shape[1])),
    )


def continued(read: Curves, p: float) -> Curves:
    """Continue curves to effective ridges below what the rows reach.

    The degrees of freedom go to ``p`` as a logistic function of ``log kappa``: a power law far from
    ``p``, and for ``p = inf``. What they explain of the target follows them, by an amount for each
    that is a power of ``kappa``. Slopes are those of the lowest decade. The doubt is what powers
    that are larger and smaller by ``_POWER`` make of ``E``.

    Parameters
    ----------
    read : Curves
    p : float
        The most degrees of freedom there can be.

    Returns
    -------
    Curves
    """
    x, D1 = read.log_kappa, read.D1
    if p - D1[0] < 1e-6 * p:
        return read
    low = x <= max(x[0] + _DECADE, x[min(2, len(x) - 1)])
    odds = np.log(D1[low]) if np.isinf(p) else np.log(D1[low] / (p - D1[low]))
    b = float(np.clip(-_trend(x[low], odds), 0.05, 2.0))
    steps = np.linspace(-12.0 * _DECADE, 0.0, 1200, endpoint=False)
    grown = np.exp(odds[0] - b * steps)
    z = grown if np.isinf(p) else p * grown / (1.0 + grown)
    dz = -b * z * (1.0 - z / p)
    tiny = 1e-250  # of which the inverse is a number
    each = np.maximum(read.dA, 0.0) / np.maximum(-read.dD1, 1e-100)[:, None]
    power = _trend(x[low], np.log(np.maximum(each[low], tiny)))
    width = steps[1] - steps[0]

    most = read.E[0]

    def unexplained(power: Floats, least: float) -> tuple[Floats, Floats]:
        slope = each[0] * -dz[:, None] * np.exp(np.clip(power * steps[:, None], -300.0, 300.0))
        gone = np.cumsum(slope[::-1], axis=0)[::-1] * width
        # What is left is some part of what the rows leave: noise may be the rest of it.
        fits = np.minimum(1.0, (read.A[0] - least * most) / np.maximum(gone[0], tiny))
        return read.A[0] - gone * fits, slope * fits

    A, dA = unexplained(power, _LEAST)
    E = np.maximum(A - dA, _LEAST * most)
    doubt = np.zeros_like(E)
    for change in (-_POWER, _POWER):
        other = np.subtract(*unexplained(power + change, _LEAST / 2.0))
        other = np.clip(other, _LEAST / 2.0 * most, None)
        doubt = np.maximum(
            doubt, np.abs(np.log(np.maximum(other, tiny)) - np.log(np.maximum(E, tiny)))
        )
    both = zip((x[0] + steps, z, dz, A, dA, doubt), _fields(read), strict=True)
    return Curves(*(np.concatenate(pair) for pair in both))


def _fields(curve: Curves) -> tuple[Floats, ...]:
    return curve.log_kappa, curve.D1, curve.dD1, curve.A, curve.dA, curve.doubt


def _trend(x: Floats, f: Floats) -> Floats:
    """Return the slope of a straight line through the points, along the first axis."""
    x = x - x.mean()
    return np.asarray(x @ (f - f.mean(axis=0)) / (x @ x))
