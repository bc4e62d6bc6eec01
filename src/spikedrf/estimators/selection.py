r"""Choosing the step and the ridge from the data.

When the same rows feed the step and the readout, the features of a row know its own label: the
row's own term moves all neurons along ``y x``. The leave-one-out error of the readout does not
see this and is optimistic, the more so the larger the step and the fewer rows there are for each
input. Two honest ways out:

* fresh rows: the step sees one part of them, the readout the rest, of which the exact
  leave-one-out error is that of the theory (`leave_one_out`);
* cross-fitting: the whole fit, step and readout on the same rows, is repeated without one fifth
  of the rows at a time, and judged on these (`spikedrf.estimators.cross_fitting`). What is judged
  is then what will be used, with nearly as many rows; nothing is lost to a split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.estimators.layer import InitialLayer, LayerStep
from spikedrf.estimators.rows import Rows
from spikedrf.parameters import Floats
from spikedrf.readout.leave_one_out import RidgePath
from spikedrf.running.progress import counted

#: Strengths of the steps that are tried first, on the scale of `LayerStep.strength`.
_STRENGTHS = np.array([0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen, and from what.

    Attributes
    ----------
    step_size : float
    alpha : ndarray, shape (targets,)
        Index of the chosen ridge for each target.
    error : ndarray, shape (targets,)
        Estimated mean squared error there.
    step_sizes : ndarray, shape (steps,)
        All that were tried, ascending.
    errors : ndarray, shape (steps, alphas, targets)
        Estimated mean squared error of each.
    gain, gain_sem : float
        What the best step gains over none, targets standardised, and its standard error; NaN if
        they were not compared row by row.
    path : RidgePath or None
        The fit to all rows of the readout with the chosen step, if the choice has made it.
    """

    step_size: float
    alpha: NDArray[np.int64]
    error: Floats
    step_sizes: Floats
    errors: Floats
    gain: float = np.nan
    gain_sem: float = np.nan
    path: RidgePath | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """What there is to choose from.

    Attributes
    ----------
    layer : InitialLayer
    step_sizes : ndarray or None
        Candidates; None lets the strengths decide.
    alphas : ndarray, shape (alphas,)
        Ridges to choose from.
    per_target : bool
        Whether each target has its own ridge.
    intercept : bool
    n_jobs : int or None
        Fits at a time, as joblib's.
    """

    layer: InitialLayer
    step_sizes: Floats | None
    alphas: Floats
    per_target: bool
    intercept: bool
    n_jobs: int | None = None

    def path(self, rows: Rows, step: LayerStep | None, eta: float) -> RidgePath:
        """Fit the readout to the features of the rows, for every ridge."""
        weights = self.layer.weights(step, eta)
        return self.layer.ridge_path(rows, weights, self.alphas, intercept=self.intercept)

    def unit(self, rows: Rows) -> Floats:
        """Return the variance of each target, or 1 if it does not vary."""
        variance = rows.variance
        return np.asarray(np.where(variance > 0, variance, 1.0))

    def best(self, errors: Floats, rows: Rows) -> tuple[NDArray[np.int64], float]:
        """Return the best ridge of each target and the error there, targets standardised.

        ``errors`` has shape (alphas, targets).
        """
        relative = errors / self.unit(rows)
        relative = np.where(np.isnan(relative), np.inf, relative)
        targets = errors.shape[1]
        if self.per_target:
            alpha = np.argmin(relative, axis=0)
        else:
            alpha = np.full(targets, np.argmin(relative.mean(axis=1)))
        return alpha, float(relative[alpha, np.arange(targets)].mean())


def finalists(task: Task, unit: float, errors: Callable[[list[float]], list[float]]) -> list[float]:
    """Return the steps worth a closer look: those given, or the best strength and its neighbours.

    Parameters
    ----------
    task : Task
    unit : float
        Strength of a step of size one.
    errors : callable
        A cheap estimate of the error at some step sizes.
    """
    if task.step_sizes is not None:
        return [float(eta) for eta in task.step_sizes if eta != 0.0]
    if unit == 0.0:
        return []
    tried = (_STRENGTHS / unit).tolist()
    best = tried[int(np.argmin(errors(tried)))]
    return [best, best / np.sqrt(2.0), best * np.sqrt(2.0)]


def choose_on(
    task: Task,
    step: LayerStep | None,
    fresh: Rows,
    everything: Rows,
    *,
    forced: float | None = None,
    judging: NDArray[np.bool_] | None = None,
) -> Choice:
    """Choose by the exact leave-one-out error of the rows that feed the readout.

    Without a step the readout may use every row, and its error is that of these rows.

    Parameters
    ----------
    task : Task
    step : LayerStep or None
        None leaves only the ridge to be chosen.
    fresh, everything : Rows
        The rows of the readout with a step and without it, of distinct inputs.
    forced : float, optional
        The step size, if only the ridge is to be chosen.
    judging : ndarray of bool, optional
        Which of the rows of the readout judge; by default all.
    """
    tried: dict[float, Floats] = {}
    best: tuple[float, RidgePath] | None = None

    def error(eta: float) -> float:
        return task.best(tried[eta], everything)[1]

    def errors(etas: list[float]) -> list[float]:
        nonlocal best
        new = [eta for eta in etas if eta not in tried]
        for eta in counted(new, len(new), "leave-one-out"):
            rows = fresh if eta else everything
            path = task.path(rows, step, eta)
            tried[eta] = path.mean_square(judging)
            # In doubt the smaller step; only the fit of the best is kept.
            if best is None or (error(eta), abs(eta)) < (error(best[0]), abs(best[0])):
                best = eta, path
        return [error(eta) for eta in etas]

    if forced is not None:
        errors([forced])
    else:
        errors([0.0])
        errors([] if step is None else finalists(task, step.strength, errors))
    assert best is not None
    return choice_of(task, tried, best[0], everything, path=best[1])


def choice_of(
    task: Task, tried: dict[float, Floats], chosen: float, rows: Rows, **more: Any
) -> Choice:
    """Return the choice of a step, and of its best ridges, from the errors of all."""
    alpha, _ = task.best(tried[chosen], rows)
    targets = np.arange(alpha.size)
    etas = sorted(tried)
    return Choice(
        step_size=chosen,
        alpha=alpha,
        error=tried[chosen][alpha, targets],
        step_sizes=np.array(etas),
        errors=np.stack([tried[eta] for eta in etas]),
        **more,
    )


def judged(path: RidgePath, step_size: float) -> Choice:
    """Return the choice of the only candidate there is, with its leave-one-out error."""
    error = path.mean_square()[0]
    at = np.zeros(error.size, np.int64)
    return Choice(step_size, at, error, np.array([step_size]), error[None, None])
