r"""Choosing the step by fits that leave out a fifth of the rows from step and readout.

Each such fit has features of its own, and costs as much as the final one. So what only ranks the
candidates is cheap: sizes are screened with half of the neurons on the first fifth, the best and,
while they are better, those below, then the neighbours of these are compared with all neurons, on
as many fifths as it takes to have a thousand rows. The best alone is judged on all rows, at ridges
near its own. Features and their products are in
single precision, summed and factorised in double, unless rows are few or the ridge is so small
that it makes a difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from joblib import delayed
from numpy.typing import NDArray

from spikedrf.arrays import Array
from spikedrf.estimators.layer import LayerStep
from spikedrf.estimators.rows import Rows
from spikedrf.estimators.selection import Choice, Task, choice_of, choose_on, finalists
from spikedrf.estimators.trials import Readout
from spikedrf.parameters import Floats
from spikedrf.readout.leave_one_out import RidgePath
from spikedrf.running.workers import fits_at_a_time

_FOLDS = 5
#: A step must be better than none by this many standard errors of the difference. A gain that k
#: rows make alike is worth sqrt(k) of them: at one, a single row far out would decide.
MARGIN = 2.0
#: Neurons that sizes are screened with: half of them, but at least so many.
_SCREENING = 400
#: Rows that the best sizes are compared on, at least.
_COMPARING = 1000
#: Rounding in single precision is as good as none at ridges of this part of the features' variance.
#: Of fewer rows all is done in double precision.
_SINGLE, _MANY = 1e-3, 2000
#: Ridges on either side of the best that are judged on all fifths.
_NEIGHBOURS = 2
#: Squared residuals that are kept; more are worked out twice.
_KEPT = 1 << 22


class _Sums(NamedTuple):
    """Sums over rows of weight w: of ``w residual^2``, ``w gain``, ``w^2 gain``, ``(w gain)^2``.

    The gain is that over no step, targets standardised. Of shape (alphas, targets), the latter
    (alphas, 1), averaged over targets first, if these have the same ridge.
    """

    square: Floats
    gain: Floats
    weighted: Floats
    gain2: Floats


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Rows as `spikedrf.estimators.trials` takes them, their targets standardised.

    Attributes
    ----------
    rows : Rows
    y : ndarray, shape (n, targets)
    weight : ndarray of float32, shape (n,), or None
    """

    rows: Rows
    y: Floats
    weight: Array | None

    @classmethod
    def of(cls, rows: Rows, centre: Floats, unit: Floats) -> _Blocks:
        """Standardise the targets of some rows."""
        ones = bool((rows.weight == 1.0).all())
        weight = None if ones else rows.weight.astype(np.float32)
        return cls(rows, (rows.y - centre) / unit, weight)

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return float(self.rows.weight.sum())

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield the inputs in blocks."""
        return self.rows.blocks(np.float32)


@dataclass(frozen=True, eq=False)
class _Plain:
    """The fit without a step: its leave-one-out errors are exact and use every row.

    Attributes
    ----------
    path : RidgePath
    by_fold : ndarray, shape (folds, alphas, targets)
        Sums of its squared errors.
    alpha : ndarray of int, shape (targets,)
        Its best ridges.
    before : ndarray, shape (n, targets)
        Squared errors there.
    """

    path: RidgePath
    by_fold: Floats
    alpha: NDArray[np.int64]
    before: Floats

    @classmethod
    def of(cls, task: Task, rows: Rows, fold: NDArray[np.int64]) -> _Plain:
        """Fit it."""
        path = task.path(rows, None, 0.0)
        targets = np.arange(rows.y.shape[1])
        plain = np.zeros((int(fold.max()) + 1, task.alphas.size, targets.size))
        kept = None
        if len(rows) * plain[0].size <= _KEPT:
            kept = np.empty((len(rows), *plain[0].shape))
        for part, residual in path.leave_one_out():
            squares = np.square(residual, out=residual)
            for f in range(len(plain)):
                ours = fold[part] == f
                plain[f] += np.einsum("i,iat->at", rows.weight[part][ours], squares[ours])
            if kept is not None:
                kept[part] = squares
        if rows.within is not None:
            for f in range(len(plain)):
                plain[f] += rows.weight[fold == f] @ rows.within[fold == f]
        alpha, _ = task.best(plain.sum(axis=0) / rows.weight.sum(), rows)
        if kept is not None:
            return cls(path, plain, alpha, kept[:, alpha, targets])
        before = np.empty((len(rows), targets.size))
        for part, residual in path.leave_one_out():
            before[part] = residual[:, alpha, targets] ** 2
        return cls(path, plain, alpha, before)


@dataclass(frozen=True, eq=False)
class _Trials:
    """Fits with a step, of all rows but those of a fold.

    Attributes
    ----------
    task : Task
    rows : Rows
    fold : ndarray of int, shape (n,)
    before : ndarray, shape (n, targets)
        Squared errors without a step.
    single : bool
        Whether features are in single precision, as the weights then are.
    """

    task: Task
    rows: Rows
    fold: NDArray[np.int64]
    before: Floats
    single: bool

    @classmethod
    def of(
        cls, task: Task, rows: Rows, fold: NDArray[np.int64], plain: _Plain, single: bool
    ) -> Self:
        """Return them in single or double precision."""
        if single:
            layer = replace(task.layer, W=task.layer.W.astype(np.float32))
            task = replace(task, layer=layer)
        return cls(task, rows, fold, plain.before, single)

    def narrow(self, neurons: int) -> _Trials:
        """Return the same with the first neurons alone."""
        layer, some = self.task.layer, slice(0, neurons)
        layer = replace(layer, W=layer.W[some], u=layer.u[some], target=layer.target[some])
        return replace(self, task=replace(self.task, layer=layer))

    def without(self, f: int, step: LayerStep | None, etas: list[float]) -> list[_Sums]:
        """Leave a fold out of step and readout, and predict it, for several sizes of the step.

        Parameters
        ----------
        f : int
            The fold.
        step : LayerStep or None
            That of the other rows, of these neurons and it may be others; taken here if it is not
            given.
        etas : list of float
        """
        if etas and step is None:
            step = self.task.layer.step(self.rows.take(self.fold != f))
        return [self.judged(f, step, eta) for eta in etas]  # type: ignore[arg-type]

    def judged(self, f: int, step: LayerStep, eta: float) -> _Sums:
        """Do it for one size."""
        step = LayerStep(step.direction[: len(self.task.layer.W)], step.pull, step.strength)
        task, out = self.task, self.fold == f
        kept, held, unit = self.rows.take(~out), self.rows.take(out), task.unit(self.rows)
        shape = task.alphas.size, self.rows.y.shape[1]
        square = np.zeros(shape)
        gain, weighted, gain2 = np.zeros((3, shape[0], shape[1] if task.per_target else 1))
        before = self.before[out]
        for part, after in self._errors(kept, held, task.layer.weights(step, eta)):
            weight = held.weight[part]
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

    def _errors(self, kept: Rows, held: Rows, weights: Array) -> Iterator[tuple[slice, Floats]]:
        """Yield the squared errors of rows held out, shape (m, alphas, targets)."""
        task = self.task
        if self.single:
            unit = np.sqrt(task.unit(self.rows))
            centre = self.rows.weight @ self.rows.y / self.rows.weight.sum()
            if not task.intercept:
                centre = np.zeros_like(centre)
            readout = Readout.of(
                weights,
                _Blocks.of(kept, centre, unit),
                task.layer.activation,
                intercept=task.intercept,
            )
            if np.isfinite(np.trace(readout.gram)):
                data = _Blocks.of(held, centre, unit)
                a = readout.solve(np.maximum(task.alphas, 1e-9 * readout.unit) / readout.unit)
                for part, found in readout.predictions(data, a):
                    yield part, np.square(unit * (found - data.y[part, None, :]))
                return
        path = task.layer.ridge_path(kept, weights, task.alphas, intercept=task.intercept)
        a, b = path.readouts
        flat = a.reshape(len(a), -1)
        for part, phi, y, _ in task.layer.feature_blocks(held, weights):
            yield part, ((phi @ flat).reshape(-1, *b.shape) + b - y[:, None, :]) ** 2


def cross_fit(
    task: Task, rows: Rows, unit: float, salt: int, *, forced: float | None = None
) -> Choice:
    """Choose by fits that leave out a fifth of the rows from the step as well as the readout.

    The best is judged on all fifths against the leave-one-out error without a step: a step is
    taken only if it is better by two standard errors of the difference, row by row. (Of several
    targets with a ridge each, the mean of their standard errors, which is not less than that of
    the mean.)

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
    fold = rows.deal(salt, _FOLDS)
    plain = _Plain.of(task, rows, fold)
    nothing = plain.by_fold.sum(axis=0) / rows.weight.sum()
    if len(plain.by_fold) < 2:
        if forced is None:
            return choice_of(task, {0.0: nothing}, 0.0, rows, path=plain.path)
        return choose_on(task, task.layer.step(rows), rows, rows, forced=forced)
    floor = _SINGLE * _variance(task, rows)
    many = len(rows) >= _MANY and len(rows) > 2 * len(task.layer.W)
    single = many and bool((task.alphas[plain.alpha] >= floor).all())
    compared = _compared(_Trials.of(task, rows, fold, plain, single), plain, unit, forced)
    if compared is not None and single:
        alpha = task.best(compared.tried[compared.best], rows)[0]
        if (task.alphas[alpha] < floor).any():
            compared = _compared(_Trials.of(task, rows, fold, plain, False), plain, unit, forced)
    if compared is None:
        return choice_of(task, {0.0: nothing}, 0.0, rows, path=plain.path)
    best, tried, sums, near = compared
    if forced is not None:
        return choice_of(task, {forced: tried[forced]}, forced, rows)
    alpha, _ = task.best(tried[best], rows)
    mean, sem = _gain(sums, np.searchsorted(near, alpha), rows)
    taken = mean > MARGIN * sem
    return choice_of(
        task,
        tried | {0.0: nothing},
        best if taken else 0.0,
        rows,
        gain=mean,
        gain_sem=sem,
        path=None if taken else plain.path,
    )


def _variance(task: Task, rows: Rows) -> float:
    """Return the unit of ridges: the features' variance, times the mean weight, of some rows."""
    some = rows.take(np.arange(min(len(rows), 500)))
    phi = np.concatenate([block.Phi for block in task.layer.feature_blocks(some, task.layer.W)])
    return float(phi.var(axis=0).mean() * rows.weight.mean())


class _Compared(NamedTuple):
    """The best size, errors of all that were tried, what the best left, and at which ridges."""

    best: float
    tried: dict[float, Floats]
    sums: list[_Sums]
    near: NDArray[np.int64]


def _compared(
    trials: _Trials, plain: _Plain, unit: float, forced: float | None
) -> _Compared | None:
    """Screen, compare, judge; None if there is no size to try."""
    task, rows, fold = trials.task, trials.rows, trials.fold
    folds, total = len(plain.by_fold), rows.weight.sum()
    nothing = plain.by_fold.sum(axis=0) / total
    # One step at a time (and worker): of many inputs each is as large as all other things.
    first = task.layer.step(rows.take(fold != 0))
    tried: dict[float, Floats] = {}

    neurons = max(len(task.layer.W) // 2, _SCREENING)
    narrow = trials.narrow(neurons) if neurons < len(task.layer.W) else trials
    known: dict[tuple[float, int], _Sums] = {}

    def squares(eta: float, some: int) -> Floats:
        """Return errors of the first folds on the scale of all rows, by those without a step."""
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [known[eta, f].square for f in range(some)]
            errors = np.add.reduce(parts) / plain.by_fold[:some].sum(axis=0) * nothing
        return np.where(np.isnan(errors), np.inf, errors)

    def judge(trials: _Trials, etas: list[float], which: range) -> None:
        new = [[eta for eta in etas if (eta, f) not in known] for f in which]
        fits = (
            delayed(trials.without)(f, None if f else first, new[i]) for i, f in enumerate(which)
        )
        found = fits_at_a_time(fits, task.n_jobs, "the step, a fifth left out")
        for f, ours, each in zip(which, new, found, strict=True):
            known.update(((eta, f), sums) for eta, sums in zip(ours, each, strict=True))

    def screen(etas: list[float]) -> list[float]:
        """Rank with some neurons; then with all down to where smaller is no longer better.

        With fewer neurons larger steps are better, never smaller ones.
        """
        judge(narrow, etas, range(1))
        tried.update((eta, squares(eta, 1)) for eta in etas)
        errors = [task.best(tried[eta], rows)[1] for eta in etas]
        if narrow.task.layer is task.layer:
            return errors
        known.clear()
        found = [np.inf] * len(etas)
        for i in range(int(np.argmin(errors)), -1, -1):
            judge(trials, [etas[i]], range(1))
            found[i] = task.best(squares(etas[i], 1), rows)[1]
            if i + 1 < len(etas) and found[i] > found[i + 1]:
                break
        return found

    etas = [forced] if forced is not None else finalists(task, unit, screen)
    if not etas:
        return None
    some = 1 if len(etas) == 1 else min(folds, int(np.ceil(_COMPARING * folds / len(rows))))
    judge(trials, etas, range(some))
    screened, compared = tried, {eta: squares(eta, some) for eta in etas}
    best = min(etas, key=lambda eta: task.best(compared[eta], rows)[1])
    guess, done = compared[best], some
    tried = dict(compared)
    for eta in screened.keys() - compared.keys():
        # Fewer neurons err more: so much more as where both were tried.
        both = min(screened.keys() & compared.keys(), key=lambda other: abs(np.log(other / eta)))
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = compared[both] / screened[both]
        tried[eta] = np.where(np.isfinite(factor), factor, 1.0) * screened[eta]
    firsts = [known[best, f] for f in range(done)]
    for near in (_near(task, guess, rows), np.arange(task.alphas.size)):
        at = replace(trials, task=replace(task, alphas=task.alphas[near]))
        known.clear()
        judge(at, [best], range(done, folds))
        sums = [_Sums(*(each[near] for each in found)) for found in firsts]
        sums += [known[best, f] for f in range(done, folds)]
        tried[best] = guess.copy()
        tried[best][near] = np.add.reduce([s.square for s in sums]) / total
        if np.isin(task.best(tried[best], rows)[0], near).all():
            break
    return _Compared(best, tried, sums, near)


def _near(task: Task, errors: Floats, rows: Rows) -> NDArray[np.int64]:
    """Return which ridges are near the best of a target: next but one at most. Of few rows all."""
    if len(rows) < _MANY:
        return np.arange(task.alphas.size)
    rank = np.argsort(np.argsort(task.alphas))
    best = rank[task.best(errors, rows)[0]]
    return np.flatnonzero((np.abs(rank[:, None] - best) <= _NEIGHBOURS).any(axis=1))


def _gain(parts: list[_Sums], alpha: NDArray[np.int64], rows: Rows) -> tuple[float, float]:
    """Return what a step gains over none, and the standard error of that."""
    total = rows.weight.sum()
    gain = np.add.reduce([s.gain for s in parts]) / total
    # The error of a weighted mean, of which a common factor of the weights changes nothing.
    with np.errstate(invalid="ignore"):  # infinite if nothing is known of the fit without a step
        weighted = np.add.reduce([s.weighted for s in parts])
        gain2 = np.add.reduce([s.gain2 for s in parts])
        variance = (gain2 - gain * (2.0 * weighted - gain * (rows.weight @ rows.weight))) / total**2
    at = alpha[: gain.shape[1]], np.arange(gain.shape[1])
    return float(gain[at].mean()), float(np.sqrt(np.maximum(variance[at], 0.0)).mean())
