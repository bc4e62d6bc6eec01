"""A batch of points as the core takes it: broadcast, its distinct spikes found, sorted by spike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import Activation, FunctionLike, resolve
from spikedrf.parameters import real_array
from spikedrf.step import GradientStep, Spike
from spikedrf.theory.bulk import BulkRules, bulk_rules, check_bulk, given_rules, trained_columns
from spikedrf.theory.layer import Layer

Floats = NDArray[np.float64]
Step = GradientStep | Spike | Layer | None
Follow = Callable[[Step, Activation, Activation, Floats], tuple[Spike, Floats]]

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
        The distinct spikes, restricted to those groups.
    gamma : ndarray, shape (S,)
    columns : ndarray, shape (S, E)
        What else tells spikes apart, see `pose`.
    bulk : BulkRules or None
        Their bulks, None if these are isotropic.
    which : ndarray of int64, shape (N',)
        Index of each point's spike, ascending.
    values : dict
        ``alpha, beta, lam, noise`` of each point, shape (N',).
    """

    points: NDArray[np.bool_]
    live: NDArray[np.bool_]
    r: Floats
    c: Floats
    pi: Floats
    gamma: Floats
    columns: Floats
    bulk: BulkRules | None
    which: NDArray[np.int64]
    values: dict[str, NDArray[Any]]

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
    spike : Spike
        The spiked model, as it broadcasts.
    parameters : dict
        The parameters as given, for labels.
    r, c, pi : ndarray, shape (S, K)
        The distinct spikes.
    gamma : ndarray, shape (S,)
    columns : ndarray, shape (S, E)
        What else tells spikes apart, see `pose`.
    bulk : BulkRules or None
        Their bulks, None if these are isotropic.
    bulk_name : str
        What the caller called them.
    which : ndarray of int64, shape (N,)
        Index of each sorted point's spike, ascending.
    values : dict
        ``alpha, beta, lam, noise`` of each sorted point, shape (N,).
    """

    sigma: Activation
    g: Activation
    shape: tuple[int, ...]
    groups: int
    spike: Spike
    parameters: dict[str, Any]
    r: Floats
    c: Floats
    pi: Floats
    gamma: Floats
    columns: Floats
    bulk: BulkRules | None
    bulk_name: str
    which: NDArray[np.int64]
    values: dict[str, NDArray[Any]]
    _unsorted: NDArray[np.int64]

    def arrange(self, sorted_points: NDArray[Any]) -> Any:
        """Give an array over the sorted points (first axis) the shape of the call."""
        array = sorted_points[self._unsorted]
        return array.reshape(self.shape + array.shape[1:])[()]

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
        key = np.column_stack([live, np.zeros(len(live), bool) if kind is None else kind])
        for pattern in np.unique(key, axis=0):
            yield self._part((key == pattern).all(axis=1), pattern[:-1]), bool(pattern[-1])

    def _part(self, spikes: NDArray[np.bool_], live: NDArray[np.bool_]) -> Part:
        points = spikes[self.which]
        return Part(
            points=points,
            live=live,
            r=np.ascontiguousarray(self.r[spikes][:, live]),
            c=np.ascontiguousarray(self.c[spikes][:, live]),
            pi=np.ascontiguousarray(self.pi[spikes][:, live]),
            gamma=self.gamma[spikes],
            columns=self.columns[spikes],
            bulk=None if self.bulk is None else self.bulk.part(spikes, live),
            which=(np.cumsum(spikes) - 1)[self.which[points]].astype(np.int64),
            values={name: value[points] for name, value in self.values.items()},
        )


def pose(
    alpha: ArrayLike,
    *,
    lam: ArrayLike,
    beta: ArrayLike,
    activation: FunctionLike,
    target: FunctionLike,
    step: Step,
    noise: ArrayLike,
    follow: Follow | None = None,
    bulk: str = "isotropic",
    rtol: float = 1e-8,
    bulk_wrt: Sequence[str] = (),
    also: Mapping[str, NDArray[Any]] | None = None,
) -> Batch:
    """Check and broadcast the parameters of the theory (see `theory.solve`).

    Parameters
    ----------
    alpha, lam, beta, activation, target, step, noise
        As for `theory.solve`.
    follow : callable, optional
        Takes ``(step, sigma, g, noise)`` and returns the spike and columns, shape (..., E), of
        other things that come with it: equal spikes whose columns differ are told apart.
    bulk, rtol
        As for `theory.solve`: the trained network's bulks come with the batch.
    bulk_wrt : sequence of str
        Parameters of the step by which these are to be differentiated.
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
    columns = np.empty(0)
    if follow is None:
        spike = spike_of(step, sigma, g, values["noise"])
    else:
        spike, columns = follow(step, sigma, g, values["noise"])
    trained = np.empty(0)
    check_bulk(bulk)
    if bulk == "network" and not isinstance(step, Layer):
        trained = trained_columns(step, sigma, g, values["noise"])
    if isinstance(step, GradientStep):
        parameters |= {"eta": step.eta, "alpha0": step.alpha0}
    r, c, gamma, pi = spike.arrays()
    groups = r.shape[-1]
    spike_shape = broadcast_shape(
        {
            "r": r.shape[:-1],
            "c": c.shape[:-1],
            "gamma": gamma.shape,
            "pi": pi.shape[:-1],
            "the step": columns.shape[:-1],
            "the bulk": trained.shape[:-1],
        }
    )
    shape = broadcast_shape({k: v.shape for k, v in values.items()} | {"the spike": spike_shape})

    rows = np.concatenate(
        [
            np.broadcast_to(r, (*spike_shape, groups)),
            np.broadcast_to(c, (*spike_shape, groups)),
            np.broadcast_to(pi, (*spike_shape, groups)),
            np.broadcast_to(gamma, spike_shape)[..., None],
            np.broadcast_to(columns, (*spike_shape, columns.shape[-1])),
            np.broadcast_to(trained, (*spike_shape, trained.shape[-1])),
        ],
        axis=-1,
    )
    rows = rows.reshape(-1, rows.shape[-1])
    rows = rows + 0.0  # -0.0 is 0.0
    inverse = np.zeros(rows.shape[0], dtype=np.int64)
    if rows.shape[0] > 1:
        rows, inverse = np.unique(rows, axis=0, return_inverse=True)
    which = np.broadcast_to(inverse.reshape(spike_shape), shape).ravel()
    order = np.argsort(which, kind="stable") if rows.shape[0] > 1 else np.arange(which.size)
    unsorted = np.empty_like(order)
    unsorted[order] = np.arange(order.size)
    of_r, of_c, of_pi = (rows[:, i * groups : (i + 1) * groups] for i in range(3))
    of_step, of_bulk = np.split(rows[:, 3 * groups + 1 :], [columns.shape[-1]], axis=1)
    rules = None
    # A step on linear features leaves their bulk isotropic.
    round_ = sigma.linear and not isinstance(step, Layer)
    if bulk == "network" and not round_ and which.size:
        rules = (
            given_rules(step, len(rows))
            if isinstance(step, Layer)
            else bulk_rules(of_bulk, sigma, g, rtol, bulk_wrt)
        )
    return Batch(
        sigma=sigma,
        g=g,
        shape=shape,
        groups=groups,
        spike=spike,
        parameters=parameters,
        r=of_r,
        c=of_c,
        pi=of_pi,
        gamma=np.ascontiguousarray(rows[:, 3 * groups]),
        columns=of_step,
        bulk=rules,
        bulk_name=bulk,
        which=which[order].astype(np.int64),
        values={k: np.broadcast_to(v, shape).ravel()[order] for k, v in values.items()},
        _unsorted=unsorted,
    )


def spike_of(step: Step, sigma: Activation, g: Activation, noise: Floats) -> Spike:
    """Return the spiked model that a step leaves.

    Raises
    ------
    TypeError
        If the step is none of the things that it may be.
    """
    if step is None:
        return Spike(r=0.0, c=1.0, gamma=0.0)
    if isinstance(step, Spike):
        return step
    if isinstance(step, Layer):
        return step.spike
    if isinstance(step, GradientStep):
        # Resolved functions pass through `resolve` unchanged.
        return step.spike(sigma, g, noise)
    raise TypeError(f"step must be a GradientStep, a Spike or None, got {step!r}")


def broadcast_shape(shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the common shape of named parameters.

    Raises
    ------
    ValueError
        If there is none; the message lists the names and shapes.
    """
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        listing = ", ".join(f"{name}: {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(
            f"the parameters do not broadcast against each other ({listing})"
        ) from None
