"""Losses of the readout: names, parameters, values and derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import _core
from spikedrf.parameters import number

__all__ = [
    "Absolute",
    "Hinge",
    "Huber",
    "Logistic",
    "Loss",
    "PseudoHuber",
    "Quantile",
    "Square",
    "SquaredHinge",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Loss:
    r"""A convex loss ``loss(y, h)`` of a label ``y`` and a prediction ``h``.

    The readout minimises ``sum_mu loss(y_mu, Phi_mu . a / sqrt p) + (lam/2) |a|^2``, so that the
    square loss ``(y - h)^2/2`` is ridge regression with penalty ``lam``. A subclass is one loss,
    its fields are the loss's parameters.

    Attributes
    ----------
    name : str
        The name that stands for the loss with its default parameters.
    margin : bool
        Whether the loss is one of the margin ``y h`` and takes labels +1 and -1 only; the others
        are functions of the residual ``y - h`` and take any.
    smooth : bool
        Whether the derivative is continuous.
    degree : int
        The power of a unit of the labels that the loss is measured in, see `rescaled`.
    slopes : tuple of float
        Of a loss that is not smooth, ``max(lo t, hi t)`` with ``t = y - h`` or ``t = 1 - y h``: the
        slopes ``lo <= 0 <= hi``.

    Notes
    -----
    Source: theory.md, section 11.
    """

    name: ClassVar[str]
    margin: ClassVar[bool] = False
    smooth: ClassVar[bool] = True
    degree: ClassVar[int] = 2

    def rescaled(self, unit: float) -> Loss:
        """Return the loss in another unit of the labels.

        ``loss(y, h) = unit**degree * loss.rescaled(unit)(y/unit, h/unit)``. Labels of a margin are
        signs and have no unit.

        Parameters
        ----------
        unit : float
            > 0; 1 for a loss of the margin.
        """
        return self

    @property
    def slopes(self) -> tuple[float, float]:
        """Slopes on the two sides of the kink, see above."""
        raise AttributeError(f"the loss {self.name!r} has no kink")

    @property
    def core(self) -> tuple[int, float]:
        """What the compiled solver takes: a code, and the parameter or 0."""
        (parameter,) = (*vars(self).values(), 0.0)[:1]
        if self.name not in _CODES:
            raise ValueError(
                f"the theory knows no loss {self.name!r}; it knows {', '.join(_CODES)}"
            )
        return _CODES[self.name], float(parameter)

    def value(self, y: ArrayLike, h: ArrayLike) -> Floats:
        """Return ``loss(y, h)``, elementwise.

        Parameters
        ----------
        y, h : array_like
            Labels and predictions, broadcast against each other.
        """
        return np.asarray(self._value(self._argument(y, h)))

    def derivative(self, y: ArrayLike, h: ArrayLike) -> Floats:
        """Return the derivative in ``h``, elementwise; at a kink one of its subgradients.

        Parameters
        ----------
        y, h : array_like
            Labels and predictions, broadcast against each other.
        """
        inner = np.asarray(y, dtype=np.float64) if self.margin else -1.0
        return np.asarray(inner * self._slope(self._argument(y, h)))

    def second_derivative(self, y: ArrayLike, h: ArrayLike) -> Floats:
        """Return the second derivative in ``h``, elementwise, 0 where there is none.

        Parameters
        ----------
        y, h : array_like
            Labels and predictions, broadcast against each other.
        """
        return np.asarray(self._curvature(self._argument(y, h)))  # of labels +-1 the square is 1

    def prox(self, y: ArrayLike, omega: ArrayLike, V: float) -> Floats:
        r"""Return the proximal map ``argmin_h loss(y, h) + (h - omega)^2/(2 V)``, elementwise.

        To machine precision: in closed form, or by Newton's method until nothing moves.

        Parameters
        ----------
        y, omega : array_like
            Labels and the points that ``h`` is pulled to, broadcast against each other.
        V : float
            How weakly, > 0.

        Raises
        ------
        TypeError, ValueError
            If ``V`` is no positive number.
        """
        width = number("V", V, minimum=0.0, exclusive=True)
        label, field = np.broadcast_arrays(
            np.asarray(y, dtype=np.float64), np.asarray(omega, dtype=np.float64)
        )
        # The core's losses are functions of y - h, or of 1 - y h = y (y - h).
        sign = label if self.margin else np.ones_like(label)
        x = sign * (label - field)
        t = _core.loss_prox(*self.core, width, np.ascontiguousarray(x).ravel())
        return np.asarray(label - sign * t.reshape(x.shape))

    def _argument(self, y: ArrayLike, h: ArrayLike) -> Floats:
        """Return what the loss is a function of: the margin or the residual."""
        label, prediction = np.asarray(y, dtype=np.float64), np.asarray(h, dtype=np.float64)
        return np.asarray(label * prediction if self.margin else label - prediction)

    # As functions of the margin or the residual.
    def _value(self, t: Floats) -> Any:
        raise NotImplementedError

    def _slope(self, t: Floats) -> Any:
        raise NotImplementedError

    def _curvature(self, t: Floats) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class Square(Loss):
    """``(y - h)^2 / 2``: ridge regression."""

    name = "square"

    def _value(self, t: Floats) -> Any:
        return 0.5 * t * t

    def _slope(self, t: Floats) -> Any:
        return t

    def _curvature(self, t: Floats) -> Any:
        return np.ones_like(t)


@dataclass(frozen=True)
class Huber(Loss):
    """``(y - h)^2 / 2`` up to ``|y - h| = delta``, from there ``delta (|y - h| - delta/2)``.

    Parameters
    ----------
    delta : float
        Where the square ends, > 0. ``delta -> inf`` is the square loss.

    Raises
    ------
    TypeError, ValueError
        If ``delta`` is no positive number.
    """

    delta: float = 1.0
    name = "huber"

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", number("delta", self.delta, minimum=0.0, exclusive=True))

    def rescaled(self, unit: float) -> Huber:
        """Return the loss in another unit of the labels, see `Loss.rescaled`."""
        return Huber(self.delta / unit)

    def _value(self, t: Floats) -> Any:
        inner = np.minimum(np.abs(t), self.delta)
        return inner * (np.abs(t) - 0.5 * inner)

    def _slope(self, t: Floats) -> Any:
        return np.clip(t, -self.delta, self.delta)

    def _curvature(self, t: Floats) -> Any:
        return np.where(np.abs(t) <= self.delta, 1.0, 0.0)


@dataclass(frozen=True)
class PseudoHuber(Loss):
    """``delta^2 (sqrt(1 + (y - h)^2/delta^2) - 1)``: a smooth Huber loss.

    Parameters
    ----------
    delta : float
        Where the square ends, > 0. ``delta -> inf`` is the square loss.

    Raises
    ------
    TypeError, ValueError
        If ``delta`` is no positive number.
    """

    delta: float = 1.0
    name = "pseudo_huber"

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", number("delta", self.delta, minimum=0.0, exclusive=True))

    def rescaled(self, unit: float) -> PseudoHuber:
        """Return the loss in another unit of the labels, see `Loss.rescaled`."""
        return PseudoHuber(self.delta / unit)

    def _value(self, t: Floats) -> Any:
        # sqrt(1 + x^2) - 1 = x^2 / (1 + sqrt(1 + x^2)): nothing cancels
        return t * (t / (1.0 + np.hypot(1.0, t / self.delta)))

    def _slope(self, t: Floats) -> Any:
        return t / np.hypot(1.0, t / self.delta)

    def _curvature(self, t: Floats) -> Any:
        return np.hypot(1.0, t / self.delta) ** -3.0


@dataclass(frozen=True)
class Absolute(Loss):
    """``|y - h|``: least absolute deviations; twice the quantile loss of level 1/2."""

    name = "absolute"
    degree = 1
    smooth = False
    slopes = (-1.0, 1.0)

    def _value(self, t: Floats) -> Any:
        return np.abs(t)

    def _slope(self, t: Floats) -> Any:
        return np.sign(t)

    def _curvature(self, t: Floats) -> Any:
        return np.zeros_like(t)


@dataclass(frozen=True)
class Quantile(Loss):
    """``level (y - h)`` for ``y >= h`` and ``(1 - level) (h - y)`` otherwise: the pinball loss.

    Parameters
    ----------
    level : float
        The quantile that is fitted, > 0 and < 1. 0.5 is the median.

    Raises
    ------
    TypeError, ValueError
        If ``level`` is not between 0 and 1.
    """

    level: float = 0.5
    name = "quantile"
    degree = 1
    smooth = False

    def __post_init__(self) -> None:
        level = number("level", self.level, minimum=0.0, exclusive=True)
        if level >= 1.0:
            raise ValueError(f"level must be > 0 and < 1, got {level!r}")
        object.__setattr__(self, "level", level)

    @property
    def slopes(self) -> tuple[float, float]:
        """Slopes on the two sides of the kink."""
        return self.level - 1.0, self.level

    def _value(self, t: Floats) -> Any:
        return np.maximum(self.level * t, (self.level - 1.0) * t)

    def _slope(self, t: Floats) -> Any:
        return np.where(t > 0, self.level, np.where(t < 0, self.level - 1.0, 0.0))

    def _curvature(self, t: Floats) -> Any:
        return np.zeros_like(t)


@dataclass(frozen=True)
class Logistic(Loss):
    """``log(1 + exp(-y h))``: logistic regression, ``P(y = 1) = 1/(1 + exp(-h))``."""

    name = "logistic"
    margin = True

    def _value(self, t: Floats) -> Any:
        return np.logaddexp(0.0, -t)

    def _slope(self, t: Floats) -> Any:
        return -np.exp(-np.logaddexp(0.0, t))

    def _curvature(self, t: Floats) -> Any:
        return np.exp(-np.logaddexp(0.0, t) - np.logaddexp(0.0, -t))


@dataclass(frozen=True)
class Hinge(Loss):
    """``max(0, 1 - y h)``: the support vector machine."""

    name = "hinge"
    margin = True
    smooth = False
    slopes = (0.0, 1.0)

    def _value(self, t: Floats) -> Any:
        return np.maximum(0.0, 1.0 - t)

    def _slope(self, t: Floats) -> Any:
        return np.where(t < 1.0, -1.0, 0.0)

    def _curvature(self, t: Floats) -> Any:
        return np.zeros_like(t)


@dataclass(frozen=True)
class SquaredHinge(Loss):
    """``max(0, 1 - y h)^2``, without a factor 1/2: the support vector machine's smooth sister."""

    name = "squared_hinge"
    margin = True

    def _value(self, t: Floats) -> Any:
        return np.maximum(0.0, 1.0 - t) ** 2

    def _slope(self, t: Floats) -> Any:
        return -2.0 * np.maximum(0.0, 1.0 - t)

    def _curvature(self, t: Floats) -> Any:
        return np.where(t <= 1.0, 2.0, 0.0)


_NAMED: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (
        Square, Huber, PseudoHuber, Absolute, Quantile, Logistic, Hinge, SquaredHinge
    )
}  # fmt: skip

#: Names accepted wherever a loss is asked for.
NAMES: tuple[str, ...] = tuple(_NAMED)

#: What labels may be: ``y = g + noise N(0, 1)`` itself, or its sign.
LABELS = ("real", "sign")

_CODES = {entry["name"]: code for code, entry in enumerate(_core.losses())}

LossLike = str | Loss


def resolve(loss: LossLike, argument: str = "loss") -> Loss:
    """Turn a name or a `Loss` into a `Loss`.

    Parameters
    ----------
    loss : str or Loss
        A name stands for the loss with its default parameters.
    argument : str
        The argument's name, for the message.

    Raises
    ------
    ValueError
        If the name is unknown; the message lists the known ones.
    TypeError
        If it is neither a name nor a `Loss`.

    Examples
    --------
    >>> from spikedrf import losses
    >>> losses.resolve("huber")
    Huber(delta=1.0)
    >>> losses.resolve(losses.Quantile(level=0.9))
    Quantile(level=0.9)
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(f"{argument} must be a name or a spikedrf.losses.Loss, got {loss!r}")
    if loss not in _NAMED:
        raise ValueError(
            f"{argument} must be a spikedrf.losses.Loss or one of {', '.join(NAMES)}; got {loss!r}"
        )
    return _NAMED[loss]()


def check_labels(labels: str, loss: Loss, of_classes: Floats | None = None) -> str:
    """Return what labels are: with a loss of the margin, +1 and -1 by class are signs.

    Raises
    ------
    ValueError
        Unless these are labels, and the loss can take them.
    """
    if labels not in LABELS:
        raise ValueError(f"labels must be one of {', '.join(LABELS)}; got {labels!r}")
    if loss.margin and of_classes is not None and np.all(np.abs(of_classes) == 1.0):
        return "sign"
    if loss.margin and labels != "sign":
        raise ValueError(
            f"loss {loss.name!r} is one of the margin y h and takes labels +1 and -1: it needs "
            f"labels='sign', or a Mixture with labels +1 and -1 by class"
        )
    return labels
