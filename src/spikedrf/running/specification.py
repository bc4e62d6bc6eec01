"""What a computation depends on, as text that is equal if and only if it is the same."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# What a specification that lacks an entry has there.
_ABSENT = "(absent)"


def encode(value: Any) -> Any:
    """Turn a specification into what JSON can hold, with every bit of its numbers.

    Raises
    ------
    TypeError
        If it holds anything but booleans, numbers, strings, None, arrays, and lists or mappings of
        these.
    """
    if isinstance(value, Mapping):
        return {str(name): encode(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray) and value.ndim:
        return _encode_array(value)
    if isinstance(value, np.ndarray | np.generic):
        return encode(value.item())
    if isinstance(value, list | tuple):
        return [encode(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a specification holds numbers, strings and arrays, got {value!r}")


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, str]:
    """Say for every entry that differs what it was and what it is; both are encoded."""
    names = [*ours, *(name for name in theirs if name not in ours)]
    pairs = {name: (theirs.get(name, _ABSENT), ours.get(name, _ABSENT)) for name in names}
    return {
        name: f"{name} was {_describe(was)}, is {_describe(now)}"
        for name, (was, now) in pairs.items()
        if was != now
    }


def _encode_array(array: Array) -> dict[str, Any]:
    if array.dtype.kind not in "biufc":
        raise TypeError(f"a specification holds arrays of numbers, got dtype {array.dtype}")
    little = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    return {
        "dtype": little.dtype.str,
        "shape": list(array.shape),
        "base64": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def _describe(value: Any) -> str:
    """Say in a few words what an entry of a specification is."""
    if not (isinstance(value, dict) and "base64" in value):
        return str(value)
    raw = base64.b64decode(value["base64"])
    array = np.frombuffer(raw, dtype=np.dtype(value["dtype"])).reshape(value["shape"])
    if array.size <= 4:
        return str(array.tolist())
    # Two grids may share their ends, so their insides are named too, by a checksum.
    mark = zlib.crc32(raw)
    return f"{array.size} values from {array.flat[0]:g} to {array.flat[-1]:g} (checksum {mark:08x})"
