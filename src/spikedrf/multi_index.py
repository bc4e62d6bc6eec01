"""Targets of several directions: names and callables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import NAMES, Activation, FunctionLike, resolve

Floats = NDArray[np.float64]

#: So many directions a target may have.
MOST_DIRECTIONS = 3


def _product(s: Floats) -> Floats:
    return np.asarray(reduce(np.multiply, np.moveaxis(s, -1, 0)))  # np.prod is slow on few


def _staircase(s: Floats) -> Floats:
    return np.asarray(np.cumprod(s, axis=-1).sum(axis=-1))


def _committee(s: Floats) -> Floats:
    return np.asarray(np.tanh(s).sum(axis=-1) / np.sqrt(s.shape[-1]))


def _sphere(s: Floats) -> Floats:
    return np.asarray((s * s - 1.0).sum(axis=-1) / np.sqrt(2.0 * s.shape[-1]))


#: Named targets of any number M of directions, and their formulas.
NAMED: dict[str, tuple[Callable[[Floats], Floats], str]] = {
    "product": (_product, "s_1 s_2 .. s_M"),
    "staircase": (_staircase, "s_1 + s_1 s_2 + .. + s_1 s_2 .. s_M"),
    "committee": (_committee, "(tanh s_1 + .. + tanh s_M)/sqrt M"),
    "sphere": (_sphere, "(|s|^2 - M)/sqrt(2 M)"),
}


@dataclass(frozen=True, eq=False)
class MultiIndex:
    r"""A target that depends on several directions of the inputs, ``y = g(s_1, .., s_M)``.

    ``s_m = <theta_m, x>`` with orthonormal directions ``theta_m``; for inputs with a covariance
    each ``s_m`` is scaled to unit variance.

    Parameters
    ----------
    function : callable or str
        Takes an array of shape (..., M), the directions last, and returns one of shape (...); or a
        name: ``"product"`` (``s_1 s_2 .. s_M``), ``"staircase"`` (``s_1 + s_1 s_2 + ..``),
        ``"committee"`` (``(tanh s_1 + .. + tanh s_M)/sqrt M``), ``"sphere"``
        (``(|s|^2 - M)/sqrt(2 M)``).
    directions : int
        Number M of directions, 1 to 3.

    Raises
    ------
    TypeError, ValueError
        If the function is none of these, returns another shape than (...), or numbers that are not
        real and finite; or if there are more than three directions.

    Notes
    -----
    Source: theory.md, section 12. Kinks of a function of several directions are not looked for: the
    quadrature converges slowly there, and a point that does not reach its accuracy says so.

    Examples
    --------
    >>> import numpy as np
    >>> from spikedrf import MultiIndex
    >>> MultiIndex(lambda s: s[..., 0] * s[..., 1] + np.sin(s[..., 1]), directions=2)
    MultiIndex(<lambda>, directions=2)
    >>> float(MultiIndex("product", directions=3)(np.array([1.0, 2.0, 3.0])))
    6.0
    """

    function: Any
    directions: int = 2
    name: str = field(init=False, default="")

    def __post_init__(self) -> None:
        function, name = self.function, self.function
        if isinstance(self.directions, bool | np.bool_) or not isinstance(
            self.directions, int | np.integer
        ):
            raise TypeError(f"directions must be an integer, got {self.directions!r}")
        if not 1 <= self.directions <= MOST_DIRECTIONS:
            raise ValueError(
                f"directions must be 1 to {MOST_DIRECTIONS}, got {self.directions}: keep the "
                f"directions that matter most and add the variance of the rest to the noise, or "
                f"simulate with a callable of the inputs"
            )
        if isinstance(function, str):
            if function not in NAMED:
                raise ValueError(
                    f"function must be a callable or one of {', '.join(NAMED)}; got {function!r}"
                )
            function = NAMED[function][0]
        elif not callable(function):
            raise TypeError(f"function must be callable or a name, got {function!r}")
        else:
            name = getattr(function, "__name__", type(function).__name__)
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "directions", int(self.directions))
        object.__setattr__(self, "name", name)
        self(np.random.default_rng(0).standard_normal((5, 2, self.directions)))

    def __call__(self, s: Floats) -> Floats:
        """Evaluate on an array of shape (..., M); returns shape (...).

        Raises
        ------
        TypeError, ValueError
            If the function returns anything but finite real numbers of shape (...).
        """
        s = np.asarray(s, dtype=np.float64)
        if s.ndim == 0 or s.shape[-1] != self.directions:
            raise ValueError(f"s must have the {self.directions} directions last, got {s.shape}")
        return checked_labels(self.function(s), s, f"target={self.name!r}")

    @property
    def fingerprint(self) -> str:
        """What tells it from others: the name and some of its values."""
        import hashlib

        s = np.random.default_rng(1).standard_normal((257, self.directions))
        digest = hashlib.sha256(np.ascontiguousarray(self(s)).tobytes()).hexdigest()[:16]
        return f"{self.name}:{self.directions} ({digest})"

    def __repr__(self) -> str:
        return f"MultiIndex({self.name}, directions={self.directions})"


def checked_labels(value: Any, s: Floats, name: str) -> Floats:
    """Return labels for latents of shape (..., M) as floats of shape (...).

    Raises
    ------
    TypeError, ValueError
        If they are not real, not finite or of another shape; the message begins with ``name``.
    """
    y = np.asarray(value)
    if y.shape != s.shape[:-1]:
        raise ValueError(
            f"{name} must return one number for each sample: for latents of shape {s.shape} the "
            f"shape {s.shape[:-1]}, got {y.shape}; the directions are the last axis, s[..., 0]"
        )
    if y.dtype.kind not in "fiub":
        raise TypeError(f"{name} must return real numbers, got dtype {y.dtype}")
    y = y.astype(np.float64, copy=False)
    finite = np.isfinite(y)
    if not finite.all():
        at = s[~finite][0]
        raise ValueError(f"{name} must be finite, got {float(y[~finite][0])!r} at s = {at}")
    return y


def resolve_target(target: FunctionLike | MultiIndex | Activation) -> Activation | MultiIndex:
    """Turn what a caller gives as ``target`` into a function of one or of several directions.

    A name of `NAMED` has two directions; a `MultiIndex` of one direction is a plain function.

    Raises
    ------
    TypeError, ValueError
        If it is neither; the message lists the names.
    """
    if isinstance(target, MultiIndex):
        if target.directions > 1:
            return target
        one = target
        return Activation(one.name, function=lambda x: one(x[..., None]), argument="target")
    if isinstance(target, str) and target in NAMED:
        return MultiIndex(target)
    if isinstance(target, str) and target not in NAMES:
        raise ValueError(
            f"target must be a callable or one of {', '.join(NAMES)}, or for two directions one of "
            f"{', '.join(NAMED)} or a MultiIndex; got {target!r}"
        )
    return resolve(target, "target")
