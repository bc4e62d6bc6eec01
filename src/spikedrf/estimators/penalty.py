"""Choosing the ridge of a readout under any loss: by that loss, on rows left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from spikedrf.estimators.layer import SteppedLayer
from spikedrf.estimators.rows import Rows
from spikedrf.losses import Loss
from spikedrf.parameters import Floats
from spikedrf.readout import Readout, ReadoutProblem, best_constant

_FOLDS = 5
#: Relative accuracy of the fits that are compared: far below what tells two ridges apart.
_ACCURACY = 1e-4
#: Smaller ridges are not tried where the loss is larger than its minimum by this factor.
_WORSE = 1.1


class Penalties(NamedTuple):
    """What was tried, and what was best.

    Attributes
    ----------
    alphas : ndarray, shape (alphas,)
    losses : ndarray, shape (alphas, targets)
        Estimated mean loss on new rows; NaN for a target that no fold could judge.
    best : ndarray of int, shape (targets,)
        Which one each target takes.
    """

    alphas: Floats
    losses: Floats
    best: NDArray[np.int64]

    @property
    def mean(self) -> Floats:
        """The mean loss over the targets that could be judged, shape (alphas,)."""
        judged = ~np.isnan(self.losses).any(axis=0)
        if not judged.any():
            return np.full(len(self.alphas), np.nan)
        return np.asarray(self.losses[:, judged].mean(axis=1))


def choose_penalty(
    stepped: SteppedLayer,
    rows: Rows,
    loss: Loss,
    alphas: Floats,
    *,
    intercept: bool,
    per_target: bool,
    stop_early: bool,
    salt: int,
    n_jobs: int | None,
) -> Penalties:
    """Choose by fits that leave out a fifth of the rows, from the step too if they fed it.

    Parameters
    ----------
    stepped : SteppedLayer
    rows : Rows
        Of the readout; for a loss of the margin every class is dealt out evenly.
    loss : Loss
    alphas : ndarray, shape (alphas,)
        Ridges, > 0.
    intercept : bool
    per_target : bool
        Whether each target has its own.
    stop_early : bool
        Whether those below one at which the first fifth is fitted clearly worse are left out.
    salt : int
        What the rows are dealt out by.
    n_jobs : int or None
        Fits at a time, as joblib's.
    """
    strata = None
    if loss.margin:
        strata = np.unique(rows.y, axis=0, return_inverse=True)[1].reshape(-1)
    fold = rows.deal(salt, _FOLDS, strata)
    # What the best constant costs is the unit of each target's loss.
    constants = np.array([best_constant(y, loss, rows.weight) for y in rows.y.T])
    unit = (rows.weight / rows.weight.sum()) @ loss.value(rows.y, constants)
    unit = np.where(unit > 0, unit, 1.0)

    def worse(losses: Floats) -> bool:
        relative = losses / unit if per_target else (losses / unit).mean(axis=1, keepdims=True)
        return bool((relative[-1] > _WORSE * relative.min(axis=0)).all())

    order = np.argsort(-alphas, kind="stable")
    total, seen = _left_out(
        stepped, rows, fold == 0, loss, alphas[order], intercept, worse if stop_early else None
    )
    order = order[: len(total)]
    others = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(_left_out)(stepped, rows, fold == f, loss, alphas[order], intercept)
        for f in range(1, int(fold.max()) + 1)
    )
    for losses, weight in others:
        total, seen = total + losses, seen + weight
    losses = np.full(total.shape, np.nan)
    np.divide(total, seen, out=losses, where=seen > 0)
    losses = losses[np.argsort(order)]  # as the ridges were given
    return Penalties(alphas[np.sort(order)], losses, _best(losses / unit, per_target))


def _left_out(
    stepped: SteppedLayer,
    rows: Rows,
    out: NDArray[np.bool_],
    loss: Loss,
    alphas: Floats,
    intercept: bool,
    enough: Callable[[Floats], bool] | None = None,
) -> tuple[Floats, Floats]:
    """Leave some rows out of step and readout, and predict them.

    Every fit starts from the one before.

    Parameters
    ----------
    stepped : SteppedLayer
    rows : Rows
    out : ndarray of bool, shape (n,)
        Those left out.
    loss : Loss
    alphas : ndarray, shape (alphas,)
        Ridges, the largest first.
    intercept : bool
    enough : callable, optional
        Whether the losses so far are enough, and the ridges that are left need not be tried.

    Returns
    -------
    losses : ndarray, shape (tried, targets)
        Sums over the rows left out.
    weight : ndarray, shape (targets,)
        That of these rows; 0 for targets that cannot be fitted without them, because they have one
        sign of the margin only.
    """
    kept, held = rows.take(~out), rows.take(out)
    targets = range(rows.y.shape[1])
    varies = (kept.y != kept.y[:1]).any(axis=0)
    able = [t for t in targets if len(kept) and (varies[t] or not loss.margin)]
    losses = np.zeros((len(alphas), len(targets)))
    weight = np.zeros(len(targets))
    if not able:
        return losses, weight
    weight[able] = held.weight.sum()
    weights = stepped.weights_from(kept)
    problem = ReadoutProblem(stepped.features(kept, weights), kept.weight, intercept=intercept)
    features = stepped.features(held, weights) / np.sqrt(problem.p)
    fits: dict[int, Readout] = {}
    for i, alpha in enumerate(alphas):
        for t in able:
            fits[t] = problem.fit(
                kept.y[:, t], loss, float(alpha), start=fits.get(t), tol=_ACCURACY, proven=False
            )
        a = np.column_stack([fits[t].a for t in able])
        b = np.array([fits[t].b for t in able])
        losses[i, able] = held.weight @ loss.value(held.y[:, able], features @ a + b)
        if enough is not None and enough(losses[: i + 1]):
            return losses[: i + 1], weight
    return losses, weight


def _best(relative: Floats, per_target: bool) -> NDArray[np.int64]:
    """Return the best ridge of each target; the middle one where nothing could be judged."""
    judged = ~np.isnan(relative).any(axis=0)
    middle = np.full(relative.shape[1], len(relative) // 2)
    if not judged.any():
        return middle
    if not per_target:
        return np.full_like(middle, np.argmin(relative[:, judged].mean(axis=1)))
    return np.where(judged, np.argmin(np.where(judged, relative, 0.0), axis=0), middle)
