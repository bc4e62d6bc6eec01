r"""Groups of linear features that differ in their spike alone, merged into one.

Their features span the same space, so for ``p > d`` the K-group equations are singular as
``lam -> 0`` (the responses of the groups grow without bound and cancel in everything that is
observed). One group with ``r^2 = sum_k pi_k r_k^2`` spans the same space and has the same
solution, whatever the loss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.theory.batch import Batch, Floats, Part


def mergeable_spikes(batch: Batch) -> NDArray[np.bool_]:
    """Find the spikes whose several groups of linear features differ in nothing but the spike."""
    if not batch.sigma.linear or batch.r.ndim > 2:  # in a plane means of groups differ
        return np.zeros(len(batch.pi), dtype=bool)
    live = batch.pi > 0
    widest = np.where(live, batch.c, -np.inf).max(axis=1)
    narrowest = np.where(live, batch.c, np.inf).min(axis=1)
    return np.asarray((live.sum(axis=1) > 1) & (widest == narrowest))


class Groups(Protocol):
    """Strengths, variances and proportions of groups (S, K), and whose each point's are (P,)."""

    @property
    def r(self) -> Floats:
        """Spike strengths."""

    @property
    def c(self) -> Floats:
        """Bulk variances."""

    @property
    def pi(self) -> Floats:
        """Proportions."""

    @property
    def which(self) -> NDArray[np.int64]:
        """Row of each point."""


def _length(part: Groups) -> Floats:
    return np.asarray(np.sqrt(np.sum(part.pi * part.r**2, axis=1)))


def _inverse(length: Floats) -> Floats:
    return 1.0 / np.where(length > 0, length, 1.0)


def merged(part: Part) -> Part:
    """Return the part with its groups as one."""
    length = _length(part)
    return replace(
        part,
        r=length[:, None],
        c=np.ascontiguousarray(part.c[:, :1]),
        pi=np.ones_like(length)[:, None],
        seen=None if part.seen is None else part.seen.part(np.arange(part.live.sum()) == 0),
    )


def share_solutions(part: Groups, one: _core.Solutions) -> _core.Solutions:
    r"""Give each group its share of the solution of the merged part.

    The minimum-norm ``m`` is along ``r``, what lies along latents and ``q2, V2`` are shared out by
    ``pi``, and with ``M = (e + b 1 1^T)^{-1}``, ``e_k = e / pi_k``, at every node of the bulk::

        V1_kl = pi_k pi_l V1 + (delta_kl pi_k - pi_k pi_l) c V2,   and q1 likewise with q2.
    """
    which = part.which
    groups = part.r.shape[1]
    classes = 1 if one.latents is None else one.by_class.shape[2]
    out = _core.Solutions(which.size, groups, one.latents, classes)
    out.scalars[:], out.counts[:], out.nodes[:] = one.scalars, one.counts, one.nodes
    share = part.pi[which]
    norm = np.linalg.norm(part.r, axis=1)
    along = part.r * (_length(part) * _inverse(norm) ** 2)[:, None]
    out.vectors[0] = along[which] * one.vectors[0]
    out.vectors[1:] = share * one.vectors[1:]
    spread = share[:, :, None] * (np.eye(groups) - share[:, None, :])
    product = share[:, :, None] * share[:, None, :]
    for matrix, (whole, vector) in enumerate([(0, 3), (1, 4)]):
        own = part.c[which, 0] * one.vectors[vector][:, 0]
        with np.errstate(invalid="ignore"):  # infinite responses of the ridgeless limit
            out.matrices[matrix] = product * one.matrices[whole] + spread * own[:, None, None]
    if one.latents is not None:
        _, coupled, free, lengths, _ = one.latents
        for count, of_one, of_all in (
            (coupled + lengths, one.columns, out.columns), (free, one.free, out.free)
        ):  # fmt: skip
            shared = of_one[:, :count, None] * share[:, None, :]
            of_all[:, : count * groups] = shared.reshape(which.size, count * groups)
        out.by_class[:] = one.by_class
    return out


def merged_moves(part: Part, direction: Floats) -> Floats:
    """Return how the merged part moves, given how its groups do: dr, dc, dgamma (S, D, 2K + 1).

    What all neurons have in common moves with the average of ``c``; moving their variances apart
    has no effect to first order.
    """
    live = part.r.shape[1]
    length = _length(part)
    along = part.pi * part.r * _inverse(length)[:, None]
    dr, dc, dgamma = np.split(direction, [live, 2 * live], axis=2)
    at_rest = np.sqrt(np.einsum("sdk,sk->sd", dr**2, part.pi))
    moves = [
        np.where(length[:, None] > 0, np.einsum("sdk,sk->sd", dr, along), at_rest),
        np.einsum("sdk,sk->sd", dc, part.pi),
        dgamma[:, :, 0],
    ]
    return np.ascontiguousarray(np.stack(moves, axis=2))
