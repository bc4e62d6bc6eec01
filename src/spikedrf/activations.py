"""Activations and targets: names and callables, and what the core needs to know of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.callables import (
    Function,
    ScalarFunction,
    central_difference,
    name_of,
    require_derivative,
    require_elementwise,
)
from spikedrf.structure import Structure, find_structure

Floats = NDArray[np.float64]
FunctionLike = str | ScalarFunction | tuple[ScalarFunction, ScalarFunction] | Function

_NAMED = {entry["name"]: (code, entry) for code, entry in enumerate(_core.activations())}

#: Names accepted wherever an activation or a target is asked for. ``erf`` is ``erf(z / sqrt(2))``,
#: the error function itself is ``erf_plain``; `FORMULAS` has them all.
NAMES: tuple[str, ...] = tuple(_NAMED)

#: The formula of each name, a function of ``z`` in Python's notation.
FORMULAS: dict[str, str] = {name: entry["formula"] for name, (_, entry) in _NAMED.items()}

# Integrals over z ~ N(0, 1) end here: the Gaussian is e^-60.
_CUTOFF = 11.0

# No refinement asks a user's function for more values than this at once. Of one that is rough
# everywhere no rule asks for more than a few, on fewer and wider panels: its answer will be flagged
# anyway, after seconds rather than after minutes.
_MOST_VALUES = 20_000_000
_MOST_IN_VAIN = 300_000
_LEAST_PANELS = 64
_NODES_IN_VAIN = 1024

# So many expansions of a user's function are remembered: the parts of a batch ask for the same.
_REMEMBERED = 16

# Where the structure of a user's function is looked for; beyond, it is taken to be smooth. A target
# is a function of N(0, 1).
_REACH = {"activation": 64.0, "target": 16.0}


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
    argument : str
        Which argument it was: "activation" or "target".
    breaks : tuple of float
        Kinks and jumps that the user knows of.
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
    breaks: tuple[float, ...] = ()
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

    @property
    def fingerprint(self) -> str:
        """What tells it from others: the name, and of a user's function some of its values."""
        if self.code is not None:
            return self.name
        import hashlib

        x = np.linspace(-8.0, 8.0, 257)
        digest = hashlib.sha256()
        digest.update(np.ascontiguousarray(self(x)).tobytes())
        if self.slope is not None:
            digest.update(np.ascontiguousarray(self.derivative(x)).tobytes())
        return f"{self.name} ({digest.hexdigest()[:16]})"

    def derivative(self, x: Floats) -> Floats:
        """Evaluate the derivative elementwise: of a bare callable a central difference."""
        if self.code is not None:
            flat = np.ascontiguousarray(x, dtype=np.float64).ravel()
            return _core.evaluate(self.code, flat, derivative=True).reshape(np.shape(x))
        if self.slope is None:
            return central_difference(self, x)
        return _checked(self.slope, x, f"the derivative of {self.argument}", self.name)

    @cached_property
    def parity(self) -> int:
        """1 of an even function, -1 of an odd one, else 0; of callables 0, whatever they are."""
        if self.code is None:
            return 0
        x = np.linspace(0.0, 8.0, 129)
        value, mirrored = self(x), self(-x)
        return next((sign for sign in (1, -1) if np.array_equal(mirrored, sign * value)), 0)

    @property
    def core(self) -> int | _core.Evaluator:
        """What the compiled solver takes."""
        if self.code is not None:
            return self.code
        return self.moments, self.structure.breaks, self.structure.grain

    @cached_property
    def structure(self) -> Structure:
        """Where panels are to end, and how wide they may be, for a user's function."""
        return find_structure(self, _REACH[self.argument], self.breaks)

    def most_nodes(self, most: int) -> int:
        """Return how many nodes a rule over kappa may have of which this function is averaged."""
        in_vain = self.code is None and not self.structure.resolved
        return min(most, _NODES_IN_VAIN) if in_vain else most

    def gaussian_rule(self, split: int, degree: int, mean: float = 0.0) -> tuple[Floats, Floats]:
        """Nodes and weights for averages over z ~ N(0, 1) of what f(mean + z) enters smoothly.

        Gauss-Legendre panels of width 1/2 or less that end at the kinks and jumps of f, cut into
        ``split`` pieces each.
        """
        edges = self._gaussian_edges(split, 0) if mean == 0.0 else self._moved_edges(split, mean)
        z, w = _panel_rule(edges, degree)
        matters = w * (1.0 + z * z) > 1e-20
        return z[matters], w[matters]

    def _moved_edges(self, split: int, mean: float) -> Floats:
        if self.code is None:
            return self._edges(np.array([mean]), 1.0, split, 0)
        kink = np.clip(-mean, -_CUTOFF, _CUTOFF)
        return np.sort(np.append(self._gaussian_edges(split, 0), kink))[None, :]

    def _gaussian_edges(self, split: int, shift: int) -> Floats:
        if self.code is None:
            return self._edges(np.zeros(1), 1.0, split, shift)
        # Named functions have no kink but at 0, where a panel ends.
        return np.linspace(-_CUTOFF, _CUTOFF, 44 * split + 1)[None, :]

    def _edges(
        self, mean: Floats, sd: float, split: int, shift: int, most: int | None = None
    ) -> Floats:
        """Panel edges in z for f(mean + sd z), one row for each mean, or one for all of them.

        ``shift`` more panels of equal width: what hides at the ends of the others is inside these.
        Not many more than ``most`` panels, if there is such a limit.
        """
        breaks, grain, _ = self.structure
        count = int(np.ceil(2.0 * _CUTOFF / min(1.5, 2.0 * grain / sd)))
        count = max(count, min(count * split, 4096))
        if most is not None:
            count = min(count, most)
            breaks = breaks if len(breaks) <= most else ()
        count += shift
        uniform = np.linspace(-_CUTOFF, _CUTOFF, count + 1)
        own = (np.asarray(breaks)[None, :] - mean[:, None]) / sd
        own = own[:, np.any(np.abs(own) < _CUTOFF, axis=0)]
        if not own.size:
            return uniform[None, :]
        edges = [np.broadcast_to(uniform, (mean.size, uniform.size)), own]
        return np.sort(np.clip(np.concatenate(edges, axis=1), -_CUTOFF, _CUTOFF), axis=1)

    def moments(
        self, mean: Floats, sd: float, effort: int, slopes: bool = False
    ) -> tuple[Floats, ...]:
        """Expand f(mean + sd z), z ~ N(0, 1), in Hermite polynomials of z.

        Gauss-Legendre panels in z that end at the function's kinks and jumps. More nodes with
        every ``effort``, on other panels than before: structure that was missed shows as a
        difference between the solver's levels.

        Returns
        -------
        e0, e1, e2 : ndarray
            ``E f``, ``E z f`` and ``E f^2 - e0^2 - e1^2``, one entry for each mean.
        f2, f3, p1, p2 : ndarray
            With ``slopes``: ``E (z^2 - 1) f``, ``E (z^3 - 3z) f`` and, of the square of
            ``rest = f - e0 - e1 z``, ``E z rest^2`` and ``E (z^2 - 1) rest^2``.
        """
        key = mean.tobytes(), sd, effort, slopes
        remembered = self._remembered.get(key)
        if remembered is None:
            remembered = self._expand(mean, sd, effort, slopes)
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = remembered
        return remembered

    @cached_property
    def _remembered(self) -> dict[tuple[bytes, float, int, bool], tuple[Floats, ...]]:
        return {}

    def _expand(self, mean: Floats, sd: float, effort: int, slopes: bool) -> tuple[Floats, ...]:
        out = np.empty((7 if slopes else 3, mean.size))
        if sd == 0.0:
            out[0], out[1:] = self(mean), 0.0
            return tuple(out)
        if mean.size > 1 and np.all(mean == mean[0]):  # as of a target that no spike sees
            one = self._expand(mean[:1], sd, effort, slopes)
            return tuple(np.full(mean.size, value[0]) for value in one)
        shift = effort % 2
        resolved = self.structure.resolved
        while True:
            degree, split = ((16, 1), (20, 1), (24, 1), (32, 1))[min(effort, 3)]
            split <<= max(0, effort - 3)
            most = None
            if not resolved:
                most = max(_LEAST_PANELS, _MOST_IN_VAIN // (mean.size * degree))
            panels = self._edges(mean[:1], sd, split, shift, most).size
            if effort < 2 or not resolved or mean.size * panels * degree <= _MOST_VALUES:
                break
            effort -= 2
        near = np.abs(mean) <= 1e-4 * sd
        centre = self._centre(sd, split, shift, degree) if near.any() else None
        chunk = max(1, 200_000 // (panels * degree))
        for start in range(0, mean.size, chunk):
            m = mean[start : start + chunk]
            z, w = _panel_rule(self._edges(m, sd, split, shift, most), degree)
            f = self(m[:, None] + sd * z)
            # Relative to a central value: saturated tails keep their relative accuracy.
            anchor = f[:, f.shape[1] // 2, None]
            a0 = np.sum(w * (f - anchor), axis=1)
            a1 = np.sum(w * z * (f - anchor), axis=1)
            rest = f - anchor - a0[:, None] - a1[:, None] * z
            part = slice(start, start + m.size)
            out[0, part] = a0 + anchor[:, 0]
            if centre == "odd":
                # Taylor's series in the mean: the readout of a mean that is small is not penalised
                # and would scale up what rounding leaves of the sum.
                t = m / sd
                third = np.sum(w * rest * (z**3 - 3.0 * z), axis=1)
                small = near[part]
                out[0, part][small] = (t * (a1 - t * t / 3.0 * third))[small]
            elif centre == "zero":
                out[0, part][m == 0.0] = 0.0
            elif centre == "lost":
                # The sum may be zero by accident, which would say that there is no mean at all.
                lost = (m == 0.0) & (out[0, part] == 0.0)
                out[0, part][lost] = np.finfo(np.float64).eps ** 2 * np.abs(f[lost]).max(axis=1)
            out[1, part] = a1
            out[2, part] = np.sum(w * rest * rest, axis=1)
            if slopes:
                of_rest, of_square = w * rest, w * rest * rest
                out[3, part] = np.sum(of_rest * (z**2 - 1.0), axis=1)
                out[4, part] = np.sum(of_rest * (z**3 - 3.0 * z), axis=1)
                out[5, part] = np.sum(of_square * z, axis=1)
                out[6, part] = np.sum(of_square * (z**2 - 1.0), axis=1)
        return tuple(out)

    def _centre(self, sd: float, split: int, shift: int, degree: int) -> str:
        """Say what E f(sd z) is by the nature of a user's function, not by its size.

        "odd" if f(-x) = -f(x) to rounding wherever the integral sees the function. "zero" of one
        that was centred, E f(z) = 0 to rounding for the standard normal z (for another spread
        that would be an accident). "lost" where it is neither but rounding hides it, else "seen".
        """
        z, w = _panel_rule(self._edges(np.zeros(1), sd, split, shift), degree)
        right, left = self(sd * z), self(-sd * z)
        size = float(np.sqrt(np.sum(w * right * right)))
        rounding = 8.0 * float(np.finfo(np.float64).eps)
        if np.all(np.abs(right + left) <= rounding * np.maximum(np.abs(right), size)):
            return "odd"
        if abs(np.sum(w * right)) > rounding * size:
            return "seen"
        return "zero" if sd == 1.0 else "lost"


@lru_cache(maxsize=16)
def _legendre(degree: int) -> tuple[Floats, Floats]:
    node, weight = np.polynomial.legendre.leggauss(degree)
    return node, weight


def _panel_rule(edges: Floats, degree: int) -> tuple[Floats, Floats]:
    """Nodes and N(0, 1) weights on the panels of each row of edges, flattened within the row."""
    node, weight = _legendre(degree)
    half = 0.5 * np.diff(edges, axis=1)[:, :, None]
    z = edges[:, :-1, None] + half * (1.0 + node)
    w = half * weight * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    return z.reshape(edges.shape[0], -1), w.reshape(edges.shape[0], -1)


def resolve(function: FunctionLike | Activation, argument: str = "activation") -> Activation:
    """Turn a name, a callable, a pair (callable, derivative) or a `Function` into an `Activation`.

    Ufuncs of NumPy and SciPy that have a name here (``np.tanh``) are taken by it.

    Raises
    ------
    ValueError
        If the name is unknown (the message lists the known ones), or if what is given as the
        derivative is not.
    TypeError
        If it is neither a name nor callable, or not a function of one array.
    """
    if isinstance(function, Activation):
        return function
    function = name_of(function) or function
    if isinstance(function, str):
        if function not in _NAMED:
            raise ValueError(
                f"{argument} must be a callable or one of {', '.join(NAMES)}; got {function!r}"
            )
        return _named(function, argument)
    slope: ScalarFunction | None = None
    breaks: tuple[float, ...] = ()
    value: Any = function
    if isinstance(function, Function):
        value, slope, breaks = function.function, function.derivative, function.breaks
    elif isinstance(function, tuple) and len(function) == 2:
        value, slope = function
        if not callable(slope):
            raise TypeError(f"the derivative of {argument} must be callable, got {slope!r}")
    if not callable(value):
        raise TypeError(
            f"{argument} must be a name, a callable or a pair (callable, derivative), "
            f"got {function!r}"
        )
    name = getattr(value, "__name__", type(value).__name__)
    require_elementwise(value, argument, name)
    if slope is not None:
        require_elementwise(slope, f"the derivative of {argument}", name)
        require_derivative(value, slope, argument, name)
    return Activation(name, function=value, slope=slope, argument=argument, breaks=breaks)


@lru_cache(maxsize=64)
def _named(name: str, argument: str) -> Activation:
    code, entry = _NAMED[name]
    return Activation(
        name,
        code=code,
        argument=argument,
        linear=entry["linear"],
        saturates=entry["saturates"],
        differentiable=entry["differentiable"],
    )


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

    @cached_property
    def cleaned(self) -> tuple[float, float, float]:
        """``h0, h1, h2`` without what symmetry makes zero but rounding does not."""
        least = 1e-14 * self.second**0.5
        h0, h1, h2 = (0.0 if abs(h) <= least else h for h in (self.h0, self.h1, self.h2))
        return h0, h1, h2


def step_moments(function: Activation, *, slope: bool) -> StepMoments:
    """Gaussian constants of a function, accurate to rounding if it is piecewise smooth.

    Without a derivative at hand ``E f'^2`` is taken from the derivative of the interpolating
    polynomial on each quadrature panel (panels end at kinks). It is accepted only if
    ``E f' = E z f`` (Gaussian integration by parts) holds, which a jump violates and a function
    that is not the derivative.

    Raises
    ------
    ValueError
        If the slope is asked for and the function is ``sign`` or has a jump, or if the integrals
        do not converge.
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

    def integrate(degree: int, shift: int) -> StepMoments:
        edges = function._gaussian_edges(1, shift)
        z, w = _panel_rule(edges, degree)
        f = function(z)
        h1 = float(np.sum(w * z * f))
        variance = float("nan")
        if slope:
            if function.code is None and function.slope is None:
                node, _ = np.polynomial.legendre.leggauss(degree)
                half = 0.5 * np.diff(edges[0])
                width = np.where(half > 0, half, 1.0)[:, None]  # panels collapsed at the ends
                df = (f.reshape(-1, degree) @ _differentiation(node).T / width).reshape(1, -1)
            else:
                df = function.derivative(z)
            if function.code is None:
                _require_stein(function, float(np.sum(w * df)), h1, np.sum(w * df * df) ** 0.5)
            variance = float(np.sum(w * (df - h1) ** 2))
        return StepMoments(
            h0=float(np.sum(w * f)),
            h1=h1,
            h2=float(np.sum(w * (z * z - 1.0) * f)),
            second=float(np.sum(w * f * f)),
            slope_variance=variance,
        )

    result = integrate(24, 0)
    if function.code is None:
        coarse = integrate(18, 1)
        size = result.second + (result.slope_variance if slope else 0.0)
        for name in ("h0", "h1", "h2", "second") + (("slope_variance",) if slope else ()):
            fine, rough = getattr(result, name), getattr(coarse, name)
            if not abs(fine - rough) <= 1e-9 * max(size, size**0.5):
                raise ValueError(
                    f"the Gaussian integral {name} of {function.argument}={function.name!r} does "
                    f"not converge ({rough!r}, then {fine!r}): it must be piecewise smooth"
                )
    return result


def differentiable(activation: FunctionLike) -> Activation:
    """Return the activation, of which a gradient can be taken.

    Raises
    ------
    ValueError
        If it is unknown, has a jump, or has a derivative that vanishes wherever it exists.
    """
    sigma = resolve(activation)
    if sigma.code is None:
        step_moments(sigma, slope=True)  # refuses a jump
    if not sigma.differentiable:
        raise ValueError(
            f"activation={sigma.name!r} cannot take a gradient step: its derivative vanishes "
            f"wherever it exists"
        )
    return sigma


def _require_stein(function: Activation, mean_slope: float, h1: float, scale: float) -> None:
    if abs(mean_slope - h1) <= 1e-7 * max(scale, abs(h1), 1e-300):
        return
    values = f"E f' = {mean_slope:.6g} but E z f = {h1:.6g}"
    if function.slope is None:
        raise ValueError(
            f"activation={function.name!r} has a jump ({values}) and cannot take a gradient step"
        )
    raise ValueError(
        f"activation={function.name!r} has a jump, or what is given as its derivative is not "
        f"({values}): it cannot take a gradient step"
    )


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
    try:
        value = np.asarray(function(x))
    except TypeError as error:  # it takes no arrays, or nothing at all
        raise TypeError(f"{argument}={name!r} must take an array: {error}") from error
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
