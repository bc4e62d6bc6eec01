"""What a fitted estimator knows of fits to more rows, or fewer."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikedrf.estimators.planning import PlannedLayer
from spikedrf.estimators.rows import Rows, Units
from spikedrf.parameters import Floats
from spikedrf.readout.leave_one_out import RidgePath
from spikedrf.readout.ridge import RidgeStatistics
from spikedrf.theory.effective_ridge import Spectrum
from spikedrf.theory.features import FeatureCurve, Judged, LeftOut, measured

#: Share of the rows that cross-fitting judges by fits to.
_JUDGED = 0.8
#: Rows held out that a forecast is made from: at least, and at most.
_FEWEST, _MOST = 50, 800


def ridges_about(alpha: float, weight: Floats) -> Floats:
    """Return the ridge of a fit, and others around it, of which the forecast wants the errors.

    Parameters
    ----------
    alpha : float
        The ridge, >= 0.
    weight : ndarray
        Weights of the rows, in `Rows.units`.
    """
    others = weight.sum() * np.logspace(-8.0, 0.0, 9)
    return np.concatenate([[alpha], others if alpha == 0.0 else alpha * np.logspace(-4.0, 4.0, 9)])


def statistics_of(
    path: RidgePath, rows: Rows, lam: Floats, *, intercept: bool, units: Units
) -> dict[str, Any]:
    """Return what `curve_of` needs of a fit, as numbers and arrays.

    Parameters
    ----------
    path : RidgePath
        Fits of two or more ridges, with rows in ``units``.
    rows : Rows
        Its rows.
    lam : ndarray, shape (ridges,)
        Its ridges.
    intercept : bool
    units : Units
    """
    spectrum, left_out, unit = measured(path, rows.weight, lam, intercept=intercept)
    return {
        "rows": spectrum.rows + float(intercept),
        "n_components": spectrum.features,
        "intercept": intercept,
        "values": spectrum.values,
        "shares": spectrum.shares,
        "square": spectrum.square,
        "lam": left_out.lam,
        "error": left_out.error,
        "sem": left_out.sem,
        "ridge_unit": unit * units.weight,
        "target_unit": units.y,
        "optimism": 1.0,
        "judged": None,
    }


def statistics_of_planned(
    planned: PlannedLayer, rows: Rows, error: Floats, *, intercept: bool, units: Units
) -> dict[str, Any] | None:
    """Return the same of a layer that has learned from the rows, from some that it has not.

    Those held out of the first fold, and the layer without them.

    Parameters
    ----------
    planned : PlannedLayer
    rows : Rows
        All, in ``units``.
    error : ndarray, shape (targets,)
        Errors of rows held out, in squared units of the targets.
    intercept : bool
    units : Units

    Returns
    -------
    dict or None
        None if too few were held out.
    """
    held = rows.take(planned.fold(rows) == 0).here()
    if len(held) < _FEWEST:
        return None
    kept = float(len(rows.number)) * (1.0 - len(held) / max(len(planned.searched), 1))
    held = held.take(np.arange(len(held)) < _MOST)
    scale = float(held.weight.sum())
    lam = scale * np.logspace(-7.0, 1.0, 17)
    path = planned.layer.ridge_path(held, planned.without[0], lam, intercept=intercept)
    statistics = statistics_of(path, held, lam, intercept=intercept, units=units)
    present = float(rows.weight.sum() ** 2 / np.square(rows.weight).sum())
    judged = present * kept / len(rows)
    return statistics | {"judged": np.array([judged, present, *error])}


def statistics_of_sums(sums: RidgeStatistics) -> dict[str, Any]:
    """Return the same from the sums of a stream, which know no row left out."""
    value, vector = np.linalg.eigh(sums.upper / sums.p, UPLO="U")
    return {
        "rows": float(sums.n),
        "n_components": sums.p,
        "intercept": sums.intercept,
        "values": np.maximum(value, 0.0),
        "shares": np.square(vector.T @ sums.moment) / sums.p,
        "square": np.asarray(sums.square, dtype=np.float64),
        "lam": np.empty(0),
        "error": np.empty((0, sums.moment.shape[1])),
        "sem": np.empty((0, sums.moment.shape[1])),
        "ridge_unit": 1.0,
        "target_unit": 1.0,
        "optimism": 1.0,
        "judged": None,
    }


def curve_of(statistics: dict[str, Any], *, single: bool) -> FeatureCurve:
    """Return the learning curve of the features that were measured."""
    kept = {key: statistics[key] for key in ("values", "shares", "square")}
    judged = statistics["judged"]
    rows = statistics["rows"] - float(statistics["intercept"])
    left_out = LeftOut(statistics["lam"], statistics["error"], statistics["sem"])
    return FeatureCurve(
        Spectrum(rows, statistics["n_components"], **kept),
        intercept=statistics["intercept"],
        left_out=left_out if left_out.lam.size else None,
        optimism=statistics["optimism"],
        judged=None if judged is None else Judged(judged[0], judged[2:], judged[1]),
        ridge_unit=statistics["ridge_unit"],
        target_unit=statistics["target_unit"],
        single=single,
    )


def optimism(statistics: dict[str, Any], alpha: Floats, error: Floats) -> float:
    """Return by what the errors of new rows are above those that the readout has left out.

    Features that have learned from a row know its target, and to leave it out of the readout does
    not make them forget it. Cross-fitting, which leaves it out of both, says what that is worth,
    with fits to four fifths of the rows.

    Parameters
    ----------
    statistics : dict
        As `statistics_of`.
    alpha : ndarray, shape (targets,)
        Ridge of each target, in its units.
    error : ndarray, shape (targets,)
        Errors of cross-fitting.
    """
    curve = curve_of(statistics | {"target_unit": 1.0}, single=False)
    unit = np.where(curve.variance > 0.0, curve.variance, 1.0)
    rows = _JUDGED * statistics["rows"]
    here = [
        curve.solve(rows, max(lam, 1e-300)).test_error[target] for target, lam in enumerate(alpha)
    ]
    least = float(np.mean(np.array(here) / unit))
    ratio = float(np.mean(error / unit)) / least if least > 0.0 else 1.0
    return max(ratio, 1.0) if np.isfinite(ratio) else 1.0
