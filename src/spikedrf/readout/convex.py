"""The readout under any convex loss, up to a bound on what is left to its minimum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize, special

from spikedrf.arrays import Array, data_array, require_finite, require_match
from spikedrf.losses import Absolute, Huber, Loss, LossLike, PseudoHuber, resolve
from spikedrf.parameters import Floats, number, real_array
from spikedrf.readout.newton import Design, Matrix, Objective, Terms, lbfgs, newton
from spikedrf.readout.path import Family, minimise
from spikedrf.running.memory import require_memory

# Rounds of the method of multipliers; the prox parameter falls by a factor while it helps.
_ROUNDS = 40
_FALL = 0.25
# Near the minimum, a few rounds that do not gain say that rounding leaves no more to gain.
_NEAR, _PATIENCE = 1e-9, 3
# A Huber loss bends enough if its width is this part of the labels' spread; otherwise wider ones
# are minimised first, to this part of their objective.
_WIDE, _NEARBY = 0.05, 1e-3


class Path(NamedTuple):
    r"""Readouts for several penalties: ``h = Phi . a / sqrt p + b``.

    Attributes
    ----------
    a : ndarray, shape (p, penalties, targets)
    b : ndarray, shape (penalties, targets)
    x : ndarray, shape (q, penalties, targets)
        In coordinates of the problem.
    """

    a: Floats
    b: Floats
    x: Floats


@dataclass(frozen=True, eq=False)
class Readout:
    r"""A fitted readout: ``h = Phi . a / sqrt p + b``.

    Attributes
    ----------
    a : ndarray, shape (p,)
        Coefficients.
    b : float
        Intercept, 0 if none was fitted. Where several minimise the objective it is the middle of
        them.
    objective : float
        ``sum_mu w_mu loss(y_mu, h_mu) + (lam/2) |a|^2`` there.
    gap : float
        How far above its minimum that may still be: the duality gap.
    nit : int
        Iterations, of all methods together.
    success : bool
        Whether ``gap <= tol * objective``.
    multipliers : ndarray, shape (n,)
        A subgradient ``f_mu`` of the loss of every row (of positive weight), which
        ``a = -Phi^T (w f) / (lam sqrt p)`` and ``sum_mu w_mu f_mu = 0`` (with an intercept) hold
        for at the minimum.
    """

    a: Floats
    b: float
    objective: float
    gap: float
    nit: int
    success: bool
    multipliers: Floats


def fit_readout(
    Phi: ArrayLike,
    y: ArrayLike,
    loss: LossLike,
    lam: float,
    *,
    intercept: bool = False,
    sample_weight: ArrayLike | None = None,
    tol: float = 1e-9,
) -> Readout:
    r"""Fit the readout that minimises a convex loss with a quadratic penalty.

    ``a, b = argmin sum_mu w_mu loss(y_mu, Phi_mu . a / sqrt p + b) + (lam/2) |a|^2``, the
    intercept ``b`` not penalised. With the square loss this is ridge regression with penalty
    ``lam`` (for which `spikedrf.readout.ridge` is faster).

    Parameters
    ----------
    Phi : array_like of float32 or float64, shape (n, p)
        Features. The fit is done in double precision.
    y : array_like of float32 or float64, shape (n,)
        Labels; +1 and -1 for a loss of the margin.
    loss : str or Loss
        A name (`spikedrf.losses.NAMES`) or a loss with its parameters.
    lam : float
        Penalty, > 0.
    intercept : bool
        Whether ``b`` is fitted.
    sample_weight : array_like, shape (n,), optional
        Weights ``w``, >= 0.
    tol : float
        Relative accuracy of the objective. The coefficients are then within
        ``sqrt(2 tol objective / lam)`` of the minimiser.

    Returns
    -------
    Readout
        With ``success=False`` if rounding or the number of iterations kept the gap above ``tol``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range; the message names it.
    MemoryError
        If the matrices would not fit into memory, before they are asked for.

    See Also
    --------
    ReadoutProblem : The same for several losses, labels or penalties on the same features.

    Notes
    -----
    A smooth loss is minimised by SciPy's L-BFGS in coordinates in which the features are white,
    then by Newton's method. A loss with a kink is minimised by the method of multipliers: its
    subproblems are smooth (Huber's, of a small width that falls from round to round), its
    multipliers a feasible point of the dual, which proves how far the minimum can be.

    Source: theory.md, section 11. The method of multipliers for such losses: Li, Sun and Toh,
    SIAM J. Optim. 28, 433 (2018).

    Examples
    --------
    >>> import numpy as np
    >>> from spikedrf.readout.convex import fit_readout
    >>> fit = fit_readout(np.eye(2), np.array([1.0, -3.0]), "absolute", 0.5)
    >>> (fit.a / np.sqrt(2)).round(6), fit.success
    (array([ 1., -1.]), True)
    """
    kind = resolve(loss)
    Phi, y = data_array("Phi", Phi, 2), data_array("y", y, 1)
    require_match(Phi=(Phi, 0), y=(y, 0))
    require_finite("Phi", Phi)
    require_finite("y", y)
    penalty = number("lam", lam, minimum=0.0, exclusive=True)
    accuracy = number("tol", tol, minimum=0.0, exclusive=True)
    labels = y.astype(np.float64)
    if kind.margin and not np.all(np.abs(labels) == 1.0):
        first = float(labels[np.abs(labels) != 1.0][0])
        raise ValueError(f"y must be +1 or -1 for loss {kind.name!r}, got {first!r}")
    weight = np.ones(len(labels))
    if sample_weight is not None:
        weight = real_array("sample_weight", sample_weight, minimum=0.0)
        if weight.shape != labels.shape:
            raise ValueError(f"sample_weight must have shape {labels.shape}, got {weight.shape}")
    present = weight > 0
    if not present.any():
        raise ValueError("sample_weight must not be zero everywhere")
    labels = labels[present]
    if intercept and kind.margin and (labels == labels[0]).all():
        raise ValueError(
            f"y must have both signs for loss {kind.name!r} with an intercept, got only "
            f"{labels[0]:+g}"
        )
    problem = ReadoutProblem(Phi[present], weight[present], intercept=intercept)
    return problem.fit(labels, kind, penalty, tol=accuracy)


class ReadoutProblem:
    r"""Features, prepared for fits of several losses, labels and penalties.

    What they share is done once: deviations from the mean (with an intercept), for ``n < p`` a
    QR decomposition that leaves the space of the samples, and the Gram matrix.

    Parameters
    ----------
    Phi : ndarray of float32 or float64, shape (n, p)
        Features, finite.
    weight : ndarray of float64, shape (n,), optional
        Weights ``w``, > 0.
    intercept : bool
        Whether ``b`` is fitted.
    single : bool
        Whether products with the features are made in single precision, if there are more samples
        than features: twice as fast, for fits to an accuracy of 1e-5 at best.

    Raises
    ------
    MemoryError
        If the matrices would not fit into memory, before they are asked for.
    """

    def __init__(
        self,
        Phi: Array,
        weight: Floats | None = None,
        *,
        intercept: bool = False,
        single: bool = False,
    ) -> None:
        n, p = Phi.shape
        q = min(n, p)
        size = 8 * (n * (q + p) + 3 * q * q + (p * q if n < p else 0))
        require_memory(size, f"a readout on features of shape {Phi.shape}", "use fewer features")
        self.weight = np.ones(n) if weight is None else weight
        self.p = p
        dtype = np.float32 if single and n >= p else np.float64
        A = np.ones((n, p + int(intercept)), dtype)
        features = A[:, :p]
        np.divide(Phi, np.sqrt(np.float64(p)), out=features, dtype=dtype, casting="same_kind")
        # Deviations from the mean, not for what is fitted but for its condition.
        self.mean = np.zeros(p)
        if intercept:
            mean = (self.weight / self.weight.sum()).astype(dtype) @ features
            features -= mean
            self.mean = mean.astype(np.float64)
        self.basis: Floats | None = None
        if n < p:
            self.basis, triangle = linalg.qr(features.T, mode="economic", check_finite=False)
            A = np.ones((n, n + int(intercept)))
            A[:, :n] = triangle.T
        self.design: Design = Matrix(self.weight, intercept, A)

    @classmethod
    def on(cls, design: Design, mean: Floats) -> Self:
        """Return the problem on rows wherever they are.

        Parameters
        ----------
        design : Design
            Of ``Phi / sqrt p - mean`` and, with an intercept, ones.
        mean : ndarray, shape (p,)
            What is taken off, 0 without an intercept.
        """
        problem = cls.__new__(cls)
        problem.weight, problem.p = design.weight, len(mean)
        problem.mean, problem.basis, problem.design = mean, None, design
        return problem

    def fit(
        self,
        y: Floats,
        loss: Loss,
        lam: float,
        *,
        start: Readout | None = None,
        tol: float = 1e-9,
        proven: bool = True,
    ) -> Readout:
        """Fit one readout.

        Parameters
        ----------
        y : ndarray of float64, shape (n,)
            Labels; for a loss of the margin +1 and -1, with an intercept both of them.
        loss : Loss
        lam : float
            Penalty, > 0.
        start : Readout, optional
            A fit to start from: of the same features, of a similar loss, penalty or labels. If the
            fit is to be proven, of the same loss, so near that Newton's method needs no other.
        tol : float
            Relative accuracy of the objective.
        proven : bool
            Whether the duality gap is brought to that. Otherwise a smooth loss is minimised until
            the estimate of the distance is there, which is faster.

        Returns
        -------
        Readout
        """
        # In units of the labels, so that nothing depends on these: |a|^2 has their square.
        unit = 1.0 if loss.margin else float(np.ldexp(1.0, int(np.frexp(np.abs(y).max())[1])))
        if unit != 1.0 and np.any(y):
            inner = None if start is None else _in_units(start, 1.0 / unit, loss.degree)
            fit = self.fit(
                y / unit,
                loss.rescaled(unit),
                lam * unit ** (2 - loss.degree),
                start=inner,
                tol=tol,
                proven=proven,
            )
            return _in_units(fit, unit, loss.degree)
        # Labels are taken from the best constant, so that their origin does not cost digits.
        constant = 0.0
        if self.design.intercept and not (loss.margin and start is not None):
            constant = best_constant(y, loss, self.weight)
        origin = 0.0 if loss.margin else constant
        y = y - origin
        x = self._start(constant - origin, origin, start)
        if loss.smooth:
            near = proven and start is not None and not _widths(y, loss, self.weight).size
            x, nit, gap, multipliers = self._smooth(y, loss, lam, x, tol, proven, near)
        else:
            x, nit, gap, multipliers = self._kinked(y, loss, lam, x, start, tol)
        h = self.design.outputs(x)
        objective = float(self.weight @ loss.value(y, h) + 0.5 * lam * self._norm(x))
        coefficients = x[:-1] if self.design.intercept else x
        a = coefficients if self.basis is None else self.basis @ coefficients
        b = float(origin + x[-1] - self.mean @ a) if self.design.intercept else 0.0
        return Readout(a, b, objective, gap, nit, bool(gap <= tol * objective), multipliers)

    def fit_path(
        self,
        y: Floats,
        losses: Sequence[Loss],
        lam: Floats,
        *,
        start: Path | None = None,
        tol: float = 1e-4,
    ) -> Path:
        """Fit the readouts of several targets for several penalties, with smooth losses.

        Parameters
        ----------
        y : ndarray of float64, shape (n, targets)
            Labels, in units in which they are neither large nor small.
        losses : sequence of Loss
            Of each target.
        lam : ndarray, shape (penalties,)
            Penalties, > 0.
        start : Path, optional
            Whose last readouts to start from.
        tol : float
            Estimated relative accuracy of the objective.

        Returns
        -------
        Path
        """
        penalties, targets = len(lam), y.shape[1]
        if any(_widths(its, loss, self.weight).size for its, loss in zip(y.T, losses, strict=True)):
            return self._one_by_one(y, losses, lam, tol)
        pairs = list(zip(y.T, losses, strict=True))
        constants = np.zeros(targets)
        if self.design.intercept:
            constants = np.array([best_constant(its, loss, self.weight) for its, loss in pairs])
        origin = np.where([loss.margin for loss in losses], 0.0, constants)
        x = np.zeros((self.design.q, targets))
        if start is not None:
            x = start.x[:, -1].copy()
        elif self.design.intercept:
            x[-1] = constants - origin
        labels = y - origin
        family = Family(
            self.design, np.tile(labels, penalties), list(losses) * penalties, lam.repeat(targets)
        )
        x, _, success = minimise(family, np.tile(x, penalties), tol)
        for k in np.flatnonzero(np.logical_not(success)).tolist():
            its, loss = family.y[:, k], family.losses[k]
            x[:, k] = newton(
                _objective(self.design, its, loss, float(family.lam[k])), x[:, k], tol
            )[0]
        whole = x.reshape(-1, penalties, targets)
        coefficients = whole[:-1] if self.design.intercept else whole
        a = coefficients
        if self.basis is not None:
            a = np.tensordot(self.basis, coefficients, axes=1)
        b = np.zeros((penalties, targets))
        if self.design.intercept:
            b = origin + whole[-1] - np.tensordot(self.mean, a, axes=1)
        return Path(a, b, whole)

    def _one_by_one(self, y: Floats, losses: Sequence[Loss], lam: Floats, tol: float) -> Path:
        """Do `fit_path` for one penalty after the other."""
        shape = len(lam), len(losses)
        a, b = np.empty((self.p, *shape)), np.empty(shape)
        for t, loss in enumerate(losses):
            fit: Readout | None = None
            for i, penalty in enumerate(lam):
                fit = self.fit(y[:, t], loss, float(penalty), start=fit, tol=tol, proven=False)
                a[:, i, t], b[i, t] = fit.a, fit.b
        x = np.zeros((self.design.q, *shape))
        return Path(a, b, x)

    def _norm(self, x: Floats) -> float:
        coefficients = x[:-1] if self.design.intercept else x
        return float(coefficients @ coefficients)

    def _start(self, constant: float, origin: float, start: Readout | None) -> Floats:
        x = np.zeros(self.design.q)
        if start is not None:
            a = start.a if self.basis is None else start.a @ self.basis
            x[: len(a)] = a
        if self.design.intercept:
            x[-1] = constant if start is None else start.b - origin + self.mean @ start.a
        return x

    def _smooth(
        self, y: Floats, loss: Loss, lam: float, x: Floats, tol: float, proven: bool, near: bool
    ) -> tuple[Floats, int, float, Floats]:
        for width in () if near else _widths(y, loss, self.weight):
            wide, ridge = type(loss)(width), lam * width / loss.delta  # type: ignore
            x, _ = newton(_objective(self.design, y, wide, ridge), x, _NEARBY)
        objective = _objective(self.design, y, loss, lam)
        nit, success = 0, False
        if not near:
            # L-BFGS compares values of the objective, of which rounding leaves eight digits of x.
            x, nit, success = lbfgs(objective, x, max(tol, 1e-12))
        if proven or not success:
            x, more = newton(objective, x, tol)
            nit += more
        h = self.design.outputs(x)
        gap = objective.bound(objective.at(x, h)[1], x, h)
        return x, nit, gap, loss.derivative(y, h)

    def _kinked(
        self, y: Floats, loss: Loss, lam: float, x: Floats, start: Readout | None, tol: float
    ) -> tuple[Floats, int, float, Floats]:
        r"""Minimise a loss that is a broken line with its kink at ``h = y``.

        With multipliers ``f`` and prox parameter ``s`` a round minimises the Moreau envelopes::

            min_t loss(y, t) + (t - h - s f)^2 / (2 s)

        whose derivative in ``h``, ``clip((h + s f - y)/s, below, above)``, are the next
        multipliers, with the slopes ``below`` and ``above`` of the kink. They are subgradients at
        ``t``, so ``D = -sum w loss*(f) - |Phi^T (w f)|^2/(2 lam p)`` is a lower bound of the
        minimum. What the objective is above it is a sum of terms that are not negative.
        """
        design, w = self.design, self.weight
        tol = max(tol, 1e-14)  # the conditions at the kinks hold up to rounding
        below, above = _slopes(y, loss)
        reach = float(np.abs(y).max())

        def judged(x: Floats, multipliers: Floats) -> tuple[float, float, float]:
            """Return the objective and the parts of its gap: of the kinks, of the gradient."""
            h = design.outputs(x)
            value = float(w @ loss.value(y, h) + 0.5 * lam * self._norm(x))
            gradient = design.back(w * multipliers) + design.penalty(lam) * x
            slack = np.where(h < y, below, above) - multipliers  # of the sign of h - y
            return value, float(w @ (slack * (h - y))), design.bound(gradient, x, lam, reach)

        h = design.outputs(x)
        multipliers = (
            np.zeros(len(y)) if start is None else np.clip(start.multipliers, below, above)
        )
        best = (sum(judged(x, multipliers)[1:]), x, multipliers)
        spread, off = (float(w @ np.abs(t) / w.sum()) for t in (y, h - y))
        s = 2.0 * spread if start is None else max(0.1 * off, 1e-3 * spread)
        nit, stalled = 0, 0
        for _ in range(_ROUNDS):
            if s == 0.0:  # all labels are the same
                break

            terms = _envelope(y, below, above, multipliers, s)
            objective = Objective(design, terms, lam, 1.0 / s, reach)
            x, more = newton(objective, x, 0.1 * tol)
            nit += more
            multipliers = np.clip(multipliers + (design.outputs(x) - y) / s, below, above)
            if design.intercept:
                # They add up to zero, but for rounding over s: that is shared out.
                free = (multipliers > below) & (multipliers < above)
                if free.any():
                    multipliers[free] -= float(w @ multipliers) / float(w[free].sum())
                    multipliers = np.clip(multipliers, below, above)
            value, slack, rest = judged(x, multipliers)
            stalled = stalled + 1 if slack + rest > 0.5 * best[0] else 0
            best = min(best, (slack + rest, x, multipliers), key=lambda found: found[0])
            if best[0] <= tol * value or (stalled == _PATIENCE and best[0] <= _NEAR * value):
                break
            if slack > rest:
                s *= _FALL
        gap, x, multipliers = best
        if design.intercept:
            middle = x.copy()
            middle[-1] += _middle(y - design.outputs(x), below, above, w)
            value, *parts = judged(middle, multipliers)
            if sum(parts) <= max(gap, tol * value):
                x, gap = middle, sum(parts)
        return x, nit, gap, multipliers


def _objective(design: Design, y: Floats, loss: Loss, lam: float) -> Objective:
    """Return the objective of a smooth loss."""
    terms = Terms(
        lambda h: loss.value(y, h),
        lambda h: loss.derivative(y, h),
        lambda h: loss.second_derivative(y, h),
    )
    stiffness = float(loss.second_derivative(y, y).max())  # at h = y all of them bend most
    return Objective(design, terms, lam, stiffness, float(np.abs(y).max()))


def _widths(y: Floats, loss: Loss, weight: Floats) -> Floats:
    """Return widths of a Huber loss, falling to its own, whose minima lead to its minimum.

    Far beyond its width it does not bend, and Newton's method has no direction: a wider one bends,
    and scaled to the same slopes its minimum is near. Few or none if it is wide enough.
    """
    if not isinstance(loss, Huber | PseudoHuber):
        return np.empty(0)
    widest = robust_scale(y, weight)
    steps = int(np.ceil(np.log(_WIDE * widest / loss.delta) / np.log(1.0 / _FALL)))
    return np.asarray(widest * _FALL ** np.arange(max(steps, 0)))


def _in_units(fit: Readout, unit: float, degree: int) -> Readout:
    """Return a fit to labels and under a loss in other units, see `Loss.rescaled`."""
    return replace(
        fit,
        a=unit * fit.a,
        b=unit * fit.b,
        objective=unit**degree * fit.objective,
        gap=unit**degree * fit.gap,
        multipliers=unit ** (degree - 1) * fit.multipliers,
    )


def _envelope(y: Floats, below: Floats, above: Floats, multipliers: Floats, s: float) -> Terms:
    """Return the Moreau envelopes of broken lines, moved by their multipliers."""

    def unbounded(h: Floats) -> Floats:
        return np.asarray(multipliers + (h - y) / s)

    def slope(h: Floats) -> Floats:
        return np.clip(unbounded(h), below, above)

    def value(h: Floats) -> Floats:
        # The loss at t and the distance to it; t - y = s (z - f) is not zero only where f is a
        # slope of the line.
        z, f = unbounded(h), slope(h)
        return np.asarray(s * f * (z - 0.5 * f))

    def curvature(h: Floats) -> Floats:
        return np.where(unbounded(h) == slope(h), 1.0 / s, 0.0)

    return Terms(value, slope, curvature)


def best_constant(y: Floats, loss: Loss, weight: Floats) -> float:
    """Return the constant ``b`` that minimises ``sum_mu weight_mu loss(y_mu, b)``.

    Where several do it is the middle of them. Labels of a margin must have both signs.
    """
    if not loss.smooth:
        return _middle(y, *_slopes(y, loss), weight)
    low, high = float(y.min()), float(y.max())
    if low == high:
        return low

    def slope(b: float) -> float:
        return float(weight @ loss.derivative(y, b))

    while slope(low) > 0.0 or slope(high) < 0.0:  # a margin may have to be larger than 1
        low, high = 2.0 * low, 2.0 * high
    span = max(abs(low), abs(high))
    return float(optimize.brentq(slope, low, high, xtol=1e-15 * span, rtol=1e-15))


def robust_scale(y: Floats, weight: Floats) -> float:
    """Return the standard deviation of most of some labels: 1.48 times their median deviation.

    Where more than half of them are the same, from the mean deviation; 1 where all are.
    """
    off = np.abs(y - best_constant(y, Absolute(), weight))
    median = best_constant(off, Absolute(), weight)
    if median > 0.0:
        return float(median / special.ndtri(0.75))
    return float(np.average(off, weights=weight) * np.sqrt(0.5 * np.pi)) or 1.0


def _slopes(y: Floats, loss: Loss) -> tuple[Floats, Floats]:
    """Return the slopes in ``h`` below and above the kink, which is at ``h = y``."""
    low, high = loss.slopes
    turned = y > 0 if loss.margin else np.ones(len(y), bool)
    return np.where(turned, -high, low), np.where(turned, -low, high)


def _middle(kink: Floats, below: Floats, above: Floats, weight: Floats) -> float:
    """Minimise a sum of broken lines, each with one kink: the middle of where it is smallest."""
    order = np.argsort(kink)
    rise = weight * (above - below)
    slope = float(weight @ below) + np.cumsum(rise[order])  # to the right of each kink
    flat = 1e-12 * float(rise.sum())
    first = int(np.argmax(slope >= -flat))
    last = min(first + int(slope[first] <= flat), len(kink) - 1)
    return float(0.5 * (kink[order[first]] + kink[order[last]]))
