"""Certified solutions in latent coordinates: rules get finer until the answers stop moving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.producers import StepLike
from spikedrf.inputs.frame import Frame, frame_of
from spikedrf.inputs.labels import Readout, least_rates
from spikedrf.inputs.layer_on_inputs import layers_on_inputs
from spikedrf.inputs.neurons import LayerOnInputs
from spikedrf.inputs.population import Population, Rows
from spikedrf.losses import Loss, Square
from spikedrf.parameters import broadcast_shape
from spikedrf.running.workers import for_each
from spikedrf.theory.batch import features_die_out
from spikedrf.theory.convergence import INFINITE, UNDEFINED, left_to_caller
from spikedrf.theory.convex import refuse_limits
from spikedrf.theory.latents.core import Shape, solve_frame

Floats = NDArray[np.float64]

#: First layers, and which of them belongs where, see `layers_on_inputs`.
MadeLayers = tuple[list[LayerOnInputs], NDArray[np.int64]]

_SCALARS = ("test", "excess", "train", "norm", "residual", "error")
_OF_LOSS = ("test_loss", "train_loss", "margin", "train_margin")
_PER_CLASS = ("by_class", "wrong")
_PER_GROUP = ("m", "q2", "V2", "lengths")
_MATRICES = ("q1", "V1")


@dataclass(frozen=True)
class Learned:
    """Another loss than the square one, or labels that are signs.

    Attributes
    ----------
    loss : Loss
    signs : bool
        Whether labels are the signs of ``g + noise N(0, 1)``, some of them turned around.
    """

    loss: Loss
    signs: bool

    @classmethod
    def of(cls, loss: Loss, labels: str) -> Learned | None:
        """Return it, None for ridge regression."""
        return None if (loss, labels) == (Square(), "real") else cls(loss, labels == "sign")

    def readout(self, noise: float) -> Readout:
        """Return it as the labels' rules see it."""
        return Readout(self.loss.core, self.signs, noise)

    def undefined(self, values: dict[str, Floats], population: Population) -> NDArray[np.bool_]:
        """Find the points at which these equations are not solved."""
        out = (values["lam"] == 0.0) | np.isinf(values["alpha"])
        if self.signs and population.only_sign is not None:
            out = out | ((values["noise"] == 0.0) & (values["flip"] == 0.0))
        return np.asarray(out)

    def refuse_limits(self, values: dict[str, Floats], population: Population) -> None:
        """Raise ValueError where these equations are not solved."""
        labels = "sign" if self.signs else "real"
        refuse_limits(values["alpha"], values["lam"], self.loss, labels)
        if self.signs and np.any((values["noise"] == 0.0) & (values["flip"] == 0.0)):
            sign = population.only_sign
            if sign is not None:
                raise ValueError(
                    f"labels='sign': all labels are {'+1' if sign > 0 else '-1'} with these inputs "
                    f"and this target; noise or flip must be > 0"
                )


@dataclass(frozen=True, eq=False)
class Solved:
    """What the points of a call have come to; the points are flat, groups as given.

    Attributes
    ----------
    values : dict of ndarray
        ``test, excess, train, norm, residual, error``, ``test_loss, train_loss, margin,
        train_margin`` (P,), ``status, nit`` and ``nodes`` (P,),
        ``by_class, wrong`` (P, C), ``m, q2, V2, lengths`` (P, K), ``q1, V1`` (P, K, K) and
        ``columns`` (P, K, L').
    frames : list of Frame
        Of the distinct first layers.
    which : ndarray of int64, shape (P,)
        The layer of each point.
    shape : tuple of int
        Shape of the call.
    """

    values: dict[str, NDArray[Any]]
    frames: list[Frame]
    which: NDArray[np.int64]
    shape: tuple[int, ...]

    def arrange(self, name: str) -> Any:
        """Give an array the shape of the call."""
        value = self.values[name]
        return value.reshape(self.shape + value.shape[1:])[()]


@dataclass(frozen=True, eq=False)
class Posed:
    """The points of a call, flat, and their distinct first layers.

    Attributes
    ----------
    flat : dict of ndarray, shape (P,)
        ``alpha, beta, lam, noise``.
    which : ndarray of int64, shape (P,)
        The layer of each point.
    shape : tuple of int
        Shape of the call.
    frames : list of Frame
        Of the layers.
    tasks : list of tuple
        For each layer that has points: its frame without groups that have no neurons and with
        classes folded (`Population.folded`), the groups that have some, and the points.
    status : ndarray of int32, shape (P,)
        ``INFINITE`` or ``UNDEFINED`` at points that are in no task, 0 at the others.
    """

    flat: dict[str, Floats]
    which: NDArray[np.int64]
    shape: tuple[int, ...]
    frames: list[Frame]
    tasks: list[tuple[Frame, NDArray[np.int64], NDArray[np.int64]]]
    status: NDArray[np.int32]

    def at(self, points: NDArray[np.int64]) -> dict[str, Floats]:
        """Return the parameters of some points."""
        return {name: np.ascontiguousarray(value[points]) for name, value in self.flat.items()}

    @property
    def missed(self) -> Floats:
        """Relative errors of the averages that the first layers were made of, shape (P,)."""
        own = [frame.layer.missed for frame in self.frames]
        return np.array(own)[self.which] if self.which.size else np.zeros(0)

    def for_each_layer(
        self,
        run: Callable[[Frame, NDArray[np.int64], NDArray[np.int64], int | None], None],
        threads: int | None,
    ) -> None:
        """Call ``run(*task, threads)``: one layer shares out its points, several themselves."""
        inner = threads if len(self.tasks) == 1 else 1

        def one(task: tuple[Frame, NDArray[np.int64], NDArray[np.int64]]) -> None:
            frame, live, points = task
            run(frame, live, points, inner)

        for_each(one, self.tasks, threads)


def pose_latents(
    values: dict[str, Floats],
    sigma: Activation,
    population: Population,
    step: StepLike,
    rows: Rows,
    learned: Learned | None = None,
    *,
    set_aside: bool = False,
    made: MadeLayers | None = None,
) -> Posed:
    """Broadcast the parameters ``alpha, beta, lam, noise`` and the step's.

    The step's first layers are `made` if they are given.

    With ``set_aside`` points at which a limit is infinite or without a formula are left out, as
    long as there are others or this call is a part of another.

    Raises
    ------
    TypeError, ValueError
        If the step is of the wrong kind, shapes do not broadcast, or ``lam = 0`` or ``alpha = inf``
        where there is no formula for the limit; with a loss or labels of their own also if all
        labels are the same.
    """
    layers, which = made or layers_on_inputs(step, sigma, population, values["noise"], rows)
    shape = broadcast_shape(
        {name: value.shape for name, value in values.items()} | {"the step": which.shape}
    )
    flat = {name: np.broadcast_to(value, shape).ravel() for name, value in values.items()}
    which = np.broadcast_to(which, shape).ravel()
    dead = np.array([_die_out(sigma, layer) for layer in layers], dtype=bool)[which]
    status = _impossible(flat, sigma, dead, learned, population)
    lost = status != 0
    if lost.any() and not (set_aside and (left_to_caller() or not lost.all())):
        if learned is not None:
            learned.refuse_limits(flat, population)
        _refuse_limits(flat, sigma, dead)
    # A loss may tell residuals of one sign from those of the other.
    even = learned is None or learned.signs or sigma.parity == 1
    folded = population.folded(sigma.parity) if even else population
    tasks = []
    for index, layer in enumerate(layers):
        points = np.flatnonzero((which == index) & ~lost)
        if points.size:
            live = np.flatnonzero(layer.pi > 0.0)
            tasks.append((frame_of(folded, layer.part(live)), live, points))
    frames = [frame_of(population, layer) for layer in layers]
    return Posed(flat, which, shape, frames, tasks, status)


def solve_points(
    values: dict[str, Floats],
    sigma: Activation,
    population: Population,
    step: StepLike,
    rows: Rows,
    rtol: float,
    threads: int | None,
    learned: Learned | None = None,
    *,
    set_aside: bool = False,
    made: MadeLayers | None = None,
) -> Solved:
    """Solve every point of the broadcast parameters, by default for ridge regression.

    Points that are set aside have their status, and infinite errors or NaN.

    Raises
    ------
    TypeError, ValueError
        As `pose_latents`.
    """
    posed = pose_latents(
        values, sigma, population, step, rows, learned, set_aside=set_aside, made=made
    )
    groups = posed.frames[0].layer.pi.size
    size = max((frame.size for frame in posed.frames), default=1)
    classes, count = population.classes, posed.which.size
    out: dict[str, NDArray[Any]] = {
        **{name: np.full(count, np.nan) for name in (*_SCALARS, *_OF_LOSS)},
        **{name: np.zeros(count, dtype=np.int32) for name in ("status", "nit")},
        "nodes": np.zeros(count, dtype=np.int64),
        **{name: np.full((count, classes), np.nan) for name in _PER_CLASS},
        **{name: np.zeros((count, groups)) for name in _PER_GROUP},
        **{name: np.zeros((count, groups, groups)) for name in _MATRICES},
        "columns": np.zeros((count, groups, size)),
    }

    def run(
        frame: Frame, live: NDArray[np.int64], points: NDArray[np.int64], threads: int | None
    ) -> None:
        # Signs of one noise have one set of labels.
        noise = posed.flat["noise"][points]
        parts = np.unique(noise) if learned is not None and learned.signs else noise[:1]
        for level in parts:
            part = points[noise == level] if parts.size > 1 else points
            readout = None if learned is None else learned.readout(float(level))
            found = solve_frame(frame, sigma, posed.at(part), rtol, threads, readout)
            _put(out, frame, *found, live, part)

    posed.for_each_layer(run, threads)
    if learned is not None and learned.signs:
        least, moved = least_rates(population, posed.flat["noise"], posed.flat["flip"])
        out["excess"] = out["test"] - least
        with np.errstate(invalid="ignore"):
            out["error"] = np.fmax(out["error"], moved / out["test"])
    missed = posed.missed
    if missed.any():
        out["error"] = np.maximum(out["error"], missed)
        out["status"] = np.where((out["status"] == 0) & (out["error"] > rtol), 1, out["status"])
    _put_aside(out, posed.status)
    return Solved(out, posed.frames, posed.which, posed.shape)


def _put_aside(out: dict[str, NDArray[Any]], status: NDArray[np.int32]) -> None:
    """Say of points that were not solved what is known of them."""
    lost, infinite = status != 0, status == INFINITE
    if not lost.any():
        return
    for name in (*_SCALARS, *_OF_LOSS, *_PER_CLASS, *_PER_GROUP, *_MATRICES, "columns"):
        out[name][lost] = np.nan
    # All samples are fitted, at any price.
    for name in ("test", "excess", "norm", "error", "test_loss", "by_class"):
        out[name][infinite] = np.inf
    for name in ("train", "train_loss"):
        out[name][infinite] = 0.0
    out["status"][lost] = status[lost]


def _die_out(sigma: Activation, layer: LayerOnInputs) -> bool:
    """Whether samples far out along the spikes may have features that are alike."""
    r = layer.r[layer.pi > 0.0]
    r = r[:, r.any(axis=0)]
    if r.shape[1] > 1:
        return any(sigma.saturates)  # in a plane there is a direction for every pair of sides
    return bool(r.size and features_die_out(sigma, r[:, 0]))


def _without_ridge(
    flat: dict[str, Floats], sigma: Activation, dead: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Find the points at which ``lam = 0`` has no finite limit, or none that is known."""
    alpha, beta, lam = flat["alpha"], flat["beta"], flat["lam"]
    ridgeless = (lam == 0.0) & np.isfinite(alpha)
    bad = (alpha == beta) | ((alpha < beta) & dead) | sigma.linear
    return np.asarray(ridgeless & bad)


def _impossible(
    flat: dict[str, Floats],
    sigma: Activation,
    dead: NDArray[np.bool_],
    learned: Learned | None,
    population: Population,
) -> NDArray[np.int32]:
    """Return ``INFINITE`` or ``UNDEFINED`` where there is nothing to solve, 0 elsewhere."""
    if learned is not None:
        return np.where(learned.undefined(flat, population), UNDEFINED, 0).astype(np.int32)
    if sigma.linear:
        undefined = _without_ridge(flat, sigma, dead) | np.isinf(flat["alpha"])
        return np.where(undefined, UNDEFINED, 0).astype(np.int32)
    return np.where(_without_ridge(flat, sigma, dead), INFINITE, 0).astype(np.int32)


def _refuse_limits(flat: dict[str, Floats], sigma: Activation, dead: NDArray[np.bool_]) -> None:
    """Raise ValueError where ridge regression has no answer."""
    alpha, beta = flat["alpha"], flat["beta"]
    bad = _without_ridge(flat, sigma, dead)
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"lam = 0 is for alpha > beta with these inputs, and for alpha < beta where features "
            f"do not saturate along a spike, of activations that are not linear; got alpha = "
            f"{alpha[i]:g}, beta = {beta[i]:g} with {sigma.name!r}: lam must be > 0 there"
        )
    if sigma.linear and np.isinf(alpha).any():
        raise ValueError(
            f"alpha = inf with the linear activation {sigma.name!r} is not known for these "
            f"inputs: alpha must be finite"
        )


def _put(
    out: dict[str, NDArray[Any]],
    frame: Frame,
    shape: Shape,
    solutions: Any,
    live: NDArray[np.int64],
    at: NDArray[np.int64],
) -> None:
    """Scatter the solutions of one first layer, in the order of its frame."""
    K, count = live.size, at.size
    for name, values in zip((*_SCALARS, *_OF_LOSS), solutions.scalars, strict=True):
        out[name][at] = values
    vectors = dict(zip(("m", "theta", "psi", "q2", "V2"), solutions.vectors, strict=True))
    for name in ("m", "q2", "V2"):
        out[name][np.ix_(at, live)] = vectors[name]
    for name, matrix in zip(("q1", "V1"), solutions.matrices, strict=True):
        out[name][np.ix_(at, live, live)] = matrix
    out["status"][at], out["nit"][at] = solutions.counts
    out["nodes"][at] = solutions.nodes
    for name, values in zip(("by_class", "wrong"), solutions.by_class, strict=True):
        out[name][np.ix_(at, frame.population.which)] = values
        for number, place in frame.population.mirrored:
            out[name][at, number] = values[:, place]
    _, coupled, free, lengths, _ = shape.latents
    columns = np.zeros((count, frame.size, K))
    ends = np.cumsum([coupled * K, K if lengths else 0])
    columns[:, shape.order[:coupled]] = solutions.columns[:, : ends[0]].reshape(count, coupled, K)
    columns[:, shape.order[coupled:]] = solutions.free[:, : free * K].reshape(count, free, K)
    out["columns"][np.ix_(at, live, np.arange(frame.size))] = columns.swapaxes(1, 2)
    if lengths:
        scale = np.sqrt(frame.spread)
        out["lengths"][np.ix_(at, live)] = scale * solutions.columns[:, ends[0] : ends[1]]
