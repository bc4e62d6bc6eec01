"""Random features that have learned a direction, as a scikit-learn transformer."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikedrf.activations import FunctionLike, resolve
from spikedrf.estimators.base import FirstLayerMixin
from spikedrf.estimators.layer import InitialLayer, LayerStep, StreamedStep
from spikedrf.estimators.moves import Entry, Move
from spikedrf.estimators.rows import Rows
from spikedrf.estimators.trials import with_trace
from spikedrf.parameters import flag, number
from spikedrf.running.progress import metered


class SpikedRandomFeatures(FirstLayerMixin):
    r"""Random features after gradient steps on the weights.

    Features are ``sigma(<w_i, x> + b_i)``. The weights ``(w_i, b_i)`` are drawn uniformly on the
    unit sphere and take several moves that follow the target (see `SpikedRFRegressor`), or one
    gradient step of the squared loss of a network whose readout has the values ``u_i / sqrt p``::

        w_i + step_size u_i (1/n0) sum_mu (y_mu - yhat_mu) sigma'(<w_i, x_mu>) x_mu

    on targets that have been standardised, so that neither origin nor unit of ``y`` matters (with
    ``-y`` it goes the other way). Inputs are standardised first, see ``scale``.

    Parameters
    ----------
    n_components : int
        Number of features ``p``.
    activation : str, callable or (callable, derivative)
        A name of `spikedrf.activations.NAMES` (``"erf"`` is ``erf(z / sqrt(2))``, ``"erf_plain"``
        the function itself) or a vectorised function; a step needs the
        derivative.
    step_size : float or "auto"
        Size ``eta`` of the step, on the scale of theory.md; 0 is no step: plain random features.
        ``"auto"`` is 1 for one step; several have lengths of their own.
    n_steps : int or "auto"
        The most steps. 0 is plain random features, and 1 with ``metric=None`` the one gradient
        step that the parameters below describe. More, and ``"auto"`` (at most 30), are chosen
        together with the metric: see `SpikedRFRegressor`. ``"auto"`` takes one step of size 1 if
        there are fewer than 1000 distinct rows or more than 2048 inputs, and that which is
        described if a parameter of the one step is given: ``step_size``, ``step_fraction``,
        ``readout``, ``update`` or ``W0``. A stream takes one step too: see `partial_fit`.
        With ``metric=None`` and a number for ``step_size`` every step has that size and an equal
        part of the rows for itself: the protocol of theory.md, section 13.
    metric : {"auto", "full", "diagonal"} or None
        Metric in which weights are drawn anew: that of all directions, of the inputs one by one,
        whichever is better, or none.
    readout : "normal" or array_like, shape (K,)
        The vocabulary of the initial readout ``u``, in equal proportions; ``"normal"`` draws it.
        Several targets have a network each, of an equal share of the neurons.
    step_fraction : float or "auto"
        Share of the rows that feed the step, in (0, 1]; the others are left for a readout (see
        ``step_rows_``). ``"auto"`` is all of them, with which readouts did better than with half
        of them, from ten rows for each input on, in the comparison of docs/real_data.md.
    update : {"full", "rank_one"}
        The real gradient, or only the spike that it plants, the same direction for every neuron,
        at the cost of O(n0 d) instead of O(n0 p d).
    bias : bool
        Whether a constant is appended to the inputs, so that the features have offsets.
    scale : bool
        Whether the first layer sees each input less its mean, over its standard deviation, both
        from the rows of `fit` (of a stream, of the first call). Of a sparse matrix it is only over
        the root mean square. Without it inputs should have about unit variance.
    n_jobs : int, optional
        How many fits of the choice of several steps are made at a time, by threads.
    verbose : bool
        Whether a bar on standard error counts them.
    W0 : array_like, shape (n_components, d) or (n_components, d + 1), optional
        The weights before the step, in units of the inputs, which are then not scaled; the extra
        column holds the offsets.
    random_state : int, RandomState or None
        Of the weights, the normal readout, and which rows feed the step.

    Attributes
    ----------
    weights_ : ndarray, shape (n_components, d)
        Weights after the step, in units of the inputs: ``transform(X)`` is
        ``sigma(X @ weights_.T + offsets_)``.
    offsets_ : ndarray, shape (n_components,)
        Offsets after the step; zero with neither ``bias`` nor ``scale``.
    layer_ : ndarray, shape (n_components, d) or (n_components, d + 1)
        Weights, and offsets with ``bias``, of the scaled inputs ``(X - mean_) / scale_``.
    mean_, scale_ : ndarray, shape (d,), or None
        See ``scale``; what does not vary is in units of its mean. None where nothing is scaled.
    readout_ : ndarray, shape (n_components,)
        The initial readout ``u``.
    spike_ : ndarray, shape (d,) or (targets, d)
        The learned direction in units of the inputs, a unit vector for each target; zero without a
        step.
    step_size_ : float
        The step that was taken: 0 if the gradient was zero. Of several how far they have moved the
        weights, beside their length.
    steps_, metric_, feature_importances_, directions_, strengths_, bounds_
        As in `SpikedRFRegressor`; ``metric_`` only of several steps.
    step_rows_ : ndarray of bool, shape (n,)
        The rows that fed the step.
    n_features_in_ : int
        Number of inputs ``d``.
    feature_names_in_ : ndarray of str
        Their names, if the inputs had any.

    Raises
    ------
    TypeError, ValueError
        If a parameter or the data are out of range; the message names the parameter.

    Warns
    -----
    UserWarning
        If the gradient is zero; then no step is taken.

    See Also
    --------
    SpikedRFRegressor : With the readout, and with step and ridge chosen from the data.

    Notes
    -----
    With ``step_fraction`` 1 features of the rows of the fit know their labels: an error measured
    on these rows is optimistic.

    Source: theory.md, section 1; Cui et al., ICML 2024, arXiv 2402.04980; several readout values:
    Dandi et al., arXiv 2410.18938.

    Examples
    --------
    >>> import numpy as np
    >>> from spikedrf import SpikedRandomFeatures
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((2000, 10))
    >>> y = np.sin(X[:, 0])
    >>> features = SpikedRandomFeatures(100, step_size=2.0, random_state=0).fit(X, y)
    >>> print(features.spike_[0].round(1), abs(features.spike_[1:]).max() < 0.1)
    1.0 True
    >>> features.transform(X).shape
    (2000, 100)
    """

    def __init__(
        self,
        n_components: int = 1000,
        *,
        activation: FunctionLike = "tanh",
        step_size: Any = "auto",
        n_steps: Any = "auto",
        metric: Any = "auto",
        readout: Any = (1.0, -1.0),
        step_fraction: Any = "auto",
        update: str = "full",
        bias: bool = True,
        scale: bool = True,
        n_jobs: int | None = None,
        verbose: bool = False,
        W0: ArrayLike | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.activation = activation
        self.step_size = step_size
        self.n_steps = n_steps
        self.metric = metric
        self.readout = readout
        self.step_fraction = step_fraction
        self.update = update
        self.bias = bias
        self.scale = scale
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.W0 = W0
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Draw the weights and take the step.

        Parameters
        ----------
        X : array_like, sparse matrix or Dask array, shape (n, d)
            Inputs, float64 or float32. A Dask array has all columns of a row in one block; the
            gradient is summed where the blocks are.
        y : array_like, shape (n,) or (n, targets)
            Targets.
        sample_weight : array_like, shape (n,), optional
            Weights, >= 0: weight 2 is a row twice, weight 0 a row absent.

        Returns
        -------
        SpikedRandomFeatures
            Itself.
        """
        rows = self._rows(X, y, sample_weight, reset=True)
        layer, salt = self._draw(rows)
        self._forget_stream()
        self.metric_ = None
        self.step_rows_ = np.zeros(rows.given, bool)
        units, eta = rows.units, self._size
        if self._intention.planned and self._learns(rows):
            distinct = rows.distinct(salt)
            if self._plans(distinct):
                self._fit_plan(layer, distinct.in_units(units), salt)
                return self
        feeding, _ = self._split(rows, salt)
        step = None
        if eta != 0.0 and self._learns(rows):
            if self._protocol:
                layer = self._several_given(layer, feeding.in_units(units), eta, salt)
            last = self._parts(feeding, salt)[-1] if self._protocol else feeding
            step = layer.step(last.in_units(units))
        if step is None:
            eta = 0.0
        if step is not None:
            self.step_rows_[feeding.number] = True
        self._take(layer, step, eta, rows.y.shape[1])
        return self

    @property
    def _size(self) -> float:
        """Size of a step that is not chosen."""
        if isinstance(self.step_size, str):
            if self.step_size != "auto":
                raise ValueError(f"step_size must be a number or 'auto', got {self.step_size!r}")
            return float(self._intention.steps > 0)
        eta = number("step_size", self.step_size)
        return eta if self._intention.steps else 0.0

    def _fit_plan(self, layer: InitialLayer, rows: Rows, salt: int) -> None:
        """Make the moves that a search has found."""
        with metered(flag("verbose", self.verbose)):
            found = self._search(layer, rows, salt, intercept=True, n_jobs=self.n_jobs)
        made = layer if found.layer is None else found.layer.layer
        self._store_layer(made, None, 0.0, rows.y.shape[1])
        self._store_plan(found, rows)
        self.metric_ = with_trace(found.square.sum(axis=0))
        if found.layer is not None:
            self.step_rows_[found.layer.searched] = True

    def _take(self, layer: InitialLayer, step: LayerStep | None, eta: float, targets: int) -> None:
        if step is not None and step.degenerate:
            self._warn_degenerate()
            step, eta = None, 0.0
        self._store_layer(layer, step, eta, targets)
        sizes = [0.0, eta] if eta else [0.0]
        self._store_steps(
            Entry(Move("gradient" if size else "plain", size), np.nan, np.nan) for size in sizes
        )

    def _forget_stream(self) -> None:
        for name in [name for name in vars(self) if name.startswith("stream_")]:
            delattr(self, name)

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Any:
        """Add rows to the gradient, and take the one step that all rows so far make.

        Several steps need all rows at once, and are refused where they are asked for by number or
        metric.

        The first call draws the weights. The result is that of `fit` on all rows at once, up to
        rounding; memory does not grow with them. A ``step_fraction`` below 1 is applied to the
        rows of each call.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        SpikedRandomFeatures
            Itself.

        Warns
        -----
        UserWarning
            If the estimator was made by `fit`, which keeps no sums to add to: the first layer
            begins anew.
        """
        self._require_one_step()
        begins = not hasattr(self, "stream_weights_")
        if begins and hasattr(self, "weights_"):
            warnings.warn(
                "fit keeps no sums to add rows to: the first layer begins anew with these rows; "
                "begin with partial_fit to keep all",
                UserWarning,
                stacklevel=2,
            )
            self.__dict__.pop("step_rows_", None)
        rows = self._rows_of_stream(X, y, sample_weight, reset=begins)
        eta = self._size
        targets = rows.y.shape[1]
        if begins:
            layer, self.stream_salt_ = self._draw(rows)
            self.stream_weights_ = layer.W
        else:
            # The rest of the layer follows from the parameters.
            p = len(self.stream_weights_)
            layer = InitialLayer(
                self.stream_weights_,
                self.readout_,
                np.arange(p) % targets,
                resolve(self.activation, "activation"),
                self.update,
            )
        sums = StreamedStep(layer, targets)
        names = ("direction", "pull", "weight", "origin", "unit", "sum_y", "sum_y2")
        if not begins:
            for name in names:
                # Added to in place, which may not be allowed, and a copy may share them.
                setattr(sums, name, np.copy(getattr(self, f"stream_{name}_")))
        step = None
        if eta != 0.0:
            sums.update(self._split(rows, self.stream_salt_)[0])
            step = sums.step()
        for name in names:
            setattr(self, f"stream_{name}_", getattr(sums, name))
        self._take(layer, step, eta, targets)
        return self
