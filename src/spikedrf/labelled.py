"""Results as labelled tables: xarray datasets and pandas frames."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from spikedrf.first_layer.producers import StepLike, producer_of


def library(name: str, method: str) -> Any:
    """Import xarray or pandas.

    Raises
    ------
    ImportError
        If it is not installed; the message names the extra that it comes with.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{method} needs {name}: pip install {name}, or pip install 'spikedrf[results]'"
        ) from error


def description(activation: Any, target: Any, step: StepLike) -> dict[str, Any]:
    """Collect what names a model beside its parameters: functions, step, vocabulary."""
    of_step = producer_of(step).parameters
    return {
        "activation": _name(activation),
        "target": _name(target),
        "step": "none" if step is None else type(step).__name__,
        **{name: value for name, value in of_step.items() if value is not None},
    }


def _name(function: Any) -> str:
    if isinstance(function, str):
        return function
    name = getattr(function, "name", None) or getattr(function, "__name__", None)
    return str(name or function)


def attributes(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Merge what a netCDF file can hold as attributes: numbers, strings, and lists of these."""
    out: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if value is None:
                continue
            if isinstance(value, Mapping):
                out |= attributes({f"{name} {key}": each for key, each in value.items()})
                continue
            if isinstance(value, str):
                out[name] = value
                continue
            if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
                out[name] = list(value)
                continue
            array = np.asarray(value)
            if array.dtype.kind in "fiu":
                out[name] = array.item() if array.ndim == 0 else array.ravel().tolist()
            elif array.dtype.kind == "b":
                out[name] = array.astype(int).ravel().tolist() if array.ndim else int(array)
            else:
                out[name] = str(value)
    return out


def axes(shape: tuple[int, ...], parameters: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Name the axes of a call after the parameters that vary along them.

    Returns
    -------
    dims : list of str
        One name for each axis; ``dim_i`` where no parameter varies along it alone.
    coords : dict
        The parameters, each over its axes.
    """
    dims = [f"dim_{i}" for i in range(len(shape))]
    named = {}
    for name, value in parameters.items():
        array = np.asarray(value, dtype=np.float64)
        full = (1,) * (len(shape) - array.ndim) + array.shape
        varying = [i for i, length in enumerate(full) if length > 1]
        if len(varying) > 1:  # it may have been broadcast
            array = array.reshape(full)
            for i in varying:
                first = array.take([0], axis=i)
                array = (
                    first if np.array_equal(np.broadcast_to(first, array.shape), array) else array
                )
            full = array.shape
            varying = [i for i, length in enumerate(full) if length > 1]
        if len(varying) == 1 and dims[varying[0]].startswith("dim_"):
            dims[varying[0]] = name
        named[name] = array.reshape(full)
    coords: dict[str, Any] = {}
    for name, array in named.items():
        keep = [i for i, length in enumerate(array.shape) if length > 1]
        own = tuple(array.shape[i] for i in keep)
        coords[name] = ([dims[i] for i in keep], array.reshape(own))
    return dims, coords


def frame(
    shape: tuple[int, ...],
    parameters: Mapping[str, Any],
    columns: Mapping[str, Any],
    about: Mapping[str, Any],
) -> Any:
    """Return a ``pandas.DataFrame``, one row for each point.

    Parameters
    ----------
    shape : tuple of int
        Of the call.
    parameters, columns : mapping
        What broadcasts to that shape; columns may have more axes, whose entries become columns
        ``name_0``, ``name_1``, ... What is None is left out.
    about : mapping
        For ``attrs`` of the frame.
    """
    pandas = library("pandas", "to_dataframe")
    out: dict[str, Any] = {}
    for name, value in parameters.items():
        out[name] = np.broadcast_to(np.asarray(value, dtype=np.float64), shape).ravel()
    for name, value in columns.items():
        if value is None:
            continue
        array = np.asarray(value)
        rows = array.reshape(int(np.prod(shape, dtype=np.int64)), -1)
        if array.ndim == len(shape):
            out[name] = rows[:, 0]
            continue
        for index in np.ndindex(array.shape[len(shape) :]):
            label = "_".join(str(i) for i in index)
            at = int(np.ravel_multi_index(index, array.shape[len(shape) :]))
            out[f"{name}_{label}"] = rows[:, at]
    table = pandas.DataFrame(out)
    table.attrs.update(about)
    return table
