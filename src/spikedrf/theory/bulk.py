"""The first layer's bulk as nodes: the trained one's, as the core takes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf.activations import Activation, FunctionLike, resolve, step_moments
from spikedrf.parameters import real_array
from spikedrf.step import GradientStep, StepModel, clean
from spikedrf.theory.rational import node_count, rational_rule, rational_weights
from spikedrf.theory.residual import ResidualLaw, residual_law
from spikedrf.theory.trained_resolvent import trained_resolvent

if TYPE_CHECKING:
    from spikedrf.theory.batch import Step
    from spikedrf.theory.layer import Layer

Floats = NDArray[np.float64]

#: The bulks that the theory knows.
BULKS = ("isotropic", "network")

# With a derivative that is (nearly) linear the spectrum of the bulk reaches down to zero. What
# is below this then gets no nodes of its own; the two rules differ as soon as it matters.
_LOWEST = 1e-2

# Bulks at a time: arrays of (bulks, points, nodes of the law) of two megabytes.
_AT_ONCE = 1 << 18

# What the rules that take turns have beyond need: nodes, and a factor on those of the averages.
_TURNS = ((0, 1.0), (2, 1.4))

# Everything in a resolvent is analytic in its parameters: derivatives to rounding, by one step.
_COMPLEX_STEP = 1e-30j


@dataclass(frozen=True, eq=False)
class Bulk:
    r"""A bulk by its nodes: joint eigenvalues of the groups' covariances, and what sees them.

    ``sum_j w_j f(value_j)`` stands for the spectral average of ``f(Sigma_k)``, with the weights of
    the trace over ``d``, or of the forms ``v'fv``, ``v'f xi``, ``xi'f xi``. It is as accurate as
    was asked for where ``f`` has its singularities on the negative axis, like
    ``Sigma/(1 + x Sigma)``, x >= 0. The nodes are no eigenvalues, and weights may be negative:
    they interpolate. Where ``x`` is complex they are accurate off the negative axis, the less the
    nearer it is (to 1e-3 of ``R`` at 30 degrees from it).

    Attributes
    ----------
    value : ndarray, shape (..., J, K)
    trace, vv, vx, xx : ndarray, shape (..., J)
        Weights, summing to 1, 1, 0 and 1.
    """

    value: Floats
    trace: Floats
    vv: Floats
    vx: Floats
    xx: Floats


@dataclass(frozen=True, eq=False)
class BulkRules:
    """Several rules for each of S bulks, which take turns in the core.

    Attributes
    ----------
    value : ndarray, shape (S, R, J, K)
    weight : ndarray, shape (4, S, R, J)
        Trace, vv, vx, xx.
    slopes : dict of ndarray, shape (4, S, R, J)
        How the weights move with parameters of the step; the values stay.
    """

    value: Floats
    weight: Floats
    slopes: dict[str, Floats]

    def part(self, spikes: NDArray[np.bool_], live: NDArray[np.bool_]) -> BulkRules:
        """Restrict to some spikes and groups."""
        return BulkRules(
            self.value[spikes][..., live],
            self.weight[:, spikes],
            {name: slope[:, spikes] for name, slope in self.slopes.items()},
        )

    def core(self) -> tuple[Floats, Floats]:
        """Return values and weights as the core takes them."""
        spikes, rules, nodes, groups = self.value.shape
        return (
            np.ascontiguousarray(self.value.reshape(spikes * rules, nodes, groups)),
            np.ascontiguousarray(self.weight.reshape(4, spikes * rules, nodes)),
        )

    def core_slopes(self) -> Floats:
        """Return how the values (not at all) and the weights move, as the core takes it."""
        spikes, rules, nodes, groups = self.value.shape
        moves = np.zeros((spikes * rules, len(self.slopes), nodes * (groups + 4)))
        for i, slope in enumerate(self.slopes.values()):
            weights = np.moveaxis(slope, 0, 2)  # (S, R, 4, J)
            moves[:, i, nodes * groups :] = weights.reshape(spikes * rules, 4 * nodes)
        return moves


def trained_bulk(
    step: GradientStep,
    activation: FunctionLike = "tanh",
    target: FunctionLike = "tanh",
    noise: ArrayLike = 0.0,
    *,
    rtol: float = 1e-8,
) -> Bulk:
    r"""Return the bulk of the trained network, ``bulk="network"`` of `solve`, as nodes.

    All neurons have seen the same samples: given these, rows of group k have the covariance::

        Sigma_k = (I + a M)^2 + b_k S,
        M = (1/n0) sum_mu res_mu x_mu x_mu',      a   = eta u h2   (0 for several groups)
        S = (1/n0) sum_mu res_mu^2 x_mu x_mu',    b_k = (eta u_k)^2 (chk - h2^2)/alpha0

    Parameters
    ----------
    step : GradientStep
        With ``alpha0 > 0``; ``alpha0 = inf`` is the limit.
    activation, target, noise
        As for `solve`.
    rtol : float
        The nodes are as many as keep the errors of `solve` well within this.

    Returns
    -------
    Bulk
        Batch shape of the step and ``noise`` first.

    Raises
    ------
    TypeError, ValueError
        As `solve` with ``bulk="network"``.

    Notes
    -----
    Source: theory.md, section 10.

    Examples
    --------
    >>> from spikedrf import GradientStep, theory
    >>> step = GradientStep(eta=3.0, alpha0=0.5)
    >>> bulk = theory.trained_bulk(step)
    >>> float(round(bulk.trace @ bulk.value[:, 0], 6)), round(step.spike().c, 6)
    (1.692155, 1.692155)
    """
    sigma, g = resolve(activation, "activation"), resolve(target, "target")
    columns = trained_columns(step, sigma, g, real_array("noise", noise, minimum=0.0))
    shape, groups = columns.shape[:-1], columns.shape[-1] - 4
    rules = bulk_rules(columns.reshape(-1, groups + 4), sigma, g, rtol)
    weight = rules.weight[:, :, -1].reshape(4, *shape, -1)
    return Bulk(rules.value[:, -1].reshape(*shape, -1, groups), *weight)


def check_bulk(bulk: str) -> None:
    """Refuse a bulk that the theory does not know.

    Raises
    ------
    ValueError
        The message lists those it knows.
    """
    if bulk not in BULKS:
        raise ValueError(f"bulk must be one of {', '.join(map(repr, BULKS))}, got {bulk!r}")


def trained_columns(step: Step, sigma: Activation, g: Activation, noise: Floats) -> Floats:
    """Return what the bulk depends on, shape (..., K + 4): u_k, eta, alpha0, noise, shift.

    Raises
    ------
    ValueError
        If there is no trained bulk in closed form; the message says why.
    """
    head = "bulk='network' is the trained network's bulk"
    if not isinstance(step, GradientStep):
        raise ValueError(f"{head} and needs a GradientStep; got step={step!r}")
    model = StepModel(step, sigma, g, noise)
    if (model.alpha0 == 0).any():
        raise ValueError(f"{head}: alpha0 must be > 0, got 0, which is no step")
    groups = model.u.shape[-1] if model.pi is None else model.pi.shape[-1]
    if groups > 1 and model.h2 != 0.0:
        raise ValueError(
            f"{head}, which has a closed form for several readout values only if "
            f"E (z^2 - 1) sigma(z) = 0, as for odd activations; for {sigma.name!r} it is "
            f"{model.h2:.3g}: use one value of u, or bulk='isotropic'"
        )
    single = (model.eta, model.alpha0, model.noise, np.asarray(model.shift))
    shape = np.broadcast_shapes(model.u.shape[:-1], *(value.shape for value in single))
    return np.concatenate(
        [
            np.broadcast_to(model.u, (*shape, groups)),
            np.stack([np.broadcast_to(value, shape) for value in single], axis=-1),
        ],
        axis=-1,
    )


def bulk_rules(
    columns: Floats, sigma: Activation, g: Activation, rtol: float, wrt: Sequence[str] = ()
) -> BulkRules:
    """Make two rules for each bulk, the second finer in every respect.

    Parameters
    ----------
    columns : ndarray, shape (S, K + 4)
        See `trained_columns`.
    sigma, g : Activation
        Activation and target.
    rtol : float
        Accuracy of the solution that they are for.
    wrt : sequence of str
        Parameters among ``eta``, ``alpha0`` and ``noise`` whose slopes are wanted.
    """
    # The answers follow the resolvent with factors of order one; rounding sets the limit.
    tolerance = max(1e-2 * rtol, 1e-14)
    spectra = _Spectra(columns, sigma)
    finer = 1.0 + 0.25 * max(0.0, -10.0 - np.log10(tolerance))
    pieces = [
        (i, piece)
        for i, (extra, fineness) in enumerate(_TURNS)
        for piece in spectra.rules(g, tolerance, extra, finer * fineness, wrt)
    ]
    nodes = max((piece.value.shape[1] for _, piece in pieces), default=1)
    value = np.ones((len(columns), len(_TURNS), nodes, spectra.groups))
    weight = np.zeros((4, len(columns), len(_TURNS), nodes))
    slopes = {name: np.zeros_like(weight) for name in wrt}
    for i, piece in pieces:
        part = piece.members, i, slice(piece.value.shape[1])
        value[part] = piece.value
        weight[:, *part] = piece.weight
        for name, slope in piece.slopes.items():
            slopes[name][:, *part] = slope
    return BulkRules(value, weight, slopes)


def given_rules(layer: Layer, spikes: int) -> BulkRules:
    """Return the bulk that a layer has, as often as it is needed, in its one rule."""
    value, weight = layer.value[None, None], layer.weight[:, None, None]
    return BulkRules(np.repeat(value, spikes, axis=0), np.repeat(weight, spikes, axis=1), slopes={})


@dataclass(frozen=True, eq=False)
class _Piece:
    """One rule for some of the bulks."""

    members: NDArray[np.int64]
    value: Floats  # (members, J, K)
    weight: Floats  # (4, members, J)
    slopes: dict[str, Floats]


class _Spectra:
    """The bulks of one call: ``Sigma = (I + a M)^2 + b S`` of the group with the largest step."""

    def __init__(self, columns: Floats, sigma: Activation) -> None:
        of_sigma = step_moments(sigma, slope=True)
        h2 = clean(of_sigma.h2, of_sigma.second)
        self.groups = columns.shape[1] - 4
        u = columns[:, : self.groups]
        self.eta, self.alpha0, self.noise, self.shift = columns[:, self.groups :].T
        at = np.arange(len(u)), np.abs(u).argmax(axis=1)
        lead = u[at]
        # Sigma_k - 1 in units of that of the leading group.
        self.share = (u / np.where(lead == 0.0, 1.0, lead)[:, None]) ** 2
        self.share[at] = 1.0
        self.by_eta = lead * h2, lead**2 * max(of_sigma.slope_variance - h2**2, 0.0)
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
                size = max(1, _AT_ONCE // (count * law.res.size))
                for start in range(0, alike.size, size):
                    some = alike[start : start + size]
                    yield self._piece(members[some], low[some], ratio, count, law, moved, wrt)

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
