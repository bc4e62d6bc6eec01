"""Steps that are small: what they teach the features without a spike of order one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import factorial
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermevander
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import Activation, FunctionLike, resolve
from spikedrf.labelled import description
from spikedrf.parameters import number, real_array
from spikedrf.step import GradientStep, StepModel
from spikedrf.theory.solution import Solution
from spikedrf.theory.solve import solve

Floats = NDArray[np.float64]

# A Hermite coefficient of the activation below this, relative, is none.
_NONE = 1e-10
_MOST = 12


@dataclass(frozen=True, eq=False)
class SmallStep:
    r"""A gradient step of a size between none and that of `GradientStep`.

    In the units of `GradientStep` its size vanishes as ``n^(s - 1/2)``. With ``(l - 1)/(2 l) < s <
    l/(2 l + 2)``, ``l`` the *order*, the features learn the powers ``He_k(<v, x>)``, ``k <= l``,
    of the step's direction for which the activation has a Hermite coefficient ``h_k``, and nothing
    else: what is left of the target is its linear part across ``v``, for plain random features, and
    noise. ::

        linear part  t1 sqrt(1 - gamma^2)
        variance     E y^2 - sum_{k <= l, h_k != 0} (t_k gamma^k)^2/k!,      t_k = E He_k(z) g(z)

    Parameters
    ----------
    order : int
        ``l``, at least 1.
    alpha0 : float, optional
        Samples of the step over dimension, from which the alignment follows as for a
        `GradientStep`; or give
    gamma : float, optional
        the alignment of ``v`` with the target direction, in [-1, 1].

    Raises
    ------
    TypeError, ValueError
        If a parameter is of the wrong kind or out of range, or if not exactly one of ``alpha0`` and
        ``gamma`` is given.

    Notes
    -----
    Source: Moniri, Lee, Hassani and Dobriban, *A theory of non-linear feature learning with one
    gradient step in two-layer neural networks*, arXiv 2310.07891.

    Examples
    --------
    >>> from spikedrf import SmallStep
    >>> for order in (1, 2, 3):
    ...     step = SmallStep(order=order, alpha0=10.0)
    ...     print(round(step.solve(3.0, lam=0.1, target="sin", noise=0.1).test_error, 5))
    0.10821
    0.10821
    0.05276
    """

    order: int
    alpha0: Any = None
    gamma: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.order, bool | np.bool_) or not isinstance(self.order, int | np.integer):
            raise TypeError(f"order must be an integer, got {self.order!r}")
        if not 1 <= self.order <= _MOST:
            raise ValueError(f"order must be 1 to {_MOST}, got {self.order}")
        if (self.alpha0 is None) == (self.gamma is None):
            raise ValueError(
                f"give alpha0 or gamma, one of them; got alpha0={self.alpha0!r}, "
                f"gamma={self.gamma!r}"
            )
        if self.gamma is not None:
            number("gamma", self.gamma, minimum=-1.0, maximum=1.0)
        else:
            number("alpha0", self.alpha0, minimum=0.0, exclusive=True, infinite=True)

    def left_over(
        self, activation: FunctionLike = "tanh", target: FunctionLike = "tanh", noise: float = 0.0
    ) -> tuple[float, float]:
        """Return the linear part that is left for plain features, and the variance of all that is.

        Parameters
        ----------
        activation, target, noise
            As for `theory.solve`.

        Returns
        -------
        linear, variance : float
            Without label noise; the variance includes the square of the linear part.

        Raises
        ------
        TypeError, ValueError
            If a function or the noise is out of range.
        """
        sigma, g = resolve(activation, "activation"), resolve(target, "target")
        sd = number("noise", noise, minimum=0.0)
        if self.gamma is not None:
            gamma = float(self.gamma)
        else:
            gamma = float(StepModel(GradientStep(1.0, self.alpha0), sigma, g, sd).gamma)
        h, power = _hermite(sigma, self.order)
        t, second = _hermite(g, max(self.order, 1))
        size = np.sqrt([factorial(k) * power for k in range(self.order + 1)])
        learned = np.abs(h) > _NONE * size
        parts = [(t[k] * gamma**k) ** 2 / factorial(k) for k in range(self.order + 1)]
        variance = second - float(np.sum(np.array(parts)[learned]))
        return float(t[1] * np.sqrt(max(0.0, 1.0 - gamma**2))), max(variance, 0.0)

    def solve(
        self,
        alpha: ArrayLike,
        *,
        lam: ArrayLike,
        beta: ArrayLike = 1.0,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: float = 0.0,
        rtol: float = 1e-8,
        workers: int | None = None,
    ) -> Solution:
        """Solve for ridge regression on fresh samples after the step.

        Parameters
        ----------
        alpha, lam, beta, activation, target, noise, rtol, workers
            As for `theory.solve`; the noise is a number.

        Returns
        -------
        Solution
            Of plain random features on what is left of the target: its order parameters are theirs.

        Raises
        ------
        TypeError, ValueError
            As `theory.solve`.
        """
        sigma, g = resolve(activation, "activation"), resolve(target, "target")
        sd = number("noise", real_array("noise", noise), minimum=0.0)
        linear, variance = self.left_over(sigma, g, sd)
        rest = float(np.sqrt(max(variance - linear**2, 0.0) + sd**2))
        solution = solve(
            alpha, lam=lam, beta=beta, activation=sigma, target=lambda s: linear * s, noise=rest,
            rtol=rtol, workers=workers,
        )  # fmt: skip
        return replace(
            solution,
            excess_error=solution.test_error - sd**2,
            parameters={**solution.parameters, "noise": np.asarray(sd)},
            about=description(sigma, g, None),
        )


def _hermite(f: Activation, order: int) -> tuple[Floats, float]:
    """``E He_k(z) f(z)`` for k up to an order, and ``E f(z)^2``."""
    z, w = f.gaussian_rule(4, 24)
    value = f(z)
    return (w * value) @ hermevander(z, order), float(w @ value**2)
