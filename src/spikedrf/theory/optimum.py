"""`Optimum`: the result of `optimise`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikedrf.theory.solution import Solution


@dataclass(frozen=True, eq=False, repr=False)
class Optimum:
    """The best ridge, the best step or both, for one point or an array of them.

    Attributes
    ----------
    over : tuple of str
        What was optimised: ``lam``, ``eta`` or both.
    lam : float or ndarray, shape S
        The ridge: the best one, or the given one; ``S`` is the broadcast shape of the parameters.
    eta : float, ndarray of shape S, or None
        The size of the step likewise; None if the step was not given by its size.
    test_error : float or ndarray, shape S
        Test error at the optimum.
    at_bound : bool or ndarray, shape S
        Whether the optimum, or one of the two, sits on a bound; see `side`.
    side : dict
        For each optimised parameter an integer or an array of shape S: -1 on the lower bound
        (``eta``: do not step, or not by more than enough; ``lam``: no ridge), 1 on the upper one,
        0 in between.
    minima : int or ndarray, shape S
        How many local minima there were, ends of the range included; those in ``eta`` of the best
        error over ``lam`` if both are optimised.
    success : bool or ndarray, shape S
        Whether the test error reached ``rtol`` and there is no doubt about the optimum.
    status : int or ndarray, shape S
        As for `Solution`; 5: the error still falls where it could not be computed.
    quadrature_error : float or ndarray, shape S
        Of the test error, as for `Solution`.
    solution : Solution
        All of the solution at the optimum: order parameters, train error, learned function.
    parameters : dict
        The other parameters as given, for labels.
    """

    over: tuple[str, ...]
    lam: Any
    eta: Any
    test_error: Any
    at_bound: Any
    side: dict[str, Any]
    minima: Any
    success: Any
    status: Any
    quadrature_error: Any
    solution: Solution
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Broadcast shape of the parameters."""
        return np.shape(self.test_error)

    def __repr__(self) -> str:
        found = {name: getattr(self, name) for name in self.over}
        if not self.shape:
            values = ", ".join(f"{name}={value:.6g}" for name, value in found.items())
            return (
                f"Optimum({values}, test_error={self.test_error:.8g}, at_bound={self.at_bound}, "
                f"success={self.success})"
            )
        parts = [f"shape={self.shape}"]
        for name, value in found.items():
            known = value[np.isfinite(value)]
            if known.size:
                parts.append(f"{name} {known.min():.4g} to {known.max():.4g}")
        parts.append(f"{np.count_nonzero(self.at_bound)} of {self.success.size} at a bound")
        parts.append(f"{np.count_nonzero(self.success)} converged")
        return f"Optimum({', '.join(parts)})"
