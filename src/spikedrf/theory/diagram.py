"""`PhaseDiagram`: the result of `phase_diagram`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import labelled

Floats = NDArray[np.float64]

#: What a diagram can show; ``lam`` and ``eta`` if they are optimised.
VALUES = ("test_error", "train_error", "excess_error", "norm", "gain", "lam", "eta")

#: The status of points that an interrupt left out; their value is NaN.
NOT_COMPUTED = -1


class PhaseDiagramInterrupted(KeyboardInterrupt):
    """A phase diagram was interrupted from the keyboard.

    Attributes
    ----------
    partial : PhaseDiagram or None
        What had finished; the other points are NaN and have ``status=-1``. None if nothing had.
    """

    def __init__(self, message: str, partial: PhaseDiagram | None) -> None:
        super().__init__(message)
        self.partial = partial


@dataclass(frozen=True, eq=False, repr=False)
class PhaseDiagram:
    """One quantity over two parameters.

    Attributes
    ----------
    x_name, y_name : str
        The parameters along the horizontal and the vertical axis.
    x : ndarray, shape (X,)
        Values of the first.
    y : ndarray, shape (Y,)
        Values of the second.
    value_name : str
        The quantity.
    value : ndarray, shape (Y, X)
        ``value[i, j]`` belongs to ``y[i]`` and ``x[j]``, as matplotlib draws it.
    success : ndarray of bool, shape (Y, X)
        Whether the point reached ``rtol``.
    status : ndarray of int, shape (Y, X)
        As in `theory.Solution`; 0 is converged, -1 was not computed (`PhaseDiagramInterrupted`).
    side : dict of ndarray of int, shape (Y, X)
        For each optimised parameter -1 where its best value is on the lower bound, 1 where it is on
        the upper one, 0 in between (`theory.Optimum`).
    parameters : dict
        All that is the same at every point: parameters, activation, target, bulk, loss.
    """

    x_name: str
    y_name: str
    x: Floats
    y: Floats
    value_name: str
    value: Floats
    success: NDArray[np.bool_]
    status: NDArray[np.int32]
    side: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of values of ``y`` and of ``x``."""
        return self.y.size, self.x.size

    def to_xarray(self) -> Any:
        """Return an ``xarray.Dataset``: the value, ``success`` and ``status`` over ``y`` and ``x``.

        With ``side_lam`` or ``side_eta`` if these were optimised. Parameters that are numbers
        become coordinates, the others (activation, target, ``u``, ``pi``, ...) attributes.

        Raises
        ------
        ImportError
            If xarray is not installed.
        """
        xarray = labelled.library("xarray", "to_xarray")
        dims = (self.y_name, self.x_name)
        coords: dict[str, Any] = {self.y_name: self.y, self.x_name: self.x}
        numbers, about = self._fixed()
        variables = {name: (dims, value) for name, value in self._columns().items()}
        return xarray.Dataset(variables, coords=coords | numbers, attrs=about)

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame``, one row for each point: parameters, value, status.

        What is the same at every point and no number is in ``attrs``.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        numbers, about = self._fixed()
        parameters = {self.y_name: self.y[:, None], self.x_name: self.x[None, :], **numbers}
        return labelled.frame(self.shape, parameters, self._columns(), about)

    def _columns(self) -> dict[str, Any]:
        columns: dict[str, Any] = {
            self.value_name: self.value,
            "success": self.success,
            "status": self.status,
        }
        return columns | {f"side_{name}": side for name, side in self.side.items()}

    def _fixed(self) -> tuple[dict[str, float], dict[str, Any]]:
        given = self.parameters
        numbers = {k: v for k, v in given.items() if isinstance(v, float) and k != "rtol"}
        others = {k: v for k, v in given.items() if k not in numbers}
        return numbers, labelled.attributes(others)

    def __repr__(self) -> str:
        span = "no points"
        if np.isfinite(self.value).any():
            finite = self.value[np.isfinite(self.value)]
            span = f"{self.value_name} {finite.min():.4g} to {finite.max():.4g}"
        done = int(np.count_nonzero(self.success))
        return (
            f"PhaseDiagram(x={self.x_name} ({self.x.size}), y={self.y_name} ({self.y.size}), "
            f"{span}, {done} of {self.success.size} converged)"
        )
