r"""The learning curve of a classifier on given features, Gaussian given the class.

For two classes whose features are Gaussian with one covariance ``S`` and means ``+-mu`` about their
middle, the readout that minimises ``sum loss(y (b + <f, a>)) + (lam/2) |a|^2`` on ``n`` rows has
predictions that are Gaussian given the class, ``N(b + y m, q)``, with (theory.md, section 11, for
these features)

    m = (m^/V^) M1,   q = (m^/V^)^2 M2 + (q^/V^^2) D2,   V = D1/V^,   lam = kappa V^,
    V^ = n E[1 - prox']/V,   m^ = n E[y g],   q^ = n E[g^2],   0 = E[g],   g = (prox - w)/V,

``w ~ N(b + y m, q)`` and ``prox`` that of the loss of width ``V``. The features enter by four
functions of ``kappa`` alone:

    D1 = Tr S (S + kappa)^{-1},           D2 = Tr S^2 (S + kappa)^{-2},
    M1 = mu^T (S + kappa)^{-1} mu,        M2 = mu^T S (S + kappa)^{-2} mu,

and these are what ridge regression of the labels shows (`spikedrf.theory.effective_ridge`): with
``v`` the variance of the labels, ``M1 = 1/A - 1/v`` and ``M2 = E/A^2 - 1/v``.

Source: Mignacco et al., ICML 2020, arXiv 2002.11544; Loureiro et al., NeurIPS 2021,
arXiv 2106.03791.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spikedrf.losses import Loss
from spikedrf.parameters import Floats, number, real_array
from spikedrf.theory.continuation import continued, integrated
from spikedrf.theory.effective_ridge import Reading

#: Nodes of an average over predictions, to so many standard deviations (the trapezoidal rule), and
#: effective ridges between which the answer is interpolated.
_NODES, _REACH, _RIDGES = 241, 8.0, 32
#: Iterations from the last solution before Newton's method, and how close they must come.
_ITERATIONS, _CLOSE = 400, 1e-3
#: Errors that differ by less than this part are the same.
_TIE = 1e-4
#: Doubt about the logarithm of the error of ridge regression, for the law itself.
_OF_LAW = 0.05
#: Kolmogorov distance of predictions from a normal distribution that is let pass beside chance, and
#: the ratio of their standard deviations in the two classes.
_FAR, _CHANCE, _UNEQUAL = 0.03, 0.9, 1.25


@dataclass(frozen=True, eq=False, repr=False)
class ClassForecast:
    """Errors of a classifier on given features, for numbers of rows that were not there.

    Attributes
    ----------
    n : float or ndarray, shape S
        Numbers of rows.
    lam : float or ndarray, shape S
        Ridge: that of the lowest error rate, or the one asked for.
    error_rate : float or ndarray, shape S
        Probability that the sign of the prediction is wrong on new rows.
    lower, upper : float or ndarray, shape S
        Range that holds it with probability ``level``.
    test_loss : float or ndarray, shape S
        Mean loss on new rows.
    degrees_of_freedom : float or ndarray, shape S
        ``D1``.
    level : float
        Probability of the range.
    n_components : int
        Number of features.
    rows : float
        Rows that the forecast was made from.
    """

    n: Any
    lam: Any
    error_rate: Any
    lower: Any
    upper: Any
    test_loss: Any
    degrees_of_freedom: Any
    level: float
    n_components: int
    rows: float

    def __repr__(self) -> str:
        if np.ndim(self.n):
            return f"ClassForecast(shape={np.shape(self.n)}, from {self.rows:g} rows)"
        return (
            f"ClassForecast(n={self.n:g}, error_rate={self.error_rate:.4g} ({self.lower:.4g} to "
            f"{self.upper:.4g}), from {self.rows:g} rows, {self.n_components} features)"
        )


class _Averages(NamedTuple):
    """``D1, D2, M1, M2`` at some effective ridges."""

    D1: Floats
    D2: Floats
    M1: Floats
    M2: Floats


class ClassCurve:
    """What a classifier on given features does with any number of rows.

    Made by `from_features` with a loss of the margin.

    Attributes
    ----------
    rows : float
        Rows that were measured.
    n_components : int
        Number of features.
    """

    def __init__(self, reading: Reading, loss: Loss, share: float) -> None:
        self._loss, self._share = loss, share
        self.rows, self.n_components = reading.rows + 1.0, reading.features
        curve = continued(reading, reading.features)
        keep = np.linspace(0, len(curve.log_kappa) - 1, min(6 * _RIDGES, len(curve.log_kappa)))
        self._x = curve.log_kappa
        self._curve = curve
        self._some = np.unique(keep.astype(np.int64))
        self._node = np.linspace(-_REACH, _REACH, _NODES)
        weight = np.exp(-0.5 * self._node**2)
        self._weight = weight / weight.sum()

    def __repr__(self) -> str:
        return f"ClassCurve({self.rows:g} rows, {self.n_components} features, {self._loss.name})"

    def solve(
        self, n: ArrayLike, lam: ArrayLike | None = None, *, level: float = 0.9
    ) -> ClassForecast:
        """Forecast the errors of fits to other numbers of rows.

        Parameters
        ----------
        n : float or array_like
            Numbers of rows, > 0 and finite.
        lam : float or array_like, optional
            Ridge, > 0, broadcast with ``n``. By default that of the lowest error rate at each
            ``n``.
        level : float
            Probability of the range, between 0 and 1.

        Returns
        -------
        ClassForecast

        Raises
        ------
        TypeError, ValueError
            If an argument is out of range; the message names it.
        """
        from scipy.special import ndtri

        level = number("level", level, minimum=0.0, maximum=1.0, exclusive=True)
        if level == 1.0:
            raise ValueError("level must be < 1, got 1.0: no range is certain")
        n = real_array("n", n, minimum=0.0, exclusive=True)
        if lam is not None:
            lam = real_array("lam", lam, minimum=0.0, exclusive=True)
            n, lam = np.broadcast_arrays(n, lam)
        z = float(ndtri(0.5 * (1.0 + level)))
        out = np.empty((6, n.size))
        for i, rows in enumerate(n.ravel()):
            given = None if lam is None else float(np.ravel(lam)[i])
            middle = self._at(float(rows), given, 0.0)
            ends = [self._at(float(rows), middle[0], side * z)[1] for side in (-1.0, 1.0)]
            out[:, i] = (*middle[:2], min(*ends, middle[1]), max(*ends, middle[1]), *middle[2:])
        shaped: list[Any] = [float(v[0]) if n.ndim == 0 else v.reshape(n.shape) for v in out]
        ridge, rate, lower, upper, test_loss, degrees = shaped
        return ClassForecast(
            n=float(n) if n.ndim == 0 else n,
            lam=ridge,
            error_rate=rate,
            lower=lower,
            upper=upper,
            test_loss=test_loss,
            degrees_of_freedom=degrees,
            level=level,
            n_components=self.n_components,
            rows=self.rows,
        )

    def _averages(self, away: float) -> _Averages:
        """Return what the features enter by, errors so many standard deviations off."""
        curve, v = self._curve, 4.0 * self._share * (1.0 - self._share)
        spread = np.hypot(np.where(away < 0.0, curve.below, curve.above)[:, 0], _OF_LAW)
        # Nothing explains less than nothing: errors stay below the labels' variance.
        read = curve.log_error[:, 0] + curve.excess[:, 0]
        E = np.minimum(np.exp(read + away * spread), v * (1.0 - 1e-9))
        A = np.minimum(integrated(self._x, E[:, None])[:, 0], v * (1.0 - 1e-9))
        A = np.maximum(A, E)
        M1, M2 = 1.0 / A - 1.0 / v, np.maximum(E / A**2 - 1.0 / v, 1e-12)
        # The covariance of all rows has the means in it, that of a class has not.
        D1 = curve.D1 - v * np.maximum(M1 - M2, 0.0) / (1.0 + v * M1)
        return _Averages(np.maximum(D1, 1e-9), np.maximum(curve.D2, 1e-12), M1, M2)

    def _at(self, n: float, lam: float | None, away: float) -> tuple[float, float, float, float]:
        """Return ridge, error rate, loss and degrees of freedom: of a ridge or the best one."""
        features = self._averages(away)
        possible = self._some[features.D1[self._some] < 0.98 * n]
        possible = possible[features.M1[possible] > 1e-9]
        found: list[tuple[float, ...]] = []
        state = None
        # From strong ridges, where the answer is known, down.
        for i in possible[::-1][:: max(1, len(possible) // _RIDGES)]:
            state, row = self._fixed_point(n, _Averages(*(f[i] for f in features)), state)
            if state is None:
                continue
            found.append((np.log(state[0]) + self._x[i], *row, float(features.D1[i])))
        if not found:
            least = min(self._share, 1.0 - self._share)
            flat = float(np.mean(self._loss.value(np.array([1.0]), np.array([0.0]))))
            return (np.inf if lam is None else lam), least, flat, 0.0
        order = np.argsort([each[0] for each in found])
        log_lam, rate, loss, D1 = np.array(found).T[:, order]
        if lam is None:
            at = log_lam[np.flatnonzero(rate <= rate.min() * (1.0 + _TIE))[-1]]
        else:
            at = np.log(lam)
        value = [float(np.interp(at, log_lam, each)) for each in (rate, loss, D1)]
        return float(np.exp(at)), value[0], value[1], value[2]

    def _fixed_point(
        self, n: float, features: _Averages, start: Floats | None
    ) -> tuple[Floats | None, tuple[float, float]]:
        """Solve the equations at one effective ridge; from the last solution, if there is one.

        Returns ``(V^, log V, m, log q, b)``, or None if they do not settle, error rate and loss.
        """
        from scipy.optimize import root

        share = self._share
        y = np.array([1.0, -1.0])[:, None]
        weight = np.array([share, 1.0 - share])[:, None] * self._weight
        D1, D2, M1, M2 = features

        def step(state: Floats) -> tuple[Floats, Floats, float]:
            """Return what is left of the equations, the next state, and ``V^``."""
            # Strides that are too far come back.
            V, q = np.exp(np.clip(np.nan_to_num(state[[0, 2]]), -60.0, 60.0))
            m, b = np.clip(np.nan_to_num(state[[1, 3]]), -1e12, 1e12)
            w = b + y * m + np.sqrt(q) * self._node
            g = (self._loss.prox(np.broadcast_to(y, w.shape), w, float(V)) - w) / V
            # E[g'] by parts, of a prediction w = mean + sqrt(q) zeta.
            flat = np.maximum(-np.sum(weight * g * self._node) / np.sqrt(q), 1e-30)
            V_hat, mean = n * flat, np.sum(weight * g)
            ratio = n * np.sum(weight * y * g) / V_hat
            new_q = ratio**2 * M2 + n * np.sum(weight * g * g) / V_hat**2 * D2
            new = np.array([np.log(D1 / V_hat), ratio * M1, np.log(new_q), b + mean / flat])
            size = np.sqrt(q + m * m + b * b)
            scale = np.array([1.0, 1.0 / size, 1.0, 1.0 / size])
            return np.nan_to_num((new - state) * scale, nan=1e3), new, float(V_hat)

        state = np.array([0.0, 0.1 * M1, np.log(0.01 * M2 + 1e-3), 2.0 * share - 1.0])
        if start is not None:
            state = start[1:]
        with np.errstate(all="ignore"):
            for _ in range(_ITERATIONS):
                left, new, _ = step(state)
                if np.abs(left).max() < _CLOSE:
                    break
                state = state + 0.6 * np.clip(new - state, -2.0, 2.0)
            solution = root(lambda s: step(s)[0], state, method="hybr", tol=1e-11)
        left, state, V_hat = step(solution.x)
        if not np.abs(left).max() < 1e-6:
            return None, (np.nan, np.nan)
        m, q, b = state[1], float(np.exp(state[2])), state[3]
        return np.array([V_hat, *state]), self._errors(m, q, b)

    def _errors(self, m: float, q: float, b: float) -> tuple[float, float]:
        """Return error rate and mean loss of predictions ``N(b + y m, q)``."""
        from scipy.special import ndtr

        share, root_q = self._share, np.sqrt(q)
        rate = share * ndtr(-(m + b) / root_q) + (1.0 - share) * ndtr(-(m - b) / root_q)
        loss = 0.0
        for y, part in ((1.0, share), (-1.0, 1.0 - share)):
            h = b + y * m + root_q * self._node
            loss += part * float(self._weight @ self._loss.value(np.full_like(h, y), h))
        return float(rate), loss


def signs(y: Floats) -> Floats:
    """Return labels as -1 and +1.

    Parameters
    ----------
    y : ndarray, shape (N,)
        Of two values.

    Raises
    ------
    ValueError
        If there are not two.
    """
    values = np.unique(y)
    if y.ndim != 1 or len(values) != 2:
        raise ValueError(
            f"y must have shape (N,) and two values for a loss of the margin, got shape {y.shape} "
            f"with {len(values)} values: more classes are more than one readout"
        )
    return np.where(y == values[1], 1.0, -1.0)


def require_gaussian(prediction: Floats, y: Floats) -> None:
    """Refuse features that are not Gaussian, of one covariance, as far as predictions see it.

    Parameters
    ----------
    prediction : ndarray, shape (N,)
        Of ridge regression of the labels, each from the other rows.
    y : ndarray, shape (N,)
        Labels -1 and +1.

    Raises
    ------
    ValueError
        If predictions of a class are far from Gaussian, or those of the two differ in width.
    """
    from scipy.special import ndtr

    widths = []
    for label in (-1.0, 1.0):
        ours = np.sort(prediction[y == label])
        count = len(ours)
        widths.append(max(float(ours.std()), 1e-300))
        value, steps = ndtr((ours - ours.mean()) / widths[-1]), np.arange(count + 1) / count
        distance = float(np.maximum(value - steps[:-1], steps[1:] - value).max())
        if distance > _FAR + _CHANCE / np.sqrt(count):
            raise ValueError(
                f"Phi is not Gaussian given the class: predictions of the rows labelled {label:+g} "
                f"are {distance:.3f} from a normal distribution (Kolmogorov distance; chance alone "
                f"gives {_CHANCE / np.sqrt(count):.3f}), and the curve of this loss follows from "
                f"second moments only if they are; loss='square' has no such condition"
            )
    ratio = max(widths) / min(widths)
    if ratio > _UNEQUAL + 1.0 / np.sqrt(min((y > 0).sum(), (y < 0).sum())):
        raise ValueError(
            f"Phi must have the same covariance in both classes: predictions are {ratio:.2f} times "
            f"wider in one of them, and the curve of this loss is known for one covariance; "
            f"loss='square' has no such condition"
        )
