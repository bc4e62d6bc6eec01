"""Reference errors: the best linear function, the best function of one direction, Bayes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikedrf import _core
from spikedrf.activations import Activation, FunctionLike, resolve, step_moments
from spikedrf.inputs.labels import least_rates
from spikedrf.inputs.population import Inputs, beyond_white, population
from spikedrf.multi_index import MultiIndex, resolve_target
from spikedrf.parameters import Floats, number, real_array


def best_linear_error(
    target: FunctionLike | MultiIndex, noise: float = 0.0, inputs: Inputs = None
) -> float:
    r"""Return the test error of the best affine function of the input.

    ``Var g(z) - (E z g(z))^2 + noise^2`` with ``z ~ N(0, 1)``: what remains of the target when its
    constant and its linear part are known exactly. With other inputs, or several directions,
    ``Var y - b' C^{-1} b + noise^2``, ``b`` and ``C`` the covariances of label and latents.

    Parameters
    ----------
    target : str, callable or MultiIndex
        Teacher function ``g``.
    noise : float
        Standard deviation of the label noise, >= 0.
    inputs : Covariance, Mixture or None
        As for `theory.solve`.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If the target is unknown or the noise is out of range.

    Notes
    -----
    Source: theory.md, section 2 (``t1``) and section 5.
    """
    sd = float(real_array("noise", noise, minimum=0.0))
    law = beyond_white(inputs, target, "sphere")
    if law is not None:
        return law.best_linear_error(sd)
    moments = step_moments(resolve(target, "target"), slope=False)
    left = moments.second - moments.h0**2 - moments.h1**2
    # A linear target leaves nothing but rounding.
    return (left if left > 1e-14 * moments.second else 0.0) + sd**2


def conditional_target(kappa: ArrayLike, target: FunctionLike, gamma: float) -> Any:
    r"""Return the mean of the target given the input along the spike.

    ``h(kappa) = E_z g(gamma kappa + sqrt(1 - gamma^2) z)``: of all functions of
    ``kappa = <v, x>`` the closest to the target, which `Solution.learned_function` approaches.

    Parameters
    ----------
    kappa : float or array_like
        Projection of the input on the spike direction.
    target : str or callable
        Teacher function ``g``.
    gamma : float
        Alignment of spike and target direction, in [-1, 1].

    Returns
    -------
    float or ndarray, shape of kappa

    Raises
    ------
    TypeError, ValueError
        If the target is unknown or an argument is out of range.

    Notes
    -----
    Source: theory.md, section 3.

    Examples
    --------
    >>> from spikedrf import theory
    >>> theory.conditional_target([0.0, 2.0], "hermite2", 0.5).round(3)  # 0.5^2 hermite2(kappa)
    array([-0.177,  0.53 ])
    """
    at = real_array("kappa", kappa)
    along = number("gamma", gamma, minimum=-1.0, maximum=1.0)
    g = _core.Function(resolve(target, "target").core)
    mean, _, _ = g(along * np.ascontiguousarray(at).ravel(), float(np.sqrt(1.0 - along**2)))
    return np.reshape(mean, at.shape)[()]


def bayes_error(
    target: FunctionLike | MultiIndex, noise: ArrayLike = 0.0, flip: ArrayLike = 0.0
) -> Any:
    r"""Return the error rate of the best classifier, which knows the target.

    Of labels ``y = sign(g(z) + noise N(0, 1))``, ``z ~ N(0, 1)``, a share ``flip`` of them turned
    around, ``sign g(z)`` gets as many right as can be::

        flip + (1 - 2 flip) E Phi(-|g(z)|/noise)

    The same for inputs with a covariance, since the target's directions have unit variance there.

    Parameters
    ----------
    target : str, callable or MultiIndex
        Teacher function ``g``. The mean over two directions is taken to about 1e-9, over three,
        which takes seconds, to 1e-7.
    noise : float or array_like
        Standard deviation of what is added before the sign is taken, >= 0.
    flip : float or array_like
        Share of labels that are turned around, in [0, 0.5]; broadcasts against ``noise``.

    Returns
    -------
    float or ndarray

    Raises
    ------
    TypeError, ValueError
        If the target is unknown or an argument is out of range.

    Notes
    -----
    Source: theory.md, section 11 (the labels).

    Examples
    --------
    >>> from spikedrf import theory
    >>> theory.bayes_error("identity", [0.0, 1.0]).round(12)
    array([0.  , 0.25])
    """
    g = resolve_target(target)
    sd = real_array("noise", noise, minimum=0.0)
    chance = real_array("flip", flip, minimum=0.0, maximum=0.5)
    if isinstance(g, MultiIndex):
        sd, chance = np.broadcast_arrays(sd, chance)
        least, _ = least_rates(population(None, g), sd.ravel(), chance.ravel())
        return least.reshape(sd.shape)[()]
    wrong = np.zeros(sd.shape)
    noisy = sd > 0
    if noisy.any():
        wrong[noisy] = _wrong_side(g, sd[noisy])
    return (chance + (1.0 - 2.0 * chance) * wrong)[()]


def sign_changes(g: Activation) -> tuple[bool, list[float]]:
    """Return whether g >= 0 far to the left, and where that changes."""
    from scipy.optimize import brentq

    def value(x: float) -> float:
        return float(g(np.array([x]))[0])

    x = np.linspace(-11.0, 11.0, 2201) + 1e-4  # off the round numbers, where functions are zero
    up = g(x) >= 0.0
    changes = [brentq(value, x[i], x[i + 1]) for i in np.flatnonzero(up[1:] != up[:-1])]
    return bool(up[0]), changes


def _wrong_side(g: Activation, sd: Floats) -> Floats:
    """``E Phi(-|g(z)|/sd)``; the integrand has kinks where g has, and where it changes its sign."""
    from scipy.integrate import quad_vec
    from scipy.special import ndtr

    def value(x: float) -> float:
        return float(g(np.array([x]))[0])

    _, kinks = sign_changes(g)
    kinks += [0.0] if g.code is not None else list(g.structure[0])

    def integrand(x: float) -> Any:
        return np.exp(-0.5 * x * x) * ndtr(-abs(value(x)) / sd)

    inside = sorted(k for k in kinks if -11.0 < k < 11.0)
    total, _ = quad_vec(
        integrand, -11.0, 11.0, points=inside, epsabs=1e-14, epsrel=1e-11, norm="max", limit=4000
    )
    return np.asarray(total / np.sqrt(2.0 * np.pi))
