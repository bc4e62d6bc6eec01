"""Choosing the ridge of a readout under any loss, and whether a step helps: on rows left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from joblib import delayed
from numpy.typing import NDArray

from spikedrf.arrays import row_blocks
from spikedrf.estimators.layer import SteppedLayer
from spikedrf.estimators.rows import Rows
from spikedrf.losses import Loss
from spikedrf.parameters import Floats
from spikedrf.readout.convex import Path, Readout, ReadoutProblem, best_constant
from spikedrf.running.workers import fits_at_a_time

_FOLDS = 5
#: Ridges that are fitted together: always so many, so that no result depends on where it ends.
_AT_A_TIME = 7
#: Ridges of another loss are tried from so many times that of the square on, if none is given.
_ABOVE = 10.0**1.5
#: Relative accuracy of the fits that are compared: far below what tells two ridges apart.
_ACCURACY = 1e-4
#: Smaller ridges are not tried where the loss is larger than its minimum by this factor.
_WORSE = 1.1


class Penalties(NamedTuple):
    """The ridges that were tried, and what was best.

    Attributes
    ----------
    alphas : ndarray, shape (alphas,)
    losses : ndarray, shape (alphas, targets)
        Estimated mean loss on new rows; NaN for a target that no fold could judge.
    best : ndarray of int, shape (targets,)
        Which one each target takes.
    at_best : ndarray, shape (n, targets)
        The loss of each row, left out, at that; NaN where it could not be judged. In units of what
        the best constant costs.
    starts : list of Readout or None
        Of each target a readout near that on all rows, if the loss is smooth: of the first fold.
    """

    alphas: Floats
    losses: Floats
    best: NDArray[np.int64]
    at_best: Floats
    starts: list[Readout | None]

    @property
    def mean(self) -> Floats:
        """The mean loss over the targets that could be judged, shape (alphas,)."""
        judged = ~np.isnan(self.losses).any(axis=0)
        if not judged.any():
            return np.full(len(self.alphas), np.nan)
        return np.asarray(self.losses[:, judged].mean(axis=1))

    def gain(
        self, other: Penalties, weight: Floats, copies: NDArray[np.int64]
    ) -> tuple[float, float]:
        """Return by how much this is better than another on the same rows, and its error.

        The standard error of a weighted mean over rows, targets averaged first; rows of the same
        number in ``copies`` are one.
        """
        each = other.at_best - self.at_best
        judged = ~np.isnan(each).any(axis=1)
        if not judged.any():
            return 0.0, 0.0
        gain, weight = each[judged].mean(axis=1), weight[judged]
        mean = float(np.average(gain, weights=weight))
        off = np.bincount(copies[judged], weight * (gain - mean))
        return mean, float(np.linalg.norm(off) / weight.sum())


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Fits that leave out a fifth of the rows, from the step too if they fed it.

    Attributes
    ----------
    losses : sequence of Loss
        Of each target. Of a margin, every class is dealt out evenly.
    alphas : ndarray, shape (alphas,)
        Ridges, > 0.
    intercept : bool
    per_target : bool
        Whether each target has its own ridge.
    stop_early : bool
        Whether ridges below one at which the first fifth is fitted clearly worse are left out.
    salt : int
        What the rows are dealt out by.
    n_jobs : int or None
        Fits at a time, as joblib's.
    single : bool
        Whether smooth losses are fitted in single precision.
    """

    losses: Sequence[Loss]
    alphas: Floats
    intercept: bool
    per_target: bool
    stop_early: bool
    salt: int
    n_jobs: int | None
    single: bool = False

    def judge(
        self,
        stepped: SteppedLayer,
        rows: Rows,
        fold: NDArray[np.int64] | None = None,
        expected: float | None = None,
    ) -> Penalties:
        """Choose the ridge of the readout on a layer that has taken its step.

        Parameters
        ----------
        stepped : SteppedLayer
        rows : Rows
        fold : ndarray of int, optional
            Which fold leaves each row out, -1 for none; by default all rows are dealt out.
        expected : float, optional
            The ridge of another loss: much larger ones are tried only if they may be better.
        """
        if expected is not None:
            few = replace(self, alphas=self.alphas[self.alphas <= _ABOVE * expected])
            if few.alphas.size:
                found = few.judge(stepped, rows, fold)
                if (found.alphas[found.best] < found.alphas.max()).all():
                    return found
        if fold is None:
            strata = None
            if self.losses[0].margin:
                strata = np.unique(rows.y, axis=0, return_inverse=True)[1].reshape(-1)
            fold = rows.deal(self.salt, _FOLDS, strata)
        unit = np.empty(len(self.losses))
        for t, (y, loss) in enumerate(zip(rows.y.T, self.losses, strict=True)):
            each = loss.value(y, best_constant(y, loss, rows.weight))
            unit[t] = np.average(each, weights=rows.weight)
        unit = np.where(unit > 0, unit, 1.0)

        def worse(losses: Floats) -> bool:
            relative = losses / unit
            if not self.per_target:
                relative = relative.mean(axis=1, keepdims=True)
            return bool((relative[-1] > _WORSE * relative.min(axis=0)).all())

        order = np.argsort(-self.alphas, kind="stable")
        alphas = self.alphas[order]
        paths: list[Path] = []
        first = self._left_out(
            stepped, rows, fold == 0, alphas, worse if self.stop_early else None, paths
        )
        alphas, order = alphas[: first.shape[1]], order[: first.shape[1]]
        fits = (
            delayed(self._left_out)(stepped, rows, fold == f, alphas)
            for f in range(1, int(fold.max()) + 1)
        )
        others = fits_at_a_time(fits, self.n_jobs, "ridges, a fifth left out")
        each = np.full((len(rows), *first.shape[1:]), np.nan)
        for f, losses in enumerate([first, *others]):
            each[fold == f] = losses
        each = each[:, np.argsort(order)]  # as the ridges were given
        losses = np.array([_mean(each[:, :, t], rows.weight) for t in range(unit.size)]).T
        best = _best(losses / unit, self.per_target)
        at_best = each[:, best, np.arange(unit.size)] / unit
        starts: list[Readout | None] = [None] * unit.size
        if paths and not np.isnan(first).any():
            a = np.concatenate([path.a for path in paths], axis=1)
            b = np.concatenate([path.b for path in paths])
            at = np.argsort(order)[best]  # among the ridges from the largest on
            starts = [_start(a[:, i, t].copy(), float(b[i, t])) for t, i in enumerate(at)]
        return Penalties(self.alphas[np.sort(order)], losses, best, at_best, starts)

    def _left_out(
        self,
        stepped: SteppedLayer,
        rows: Rows,
        out: NDArray[np.bool_],
        alphas: Floats,
        enough: Callable[[Floats], bool] | None = None,
        paths: list[Path] | None = None,
    ) -> Floats:
        """Leave some rows out of step and readout, and predict them.

        Every fit starts from the one before.

        Parameters
        ----------
        stepped : SteppedLayer
        rows : Rows
        out : ndarray of bool, shape (n,)
            Those left out.
        alphas : ndarray, shape (alphas,)
            Ridges, the largest first.
        enough : callable, optional
            Whether the mean losses so far are enough, and other ridges need not be tried.
        paths : list, optional
            Gets the fits, if the loss is smooth.

        Returns
        -------
        ndarray, shape (rows left out, tried, targets)
            NaN for targets that cannot be fitted without these rows, because one sign of the margin
            is left.
        """
        kept, held = rows.take(~out), rows.take(out)
        targets = range(rows.y.shape[1])
        varies = (kept.y != kept.y[:1]).any(axis=0)
        able = [t for t in targets if len(kept) and (varies[t] or not self.losses[t].margin)]
        losses = np.full((len(held), len(alphas), len(targets)), np.nan)
        if not able:
            return losses
        weights = stepped.weights_from(kept)
        single = self.single and self.losses[0].smooth
        dtype = np.float32 if single else np.float64
        problem = ReadoutProblem(
            stepped.features(kept, weights, dtype),
            kept.weight,
            intercept=self.intercept,
            single=single,
        )
        features = stepped.features(held, weights) / np.sqrt(problem.p)
        means = np.zeros((len(alphas), len(targets)))
        for some, outputs in self._outputs(problem, kept, able, alphas, features, paths):
            for t, h in zip(able, outputs.T, strict=True):
                losses[:, some, t] = self.losses[t].value(held.y[:, [t]], h.T)
                means[some, t] = held.weight @ losses[:, some, t] / held.weight.sum()
            tried = range(some.start, some.stop)
            last = next((i for i in tried if enough is not None and enough(means[: i + 1])), None)
            if last is not None:
                return losses[:, : last + 1]
        return losses

    def _outputs(
        self,
        problem: ReadoutProblem,
        kept: Rows,
        able: list[int],
        alphas: Floats,
        features: Floats,
        paths: list[Path] | None,
    ) -> Iterator[tuple[slice, Floats]]:
        """Yield what fits predict of some features, shape (rows, some of the ridges, targets).

        Smooth losses are fitted for a few ridges at a time: there may soon be enough.
        """
        losses = [self.losses[t] for t in able]
        if losses[0].smooth:
            path = None
            for some in row_blocks(len(alphas), _AT_A_TIME):
                path = problem.fit_path(
                    kept.y[:, able], losses, alphas[some], start=path, tol=_ACCURACY
                )
                if paths is not None:
                    paths.append(path)
                yield some, np.tensordot(features, path.a, axes=1) + path.b
            return
        fits: dict[int, Readout] = {}
        for i, alpha in enumerate(alphas):
            for t, loss in zip(able, losses, strict=True):
                fits[t] = problem.fit(
                    kept.y[:, t], loss, float(alpha), start=fits.get(t), tol=_ACCURACY, proven=False
                )
            outputs = [features @ fits[t].a + fits[t].b for t in able]
            yield slice(i, i + 1), np.stack(outputs, axis=1)[:, None]


def _start(a: Floats, b: float) -> Readout:
    """Return a readout to start from, of which nothing else is known."""
    return Readout(a, b, np.nan, np.inf, 0, False, np.empty(0))


def _mean(losses: Floats, weight: Floats) -> Floats:
    """Return the mean over the rows that were judged, NaN if none was; shape (alphas,)."""
    judged = ~np.isnan(losses).any(axis=1)
    if not judged.any():
        return np.full(losses.shape[1], np.nan)
    return np.asarray(np.average(losses[judged], axis=0, weights=weight[judged]))


def _best(relative: Floats, per_target: bool) -> NDArray[np.int64]:
    """Return the best ridge of each target; the middle one where nothing could be judged."""
    judged = ~np.isnan(relative).any(axis=0)
    middle = np.full(relative.shape[1], len(relative) // 2)
    if not judged.any():
        return middle
    if not per_target:
        return np.full_like(middle, np.argmin(relative[:, judged].mean(axis=1)))
    return np.where(judged, np.argmin(np.where(judged, relative, 0.0), axis=0), middle)
