"""The search for a plan: which moves the first layer makes, judged by rows held out.

A move is judged by rows that neither took it nor fitted the readout. With several folds the plan
is the same in all of them, and the errors are those of all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from joblib import delayed

from spikedrf.arrays import Array
from spikedrf.estimators.moves import METRICS, Draw, Entry, Move, Moved, Mover, State
from spikedrf.estimators.trials import Fit, Fold, Readout
from spikedrf.parameters import Floats
from spikedrf.running.progress import counted
from spikedrf.running.workers import parallel

#: Something is better than something else if it is so by this many standard errors.
MARGIN = 2.0
#: Of ridges that differ by less than so many, the larger is taken.
_TIE = 1.0
#: Scales of the weights that are tried first; ridges, in units of the features' variance.
_SCALES = (0.5, 1.0, 2.0)
PLAIN_RIDGES = np.logspace(-6.0, 1.0, 15)
_LARGEST = 1.0
#: Sizes of the first gradient step, and ridges beside that before.
_GRADIENTS = (0.5, 1.0, 2.0, 4.0)
_GRADIENT_RIDGES = np.array([0.1, 1.0, 10.0])
#: Metric rounds that are made from all starts, from the best of each kind, of the best alone.
_FIRST_ROUNDS, _MIDDLE_ROUNDS, _LAST_ROUNDS = 3, 3, 4
_METRIC_SCALES = (0.85, 1.25)
_METRIC_RIDGES = np.array([0.05, 0.3, 1.0, 3.0, 20.0])
#: The most steps; the length of the first, in units of the weights; how it changes.
MOST_STEPS = 30
_FIRST_LENGTH, _LONGER, _SHORTER = 0.1, 1.5, 0.4
_STEP_RIDGES = np.array([0.3, 1.0, 3.0])
#: Failures one after the other that end the steps.
_FAILURES = 4
#: So many rounds, or trials of a step, that gain less than this part of the error are the last.
_SETTLED, _SETTLED_STEPS, _WORTH = 2, 4, 0.01
_WIDTH_RIDGES = np.array([0.1, 0.3, 1.0, 3.0])


@dataclass(frozen=True, eq=False)
class Node:
    """Where a plan has come to.

    Attributes
    ----------
    plan : tuple of Entry
    states : sequence of State
        One a fold.
    scale : float
        Radius of the sphere that neurons were drawn on.
    squares : ndarray, shape (rows held out,)
        Squared errors, fold after fold.
    """

    plan: tuple[Entry, ...]
    states: Sequence[State]
    scale: float
    squares: Floats

    @property
    def ridge(self) -> float:
        """The ridge of the last move."""
        return self.plan[-1].ridge

    @property
    def error(self) -> float:
        """The error after the last move."""
        return self.plan[-1].error


class Trial(NamedTuple):
    """A layer for each fold, judged.

    Attributes
    ----------
    ridge, error : float
    squares : ndarray, shape (rows held out,)
    readouts : list of Readout
        One a fold.
    a : list of ndarray, shape (p, targets)
        The readouts at the ridge.
    """

    ridge: float
    error: float
    squares: Floats
    readouts: list[Readout]
    a: list[Floats]

    def entry(self, move: Move) -> Entry:
        """Return what it is in a plan."""
        unit = float(np.mean([readout.unit for readout in self.readouts]))
        return Entry(move, self.ridge, self.error, unit)


@dataclass(frozen=True, eq=False)
class Judge:
    """Fits layers to the rows kept, and judges them by those held out.

    Attributes
    ----------
    folds : sequence of Fold
    mover : Mover
    n_jobs : int or None
        Fits at a time, as joblib's.
    patience : int
        So many times as many tries may gain little, before they are the last.
    """

    folds: Sequence[Fold]
    mover: Mover
    n_jobs: int | None
    patience: int = 1

    @property
    def weight(self) -> Floats:
        """Weights of the rows held out, fold after fold."""
        held = [held for _, held in self.folds]
        return np.concatenate(
            [np.ones(len(h.y)) if h.weight is None else h.weight.astype(np.float64) for h in held]
        )

    def best(self, before: Node | None, moves: Sequence[Move], ridges: Floats) -> Node:
        """Make each of some moves, at each of some ridges; return the best."""
        return min(self.each(before, moves, ridges), key=_error)

    def each(self, before: Node | None, moves: Sequence[Move], ridges: Floats) -> list[Node]:
        """Make each of some moves, at the best of some ridges."""
        if before is not None:
            for state in before.states:  # once, not by every thread
                state.fit.prepare(metric=moves[0].kind in METRICS)
        folds = range(len(self.folds))
        tried = self._made(
            [delayed(self._moved)(before, move, i, ridges) for move in moves for i in folds]
        )
        nodes = []
        for m, move in enumerate(moves):
            ours = tried[m * len(folds) : (m + 1) * len(folds)]
            squares = np.concatenate([squares for _, _, _, squares in ours])
            k = self.ridge(squares)
            error = float(np.average(squares[:, k], weights=self.weight))
            entry = Entry(
                move, float(ridges[k]), error, float(np.mean([r.unit for _, r, _, _ in ours]))
            )
            states = [moved.fitted(Fit(r, entry.ridge, a[:, k])) for moved, r, a, _ in ours]
            drawn = before is None or move.kind in METRICS
            nodes.append(
                Node(
                    (entry,) if before is None else (*before.plan, entry),
                    states,
                    move.size if before is None or drawn else before.scale,
                    squares[:, k],
                )
            )
        return nodes

    def _made(self, fits: list[Any]) -> list[Any]:
        """Make some fits, as many at a time as there may be."""
        made = parallel(self.n_jobs, "generator")(fits)
        return list(counted(made, len(fits), "moves of the first layer"))

    def _moved(
        self, before: Node | None, move: Move, i: int, ridges: Floats
    ) -> tuple[Moved, Readout, Floats, Floats]:
        state = None if before is None else before.states[i]
        moved = self.mover.move(state, move, self.folds[i].kept)
        return moved, *self.judged(moved.layer, i, ridges)

    def judged(self, layer: Array, i: int, ridges: Floats) -> tuple[Readout, Floats, Floats]:
        """Fit a layer on a fold: readouts (p, ridges, targets), squares (rows, ridges)."""
        kept, held = self.folds[i]
        mover = self.mover
        readout = Readout.of(layer, kept, mover.activation, intercept=mover.intercept)
        a = readout.solve(ridges)
        return readout, a, readout.squares(held, a)

    def layers(self, layers: Sequence[Array], ridges: Floats) -> Trial:
        """Judge a layer for each fold."""
        tried = self._made(
            [delayed(self.judged)(layer, i, ridges) for i, layer in enumerate(layers)]
        )
        squares = np.concatenate([squares for _, _, squares in tried])
        k = self.ridge(squares)
        return Trial(
            float(ridges[k]),
            float(np.average(squares[:, k], weights=self.weight)),
            squares[:, k],
            [readout for readout, _, _ in tried],
            [a[:, k] for _, a, _ in tried],
        )

    def ridge(self, squares: Floats) -> int:
        """Return which of ascending ridges to take: the largest that is the best but for chance.

        Rows far out have a say in proportion to the size of the readout, and few are held out.
        """
        errors = np.average(squares, axis=0, weights=self.weight)
        k = int(np.argmin(errors))
        for larger in range(len(errors) - 1, k, -1):
            gain, sem = self.gain(squares[:, k], squares[:, larger])
            if gain < _TIE * sem:
                return larger
        return k

    def gain(self, squares: Floats, others: Floats) -> tuple[float, float]:
        """Return by how much errors are smaller than others, and the standard error of that."""
        each, weight = others - squares, self.weight
        mean = float(np.average(each, weights=weight))
        return mean, float(np.linalg.norm(weight * (each - mean)) / weight.sum())

    def clearly(self, node: Node, other: Node) -> bool:
        """Whether a node is better than another by more than chance."""
        gain, sem = self.gain(node.squares, other.squares)
        return gain > MARGIN * sem

    def learns(self, node: Node) -> bool:
        """Whether a node is better than a constant by more than chance."""
        constant = [
            np.square(held.y - state.fit.readout.mean_y).mean(axis=1)
            for (_, held), state in zip(self.folds, node.states, strict=True)
        ]
        gain, sem = self.gain(node.squares, np.concatenate(constant))
        return gain > MARGIN * sem


@dataclass(frozen=True, eq=False)
class Found:
    """The best plan, and that with a metric of the other kind if it was hardly worse."""

    best: Node
    other: Node | None


def search(judge: Judge, kinds: Sequence[str], steps: int) -> Found:
    """Search for a plan.

    Parameters
    ----------
    judge : Judge
    kinds : sequence of str
        Kinds of metric round, of `METRICS`.
    steps : int
        The most steps, the gradient step at the start among them.
    """
    plain = judge.each(None, [Move("scale", scale) for scale in _SCALES], PLAIN_RIDGES)
    start = stepped = min(plain, key=_error)
    if steps:
        moves = [Move("gradient", size) for size in _GRADIENTS]
        # Where plain features learn nothing their errors do not tell which scale to step from.
        stepped = min(
            (
                judge.best(node, moves, _near(node, _GRADIENT_RIDGES, PLAIN_RIDGES[-1]))
                for node in ([start] if judge.learns(start) else plain)
            ),
            key=_error,
        )
    best = min(start, stepped, key=_error)
    other = None
    if kinds:
        starts = [start] if stepped is start else [start, stepped]
        if judge.clearly(best, starts[0]) or judge.clearly(best, starts[-1]):
            starts = [best]
        by_kind = _metric_rounds(judge, kinds, starts)
        winner = by_kind[0]
        if winner.error < best.error:
            best = winner
            close = [node for node in by_kind[1:] if not judge.clearly(winner, node)]
            other = close[0] if close else None
    taken = sum(entry.move.kind == "gradient" for entry in best.plan)
    return Found(_steps(judge, best, steps - taken), other)


def _error(node: Node) -> float:
    return node.error


def _near(node: Node, factors: Floats, largest: float = _LARGEST) -> Floats:
    return np.unique(np.minimum(node.ridge * factors, largest))


class _Chain:
    """Metric rounds of one kind from one start, of which the best is kept.

    All are made, as the first may gain nothing, unless some have gained and the last do no more.
    """

    def __init__(self, start: Node, kind: str) -> None:
        self.kind, self.start, self.last = kind, start, start
        self.best: Node | None = None
        self.since = 0
        self.errors: list[float] = []

    def go(self, judge: Judge, rounds: int) -> None:
        for _ in range(rounds):
            if _settled(self.errors, judge.patience * _SETTLED) and self.gains(judge):
                break
            moves = [Move(self.kind, self.last.scale * factor) for factor in _METRIC_SCALES]
            self.last = judge.best(self.last, moves, _near(self.last, _METRIC_RIDGES))
            self.since += 1
            if self.best is None or self.last.error < self.best.error:
                self.best, self.since = self.last, 0
            self.errors.append(self.best.error)

    def gains(self, judge: Judge) -> bool:
        """Whether it is clearly better than its start."""
        return judge.clearly(self.node, self.start)

    @property
    def node(self) -> Node:
        assert self.best is not None
        return self.best


def _settled(errors: Sequence[float], tries: int) -> bool:
    """Whether the last tries have hardly improved the best error so far."""
    return len(errors) > tries and errors[-1] > (1.0 - _WORTH) * errors[-1 - tries]


def _metric_rounds(judge: Judge, kinds: Sequence[str], starts: Sequence[Node]) -> list[Node]:
    """Return the best of each kind, the best of all first."""
    chains: list[_Chain] = []
    for start in sorted(starts, key=_error):
        ours = [_Chain(start, kind) for kind in kinds]
        for chain in ours:
            chain.go(judge, 1)
        chains += ours
        if any(chain.gains(judge) for chain in ours):
            break  # rounds that gain from the better start need no other
    first = min(chains, key=lambda chain: chain.node.error)
    for chain in chains:
        # Of rounds that gain nothing yet the errors do not tell which will.
        if not (first.gains(judge) and judge.clearly(first.node, chain.node)):
            chain.go(judge, _FIRST_ROUNDS - 1)
    # The first of equals: sorting is stable.
    chains.sort(key=lambda chain: chain.node.error)
    leaders = [next(c for c in chains if c.kind == kind) for kind in kinds]
    leaders.sort(key=lambda chain: chain.node.error)
    for chain in leaders:
        if not judge.clearly(leaders[0].node, chain.node):
            chain.go(judge, _MIDDLE_ROUNDS)
    leaders.sort(key=lambda chain: chain.node.error)
    if leaders[0].since < _MIDDLE_ROUNDS:
        leaders[0].go(judge, _LAST_ROUNDS)
    return [chain.node for chain in leaders]


def _steps(judge: Judge, node: Node, most: int) -> Node:
    """Take steps as long as they help, their length by backtracking."""
    layer = node.states[0].fit.layer
    length = _FIRST_LENGTH * float(np.linalg.norm(layer)) / float(np.sqrt(len(layer)))
    kind, failures, errors = "step", 0, [node.error]
    for _ in range(most):
        tried = judge.best(node, [Move(kind, length)], _near(node, _STEP_RIDGES))
        if tried.error < node.error:
            if kind == "step":  # after a restart the momentum to come makes it bolder
                length *= _LONGER
            node, kind, failures = tried, "step", 0
        else:
            kind, failures = "restart", failures + 1
            length *= _SHORTER
        errors.append(node.error)
        if failures == _FAILURES or _settled(errors, judge.patience * _SETTLED_STEPS):
            break
    return node


def widened(judge: Judge, found: Found, more: Draw) -> tuple[Node, Trial, list[Array]]:
    """Add neurons that have taken no step, in the metric that the plan or the other ended with.

    Neurons that see the inputs otherwise than those of the plan may add more than their likes;
    which of the two is decided by the rows held out. Returns the node whose metric they have, how
    they were judged, and the layer of each fold.
    """
    ridges = _near(found.best, _WIDTH_RIDGES)
    tried = []
    for node in (found.best, found.other):
        if node is not None:
            layers = [
                np.concatenate([own.fit.layer, more.layer(state.shape)])
                for own, state in zip(found.best.states, node.states, strict=True)
            ]
            tried.append((node, judge.layers(layers, ridges), layers))
    return min(tried, key=lambda each: each[1].error)
