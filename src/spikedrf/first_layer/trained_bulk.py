"""The bulk of trained networks, whose neurons have all seen the same samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.bulk import Bulk, BulkNodes, Rules
from spikedrf.first_layer.positive_nodes import spectral_nodes
from spikedrf.first_layer.rational import node_count, rational_rule, rational_weights
from spikedrf.first_layer.residual import ResidualLaw, residual_law
from spikedrf.first_layer.trained_resolvent import continued_resolvent, trained_resolvent

Floats = NDArray[np.float64]
Numbers = NDArray[Any]

# With a derivative that is (nearly) linear the spectrum of the bulk reaches down to zero. What
# is below this then gets no nodes of its own; the two rules differ as soon as it matters.
_LOWEST = 1e-2

# Bulks at a time: arrays of (bulks, points, nodes of the law) of two megabytes.
_AT_ONCE = 1 << 18

# What the rules that take turns have beyond need: nodes, and a factor on those of the averages.
_TURNS = ((0, 1.0), (2, 1.4))

# Candidates for the nodes of the two rules for spectra.
_CANDIDATES = (140, 200)

# Everything in a resolvent is analytic in its parameters: derivatives to rounding, by one step.
_COMPLEX_STEP = 1e-30j


class TrainedBulk(Bulk):
    r"""The bulk of trained networks, ``bulk="network"``, in closed form.

    All neurons have seen the same samples: given these, rows of group k have the covariance::

        Sigma_k = (I + a M)^2 + b_k S,
        M = (1/n0) sum_mu res_mu x_mu x_mu',      a   = eta u h2   (several groups: `JointBulk`)
        S = (1/n0) sum_mu res_mu^2 x_mu x_mu',    b_k = (eta u_k)^2 (chk - h2^2)/alpha0

    Parameters
    ----------
    g : Activation
        The target.
    h2, slope_variance : float
        ``E (z^2 - 1) sigma(z)`` and ``chk``, the variance of the activation's derivative.
    u : ndarray, shape (..., K)
        Readout values before the step.
    eta, alpha0, noise : ndarray, shape (...)
        Of the step and its labels.
    shift : ndarray, shape (...)
        Mean output of the network before the step.
    """

    name = "network"

    def __init__(
        self,
        g: Activation,
        h2: float,
        slope_variance: float,
        u: Floats,
        eta: Floats,
        alpha0: Floats,
        noise: Floats,
        shift: Floats,
    ) -> None:
        self.g, self.h2, self.slope_variance = g, h2, slope_variance
        single = (eta, alpha0, noise, shift)
        shape = np.broadcast_shapes(u.shape[:-1], *(value.shape for value in single))
        # What tells bulks apart: u_k, eta, alpha0, noise, shift.
        self.key = np.concatenate(
            [
                np.broadcast_to(u, (*shape, u.shape[-1])),
                np.stack([np.broadcast_to(value, shape) for value in single], axis=-1),
            ],
            axis=-1,
        )

    def forms(self, x: Any, group: int = 0) -> Numbers:
        """See `Bulk.forms`; real or complex, from the equations of `trained_resolvent`."""
        at = np.atleast_1d(np.asarray(x))
        rows = self.key.reshape(-1, self.key.shape[-1])
        spectra = _Spectra(rows, self.h2, self.slope_variance)
        forms = np.stack(
            [spectra.resolvent(self.g, i, at, group) for i in range(len(rows))], axis=1
        )
        shape = self.key.shape[:-1]
        return forms.reshape((4, *shape, at.size) if np.ndim(x) else (4, *shape))

    def nodes(self, rtol: float = 1e-8) -> BulkNodes:
        """Return the bulk by its nodes, those of the finer rule."""
        *shape, width = self.key.shape
        rules = self.rules(self.key.reshape(-1, width), rtol)
        weight = rules.weight[:, :, -1].reshape(4, *shape, -1)
        return BulkNodes(rules.value[:, -1].reshape(*shape, -1, width - 4), *weight)

    def rules(
        self, key: Floats, rtol: float, wrt: Sequence[str] = (), *, everywhere: bool = False
    ) -> Rules:
        """See `Bulk.rules`: two rules for each bulk, the second finer in every respect."""
        if everywhere:
            return self._spectral_rules(key)
        # The answers follow the resolvent with factors of order one; rounding sets the limit.
        tolerance = max(1e-2 * rtol, 1e-14)
        spectra = _Spectra(key, self.h2, self.slope_variance)
        finer = 1.0 + 0.25 * max(0.0, -10.0 - np.log10(tolerance))
        pieces = [
            (i, piece)
            for i, (extra, fineness) in enumerate(_TURNS)
            for piece in spectra.rules(self.g, tolerance, extra, finer * fineness, wrt)
        ]
        nodes = max((piece.value.shape[1] for _, piece in pieces), default=1)
        value = np.ones((len(key), len(_TURNS), nodes, spectra.groups))
        weight = np.zeros((4, len(key), len(_TURNS), nodes))
        slopes = {name: np.zeros_like(weight) for name in wrt}
        for i, piece in pieces:
            part = piece.members, i, slice(piece.value.shape[1])
            value[part] = piece.value
            weight[:, *part] = piece.weight
            for name, slope in piece.slopes.items():
                slopes[name][:, *part] = slope
        return Rules(value, weight, slopes)

    def _spectral_rules(self, key: Floats) -> Rules:
        """Make rules for complex x: nodes with positive weights, so that every rule has a root."""
        spectra = _Spectra(key, self.h2, self.slope_variance)
        nodes = max(_CANDIDATES)
        value = np.ones((len(key), len(_CANDIDATES), nodes, spectra.groups))
        weight = np.zeros((4, len(key), len(_CANDIDATES), nodes))
        for i in range(len(key)):
            for j, (node, seen) in enumerate(spectra.spectral_nodes(self.g, i, _CANDIDATES)):
                value[i, j, : node.size] = 1.0 + spectra.share[i] * (node[:, None] - 1.0)
                weight[:, i, j, : node.size] = seen
        return Rules(value, weight)


@dataclass(frozen=True, eq=False)
class _Piece:
    """One rule for some of the bulks."""

    members: NDArray[np.int64]
    value: Floats  # (members, J, K)
    weight: Floats  # (4, members, J)
    slopes: dict[str, Floats]


class _Spectra:
    """The bulks of one call: ``Sigma = (I + a M)^2 + b S`` of the group with the largest step."""

    def __init__(self, key: Floats, h2: float, slope_variance: float) -> None:
        self.groups = key.shape[1] - 4
        u = key[:, : self.groups]
        self.eta, self.alpha0, self.noise, self.shift = key[:, self.groups :].T
        at = np.arange(len(u)), np.abs(u).argmax(axis=1)
        lead = u[at]
        # Sigma_k - 1 in units of that of the leading group.
        self.share = (u / np.where(lead == 0.0, 1.0, lead)[:, None]) ** 2
        self.share[at] = 1.0
        self.by_eta = lead * h2, lead**2 * max(slope_variance - h2**2, 0.0)
        self.inverse = 1.0 / self.alpha0
        self.a = self.eta * self.by_eta[0]
        self.b = self.eta**2 * self.by_eta[1] * self.inverse

    def rules(
        self, g: Activation, tolerance: float, extra: int, fineness: float, wrt: Sequence[str]
    ) -> Iterator[_Piece]:
        """Make one rule for each bulk, of those together that share a law and a spread.

        What is shared is rounded, so that a bulk's rule does not depend on its company.
        """
        # Poles in the residual come this near to zero (b res^2 = alpha0 without M), in octaves.
        sharp = np.sqrt((self.b + self.a**2 * self.inverse) * self.inverse)
        octave = np.ceil(np.log2(np.maximum(sharp, 0.25)))
        for noise, shift, power, members in _alike(self.noise, self.shift, octave):
            law = residual_law(g, shift, noise, 2.0**-power, fineness)
            low, high = self._interval(members, law.reach)
            spread = 2.0 ** np.maximum(2.0, np.ceil(np.log2(high / low)))
            moved = None
            if "noise" in wrt:
                moved = residual_law(g, shift, noise + _COMPLEX_STEP, 2.0**-power, fineness)
            for ratio, alike in _alike(spread):
                count = node_count(ratio, tolerance) + extra
                nodes = law.res.size if wrt else 1  # the core needs no array of them
                size = max(1, _AT_ONCE // (count * nodes))
                for start in range(0, alike.size, size):
                    some = alike[start : start + size]
                    yield self._piece(members[some], low[some], ratio, count, law, moved, wrt)

    def law(self, g: Activation, i: int) -> ResidualLaw:
        """Return the law of the residuals of one bulk, for any argument."""
        sharp = np.sqrt((self.b[i] + self.a[i] ** 2 * self.inverse[i]) * self.inverse[i])
        near = 2.0 ** -np.ceil(np.log2(max(sharp, 0.25)))
        return residual_law(g, float(self.shift[i]), float(self.noise[i]), float(near), 1.5)

    def resolvent(self, g: Activation, i: int, x: Numbers, group: int) -> Numbers:
        """Return the forms of one bulk at x, real or complex, see `Bulk.forms`."""
        own = self.share[i, group]
        # Sigma_k = 1 + share (Sigma - 1): Sigma_k/(1 + x Sigma_k) from that of the leading group.
        rest = 1.0 + x * (1.0 - own)
        inner = x * own / rest
        order = np.argsort(np.abs(inner), kind="stable")
        at, of = inner[order][None], (self.a[[i]], self.b[[i]], self.alpha0[[i]], self.law(g, i))
        if np.all(np.isreal(x) & (x.real >= 0)):
            found, _ = trained_resolvent(at.real, *of)
        else:
            found = continued_resolvent(at, *of)
        lead = np.empty_like(found[:, 0])
        lead[:, order] = found[:, 0]
        one = np.array([1.0, 1.0, 0.0, 1.0])[:, None]
        return np.asarray((lead * own + (1.0 - own) * (one - inner * lead)) / rest)

    def spectral_nodes(
        self, g: Activation, i: int, counts: tuple[int, ...]
    ) -> list[tuple[Floats, Floats]]:
        """Return nodes and weights of one bulk's leading group for any argument."""
        law, at = self.law(g, i), np.array([i])
        low, high = self._interval(at, law.reach)

        def resolvent(x: Numbers) -> Numbers:
            of = self.a[at], self.b[at], self.alpha0[at]
            return continued_resolvent(x[None], *of, law)[:, 0]

        return spectral_nodes(resolvent, float(low[0]), float(high[0]), counts)

    def _interval(self, members: NDArray[np.int64], reach: float) -> tuple[Floats, Floats]:
        """Bound the spectrum of Sigma.

        With ``|X0^T X0/n0| <= edge``, ``|M| <= reach edge`` and ``|S| <= reach^2 edge``; from below
        by ``(1 - |a| |M|)^2``, or, as ``w'Sw >= (w'Mw)^2/edge``, by the least of
        ``(1 - t)^2 + kappa t^2`` with ``kappa = b/(a^2 edge)``.
        """
        a, b = np.abs(self.a[members]), self.b[members]
        edge = (1.0 + np.sqrt(self.inverse[members])) ** 2
        high = (1.0 + a * reach * edge) ** 2 + b * reach**2 * edge
        kappa = b / np.where(a > 0.0, a**2 * edge, 1.0)
        low = np.maximum(np.maximum(1.0 - a * reach * edge, 0.0) ** 2, kappa / (1.0 + kappa))
        return np.where(a > 0.0, np.where(low > 1e-4, low, _LOWEST), 1.0), high

    def _piece(
        self,
        members: NDArray[np.int64],
        low: Floats,
        ratio: float,
        count: int,
        law: ResidualLaw,
        moved: ResidualLaw | None,
        wrt: Sequence[str],
    ) -> _Piece:
        node, point = rational_rule(1.0, ratio, count)
        x = point / low[:, None]
        a, b, alpha0 = self.a[members], self.b[members], self.alpha0[members]
        forms, solution = trained_resolvent(x, a, b, alpha0, law)

        def weights(values: Floats) -> Floats:
            return rational_weights(node, point, values / low[:, None])

        slopes = {}
        for name in wrt:
            da, db, dalpha0, of = 0.0 * a, 0.0 * a, 0.0 * a, law
            if name == "eta":
                da = self.by_eta[0][members]
                db = 2.0 * self.eta[members] * self.by_eta[1][members] / alpha0
            elif name == "alpha0":
                # Nothing depends on it in the limit.
                dalpha0 = np.where(np.isinf(alpha0), 0.0, 1.0)
                db = np.where(np.isinf(alpha0), 0.0, -b / alpha0)
            else:
                assert moved is not None
                of = moved
            step = _COMPLEX_STEP
            there, _ = trained_resolvent(
                x, a + step * da, b + step * db, alpha0 + step * dalpha0, of, solution
            )
            slopes[name] = weights(there.imag / step.imag)
        value = 1.0 + self.share[members][:, None] * (low[:, None] * node - 1.0)[..., None]
        return _Piece(members, value, weights(forms), slopes)


def _alike(*keys: Floats) -> Iterator[Any]:
    """Yield the distinct values of the keys, each with the indices that have them."""
    rows = np.column_stack(keys)
    distinct, which = np.unique(rows, axis=0, return_inverse=True)
    for i, row in enumerate(distinct.tolist()):
        yield *row, np.flatnonzero(which.ravel() == i)
