"""Two parameters along the axes of a diagram, the others fixed, in pieces that share tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.first_layer.model import Spike
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.parameters import real_array
from spikedrf.step import GradientStep

Floats = NDArray[np.float64]
Piece = tuple[slice, slice]


class Parameters(TypedDict, total=False):
    """The parameters of which two span a diagram."""

    alpha: ArrayLike
    beta: ArrayLike
    lam: ArrayLike
    noise: ArrayLike
    eta: ArrayLike
    alpha0: ArrayLike
    r: ArrayLike
    c: ArrayLike
    gamma: ArrayLike
    steps: ArrayLike


_RANGES: dict[str, dict[str, Any]] = {
    "alpha": {"minimum": 0.0, "exclusive": True, "infinite": True},
    "beta": {"minimum": 0.0, "exclusive": True},
    "lam": {"minimum": 0.0},
    "noise": {"minimum": 0.0},
    "eta": {},
    "alpha0": {"minimum": 0.0, "infinite": True},
    "r": {},
    "c": {"minimum": 0.0, "exclusive": True},
    "gamma": {"minimum": -1.0, "maximum": 1.0},
    "steps": {"minimum": 0.0, "maximum": 100.0},
}
_KINDS = "a GradientStep, a Spike, a Layer or None"
_OF_STEP, _OF_SPIKE = ("eta", "alpha0"), ("r", "c", "gamma")

# A piece of work for one thread and one line of a checkpoint: a tenth of a second, whether the
# time goes into tables (a tanh needs some 100 microseconds a spike) or into points.
_SPIKES, _POINTS = 1024, 16384


@dataclass(frozen=True, eq=False)
class Mesh:
    """The points of a diagram. Of every pair, the vertical axis comes first, as in an image.

    Attributes
    ----------
    names : (str, str)
        The parameters that vary.
    axes : (ndarray, ndarray)
        Their values.
    numbers : dict of float
        The other parameters.
    step : Producer or None
        The step, if it was given as such: none of its parameters varies.
    u, pi : array_like or None
        Readout values and proportions that go with ``eta`` and ``alpha0``.
    over : tuple of str
        What is optimised at every point, ``lam`` or ``eta``: it is not among the numbers.
    """

    names: tuple[str, str]
    axes: tuple[Floats, Floats]
    numbers: dict[str, float]
    step: StepLike
    u: Any
    pi: Any
    over: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Points along the two axes."""
        return self.axes[0].size, self.axes[1].size

    @property
    def by_parameters(self) -> bool:
        """Whether the parameters of a gradient step are given one by one."""
        return "alpha0" in {*self.names, *self.numbers}

    def at(self, piece: Piece) -> tuple[dict[str, Any], StepLike]:
        """Return ``alpha, lam, beta, noise`` of a rectangle's points and their step.

        Each has the axes along which it varies, and length one along the others: they broadcast.
        What is optimised is 1.
        """
        rows, columns = piece
        at: dict[str, Any] = {
            **{name: 1.0 for name in self.over if name == "lam" or self.by_parameters},
            **self.numbers,
            self.names[0]: self.axes[0][rows, None],
            self.names[1]: self.axes[1][None, columns],
        }
        step = self.step
        if "eta" in at:
            u = 1.0 if self.u is None else self.u
            eta, count = at["eta"], int(np.ravel(at.get("steps", 1))[0])
            one = GradientStep(eta=eta if count else 0.0, alpha0=at["alpha0"], u=u, pi=self.pi)
            step = [one] * count if count > 1 else one
        numbered = {name: at[name] for name in at if name in producer_of(step).steerable}
        if numbered and self.step is not None:
            step = producer_of(step).moved(numbered)
        if "r" in at:
            r, c = (np.asarray(at[name])[..., None] for name in ("r", "c"))
            step = Spike(r=r, c=c, gamma=at["gamma"])
        return {name: at[name] for name in ("alpha", "lam", "beta", "noise")}, step

    def pieces(self) -> list[Piece]:
        """Rectangles of points; within a rectangle, points that share a spike share its tables.

        They depend on nothing but the mesh, so that a checkpoint fits whatever ``workers`` is.
        """
        given = producer_of(self.step)
        sees_labels = self.by_parameters or given.sees_labels
        moving = {*_OF_STEP, *_OF_SPIKE, *given.steerable} | ({"noise"} if sees_labels else set())
        moves = [name in moving for name in self.names]
        size, spikes, points = [1, 1], _SPIKES, _POINTS
        if self.over:  # tens of points to find each optimum, or of optima
            spikes, points = (max(1, limit // 32 ** len(self.over)) for limit in (spikes, points))
        # First as much as possible of an axis along which the spike stays the same.
        for axis in sorted((1, 0), key=lambda axis: moves[axis]):
            if self.names[axis] == "steps":  # one list of steps for each
                continue
            size[axis] = min(self.shape[axis], spikes if moves[axis] else points, points)
            points = max(1, points // size[axis])
            spikes = max(1, spikes // size[axis]) if moves[axis] else spikes
        return [
            (slice(i, i + size[0]), slice(j, j + size[1]))
            for i in range(0, self.shape[0], size[0])
            for j in range(0, self.shape[1], size[1])
        ]

    def fixed(self) -> dict[str, Any]:
        """Collect the parameters that are the same at every point."""
        fixed: dict[str, Any] = {**self.numbers, "u": self.u, "pi": self.pi}
        of_step = producer_of(self.step).parameters
        fixed |= {name: value for name, value in of_step.items() if name not in self.over}
        return {name: value for name, value in fixed.items() if value is not None}


def mesh(given: Mapping[str, Any], step: Any, u: Any, pi: Any, over: tuple[str, ...] = ()) -> Mesh:
    """Hold the parameters of a diagram against their ranges; the first array is horizontal.

    What is optimised, ``over``, is not given.

    Raises
    ------
    TypeError, ValueError
        If a parameter is unknown, missing or out of range, if not exactly two are arrays, or if
        the step is given in no way or in two; the message names the argument.
    """
    arrays = {"beta": np.array(1.0), "noise": np.array(0.0)}
    numbered = [n for n in producer_of(step, _KINDS).steerable if n[-1].isdigit() and "_" in n]
    for name, entry in given.items():
        if name not in _RANGES and name not in numbered:
            raise TypeError(
                f"{name} is no parameter of a phase diagram; those are {', '.join(_RANGES)}, and "
                f"eta_1, alpha0_1 and so on of a list of steps"
            )
        kind = name.partition("_")[0] if name in numbered else name
        array = real_array(name, entry, **_RANGES[kind])
        if name == "steps" and (array != np.floor(array)).any():
            raise ValueError(f"steps must be integers, got {entry!r}")
        if array.ndim > 1 or not array.size:
            raise ValueError(
                f"{name} must be a number or a one-dimensional array, got shape {array.shape}"
            )
        if name in over:
            raise ValueError(f"{name} is optimised at every point: it cannot be given")
        arrays[name] = array
    for name in ("alpha", "lam"):
        if name not in arrays and name not in over:
            raise TypeError(f"{name} is missing: give a number or a one-dimensional array")
    axes = [name for name in given if arrays[name].ndim == 1]
    if len(axes) != 2:
        raise ValueError(
            f"two parameters must be one-dimensional arrays, x and y of the diagram; got "
            f"{len(axes)} ({', '.join(axes) or 'none'})"
        )
    _check_step({*given, "eta"} if "alpha0" in given and "eta" in over else given, step, u, pi)
    x, y = axes
    return Mesh(
        names=(y, x),
        axes=(arrays[y], arrays[x]),
        numbers={name: float(array) for name, array in arrays.items() if array.ndim == 0},
        step=step,
        u=u,
        pi=pi,
        over=over,
    )


def _check_step(given: Collection[str], step: Any, u: Any, pi: Any) -> None:
    """There must be one way at most to say what the step is, and then all of it."""
    ways = {
        "step": [] if step is None else ["step"],
        " and ".join(_OF_STEP): [name for name in _OF_STEP if name in given],
        ", ".join(_OF_SPIKE): [name for name in _OF_SPIKE if name in given],
    }
    used = [names for names in ways.values() if names]
    if len(used) > 1:
        raise ValueError(
            f"{used[1][0]} and {used[0][0]} both say what the step is; give one of: "
            f"{'; '.join(ways)}"
        )
    for names in (_OF_STEP, _OF_SPIKE):
        missing = [name for name in names if name not in given]
        if missing and len(missing) < len(names):
            raise TypeError(f"{missing[0]} is missing: give all of {', '.join(names)}")
    for name, entry in {"u": u, "pi": pi}.items():
        if entry is not None and "eta" not in given:
            raise ValueError(f"{name} belongs to eta and alpha0, which are not given")
        if name == "pi" and "steps" in given and "eta" not in given:
            raise ValueError("steps belongs to eta and alpha0, which are not given")
        if entry is not None and np.ndim(entry) > 1:
            raise ValueError(f"{name} must be a number or one-dimensional, got {entry!r}")
    if any(producer_of(step, _KINDS).shapes()):
        raise ValueError(
            f"step must be one step, got an array of them, {step!r}: give its parameters instead"
        )
