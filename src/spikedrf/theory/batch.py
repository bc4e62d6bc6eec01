"""A batch of points as the core takes it: broadcast, its distinct spikes found, sorted by spike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import Activation, FunctionLike, resolve
from spikedrf.first_layer.bulk import Rules
from spikedrf.first_layer.model import FirstLayer, Seen, Spike
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.panels import PlanePanels
from spikedrf.parameters import broadcast_shape, real_array

Floats = NDArray[np.float64]

#: Quadrature rules stop growing here.
MAX_NODES = 1 << 15


@dataclass(frozen=True, eq=False)
class Part:
    """Points whose spikes have the same groups with neurons, sorted by spike.

    Attributes
    ----------
    points : ndarray of bool, shape (N,)
        Which of the batch's sorted points these are.
    live : ndarray of bool, shape (K,)
        The groups that have neurons.
    r, c, pi : ndarray, shape (S, K')
        The distinct spikes, restricted to those groups; in a plane r has the shape (S, K', 2).
    gamma : ndarray, shape (S,)
    moves : ndarray, shape (S, E)
        How they move with parameters of the step, see `Batch.moves`.
    bulk : Rules or None
        Their bulks, None if these are isotropic.
    which : ndarray of int64, shape (N',)
        Index of each point's spike, ascending.
    values : dict
        ``alpha, beta, lam, noise`` of each point, shape (N',).
    seen : Seen or None
        What features see of inputs that are not N(0, I).
    planes : tuple of PlanePanels
        The tables of each spike that spans a plane.
    whole : bool
        Whether these are all points and all groups of the batch.
    """

    points: NDArray[np.bool_]
    live: NDArray[np.bool_]
    r: Floats
    c: Floats
    pi: Floats
    gamma: Floats
    moves: Floats
    bulk: Rules | None
    which: NDArray[np.int64]
    values: dict[str, NDArray[Any]]
    seen: Seen | None = None
    planes: tuple[PlanePanels, ...] = ()
    whole: bool = False

    def chunks(self) -> list[slice]:
        """Pieces of work for one thread.

        Tables are made again in every chunk that needs them, so chunks hold many points of few
        spikes or few points of many; between chunks a keyboard interrupt gets through.
        """
        shared = self.gamma.size * 64 <= self.which.size
        size = 4096 if shared else 256
        stops = range(0, self.which.size, size)
        return [slice(start, min(start + size, self.which.size)) for start in stops]


@dataclass(frozen=True, eq=False)
class Batch:
    """The points of one call.

    Attributes
    ----------
    sigma, g : Activation
        Activation and target.
    shape : tuple of int
        Broadcast shape of the parameters.
    groups : int
        Number K of readout groups.
    layer : FirstLayer
        The first layer, as it broadcasts.
    parameters : dict
        The parameters as given, for labels.
    r, c, pi : ndarray, shape (S, K)
        The distinct spikes; in a plane r has the shape (S, K, 2).
    gamma : ndarray, shape (S,)
    moves : ndarray, shape (S, E)
        How each spike moves with the parameters of the step that were asked for: K + K + 1 columns
        (dr, dc, dgamma) and one for the scale of each.
    key : ndarray, shape (S, E')
        Which bulk each spike has: rows of `Bulk.key`.
    rtol : float
        Accuracy that the bulks' nodes are for.
    everywhere : bool
        Whether they are for a spectrum, see `Bulk.rules`.
    which : ndarray of int64, shape (N,)
        Index of each sorted point's spike, ascending.
    values : dict
        ``alpha, beta, lam, noise`` of each sorted point, shape (N,).
    """

    sigma: Activation
    g: Activation
    shape: tuple[int, ...]
    groups: int
    layer: FirstLayer
    parameters: dict[str, Any]
    r: Floats
    c: Floats
    pi: Floats
    gamma: Floats
    moves: Floats
    key: Floats
    rtol: float
    everywhere: bool
    which: NDArray[np.int64]
    values: dict[str, NDArray[Any]]
    _unsorted: NDArray[np.int64] | None  # None: they are in the order of the call

    @property
    def spike(self) -> Spike:
        """The spiked model, as it broadcasts."""
        return self.layer.spike

    @property
    def bulk_name(self) -> str:
        """What the bulk is called."""
        return self.layer.bulk.name

    @cached_property
    def bulk(self) -> Rules | None:
        """The spikes' bulks, None if these are isotropic.

        Raises
        ------
        ValueError
            If they are of another number of groups than the spikes.
        """
        if not self.which.size:
            return None
        bulk, moves = self.layer.bulk, tuple(self.layer.moves)
        rules = bulk.rules(self.key, self.rtol, moves, everywhere=self.everywhere)
        groups = self.layer.r.shape[-2]
        if rules is not None and rules.value.shape[-1] != groups:
            raise ValueError(
                f"bulk must have values for the {groups} readout groups of its first layer, got "
                f"{rules.value.shape[-1]}"
            )
        return rules

    def arrange(self, sorted_points: NDArray[Any]) -> Any:
        """Give an array over the sorted points (first axis) the shape of the call."""
        array = sorted_points if self._unsorted is None else sorted_points[self._unsorted]
        return array.reshape(self.shape + array.shape[1:])[()]

    def arrange_each(self, rows: NDArray[Any]) -> list[Any]:
        """Do so with every row of a block, whose points are on the second axis."""
        block = rows if self._unsorted is None else rows[:, self._unsorted]
        return list(block.reshape(len(rows), *self.shape, *rows.shape[2:]))

    def parts(self, kind: NDArray[np.bool_] | None = None) -> Iterator[tuple[Part, bool]]:
        """Split the points by which groups have neurons: a group without does not exist.

        Parameters
        ----------
        kind : ndarray of bool, shape (S,), optional
            Split by this property of the spikes too.

        Yields
        ------
        part : Part
        kind : bool
            The property that its spikes share.
        """
        if not self.which.size:
            return
        live = self.pi > 0
        if len(live) == 1:  # the most frequent case
            every = np.count_nonzero(live) == live.size
            one = self._whole(live[0]) if every else self._part(np.ones(1, bool), live[0])
            yield one, kind is not None and bool(kind[0])
            return
        key = np.column_stack([live, np.zeros(len(live), bool) if kind is None else kind])
        for pattern in np.unique(key, axis=0):
            yield self._part((key == pattern).all(axis=1), pattern[:-1]), bool(pattern[-1])

    def _whole(self, live: NDArray[np.bool_]) -> Part:
        return Part(
            points=np.ones(self.which.size, bool),
            live=live,
            r=np.ascontiguousarray(self.r),
            c=np.ascontiguousarray(self.c),
            pi=np.ascontiguousarray(self.pi),
            gamma=self.gamma,
            moves=self.moves,
            bulk=self.bulk,
            which=self.which,
            values=self.values,
            seen=self.layer.seen,
            planes=self._planes(self.r, self.c, self.layer.seen),
            whole=True,
        )

    def _part(self, spikes: NDArray[np.bool_], live: NDArray[np.bool_]) -> Part:
        if spikes.all() and live.all():
            return self._whole(live)
        points = spikes[self.which]
        r, c = (np.ascontiguousarray(value[spikes][:, live]) for value in (self.r, self.c))
        seen = None if self.layer.seen is None else self.layer.seen.part(live)
        return Part(
            points=points,
            live=live,
            r=r,
            c=c,
            pi=np.ascontiguousarray(self.pi[spikes][:, live]),
            gamma=self.gamma[spikes],
            moves=self.moves[spikes],
            bulk=None if self.bulk is None else self.bulk.part(spikes, live),
            which=(np.cumsum(spikes) - 1)[self.which[points]].astype(np.int64),
            values={name: value[points] for name, value in self.values.items()},
            seen=seen,
            planes=self._planes(r, c, seen),
        )

    def _planes(self, r: Floats, c: Floats, seen: Seen | None) -> tuple[PlanePanels, ...]:
        if seen is None or seen.spans == 1:
            return ()
        shares, means, lengths = seen.shares, seen.means, seen.spread is not None
        return tuple(
            PlanePanels(self.sigma, *one, shares, means, lengths) for one in zip(r, c, strict=True)
        )


def features_die_out(sigma: Activation, r: Floats) -> NDArray[np.bool_]:
    """Say of which spikes, strengths ``r`` (..., K), samples far out have features that are alike.

    Those along which, on one side or the other, every group's activation saturates.
    """
    dead = np.zeros(r.shape[:-1], dtype=bool)
    for side in (-1.0, 1.0):
        at_left, at_right = sigma.saturates
        responds = (r == 0) | np.where(r * side > 0, not at_right, not at_left)
        dead |= ~responds.any(axis=-1)
    return dead


def pose(
    alpha: ArrayLike,
    *,
    lam: ArrayLike,
    beta: ArrayLike,
    activation: FunctionLike,
    target: FunctionLike,
    step: StepLike,
    noise: ArrayLike,
    bulk: str | None = None,
    rtol: float = 1e-8,
    wrt: Sequence[str] = (),
    everywhere: bool = False,
    also: Mapping[str, NDArray[Any]] | None = None,
) -> Batch:
    """Check and broadcast the parameters of the theory (see `theory.solve`).

    Parameters
    ----------
    alpha, lam, beta, activation, target, step, noise
        As for `theory.solve`.
    bulk, rtol
        As for `theory.solve`: the first layer's bulk comes with the batch.
    wrt : sequence of str
        Parameters of the step by which the first layer is differentiated: equal spikes that move
        differently are told apart.
    everywhere : bool
        Whether the bulks are for a spectrum, see `Bulk.rules`.
    also : mapping, optional
        Further parameters, which have been checked, by name.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or shapes do not broadcast; the
        message names the argument.
    """
    sigma = resolve(activation, "activation")
    g = resolve(target, "target")
    values: dict[str, NDArray[Any]] = {
        "alpha": real_array("alpha", alpha, minimum=0.0, exclusive=True, infinite=True),
        "beta": real_array("beta", beta, minimum=0.0, exclusive=True),
        "lam": real_array("lam", lam, minimum=0.0),
        "noise": real_array("noise", noise, minimum=0.0),
    }
    values |= also or {}
    parameters: dict[str, Any] = {**values}
    producer = producer_of(step)
    layer = producer.first_layer(sigma, g, values["noise"], bulk=bulk, wrt=wrt)
    parameters |= producer.steered
    moves = _columns(layer)
    key = layer.bulk.key
    groups, spans = layer.r.shape[-2:]
    if layer.alignment.shape[-1] != 1 or (spans != 1 and not everywhere):
        raise NotImplementedError("the core knows one spike direction and one of the target")
    r = layer.r.reshape(*layer.r.shape[:-2], groups * spans)
    c, pi, gamma = layer.c, layer.pi, layer.alignment[..., 0, 0]
    spike_shape = broadcast_shape(
        {
            "r": r.shape[:-1],
            "c": c.shape[:-1],
            "gamma": gamma.shape,
            "pi": pi.shape[:-1],
            "the step": moves.shape[:-1],
            "the bulk": key.shape[:-1],
        }
    )
    shape = broadcast_shape({k: v.shape for k, v in values.items()} | {"the spike": spike_shape})

    rows = np.empty((*spike_shape, (2 + spans) * groups + 1 + moves.shape[-1] + key.shape[-1]))
    begin = 0
    for part, width in (
        (r, spans * groups),
        (c, groups),
        (pi, groups),
        (gamma[..., None], 1),
        (moves, moves.shape[-1]),
        (key, key.shape[-1]),
    ):
        rows[..., begin : begin + width] = part
        begin += width
    rows = rows.reshape(-1, begin)
    rows += 0.0  # -0.0 is 0.0
    which = np.zeros(math.prod(shape), dtype=np.int64)
    order = unsorted = None
    if rows.shape[0] > 1:
        rows, inverse = np.unique(rows, axis=0, return_inverse=True)
        which = np.broadcast_to(inverse.reshape(spike_shape), shape).ravel()
        order = np.argsort(which, kind="stable")
        unsorted = np.empty_like(order)
        unsorted[order] = np.arange(order.size)
        which = which[order].astype(np.int64)

    def of_points(value: NDArray[Any]) -> NDArray[Any]:
        if order is None and value.shape == shape:
            return value.reshape(-1)
        everywhere = np.empty(shape, value.dtype)
        everywhere[...] = value
        flat = everywhere.reshape(-1)
        return flat if order is None else flat[order]

    end = spans * groups  # slices: np.split takes a tenth of one point in one call
    of_r, of_c = rows[:, :end], rows[:, end : end + groups]
    of_pi, of_gamma = rows[:, end + groups : end + 2 * groups], rows[:, end + 2 * groups]
    rest = rows[:, end + 2 * groups + 1 :]
    if spans > 1:
        of_r = of_r.reshape(-1, groups, spans)
    return Batch(
        sigma=sigma,
        g=g,
        shape=shape,
        groups=groups,
        layer=layer,
        parameters=parameters,
        r=of_r,
        c=of_c,
        pi=of_pi,
        gamma=np.ascontiguousarray(of_gamma),
        moves=rest[:, : moves.shape[-1]],
        key=rest[:, moves.shape[-1] :],
        rtol=rtol,
        everywhere=everywhere,
        which=which,
        values={name: of_points(value) for name, value in values.items()},
        _unsorted=unsorted,
    )


def _columns(layer: FirstLayer) -> Floats:
    """Return the moves of a layer as columns, see `Batch.moves`."""
    if not layer.moves:
        return np.empty(0)
    groups = layer.r.shape[-2]
    parts = []
    for move in layer.moves.values():
        parts += [
            np.broadcast_to(move.r, (*move.r.shape[:-1], groups)),
            np.broadcast_to(move.c, (*move.c.shape[:-1], groups)),
            move.gamma[..., None],
            move.scale[..., None],
        ]
    shape = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
    columns = [np.broadcast_to(part, (*shape, part.shape[-1])) for part in parts]
    return np.concatenate(columns, axis=-1)
