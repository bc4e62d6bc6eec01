"""The fluctuating lengths of trained neurons and their correlations (theory.md, section 14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation, step_moments
from spikedrf.inputs.population import Rows

Floats = NDArray[np.float64]


class SlopeMoments(NamedTuple):
    """Gaussian constants of an activation's derivative, ``chi = sigma' - h1 - h2 z``."""

    h2: float
    h3: float
    chi2: float
    chi3: float
    chi4: float
    z_chi2: float
    zz_chi2: float
    z_chi3: float
    h4: float
    he2_chi2: float


def slope_moments(sigma: Activation) -> SlopeMoments:
    """Average over ``z ~ N(0, 1)``.

    Raises
    ------
    ValueError
        As `step_moments`.
    """
    of = step_moments(sigma, slope=True)
    _, h1, h2 = of.cleaned
    z, w = sigma.gaussian_rule(1, 24)
    h3 = float(w @ ((z**3 - 3.0 * z) * sigma(z)))
    chi = sigma.derivative(z) - h1 - h2 * z
    chi2 = max(of.slope_variance - h2**2, 0.0)
    least = 1e-13 * max(of.second**0.5, chi2**0.5)

    def average(f: Floats) -> float:
        found = float(w @ f)
        return 0.0 if abs(found) <= least * max(chi2, 1e-300) ** 0.5 else found

    return SlopeMoments(
        h2=h2,
        h3=0.0 if abs(h3) <= least else h3,
        chi2=chi2,
        chi3=average(chi**3),
        chi4=float(w @ chi**4),
        z_chi2=average(z * chi**2),
        zz_chi2=float(w @ (z * chi) ** 2),
        z_chi3=average(z * chi**3),
        h4=float(w @ ((z**4 - 6.0 * z**2 + 3.0) * sigma(z))),
        he2_chi2=average((z**2 - 1.0) * chi**2),
    )


class Sums(NamedTuple):
    """What the batch contributes, ``E res^i`` (i = 1..4) and ``Tr Omega^i/d`` (i = 2..4)."""

    res: tuple[float, float, float, float]
    square: float
    cube: float
    fourth: float
    inverse: float  # 1/alpha0


@dataclass(frozen=True)
class Lengths:
    r"""The squared lengths ``L = |Omega^{1/2} (w - r v)|^2`` of one group's neurons.

    A neuron is ``w = w0 + e (1/n0) sum_mu res_mu sigma'(z_mu) x_mu``, ``z_mu = <w0, x_mu>``,
    ``e = eta u``. Beside the spike ``h1`` and the part ``a M w0``, a = e h2, the derivative leaves
    ``chi(z)``, orthogonal to 1 and z, whose sum over the samples is Gaussian with the covariance
    ``b S``. With ``kappa_mu = k0 + k1 res_mu`` the overlap of ``Omega (1 + a M) x_mu`` and ``x_mu``
    over d,

        L = w0' A w0 + 2 e (1/n0) sum res kappa z chi(z) + e^2 (t2/alpha0) (1/n0) sum res^2 chi^2

    and what is left has mean zero. So L is correlated with ``w0``
    by ``sum_i along_i m_i / d`` and with the sum over ``chi`` by ``sum_i beside_i m_i / d``,
    ``m_i = (1/n0) sum res^i x``: along m_1 by ``2 e h3 k0``, the stretch of section 14; the others
    vanish for large batches.

    Attributes
    ----------
    along, beside : ndarray, shape (3,)
    beyond : float
        d times the variance of L beyond that of Gaussian rows, ``2 Tr Sigma^2/d``, and of what is
        linear in ``w0``: kurtosis, what the forms of ``w0`` in L have in common, and the fixed
        length of rows on the sphere.
    gain : float
        d times the variance of a neuron's part along m_1 that comes from the length of its row.
    """

    along: Floats
    beside: Floats
    beyond: float
    gain: float = 0.0


def lengths(of: SlopeMoments, e: float, shift: float, sums: Sums, rows: Rows) -> Lengths:
    """Work out one group; ``shift`` is a = e h2, or 0 where that is left out."""
    r1, r2, r3, r4 = sums.res
    t2, over = sums.square, sums.inverse
    k0, k1 = t2 + shift * r1 * sums.cube, shift * t2 * over
    skew = e**2 * over * of.z_chi2
    along = np.array([2.0 * e * of.h3 * k0, 2.0 * e * of.h3 * k1 + skew * t2, 0.0])
    beside = np.array([0.0, 2.0 * skew * k0, 2.0 * skew * k1 + e**3 * t2 * over**2 * of.chi3])
    kappa2 = k0**2 * r2 + 2.0 * k0 * k1 * r3 + k1**2 * r4
    kurtosis = 4.0 * e**2 * over * kappa2 * (of.zz_chi2 - of.chi2 - of.h3**2)
    kurtosis += 4.0 * e**3 * t2 * over**2 * (k0 * r3 + k1 * r4) * (of.z_chi3 - of.h3 * of.z_chi2)
    kurtosis += e**4 * t2**2 * over**3 * r4 * (of.chi4 - 3.0 * of.chi2**2 - of.z_chi2**2)
    # The second Hermite part of z chi(z) and of chi(z)^2 is a form of w0, too: that of
    # (1/n0) sum f_mu x_mu x_mu', f = first res + second res^2. Its own variance is in the kurtosis.
    first = e * of.h4 * k0
    second = e * of.h4 * k1 + 0.5 * e**2 * t2 * over * of.he2_chi2
    once, twice = first * r2 + second * r3, first * r3 + second * r4
    with_form = 2.0 * shift * over * t2 * once
    with_form += shift**2 * over * (2.0 * r1 * sums.cube * once + over * t2 * twice)
    kurtosis += 4.0 * with_form
    # A = Omega (1 + a M) .. (1 + a M) Omega, a form of rows that are Gaussian or on the sphere.
    sphere = 1.0 if rows.init == "sphere" else 0.0
    trace = 1.0 + 2.0 * shift * r1 * t2 + shift**2 * (r1**2 * sums.cube + r2 * t2 * over)
    beyond, gain = kurtosis - 2.0 * sphere * trace**2, 0.0
    if rows.gain:
        # With D = w0' Omega w0 - 1, of variance 2 (t2 - sphere)/d, every z_mu grows by D/2.
        with_d = t2 + 2.0 * shift * r1 * sums.cube
        with_d += shift**2 * (r1**2 * sums.fourth + r2 * t2**2 * over) - sphere * trace
        pace = e * of.h4 * (k0 * r1 + k1 * r2) + 0.5 * e**2 * r2 * t2 * over * of.he2_chi2
        free = t2 - sphere
        beside[0] += e * of.h3 * (with_d + pace * free)
        beyond += 4.0 * pace * with_d + 2.0 * pace**2 * free
        gain = 0.5 * (e * of.h3) ** 2 * free
    return Lengths(along, beside, beyond, gain)
