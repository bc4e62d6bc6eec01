"""Checks of arrays of data, with messages that say what is wrong."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]  # of float32 or float64

# A block of preactivations should come back from cache when the activation is applied to it, but
# BLAS packs all of W again for every block, which takes this many rows to be worth it.
_BLOCK_BYTES = 1 << 21
_LEAST_ROWS = 512


def data_array(name: str, value: ArrayLike, ndim: int, like: Array | None = None) -> Array:
    """Return the data as an array of float32 or float64 in native byte order, any layout.

    Nothing is copied unless it must be. Whether the entries are finite is not looked at: see
    `require_finite`, which large arrays go through block by block.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : array_like
        The argument.
    ndim : int
        Number of axes it must have.
    like : ndarray, optional
        Convert to this array's dtype.

    Raises
    ------
    TypeError
        If the dtype is not float32 or float64. Integers are not converted: they are rarely
        meant, and a silent conversion doubles the memory of a large array.
    ValueError
        If the number of axes is wrong or an axis is empty.
    """
    array = np.asarray(value)
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise TypeError(
            f"{name} must be an array of float32 or float64, got dtype {array.dtype}; "
            f"convert it with {name}.astype(float)"
        )
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if not (array.dtype.isnative and array.flags.aligned):
        array = array.astype(array.dtype.newbyteorder("="))
    return array if like is None else array.astype(like.dtype, copy=False)


def require_finite(name: str, array: Array, start: int = 0) -> None:
    """Raise ValueError at the first entry that is not finite.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    array : ndarray
        The argument, or its rows from ``start`` on.
    start : int
        Index of the array's first row in the argument.
    """
    finite = np.isfinite(array)
    if finite.all():
        return
    at = np.unravel_index(int(np.argmin(finite)), array.shape)
    index = ", ".join(str(int(i) + (start if axis == 0 else 0)) for axis, i in enumerate(at))
    raise ValueError(f"{name} must be finite, got {array[at]} at index [{index}]")


def require_match(**lengths: tuple[Array, int]) -> None:
    """Raise ValueError unless the named arrays have equal lengths along the given axes."""
    if len({array.shape[axis] for array, axis in lengths.values()}) > 1:
        listed = ", ".join(
            f"{name}{list(array.shape)} on axis {axis}" for name, (array, axis) in lengths.items()
        )
        raise ValueError(f"the shapes do not match: {listed}")


def output_array(
    out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any], **inputs: Array
) -> Array:
    """Return a new array for the result, or ``out`` if it can hold it.

    Raises
    ------
    TypeError, ValueError
        If ``out`` is no writable array of this shape and dtype, or may share memory with one of
        the inputs.
    """
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.dtype != dtype:
        got = f"an array of {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise TypeError(f"out must be an array of {dtype}, got {got}")
    if out.shape != shape or not out.flags.writeable or not out.flags.aligned:
        raise ValueError(
            f"out must be a writable array of shape {shape}, got shape {out.shape}"
            + ("" if out.flags.writeable else ", read-only")
        )
    for name, array in inputs.items():
        if np.may_share_memory(out, array):
            raise ValueError(f"out must not share memory with {name}")
    return out


def block_rows(p: int, dtype: np.dtype[Any]) -> int:
    """Return how many rows of ``p`` features to work on at a time."""
    return max(_LEAST_ROWS, _BLOCK_BYTES // (p * dtype.itemsize))


def row_blocks(n: int, block: int) -> Iterator[slice]:
    """Split ``n`` rows into slices of at most ``block``."""
    return (slice(start, min(start + block, n)) for start in range(0, n, block))
