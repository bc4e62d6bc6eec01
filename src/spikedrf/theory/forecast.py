"""What is forecast of fits to more rows, or fewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class Forecast:
    r"""Errors of ridge regression on given features, for numbers of rows that were not there.

    Attributes
    ----------
    n : float or ndarray, shape S
        Numbers of rows.
    lam : float or ndarray, shape S
        Ridge: the best, or the one asked for. At ``n = inf`` the best ridge is that of the
        effective ridge that helps, which may be infinite; only the errors matter there.
    test_error : float or ndarray, shape S or S + (targets,)
        Mean squared error on new rows.
    lower, upper : float or ndarray, the same shape
        Range that holds the test error with probability ``level``: of the rows measured (from
        blocks of them), of the formula (its distance from their leave-one-out errors), and of the
        continuation where the forecast goes beyond what the rows say.
    train_error : float or ndarray, the same shape
        Mean squared training residual.
    r2, r2_lower, r2_upper : float or ndarray, the same shape
        ``1 - test_error / variance`` and its range.
    degrees_of_freedom : float or ndarray, shape S
        Of the fit.
    level : float
        Probability of the range.
    n_components : int
        Number of features.
    rows : float
        Rows that the forecast was made from.
    variance : float or ndarray, shape (targets,)
        Variance of the targets.
    variance_sem : float or ndarray, shape (targets,)
        Its relative standard error, which widens the range of ``r2``.
    """

    n: Any
    lam: Any
    test_error: Any
    lower: Any
    upper: Any
    train_error: Any
    degrees_of_freedom: Any
    level: float
    n_components: int
    rows: float
    variance: Any
    variance_sem: Any = 0.0

    @property
    def r2(self) -> Any:
        """Share of the variance that is explained."""
        return self._explained(self.test_error)

    @property
    def r2_lower(self) -> Any:
        """The lower end of its range."""
        return self._explained(self._beside(self.upper))

    @property
    def r2_upper(self) -> Any:
        """The upper end of its range."""
        return self._explained(self._beside(self.lower))

    def _beside(self, end: Any) -> Any:
        """Return one end of the range of errors beside a variance that is not certain either."""
        from scipy.special import ndtri

        z = float(ndtri(0.5 * (1.0 + self.level)))
        with np.errstate(divide="ignore", invalid="ignore"):
            away = np.log(np.asarray(end) / self.test_error)
            wide = np.hypot(away, z * np.asarray(self.variance_sem))
            both = self.test_error * np.exp(np.sign(away) * wide)
            return np.where(np.isfinite(away) & (away != 0.0), both, end)

    def _explained(self, error: Any) -> Any:
        error = np.asarray(error)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Of a target that does not vary nothing is left to explain.
            r2 = np.where(error == 0.0, 1.0, 1.0 - error / self.variance)
        return float(r2) if r2.ndim == 0 else r2

    def __repr__(self) -> str:
        shape = np.shape(self.n)
        if np.ndim(self.r2):
            return f"Forecast(shape={shape}, from {self.rows:g} rows, {self.n_components} features)"
        return (
            f"Forecast(n={self.n:g}, r2={self.r2:.4g} ({self.r2_lower:.4g} to "
            f"{self.r2_upper:.4g}), from {self.rows:g} rows, {self.n_components} features)"
        )
