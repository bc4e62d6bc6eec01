"""A plan for the first layer of an estimator, from its rows: searched, judged, made.

Below `FEWEST_ROWS` and above `MOST_INPUTS` what can be found is one direction, and ``"auto"`` is
the one step of `spikedrf.estimators.selection`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.arrays import Array
from spikedrf.estimators.layer import InitialLayer, SteppedLayer
from spikedrf.estimators.moves import Draw, Entry, Move, Mover
from spikedrf.estimators.rows import Rows
from spikedrf.estimators.search import MARGIN, PLAIN_RIDGES, Judge, Node, search, widened
from spikedrf.estimators.trials import Data, Fit, Fold, Readout
from spikedrf.parameters import Floats
from spikedrf.running.workers import one_blas_thread

#: With "auto": fewer rows or more inputs than these take one step.
FEWEST_ROWS, MOST_INPUTS = 1000, 2048
#: Above this number of inputs only the diagonal of a metric is tried.
_MOST_FOR_FULL = 512
#: Rows that a plan is searched on at most; from so many on a fifth of them judges, once.
MOST_ROWS, _ONE_FOLD_ROWS = 8192, 3000
#: Folds below that number, and where it is below `FEWEST_ROWS` or only one of them judges.
_FOLDS, _FOLDS_OF_FEW = 3, 5
#: A gain of fewer standard errors than this is looked at again, on all of other folds.
_DOUBT = 5.0
#: Neurons that are moved; the rest is drawn in the metric that the plan ends with.
WIDTH = 500
#: Inputs are clipped at so many standard deviations, and beyond all but this part of the rows.
CLIP, _STRAY = 10.0, 1e-3


@dataclass(frozen=True, eq=False)
class Clipped:
    """Inputs scaled, and clipped at what the rows of the fit have shown.

    Attributes
    ----------
    scaling : callable or None
    lower, upper : ndarray, shape (d,)
    """

    scaling: Callable[[Any], Any] | None
    lower: Floats
    upper: Floats

    def __call__(self, x: Array) -> Array:
        """Return some rows, dense."""
        scaled = x if self.scaling is None else self.scaling(x)
        return np.clip(scaled, self.lower, self.upper).astype(scaled.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class PlannedLayer(SteppedLayer):
    """A layer that a plan has made, and what it would be without the rows that judged it.

    Attributes
    ----------
    numbers : sequence of ndarray
        Of each fold, the numbers of the rows held out.
    without : sequence of ndarray
        The layers without these rows.
    half : ndarray, optional
        The first of these layers made of half of its rows, which says what it owes to their number.
        None where the layer itself is made without the rows held out.
    searched : ndarray of int
        The numbers of the rows that the plan was searched on.
    """

    numbers: Sequence[NDArray[np.int64]] = ()
    without: Sequence[Array] = ()
    half: Array | None = None
    searched: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def weights_from(self, rows: Rows) -> Array:
        """Return the weights if only these rows of the readout had been there."""
        for numbers, layer in zip(self.numbers, self.without, strict=True):
            if not np.isin(numbers, rows.number).any():
                return layer
        return self.weights

    def apart(self, rows: Rows) -> NDArray[np.bool_]:
        """Return which of some rows have taken none of the moves."""
        moved = np.isin(rows.number, self.searched)
        if len(self.numbers) == 1:  # its layer was kept, that of several was made anew
            moved &= ~np.isin(rows.number, self.numbers[0])
        return ~moved

    def fold(self, rows: Rows) -> NDArray[np.int64]:
        """Return which fold holds each of some rows out; -1 is none."""
        fold = np.full(len(rows), -1)
        for f, numbers in enumerate(self.numbers):
            fold[np.isin(rows.number, numbers)] = f
        return fold


@dataclass(frozen=True, eq=False)
class Plan:
    """What a search has come to.

    Attributes
    ----------
    entries : tuple of Entry
        The moves; the first is the layer without any, and alone if no plan was clearly better.
    layer : PlannedLayer or None
        None if no plan was clearly better.
    rows : Rows
        All rows, their inputs clipped.
    error : float
        Of rows held out, targets standardised and averaged; of what was chosen.
    size : float
        By how much the moves have changed the layer, beside its length before.
    gain, gain_sem : float
        What the plan gains over plain features, in R^2, and the standard error of that.
    square, mean : ndarray, shapes (targets, d, d) and (targets, d)
        The means of ``grad f grad f^T`` and of ``grad f`` for a readout on the layer.
    """

    entries: tuple[Entry, ...]
    layer: PlannedLayer | None
    rows: Rows
    error: float
    size: float
    gain: float
    gain_sem: float
    square: Floats
    mean: Floats


def bounds(rows: Rows) -> tuple[Floats, Floats]:
    """Return where the inputs of some rows are clipped.

    At `CLIP` standard deviations and at their range; and at what all but `_STRAY` of the rows span
    on either side, extended by its own width to both: what fewer rows have shown cannot be learned,
    and a column that is constant but for them is constant.
    """
    d = rows.X.shape[1]
    x = np.empty((len(rows), d))
    for part, block in rows.blocks(np.float64):
        x[part] = block[:, :d]
    share = rows.weight / rows.weight.sum()
    mean = share @ x
    reach = CLIP * np.sqrt(share @ (x - mean) ** 2)
    stray = int(np.ceil(_STRAY * len(rows)))
    low, high = np.partition(x, (stray, len(rows) - 1 - stray), axis=0)[[stray, -1 - stray]]
    width = high - low
    lower = np.maximum(np.maximum(x.min(axis=0), mean - reach), low - width)
    upper = np.minimum(np.minimum(x.max(axis=0), mean + reach), high + width)
    return lower, upper


def plan(
    rows: Rows,
    plain: InitialLayer,
    salt: int,
    *,
    kinds: Sequence[str] | None,
    steps: int,
    intercept: bool,
    n_jobs: int | None,
    patience: int = 1,
) -> Plan:
    """Search for a plan, and make it if it is clearly better than the plain features.

    On one thread but for those of ``n_jobs``, so that what is found does not depend on how many
    there are.

    Parameters
    ----------
    rows : Rows
        Of distinct inputs.
    plain : InitialLayer
        The plain features.
    salt : int
        What rows are dealt out and neurons are drawn by.
    kinds : sequence of str, optional
        Kinds of metric round; by default all that so many inputs allow.
    steps : int
        The most steps.
    intercept : bool
    n_jobs : int or None
    patience : int
        As `Judge`'s.
    """
    d = rows.X.shape[1]
    if kinds is None:
        kinds = ("full", "diagonal") if d <= _MOST_FOR_FULL else ("diagonal",)
    some = rows.here(_rank(rows, salt) < MOST_ROWS) if len(rows) > MOST_ROWS else rows.here()
    clipped = Clipped(rows.scaling, *bounds(some))
    rows, some = rows.scaled(clipped), some.scaled(clipped)
    data = _data(some, intercept=intercept)
    fold = _dealt(some, salt)
    with one_blas_thread():
        return _Planning(
            rows, some, data, fold, plain, salt, tuple(kinds), steps, intercept, n_jobs, patience
        ).plan()


def _rank(rows: Rows, salt: int) -> NDArray[np.int64]:
    return np.asarray(np.unique(rows.keys(salt), return_inverse=True)[1])


def _dealt(rows: Rows, salt: int, deal: int = 0) -> NDArray[np.int64]:
    """Return which fold holds each row out; -1 is none. Few distinct targets are dealt evenly.

    Another ``deal``, 1 to 4, makes other folds.
    """
    alone = len(rows) >= _ONE_FOLD_ROWS
    folds = min(_FOLDS if len(rows) >= FEWEST_ROWS and not alone else _FOLDS_OF_FEW, len(rows))
    kinds, strata = np.unique(rows.y, axis=0, return_inverse=True)
    few = 10 * len(kinds) <= len(rows)
    evenly = strata.reshape(-1) if few else None
    if alone:
        return np.where(rows.deal(salt, folds, evenly) == deal, 0, -1)
    return rows.deal(salt + deal, folds, evenly)


def _data(rows: Rows, *, intercept: bool) -> Data:
    """Return rows in single precision, targets standardised, a constant column in the end."""
    d = rows.X.shape[1]
    x = np.zeros((len(rows), d + 1), np.float32)
    for part, block in rows.blocks(np.float32):
        x[part, : block.shape[1]] = block
    share = rows.weight / rows.weight.sum()
    unit = np.sqrt(rows.variance)
    y = (rows.y - share @ rows.y) if intercept else rows.y
    y = y / np.where(unit > 0, unit, 1.0)
    same = bool((rows.weight == rows.weight[0]).all())
    weight = None if same else (rows.weight / rows.weight.mean()).astype(np.float32)
    return Data(x, y.astype(np.float32), weight)


def _take(data: Data, index: NDArray[np.bool_]) -> Data:
    weight = None if data.weight is None else data.weight[index]
    return Data(np.ascontiguousarray(data.x[index]), data.y[index], weight)


@dataclass(frozen=True, eq=False)
class _Planning:
    """The parts of a plan in the making."""

    rows: Rows
    some: Rows
    data: Data
    fold: NDArray[np.int64]
    plain: InitialLayer
    salt: int
    kinds: tuple[str, ...]
    steps: int
    intercept: bool
    n_jobs: int | None
    patience: int

    @property
    def folds(self) -> int:
        return int(self.fold.max()) + 1

    @property
    def activation(self) -> Activation:
        return self.plain.activation

    def draw(self, p: int) -> Draw:
        """Draw neurons; the same first ones whatever their number."""
        rng = np.random.RandomState(self.salt)
        d = self.rows.X.shape[1]
        both = rng.standard_normal((p, d + 1))
        directions = both[:, :d] / np.linalg.norm(both[:, :d], axis=1, keepdims=True)
        offsets = both[:, d] * float(self.rows.bias)
        return Draw(directions.astype(np.float32), offsets.astype(np.float32))

    def plan(self) -> Plan:
        """Search, judge, make."""
        p = len(self.plain.W)
        drawn = self.draw(p)
        width = min(p, WIDTH)
        folds = [Fold(*self._parts(f)) for f in range(self.folds)]
        mover = Mover(drawn.take(slice(0, width)), self.activation, self.intercept)
        judge = Judge(folds, mover, self.n_jobs, self.patience)
        plain = np.zeros((p, self.data.x.shape[1]), np.float32)
        plain[:, : self.plain.W.shape[1]] = self.plain.W
        reference = judge.layers([plain] * len(folds), PLAIN_RIDGES)
        base = reference.entry(Move("plain", 0.0))
        found = search(judge, self.kinds, self.steps)
        more = drawn.take(slice(width, p))
        node, trial, layers = found.best, None, [s.fit.layer for s in found.best.states]
        entries = (base, *node.plan)
        squares = node.squares
        if len(more):
            node, trial, layers = widened(judge, found, more)
            squares = trial.squares
            entries = (*entries, trial.entry(Move("width", float(p))))
        gain, sem = judge.gain(squares, reference.squares)
        taken = len(found.best.plan) > 1 and gain > MARGIN * sem
        # What is replayed on all rows has not been judged: a replay on others has to gain too.
        for looks in self._looks(gain < _DOUBT * sem) if taken else ():
            gain, sem = self._again(mover, found.best, node, more, entries[-1].ridge, plain, looks)
            taken = gain > MARGIN * sem
            if taken:
                break
        if not taken:
            fit = Fit(reference.readouts[0], reference.ridge, reference.a[0])
            return Plan((base,), None, self.rows, base.error, 0.0, gain, sem, *fit.gradients)
        layer, fit = layers[0], found.best.states[0].fit
        if trial is not None:
            fit = Fit(trial.readouts[0], trial.ridge, trial.a[0])
        half = None
        if self.folds > 1:
            ridge = entries[-1].ridge
            layer, fit = self._replayed(mover, found.best, node, more, ridge, self.data)
            some = _take(self.data, (self.fold > 0) & (self.fold <= self.folds // 2))
            half, _ = self._replayed(mover, found.best, node, more, ridge, some)
        start = drawn.layer(
            np.float32(found.best.plan[0].move.size)
            * np.eye(drawn.directions.shape[1], dtype=np.float32)
        )
        size = float(np.linalg.norm(layer - start) / np.linalg.norm(start))
        return Plan(
            entries,
            self._made(layer, layers, half),
            self.rows,
            entries[-1].error,
            size,
            gain,
            sem,
            *fit.gradients,
        )

    def _looks(self, doubt: bool) -> tuple[int, ...]:
        """Return on how many other folds a plan is looked at again: these, or else these."""
        if doubt:
            return (self.folds,)
        return (1, self.folds) if self.folds > 1 else ()

    def _again(
        self,
        mover: Mover,
        best: Node,
        node: Node,
        more: Draw,
        ridge: float,
        plain: Array,
        some: int,
    ) -> tuple[float, float]:
        """Make a plan on some other folds, where it has not been chosen; return its gain there.

        The best of many moves gains more than nothing on the rows that chose it, on noise too.
        """
        fold = _dealt(self.some, self.salt, 1)
        folds = [Fold(*self._parts(f, fold)) for f in range(some)]
        judge = Judge(folds, mover, self.n_jobs)
        layers = []
        for kept, _ in folds:
            state = mover.replay(best.plan, kept)
            shape = state.shape if node is best else mover.replay(node.plan, kept).shape
            layers.append(np.concatenate([state.fit.layer, more.layer(shape)]))
        made = judge.layers(layers, np.array([ridge]))
        reference = judge.layers([plain] * len(folds), PLAIN_RIDGES)
        return judge.gain(made.squares, reference.squares)

    def _parts(self, f: int, fold: NDArray[np.int64] | None = None) -> tuple[Data, Data]:
        held = (self.fold if fold is None else fold) == f
        return _take(self.data, ~held), _take(self.data, held)

    def _replayed(
        self, mover: Mover, best: Node, node: Node, more: Draw, ridge: float, data: Data
    ) -> tuple[Array, Fit]:
        """Make the moves of a plan on other rows."""
        state = mover.replay(best.plan, data)
        shape = state.shape if node is best else mover.replay(node.plan, data).shape
        layer = np.concatenate([state.fit.layer, more.layer(shape)])
        readout = Readout.of(layer, data, self.activation, intercept=self.intercept)
        return layer, Fit.replayed(readout, ridge)

    def _made(self, layer: Array, layers: Sequence[Array], half: Array | None) -> PlannedLayer:
        columns, dtype = self.plain.W.shape[1], self.plain.W.dtype

        def weights(layer: Array) -> Array:
            return np.ascontiguousarray(layer[:, :columns], dtype)

        return PlannedLayer(
            replace(self.plain, W=weights(layer)),
            None,
            0.0,
            None,
            [self.some.number[self.fold == f] for f in range(self.folds)],
            [weights(each) for each in layers],
            None if half is None else weights(half),
            self.some.number,
        )
