"""Several steps: how many an estimator takes, and the attributes that they leave."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from spikedrf.activations import Activation, differentiable, resolve
from spikedrf.arrays import Array
from spikedrf.estimators.layer import InitialLayer
from spikedrf.estimators.moves import KINDS, METRICS, Entry
from spikedrf.estimators.planning import FEWEST_ROWS, MOST_INPUTS, Plan, plan
from spikedrf.estimators.rows import Rows
from spikedrf.estimators.search import MOST_STEPS
from spikedrf.estimators.trials import Data, gradients
from spikedrf.parameters import Floats

#: Rows that the metric of a fitted network is a mean over, at most.
_METRIC_ROWS = 2048
_DIRECTIONS = 10
_MOVES = np.dtype(
    [("kind", "U8"), ("size", np.float64), ("ridge", np.float64), ("error", np.float64)]
)


class Intention(NamedTuple):
    """What ``n_steps`` and ``metric`` ask for.

    Attributes
    ----------
    planned : bool
        Whether a plan is searched.
    chosen : bool
        Whether that follows from ``"auto"``, so that few rows or many inputs may forbid it.
    steps : int
        The most steps.
    kinds : tuple of str, or None
        Kinds of metric round; None leaves them to the number of inputs.
    """

    planned: bool
    chosen: bool
    steps: int
    kinds: tuple[str, ...] | None


class SeveralStepsMixin(BaseEstimator):
    """Steps and metrics of a first layer."""

    activation: Any
    n_steps: Any
    metric: Any
    step_size: Any
    readout: Any
    step_fraction: Any
    update: str
    W0: Any
    layer_: Array
    readout_coef_: Any
    n_features_in_: int
    metric_: Any
    _moves: Floats

    @property
    def _intention(self) -> Intention:
        """Check and understand ``n_steps`` and ``metric``."""
        steps, metric = self.n_steps, self.metric
        auto_steps = isinstance(steps, str)
        if auto_steps and steps != "auto":
            raise ValueError(f"n_steps must be an integer >= 0 or 'auto', got {steps!r}")
        if not auto_steps and (
            isinstance(steps, bool | np.bool_) or not isinstance(steps, int | np.integer)
        ):
            raise TypeError(f"n_steps must be an integer >= 0 or 'auto', got {steps!r}")
        if not auto_steps and steps < 0:
            raise ValueError(f"n_steps must be an integer >= 0 or 'auto', got {steps!r}")
        if metric is not None and metric not in ("auto", *METRICS):
            raise ValueError(f"metric must be 'auto', None, 'full' or 'diagonal', got {metric!r}")
        kinds = () if metric is None else None if metric == "auto" else (metric,)
        most = MOST_STEPS if auto_steps else int(steps)
        of_one = self._of_one_step
        if most == 0 and metric in ("auto", None):
            return Intention(False, False, 0, ())
        if not auto_steps and most == 1 and metric is None:
            return Intention(False, False, 1, ())
        if auto_steps and metric in ("auto", None):
            return Intention(of_one is None, True, most, kinds)
        if self._protocol:
            return Intention(False, False, most, ())
        if of_one is not None:
            raise ValueError(
                f"{of_one} belongs to the one step of n_steps=1, metric=None, or to n_steps of one "
                f"size on fresh rows each, metric=None and a number for step_size; "
                f"n_steps={steps!r}, metric={metric!r} chooses its own"
            )
        return Intention(True, False, most, kinds)

    @property
    def _protocol(self) -> bool:
        """Whether several steps of a given size are asked for, each on fresh rows."""
        return (
            not isinstance(self.n_steps, str)
            and self.n_steps > 1
            and self.metric is None
            and not isinstance(self.step_size, str)
            and np.ndim(self.step_size) == 0
        )

    @property
    def _of_one_step(self) -> str | None:
        """A parameter that only one step has and that is not at its default; None without one."""
        if not isinstance(self.step_size, str):
            return f"step_size={self.step_size!r}"
        if not isinstance(self.readout, str) and not np.array_equal(self.readout, (1.0, -1.0)):
            return f"readout={self.readout!r}"
        if isinstance(self.readout, str):
            return f"readout={self.readout!r}"
        if not isinstance(self.step_fraction, str):
            return f"step_fraction={self.step_fraction!r}"
        if self.update != "full":
            return f"update={self.update!r}"
        if self.W0 is not None:
            return "W0"
        return None

    def _plans(self, rows: Rows) -> bool:
        """Whether a plan is searched on these rows."""
        asked = self._intention
        if not asked.planned:
            return False
        fits = len(rows) >= FEWEST_ROWS and rows.X.shape[1] <= MOST_INPUTS
        if not asked.chosen and rows.X.shape[1] > MOST_INPUTS:
            raise ValueError(
                f"X must have at most {MOST_INPUTS} columns for several steps or a metric, got "
                f"{rows.X.shape[1]}: n_steps=1, metric=None takes more"
            )
        return len(rows) > 1 and (fits or not asked.chosen)

    def _require_one_step(self) -> None:
        """Refuse what a stream cannot do."""
        asked = self._intention
        if (asked.planned and not asked.chosen) or self._protocol:
            raise ValueError(
                f"partial_fit takes at most one step, on the rows of its first call: several steps "
                f"are judged by rows held out of all; n_steps={self.n_steps!r}, "
                f"metric={self.metric!r} needs fit"
            )

    def _search(
        self,
        layer: InitialLayer,
        rows: Rows,
        salt: int,
        *,
        intercept: bool,
        n_jobs: int | None,
        squares: bool = True,
    ) -> Plan:
        """Search for a plan on rows of distinct inputs.

        If squares are not what is wanted in the end, longer: a gain too small to matter for them
        may matter for a probability.
        """
        asked = self._intention
        differentiable(layer.activation)
        return plan(
            rows,
            layer,
            salt,
            kinds=asked.kinds,
            steps=asked.steps,
            intercept=intercept,
            n_jobs=n_jobs,
            patience=1 if squares else 2,
        )

    # ---------------------------------------------------------------------------------------------
    # What is left

    def _store_steps(self, entries: Iterable[Entry]) -> None:
        """Keep the moves, as numbers."""
        self._moves = np.array(
            [
                (KINDS.index(entry.move.kind), entry.move.size, entry.alpha, entry.error)
                for entry in entries
            ]
        )

    @property
    def steps_(self) -> NDArray[Any]:
        """The moves of the first layer: ``kind``, ``size``, ``ridge`` and ``error`` of each."""
        check_is_fitted(self, "layer_")
        return np.array([(KINDS[int(kind)], *rest) for kind, *rest in self._moves], _MOVES)

    def _leading(self, square: Floats, mean: Floats) -> Floats:
        """Return the leading direction of each target's gradients, that of their mean if possible.

        Of the inputs as they were given, of length one.
        """
        leading = np.zeros_like(mean)
        for t, (matrix, along) in enumerate(zip(square, mean, strict=True)):
            vector = np.linalg.eigh(matrix)[1][:, -1]
            largest = vector[np.argmax(np.abs(vector))]
            sign = np.sign(vector @ along) or np.sign(largest)
            leading[t] = sign * vector
        scale = getattr(self, "scale_", None)
        if scale is not None:
            leading = leading / scale
        return np.asarray(leading / np.linalg.norm(leading, axis=1, keepdims=True))

    def _store_metric(self, activation: Activation, rows: Rows) -> None:
        """Measure the metric of the fitted network; None where it has none, or too many inputs."""
        self.metric_ = None
        if not self._has_metric(activation):
            return
        some = rows.here(np.arange(min(len(rows), _METRIC_ROWS)))
        x = np.empty((len(some), self.layer_.shape[1]), np.float32)
        for part, block in some.blocks(np.float32):
            x[part] = block
        weight = (some.weight / some.weight.mean()).astype(np.float32)
        self.metric_ = self._metric_over(activation, x, weight)

    def _has_metric(self, activation: Activation) -> bool:
        size = float(np.abs(self.readout_coef_).max(initial=0.0))
        few = self.n_features_in_ <= MOST_INPUTS
        return bool(few and activation.differentiable and 0.0 < size < np.inf)

    def _metric_over(
        self, activation: Activation, x: Array, weight: Array | None = None
    ) -> Floats | None:
        """Return the mean of ``grad f grad f^T`` over rows, of trace d; None if it vanishes."""
        d = self.n_features_in_
        coef = np.atleast_2d(self.readout_coef_).T.astype(np.float64)
        data = Data(x, np.empty((len(x), 0), np.float32), weight)
        layer = np.ascontiguousarray(self.layer_, np.float32)
        unit = float(np.abs(coef).max())
        total = gradients(layer, coef / unit, data, activation, d)[0].sum(axis=0)
        trace = float(np.trace(total))
        return np.asarray(total * (d / trace)) if 0.0 < trace < np.inf else None

    def _metric_at_normal_inputs(self) -> Floats | None:
        """Measure the metric where a stream has left no rows: at scaled inputs ``N(0, I)``.

        They are the same draws in every call.
        """
        activation = resolve(self.activation, "activation")
        if not self._has_metric(activation):
            return None
        x = np.ones((_METRIC_ROWS, self.layer_.shape[1]), np.float32)
        d = self.n_features_in_
        x[:, :d] = np.random.default_rng(0).standard_normal((_METRIC_ROWS, d))
        return self._metric_over(activation, x)

    @property
    def feature_importances_(self) -> Floats:
        """How much the function varies along each scaled input: they sum to 1; shape (d,).

        The diagonal of ``metric_`` over d. After `partial_fit`, which keeps no rows to measure it
        at, the mean is over inputs that are normal, independent and of variance one when scaled.
        """
        check_is_fitted(self, "layer_")
        metric = getattr(self, "metric_", None)
        if metric is None and hasattr(self, "statistics_n_"):
            metric = self._metric_at_normal_inputs()
        if metric is None:
            raise AttributeError(
                "feature_importances_ are the diagonal of metric_, which this fit has not measured"
            )
        return np.asarray(np.diag(metric) / len(metric))

    def _spectrum(self) -> tuple[Floats, Floats]:
        check_is_fitted(self, "layer_")
        weights = self.layer_[:, : self.n_features_in_].astype(np.float64)
        _, strength, directions = np.linalg.svd(weights, full_matrices=False)
        directions, strength = directions[:_DIRECTIONS], strength[:_DIRECTIONS]
        along = np.argmax(np.abs(directions), axis=1)
        sign = np.sign(directions[np.arange(len(along)), along])
        return directions * sign[:, None], strength / np.sqrt(len(weights))

    @property
    def directions_(self) -> Floats:
        """The layer's leading directions among the scaled inputs, unit vectors; shape (k, d)."""
        return self._spectrum()[0]

    @property
    def strengths_(self) -> Floats:
        """Root mean square of the weights of neurons along ``directions_``; shape (k,)."""
        return self._spectrum()[1]
