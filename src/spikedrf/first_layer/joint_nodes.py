"""Common nodes of bulks that do not commute, and how well they stand for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikedrf.first_layer.matrix_resolvent import MatrixResolvent

Floats = NDArray[np.float64]
Numbers = NDArray[Any]

# Arguments at which nodes are fitted: x_k = s_k B_kk and the correlations of B lie in these ranges.
_X, _CORRELATION = (0.01, 300.0), (0.3, 0.98)
_ARGUMENTS_A_GROUP = 28

# Candidates on each axis to begin with (fewer on that of the inputs' eigenvalues), how often those
# that are used get closer neighbours, and from which weight on they are used.
_CANDIDATES, _EIGENVALUES, _ROUNDS, _USED = 13, 5, 5, 1e-7

# Singular values that count when weights move.
_COUNTS = 1e-7

# Weight of the sums of the weights in the fit.
_SUMS = 10.0

# What is left of a direction beside others is another direction, if it is longer than this.
_SHORTEST = 1e-6


@dataclass(frozen=True, eq=False)
class JointNodes:
    r"""Nodes ``sigma_jk`` with weights that stand for several covariances at once.

    Attributes
    ----------
    value : ndarray, shape (J, K)
    trace : ndarray, shape (J,)
    forms : ndarray, shape (J, L + 1, L + 1)
        Weights between the directions ``v, e_1, .., e_L``.
    inside : ndarray, shape (J, L', L')
        The same between what is orthonormal of these, v first if there is a spike.
    spiked : bool
        Whether there is one.
    accuracy : float
        Root mean square, over the arguments of the fit, of what the exact resolvent is away from
        that of the nodes, relative to its diagonal.
    points : ndarray, shape (J, 4)
        The nodes on the grid that they are from.
    """

    value: Floats
    trace: Floats
    forms: Floats
    inside: Floats
    spiked: bool
    accuracy: float
    points: Floats

    def moves(
        self, above: MatrixResolvent, below: MatrixResolvent, apart: float
    ) -> tuple[Floats, Floats]:
        """Return how the weights of trace and `inside` move between two resolvents nearby."""
        first, second = _measures(above), _measures(below)
        fit = _Fit(first.arguments, first.exact)
        weight = fit.moves(self.value, (first.exact - second.exact) / apart)
        return weight[0], _by_pairs(first.pairs, weight[1:])


def joint_nodes(resolvent: MatrixResolvent) -> JointNodes:
    r"""Fit common nodes to the resolvent of several bulks.

    The theory asks for ``(G^{-1} + B)^{-1}``, ``G = diag(s_k Sigma_k)``, whose exact trace and
    forms `MatrixResolvent` knows. ``Sigma_k = Omega^{1/2} ((I + a_k M)^2 + b_k S) Omega^{1/2}`` do
    not commute, so no nodes have all of it; those that come nearest have the values
    ``omega ((1 + a_k m)^2 + b_k s)`` that the matrices would have if they did, and positive weights
    by least squares. Candidates are refined around those that are used.

    Parameters
    ----------
    resolvent : MatrixResolvent

    Raises
    ------
    ArithmeticError
        If its equations are not solved.
    """
    wanted = _measures(resolvent)
    fit = _Fit(wanted.arguments, wanted.exact)
    grid = _Grid.around(resolvent)
    points = grid.start()
    for step in range(_ROUNDS + 1):
        value = grid.values(points)
        weight = fit.weights(value)
        used = (weight > _USED).any(axis=0)
        points, value, weight = points[used], value[used], weight[:, used]
        if step < _ROUNDS:
            points = grid.neighbours(points, step + 1)
    accuracy = fit.mismatch(value, weight)
    weight /= weight.sum(axis=1, keepdims=True)
    inside = _by_pairs(wanted.pairs, weight[1:])
    forms = wanted.turn @ inside @ wanted.turn.T
    return JointNodes(value, weight[0], forms, inside, resolvent.nu > 0.0, accuracy, points)


def spectral_nodes(
    resolvent: MatrixResolvent, near: JointNodes, x: list[Numbers], forms: list[Numbers], count: int
) -> tuple[Floats, Floats]:
    """Return nodes for complex arguments, where spectra are.

    Beside `joint_nodes`, each group alone has to be right on a contour around its spectrum, as in
    `positive_nodes`; the nodes fill the box of those that are known.

    Parameters
    ----------
    resolvent : MatrixResolvent
        Of white inputs and one direction of the target.
    near : JointNodes
        Its nodes for real arguments.
    x, forms : list of ndarray, shapes (m,) and (4, m)
        For each group arguments, and its trace, ``vv``, ``vx`` and ``xx`` there.
    count : int
        Candidates on each axis.

    Returns
    -------
    value, weight : ndarray, shapes (J, K) and (4, J)
    """
    wanted = _measures(resolvent)
    points = _within(near.points[near.trace > _USED], count)
    value = _Grid.around(resolvent).values(points)
    alone = list(zip(x, forms, strict=True))
    weight = _Fit(wanted.arguments, wanted.exact).weights(value, alone)
    used = (weight > _USED).any(axis=0)
    weight /= weight.sum(axis=1, keepdims=True)
    inside = _by_pairs(wanted.pairs, weight[1:])
    return value[used], four_weights(weight[0], inside, near.spiked)[:, used]


def four_weights(trace: Floats, inside: Floats, spiked: bool) -> Floats:
    """Return the weights of trace, vv, vx and xx; a direction that is not there sees the trace."""
    if inside.shape[1] == 2:
        return np.stack([trace, inside[:, 0, 0], inside[:, 0, 1], inside[:, 1, 1]])
    vv, xx = (inside[:, 0, 0], trace) if spiked else (trace, inside[:, 0, 0])
    return np.stack([trace, vv, 0.0 * trace, xx])


def _within(points: Floats, count: int) -> Floats:
    """Fill the box of some points, and a little around it, with a grid."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.05 * (high - low)
    axes = [
        np.linspace(a - m, b + m, count) if b > a else np.array([a])
        for a, b, m in zip(low, high, margin, strict=True)
    ]
    filled = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 4)
    filled[:, 1:] = np.clip(filled[:, 1:], -1.0, 1.0)
    return filled


def nearest_pole(a: Floats, b: Floats, alpha0: float) -> float:
    """Return how near to zero, in the residual, averages have poles, in octaves."""
    sharp = float(np.sqrt((b + a**2 / alpha0) / alpha0).max())
    return float(2.0 ** -np.ceil(np.log2(max(sharp, 0.25))))


class _Measures(NamedTuple):
    """What is fitted: of positive measures, the trace and those along directions."""

    arguments: list[Floats]
    exact: Floats  # (arguments, measures, K, K)
    pairs: list[tuple[int, int]]  # of the measures after the trace
    turn: Floats


def _measures(resolvent: MatrixResolvent) -> _Measures:
    basis, turn = _basis(resolvent)
    first = 0 if resolvent.nu > 0.0 else 1  # without a spike v is no direction
    pairs = [(i, j) for i in range(len(basis)) for j in range(i, len(basis))]
    arguments, exact = _arguments(resolvent.a.size), []
    for B in arguments:
        trace, forms = resolvent(B, np.ones(resolvent.a.size))
        seen = np.einsum("pl,liqj,rq->prij", basis, forms[first:, :, first:], basis)
        along = [seen[i, i] if i == j else _between(seen, i, j) for i, j in pairs]
        exact.append([trace, *along])
    return _Measures(arguments, np.array(exact), pairs, turn)


def _by_pairs(pairs: list[tuple[int, int]], weight: Floats) -> Floats:
    """Turn weights of the measures along directions into matrices, (J, L', L')."""
    size = pairs[-1][0] + 1
    inside = np.zeros((weight.shape[1], size, size))
    single = {i: w for (i, j), w in zip(pairs, weight, strict=True) if i == j}
    for (i, j), w in zip(pairs, weight, strict=True):
        inside[:, i, j] = inside[:, j, i] = w if i == j else w - 0.5 * (single[i] + single[j])
    return inside


def _basis(resolvent: MatrixResolvent) -> tuple[Floats, Floats]:
    """Return orthonormal combinations of ``v, e_1, .., e_L``, and these by them.

    The first is v if there is a spike; without one v is the zero vector.
    """
    gamma, latents = resolvent.gamma, resolvent.gamma.size
    if resolvent.nu == 0.0:
        return np.eye(latents), np.concatenate([np.zeros((1, latents)), np.eye(latents)])
    dots = np.eye(latents + 1)
    dots[0, 1:] = dots[1:, 0] = gamma
    rows = [np.eye(latents + 1)[0]]
    for i in range(1, latents + 1):
        left = np.eye(latents + 1)[i]
        for row in rows:
            left = left - (row @ dots @ np.eye(latents + 1)[i]) * row
        length = np.sqrt(max(left @ dots @ left, 0.0))
        if length > _SHORTEST:
            rows.append(left / length)
    basis = np.array(rows)
    return basis, dots @ basis.T


def _between(seen: Floats, i: int, j: int) -> Floats:
    """Return the form along ``(i + j)/sqrt 2``, of a positive measure."""
    both = seen[i, j] + seen[j, i]
    return np.asarray(0.5 * (seen[i, i] + seen[j, j] + both))


def _arguments(groups: int) -> list[Floats]:
    """Return matrices B that fill the range evenly: points of an additive recurrence."""
    axes = groups + 1
    root = 2.0
    for _ in range(60):  # root^(axes + 1) = root + 1
        root = (1.0 + root) ** (1.0 / (axes + 1))
    count = _ARGUMENTS_A_GROUP * groups
    place = (0.5 + np.outer(np.arange(1, count + 1), root ** -np.arange(1.0, axes + 1))) % 1.0
    x = np.exp(np.log(_X[0]) + place[:, :groups] * np.log(_X[1] / _X[0]))
    rho = _CORRELATION[0] + place[:, -1] * (_CORRELATION[1] - _CORRELATION[0])
    like = rho[:, None, None] + (1.0 - rho[:, None, None]) * np.eye(groups)
    return list(np.sqrt(x[:, :, None] * x[:, None, :]) * like)


class _Fit:
    """Least squares in the weights, all matrices in units of the diagonal of the exact ones."""

    def __init__(self, arguments: list[Floats], exact: Floats) -> None:
        self.B = np.array(arguments)  # (A, K, K)
        root = np.sqrt(np.einsum("amkk->amk", exact))
        self.unit = 1.0 / (root[..., :, None] * root[..., None, :])  # (A, measures, K, K)
        self.exact = exact
        self.upper = np.triu_indices(self.B.shape[1])

    def _seen(self, value: Floats) -> Floats:
        """``(G^{-1} + B)^{-1}`` at each argument and node, (A, J, K, K)."""
        K = value.shape[1]
        matrix = np.repeat(self.B[:, None], len(value), axis=1)
        matrix[:, :, np.arange(K), np.arange(K)] += 1.0 / value
        return np.asarray(np.linalg.inv(matrix))

    def weights(self, value: Floats, alone: Sequence[tuple[Numbers, Numbers]] = ()) -> Floats:
        """Return positive weights of the nodes for each measure, (measures, J).

        ``alone`` has more to fit: for each group arguments ``x``, and what trace, v, what is
        between, and the direction beside v see of ``Sigma_k/(1 + x Sigma_k)``.
        """
        from scipy.optimize import nnls  # not imported before it is needed

        seen = self._seen(value)[..., self.upper[0], self.upper[1]]  # (A, J, pairs)
        found = np.empty((self.exact.shape[1], len(value)))
        for i in range(len(found)):
            unit = self.unit[:, i, self.upper[0], self.upper[1]]
            right = [(self.exact[:, i, self.upper[0], self.upper[1]] * unit).ravel()]
            rows = [(seen * unit[:, None]).transpose(0, 2, 1).reshape(-1, len(value))]
            for k, (x, forms) in enumerate(alone):
                wanted = _along(forms, i, len(found))
                sigma, size = value[:, k], np.abs(forms[0])
                lone = sigma / (1.0 + x[:, None] * sigma) / size[:, None]
                rows += [lone.real, lone.imag]
                right += [(wanted / size).real, (wanted / size).imag]
            rows.append(np.full((1, len(value)), _SUMS))
            right.append(np.array([_SUMS]))
            system = np.concatenate(rows), np.concatenate(right)
            found[i] = nnls(*system, maxiter=100 * len(value))[0]
        return found

    def moves(self, value: Floats, moved: Floats) -> Floats:
        """Return how weights move, of any sign, with the exact matrices, (measures, J)."""
        seen = self._seen(value)[..., self.upper[0], self.upper[1]]
        found = np.empty((moved.shape[1], len(value)))
        for i in range(len(found)):
            unit = self.unit[:, i, self.upper[0], self.upper[1]]
            rows = (seen * unit[:, None]).transpose(0, 2, 1).reshape(-1, len(value))
            rows = np.concatenate([rows, np.full((1, len(value)), _SUMS)])
            wanted = (moved[:, i, self.upper[0], self.upper[1]] * unit).ravel()
            found[i] = np.linalg.lstsq(rows, np.append(wanted, 0.0), rcond=_COUNTS)[0]
        return found

    def mismatch(self, value: Floats, weight: Floats) -> float:
        """Return the root mean square of what is left, largest of all measures."""
        left = np.einsum("mj,ajkl->amkl", weight, self._seen(value)) - self.exact
        return float(np.sqrt(np.mean((left * self.unit) ** 2, axis=(0, 2, 3))).max())


def _along(forms: Numbers, measure: int, measures: int) -> Numbers:
    """Choose from trace, vv, vx and xx what a measure is; of one direction, v or xi is it."""
    trace, vv, vx, xx = forms
    if measures == 4:
        return np.asarray((trace, vv, 0.5 * (vv + xx) + vx, xx)[measure])
    return np.asarray((trace, vv)[measure])


@dataclass(frozen=True, eq=False)
class _Grid:
    """Candidates ``(m, root of s, log of omega, t)``: the middle and half widths of a box."""

    a: Floats
    b: Floats
    along: Floats
    middle: Floats
    half: Floats
    counts: tuple[int, int, int, int]

    @classmethod
    def around(cls, resolvent: MatrixResolvent) -> _Grid:
        """Choose a box that the spectra of M and S fill by some half.

        M has the mean ``E res`` and the width ``(E res^2/alpha0)^{1/2}``, on an eigenspace times
        its eigenvalue, and along a latent ``E s^2 res``; neither reaches far beyond.
        """
        law, values = resolvent.law, resolvent.space.values
        r1, r2, r4 = (float(law.one @ law.res**i) for i in (1, 2, 4))
        over, most = resolvent.inverse, float(values.max())
        width = most * (2.0 * np.sqrt(r2 * over) + 1.5 * np.sqrt(r4 / r2) * over)
        along = np.einsum("lln,n->l", law.second, law.res) * most
        ends = np.array([r1 * most, r1 * float(values.min()), *along])
        low, high = ends.min() - width, ends.max() + width
        s = most * np.sqrt(4.0 * r4) * (1.0 + np.sqrt(over)) ** 2
        logs = np.log(values[values > 0.0])
        first, last = np.array([(low, high), (0.0, np.sqrt(s)), (logs.min(), logs.max()), (0, 1)]).T
        gain = np.zeros(resolvent.a.size) if resolvent.along is None else resolvent.along
        counts = (
            _CANDIDATES if resolvent.a.any() else 1,
            _CANDIDATES if resolvent.b.any() else 1,
            _EIGENVALUES if values.size > 1 else 1,
            2 if gain.any() else 1,
        )
        return cls(
            resolvent.a, resolvent.b, gain, 0.5 * (last + first), 0.5 * (last - first), counts
        )

    def start(self) -> Floats:
        """Return the candidates to begin with, shape (J, 4)."""
        axes = [np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in self.counts]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 4)

    def neighbours(self, points: Floats, step: int) -> Floats:
        """Add points beside those that are used, nearer at every step."""
        away = [np.array([-1.0, 0.0, 1.0]) / (n - 1) if n > 1 else np.zeros(1) for n in self.counts]
        stencil = np.stack(np.meshgrid(*away, indexing="ij"), axis=-1).reshape(-1, 4)
        near = (points[:, None] + stencil * 2.0 ** (1 - step)).reshape(-1, 4)
        near[:, 1:] = np.clip(near[:, 1:], -1.0, 1.0)
        return np.unique(np.round(near, 12), axis=0)

    def values(self, points: Floats) -> Floats:
        """Return ``omega ((1 + a_k m)^2 + b_k s) + t along_k``, shape (J, K)."""
        m, root, log, t = (self.middle + self.half * points).T[..., None]
        bulk = np.exp(log) * ((1.0 + self.a * m) ** 2 + self.b * root**2)
        return np.asarray(bulk + t * self.along)
