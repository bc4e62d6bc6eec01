"""The bulk of trained networks after several steps: each makes one of the bulk before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.bulk import Bulk, BulkNodes, Rules
from spikedrf.first_layer.differences import OFFSETS, WEIGHTS
from spikedrf.first_layer.line import State, Walk
from spikedrf.first_layer.rational import node_count, rational_rule, rational_weights
from spikedrf.first_layer.stepped_resolvent import Spectrum, StepLaw, SteppedResolvent

Floats = NDArray[np.float64]
Numbers = NDArray[Any]

# What the rules that take turns have beyond need: nodes, and a factor on those of the averages.
_TURNS = ((0, 1.0), (2, 1.4))

# With a derivative that is (nearly) linear the spectrum of the bulk reaches down to zero. What is
# below this then gets no nodes of its own; the two rules differ as soon as it matters.
_LOWEST = 1e-2

# The rules for averages over a sample: nodes on a panel of width 1/2 along the target, the reach
# and the step across it, and those of label noise: at least, for each unit of it, at most.
_DEGREE, _REACH, _ACROSS = 8, 8.5, 0.25
_NOISE = (4, 40, 64)

# Samples of so little weight do not count, nor what is left beyond a bound of the spectrum.
_LEAST, _BEYOND = 1e-18, 1e-13

# A linear activation leaves an isotropic bulk.
_LEAST_RATIO = 2.0

# The relative step of differences by parameters of the steps.
_DIFFERENCE = 0.02


class _Frame(NamedTuple):
    """Nodes of the bulk after a step, and where its resolvent is asked for."""

    value: Floats
    x: Floats
    node: Floats
    point: Floats
    low: float


class SteppedBulk(Bulk):
    r"""The bulk of networks that have been trained in several steps, ``bulk="network"``.

    A step on fresh samples, free of all that was before, makes of the covariance ``D`` of rows
    beside their spike::

        Sigma = (I + e M) D (I + e M) + b S,     e = eta u,  b = e^2/alpha0

    (`SteppedResolvent`), which has nodes like a bulk of one step: so the next step knows it. One
    value of ``u``, white inputs, a target of one direction.

    Parameters
    ----------
    sigma, g : Activation
        Activation and target.
    u : float
        Readout value.
    etas, batches : sequence of float or ndarray
        ``eta`` and ``alpha0`` of the steps.
    noise : ndarray
    columns : mapping of str to list of int
        Which of (etas, batches, noise) a parameter moves.
    """

    name = "network"

    def __init__(
        self,
        sigma: Activation,
        g: Activation,
        u: float,
        etas: Sequence[Any],
        batches: Sequence[Any],
        noise: Floats,
        columns: Mapping[str, list[int]],
    ) -> None:
        self.sigma, self.g, self.u, self.columns = sigma, g, u, columns
        parts = np.broadcast_arrays(*etas, *batches, noise)
        self.key = np.stack([np.asarray(part, dtype=np.float64) for part in parts], axis=-1)

    def forms(self, x: Any, group: int = 0) -> Numbers:
        """See `Bulk.forms`; by the nodes, so for x >= 0."""
        if not np.all(np.isreal(x) & (np.real(x) >= 0.0)):
            raise ValueError(f"x must be >= 0 for a bulk after several steps, got {x!r}")
        return self.nodes().forms(np.real(x), group)

    def nodes(self, rtol: float = 1e-8) -> BulkNodes:
        """Return the bulk by its nodes, those of the finer rule."""
        *shape, width = self.key.shape
        rules = self.rules(self.key.reshape(-1, width), rtol)
        weight = rules.weight[:, :, -1].reshape(4, *shape, -1)
        value = rules.value[:, -1].reshape(*shape, -1, 1)
        return BulkNodes(value, weight[0], weight[1], weight[2], weight[3])

    def rules(
        self, key: Floats, rtol: float, wrt: Sequence[str] = (), *, everywhere: bool = False
    ) -> Rules:
        """See `Bulk.rules`: two rules for each bulk, the second finer in every respect.

        Raises
        ------
        ValueError
            If they are for a spectrum.
        """
        if everywhere:
            raise ValueError(
                "bulk='network' after several steps is known for errors, not for spectra: use "
                "bulk='isotropic', or simulate_spectrum(model='network')"
            )
        tolerance = max(1e-3 * rtol, 1e-14)
        of = self.sigma, self.g, self.u
        rows = [tuple(row) for row in key.tolist()]
        found = [[_rule(*of, row, tolerance, turn) for turn in range(len(_TURNS))] for row in rows]
        most = max((len(frames[-1].value) for rule in found for frames, _ in rule), default=1)
        value = np.ones((len(rows), len(_TURNS), most, 1))
        weight = np.zeros((4, len(rows), len(_TURNS), most))
        slopes = {name: np.zeros_like(weight) for name in wrt}
        for i, row in enumerate(rows):
            for turn, (frames, weights) in enumerate(found[i]):
                part = i, turn, slice(weights.shape[1])
                value[(*part, 0)] = frames[-1].value
                weight[:, *part] = weights
                for name, slope in slopes.items():
                    slope[:, *part] = self._slope(row, tolerance, turn, frames, name)
        return Rules(value, weight, slopes)

    def _slope(
        self,
        row: tuple[float, ...],
        tolerance: float,
        turn: int,
        frames: tuple[_Frame, ...],
        name: str,
    ) -> Floats:
        """Return how the weights move with a parameter, by central differences."""
        columns = self.columns[name]
        at = row[columns[0]]
        if not np.isfinite(at):
            return np.zeros((4, frames[-1].value.size))
        step = _DIFFERENCE * max(abs(at), 0.0 if name.startswith("alpha0") else 0.1)
        total = np.zeros((4, frames[-1].value.size))
        for offset, weight in zip(OFFSETS, WEIGHTS, strict=True):
            moved = list(row)
            for column in columns:
                moved[column] = at + offset * step
            if name == "noise":  # only its square counts
                moved[columns[0]] = abs(moved[columns[0]])
            of = self.sigma, self.g, self.u, tuple(moved), tolerance, turn
            total += weight / step * _recursion(*of, frames)[1]
        return total


@lru_cache(maxsize=256)
def _rule(
    sigma: Activation, g: Activation, u: float, key: tuple[float, ...], tolerance: float, turn: int
) -> tuple[tuple[_Frame, ...], Floats]:
    return _recursion(sigma, g, u, key, tolerance, turn, None)


def _recursion(
    sigma: Activation,
    g: Activation,
    u: float,
    key: tuple[float, ...],
    tolerance: float,
    turn: int,
    given: tuple[_Frame, ...] | None,
) -> tuple[tuple[_Frame, ...], Floats]:
    """Return the nodes after each step, unless they are given, and the weights after the last."""
    extra, fineness = _TURNS[turn]
    fineness *= 1.0 + 0.25 * max(0.0, -11.0 - np.log10(tolerance))
    count = len(key) // 2
    steps = [
        (eta, alpha0)
        for eta, alpha0 in zip(key[:count], key[count : 2 * count], strict=True)
        if eta != 0.0 and alpha0 > 0.0
    ]
    walk = Walk(sigma, g, key[-1], u)
    states = walk.states(steps)
    bulk = Spectrum(np.ones(1), np.array([[1.0], [1.0], [0.0], [1.0]]))
    frames, low, high = [], 1.0, 1.0
    for i, (eta, alpha0) in enumerate(steps):
        law = law_of_step(walk, states[i], fineness)
        sign = -1.0 if states[i + 1].r < 0.0 else 1.0
        after = SteppedResolvent(bulk, law, eta * u, alpha0, states[i].r, states[i].gamma, sign)
        low, high = _interval(law, eta * u, alpha0, low, high)
        if given is None:
            ratio = max(high / low, _LEAST_RATIO)
            node, point = rational_rule(1.0, ratio, node_count(ratio, tolerance) + extra)
            frames.append(_Frame(low * node, point / low, node, point, low))
        else:
            frames.append(given[i])
        at = frames[-1]
        bulk = Spectrum(at.value, rational_weights(at.node, at.point, after.forms(at.x) / at.low))
    if not frames:
        frames.append(_Frame(np.ones(1), np.ones(1), np.ones(1), np.ones(1), 1.0))
    return tuple(frames), bulk.weight


def law_of_step(walk: Walk, state: State, fineness: float) -> StepLaw:
    """Return the law of a sample that a step from this state sees."""
    r, c, gamma = state
    across, sd = float(np.sqrt((1.0 - gamma) * (1.0 + gamma))), float(np.sqrt(c))
    s, along = walk.g.gaussian_rule(1, int(np.ceil(_DEGREE * fineness)))
    if r == 0.0:
        # Nothing but its square is ever asked for of what is across.
        t, beside = np.sqrt(3.0) * np.array([-1.0, 0.0, 1.0]), np.array([1.0, 4.0, 1.0]) / 6.0
    else:
        step = _ACROSS * min(1.0, sd / (abs(r) * across) if across > 0.0 else 1.0) / fineness
        t = np.arange(-np.ceil(_REACH / step), np.ceil(_REACH / step) + 1) * step
        beside = np.exp(-0.5 * t**2)
        beside /= beside.sum()
    weight = np.outer(along, beside)
    matters = weight > _LEAST
    i, j = np.nonzero(matters)
    weight, clean = weight[matters], walk.g(s)[i]
    kappa, zeta = gamma * s[i] + across * t[j], across * s[i] - gamma * t[j]
    mu0 = walk.feature(r * kappa, sd)[0]
    # bend is E z sigma', which is sqrt(c) times the slope; spread what the variance has beside it.
    mu1, bend, spread = walk.slope(r * kappa, sd)
    res = clean - walk.u * mu0
    n, share = np.zeros(1), np.ones(1)
    if walk.noise > 0.0:
        least, each, most = _NOISE
        n, share = np.polynomial.hermite_e.hermegauss(
            int(fineness * min(least + each * walk.noise, most))
        )
        share = share / share.sum()
    res = res + walk.noise * n[:, None]

    def everywhere(values: Floats) -> Floats:
        return np.broadcast_to(values, res.shape).ravel()

    return StepLaw(
        (weight * share[:, None]).ravel(),
        everywhere(kappa),
        everywhere(zeta),
        (res * mu1).ravel(),
        (res * (bend / sd)).ravel(),
        (res**2 * spread).ravel(),
    )


def _interval(
    law: StepLaw, e: float, alpha0: float, low: float, high: float
) -> tuple[float, float]:
    """Bound the spectrum after a step by that before it, as `TrainedBulk` does.

    ``w'Sw >= k (w'Mw)^2/edge`` with k the least of ``spread/bend^2``.
    """
    edge, b = (1.0 + alpha0**-0.5) ** 2, e**2 / alpha0
    bend, spread = _reach(np.abs(law.bend), law.weight), _reach(law.spread, law.weight)
    above = high * (1.0 + abs(e) * bend * edge) ** 2 + b * spread * edge
    if bend == 0.0:
        return low, above
    counts = np.abs(law.bend) > 1e-8 * bend
    least = float(np.min(law.spread[counts] / law.bend[counts] ** 2, initial=np.inf))
    kept = least / (alpha0 * edge)  # b k/(e^2 edge)
    below = max(low * max(1.0 - abs(e) * bend * edge, 0.0) ** 2, low * kept / (low + kept))
    return (below if below > 1e-4 * low else _LOWEST * low), above


def _reach(size: Floats, weight: Floats) -> float:
    """Return the size beyond which nothing matters in the mean square."""
    order = np.argsort(size)
    beyond = np.cumsum((weight[order] * size[order] ** 2)[::-1])[::-1]
    return float(size[order][beyond > _BEYOND * beyond[0]].max(initial=0.0))
