"""What the estimators share: the first layer's parameters, its checks, transform, persistence."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    _check_y,
    check_is_fitted,
    validate_data,
)

from spikedrf.activations import FunctionLike, resolve
from spikedrf.arrays import Array
from spikedrf.estimators.distributed import (
    aligned,
    distributed_rows,
    in_memory,
    is_dask,
    lazy,
    map_rows,
    require_whole_rows,
)
from spikedrf.estimators.layer import InitialLayer, LayerStep, draw_weights
from spikedrf.estimators.planning import Clipped, Plan
from spikedrf.estimators.rows import Rows, dense_blocks
from spikedrf.estimators.scaling import Scaling
from spikedrf.estimators.several import SeveralStepsMixin
from spikedrf.features import feature_map
from spikedrf.parameters import Floats, flag, number, real_array
from spikedrf.running.memory import require_memory

#: Arrays of the size of the first layer that a fit holds at a time: the weights as drawn, the step
#: on all rows and that on the rows kept, and the weights after it.
_LAYERS = 4
#: What sums over rows are made with; they cannot be added to with anything else.
_OF_A_STREAM = ("n_components", "activation", "update", "bias", "scale", "fit_intercept")


class FirstLayerMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin, SeveralStepsMixin):
    """A first layer drawn at random and moved by gradient steps."""

    n_components: int
    activation: FunctionLike
    readout: Any
    step_fraction: Any
    update: str
    bias: bool
    scale: bool
    W0: Any
    random_state: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags

    # ---------------------------------------------------------------------------------------------
    # Fitting

    def _rows(self, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> Rows:
        """Check the data; rows of weight zero are absent."""
        X, y, sample_weight = lazy(X), lazy(y), lazy(sample_weight)
        if is_dask(X):
            return self._rows_in_blocks(X, y, sample_weight)
        X, y = self._validated(X, y, reset=reset, multi_output=True, y_numeric=True)
        targets = self._targets(y, reset=reset)
        weight = self._weight(sample_weight, X)
        self._require_present(weight, reset=reset)
        return self._present(X, targets, weight, reset=reset)

    def _rows_of_stream(self, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> Rows:
        """Check the data of one call of several, and that all are made with the same parameters."""
        X = lazy(X)
        made_with = tuple(getattr(self, name, None) for name in _OF_A_STREAM)
        if reset or not hasattr(self, "stream_parameters_"):
            self.stream_parameters_ = made_with
        for name, now, first in zip(_OF_A_STREAM, made_with, self.stream_parameters_, strict=True):
            if now != first:
                raise ValueError(
                    f"{name} must be as in the first call of partial_fit, {first!r}, got {now!r}: "
                    f"the sums are made with that"
                )
        if is_dask(X):
            raise ValueError("X must be in memory for partial_fit: fit takes a Dask array, whole")
        return self._rows(X, y, sample_weight, reset=reset)

    def _rows_in_blocks(self, X: Any, y: Any, sample_weight: Any) -> Rows:
        """Check the labels and weights of a Dask array; its inputs are checked where they are."""
        blocks = aligned(X, y, sample_weight)
        y, given = in_memory(*blocks)
        self._require_columns(X)
        targets = self._targets(
            _check_y(y, multi_output=True, y_numeric=True, estimator=self), reset=True
        )
        if len(targets) < 2:
            raise ValueError(f"X must have at least 2 rows, got {len(targets)}")
        return self._in_blocks(X, blocks, targets, self._weight(given, targets))

    def _require_columns(self, X: Any) -> None:
        """Check what there is to see of a Dask array: the number of columns and their dtype."""
        validate_data(self, np.zeros((1, X.shape[1]), X.dtype), dtype=[np.float64, np.float32])

    def _in_blocks(self, X: Any, blocks: tuple[Any, Any], targets: Floats, weight: Floats) -> Rows:
        """Return the rows of positive weight of a Dask array, scaled.

        Targets and weights are here, and in blocks as those of ``X`` (the weights may be None).
        """
        self._require_present(weight, reset=True)
        rows = distributed_rows(X, *blocks, targets, weight, bias=flag("bias", self.bias))
        return self._scaled(rows, reset=True)

    def _targets(self, y: Any, *, reset: bool) -> Floats:
        """Return the targets as columns."""
        targets = np.asarray(y, np.float64)
        _require_squares("y", targets)
        one = targets.ndim == 1
        if reset:
            self._one_target = one
        targets = targets.reshape(len(targets), -1)
        if not reset and targets.shape[1] != self.spike_.size // self.n_features_in_:
            raise ValueError(
                f"y must have as many targets as in the first call, "
                f"{self.spike_.size // self.n_features_in_}, got {targets.shape[1]}"
            )
        return targets

    def _require_present(self, weight: Floats, *, reset: bool) -> None:
        present = np.count_nonzero(weight > 0)
        if reset and present < min(2, len(weight)):
            raise ValueError(f"sample_weight must be > 0 for at least 2 rows, it is for {present}")

    def _validated(self, X: Any, y: Any, *, reset: bool, **kwargs: Any) -> tuple[Any, Any]:
        """Return the data as scikit-learn wants them."""
        X, y = validate_data(
            self,
            X,
            y,
            reset=reset,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            ensure_min_samples=2 if reset else 1,
            **kwargs,
        )
        _require_squares("X", X)
        return X, y

    def _weight(self, sample_weight: Any, X: Any) -> Floats:
        if sample_weight is None:
            return np.ones(X.shape[0])
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if weight.min() < 0:
            raise ValueError(f"sample_weight must be >= 0, got {float(weight.min())!r}")
        with np.errstate(over="ignore"):
            if np.isinf(weight.sum()):
                raise ValueError(
                    f"sample_weight must be smaller, got {weight.max():.2g}: the sum overflows"
                )
        return np.asarray(weight)

    def _present(self, X: Any, targets: Floats, weight: Floats, *, reset: bool) -> Rows:
        """Return the rows of positive weight, scaled."""
        n = len(targets)
        rows = Rows(X, targets, weight, flag("bias", self.bias), np.arange(n), n)
        present = weight > 0
        return self._scaled(rows if present.all() else rows.take(present), reset=reset)

    def _scaled(self, rows: Rows, *, reset: bool) -> Rows:
        """Scale the inputs; if ``reset``, by what these rows say."""
        if reset:
            self.mean_: Any = None
            self.scale_: Any = None
            self.bounds_: Any = None
            if flag("scale", self.scale) and self.W0 is None:
                scaling = Scaling.of(rows)
                self.mean_, self.scale_ = scaling.mean, scaling.size
        return rows.scaled(self._scaling)

    @property
    def _scaling(self) -> Scaling | Clipped | None:
        scaling = None if self.scale_ is None else Scaling(self.mean_, self.scale_)
        return scaling if self.bounds_ is None else Clipped(scaling, *self.bounds_)

    def _draw(self, rows: Rows) -> tuple[InitialLayer, int]:
        """Draw the first layer; also a number to deal out the rows by."""
        p = self.n_components
        if isinstance(p, bool) or not isinstance(p, (int, np.integer)):
            raise TypeError(f"n_components must be an integer, got {p!r}")
        if p < 1:
            raise ValueError(f"n_components must be at least 1, got {p}")
        p = int(p)
        if self.update not in ("full", "rank_one"):
            raise ValueError(f"update must be 'full' or 'rank_one', got {self.update!r}")
        activation = resolve(self.activation, "activation")
        try:
            rng = check_random_state(self.random_state)
        except ValueError as error:
            raise ValueError(
                "random_state must be None, an integer from 0 to 2**32 - 1 or a RandomState, "
                f"got {self.random_state!r}"
            ) from error
        dtype = np.float32 if rows.X.dtype == np.float32 else np.float64
        require_memory(
            _LAYERS * p * rows.d * np.dtype(dtype).itemsize,
            f"the first layer of {p} features on {rows.d} inputs and its gradient",
            "use fewer features or inputs, or single precision",
        )
        salt = int(rng.randint(2**31 - 1))
        if self.W0 is None:
            W = draw_weights(rng, p, rows.d, dtype)
        else:
            given = real_array("W0", self.W0)
            d = rows.X.shape[1]
            allowed = [(p, d), (p, d + 1)] if self.bias else [(p, d)]
            if given.shape not in allowed:
                shapes = " or ".join(map(str, allowed))
                raise ValueError(f"W0 must have shape {shapes}, got {given.shape}")
            W = np.zeros((p, rows.d), dtype)
            W[:, : given.shape[1]] = given
        targets = rows.y.shape[1]
        neuron = np.arange(p)
        if isinstance(self.readout, str):
            if self.readout != "normal":
                raise ValueError(
                    f"readout must be 'normal' or the values of the vocabulary, "
                    f"got {self.readout!r}"
                )
            u = rng.standard_normal(p)
        else:
            values = np.atleast_1d(real_array("readout", self.readout))
            if values.ndim != 1 or values.size == 0:
                raise ValueError(
                    f"readout must be 'normal' or a list of values, got {self.readout!r}"
                )
            # Neurons are exchangeable: dealing the values round is a random assignment.
            u = values[(neuron // targets) % values.size]
        return InitialLayer(W, u, neuron % targets, activation, self.update), salt

    def _split(self, rows: Rows, salt: int) -> tuple[Rows, Rows]:
        """Return the rows of the step and those of the readout."""
        if isinstance(self.step_fraction, str):
            if self.step_fraction != "auto":
                raise ValueError(
                    f"step_fraction must be 'auto' or in (0, 1], got {self.step_fraction!r}"
                )
            return rows, rows
        fraction = number(
            "step_fraction", self.step_fraction, minimum=0.0, maximum=1.0, exclusive=True
        )
        if fraction == 1.0:
            return rows, rows
        # By weight, in an order that copies of a row share.
        inverse = np.unique(rows.keys(salt), return_inverse=True)[1]
        weight = np.bincount(inverse, rows.weight)
        ours = (np.cumsum(weight) - 0.5 * weight < fraction * weight.sum())[inverse]
        if not ours.any() or ours.all():
            raise ValueError(
                f"step_fraction={fraction:g} of {len(rows)} rows leaves too few rows for the "
                f"{'step' if not ours.any() else 'readout'}"
            )
        return rows.take(ours), rows.take(~ours)

    def _learns(self, rows: Rows) -> bool:
        """Whether there is anything for a step to learn; warns if the targets are constant."""
        varies = (rows.y != rows.y[0]).any() or (rows.within is not None and rows.within.any())
        if not varies:
            warnings.warn(
                "y is constant: a gradient step has nothing to learn from it, none is taken",
                UserWarning,
                stacklevel=4,
            )
        return bool(varies)

    def _warn_degenerate(self) -> None:
        warnings.warn(
            "the gradient of the step is zero (the targets do not correlate with anything the "
            "first layer sees): no step is taken",
            UserWarning,
            stacklevel=4,
        )

    def _several_given(
        self, layer: InitialLayer, rows: Rows, eta: float, salt: int
    ) -> InitialLayer:
        """Take all steps of one size but the last, each on its own part of the rows.

        The rows of the last are the last of `_parts`.
        """
        for part in self._parts(rows, salt)[:-1]:
            step = layer.step(part)
            layer = replace(layer, W=layer.weights(step, eta))
        return layer

    def _parts(self, rows: Rows, salt: int) -> list[Rows]:
        """Return the rows of each step of several of one size."""
        part = rows.deal(salt, int(self.n_steps))
        if part.max() + 1 < self.n_steps:
            raise ValueError(
                f"n_steps={self.n_steps} on fresh rows each needs as many distinct rows, "
                f"got {int(part.max()) + 1}"
            )
        return [rows.take(part == k) for k in range(int(self.n_steps))]

    def _store_plan(self, found: Plan, rows: Rows) -> None:
        """Keep what a search has found on some rows."""
        self._store_steps(found.entries)
        self._moves[:, 2] *= rows.weight.mean()
        self._moves[:, 3] *= rows.variance.mean()
        self.step_size_ = found.size
        if found.layer is None:
            return
        scaling = found.rows.scaling
        assert isinstance(scaling, Clipped)
        self.bounds_ = np.array([scaling.lower, scaling.upper])
        leading = self._leading(found.square, found.mean)
        self.spike_ = leading[0] if self._one_target else leading

    def _store_layer(
        self, layer: InitialLayer, step: LayerStep | None, eta: float, targets: int
    ) -> None:
        d = self.n_features_in_
        weights = layer.weights(step, eta)
        self.layer_ = weights
        self.readout_ = layer.u
        self.step_size_ = float(eta)
        spike = np.zeros((targets, d))
        if step is not None and eta != 0.0:
            spike = step.pull[:, :d] * np.sign(eta)
            if self.scale_ is not None:
                spike = spike / self.scale_
            length = np.linalg.norm(spike, axis=1, keepdims=True)
            spike = spike / np.where(length > 0, length, 1.0)
        self.spike_ = spike[0] if self._one_target else spike
        self._n_features_out = len(weights)

    # ---------------------------------------------------------------------------------------------
    # Using

    def transform(self, X: Any) -> Any:
        """Return the features, ``sigma(X @ weights_.T + offsets_)``.

        Parameters
        ----------
        X : array_like, sparse matrix or Dask array, shape (n, d)
            Inputs.

        Returns
        -------
        ndarray or Dask array, shape (n, n_components)
            In the dtype of the weights; of a Dask array not computed yet.
        """
        X = lazy(X)
        if is_dask(X):
            return map_rows(self, "transform", X, (len(self._weights_for(X)),))
        X = self._checked(X)
        weights = self.layer_
        out = np.empty((X.shape[0], len(weights)), weights.dtype)
        blocks = dense_blocks(X, weights.dtype, bias=self.bias, scaling=self._scaling)
        for rows, x in blocks:
            feature_map(x, weights, self.activation, out=out[rows])
        return out

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self, "weights_")
        if is_dask(lazy(X)):
            raise ValueError(
                "X must be in memory: X.map_blocks(model.predict) works block by block"
            )
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=[np.float64, np.float32])
        _require_squares("X", X)
        return X

    def _weights_for(self, X: Any) -> Array:
        """Check the columns of a Dask array; return the weights."""
        require_whole_rows(X)
        self._checked(np.zeros((1, X.shape[1]), X.dtype))
        return self.layer_

    @property
    def weights_(self) -> Array:
        """Weights after the step, in units of the inputs; shape (n_components, d)."""
        weights = self.layer_[:, : self.n_features_in_]
        if self.scale_ is not None:
            weights = (weights / self.scale_).astype(weights.dtype)
        return np.ascontiguousarray(weights)

    @property
    def offsets_(self) -> Array:
        """Offsets after the step; shape (n_components,)."""
        d = self.n_features_in_
        offsets = self.layer_[:, d:].sum(axis=1)
        if self.scale_ is not None:
            offsets = offsets - self.layer_[:, :d] @ (self.mean_ / self.scale_)
        return np.asarray(offsets, self.layer_.dtype)

    # ---------------------------------------------------------------------------------------------
    # Persistence

    def __getstate__(self) -> dict[str, Any]:
        from spikedrf import __version__

        state: dict[str, Any] = dict(super().__getstate__())
        return state | {"_spikedrf_version": __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from spikedrf import __version__

        saved = state.get("_spikedrf_version", "an unknown version")
        if saved != __version__:
            warnings.warn(
                f"this {type(self).__name__} was saved by spikedrf {saved} and is loaded by "
                f"{__version__}: its results may differ; fit it again if in doubt",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__({k: v for k, v in state.items() if k != "_spikedrf_version"})


def _require_squares(name: str, array: Any) -> None:
    """Raise ValueError if the squares of the entries could not be summed."""
    entries = array.data if sparse.issparse(array) else array
    largest = max(float(entries.max(initial=0.0)), -float(entries.min(initial=0.0)))
    limit = float(np.sqrt(np.finfo(entries.dtype).max / max(entries.size, 1)))
    if largest > limit:
        raise ValueError(
            f"{name} must be smaller than {limit:.2g} in size, got {largest:.2g}: sums of squares "
            f"overflow {entries.dtype}; standardise it"
        )
