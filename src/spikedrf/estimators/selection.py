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
from typing import Any, NamedTuple

import numpy as np
from joblib import delayed
from numpy.typing import NDArray

from spikedrf.estimators.layer import Layer, Step
from spikedrf.estimators.rows import Rows
from spikedrf.parameters import Floats
from spikedrf.readout.leave_one_out import RidgePath
from spikedrf.running.progress import counted
from spikedrf.running.workers import fits_at_a_time

#: Strengths of the steps that are tried first, on the scale of `Step.strength`.
_STRENGTHS = np.array([0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
_FOLDS = 5
#: A step must be better than none by this many standard errors of the difference. A gain that k
#: rows make alike is worth sqrt(k) of them: at one, a single row far out would decide.
MARGIN = 2.0


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
    layer : Layer
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

    layer: Layer
    step_sizes: Floats | None
    alphas: Floats
    per_target: bool
    intercept: bool
    n_jobs: int | None = None

    def path(self, rows: Rows, step: Step | None, eta: float) -> RidgePath:
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


def _finalists(
    task: Task, unit: float, errors: Callable[[list[float]], list[float]]
) -> list[float]:
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
        The rows of the readout with a step and without it, of distinct inputs.
    forced : float, optional
        The step size, if only the ridge is to be chosen.
    """
    table: dict[float, Floats] = {}
    best: tuple[float, RidgePath] | None = None

    def error(eta: float) -> float:
        return task.best(table[eta], everything)[1]

    def errors(etas: list[float]) -> list[float]:
        nonlocal best
        new = [eta for eta in etas if eta not in table]
        for eta in counted(new, len(new), "leave-one-out"):
            rows = fresh if eta else everything
            path = task.path(rows, step, eta)
            table[eta] = path.mean_square()
            # In doubt the smaller step; only the fit of the best is kept.
            if best is None or (error(eta), abs(eta)) < (error(best[0]), abs(best[0])):
                best = eta, path
        return [error(eta) for eta in etas]

    if forced is not None:
        errors([forced])
    else:
        errors([0.0])
        errors([] if step is None else _finalists(task, step.strength, errors))
    assert best is not None
    return _choice(task, table, best[0], everything, path=best[1])


def _choice(
    task: Task, table: dict[float, Floats], chosen: float, rows: Rows, **more: Any
) -> Choice:
    alpha, _ = task.best(table[chosen], rows)
    targets = np.arange(alpha.size)
    etas = sorted(table)
    return Choice(
        step_size=chosen,
        alpha=alpha,
        error=table[chosen][alpha, targets],
        step_sizes=np.array(etas),
        errors=np.stack([table[eta] for eta in etas]),
        **more,
    )


class _Sums(NamedTuple):
    """Sums over rows of weight w: of ``w residual^2``, ``w gain``, ``w^2 gain``, ``(w gain)^2``.

    The gain is that over no step, targets standardised. Of shape (alphas, targets), the latter
    (alphas, 1), averaged over targets first, if these have the same ridge.
    """

    square: Floats
    gain: Floats
    weighted: Floats
    gain2: Floats


def _left_out(
    task: Task, rows: Rows, out: NDArray[Any], before: Floats, step: Step, eta: float
) -> _Sums:
    """Leave some rows out of step and readout, and predict them.

    Parameters
    ----------
    task : Task
    rows : Rows
    out : ndarray of bool, shape (n,)
        Those left out.
    before : ndarray, shape (n, targets)
        Squared residuals without a step.
    step : Step
        That of the other rows.
    eta : float
        Its size.
    """
    held, before, unit = rows.take(out), before[out], task.unit(rows)
    path = task.path(rows.take(~out), step, eta)
    shape = task.alphas.size, rows.y.shape[1]
    square = np.zeros(shape)
    gain, weighted, gain2 = np.zeros((3, shape[0], shape[1] if task.per_target else 1))
    a, b = path.readouts
    flat = a.reshape(len(a), -1)
    for part, phi, y, weight in task.layer.feature_blocks(held, task.layer.weights(step, eta)):
        after = ((phi @ flat).reshape(-1, *b.shape) + b - y[:, None, :]) ** 2
        square += np.einsum("i,iat->at", weight, after)
        gained = (before[part, None, :] - after) / unit
        if not task.per_target:
            gained = gained.mean(axis=2, keepdims=True)
        gained *= weight[:, None, None]
        gain += gained.sum(axis=0)
        weighted += np.einsum("i,iat->at", weight, gained)
        gain2 += np.einsum("iat,iat->at", gained, gained)
    if held.within is not None:
        square += held.weight @ held.within
    return _Sums(square, gain, weighted, gain2)


def _steps_left_out(
    task: Task,
    rows: Rows,
    out: NDArray[Any],
    before: Floats,
    step: Step | None,
    etas: list[float],
) -> list[_Sums]:
    """Do `_left_out` for several sizes of a step, which is taken here if it is not given."""
    if etas and step is None:
        step = task.layer.step(rows.take(~out))
    return [_left_out(task, rows, out, before, step, eta) for eta in etas]  # type: ignore[arg-type]


def cross_fit(
    task: Task, rows: Rows, unit: float, salt: int, *, forced: float | None = None
) -> Choice:
    """Choose by fits that leave out a fifth of the rows from the step as well as the readout.

    The steps are screened on the first fifth; the best and its neighbours are then judged on all
    of them, against the leave-one-out error without a step: a step is taken only if it is better
    by two standard errors of the difference, row by row. (Of several targets with a ridge each,
    the mean of their standard errors, which is not less than that of the mean.)

    Parameters
    ----------
    task : Task
    rows : Rows
        Of distinct inputs.
    unit : float
        Strength of a step of size one on these rows.
    salt : int
        What the rows are dealt out by.
    forced : float, optional
        The step size, if only the ridge is to be chosen.
    """
    total = rows.weight.sum()
    fold = rows.deal(salt, _FOLDS)
    folds = int(fold.max()) + 1
    targets = np.arange(rows.y.shape[1])

    # Without a step the leave-one-out error is exact and uses every row. A second pass for the
    # residuals at the best ridge: those at every ridge would be n x alphas x targets numbers.
    path = task.path(rows, None, 0.0)
    plain = np.zeros((folds, task.alphas.size, targets.size))
    for part, residual in path.leave_one_out():
        for f in range(folds):
            ours = fold[part] == f
            plain[f] += np.einsum("i,iat->at", rows.weight[part][ours], residual[ours] ** 2)
    if rows.within is not None:
        for f in range(folds):
            plain[f] += rows.weight[fold == f] @ rows.within[fold == f]
    table = {0.0: plain.sum(axis=0) / total}
    alpha, _ = task.best(table[0.0], rows)
    before = np.empty((len(rows), targets.size))
    for part, residual in path.leave_one_out():
        before[part] = residual[:, alpha, targets] ** 2
    if folds < 2:
        if forced is None:
            return _choice(task, table, 0.0, rows, path=path)
        return choose_on(task, task.layer.step(rows), rows, rows, forced=forced)

    # One step at a time (and worker): of many inputs each is as large as all other things.
    first = task.layer.step(rows.take(fold != 0))
    known: dict[tuple[float, int], _Sums] = {}

    def screen(etas: list[float]) -> list[float]:
        """Judge on the first fold, on the scale of all rows by the error without a step."""
        fits = (delayed(_left_out)(task, rows, fold == 0, before, first, eta) for eta in etas)
        found = fits_at_a_time(fits, task.n_jobs, "sizes of the step")
        known.update(((eta, 0), sums) for eta, sums in zip(etas, found, strict=True))
        for eta in etas:
            with np.errstate(divide="ignore", invalid="ignore"):
                scaled = known[eta, 0].square / plain[0] * table[0.0]
            table[eta] = np.where(np.isnan(scaled), np.inf, scaled)
        return [task.best(table[eta], rows)[1] for eta in etas]

    finalists = [forced] if forced is not None else _finalists(task, unit, screen)
    if not finalists:
        return _choice(task, table, 0.0, rows, path=path)
    new = [[eta for eta in finalists if (eta, f) not in known] for f in range(folds)]
    fits = (
        delayed(_steps_left_out)(task, rows, fold == f, before, None if f else first, new[f])
        for f in range(folds)
    )
    for f, found in enumerate(fits_at_a_time(fits, task.n_jobs, "the step, a fifth left out")):
        known.update(((eta, f), sums) for eta, sums in zip(new[f], found, strict=True))
    sums = {eta: [known[eta, f] for f in range(folds)] for eta in finalists}
    for eta in finalists:
        table[eta] = np.add.reduce([s.square for s in sums[eta]]) / total
    if forced is not None:
        return _choice(task, {forced: table[forced]}, forced, rows)

    best = min(finalists, key=lambda eta: task.best(table[eta], rows)[1])
    alpha, _ = task.best(table[best], rows)
    gain = np.add.reduce([s.gain for s in sums[best]]) / total
    # The error of a weighted mean, of which a common factor of the weights changes nothing.
    with np.errstate(invalid="ignore"):  # infinite if nothing is known of the fit without a step
        weighted = np.add.reduce([s.weighted for s in sums[best]])
        gain2 = np.add.reduce([s.gain2 for s in sums[best]])
        variance = (gain2 - gain * (2.0 * weighted - gain * (rows.weight @ rows.weight))) / total**2
    at = alpha[: gain.shape[1]], np.arange(gain.shape[1])
    mean = float(gain[at].mean())
    sem = float(np.sqrt(np.maximum(variance[at], 0.0)).mean())
    taken = mean > MARGIN * sem
    return _choice(
        task,
        table,
        best if taken else 0.0,
        rows,
        gain=mean,
        gain_sem=sem,
        path=None if taken else path,
    )


def judged(path: RidgePath, step_size: float) -> Choice:
    """Return the choice of the only candidate there is, with its leave-one-out error."""
    error = path.mean_square()[0]
    at = np.zeros(error.size, np.int64)
    return Choice(step_size, at, error, np.array([step_size]), error[None, None])
