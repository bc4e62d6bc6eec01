"""The gradient step and the spike it leaves: the parameters that everything else shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import FunctionLike, resolve, step_moments
from spikedrf.parameters import check_proportions, group_count, real_array

Floats = NDArray[np.float64]


def _plain(array: Floats) -> Any:
    """Scalars in, scalars out."""
    return float(array) if array.ndim == 0 else array


def _proportions(pi: ArrayLike | None, groups: int) -> Floats:
    if pi is None:
        return np.full(groups, 1.0 / groups)
    array = real_array("pi", pi, minimum=0.0)
    if (array.shape[-1] if array.ndim else 1) != groups:
        raise ValueError(
            f"pi has {array.shape[-1] if array.ndim else 1} proportions for {groups} readout groups"
        )
    array = array.reshape(1) if array.ndim == 0 else array
    check_proportions(array)
    return array


@dataclass(frozen=True, eq=False)
class Spike:
    r"""The spiked random features model, given directly.

    A neuron of group `k` has weights ``w = r_k v + sqrt(c_k) w~`` with a unit vector ``v`` and
    ``w~`` uniform on the unit sphere; the target direction has ``<v, theta> = gamma``.

    Parameters
    ----------
    r : float or array_like, shape (..., K)
        Spike strength of each readout group. A scalar is K = 1.
    c : float or array_like, shape (..., K)
        Bulk variance of each group, > 0. No step is ``r = 0, c = 1``.
    gamma : float or array_like
        Alignment of spike and target direction, in [-1, 1].
    pi : array_like, shape (..., K), optional
        Proportions of the groups, summing to one; equal by default.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not a number, is out of range, or the group counts disagree.

    Notes
    -----
    Source: Cui et al., ICML 2024, arXiv 2402.04980; several groups: Dandi et al.,
    arXiv 2410.18938; theory.md, sections 1 to 3.

    Examples
    --------
    >>> from spikedrf import Spike
    >>> Spike(r=1.2, c=1.1, gamma=0.8)
    Spike(r=1.2, c=1.1, gamma=0.8)
    """

    r: Any
    c: Any
    gamma: Any
    pi: Any = None

    def __post_init__(self) -> None:
        r = real_array("r", self.r)
        c = real_array("c", self.c, minimum=0.0, exclusive=True)
        gamma = real_array("gamma", self.gamma, minimum=-1.0, maximum=1.0)
        given = {"r": r, "c": c}
        if self.pi is not None:
            given["pi"] = real_array("pi", self.pi, minimum=0.0)
        groups = group_count(**given)
        object.__setattr__(self, "r", _plain(r))
        object.__setattr__(self, "c", _plain(c))
        object.__setattr__(self, "gamma", _plain(gamma))
        if self.pi is not None:
            object.__setattr__(self, "pi", _proportions(self.pi, groups))

    @property
    def groups(self) -> int:
        """Number K of readout groups."""
        given = {"r": np.asarray(self.r), "c": np.asarray(self.c)}
        if self.pi is not None:
            given["pi"] = self.pi
        return group_count(**given)

    def arrays(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Return ``(r, c, gamma, pi)``, all but ``gamma`` with the groups as last axis."""
        groups = self.groups

        def with_axis(value: Any) -> Floats:
            array = np.asarray(value, dtype=np.float64)
            array = array.reshape(1) if array.ndim == 0 else array
            return np.broadcast_to(array, (*array.shape[:-1], groups))

        gamma = np.asarray(self.gamma, dtype=np.float64)
        return with_axis(self.r), with_axis(self.c), gamma, _proportions(self.pi, groups)

    def __repr__(self) -> str:
        parts = [f"{name}={_show(getattr(self, name))}" for name in ("r", "c", "gamma")]
        if self.pi is not None:
            parts.append(f"pi={_show(self.pi)}")
        return f"Spike({', '.join(parts)})"


@dataclass(frozen=True, eq=False)
class GradientStep:
    r"""One full-batch gradient step on the first layer, from ``n0 = alpha0 d`` samples.

    Parameters
    ----------
    eta : float or array_like
        Step size (``eta`` tilde in the paper). 0 is no step.
    alpha0 : float or array_like
        Samples of the step over input dimension, ``n0/d``, >= 0; ``inf`` is the large-batch
        limit, 0 no step.
    u : float or array_like, shape (..., K)
        Values of the initial readout ("vocabulary"); a scalar is K = 1.
    pi : array_like, shape (..., K), optional
        Their proportions, summing to one; equal by default.

    Raises
    ------
    TypeError, ValueError
        If a parameter is not a number, is out of range, or the group counts disagree.

    Notes
    -----
    Source: theory.md, sections 1 and 2.

    Examples
    --------
    >>> from spikedrf import GradientStep
    >>> GradientStep(eta=3.0, alpha0=20.0).spike(activation="tanh", target="sin")
    Spike(r=1.13406, c=1.01897, gamma=0.971854)
    """

    eta: Any
    alpha0: Any
    u: Any = 1.0
    pi: Any = None

    def __post_init__(self) -> None:
        eta = real_array("eta", self.eta)
        alpha0 = real_array("alpha0", self.alpha0, minimum=0.0, infinite=True)
        u = real_array("u", self.u)
        given = {"u": u}
        if self.pi is not None:
            given["pi"] = real_array("pi", self.pi, minimum=0.0)
        groups = group_count(**given)
        object.__setattr__(self, "eta", _plain(eta))
        object.__setattr__(self, "alpha0", _plain(alpha0))
        object.__setattr__(self, "u", _plain(u))
        if self.pi is not None:
            object.__setattr__(self, "pi", _proportions(self.pi, groups))

    def spike(
        self,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: ArrayLike = 0.0,
    ) -> Spike:
        r"""Return the spiked model that the step leaves behind.

        With the Gaussian moments ``h0, h1, h2`` of the activation, ``chk`` the variance of its
        derivative, ``t1 = E z g(z)``, ``ubar = sum_k pi_k u_k``, ``s0 = E g - ubar h0`` and
        ``s2 = E (g - ubar h0)^2 + noise^2``::

            r_k   = eta u_k h1 sqrt(t1^2 + s2/alpha0)
            c_k   = (1 + eta u_k s0 h2)^2 + (eta u_k)^2 s2 chk / alpha0
            gamma = t1 / sqrt(t1^2 + s2/alpha0)

        Parameters
        ----------
        activation : str, callable or (callable, derivative)
            The network's activation. Of a bare callable the derivative is found on quadrature
            panels that end at 0.
        target : str or callable
            The teacher's function ``g``.
        noise : float or array_like
            Standard deviation of the label noise, >= 0.

        Returns
        -------
        Spike
            Scalars if everything is scalar, otherwise arrays: batch shape of ``eta``, ``alpha0``
            and ``noise``, then the groups.

        Raises
        ------
        ValueError
            If the activation has no usable gradient (``sign``) or an argument is out of range.

        Notes
        -----
        Source: theory.md, section 2.
        """
        sigma = resolve(activation, "activation")
        g = resolve(target, "target")
        noise = real_array("noise", noise, minimum=0.0)
        of_sigma = step_moments(sigma, slope=True)
        of_g = step_moments(g, slope=False)

        scalar = np.ndim(self.u) == 0 and self.pi is None
        u = np.atleast_1d(np.asarray(self.u, dtype=np.float64))
        pi = _proportions(self.pi, group_count(u=u) if self.pi is None else self.pi.shape[-1])
        eta = np.asarray(self.eta, dtype=np.float64)
        alpha0 = np.asarray(self.alpha0, dtype=np.float64)

        h0 = _clean(of_sigma.h0, of_sigma.second)
        h1 = _clean(of_sigma.h1, of_sigma.second)
        h2 = _clean(of_sigma.h2, of_sigma.second)
        t1 = _clean(of_g.h1, of_g.second)
        ubar = np.sum(pi * u, axis=-1)
        s0 = of_g.h0 - ubar * h0
        s2 = of_g.second - 2.0 * ubar * h0 * of_g.h0 + (ubar * h0) ** 2 + noise**2
        stepped = (alpha0 > 0) & (eta != 0)
        per_batch = s2 / np.where(alpha0 > 0, alpha0, np.inf)
        strength = np.sqrt(t1**2 + per_batch)
        with np.errstate(invalid="ignore", divide="ignore"):
            gamma = np.where(stepped & (strength > 0), t1 / strength, 0.0)
        move = np.where(stepped, eta, 0.0)[..., None] * u
        r = move * h1 * strength[..., None]
        c = (1.0 + move * s0[..., None] * h2) ** 2
        c = c + move**2 * per_batch[..., None] * of_sigma.slope_variance
        gamma = np.clip(gamma, -1.0, 1.0)
        if not (c > 0).all():
            raise ValueError(
                "the bulk variance c vanishes: 1 + eta u s0 h2 = 0 for the given eta, u and "
                "functions; change eta slightly"
            )
        if scalar and r.shape == (1,):
            return Spike(r=r[0], c=c[0], gamma=gamma, pi=None)
        return Spike(r=r, c=c, gamma=gamma, pi=None if self.pi is None else pi)

    def __repr__(self) -> str:
        parts = [f"{name}={_show(getattr(self, name))}" for name in ("eta", "alpha0", "u")]
        if self.pi is not None:
            parts.append(f"pi={_show(self.pi)}")
        return f"GradientStep({', '.join(parts)})"


def _clean(value: float, second: float) -> float:
    """Zero out what symmetry makes zero but rounding does not."""
    return 0.0 if abs(value) <= 1e-14 * second**0.5 else value


def _show(value: Any) -> str:
    if np.ndim(value) == 0:
        return f"{float(value):.6g}"
    array = np.asarray(value)
    if array.size > 6:
        return f"<array of shape {array.shape}>"
    return np.array2string(array, precision=6, separator=", ")
