"""The tables of spectra on panels in a plane: strips of lines, as the core divides them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import _core
from spikedrf.activations import Activation

Floats = NDArray[Any]

# Beyond it there is less than 1e-18 of the samples.
_REACH = 9.0
# Panels are so much wider than what varies on them: the second rule resolves it to 1e-11.
_COARSE = 1.8
# As of a line (panel_tables.cpp): degree before bisection, both along lines and across.
_LEVELS = ((16, 1), (24, 1), (32, 1), (24, 2), (32, 2))
_MOST_NODES = 1 << 19
# Rows are interpolated where poles are close, with an error that is small beside the largest value
# on a panel, while features that die out matter too. So their power may vary by this factor, until
# it is so small that the eigenvalues count as zero. The first number is lower on a line, where
# panels are cheap: here all rules but the first interpolate e^{2t}, |t| < 1.8, to 1e-12.
_MOST_RATIO, _LEAST_POWER = 1e3, 1e-34
_NEGLIGIBLE = 1e-16  # weight of a panel that does not matter
_FINEST = 2.0**-20


@dataclass(frozen=True, eq=False)
class PlanePanels:
    """Tables of one first layer whose spikes span a plane, on rules that get finer.

    Attributes
    ----------
    sigma : Activation
    r : ndarray, shape (K, 2)
        Spikes.
    c : ndarray, shape (K,)
        Bulk variances.
    shares : ndarray, shape (C,)
        Proportions of the classes.
    means : ndarray, shape (C, D)
        Their means, along the spikes first.
    lengths : bool
        Whether columns of lengths are wanted.
    """

    sigma: Activation
    r: Floats
    c: Floats
    shares: Floats
    means: Floats
    lengths: bool
    _made: dict[int, tuple[Floats, list[int]] | None] = field(default_factory=dict)

    def tables(self, level: int) -> tuple[Floats, list[int]] | None:
        """Return rows and strips as the core takes them, None beyond the finest rule."""
        if level not in self._made:  # two threads may both make it
            self._made[level] = self._make(level)
        return self._made[level]

    def _make(self, level: int) -> tuple[Floats, list[int]] | None:
        if level >= len(_LEVELS):
            return None
        degree, split = _LEVELS[level]
        panels = sum(edges.size - 1 for _, edges in self._strips)
        if level > 1 and panels * (degree * split) ** 2 > _MOST_NODES:
            return None
        kappa, area, begin = [], [], [0]
        for (low, high), edges in self._strips:
            along, width = _panels(edges, degree, split)
            across, height = _panels(np.array([low, high]), degree, split)
            for part in range(split):
                lines = slice(part * degree, (part + 1) * degree)
                grid = np.meshgrid(along, across[lines])
                kappa.append(np.reshape(grid, (2, -1)))
                area.append(np.outer(height[lines], width).ravel())
                begin.append(begin[-1] + area[-1].size)
        return self._rows(np.concatenate(kappa, axis=1), np.concatenate(area), level), [
            degree,
            *begin,
        ]

    def _rows(self, kappa: Floats, area: Floats, level: int) -> Floats:
        """Return the rows on given nodes, whose weights are these areas."""
        function, groups = _core.Function(self.sigma.core), self.c.size
        mu0, mu1, mu2, length = np.empty((4, groups, area.size))
        for k in range(groups):
            sd = float(np.sqrt(self.c[k]))
            e = function(np.ascontiguousarray(self.r[k] @ kappa), sd, level, self.lengths)
            mu0[k], mu1[k], mu2[k] = e[0], e[1] / sd, e[2]
            if self.lengths:
                length[k] = 0.5 * e[3]
        of_class = [
            share * area * self._density(kappa, mean)
            for share, mean in zip(self.shares, self.means, strict=True)
        ]
        weight = np.sum(of_class, axis=0)
        unseen = np.zeros((2 + self.means.shape[1] - 2, area.size))  # what labels would be
        columns = [latent * mu1 for latent in kappa]
        columns += [mu1] * (self.means.shape[1] - 2)
        rows = [weight, np.ones_like(area), unseen, mu0, mu1, *columns]
        if self.lengths:
            rows.append(length)
        rows += [mu2, *of_class]
        if self.lengths:
            rows.append(length)
        return np.ascontiguousarray(np.vstack(rows))

    @staticmethod
    def _density(kappa: Floats, mean: Floats) -> Floats:
        away = kappa - mean[:2, None]
        return np.asarray(np.exp(-0.5 * np.sum(away**2, axis=0)) / (2.0 * np.pi))

    # ----------------------------------------------------------------------------------------------
    # Strips

    @cached_property
    def _strips(self) -> list[tuple[tuple[float, float], Floats]]:
        """Ends of every strip across, and of its panels along the lines."""
        coarser = _COARSE
        while True:
            strips = list(self._strips_of(coarser))
            degree, split = _LEVELS[1]
            nodes = sum(edges.size - 1 for _, edges in strips) * (degree * split) ** 2
            if nodes <= _MOST_NODES:
                return strips
            coarser *= 1.3 * max(1.0, (nodes / _MOST_NODES) ** 0.4)

    def _strips_of(self, coarser: float) -> Iterator[tuple[tuple[float, float], Floats]]:
        function = _core.Function(self.sigma.core)
        r, c = np.ascontiguousarray(self.r), np.ascontiguousarray(self.c)
        center = self.means[:, 1]
        ends = float(center.min() - _REACH), float(center.max() + _REACH)
        across = _core.panel_edges(function, r, c, *ends, None, coarser)
        waiting = [(float(a), float(b)) for a, b in pairwise(across)][::-1]
        while waiting:
            low, high = waiting.pop()
            left, right = self._ends(low, high)
            if left >= right:
                continue
            edges = _core.panel_edges(function, r, c, left, right, (low, high), coarser)
            while True:
                wide, high_ratio = self._uneven((low, high), edges)
                if coarser > _COARSE or not wide.any():
                    break
                middle = 0.5 * (edges[:-1] + edges[1:])
                edges = np.sort(np.concatenate([edges, middle[wide]]))
            if coarser == _COARSE and high_ratio and high - low > _FINEST:
                waiting += [(0.5 * (low + high), high), (low, 0.5 * (low + high))]
            else:
                yield (low, high), edges

    def _ends(self, low: float, high: float) -> tuple[float, float]:
        """Return the ends of the lines of a strip: some sample is within reach."""
        across = np.clip(self.means[:, 1], low, high) - self.means[:, 1]
        left = np.sqrt(np.maximum(_REACH**2 - across**2, 0.0))
        seen = left > 0.0
        if not seen.any():
            return 0.0, 0.0
        along = self.means[seen, 0]
        return float((along - left[seen]).min()), float((along + left[seen]).max())

    def _uneven(self, strip: tuple[float, float], edges: Floats) -> tuple[Floats, bool]:
        """Say in which panels power varies too much along lines, and if it does across any."""
        share = np.linspace(0.0, 1.0, 5)
        along = edges[:-1, None] + np.diff(edges)[:, None] * share
        across = strip[0] + (strip[1] - strip[0]) * share
        kappa = np.stack(np.broadcast_arrays(along[:, :, None], across))  # (2, panels, 5, 5)
        power = self._log_power(kappa)
        weight = sum(
            s * self._density(kappa.reshape(2, -1), m)
            for s, m in zip(self.shares, self.means, strict=True)
        )
        area = np.diff(edges) * (strip[1] - strip[0])
        counts = np.max(np.reshape(weight, power.shape), axis=(1, 2)) * area > _NEGLIGIBLE
        most = np.log(_MOST_RATIO)
        wide = (np.ptp(power, axis=1) > most).any(axis=1) & counts & (np.diff(edges) > _FINEST)
        high = bool(((np.ptp(power, axis=2) > most).any(axis=1) & counts).any())
        return wide, high

    def _log_power(self, kappa: Floats) -> Floats:
        """Return the logarithm of what features have beside their means, each group's in units."""
        total = np.full(kappa.shape[1:], _LEAST_POWER)
        for r, (at, power) in zip(self.r, self._power, strict=True):
            total += np.exp(np.interp(r[0] * kappa[0] + r[1] * kappa[1], at, power))
        return np.asarray(np.log(total))

    @cached_property
    def _power(self) -> list[tuple[Floats, Floats]]:
        """The logarithm of ``mu1^2 + mu2^2`` beside the largest, over the mean of a feature."""
        function = _core.Function(self.sigma.core)
        found = []
        most = _REACH + float(np.abs(self.means).max())
        for r, c in zip(self.r, self.c, strict=True):
            reach = max(float(np.linalg.norm(r)) * most, 1e-3)
            at = np.linspace(-reach, reach, 2001)
            e = function(at, float(np.sqrt(c)), 1)
            power = e[1] ** 2 / c + e[2]
            found.append((at, np.log(np.maximum(power / power.max(), _LEAST_POWER))))
        return found


def _panels(edges: Floats, degree: int, split: int) -> tuple[Floats, Floats]:
    """Nodes of Gauss-Legendre panels and their widths."""
    node, weight = np.polynomial.legendre.leggauss(degree)
    fine = np.concatenate(
        [edges[:-1, None] + np.diff(edges)[:, None] * np.arange(split) / split, edges[-1:, None]],
        axis=None,
    )
    half = 0.5 * np.diff(fine)
    middle = 0.5 * (fine[:-1] + fine[1:])
    nodes = middle[:, None] + half[:, None] * node
    return nodes.ravel(), (half[:, None] * weight).ravel()
