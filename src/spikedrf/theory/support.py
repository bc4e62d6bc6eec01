"""One spectrum as a whole: its support, its isolated eigenvalues, a grid that resolves it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.model import FirstLayer
from spikedrf.theory.batch import Floats, Part, features_die_out
from spikedrf.theory.stieltjes import Transform, rank_ratio, transform

# Eigenvalues are looked for between these multiples of their mean (the Gaussian tail of the most
# heavy-tailed features, hermite5, ends at 1e8); smaller ones count as zero.
_SMALLEST, _LARGEST = 1e-28, 1e12
_SCAN = 201  # five points in a decade
_MOST_POINTS = 1 << 15  # of a grid


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The features of one network.

    Attributes
    ----------
    sigma : Activation
        The activation.
    layer : FirstLayer
        The first layer.
    parameters : dict
        The parameters as given, for labels.
    about : dict
        Names of activation and target, and the step with its vocabulary.
    groups : int
        Number K of readout groups.
    part : Part
        One point: one spike, its groups that have neurons, alpha and beta.
    merge : bool
        Whether these groups are one (`transform`).
    rtol : float
        Accuracy of the averages.
    threads : int or None
        As for `transform`.
    """

    sigma: Activation
    layer: FirstLayer
    parameters: dict[str, Any]
    about: dict[str, Any]
    groups: int
    part: Part
    merge: bool
    rtol: float
    threads: int | None
    _grids: dict[float, tuple[Floats, Transform]] = field(default_factory=dict)

    def at(self, x: Floats, *, forms: bool = False) -> Transform:
        """Compute the transform on the real axis, approached from above."""
        values = {name: np.repeat(value, x.size) for name, value in self.part.values.items()}
        part = replace(self.part, which=np.zeros(x.size, dtype=np.int64), values=values)
        z = x.astype(np.complex128)
        return transform(self.sigma, part, z, self.rtol, self.threads, self.merge, forms=forms)

    def density(self, x: Floats) -> Floats:
        """Return the density of eigenvalues, without the atom."""
        return self.at(x).density

    @cached_property
    def mean(self) -> float:
        """The mean eigenvalue, of the bulk."""
        return float(self.at(np.array([-1.0])).scalars[3, 0])

    @property
    def scale(self) -> float:
        """A unit for eigenvalues."""
        return self.mean if self.mean > 0.0 else 1.0

    @cached_property
    def atom(self) -> float:
        """Share of the eigenvalues that are zero: what the rank of the features lacks."""
        rank = float(rank_ratio(self.sigma, self.part.values)[0])
        lacking = max(0.0, 1.0 - rank)
        as_good_as = float(self.at(np.array([_SMALLEST * self.scale])).scalars[0, 0])
        # Linear groups of different variance cannot be resolved there: not a number.
        return as_good_as if as_good_as > lacking + 1e-7 else lacking

    # ----------------------------------------------------------------------------------------------
    # The grid

    def grid(self, resolution: float) -> tuple[Floats, Transform]:
        """Return points between which the trapezoid rule gives every mass but ``resolution``.

        The cumulative distribution is known at every point by itself, so each cell can be held
        against it. Cells are halved where they fail, in the logarithm where they are wide. The
        transform at the points comes with them.
        """
        if resolution not in self._grids:
            self._grids[resolution] = self._grid(resolution)
        return self._grids[resolution]

    def _grid(self, resolution: float) -> tuple[Floats, Transform]:
        # A few eigenvalues that are not zero are all there is to see; not below rounding.
        resolution = max(resolution * (1.0 - self.atom), 1e-13)
        x = self.scale * np.geomspace(_SMALLEST, _LARGEST, _SCAN)
        out = self.at(x)
        cumulative = out.scalars[0]
        # From the last point with nothing on its left to the first with nothing on its right.
        left = np.flatnonzero(cumulative - self.atom < 0.1 * resolution)
        right = np.flatnonzero(1.0 - cumulative < 0.1 * resolution)
        window = np.arange(x.size)[
            left[-1] if left.size else 0 : right[0] + 1 if right.size else None
        ]
        x, out = x[window], out.take(window)
        least, in_vain = np.inf, 0
        for _ in range(60):
            width = np.diff(x)
            mass = np.diff(out.scalars[0])
            error = np.abs(0.5 * width * (out.density[1:] + out.density[:-1]) - mass)
            coarse = mass > 0.02 * (1.0 - self.atom)
            if np.nansum(error) < 0.7 * resolution and not coarse.any():
                break
            # Where rounding moves the cumulative distribution by more, cells are halved in vain.
            in_vain = 0 if np.nansum(error) < 0.97 * least else in_vain + 1
            least = min(least, float(np.nansum(error)))
            if in_vain > 4 or x.size > _MOST_POINTS:
                break
            wide = (error > _worth_halving(error, resolution)) | coarse
            wide &= width > 1e-13 * x[1:]
            if not wide.any():
                break
            middle = _middle(x[:-1][wide], x[1:][wide])
            x = np.concatenate([x, middle])
            order = np.argsort(x)
            x, out = x[order], out.joined(self.at(middle)).take(order)
        return x, out

    # ----------------------------------------------------------------------------------------------
    # The support

    @cached_property
    def edges(self) -> Floats:
        """The ends of the intervals where the density is positive, shape (M, 2).

        Where features die out along the spike and n < p, samples far enough out make eigenvalues
        as small as one likes: the first interval begins at 0, however little there is.
        """
        least = _SMALLEST * self.scale
        x, out = self.grid(1e-4)
        x, out = np.concatenate([[least], x]), self.at(np.array([least])).joined(out)
        there = out.density > 0.0
        if self.part.bulk is not None:
            # Where its rules disagree the spectrum is not known, and a gap would be one of theirs.
            there |= out.counts[0] == 1
        positive = np.concatenate([[False], there, [False]])
        change = np.flatnonzero(positive[1:] != positive[:-1])
        x = np.concatenate([[0.0], x, [2.0 * x[-1]]])
        rises = positive[change + 1]
        inside = np.where(rises, x[change + 1], x[change])
        outside = np.where(rises, x[change], x[change + 1])
        # A density that is still there at eigenvalues which count as zero reaches down to 0.
        down_to_zero = inside <= least
        found = np.zeros(change.size)
        found[~down_to_zero] = self._close_in(inside[~down_to_zero], outside[~down_to_zero])
        edges = found.reshape(-1, 2)
        fewer = self.part.values["alpha"][0] < self.part.values["beta"][0]
        r = self.part.r
        if self.part.planes:
            # There is a direction in it for every pair of sides.
            dead = any(self.sigma.saturates)
        else:
            dead = bool(features_die_out(self.sigma, r)[0])
        alike = not self.sigma.linear and dead
        if edges.size and fewer and alike:
            edges[0, 0] = 0.0
        return edges

    def _close_in(self, inside: Floats, outside: Floats) -> Floats:
        """Close in on edges between points inside the support and points outside it.

        Towards an edge the density is a square root: from inside, Newton's method for its square
        converges fast. In turn with bisection it is safe where the density ends otherwise.
        """
        inside, outside = inside.copy(), outside.copy()
        left = np.abs(inside - outside) > 0.0
        for iteration in range(90):
            if not left.any():
                break
            near = inside[left]
            out = self.at(near)
            value, slope = out.V2.imag.sum(axis=1), out.slope.imag.sum(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                step = -0.5 * value / slope
            trial = near + step
            done = np.abs(step) < 1e-12 * near
            between = (trial - near) * (trial - outside[left]) < 0.0
            if iteration % 3 == 2:
                between[:] = False
            trial = np.where(between, trial, _middle(near, outside[left]))
            positive = self.density(trial) > 0.0
            at = np.flatnonzero(left)
            inside[at[positive]] = trial[positive]
            outside[at[~positive]] = trial[~positive]
            left[at] = ~done & (np.abs(inside[at] - outside[at]) > 1e-13 * inside[at])
        return inside

    # ----------------------------------------------------------------------------------------------
    # Isolated eigenvalues

    @cached_property
    def growth(self) -> Floats:
        """The eigenvalues that grow like p, over p, ascending.

        Those of ``delta sqrt(pi_k pi_l) E mu0_k mu0_l`` that are not zero.
        """
        value, _ = self._mean_functions
        share = self.part.values["alpha"][0] / self.part.values["beta"][0]
        return np.asarray(share * value)

    @cached_property
    def outliers(self) -> Floats:
        """The isolated eigenvalues that stay finite, ascending.

        Between the intervals of the support the form of `Transform` decreases: with every
        eigenvalue one more of its own eigenvalues is negative. Counting finds all of them.
        """
        _, basis = self._mean_functions
        edges = self.edges.ravel()
        # An edge is sharp if a millionth further in, the square root of that is seen.
        inward = np.where(np.arange(edges.size) % 2 == 0, 1e-6, -1e-6)
        # At 0 itself, where no edge is sharp, the transform may be infinite.
        near = np.where(edges > 0.0, edges * (1.0 + inward), self.scale)
        V2 = self.at(near).V2.sum(axis=1)
        sharp = (V2.imag > 1e-8 * np.abs(V2)) & (edges > 0.0)
        gaps = np.concatenate([[0.0], edges, [np.inf]]).reshape(-1, 2)
        clear = np.concatenate([[True], sharp, [True]]).reshape(-1, 2).all(axis=1)
        found: list[float] = []
        for low, high in gaps[clear]:
            # Just outside the support; far out z itself outweighs everything.
            low = low * (1 + 1e-9) if low > 0.0 else 1e-9 * high
            high = high * (1 - 1e-9) if np.isfinite(high) else 1e6 * low
            if low < high:
                found += self._crossings(low, high, basis)
        return np.array(found)

    def _crossings(self, low: float, high: float, basis: Floats) -> list[float]:
        """Close in on where the number of negative eigenvalues of the form changes."""
        at = np.geomspace(low, high, 65)
        counts = self._negative(at, basis)
        found: list[float] = []
        for i in np.flatnonzero((counts[:-1] >= 0) & (counts[1:] > counts[:-1])):
            changed = int(counts[i + 1] - counts[i])
            if at[i + 1] - at[i] < 1e-12 * at[i]:
                found += [float(at[i])] * changed
            else:
                found += self._crossings(float(at[i]), float(at[i + 1]), basis)[:changed]
        return found

    def _negative(self, x: Floats, basis: Floats) -> NDArray[np.int64]:
        """Count; -1 at the very edge, where there is a density after all."""
        form = self.at(x, forms=True).form
        assert form is not None
        reduced = np.einsum("ai,nab,bj->nij", basis, form, basis)
        inside = np.isnan(reduced).any(axis=(1, 2))
        reduced[inside] = 0.0
        count: NDArray[np.int64] = np.sum(np.linalg.eigvalsh(reduced) < 0.0, axis=1)
        count[inside] = -1
        return count

    @cached_property
    def _mean_functions(self) -> tuple[Floats, Floats]:
        """The eigenvalues of ``sqrt(pi_k pi_l) E mu0_k mu0_l``, and a basis for the form.

        Functions mu0 that depend on each other are one (opposite spikes of an odd activation);
        without them the form would be singular everywhere.
        """
        # omega is 1 out there
        form = self.at(np.array([-_LARGEST * self.scale]), forms=True).form
        assert form is not None
        size, groups = form.shape[-1], 1 if self.merge else self.part.r.shape[1]
        root = np.sqrt(self.part.pi[0]) if not self.merge else np.ones(1)
        value, vector = np.linalg.eigh(form[0, :groups, :groups] * np.outer(root, root))
        # Weak steps leave functions that differ by little: 1e-12 is rounding.
        keep = value > 1e-12 * max(float(value[-1]), np.finfo(float).tiny)
        basis = np.zeros((size, int(keep.sum()) + size - groups))
        basis[:groups, : int(keep.sum())] = root[:, None] * vector[:, keep]
        basis[groups:, int(keep.sum()) :] = np.eye(size - groups)
        return value[keep], basis


def _worth_halving(error: Floats, resolution: float) -> float:
    """Return how large a cell's error must be: the errors of halves are a quarter of it in sum.

    As many as it takes, the largest first, or else all that are more than their share.
    """
    falling = np.sort(np.nan_to_num(error))[::-1]
    left = falling.sum() - 0.75 * np.cumsum(falling)
    enough = np.flatnonzero(left < 0.5 * resolution)
    share = 0.5 * resolution / error.size
    return max(share, float(falling[enough[0]]) * 0.999) if enough.size else share


def _middle(a: Floats, b: Floats) -> Floats:
    """Halve intervals, in the logarithm where they are wide."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    wide = (high > 4.0 * low) & (low > 0.0)
    return np.where(wide, np.sqrt(low * high), 0.5 * (a + b))
