"""Losses other than the square of real labels: refused limits, and the least error rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.losses import Loss
from spikedrf.running.workers import cores
from spikedrf.theory.baseline import bayes_error
from spikedrf.theory.batch import MAX_NODES, Batch, Part
from spikedrf.theory.convergence import left_to_caller
from spikedrf.theory.core import core_points, core_problem, run

Floats = NDArray[np.float64]


def set_undefined_aside(batch: Batch, loss: Loss, labels: str) -> tuple[Batch, NDArray[np.bool_]]:
    """Find the points at a limit without a formula, and let the core solve the others.

    Returns
    -------
    batch : Batch
        With a ridge and finite ``alpha`` at those: what comes out there is to be overwritten.
    undefined : ndarray of bool, shape (N,)

    Raises
    ------
    ValueError
        If there is no other point, unless this call is a part of another, or as `refuse_undefined`.
    """
    values = batch.values
    undefined = (values["lam"] == 0.0) | np.isinf(values["alpha"])
    if labels == "sign" and _only_sign(batch) is not None:
        undefined |= (values["noise"] == 0.0) & (values["flip"] == 0.0)
    if undefined.any() and (left_to_caller() or not undefined.all()):
        harmless = {"alpha": 1.0, "lam": 1.0} | ({"flip": 0.25} if labels == "sign" else {})
        moved = {name: np.where(undefined, x, values[name]) for name, x in harmless.items()}
        batch = replace(batch, values=values | moved)
    refuse_undefined(batch, loss, labels)
    return batch, undefined


def refuse_undefined(batch: Batch, loss: Loss, labels: str) -> None:
    """Refuse the limits that these equations are not solved in.

    Raises
    ------
    ValueError
        If there is a point without a ridge or with infinitely many samples, or one at which all
        labels are the same.
    """
    refuse_limits(batch.values["alpha"], batch.values["lam"], loss, labels)
    if labels == "sign" and ((batch.values["noise"] == 0) & (batch.values["flip"] == 0)).any():
        sign = _only_sign(batch)
        if sign is not None:
            raise ValueError(
                f"target={batch.g.name!r} has one sign and all labels are {sign}: noise or flip "
                f"must be > 0"
            )


def _only_sign(batch: Batch) -> str | None:
    """Return the sign of a target that has only one."""
    up = batch.g(np.linspace(-11.0, 11.0, 2201)) >= 0.0
    if up.all():
        return "+1"
    return None if up.any() else "-1"


def pose_part(batch: Batch, part: Part, loss: Loss, labels: str, rtol: float) -> _core.Problem:
    """Return the problem that a part of a batch poses under any loss."""
    signs = labels == "sign"
    return core_problem(part, batch.sigma, batch.g, rtol, MAX_NODES, loss=loss.core, signs=signs)


def in_a_row(part: Part) -> NDArray[np.int64]:
    """Return an order in which points of one spike and noise, which share tables, are in a row."""
    return np.lexsort((part.values["noise"], part.which))


def chunks(count: int, threads: int | None) -> list[slice]:
    """Return pieces of work for one thread: the points of a piece share their tables."""
    number = threads or cores()
    share = count // (4 * number) if number > 1 else count
    size = int(np.clip(share, 1, 32))
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]


def refuse_limits(alpha: Floats, lam: Floats, loss: Loss, labels: str) -> None:
    """Raise ValueError where there is no ridge, or where there are infinitely many samples."""
    what = f"loss {loss.name!r} and labels={labels!r}"
    if (lam == 0).any():
        raise ValueError(
            f"lam must be > 0 with {what}: without a penalty the readout need not exist (separable "
            f"labels) nor be unique; where it is, a small lam is as good"
        )
    if np.isinf(alpha).any():
        raise ValueError(
            f"alpha must be finite with {what}: against infinitely many samples no penalty has any "
            f"weight; a large alpha is as good"
        )


def solve_part(
    batch: Batch, part: Part, loss: Loss, labels: str, rtol: float, threads: int | None
) -> _core.Solutions:
    """Solve the points of a part, those of one spike and noise, which share tables, in a row."""
    problem = pose_part(batch, part, loss, labels, rtol)
    count, groups = part.which.size, part.r.shape[1]
    order = in_a_row(part)
    found = _core.Solutions(count, groups)
    run(problem, core_points(part, order), found, chunks(count, threads), threads)
    out = _core.Solutions(count, groups)
    out.scalars[:, order], out.counts[:, order] = found.scalars, found.counts
    out.vectors[:, order], out.matrices[:, order] = found.vectors, found.matrices
    out.nodes[order] = found.nodes
    return out


def least_error(batch: Batch) -> Floats:
    """Return the error rate of the best classifier at every point: see `bayes_error`."""
    noise, index = np.unique(batch.values["noise"], return_inverse=True)
    least = np.array([bayes_error(batch.g, sd) for sd in noise])[index]
    flip = batch.values["flip"]
    return np.asarray(flip + (1.0 - 2.0 * flip) * least)
