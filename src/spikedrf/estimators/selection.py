r"""Choosing the step and the ridge from the data.

When the same rows feed the step and the readout, the features of a row know its own label: the
row's own term moves all neurons along ``y x``. The leave-one-out error of the readout does not
see this and is optimistic, the more so the larger the step and the fewer rows there are for each
input. Two honest ways out:

* fresh rows: the step sees one part of them, the readout the rest, of which the exact
  leave-one-out error is that of the theory (`leave_one_out`);
* cross-fitting: the whole fit, step and readout on the same rows, is repeated without one fifth
  of the rows at a time, and judged on these (`cross_fit`). What is judged is then what will be
  used, with nearly as many rows; nothing is lost to a split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikedrf.estimators.layer import Layer, Step
from spikedrf.estimators.rows import Rows
from spikedrf.leave_one_out import RidgePath, ridge_path
from spikedrf.parameters import Floats

#: Strengths of the steps that are tried first, on the scale of `Step.strength`.
_STRENGTHS = np.array([0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
_FOLDS = 5
#: A step must be better than none by this many standard errors of the difference.
_MARGIN = 1.0


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
    """

    step_size: float
    alpha: NDArray[np.int64]
    error: Floats
    step_sizes: Floats
    errors: Floats


@dataclass(frozen=True, eq=False)
class Task:
    """What there is to choose from.

    Attributes
    ----------
    layer : Layer
    step_sizes : ndarray or None
        Candidates; None lets the strengths decide.
    alphas : ndarray, shape (alphas,)
        Ridges to choose from.
    per_target : bool
        Whether each target has its own ridge.
    intercept : bool
    """

    layer: Layer
    step_sizes: Floats | None
    alphas: Floats
    per_target: bool
    intercept: bool

    def path(self, rows: Rows, step: Step | None, eta: float) -> RidgePath:
        """Fit the readout to the features of the rows, for every ridge."""
        weights = self.layer.weights(step, eta)
        return ridge_path(
            lambda: self.layer.feature_blocks(rows, weights),
            len(rows),
            len(weights),
            self.alphas,
            intercept=self.intercept,
        )

    def best(self, errors: Floats, rows: Rows) -> tuple[NDArray[np.int64], float]:
        """Return the best ridge of each target and the error there, targets standardised.

        ``errors`` has shape (alphas, targets).
        """
        share = rows.weight / rows.weight.sum()
        variance = share @ (rows.y - share @ rows.y) ** 2
        relative = errors / np.where(variance > 0, variance, 1.0)
        relative = np.where(np.isnan(relative), np.inf, relative)
        targets = errors.shape[1]
        if self.per_target:
            alpha = np.argmin(relative, axis=0)
        else:
            alpha = np.full(targets, np.argmin(relative.mean(axis=1)))
        return alpha, float(relative[alpha, np.arange(targets)].mean())


def leave_one_out(task: Task, rows: Rows, path: RidgePath) -> Floats:
    """Return squared leave-one-out residuals of the rows, averaged: shape (alphas, targets)."""
    share = rows.weight / rows.weight.sum()
    total = np.zeros((task.alphas.size, rows.y.shape[1]))
    for part, residual in path.leave_one_out():
        total += np.einsum("i,iat->at", share[part], residual**2)
    return total


def _finalists(task: Task, unit: float, error: Callable[[float], float]) -> list[float]:
    """Return the steps worth a closer look: those given, or the best strength and its neighbours.

    Parameters
    ----------
    task : Task
    unit : float
        Strength of a step of size one.
    error : callable
        A cheap estimate of the error at a step size.
    """
    if task.step_sizes is not None:
        return [float(eta) for eta in task.step_sizes if eta != 0.0]
    if unit == 0.0:
        return []
    best = min((_STRENGTHS / unit).tolist(), key=error)
    return [best, best / np.sqrt(2.0), best * np.sqrt(2.0)]


def choose_on(
    task: Task, step: Step | None, fresh: Rows, everything: Rows, *, forced: float | None = None
) -> Choice:
    """Choose by the exact leave-one-out error of the rows that feed the readout.

    Without a step the readout may use every row, and its error is that of these rows.

    Parameters
    ----------
    task : Task
    step : Step or None
        None leaves only the ridge to be chosen.
    fresh, everything : Rows
        The rows of the readout with a step and without it.
    forced : float, optional
        The step size, if only the ridge is to be chosen.
    """
    table: dict[float, Floats] = {}

    def error(eta: float) -> float:
        if eta not in table:
            rows = fresh if eta else everything
            table[eta] = leave_one_out(task, rows, task.path(rows, step, eta))
        return task.best(table[eta], everything)[1]

    if forced is not None:
        etas = [forced]
    else:
        etas = [0.0] if step is None else [0.0, *_finalists(task, step.strength, error)]
    for eta in etas:
        error(eta)
    chosen = min(sorted(table, key=abs), key=error)
    return _choice(task, table, chosen, everything)


def _choice(task: Task, table: dict[float, Floats], chosen: float, rows: Rows) -> Choice:
    alpha, _ = task.best(table[chosen], rows)
    targets = np.arange(alpha.size)
    etas = sorted(table)
    return Choice(
        step_size=chosen,
        alpha=alpha,
        error=table[chosen][alpha, targets],
        step_sizes=np.array(etas),
        errors=np.stack([table[eta] for eta in etas]),
    )


def cross_fit(
    task: Task, rows: Rows, unit: float, salt: int, *, forced: float | None = None
) -> Choice:
    """Choose by fits that leave out a fifth of the rows from the step as well as the readout.

    The steps are screened on the first fifth; the best and its neighbours are then judged on all
    of them, against the leave-one-out error without a step: a step is taken only if it is better
    by one standard error of the difference, row by row.

    Parameters
    ----------
    task : Task
    rows : Rows
    unit : float
        Strength of a step of size one on these rows.
    salt : int
        What the rows are dealt out by.
    forced : float, optional
        The step size, if only the ridge is to be chosen.
    """
    share = rows.weight / rows.weight.sum()
    keys = rows.keys(salt)
    distinct, rank = np.unique(keys, return_inverse=True)
    folds = min(_FOLDS, distinct.size)
    fold = rank % folds if folds else rank
    targets = rows.y.shape[1]

    # Without a step the leave-one-out error is exact and uses every row.
    plain = np.empty((len(rows), task.alphas.size, targets))
    for part, residual in task.path(rows, None, 0.0).leave_one_out():
        plain[part] = residual**2
    table = {0.0: np.einsum("i,iat->at", share, plain)}
    if folds < 2:
        return _choice(task, table, 0.0, rows)
    steps = [task.layer.step(rows.take(fold != f)) for f in range(folds)]

    squares: dict[float, Floats] = {}

    def judge(eta: float, some: range) -> None:
        """Predict the rows of some folds by fits without them; NaN marks what is missing."""
        if eta not in squares:
            squares[eta] = np.full_like(plain, np.nan)
        for f in some:
            out = fold == f
            if not np.isnan(squares[eta][out]).any():
                continue
            path = task.path(rows.take(~out), steps[f], eta)
            held = rows.take(out)
            value = np.empty((len(held), task.alphas.size, targets))
            weights = task.layer.weights(steps[f], eta)
            for part, phi, y, _ in task.layer.feature_blocks(held, weights):
                value[part] = (path.predict(phi) - y[:, None, :]) ** 2
            squares[eta][out] = value

    first = fold == 0

    def screened(eta: float) -> Floats:
        """Error over the first fold, on the scale of all rows by the error without a step."""
        weight = share[first] / share[first].sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.einsum("i,iat->at", weight, squares[eta][first]) / np.einsum(
                "i,iat->at", weight, plain[first]
            )
        return np.asarray(ratio * table[0.0])

    def error(eta: float) -> float:
        judge(eta, range(1))
        table[eta] = screened(eta)
        return task.best(table[eta], rows)[1]

    finalists = [forced] if forced is not None else _finalists(task, unit, error)
    for eta in finalists:
        judge(eta, range(folds))
        table[eta] = np.einsum("i,iat->at", share, squares[eta])
    if forced is not None:
        return _choice(task, {forced: table[forced]}, forced, rows)
    if not finalists:
        return _choice(task, table, 0.0, rows)
    chosen = min(finalists, key=lambda eta: task.best(table[eta], rows)[1])
    gain, spread = _gain(task, rows, plain, squares[chosen], table[0.0], table[chosen])
    return _choice(task, table, chosen if gain > _MARGIN * spread else 0.0, rows)


def judged(path: RidgePath, rows: Rows, step_size: float) -> Choice:
    """Return the choice of the only candidate there is, with its leave-one-out error."""
    share = rows.weight / rows.weight.sum()
    error = np.zeros(rows.y.shape[1])
    for part, residual in path.leave_one_out():
        error += share[part] @ residual[:, 0] ** 2
    at = np.zeros(error.size, np.int64)
    return Choice(step_size, at, error, np.array([step_size]), error[None, None])


def _gain(
    task: Task, rows: Rows, plain: Floats, stepped: Floats, without: Floats, with_step: Floats
) -> tuple[float, float]:
    """Return the mean gain of the step, targets standardised, and its standard error."""
    share = rows.weight / rows.weight.sum()
    variance = share @ (rows.y - share @ rows.y) ** 2
    targets = np.arange(rows.y.shape[1])
    before = plain[:, task.best(without, rows)[0], targets]
    after = stepped[:, task.best(with_step, rows)[0], targets]
    gain = ((before - after) / np.where(variance > 0, variance, 1.0)).mean(axis=1)
    mean = float(share @ gain)
    spread = np.sqrt(float(share @ (gain - mean) ** 2) / rows.weight.sum())
    return mean, spread
