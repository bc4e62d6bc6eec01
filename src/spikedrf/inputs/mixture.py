"""Classes of inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.inputs.covariance import Covariance
from spikedrf.multi_index import checked_labels
from spikedrf.parameters import real_array

Floats = NDArray[np.float64]

#: So many classes there may be, and so many directions of their means.
MOST_CLASSES, MOST_LATENTS = 10, 10


@dataclass(frozen=True, eq=False, repr=False)
class Mixture:
    r"""Inputs of several classes, ``x = mean_class + N(0, I_d)``.

    The means lie in a few directions: their first coordinates are along the target's directions
    ``theta_1 .. theta_M``, further ones along directions orthogonal to these. With a covariance,
    ``x = Omega^{1/2} (mean_class + N(0, I_d))``, so the coordinates are in standard deviations.

    Parameters
    ----------
    means : array_like, shape (C, M') or (C,)
        Mean of each of the C <= 10 classes. One axis is a single direction.
    proportions : array_like, shape (C,), optional
        How often the classes come, >= 0, summing to one; equal by default. A class of proportion
        zero does not exist.
    labels : array_like, shape (C,), or callable, optional
        ``y``: a number for each class, or a function ``labels(s, k)`` of the latents, shape
        (..., M'), and the class, integers from 0 of shape (...), that returns shape (...). By
        default ``y`` is the target's. ``noise`` is added in any case.
    covariance : Covariance, optional
        Of the inputs around their means.
    weights : array_like, shape (C,), optional
        Weight of each class's samples in the loss of the readout, > 0; one by default.

    Raises
    ------
    TypeError, ValueError
        If an array is of the wrong kind or shape or out of range, or proportions do not sum to one;
        if there are more than 10 classes, or 10 directions.

    Notes
    -----
    Source: theory.md, section 12. The gradient step has no weights: it is that of the squared loss.

    Examples
    --------
    >>> from spikedrf import Mixture
    >>> Mixture([[1.0, 0.6], [-1.0, -0.6]], labels=[1, -1])
    Mixture(2 classes in 2 directions, labels by class)
    """

    means: Any
    proportions: Any = field(default=None, kw_only=True)
    labels: Any = field(default=None, kw_only=True)
    covariance: Covariance | None = field(default=None, kw_only=True)
    weights: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        means = real_array("means", self.means)
        means = means[:, None] if means.ndim == 1 else means
        if means.ndim != 2 or not means.size:
            raise ValueError(
                f"means must have shape (C, M'), a row for each class, got shape {means.shape}"
            )
        classes, latents = means.shape
        if classes > MOST_CLASSES:
            raise ValueError(
                f"means has {classes} classes, at most {MOST_CLASSES} are allowed: merge classes "
                f"that have nearly the same mean, or simulate"
            )
        if latents > MOST_LATENTS:
            raise ValueError(
                f"means has {latents} directions, at most {MOST_LATENTS} are allowed: {classes} "
                f"means span no more than {classes} of them, turn the coordinates"
            )
        proportions = self._row("proportions", self.proportions, classes, minimum=0.0)
        if self.proportions is None:
            proportions = np.full(classes, 1.0 / classes)
        elif abs(proportions.sum() - 1.0) > 1e-8:
            raise ValueError(
                f"proportions must sum to one over the classes, got a sum of "
                f"{float(proportions.sum())!r}"
            )
        weights = self._row("weights", self.weights, classes, minimum=0.0, exclusive=True)
        labels = self.labels
        if labels is not None and not callable(labels):
            labels = self._row("labels", labels, classes)
        if self.covariance is not None and not isinstance(self.covariance, Covariance):
            raise TypeError(f"covariance must be a Covariance or None, got {self.covariance!r}")
        for name, value in (
            ("means", means),
            ("proportions", proportions),
            ("labels", labels),
            ("weights", weights),
        ):
            object.__setattr__(self, name, value)
        if callable(labels):
            probe = np.random.default_rng(0).standard_normal((5, 2, latents))
            self.label(probe, np.zeros((5, 2), dtype=np.int64))

    @staticmethod
    def _row(name: str, value: Any, classes: int, **allowed: Any) -> Floats:
        if value is None:
            return np.ones(classes)
        row = real_array(name, value, **allowed)
        if row.shape != (classes,):
            raise ValueError(
                f"{name} must have shape ({classes},), one for each class, got shape {row.shape}"
            )
        return row

    @property
    def by_class(self) -> bool:
        """Whether the label is a number for each class."""
        return self.labels is not None and not callable(self.labels)

    @property
    def numbers(self) -> Floats | None:
        """The label of each class, where it is one."""
        return np.asarray(self.labels) if self.by_class else None

    def label(self, s: Floats, k: NDArray[np.int64]) -> Floats:
        """Return the labels of latents (..., M') of classes (...), for a callable ``labels``.

        Raises
        ------
        TypeError, ValueError
            If the callable does not return real, finite numbers of shape (...).
        """
        assert callable(self.labels)
        name = getattr(self.labels, "__name__", type(self.labels).__name__)
        return checked_labels(self.labels(s, k), s, f"labels={name!r}")

    def __repr__(self) -> str:
        classes, latents = self.means.shape
        words = f"{classes} class{'es' if classes > 1 else ''} in {latents} direction"
        words += "s" if latents > 1 else ""
        if self.by_class:
            words += ", labels by class"
        elif self.labels is not None:
            words += ", labels by a function"
        if self.covariance is not None:
            words += f", {self.covariance!r}"
        return f"Mixture({words})"
