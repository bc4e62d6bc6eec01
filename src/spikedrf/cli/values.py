"""How single values of the command line are read."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikedrf import losses
from spikedrf.losses import Loss

Floats = NDArray[np.float64]

_MOST_POINTS = 1_000_000


def grid(text: str) -> Floats:
    """Read one value, ``MIN:MAX:N`` or ``MIN:MAX:N:log``."""
    first, *rest = text.split(":")
    try:
        if not rest:
            return np.array([float(first)])
        low, high, count = float(first), float(rest[0]), int(rest[1])
    except (ValueError, IndexError):
        low = high = math.nan
        count = 0
    spacing = rest[2:] if rest else []
    if not (math.isfinite(low) and math.isfinite(high)) or spacing not in ([], ["log"]):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number nor MIN:MAX:N nor MIN:MAX:N:log"
        )
    if not 2 <= count <= _MOST_POINTS:
        raise argparse.ArgumentTypeError(f"N must be 2 to {_MOST_POINTS} in {text!r}")
    if not spacing:
        return np.linspace(low, high, count)
    if not (low > 0 and high > 0):
        raise argparse.ArgumentTypeError(f"MIN and MAX must be > 0 in {text!r}")
    return np.geomspace(low, high, count)


def number_or_grid(text: str) -> float | Floats:
    """Read one value as a number, or a grid as `grid` does."""
    values = grid(text)
    return values if ":" in text else float(values[0])


def loss(text: str) -> Loss:
    """Read the name of a loss and, after a colon, its parameter."""
    name, colon, parameter = text.partition(":")
    try:
        kind = losses.resolve(name)
        names = [field.name for field in fields(kind)]
        if colon and not names:
            raise ValueError(f"{name} has no parameter")
        return type(kind)(**{names[0]: float(parameter)}) if colon else kind
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def several(text: str) -> int:
    """Read how many, at least one."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be >= 1, got {value}")
    return value


def seed(text: str) -> int:
    """Read what random streams begin with."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be >= 0, got {value}")
    return value


def writable(text: str) -> Path:
    """Read the name of a file that can be written, as far as one can tell."""
    file = Path(text)
    where = file if file.exists() else file.parent
    if file.is_dir() or not file.parent.is_dir() or not os.access(where, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written")
    return file
