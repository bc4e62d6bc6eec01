"""`Ensemble`: the errors of several networks on the same samples, and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class Ensemble:
    r"""Errors of networks with first layers of their own, trained on the same samples.

    Attributes
    ----------
    test_error : float or ndarray, shape S
        Mean squared error of their average, label noise included.
    single_error : float or ndarray, shape S
        That of one of them, ``theory.solve``'s.
    cross_error : float or ndarray, shape S
        ``E (f_1 - y)(f_2 - y)`` of two of them: the error of infinitely many.
    bias : float or ndarray, shape S
        ``E (E f - g)^2``, the mean over first layers, samples and noise.
    of_samples, of_noise, of_initialisation : float or ndarray, shape S
        Variances of the output of one network: over the samples without label noise, what the
        noise of the training labels adds to it, and over first layers, the samples fixed. With
        ``noise**2`` and the bias they sum to ``single_error``.
    success : bool or ndarray, shape S
        Whether everything reached ``rtol``.
    status : int or ndarray, shape S
        As for `Solution`.
    quadrature_error : float or ndarray, shape S
        By how much these numbers moved from the last quadrature rule but one to the last,
        relative to the largest of them.
    parameters : dict
        The parameters as given, for labels.
    """

    test_error: Any
    single_error: Any
    cross_error: Any
    bias: Any
    of_samples: Any
    of_noise: Any
    of_initialisation: Any
    success: Any
    status: Any
    quadrature_error: Any
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Broadcast shape of the parameters."""
        return np.shape(self.test_error)

    def __repr__(self) -> str:
        if self.shape:
            return f"Ensemble(shape={self.shape})"
        names = ("test_error", "single_error", "cross_error")
        parts = ", ".join(f"{name}={getattr(self, name):.8g}" for name in names)
        return f"Ensemble({parts}, success={self.success})"
