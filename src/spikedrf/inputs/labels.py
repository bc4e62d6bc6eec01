"""Labels on the nodes of kappa, for losses that need more of them than their moments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.inputs.frame import Frame
from spikedrf.inputs.population import Population, gaussian_grid, hermite_grid

Floats = NDArray[Any]

# Points an axis of the trapezoid rule over one, two or three latents, level by level.
_GRID = {
    1: (33, 49, 73, 109, 163, 245, 367, 551),
    2: (25, 33, 49, 73, 109, 163),
    3: (17, 25, 33, 43),
}
# Points of Gauss-Hermite rules for what is smooth beside a plane of kappa, whose nodes are
# thousands: real labels, and the chance of +1 where signs are noisy.
_BESIDE_PLANE = {1: (12, 18, 26, 38, 54, 80), 2: (10, 14, 20, 28, 40), 3: (8, 10, 12)}
#: So many labels there are at most, on all nodes together.
MOST_LABELS = 1 << 21

# Where a function of one latent changes its sign: it is looked at in so many places.
_REACH, _SCAN, _HALVINGS = 9.0, 721, 50
_NEAR = 1e-5
_MOST_NODES, _NEGLIGIBLE = 1 << 13, 1e-18

# Where the least rate of wrong signs is found: reach and accuracy of the integral over all latents
# of labels but the last, along which lines run, how often it may be divided, and values at a time.
_LEAST_REACH, _LEAST_ACCURACY, _LEAST_DIVISIONS = 8.0, {1: 1e-9, 2: 1e-7}, 200
_SCANNED = 1_000_000


@dataclass(frozen=True)
class Readout:
    """What the readout learns, and under which loss.

    Attributes
    ----------
    loss : tuple
        Number and parameter of the core's loss.
    signs : bool
        Whether labels are the signs of ``g + noise N(0, 1)``.
    noise : float
        Of these signs; real labels bring theirs into the equations themselves.
    """

    loss: tuple[int, float]
    signs: bool
    noise: float


def label_rows(
    frame: Frame, readout: Readout, kappa: Floats, begin: list[int], fine: int
) -> tuple[Floats, list[int]] | None:
    """Return labels on the nodes of kappa, as the core takes them, None beyond the finest rule.

    Parameters
    ----------
    frame : Frame
    readout : Readout
    kappa : ndarray, shape (R, N)
        Nodes.
    begin : list of int
        Where those of each class begin, and the last end.
    fine : int
        Level of the rule over the latents beside kappa that labels depend on.

    Returns
    -------
    rows : ndarray, shape (2 + D, entries)
        Weights, labels (of signs the chance of +1), and those D latents, from the class's mean.
    first : list of int
        Where the entries of each node begin, and the last end.
    """
    parts = []
    for i in range(len(frame.means)):
        shift = kappa[:, begin[i] : begin[i + 1]] - frame.means[i, : frame.spikes, None]
        part = _of_class(frame, readout, i, np.ascontiguousarray(shift), fine)
        if part is None:
            return None
        parts.append(part)
    first = [0]
    for _, own in parts:
        first += (first[-1] + np.asarray(own[1:])).tolist()
    if first[-1] > MOST_LABELS:
        return None
    return np.ascontiguousarray(np.concatenate([rows for rows, _ in parts], axis=1)), first


def _of_class(
    frame: Frame, readout: Readout, i: int, shift: Floats, fine: int
) -> tuple[Floats, Any] | None:
    """Do so for class i, at nodes that are ``shift`` away from its mean."""
    law, nodes = frame.population, shift.shape[1]
    if law.scalar is not None and frame.labels:
        offset, along, across = frame.scalar(i)
        found = _core.label_rule(
            _core.Function(law.scalar.core), np.ascontiguousarray(offset + along @ shift),
            abs(across), readout.signs, readout.noise, fine,
        )  # fmt: skip
        if found is None:
            return None
        rows, first = found
        rows[2] *= np.sign(across)
        return rows, first
    if not frame.labels:
        value = _values(frame, readout, i, shift, np.zeros((1, 0)))[:, 0]
        return np.array([np.ones(nodes), value]), np.arange(nodes + 1)
    if frame.labels == 1 and readout.signs:
        return _along_a_line(frame, readout, i, shift, fine)
    smooth = frame.spikes > 1 and (not readout.signs or readout.noise > 0.0)
    points = (_BESIDE_PLANE if smooth else _GRID)[frame.labels]
    if fine >= len(points) or points[fine] ** frame.labels * nodes > 2 * MOST_LABELS:
        return None
    zeta, weight = (hermite_grid if smooth else gaussian_grid)(frame.labels, points[fine])
    value = _values(frame, readout, i, shift, zeta)
    rows = np.vstack([np.tile(weight, nodes), value.ravel(), np.tile(zeta.T, (1, nodes))])
    return rows, np.arange(nodes + 1) * weight.size


def _latents(frame: Frame, i: int, shift: Floats, zeta: Floats) -> Floats:
    """Return the population's latents at nodes (R, n, 1) and beside them, zeta (n or 1, m, D)."""
    law, spikes = frame.population, frame.spikes
    s = law.means[i] + zeta @ frame.turn[spikes : spikes + frame.labels]
    return np.asarray(s + np.einsum("r...,rl->...l", shift, frame.turn[:spikes]))


def _values(frame: Frame, readout: Readout, i: int, shift: Floats, zeta: Floats) -> Floats:
    """Return labels at every node and every zeta, (n, m), of signs the chance of +1."""
    law = frame.population
    if law.numbers is not None:
        value = np.full((shift.shape[1], len(zeta)), law.numbers[i])
    else:
        value = np.asarray(law.label(_latents(frame, i, shift[..., None], zeta[None]), i))
    return _chance(value, readout.noise) if readout.signs else value


def _chance(g: Floats, noise: float) -> Floats:
    if noise > 0.0:
        from scipy.special import ndtr

        return np.asarray(ndtr(g / noise))
    return (g >= 0.0).astype(np.float64)


def _along_a_line(
    frame: Frame, readout: Readout, i: int, shift: Floats, fine: int
) -> tuple[Floats, Any] | None:
    """Signs of a function of one latent beside kappa: panels end where it changes its sign."""
    law = frame.population

    def g(line: Any, zeta: Floats) -> Floats:
        return np.asarray(law.label(_latents(frame, i, shift[:, line], zeta[..., None]), i))

    line, left, width = _changes(g, shift.shape[1], readout.noise)
    parts, first = [], [0]
    for n in range(shift.shape[1]):
        mine = line == n
        rule = _core.feature_rule(
            np.ascontiguousarray(left[mine]), np.ascontiguousarray(width[mine]), fine,
            _MOST_NODES, _NEGLIGIBLE,
        )  # fmt: skip
        if rule is None:
            return None
        chance = _chance(g(np.full(rule.shape[1], n), rule[0]), readout.noise)
        parts.append(np.array([rule[1], chance, rule[0]]))
        first.append(first[-1] + rule.shape[1])
    return np.concatenate(parts, axis=1), first


def _changes(g: Any, count: int, noise: float) -> tuple[Floats, Floats, Floats]:
    """Find where functions ``g(line, zeta)`` change their sign.

    Returns
    -------
    line, at, width : ndarray
        Lines, ascending, places on them, and the scale on which noise hides the change.
    """
    scan = np.linspace(-_REACH, _REACH, _SCAN) + 1e-4
    value = g(np.arange(count)[:, None], np.broadcast_to(scan, (count, scan.size)))
    line, place = np.nonzero((value[:, 1:] >= 0.0) != (value[:, :-1] >= 0.0))
    left, right = scan[place], scan[place + 1]
    below = value[line, place] >= 0.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (left + right)
        same = (g(line, middle) >= 0.0) == below
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    width = np.zeros_like(left)
    if noise > 0.0:
        beside = [np.abs(g(line, left - _NEAR)), np.abs(g(line, right + _NEAR))]
        width = noise / np.maximum(np.maximum(*beside) / _NEAR, 1e-300)
    return line, left, width


def least_rates(population: Population, noise: Floats, flip: Floats) -> tuple[Floats, Floats]:
    """Return the rate of wrong signs of the labels themselves, class and latents known.

    ``E min(P(y = 1), P(y = -1))`` at every point, what noise and turned labels cost any classifier;
    and an estimate of its error.
    """
    levels, which = np.unique(noise, return_inverse=True)
    found = np.array([_least_rate(population, float(level)) for level in levels]).reshape(-1, 2)
    least, error = found[which.reshape(np.shape(noise))].T
    return np.asarray(flip + (1.0 - 2.0 * flip) * least), np.asarray((1.0 - 2.0 * flip) * error)


@lru_cache(maxsize=64)
def _least_rate(law: Population, noise: float) -> tuple[float, float]:
    """Integrate along lines of one latent, whose ends of panels are known, then over the others."""
    from scipy.integrate import cubature
    from scipy.special import ndtr

    if noise == 0.0:
        return 0.0, 0.0
    if law.numbers is not None:
        return float(law.proportions @ ndtr(-np.abs(law.numbers) / noise)), 0.0
    last = law.directions - 1
    if last == 0:
        here = np.zeros((1, 0))
        by_class = [_least_on_lines(law, i, here, noise)[0] for i in range(len(law.means))]
        return float(law.proportions @ by_class), 0.0

    def density(zeta: Floats) -> Floats:
        weight = np.exp(-0.5 * np.sum(zeta**2, axis=1)) / (2.0 * np.pi) ** (0.5 * last)
        return np.array([
            weight * _least_on_lines(law, i, zeta, noise) for i in range(len(law.means))
        ]).T  # fmt: skip

    # Zero is where named targets have a kink.
    ends = np.full(last, _LEAST_REACH)
    found = cubature(
        density, -ends, ends, rtol=_LEAST_ACCURACY[last], atol=0.1 * _LEAST_ACCURACY[last],
        max_subdivisions=_LEAST_DIVISIONS, points=[np.zeros(last)],
    )  # fmt: skip
    return float(law.proportions @ found.estimate), float(law.proportions @ found.error)


def _least_on_lines(law: Population, i: int, zeta: Floats, noise: float) -> Floats:
    """Return it in class i, at zeta (N, D - 1) from its mean in all latents of labels but the last.

    The smaller chance has a kink where labels change their sign, and varies next to it on the scale
    on which the noise hides that.
    """
    from scipy.special import ndtr

    last = zeta.shape[1]
    total = np.zeros(len(zeta))
    for start in range(0, len(zeta), max(1, _SCANNED // _SCAN)):
        part = slice(start, start + max(1, _SCANNED // _SCAN))
        begin = np.tile(law.means[i], (len(zeta[part]), 1))
        begin[:, :last] += zeta[part]

        def g(line: Any, at: Floats, begin: Floats = begin) -> Floats:
            s = np.broadcast_to(begin[line], (*np.shape(at), law.latents)).copy()
            s[..., last] += at
            return np.asarray(law.label(s, i))

        line, at, width = _changes(g, len(begin), noise)
        parts, lines = [], []
        ends = np.searchsorted(line, np.arange(len(begin) + 1))
        for n in range(len(begin)):
            mine = np.repeat(np.arange(ends[n], ends[n + 1]), 2)
            scale = width[mine] * (np.arange(mine.size) % 2)
            rule = _core.feature_rule(at[mine], scale, 1, _MOST_NODES, _NEGLIGIBLE)
            if rule is None:
                raise ValueError(
                    f"labels='sign': {mine.size // 2} changes of sign along a line are more than "
                    f"panels can end at"
                )
            parts.append(rule)
            lines.append(np.full(rule.shape[1], n))
        (node, weight), which = np.concatenate(parts, axis=1), np.concatenate(lines)
        wrong = weight * ndtr(-np.abs(g(which, node)) / noise)
        total[part] = np.bincount(which, wrong, len(begin))
    return total
