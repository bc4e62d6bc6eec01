"""Checks of parameters (ranges, names, shapes), with messages that say what is wrong."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class ConvergenceWarning(UserWarning):
    """Some points of a call did not reach the accuracy that was asked for."""


def real_array(
    name: str,
    value: ArrayLike | float,
    *,
    minimum: float = -np.inf,
    maximum: float = np.inf,
    exclusive: bool = False,
    infinite: bool = False,
) -> Floats:
    """Convert a parameter to float64 and hold it against its range.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array_like
        The argument.
    minimum, maximum : float
        The closed range; with ``exclusive`` the minimum itself is not allowed.
    exclusive : bool
        Whether the minimum is excluded.
    infinite : bool
        Whether ``inf`` is a value like any other.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    TypeError
        If the value is not real and numeric.
    ValueError
        If an entry is NaN or out of range; the message names the argument, the first such entry
        and what is allowed.
    """
    if isinstance(value, float) and _allowed(value, value, minimum, maximum, exclusive, infinite):
        return np.array(value, dtype=np.float64)  # one number, the most frequent case
    try:
        raw = np.asarray(value)
        if raw.dtype.kind == "c":
            raise TypeError("it is complex")
        if raw.dtype.kind not in "fiub":
            raise TypeError(f"dtype {raw.dtype}")
        array = raw.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be a real number or an array of them, got {value!r} ({error})"
        ) from None
    if array.size:
        least, largest = array.min(), array.max()  # NaN if there is one
        if _allowed(least, largest, minimum, maximum, exclusive, infinite):
            return array
    below = array <= minimum if exclusive else array < minimum
    bad = np.isnan(array) | below | (array > maximum)
    if not infinite:
        bad |= np.isinf(array)
    if bad.any():
        first = float(array[bad].flat[0])
        where = ""
        if array.ndim:
            where = f" at index {tuple(int(i) for i in np.argwhere(bad)[0])}"
        raise ValueError(
            f"{name} must be {_range(minimum, maximum, exclusive, infinite)}, got {first!r}{where}"
        )
    return array


def _allowed(
    least: float, largest: float, minimum: float, maximum: float, exclusive: bool, infinite: bool
) -> bool:
    """Whether all between the two is in the range; False if one of them is NaN."""
    return bool(
        (least > minimum if exclusive else least >= minimum)
        and largest <= maximum
        and (infinite or (least > -np.inf and largest < np.inf))
    )


def number(name: str, value: ArrayLike, **allowed: Any) -> float:
    """Return a parameter that must be one real number; ``allowed`` as in `real_array`.

    Raises
    ------
    TypeError, ValueError
        As `real_array`, and if it is an array.
    """
    array = real_array(name, value, **allowed)
    if array.ndim:
        raise ValueError(f"{name} must be a number, got shape {array.shape}")
    return float(array)


def flag(name: str, value: Any) -> bool:
    """Return a parameter that must be True or False.

    Raises
    ------
    TypeError
        If it is anything else, also what Python would take for one of them.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _range(minimum: float, maximum: float, exclusive: bool, infinite: bool) -> str:
    parts = []
    if np.isfinite(minimum):
        parts.append(f"{'>' if exclusive else '>='} {minimum:g}")
    if np.isfinite(maximum):
        parts.append(f"<= {maximum:g}")
    kind = "not NaN" if infinite else "finite"
    return " and ".join([*parts, kind])


def check_proportions(pi: Floats, name: str = "pi") -> None:
    """Raise ValueError unless the entries of the last axis are >= 0 and sum to one."""
    total = pi.sum(axis=-1)
    wrong = np.abs(total - 1.0) > 1e-8
    if wrong.any():
        raise ValueError(
            f"{name} must sum to one over its last axis (the readout groups), "
            f"got a sum of {float(total[wrong].flat[0])!r}"
        )


def group_count(**arrays: Floats) -> int:
    """Return the common length of the last axes (scalars and length one stretch)."""
    lengths = {name: a.shape[-1] if a.ndim else 1 for name, a in arrays.items()}
    for name, length in lengths.items():
        if length == 0:
            raise ValueError(f"{name} has no readout groups: its last axis is empty")
    longest = max(lengths.values())
    for name, length in lengths.items():
        if length not in (1, longest):
            sizes = ", ".join(f"{n}: {k}" for n, k in lengths.items())
            raise ValueError(
                f"{name} has {length} readout groups on its last axis where another argument "
                f"has {longest} ({sizes}); they must agree or be one"
            )
    return longest


def names_among(argument: str, value: Any, known: Iterable[str]) -> tuple[str, ...]:
    """Return one name or several, without repetition, in the order given.

    Raises
    ------
    TypeError, ValueError
        If there is none, or one is unknown; the message names the argument and those that are.
    """
    listing = ", ".join(known)
    try:
        names = (value,) if isinstance(value, str) else tuple(value)
    except TypeError:
        raise TypeError(f"{argument} must name some of {listing}; got {value!r}") from None
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"{argument} must name some of {listing}; got {name!r}")
    return tuple(dict.fromkeys(names))


def broadcast_shape(shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the common shape of named parameters.

    Raises
    ------
    ValueError
        If there is none; the message lists the names and shapes.
    """
    distinct = {shape for shape in shapes.values() if shape}
    if len(distinct) <= 1:
        return distinct.pop() if distinct else ()
    try:
        return np.broadcast_shapes(*distinct)
    except ValueError:
        listing = ", ".join(f"{name}: {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(
            f"the parameters do not broadcast against each other ({listing})"
        ) from None
