"""First layers in latent coordinates, as the core takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.activations import Activation
from spikedrf.inputs.frame import Frame, frame_of
from spikedrf.inputs.labels import Readout, label_rows
from spikedrf.inputs.tables import Tables, make_tables, on_a_grid
from spikedrf.losses import Square
from spikedrf.theory.core import Results, run
from spikedrf.theory.linear_groups import share_solutions

Floats = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Shape:
    """How the latents of a frame are arranged in the core.

    Attributes
    ----------
    order : ndarray of int, shape (L',)
        The frame's latents: that of the spike, those in which the means of classes differ from
        zero or which move the lengths of neurons (together they are coupled), then the free ones.
    latents : tuple
        How many of each kind, as the core takes it, whether there are columns of lengths, and which
        of the latents beside the spike labels depend on, bit by bit.
    axes : list of int
        These, in the order of the core, by their numbers among all that labels depend on.
    """

    order: NDArray[np.int64]
    axes: list[int]
    latents: _core.Latents

    @classmethod
    def of(cls, frame: Frame) -> Shape:
        """Arrange the latents."""
        beside = np.arange(frame.spikes, frame.size)
        coupled = (frame.means[:, beside] != 0.0).any(axis=0)
        coupled |= (frame.tilt[:, beside] != 0.0).any(axis=0)
        order = np.concatenate([np.arange(frame.spikes), beside[coupled], beside[~coupled]])
        lengths = bool((frame.spread > 0.0).any())
        count = frame.spikes + int(coupled.sum())
        number = order[frame.spikes :] - frame.spikes
        labelled = sum(1 << place for place, at in enumerate(number) if at < frame.labels)
        kinds = (frame.spikes, count, int((~coupled).sum()), lengths, labelled)
        return cls(order, number[number < frame.labels].tolist(), kinds)


def core_rows(frame: Frame, shape: Shape, tables: Tables) -> tuple[Floats, list[int]]:
    """Return tables as the core takes them, the nodes of one class after those of another."""
    spans, coupled, _, lengths, _ = shape.latents
    count = np.diff(tables.begin)
    inverse = np.repeat(1.0 / frame.population.weights, count)
    rows = [tables.weight, inverse, tables.y, tables.rest]
    rows += [tables.slope[:, at - spans] for at in shape.order[spans:]]
    rows += [tables.mu0, tables.mu1]
    for place, at in enumerate(shape.order[:coupled]):
        latent = tables.kappa[place] if place < spans else np.repeat(frame.means[:, at], count)
        rows.append(latent * tables.mu1 + frame.tilt[:, at, None] * tables.length)
    if lengths:
        rows.append(np.sqrt(frame.spread)[:, None] * tables.length)
    return np.ascontiguousarray(np.vstack([*rows, tables.mu2])), tables.begin


def core_bulk(frame: Frame, shape: Shape) -> tuple[Floats, ...] | None:
    """Return the values and weights of the bulk's nodes, None if it is isotropic."""
    nodes, order = frame.nodes, shape.order
    if nodes.trace.shape[1] == 1:
        return None
    upper = np.triu_indices(order.size)
    forms = nodes.A[:, :, order][..., order][..., upper[0], upper[1]]
    weight = np.concatenate([nodes.trace[None], np.moveaxis(forms, -1, 0)])
    found = np.ascontiguousarray(nodes.value), np.ascontiguousarray(weight)
    if nodes.lengths is None or nodes.left is None:
        return found
    rows = np.append(order, np.arange(order.size, nodes.lengths.shape[2]))
    return (*found, np.ascontiguousarray(nodes.lengths[:, :, rows]), nodes.left)


def frame_problem(
    frame: Frame, shape: Shape, sigma: Activation, rtol: float, readout: Readout | None = None
) -> _core.Problem:
    """Return the problem that a first layer poses, by default to ridge regression."""
    layer = frame.layer
    made: dict[int, tuple[Floats, list[int]] | None] = {}
    nodes: dict[int, tuple[Floats, list[int]]] = {}
    labels: dict[tuple[int, int], tuple[Floats, list[int]] | None] = {}

    settled = True

    def tables_at(level: int) -> tuple[Floats, list[int]] | None:
        nonlocal settled
        if level not in made:
            tables = make_tables(frame, sigma, level, readout)
            made[level] = None if tables is None else core_rows(frame, shape, tables)
            if tables is not None:
                nodes[level] = tables.kappa, tables.begin
                settled = settled and tables.settled
        return made[level]

    def labels_at(level: int, fine: int) -> tuple[Floats, list[int]] | None:
        if (level, fine) not in labels:
            assert readout is not None
            found = label_rows(frame, readout, *nodes[level], fine)
            if found is not None:
                rows, first = found
                order = [0, 1, *(2 + axis for axis in shape.axes)]
                found = np.ascontiguousarray(rows[order]), first
            labels[level, fine] = found
        return labels[level, fine]

    # Labels that are averaged over grids are in doubt, but for those that are smooth.
    doubtful = on_a_grid(frame)
    if doubtful and readout is None:
        tables_at(0)
        doubtful = not settled
    how: dict[str, Any] = {"loss": Square().core}
    if readout is not None:
        how = {"loss": readout.loss, "signs": readout.signs}
    return _core.Problem(
        sigma.core,
        None,
        np.zeros((1, layer.pi.size)),  # the tables know the spikes
        np.ascontiguousarray(layer.c[None]),
        np.ascontiguousarray(layer.pi[None]),
        None,
        bulk=core_bulk(frame, shape),
        rtol=rtol,
        latents=shape.latents,
        tables_at=tables_at,
        labels_at=labels_at,
        classes=len(frame.means),
        doubtful=doubtful,
        **how,
    )


def _run(
    problem: _core.Problem,
    at: dict[str, Floats],
    wanted: Results,
    threads: int | None,
    size: int = 4096,
) -> Results:
    count = at["alpha"].size
    points = _core.Points(
        np.zeros(count, dtype=np.int64), at["alpha"], at["beta"], lam=at["lam"], noise=at["noise"],
        flip=at.get("flip"),
    )  # fmt: skip
    chunks = [slice(i, min(i + size, count)) for i in range(0, count, size)]
    return run(problem, points, wanted, chunks, threads)


@dataclass(frozen=True, eq=False)
class _Groups:
    r: Floats
    c: Floats
    pi: Floats
    which: NDArray[np.int64]


def _merged(frame: Frame, sigma: Activation) -> Frame:
    """Return the frame with groups of linear features that differ in the spike only as one."""
    layer = frame.layer
    alike = layer.r.shape[1] == 1 and (layer.sigma == layer.sigma[0]).all()
    if layer.trained is not None or not (sigma.linear and layer.pi.size > 1 and alike):
        return frame
    length = np.sqrt(np.sum(layer.pi[:, None] * layer.r**2, keepdims=True))
    first = slice(0, 1)
    one = replace(
        layer, r=length, pi=np.ones(1), sigma=layer.sigma[first], c=layer.c[first],
        ve=layer.ve[first],
    )  # fmt: skip
    return frame_of(frame.population, one)


def solve_frame(
    frame: Frame,
    sigma: Activation,
    at: dict[str, Floats],
    rtol: float,
    threads: int | None,
    readout: Readout | None = None,
) -> tuple[Shape, _core.Solutions]:
    """Solve points of one first layer, arrays ``alpha, beta, lam, noise``, certified.

    With a readout ``flip`` too, and labels that are signs have one noise.
    """
    one = _merged(frame, sigma)
    shape, count = Shape.of(one), at["alpha"].size
    out = _core.Solutions(count, one.layer.pi.size, shape.latents, len(one.means))
    problem = frame_problem(one, shape, sigma, rtol, readout)
    _run(problem, at, out, threads, 4096 if readout is None else 16)
    if one is frame:
        return shape, out
    layer = frame.layer
    groups = _Groups(layer.r.T, layer.c[None], layer.pi[None], np.zeros(count, dtype=np.int64))
    return shape, share_solutions(groups, out)


def differentiate_frame(
    frame: Frame,
    sigma: Activation,
    at: dict[str, Floats],
    names: Sequence[str],
    rtol: float,
    threads: int | None,
) -> _core.Gradients:
    """Differentiate the test error by some of ``alpha, beta, lam, noise``, the layer fixed."""
    frame = _merged(frame, sigma)
    nothing = np.zeros((1, 0, 2 * frame.layer.pi.size + 1)), np.zeros((1, 0))
    out = _core.Gradients(at["alpha"].size, *nothing, names)
    return _run(frame_problem(frame, Shape.of(frame), sigma, rtol), at, out, threads)
