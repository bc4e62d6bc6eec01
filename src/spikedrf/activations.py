"""Activations and targets: names and callables, and what the core needs to know of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core

Floats = NDArray[np.float64]
ScalarFunction = Callable[[Floats], Any]
FunctionLike = str | ScalarFunction | tuple[ScalarFunction, ScalarFunction]

_NAMED = {entry["name"]: (code, entry) for code, entry in enumerate(_core.activations())}

#: Names accepted wherever an activation or a target is asked for.
NAMES: tuple[str, ...] = tuple(_NAMED)

# Integrals over z ~ N(0, 1) end here; the Gaussian beyond is below 1e-17 of the total.
_CUTOFF = 8.7


@dataclass(frozen=True)
class Activation:
    """A scalar function, named (with a code in the compiled core) or a user's.

    Attributes
    ----------
    name : str
        Its name, or the name of the callable.
    code : int or None
        The core's code of a named function.
    function, slope : callable or None
        The user's function and derivative.
    linear : bool
        Whether the function is affine by definition.
    saturates : tuple of bool
        Whether the derivative dies out towards -inf and +inf (assumed of unknown functions).
    differentiable : bool
        False for ``sign``, whose derivative vanishes where it exists.
    """

    name: str
    code: int | None = None
    function: ScalarFunction | None = None
    slope: ScalarFunction | None = None
    argument: str = "activation"
    linear: bool = False
    saturates: tuple[bool, bool] = (True, True)
    differentiable: bool = True

    def __call__(self, x: Floats) -> Floats:
        """Evaluate elementwise."""
        if self.code is not None:
            flat = np.ascontiguousarray(x, dtype=np.float64).ravel()
            return _core.evaluate(self.code, flat).reshape(np.shape(x))
        assert self.function is not None
        return _checked(self.function, x, self.argument, self.name)

    def derivative(self, x: Floats) -> Floats | None:
        """Evaluate the derivative elementwise, or return None if only the function is known."""
        if self.code is not None:
            flat = np.ascontiguousarray(x, dtype=np.float64).ravel()
            return _core.evaluate(self.code, flat, derivative=True).reshape(np.shape(x))
        if self.slope is None:
            return None
        return _checked(self.slope, x, f"the derivative of {self.argument}", self.name)

    @property
    def core(self) -> int | _core.Evaluator:
        """What the compiled solver takes."""
        return self.code if self.code is not None else self.moments

    def moments(self, mean: Floats, sd: float, effort: int) -> tuple[Floats, Floats, Floats]:
        """Expand f(mean + sd z), z ~ N(0, 1), in Hermite polynomials of z.

        Gauss-Legendre panels in z that double in width away from the point where the argument
        vanishes, the one place where functions commonly have a kink or a jump. More nodes with
        every ``effort``: a function with structure elsewhere shows its integration error as a
        difference between the solver's levels.

        Returns
        -------
        e0, e1, e2 : ndarray
            ``E f``, ``E z f`` and ``E f^2 - e0^2 - e1^2``, one entry for each mean.
        """
        if sd == 0.0:
            zero = np.zeros_like(mean)
            return self(mean), zero, zero
        degree, split = ((16, 1), (20, 1), (24, 1), (32, 1))[min(effort, 3)]
        split <<= max(0, effort - 3)
        node, weight = np.polynomial.legendre.leggauss(degree)
        offset = _panel_edges(min(1.0 / sd, 1.5), 1.5, 2.0 * _CUTOFF, split)
        offset = np.concatenate([-offset[:0:-1], offset])

        e0, e1, e2 = np.empty((3, mean.size))
        chunk = max(1, 2_000_000 // (offset.size * degree))
        for start in range(0, mean.size, chunk):
            m = mean[start : start + chunk, None, None]
            centre = np.clip(-m / sd, -_CUTOFF, _CUTOFF)
            # Panels outside the cutoff collapse to zero width and weight.
            edge = np.clip(centre + offset[None, :, None], -_CUTOFF, _CUTOFF)
            half = 0.5 * np.diff(edge, axis=1)
            z = edge[:, :-1] + half * (1.0 + node)
            w = half * weight * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
            f = self(m + sd * z)
            axes = (1, 2)
            anchor = f[:, f.shape[1] // 2, :1, None]
            a0 = np.sum(w * (f - anchor), axis=axes)
            a1 = np.sum(w * z * (f - anchor), axis=axes)
            rest = f - anchor - a0[:, None, None] - a1[:, None, None] * z
            part = slice(start, start + m.shape[0])
            e0[part] = a0 + anchor[:, 0, 0]
            e1[part] = a1
            e2[part] = np.sum(w * rest * rest, axis=axes)
        return e0, e1, e2


def resolve(function: FunctionLike | Activation, argument: str = "activation") -> Activation:
    """Turn a name, a callable or a pair (callable, derivative) into an `Activation`.

    Raises
    ------
    ValueError
        If the name is unknown; the message lists the known ones.
    TypeError
        If it is neither a name nor callable.
    """
    if isinstance(function, Activation):
        return function
    if isinstance(function, str):
        if function not in _NAMED:
            raise ValueError(
                f"{argument} must be a callable or one of {', '.join(NAMES)}; got {function!r}"
            )
        code, entry = _NAMED[function]
        return Activation(
            function,
            code=code,
            argument=argument,
            linear=entry["linear"],
            saturates=entry["saturates"],
            differentiable=entry["differentiable"],
        )
    slope = None
    value: Any = function
    if isinstance(function, tuple) and len(function) == 2:
        value, slope = function
        if not callable(slope):
            raise TypeError(f"the derivative of {argument} must be callable, got {slope!r}")
    if not callable(value):
        raise TypeError(
            f"{argument} must be a name, a callable or a pair (callable, derivative), "
            f"got {function!r}"
        )
    name = getattr(value, "__name__", type(value).__name__)
    return Activation(name, function=value, slope=slope, argument=argument)


@dataclass(frozen=True)
class StepMoments:
    """The constants of theory.md, section 2, that belong to one function.

    ``h0 = E f(z)``, ``h1 = E z f(z)``, ``h2 = E (z^2 - 1) f(z)``, ``second = E f(z)^2`` and
    ``slope_variance = Var f'(z)`` (NaN where no derivative is asked for).
    """

    h0: float
    h1: float
    h2: float
    second: float
    slope_variance: float


def step_moments(function: Activation, *, slope: bool) -> StepMoments:
    """Gaussian constants of a function, accurate to rounding where it is smooth or kinked at 0.

    Without a derivative at hand ``E f'^2`` is taken from the derivative of the interpolating
    polynomial on each quadrature panel (panels end at 0), and accepted only if a finer rule
    agrees and ``E f' = E z f`` (Gaussian integration by parts) holds.

    Raises
    ------
    ValueError
        If the slope is asked for and the function is ``sign``, or its derivative cannot be
        found reliably.
    """
    if function.code is not None:
        return _named_step_moments(function.name, slope)
    return _compute_step_moments(function, slope)


@lru_cache(maxsize=64)
def _named_step_moments(name: str, slope: bool) -> StepMoments:
    return _compute_step_moments(resolve(name), slope)


def _compute_step_moments(function: Activation, slope: bool) -> StepMoments:
    if slope and not function.differentiable:
        raise ValueError(
            f"activation={function.name!r} cannot take a gradient step: its derivative vanishes "
            f"wherever it exists; use a differentiable activation, or give a Spike directly"
        )
    edges = _panel_edges(0.5, 1.0, 10.5, 1)
    edges = np.concatenate([-edges[:0:-1], edges])

    def integrate(degree: int) -> StepMoments:
        node, weight = np.polynomial.legendre.leggauss(degree)
        half = 0.5 * np.diff(edges)[:, None]
        z = edges[:-1, None] + half * (1.0 + node)
        w = half * weight * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
        f = function(z)
        h1 = float(np.sum(w * z * f))
        variance = float("nan")
        if slope:
            df = function.derivative(z)
            if df is None:
                df = (f @ _differentiation(node).T) / half
                mean_slope = float(np.sum(w * df))
                scale = float(np.sum(w * df * df)) ** 0.5
                if not abs(mean_slope - h1) <= 1e-6 * max(scale, 1e-300):
                    raise ValueError(
                        f"activation={function.name!r} has a jump or a kink away from 0 (E f' = "
                        f"{mean_slope:.6g} but E z f = {h1:.6g}): pass (function, derivative)"
                    )
            variance = float(np.sum(w * (df - h1) ** 2))
        return StepMoments(
            h0=float(np.sum(w * f)),
            h1=h1,
            h2=float(np.sum(w * (z * z - 1.0) * f)),
            second=float(np.sum(w * f * f)),
            slope_variance=variance,
        )

    result = integrate(40)
    if slope and function.code is None:
        coarse = integrate(30)
        if abs(result.slope_variance - coarse.slope_variance) > 1e-8 * result.second:
            raise ValueError(
                f"Var f' of activation={function.name!r} does not converge on panels that end at "
                f"0 ({coarse.slope_variance!r}, then {result.slope_variance!r}): it has a kink "
                f"elsewhere; pass (function, derivative)"
            )
    return result


def _panel_edges(first: float, widest: float, end: float, split: int) -> Floats:
    """Edges 0, s, 2s, 4s, ... with widths up to ``widest``, each panel cut in ``split``."""
    edges = [0.0]
    width = min(first, widest)
    while edges[-1] < end:
        edges.append(min(edges[-1] + width, end))
        width = min(edges[-1], widest)
    fine = [
        np.linspace(a, b, split, endpoint=False) for a, b in zip(edges, edges[1:], strict=False)
    ]
    return np.append(np.concatenate(fine), end)


def _differentiation(node: Floats) -> Floats:
    """Matrix taking values at the nodes to the derivative of their interpolating polynomial."""
    difference = node[:, None] - node[None, :]
    np.fill_diagonal(difference, 1.0)
    log_weight = -np.sum(np.log(np.abs(difference)), axis=1)
    sign = np.prod(np.sign(difference), axis=1)
    barycentric = sign * np.exp(log_weight - log_weight.max())
    matrix = barycentric[None, :] / barycentric[:, None] / difference
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return np.asarray(matrix)


def _checked(function: ScalarFunction, x: Floats, argument: str, name: str) -> Floats:
    value = np.asarray(function(x))
    if value.shape != np.shape(x):
        raise ValueError(
            f"{argument}={name!r} must be vectorised: for an input of shape {np.shape(x)} it "
            f"returned shape {value.shape}"
        )
    if value.dtype.kind not in "fiub":
        raise TypeError(f"{argument}={name!r} must return real numbers, got dtype {value.dtype}")
    value = value.astype(np.float64, copy=False)
    finite = np.isfinite(value)
    if not finite.all():
        at = float(np.asarray(x)[~finite].flat[0])
        raise ValueError(
            f"{argument}={name!r} must be finite on the real axis, got "
            f"{float(value[~finite].flat[0])!r} at x = {at:.6g}"
        )
    return value
