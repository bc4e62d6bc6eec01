"""What a network puts out on average, given the latents."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import _core
from spikedrf.activations import Activation
from spikedrf.inputs.population import gaussian_grid
from spikedrf.parameters import real_array
from spikedrf.theory.latents.solve import Solved

Floats = NDArray[np.float64]

# Points an axis for averages over one or two directions beyond the latents.
_POINTS = (171, 61)


def learned_function(solved: Solved, sigma: Activation, s: ArrayLike) -> Floats:
    r"""Return the output averaged over everything but the latents.

    With ``kappa`` and the other latents of the frame, of which a part beyond the given ones is
    averaged over::

        sum_k m_k mu0_k(kappa) + mu1_k(kappa) sum_a P_ka s_a + P_k rho_k(kappa)

    Parameters
    ----------
    solved : Solved
    sigma : Activation
    s : array_like, shape (..., L)
        The target's directions, then those of the means; with one latent the last axis is left out.

    Returns
    -------
    ndarray, shape S + (...)

    Raises
    ------
    TypeError, ValueError
        If the latents are not real, finite and as many as there are.
    """
    law = solved.frames[0].population
    at = real_array("s", s)
    if law.latents == 1:
        at = at[..., None]
    elif at.ndim == 0 or at.shape[-1] != law.latents:
        raise ValueError(
            f"s must have the {law.latents} latents as its last axis, got shape {at.shape}"
        )
    flat = at.reshape(-1, law.latents)
    function = _core.Function(sigma.core)
    out = np.empty((solved.which.size, len(flat)))
    for index, frame in enumerate(solved.frames):
        points = np.flatnonzero(solved.which == index)
        if not points.size:
            continue
        # What of the spikes lies beyond the latents: unit vectors have the length one in the frame.
        variance, beyond = np.linalg.eigh(np.eye(frame.size) - frame.turn @ frame.turn.T)
        beyond = (beyond * np.sqrt(np.maximum(variance, 0.0)))[:, variance > 1e-12]
        z, average = np.zeros((1, 0)), np.ones(1)
        if beyond.shape[1]:
            z, average = gaussian_grid(beyond.shape[1], _POINTS[beyond.shape[1] - 1])
        x = (flat @ frame.turn.T)[:, None, :] + z @ beyond.T
        x = x.reshape(-1, frame.size)
        kappa = x[:, : frame.spikes].T
        total = np.zeros((points.size, len(x)))
        columns = solved.values["columns"][points]
        for k in range(frame.layer.pi.size):
            sd = float(np.sqrt(frame.layer.c[k]))
            e = function(np.ascontiguousarray(frame.r[k] @ kappa), sd, 2, True)
            along = columns[:, k, : frame.size] @ x.T
            total += solved.values["m"][points, k, None] * e[0] + along * (e[1] / sd)
            length = (
                solved.values["lengths"][points, k] + columns[:, k, : frame.size] @ frame.tilt[k]
            )
            total += length[:, None] * (0.5 * e[3])
        out[points] = total.reshape(points.size, len(flat), -1) @ average
    return np.asarray(out.reshape(solved.shape + at.shape[:-1]))
