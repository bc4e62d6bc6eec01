"""The learning curve of given features, from the rows at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from spikedrf.losses import LossLike, Square, resolve
from spikedrf.parameters import Floats, flag, number, real_array
from spikedrf.theory.class_features import ClassCurve, require_gaussian, signs
from spikedrf.theory.continuation import Curves, Fit, continued
from spikedrf.theory.effective_ridge import LeftOut, Reading, Spectrum, read
from spikedrf.theory.forecast import Forecast

if TYPE_CHECKING:  # SciPy's linear algebra is loaded when features are measured
    from spikedrf.readout.leave_one_out import Block, RidgePath

T = TypeVar("T")


#: Errors that differ by less than this part are the same.
_TIE = 1e-4
#: By how much a readout on rows whose labels are all hidden in the features errs more than on as
#: many fresh rows, and the doubt about the logarithm of that.
_OF_KNOWN = (0.2, 0.1)
#: Rows that the features have learned from are forgotten with this power of the share they make.
_FORGETTING = 3.0
#: What is peculiar to fits that nearly interpolate goes with this power of N/n.
_OF_PEAKS = 6.0
#: Doubt about the logarithm of an error for the law itself: at the rows at hand, and what ten times
#: more or fewer add. For features that have learned, what fewer rows have made of them adds.
_OF_LAW, _OF_LEARNING = (0.05, 0.03), 0.02
#: What standard errors from blocks of rows are short of: found on sets other than the eight of
#: docs/forecasts.md, whose ranges these constants make honest.
_OF_BLOCKS = 1.3
#: Logarithm of the widest range, of a row or two; and what stands for no error at all.
_WIDEST, _NOTHING = 200.0, 1e-250


class Judged(NamedTuple):
    """How fits did whose features had learned from their rows, on rows held out.

    Attributes
    ----------
    rows : float
        Rows of these fits.
    present : float
        Rows of the final fit.
    error : ndarray, shape (targets,)
        Mean squared errors on others.
    gain : ndarray, shape (targets,)
        The logarithm by which a doubling of the rows that features learn from lowers the error; 0
        where the final features are those that were judged.
    hidden : ndarray, shape (targets,)
        The share of the error that the features hide from the leave-one-out errors of the rows that
        they have learned from: 0 of features that know none of them.
    """

    rows: float
    present: float
    error: Floats
    gain: Floats
    hidden: Floats


class FeatureCurve:
    r"""What ridge regression on given features does with any number of rows.

    Made by `from_features`, and by the estimators' ``forecast``. The test error of ``n`` rows at
    the ridge ``lam`` is::

        E(kappa) (1 + 1/n) excess(kappa)^(N/n) / (1 - D2(kappa)/n),   lam = kappa (n - D1(kappa))

    with ``E, D1, D2`` read off the ``N`` rows at hand and continued below what they show.
    ``excess`` is what reproduces their exact leave-one-out errors. (``1 + 1/n`` is the price of the
    intercept, which also takes one row.)

    Features that have learned from the rows at hand are measured on rows that were held out of
    that, and what the features gain by these is added (`Judged`). These are few. So the
    continuation is also held to the error of the fit to all the others, which the features know: a
    readout on such rows is worse than one on as many fresh rows, by a fifth at most, the more of
    the error the features hide from them. Fresh rows make it forget that, with the third power of
    the share that the known ones have. These are empirical laws, see docs/forecasts.md.

    Attributes
    ----------
    rows : float
        Rows that were measured, in rows of equal weight.
    n_components : int
        Number of features.
    variance : ndarray, shape (targets,)
        Variance of the targets.

    Notes
    -----
    Sources: Schroeder et al., arXiv 2402.13999; Simon et al., arXiv 2311.14646.
    """

    def __init__(
        self,
        reading: Reading,
        variance: Floats,
        *,
        intercept: bool,
        variance_sem: Floats | None = None,
        optimism: float = 1.0,
        judged: Judged | None = None,
        ridge_unit: float = 1.0,
        target_unit: float = 1.0,
        single: bool = True,
    ) -> None:
        self._reading = reading
        self._intercept = intercept
        self._optimism = optimism
        self._ridge_unit, self._target_unit = ridge_unit, 1.0
        self._single = single
        self.rows = reading.rows + float(intercept) if judged is None else judged.present
        self.n_components = reading.features
        self.variance = variance
        sem = np.sqrt(2.0 / self.rows) * np.ones_like(variance)
        self._variance_sem = sem if variance_sem is None else variance_sem
        fits: list[Fit] = []
        if judged is not None:
            as_fresh = judged.error / (1.0 + _OF_KNOWN[0] * judged.hidden)
            fits = [Fit(judged.rows, float(error), _OF_KNOWN[1]) for error in as_fresh]
        self._curves = continued(reading, reading.features, fits)
        self._judged = judged
        self._excess, self._learned = np.zeros((2, len(self.variance)))
        if judged is not None:
            best = self.solve(judged.rows).test_error
            self._excess = np.maximum(judged.error - np.reshape(best, -1), 0.0)
            self._learned = judged.gain * np.log2(judged.present / judged.rows)
        # All of the above is in units in which targets are neither large nor small.
        self._target_unit = target_unit

    def __repr__(self) -> str:
        return f"FeatureCurve({self.rows:g} rows, {self.n_components} features)"

    def solve(
        self,
        n: ArrayLike,
        lam: ArrayLike | None = None,
        *,
        n_components: int | None = None,
        level: float = 0.9,
    ) -> Forecast:
        """Forecast the errors of fits to other numbers of rows.

        Parameters
        ----------
        n : float or array_like
            Numbers of rows, > 0; ``inf`` is the limit of these features.
        lam : float or array_like, optional
            Ridge, > 0, in ``sum (y - b - Phi a / sqrt p)^2 + lam |a|^2``; broadcast with ``n``. By
            default the best at each ``n``.
        n_components : int, optional
            Another number of features, drawn from the same law as those measured.
        level : float
            Probability of the range, between 0 and 1.

        Returns
        -------
        Forecast

        Raises
        ------
        TypeError, ValueError
            If an argument is out of range; the message names it.
        """
        level = number("level", level, minimum=0.0, maximum=1.0, exclusive=True)
        if level == 1.0:
            raise ValueError("level must be < 1, got 1.0: no range is certain")
        n = real_array("n", n, minimum=0.0, exclusive=True, infinite=True)
        if lam is not None:
            lam = real_array("lam", lam, minimum=0.0, exclusive=True)
            n, lam = np.broadcast_arrays(n, lam)
        width = self.n_components
        if n_components is not None:
            width = _count("n_components", n_components)
        curve = self._curves if width == self.n_components else continued(self._reading, width)
        one = (1.0 + 1.0 / n) if self._intercept else np.ones_like(n)
        shape = n.shape
        flat = np.maximum((n - float(self._intercept)).ravel(), 1e-3)[:, None]
        share = np.minimum(curve.rows / flat, 1.0)[..., None]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            room = 1.0 - curve.D2 / flat
            allowed = (curve.ridge(flat[:, 0]) > 0.0) & (room > 0.0)
            allowed |= np.isinf(flat)
            # Of a row or less nothing can be learned but the mean, which no ridge forbids.
            room[:, -1] = np.where(allowed[:, -1], room[:, -1], 1.0)
            allowed[:, -1] = True
            log_error = curve.log_error + share * curve.excess + share**_OF_PEAKS * curve.peak
            error = self._optimism * np.exp(log_error) / room[..., None]
            error *= one.ravel()[:, None, None]
        error = np.where(allowed[..., None], error, np.inf)
        if lam is None:
            relative = (error / self._unit).mean(axis=2)
            # Of ridges that are as good as the best the largest: it does not hang on rounding.
            near = relative <= relative.min(axis=1, keepdims=True) * (1.0 + _TIE)
            at = relative.shape[1] - 1.0 - np.argmax(near[:, ::-1], axis=1)
        else:
            given = np.asarray(lam).ravel() / self._ridge_unit
            at = _positions(curve.ridge(flat[:, 0]), given)
        test = _between(error, at)
        if self._judged is not None:
            fresh = self._judged.rows / np.maximum(n.ravel(), self._judged.rows)
            test = test + self._excess * fresh[:, None] ** _FORGETTING
            test = test * np.exp(-self._learned)
        test = np.where(test > _NOTHING, test, 0.0)
        D1 = _between(curve.D1[:, None], at)
        left = np.where(flat > D1, flat - D1, flat)
        ridge = self._ridge_unit * np.exp(_between(curve.log_kappa[:, None], at)) * left
        plain = np.exp(-share[:, 0] * _between(curve.leverage, at))
        train = test * plain * np.maximum(1.0 - D1 / flat, 0.0) ** 2
        below, above = self._spreads(curve, at, flat, level)
        ridge = ridge[:, 0] if lam is None else np.asarray(lam, float).ravel()

        square = self._target_unit * self._target_unit
        variance = self.variance * square

        def shaped(values: Floats) -> Any:
            out = values.reshape(shape + values.shape[1:])
            if self._single and values.ndim == 2:
                out = out[..., 0]
            return float(out) if out.ndim == 0 else out

        return Forecast(
            n=float(n) if n.ndim == 0 else n,
            lam=shaped(ridge),
            test_error=shaped(test * square),
            lower=shaped(test * np.exp(-below) * square),
            upper=shaped(test * np.exp(above) * square),
            train_error=shaped(train * square),
            degrees_of_freedom=shaped(D1[:, 0]),
            level=level,
            n_components=width,
            rows=self.rows,
            variance=float(variance[0]) if self._single else variance,
            variance_sem=float(self._variance_sem[0]) if self._single else self._variance_sem,
        )

    def limit(self, *, n_components: int | None = None, level: float = 0.9) -> Forecast:
        """Return what no number of rows can better: ``solve(inf)``."""
        return self.solve(np.inf, n_components=n_components, level=level)

    @property
    def _unit(self) -> Floats:
        return np.where(self.variance > 0.0, self.variance, 1.0)

    def _spreads(
        self, curve: Curves, at: Floats, rows: Floats, level: float
    ) -> tuple[Floats, Floats]:
        """Return the range of the logarithm of the error to either side."""
        from scipy.special import ndtri

        z = float(ndtri(0.5 * (1.0 + level)))
        # Residuals have heavy tails, and with D1 degrees of freedom not N of them are independent.
        D1 = np.minimum(_between(curve.D1[:, None], at), 0.8 * curve.rows)
        crowded = _OF_BLOCKS * (curve.rows / (curve.rows - D1)) ** 0.25
        with np.errstate(divide="ignore"):
            away = np.minimum(np.abs(np.log10(rows / curve.rows)), 1.0)
        of_law = _OF_LAW[0] + _OF_LAW[1] * away
        if self._judged is not None:
            of_law = of_law + _OF_LEARNING
        of_law = np.hypot(of_law, 0.5 * np.log(self._optimism) + 0.5 * self._learned)
        below = np.hypot(crowded * _between(curve.below, at), of_law)
        above = np.hypot(crowded * _between(curve.above, at), of_law)
        return np.minimum(z * below, _WIDEST), np.minimum(z * above, _WIDEST)


@overload
def from_features(
    Phi: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    intercept: bool = True,
    loss: Literal["square"] = "square",
) -> FeatureCurve: ...


@overload
def from_features(
    Phi: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    intercept: bool = True,
    loss: LossLike,
) -> FeatureCurve | ClassCurve: ...


def from_features(
    Phi: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    intercept: bool = True,
    loss: LossLike = "square",
) -> FeatureCurve | ClassCurve:
    r"""Measure features, anybody's, for forecasts of ridge regression on more or fewer rows.

    The features may be a fitted network's last layer, a `Nystroem` map, or measured columns. What
    is forecast is a readout fitted to them by::

        min_{a, b} sum_mu w_mu (y_mu - b - Phi_mu . a / sqrt p)^2 + lam |a|^2

    on ``n`` rows of the same law, in the limit of many rows and features (theory.md, sections 4 and
    12, of features with given second moments).

    Parameters
    ----------
    Phi : array_like, shape (N, p)
        Features of the rows at hand. They must not know the targets of these rows: of features that
        were learned from them the forecast is too good.
    y : array_like, shape (N,) or (N, targets)
        Targets.
    sample_weight : array_like, shape (N,), optional
        Weights, >= 0. They count as ``(sum w)^2 / sum w^2`` rows of equal weight.
    intercept : bool
        Whether ``b`` is fitted.
    loss : {"square", "logistic", "squared_hinge"} or Loss
        Only ridge regression has such a law of features of any distribution. Losses of the margin
        are for labels of two values, with an intercept and rows of equal weight, and features that
        are Gaussian given the class, of one covariance: the predictions of each row from the
        others are looked at for that, and others are refused. They minimise
        ``sum loss(y (b + Phi . a / sqrt p)) + (lam/2) |a|^2``.

    Returns
    -------
    FeatureCurve or ClassCurve
        With ``solve(n, lam)``; of a loss of the margin it gives error rates.

    Raises
    ------
    TypeError, ValueError
        If the arrays do not match or are not finite, there are fewer than five rows, the loss is
        another one, or the features are not what it needs.

    Notes
    -----
    Costs a Gram matrix and its eigenvectors, and a second pass over the rows for their exact
    leave-one-out errors, to which the formula is held. Sources: Schroeder et al., arXiv 2402.13999;
    Simon et al., arXiv 2311.14646.

    Examples
    --------
    >>> import numpy as np
    >>> from spikedrf import theory
    >>> rng = np.random.default_rng(0)
    >>> Phi = rng.standard_normal((400, 100)) / np.arange(1, 101)
    >>> y = Phi @ np.ones(100) + 0.1 * rng.standard_normal(400)
    >>> curve = theory.from_features(Phi, y)
    >>> curve.solve([100, 400, np.inf]).test_error.round(3)
    array([0.027, 0.013, 0.01 ])
    """
    from spikedrf.readout.leave_one_out import ridge_path

    its = resolve(loss)
    if not isinstance(its, Square) and not (its.margin and its.smooth):
        raise ValueError(
            f"loss must be 'square', 'logistic' or 'squared_hinge', got {loss!r}: what others do "
            f"depends on more of the features than their second moments, or has a kink; "
            f"theory.solve has them for Gaussian inputs"
        )
    F, Y = real_array("Phi", Phi), real_array("y", y)
    if F.ndim != 2 or 0 in F.shape:
        raise ValueError(f"Phi must have shape (N, p), got shape {F.shape}")
    single = Y.ndim == 1
    if Y.ndim not in (1, 2) or len(Y) != len(F):
        raise ValueError(f"y must have shape ({len(F)},) or ({len(F)}, targets), got {Y.shape}")
    flag("intercept", intercept)
    weight = np.ones(len(F))
    if sample_weight is not None:
        weight = real_array("sample_weight", sample_weight, minimum=0.0)
        if weight.shape != (len(F),):
            raise ValueError(f"sample_weight must have shape ({len(F)},), got {weight.shape}")
    used = weight > 0.0
    if used.sum() < 5:
        raise ValueError(
            f"Phi must have at least five rows of positive weight, got {int(used.sum())}"
        )
    if its.margin:
        if not intercept or sample_weight is not None:
            raise ValueError(
                f"loss={its.name!r} is forecast with an intercept and rows of equal weight: "
                f"intercept must be True and sample_weight None, got intercept={intercept}"
                + ("" if sample_weight is None else " and weights")
            )
        Y = signs(Y)
    rows = _Given(F[used], Y.reshape(len(Y), -1)[used], weight[used])
    variance = np.average((rows.Phi - rows.Phi.mean(axis=0)) ** 2, axis=0, weights=rows.weight)
    if not variance.max() > (1e-13 * np.abs(rows.Phi).max()) ** 2:
        raise ValueError("Phi must vary: every feature is constant over the rows")
    # From what is next to nothing of all eigenvalues to all of them together.
    lam = np.geomspace(1e-8, 10.0, 19) * max(float(variance.mean()) * rows.weight.sum(), 1e-300)
    path = ridge_path(rows, F.shape[1], lam, intercept=intercept)
    measures, variance, unit = measured(path, rows.weight, lam, intercept=intercept)
    if its.margin:
        best = int(np.argmin(path.mean_square()[:, 0]))
        residual = np.empty(len(rows))
        for part, left in path.leave_one_out():
            residual[part] = left[:, best, 0]
        require_gaussian(rows.y[:, 0] - residual, rows.y[:, 0])
        return ClassCurve(measures.read(), its, float(np.mean(rows.y > 0.0)))
    return FeatureCurve(
        measures.read(),
        variance,
        intercept=intercept,
        variance_sem=variance_sem(rows.y, rows.weight),
        ridge_unit=unit,
        single=single,
    )


def variance_sem(y: Floats, weight: Floats) -> Floats:
    """Return the relative standard errors of variances, shape (targets,), from fourth moments."""
    share = weight / weight.sum()
    away = y - share @ y
    square = (away / np.maximum(np.abs(away).max(axis=0), 1e-300)) ** 2
    variance = share @ square
    spread = np.sqrt(share**2 @ (square - variance) ** 2)
    return np.asarray(spread / np.where(variance > 0.0, variance, 1.0))


class Measures(NamedTuple):
    """What rows of features have shown: the arguments of `effective_ridge.read`."""

    spectrum: Spectrum
    left_out: LeftOut | None
    one: float

    def read(self) -> Reading:
        """Return it as `FeatureCurve` takes it."""
        return read(self.spectrum, self.left_out, one=self.one)


def measured(
    path: RidgePath, weight: Floats, lam: Floats, *, intercept: bool, left_out: bool = True
) -> tuple[Measures, Floats, float]:
    """Return what a path of ridges has measured of features.

    Parameters
    ----------
    path : RidgePath
    weight : ndarray, shape (N,)
        Weights of its rows, > 0.
    lam : ndarray, shape (ridges,)
        Its ridges.
    intercept : bool
    left_out : bool
        Whether the errors of the rows left out are read.

    Returns
    -------
    measures : Measures
    variance : ndarray, shape (targets,)
    unit : float
        Ridge in the units of ``lam`` that is one in those of rows of equal weight.
    """
    # Rows of weights w are as good as this many of equal weight, and their ridge is for the sum.
    rows = float(weight.sum() ** 2 / np.square(weight).sum())
    scale = rows / float(weight.sum())
    values, shares, square, features = path.moments()
    spectrum = Spectrum(
        rows - float(intercept), features, values * scale, shares * scale**2, square * scale
    )
    one = 1.0 + 1.0 / rows if intercept else 1.0
    errors = _errors(path, lam, scale) if left_out else None
    return Measures(spectrum, errors, one), spectrum.square / rows, 1.0 / scale


def _errors(path: RidgePath, lam: Floats, scale: float) -> LeftOut:
    error, sem = path.squares.mean(), path.squares.sem()
    keep = np.isfinite(error).all(axis=1) & (lam > 0.0)
    return LeftOut(lam[keep] * scale, error[keep], np.where(error > 0.0, sem, 0.0)[keep])


@dataclass(frozen=True, eq=False)
class _Given:
    """Rows in memory, as `ridge_path` takes them."""

    Phi: Floats
    y: Floats
    weight: Floats
    within: Floats | None = None

    def __len__(self) -> int:
        return len(self.y)

    def blocks(self) -> Iterator[Block]:
        from spikedrf.readout.leave_one_out import Block

        yield Block(slice(0, len(self)), self.Phi.copy(), self.y, self.weight)

    def take(self, index: Any) -> _Given:
        within = None if self.within is None else self.within[index]
        return _Given(self.Phi[index], self.y[index], self.weight[index], within)

    def sum(self, measure: Callable[[_Given], T]) -> T:
        return measure(self)

    def here(self) -> _Given:
        return self


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be >= 1, got {value}")
    return int(value)


def _positions(ridge: Floats, lam: Floats) -> Floats:
    """Return where on its grid each curve has a ridge: a fractional index.

    ``ridge`` has shape (1 or m, points) and increases wherever it is positive, ``lam`` shape (m,).
    Where it is nowhere positive there is only the last.
    """
    out = np.full(len(lam), ridge.shape[1] - 1.0)
    index = np.arange(ridge.shape[1], dtype=float)
    for i, value in enumerate(lam):
        row = ridge[min(i, len(ridge) - 1)]
        positive = (row > 0.0) & np.isfinite(row)
        if positive.any():
            out[i] = np.interp(np.log(value), np.log(row[positive]), index[positive])
    return out


def _between(values: Floats, at: Floats) -> Floats:
    """Return curves at fractional indices, shape (m, targets), by straight lines.

    ``values`` has shape (points, targets), the same for all, or (m, points, targets).
    """
    low = np.minimum(at.astype(np.int64), values.shape[-2] - 2)
    part = (at - low)[:, None]
    if values.ndim == 2:
        a, b = values[low], values[low + 1]
    else:
        rows = np.arange(len(at)) if len(values) > 1 else np.zeros(len(at), np.int64)
        a, b = values[rows, low], values[rows, low + 1]
    with np.errstate(invalid="ignore"):
        inside = np.where(part > 0.0, a + part * (b - a), a)
        return np.asarray(np.where(part < 1.0, inside, b))
