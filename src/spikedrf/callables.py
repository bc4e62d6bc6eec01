"""Functions given by the user: what is known of them, and whether they can be used."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikedrf.parameters import Floats, real_array

ScalarFunction = Callable[[Floats], Any]

# Ufuncs of NumPy and SciPy that are functions with a name here.
_UFUNCS = {
    "tanh": "tanh",
    "sin": "sin",
    "cos": "cos",
    "absolute": "abs",
    "fabs": "abs",
    "sign": "sign",
    "positive": "identity",
    "expit": "sigmoid",
}

_STEP = 2.0**-13  # of central differences


@dataclass(frozen=True)
class Function:
    """A function of your own as activation or target, with what you know of it.

    Accepted wherever an activation or a target is. A bare callable does too, and so does a pair
    (callable, derivative); this is the place for breaks.

    Parameters
    ----------
    function : callable
        Takes an array of any shape and returns the values, elementwise.
    derivative : callable, optional
        Its derivative, where it exists. Not needed: see Notes.
    breaks : iterable of float, optional
        Where the function has kinks or jumps. Those that lie further apart than 1e-3 are found
        without.

    Raises
    ------
    TypeError
        If the function or the derivative is not callable.
    ValueError
        If a break is not a finite number.

    Notes
    -----
    The theory integrates a function on panels that end at its kinks and jumps. It looks for these
    at points 8e-4 apart: of an activation at ``|x| <= 64``, of a target at ``|x| <= 16``. What is
    narrower than 1e-3 (a band, a hat, the gap between two kinks) or further out is seen by
    chance only, and a result can then be wrong by what it contributes without a warning, unless
    ``breaks`` says where it is. All results are compared with a second rule on other nodes.

    Without a derivative the theory differentiates the panels' interpolants, exact to rounding.
    Finite networks (estimators, `simulate`, `gradient_step`) use the central difference of fourth
    order with steps of 1.2e-4: right to 1e-11 where the function is smooth, in between its two
    slopes where a kink is nearer than 2.5e-4.

    Examples
    --------
    >>> import numpy as np
    >>> from spikedrf import Function, theory
    >>> band = Function(lambda z: (z > 0.35) & (z < 0.3501), breaks=[0.35, 0.3501])
    >>> solution = theory.solve(np.inf, lam=0.1, beta=1e6, activation="identity", target=band)
    >>> f"{solution.test_error:.6e}"
    '3.752321e-05'
    """

    function: ScalarFunction
    derivative: ScalarFunction | None = None
    breaks: tuple[float, ...] = ()

    def __init__(
        self,
        function: ScalarFunction,
        derivative: ScalarFunction | None = None,
        breaks: Iterable[float] = (),
    ) -> None:
        if not callable(function):
            raise TypeError(f"function must be callable, got {function!r}")
        if derivative is not None and not callable(derivative):
            raise TypeError(f"derivative must be callable, got {derivative!r}")
        at = real_array("breaks", list(breaks) if isinstance(breaks, Iterable) else [breaks])
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "derivative", derivative)
        object.__setattr__(self, "breaks", tuple(float(b) for b in np.unique(at)))

    def __call__(self, x: Floats) -> Any:
        """Evaluate the function."""
        return self.function(x)


def name_of(function: Any) -> str | None:
    """Return the name here of a ufunc of NumPy or SciPy (``np.tanh``), None if it has none."""
    return _UFUNCS.get(function.__name__) if isinstance(function, np.ufunc) else None


def require_elementwise(function: ScalarFunction, argument: str, name: str) -> None:
    """Check that a function takes one array.

    Raises
    ------
    TypeError
        If it takes another number of arguments, or only plain numbers. Whatever else the function
        raises passes.
    """
    try:
        function(np.array([-0.75, 0.25, 1.25]))
    except (TypeError, ValueError) as error:
        if not _takes_one(function):
            raise TypeError(
                f"{argument}={name!r} must be a function of one argument (an array): {error}"
            ) from error
        try:
            function(0.25)  # type: ignore[arg-type]
        except Exception:
            raise error from None
        raise TypeError(
            f"{argument}={name!r} must be vectorised: it takes a number but not an array "
            f"({error}). Write it with NumPy's functions, or wrap it in np.vectorize"
        ) from error


def _takes_one(function: Any) -> bool:
    if isinstance(function, np.ufunc):
        return function.nin == 1
    try:
        inspect.signature(function).bind(0.0)
    except ValueError:  # there is no signature
        return True
    except TypeError:
        return False
    return True


def require_derivative(
    function: ScalarFunction, derivative: ScalarFunction, argument: str, name: str
) -> None:
    """Check that what is given as the derivative of a function is one, by differences.

    Raises
    ------
    ValueError
        If it is not at some of 509 points in [-8, 8].
    """
    # Points that no grid shares; kinks come close to one or two of them.
    x = np.asarray(16.0 * ((np.arange(509) * 0.6180339887498949) % 1.0) - 8.0, dtype=np.float64)
    with np.errstate(all="ignore"):
        above, below = np.asarray(function(x + _STEP)), np.asarray(function(x - _STEP))
        slope = np.asarray(derivative(x))
        if above.shape != x.shape or slope.shape != x.shape:
            return  # the first use says what is wrong
        size = np.maximum(np.abs(above), np.abs(below))
        kind = above.dtype if above.dtype.kind == "f" else np.dtype(np.float64)
        rise = (above.astype(np.float64) - below.astype(np.float64)) / (2.0 * _STEP)
        allowed = 1e-2 * (np.abs(rise) + np.abs(slope)) + 8.0 * np.finfo(kind).eps * size / _STEP
        allowed += 1e-3 * float(np.sqrt(np.mean(rise**2)))
        wrong = np.flatnonzero(np.abs(rise - slope) > allowed)
    if wrong.size > 5:
        at = wrong[np.argmin(np.abs(x[wrong]))]
        raise ValueError(
            f"the derivative given with {argument}={name!r} is not its derivative: at "
            f"x = {x[at]:.4g} it is {float(slope[at]):.6g}, but the function's slope is "
            f"{rise[at]:.6g}"
        )


def central_difference(function: Callable[[Floats], Floats], x: Floats) -> Floats:
    """Differentiate numerically: ``(8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h)))/(12 h)``."""
    x = np.asarray(x, dtype=np.float64)
    near = function(x + _STEP) - function(x - _STEP)
    far = function(x + 2.0 * _STEP) - function(x - 2.0 * _STEP)
    return np.asarray((8.0 * near - far) / (12.0 * _STEP))
