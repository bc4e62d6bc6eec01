"""A ridge regression that grows by rows: sums that are added to, and merged."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from spikedrf.activations import resolve
from spikedrf.estimators.layer import InitialLayer
from spikedrf.estimators.network import ChosenLayer, NetworkMixin
from spikedrf.estimators.rows import Rows, Units
from spikedrf.losses import Square
from spikedrf.parameters import Floats
from spikedrf.readout.ridge import RidgeStatistics

#: The sums over rows, each an attribute ``statistics_NAME_``.
STATISTICS = ("n", "upper", "moment", "square", "mean", "mean_y")


def is_square(model: Any) -> bool:
    """Whether the readout is ridge regression."""
    return bool(model.loss == "square" or isinstance(model.loss, Square))


def _same_bounds(one: Any, other: Any) -> bool:
    """Whether inputs are clipped at the same bounds; None is none."""
    if one is None or other is None:
        return one is other
    return bool(np.array_equal(one, other))


def _sums_squares(model: Any) -> bool:
    """Say why a readout under another loss cannot be added to."""
    if not is_square(model):
        raise AttributeError(
            f"partial_fit and merge add up Gram matrices, which are all that the square loss "
            f"needs; loss={model.loss!r} needs all rows at once: use fit"
        )
    return True


class StreamMixin(NetworkMixin):
    """What adds rows to a readout under the square loss.

    Its first layer and ridge are those of the first rows, by ``_fit_ridge_layer``.
    """

    activation: Any
    update: str
    layer_: Any
    readout_: Any
    readout_coef_: Any
    alpha_: Any

    def _fit_ridge_layer(self, rows: Rows, units: Units) -> tuple[ChosenLayer, Floats]:
        """Choose and take the step; return it and the ridge of each target, in units."""
        raise NotImplementedError

    @available_if(_sums_squares)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        """Add rows to the readout; the first call makes the first layer.

        The first call does what `fit` does: it draws the weights, chooses step and ridge and takes
        the step on its rows, so it should have enough of them. It and all others add to the sums
        of which the readout is made, so the result is that of the ridge regression on all rows;
        memory is O(p^2). The ridge stays: its best value does not depend on the number of rows as
        long as the noise does not.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        SpikedRFRegressor
            Itself.

        Warns
        -----
        UserWarning
            If the estimator was made by `fit`, which keeps no sums to add to: the first layer and
            the ridge stay, the readout begins anew.
        """
        begins = not hasattr(self, "readout_coef_")
        if not begins and not hasattr(self, "statistics_n_"):
            warnings.warn(
                "fit keeps no sums to add rows to: its first layer and ridge stay, the readout "
                "begins anew with these rows; begin with partial_fit to keep all",
                UserWarning,
                stacklevel=2,
            )
        rows = self._rows_of_stream(X, y, sample_weight, reset=begins)
        targets = rows.y.shape[1]
        if begins:
            units = rows.units
            first, alpha = self._fit_ridge_layer(rows, units)
            layer, alpha = first.stepped.layer, alpha * units.weight
            rows = rows.scaled(self._scaling)
            if first.stepped.step is not None:
                rows = self._split(rows, first.salt)[1]
            statistics = self._statistics(targets)
        else:
            # Only its activation is used again: the weights are what they are.
            activation = resolve(self.activation, "activation")
            layer = InitialLayer(
                self.layer_, self.readout_, np.empty(0, np.int64), activation, self.update
            )
            statistics, alpha = self._statistics(targets), np.broadcast_to(self.alpha_, targets)
        for _, phi, label, weight in layer.feature_blocks(rows, self.layer_):
            ones = bool((weight == 1.0).all())
            statistics.update(phi, label, None if ones else weight, overwrite=True)
        self._refit(statistics, alpha)
        return self

    @available_if(_sums_squares)
    def without_rows(self) -> Any:
        """Return a copy with this first layer and ridge that has seen no rows.

        For `partial_fit` on rows elsewhere, and `merge`; it predicts as this one until it gets
        rows.

        Returns
        -------
        SpikedRFRegressor

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If there is no first layer yet.

        Examples
        --------
        >>> import numpy as np
        >>> from spikedrf import SpikedRFRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.standard_normal((3000, 5))
        >>> y = np.sin(2.0 * X[:, 0])
        >>> model = SpikedRFRegressor(50, random_state=0).partial_fit(X[:2000], y[:2000])
        >>> other = model.without_rows().partial_fit(X[2000:], y[2000:])
        >>> model.merge(other).statistics_n_
        3000.0
        """
        check_is_fitted(self, "readout_coef_")
        other = copy.deepcopy(self)
        other.__dict__.pop("forecast_statistics_", None)
        targets = np.atleast_2d(self.readout_coef_).shape[0]
        nothing = RidgeStatistics(
            len(self.layer_), targets=targets, intercept=bool(self.fit_intercept)
        )
        for name in STATISTICS:
            setattr(other, f"statistics_{name}_", getattr(nothing, name))
        return other

    @available_if(_sums_squares)
    def merge(self, other: StreamMixin) -> Any:
        """Add the rows that another estimator with the same first layer has seen.

        Both must have been made by `partial_fit`, the other one from `without_rows` of this one or
        of its copy. (Or with ``W0`` the weights of this one and, as last column, its offsets, and
        ``step_size=0``: that is for layers of one step or none, as those of several clip their
        inputs, and can be merged only if their ``bounds_`` are the same.)

        Parameters
        ----------
        other : SpikedRFRegressor
            It is not changed.

        Returns
        -------
        SpikedRFRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            If there is nothing to merge, or the first layers differ.
        """
        if not isinstance(other, StreamMixin):
            raise TypeError(f"cannot merge {type(other).__name__} into {type(self).__name__}")
        for model in (self, other):
            if not hasattr(model, "statistics_n_"):
                raise ValueError("merge needs two estimators that were made by partial_fit")
        close = 100.0 * float(np.finfo(self.layer_.dtype).eps)
        same = (
            self.layer_.shape[0] == other.layer_.shape[0]
            and self.n_features_in_ == other.n_features_in_
            and np.allclose(self.weights_, other.weights_, rtol=close, atol=0.0)
            and np.allclose(self.offsets_, other.offsets_, rtol=close, atol=close)
            and self.activation == other.activation
            and self.readout_coef_.shape == other.readout_coef_.shape
            and self.fit_intercept == other.fit_intercept
            and _same_bounds(self.bounds_, other.bounds_)
        )
        if not same:
            raise ValueError(
                "cannot merge estimators whose first layers, bounds of the inputs, targets or "
                "intercepts differ: without_rows() makes one that fits"
            )
        targets = np.atleast_2d(self.readout_coef_).shape[0]
        statistics = self._statistics(targets)
        statistics.merge(other._statistics(targets))
        self._refit(statistics, np.broadcast_to(self.alpha_, targets))
        return self

    def _refit(self, statistics: RidgeStatistics, alpha: Floats) -> None:
        for name in STATISTICS:
            setattr(self, f"statistics_{name}_", getattr(statistics, name))
        self.__dict__.pop("forecast_statistics_", None)
        self.metric_ = None  # of rows that are gone
        coef = np.empty((statistics.p, len(alpha)))
        intercept = np.empty(len(alpha))
        for value in np.unique(alpha):
            ours = alpha == value
            a = statistics.solve(float(value))
            coef[:, ours] = a[:, ours] / np.sqrt(statistics.p)
            intercept[ours] = statistics.offset(a)[ours]
        self._store_readout(coef, intercept)

    def _statistics(self, targets: int) -> RidgeStatistics:
        statistics = RidgeStatistics(
            len(self.layer_), targets=targets, intercept=bool(self.fit_intercept)
        )
        if hasattr(self, "statistics_n_"):
            for name in STATISTICS:
                # Added to in place, which may not be allowed, and a copy may share them.
                value = np.array(getattr(self, f"statistics_{name}_"), order="K")
                setattr(statistics, name, value if value.ndim else float(value))
        return statistics
