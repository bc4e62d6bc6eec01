"""Points under any convex loss of the readout, as the core takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.losses import Loss
from spikedrf.running.workers import cores, for_each
from spikedrf.theory.baseline import bayes_error
from spikedrf.theory.batch import MAX_NODES, Batch, Part

Floats = NDArray[np.float64]

#: What a loss has beside the errors and the norm, in the order of the core.
EXTRA = ("test_loss", "train_loss", "margin", "train_margin")


def refuse_undefined(batch: Batch, loss: Loss, labels: str) -> None:
    """Refuse the limits that these equations are not solved in.

    Raises
    ------
    ValueError
        If there is a point without a ridge or with infinitely many samples, or one at which all
        labels are the same.
    """
    what = f"loss {loss.name!r} and labels={labels!r}"
    if (batch.values["lam"] == 0).any():
        raise ValueError(
            f"lam must be > 0 with {what}: without a penalty the readout need not exist (separable "
            f"labels) nor be unique; where it is, a small lam is as good"
        )
    if np.isinf(batch.values["alpha"]).any():
        raise ValueError(
            f"alpha must be finite with {what}: against infinitely many samples no penalty has any "
            f"weight; a large alpha is as good"
        )
    if labels == "sign" and ((batch.values["noise"] == 0) & (batch.values["flip"] == 0)).any():
        up = batch.g(np.linspace(-11.0, 11.0, 2201)) >= 0.0
        if up.all() or not up.any():
            raise ValueError(
                f"target={batch.g.name!r} has one sign and all labels are "
                f"{'+1' if up.all() else '-1'}: noise or flip must be > 0"
            )


def run(
    batch: Batch,
    part: Part,
    loss: Loss,
    labels: str,
    rtol: float,
    threads: int | None,
    out: Any,
) -> None:
    """Hand the points to the core, those of one spike and noise, which share tables, in a row."""
    order = np.lexsort((part.values["noise"], part.which))
    count = order.size
    which = np.ascontiguousarray(part.which[order])
    values = {name: np.ascontiguousarray(value[order]) for name, value in part.values.items()}
    flip = values.get("flip", np.zeros(count))
    scalars, counts = np.empty_like(out.scalars), np.empty_like(out.counts)
    vectors, matrices = np.empty_like(out.vectors), np.empty_like(out.matrices)
    nodes = np.empty_like(out.nodes)
    bulk = () if part.bulk is None else part.bulk.core()

    def chunk(points: slice) -> None:
        _core.convex_points(
            batch.sigma.core,
            batch.g.core,
            *loss.core,
            labels == "sign",
            part.r,
            part.c,
            part.gamma,
            part.pi,
            which,
            values["alpha"],
            values["beta"],
            values["lam"],
            values["noise"],
            flip,
            rtol,
            MAX_NODES,
            scalars,
            vectors,
            matrices,
            counts,
            nodes,
            points.start,
            points.stop,
            *bulk,
        )

    size = int(np.clip(count // (4 * (threads or cores())), 1, 32))
    for_each(chunk, [slice(i, min(i + size, count)) for i in range(0, count, size)], threads)
    out.scalars[:, order], out.counts[:, order], out.nodes[order] = scalars, counts, nodes
    out.vectors[:, order], out.matrices[:, order] = vectors, matrices


def least_error(batch: Batch) -> Floats:
    """Return the error rate of the best classifier at every point: see `bayes_error`."""
    noise, index = np.unique(batch.values["noise"], return_inverse=True)
    least = np.array([bayes_error(batch.g, sd) for sd in noise])[index]
    flip = batch.values["flip"]
    return np.asarray(flip + (1.0 - 2.0 * flip) * least)
