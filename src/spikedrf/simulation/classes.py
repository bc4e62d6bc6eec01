"""Errors of the classes of a mixture, one by one, at finite size."""

from __future__ import annotations

import numpy as np

from spikedrf.simulation.network import Floats, Integers, Network


class ClassErrors:
    """Sums up the test errors of every class that exists.

    Parameters
    ----------
    network : Network
    points : int
        Readouts that are tested.
    """

    def __init__(self, network: Network, points: int) -> None:
        law = network.population
        self._law = law if law is not None and law.mixture is not None else None
        if self._law is None:
            return
        self._sign = network.labels == "sign"
        self._count = np.zeros(len(self._law.means))
        self._error = np.zeros((points, len(self._law.means)))
        self._wrong = np.zeros_like(self._error)

    def add(self, classes: Integers, y: Floats, h: Floats) -> None:
        """Add samples: their classes and labels, and the predictions of every point, (n, P)."""
        if self._law is None:
            return
        square = (y[:, None] - h) ** 2
        wrong = y[:, None] * h < 0.0
        for i in range(self._count.size):
            mine = classes == i
            self._count[i] += np.count_nonzero(mine)
            self._error[:, i] += square[mine].sum(axis=0)
            self._wrong[:, i] += np.count_nonzero(wrong[mine], axis=0)

    def means(self) -> dict[str, Floats]:
        """Return errors by class, shape (P, C); NaN for classes without samples."""
        if self._law is None:
            return {}
        signs = self._sign or self._law.signs
        out = {}
        for name, total, wanted in (
            ("class_error", self._wrong if self._sign else self._error, True),
            ("class_error_rate", self._wrong, signs),
        ):
            if wanted:
                mean = np.full((len(total), self._law.classes), np.nan)
                with np.errstate(invalid="ignore"):
                    mean[:, self._law.which] = total / self._count
                out[name] = mean
        return out
