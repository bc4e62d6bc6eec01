"""What a fitted estimator knows of fits to more rows, or fewer."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.arrays import Array
from spikedrf.estimators.layer import SteppedLayer
from spikedrf.estimators.planning import MOST_ROWS, PlannedLayer
from spikedrf.estimators.rows import Rows, Units
from spikedrf.parameters import Floats
from spikedrf.readout.leave_one_out import RidgePath
from spikedrf.readout.ridge import RidgeStatistics
from spikedrf.theory.effective_ridge import LeftOut, Reading, Spectrum, pooled
from spikedrf.theory.features import FeatureCurve, Judged, Measures, measured, variance_sem

#: Share of the rows that cross-fitting judges by fits to.
_JUDGED = 0.8
#: Rows held out that a forecast is made from, of each fold: at least, and at most.
_FEWEST, _MOST = 25, 1000
#: A doubling of the rows that features learn from lowers the logarithm of the error by this part of
#: what the last one was measured to have done, and by this, where the error is all hidden.
_LASTING, _TYPICAL = 0.5, 0.2
#: Folds of one step, of which it is made without.
_FOLDS = 5


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
    path: RidgePath,
    rows: Rows,
    lam: Floats,
    *,
    intercept: bool,
    units: Units,
    left_out: bool = True,
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
    left_out : bool
        Whether the errors of the path are read too, which takes another pass over the rows.
    """
    measures, variance, unit = measured(
        path, rows.weight, lam, intercept=intercept, left_out=left_out
    )
    return _kept(measures) | {
        "intercept": intercept,
        "variance": variance,
        "variance_sem": variance_sem(rows.y, rows.weight),
        "ridge_unit": unit * units.weight,
        "target_unit": units.y,
        "judged": None,
    }


def _kept(measures: Measures) -> dict[str, Any]:
    """Return measures as numbers and arrays: they are read when a forecast is asked for."""
    kept = {"one": measures.one}
    for part in measures[:2]:
        kept |= {} if part is None else _named(part)
    return kept


def _named(part: Any) -> dict[str, Any]:
    prefix = type(part).__name__.lower()
    return {f"{prefix}_{field.name}": getattr(part, field.name) for field in fields(part)}


def _found(kind: Any, statistics: dict[str, Any]) -> Any:
    names = {f"{kind.__name__.lower()}_{field.name}": field.name for field in fields(kind)}
    if not names.keys() <= statistics.keys():
        return None
    return kind(**{name: statistics[key] for key, name in names.items()})


def _reading(statistics: dict[str, Any]) -> Reading:
    known: Reading | None = _found(Reading, statistics)
    if known is not None:
        return known
    spectrum, left_out = (_found(kind, statistics) for kind in (Spectrum, LeftOut))
    return Measures(spectrum, left_out, statistics["one"]).read()


def statistics_of_learned(
    stepped: SteppedLayer,
    path: RidgePath,
    rows: Rows,
    lam: Floats,
    error: Floats,
    *,
    salt: int,
    intercept: bool,
    units: Units,
) -> dict[str, Any] | None:
    """Return the same of a layer that has learned from the rows, from some that it has not.

    Those held out of each fold, and the layer without them; effective ridges are those of the layer
    itself and of all rows.

    Parameters
    ----------
    stepped : SteppedLayer
    path : RidgePath
        Of the layer itself.
    rows : Rows
        All, in ``units``.
    lam : ndarray, shape (ridges,)
        Ridges of the path.
    error : ndarray, shape (targets,)
        Errors of rows held out, in squared units of the targets.
    salt : int
        What rows are dealt out by.
    intercept : bool
    units : Units

    Returns
    -------
    dict or None
        None if there are too few rows, or so many that it hardly matters what a step knows of each.
    """
    if isinstance(stepped, PlannedLayer):
        fold, searched = stepped.fold(rows), len(stepped.searched)
        known = np.flatnonzero(~stepped.apart(rows))
    elif stepped.feeding is not None and len(rows) <= MOST_ROWS:
        fold, searched = rows.deal(salt, _FOLDS), len(rows)
        known = np.arange(len(rows))
    else:
        return None

    def reading(held: Rows, weights: Array) -> tuple[Reading, Floats]:
        """Measure a layer on rows held out of it; also the error of each target's best readout."""
        some = float(held.weight.sum()) * np.logspace(-9.0, 1.0, 21)
        its = stepped.layer.ridge_path(held, weights, some, intercept=intercept)
        measures, _, _ = measured(its, held.weight, some, intercept=intercept)
        return measures.read(), its.mean_square().min(0)

    readings: list[Reading] = []
    hidden = np.zeros(rows.y.shape[1])
    if len(known):
        few = np.isin(np.arange(len(rows)), known[:: -(-len(known) // _MOST)])
        own = path.mean_square(few).min(axis=0)
        hidden = 1.0 - np.minimum(own / np.where(error > 0.0, error, np.inf), 1.0)
    gain = np.zeros(rows.y.shape[1])
    out = seen = 0
    for f in range(int(fold.max()) + 1):
        held = rows.take(fold == f).here()
        if len(held) < _FEWEST:
            return None
        if seen >= _MOST:
            break
        out, seen = max(out, len(held)), seen + len(held)
        held = held.take(np.arange(len(held)) < _MOST)
        found, error_of_all = reading(held, stepped.weights_from(rows.take(fold != f)))
        readings.append(found)
        half = _of_half(stepped, rows, fold) if f == 0 else None
        if half is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                last = np.log(reading(held, half)[1] / error_of_all)
            last = np.where(np.isfinite(last), np.maximum(last, 0.0), 0.0)
            gain = hidden * (_LASTING * last + _TYPICAL)
    statistics = statistics_of(path, rows, lam, intercept=intercept, units=units, left_out=False)
    whole = _reading(statistics)
    present = float(rows.weight.sum() ** 2 / np.square(rows.weight).sum())
    judged = np.array([present * (1.0 - out / searched), present, *error, *gain, *hidden])
    return statistics | _named(pooled(readings, whole)) | {"judged": judged}


def _of_half(stepped: SteppedLayer, rows: Rows, fold: NDArray[np.int64]) -> Array | None:
    """Return the layer of half of the rows that fold 0 leaves; None where that says nothing."""
    if isinstance(stepped, PlannedLayer):
        return stepped.half
    return stepped.weights_from(rows.take((fold > 0) & (fold <= _FOLDS // 2)))


def statistics_of_sums(sums: RidgeStatistics) -> dict[str, Any]:
    """Return the same from the sums of a stream, which know no row left out."""
    value, vector = np.linalg.eigh(sums.upper / sums.p, UPLO="U")
    square = np.asarray(sums.square, dtype=np.float64)
    spectrum = Spectrum(
        float(sums.n) - float(sums.intercept),
        sums.p,
        np.maximum(value, 0.0),
        np.square(vector.T @ sums.moment) / sums.p,
        square,
    )
    return _kept(Measures(spectrum, None, 1.0)) | {
        "intercept": sums.intercept,
        "variance": square / float(sums.n),
        "variance_sem": None,
        "ridge_unit": 1.0,
        "target_unit": 1.0,
        "judged": None,
    }


def curve_of(statistics: dict[str, Any], *, single: bool) -> FeatureCurve:
    """Return the learning curve of the features that were measured."""
    judged = statistics["judged"]
    curve = partial(
        FeatureCurve,
        _reading(statistics),
        statistics["variance"],
        intercept=statistics["intercept"],
        variance_sem=statistics["variance_sem"],
        judged=None if judged is None else Judged(*judged[:2], *np.split(judged[2:], 3)),
        ridge_unit=statistics["ridge_unit"],
    )
    optimism = 1.0
    if "cross_fitted" in statistics:
        optimism = _optimism(curve(single=False), *statistics["cross_fitted"])
    return curve(optimism=optimism, target_unit=statistics["target_unit"], single=single)


def _optimism(curve: FeatureCurve, alpha: Floats, error: Floats) -> float:
    """Return by what the errors of new rows are above those that the readout has left out.

    Features that have learned from a row know its target, and to leave it out of the readout does
    not make them forget it. Cross-fitting, which leaves it out of both, says what that is worth,
    with fits to four fifths of the rows.

    Parameters
    ----------
    curve : FeatureCurve
        In units of the rows.
    alpha : ndarray, shape (targets,)
        Ridge of each target, in its units.
    error : ndarray, shape (targets,)
        Errors of cross-fitting.
    """
    unit = np.where(curve.variance > 0.0, curve.variance, 1.0)
    rows = _JUDGED * curve.rows
    here = [
        curve.solve(rows, max(lam, 1e-300)).test_error[target] for target, lam in enumerate(alpha)
    ]
    least = float(np.mean(np.array(here) / unit))
    ratio = float(np.mean(error / unit)) / least if least > 0.0 else 1.0
    return max(ratio, 1.0) if np.isfinite(ratio) else 1.0
