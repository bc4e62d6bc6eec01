"""The average output of a network, given the input along the spike and across it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import _core
from spikedrf.activations import Activation
from spikedrf.first_layer.model import Spike
from spikedrf.parameters import real_array

Floats = NDArray[np.float64]


def averaged_output(
    activation: Activation,
    spike: Spike,
    readout: tuple[Floats, Floats, Floats],
    kappa: ArrayLike,
    zeta: ArrayLike,
) -> Any:
    """Return ``sum_k (m_k mu0_k + kappa theta_k mu1_k + zeta psi_k mu1_k)``.

    Parameters
    ----------
    activation, spike
        Where ``mu0_k(kappa)`` and ``mu1_k(kappa)`` come from.
    readout : tuple of ndarray, shape S + (K,)
        ``m, theta, psi``.
    kappa, zeta : float or array_like
        Projections of the input on the spike direction and on the rest of the target direction.

    Returns
    -------
    float or ndarray, shape S + that of kappa and zeta together

    Raises
    ------
    TypeError, ValueError
        If ``kappa`` or ``zeta`` is not finite and real.
    """
    m, theta, psi = readout
    at, beside = np.broadcast_arrays(real_array("kappa", kappa), real_array("zeta", zeta))
    r, c, _, _ = spike.arrays()
    groups = m.shape[-1]
    batch = np.broadcast_shapes(r.shape[:-1], c.shape[:-1])
    r = np.broadcast_to(r, (*batch, groups)).reshape(-1, groups)
    c = np.broadcast_to(c, (*batch, groups)).reshape(-1, groups)
    function = _core.Function(activation.core)
    flat = np.ascontiguousarray(at).ravel()
    mu0 = np.empty((r.shape[0], groups, flat.size))
    mu1 = np.empty_like(mu0)
    for s in range(r.shape[0]):
        for k in range(groups):
            sd = float(np.sqrt(c[s, k]))
            e0, e1, _ = function(r[s, k] * flat, sd)
            mu0[s, k] = e0
            mu1[s, k] = e1 / sd
    mu0, mu1 = (mu.reshape(*batch, groups, -1) for mu in (mu0, mu1))
    value = np.einsum("...k,...kn->...n", m, mu0)
    value = value + np.einsum("...k,...kn->...n", theta, flat * mu1)
    if beside.any():
        value = value + np.einsum("...k,...kn->...n", psi, beside.ravel() * mu1)
    return value.reshape(m.shape[:-1] + at.shape)[()]
