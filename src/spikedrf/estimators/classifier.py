"""Classification by random features that have learned a direction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_expit, logsumexp
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from spikedrf.activations import FunctionLike
from spikedrf.estimators.distributed import aligned, in_memory, is_dask, lazy, map_rows
from spikedrf.estimators.network import NetworkMixin
from spikedrf.estimators.rows import Rows
from spikedrf.losses import Logistic, LossLike
from spikedrf.losses import resolve as resolve_loss
from spikedrf.parameters import Floats, flag, real_array
from spikedrf.running.progress import metered


def _has_probabilities(model: Any) -> bool:
    """Say why a loss gives no probabilities."""
    if model.loss != "logistic" and not isinstance(model.loss, Logistic):
        raise AttributeError(
            f"loss={model.loss!r} does not estimate probabilities: loss='logistic' does"
        )
    return True


class SpikedRFClassifier(ClassifierMixin, NetworkMixin):
    r"""Logistic regression or support vectors on features that follow the classes.

    A two-layer network of width ``p`` whose first layer takes gradient steps
    (`SpikedRandomFeatures`) on labels ``y = +-1`` and whose readout minimises::

        sum_mu loss(y_mu, b + Phi_mu . a / sqrt p) + (alpha/2) |a|^2

    so that ``alpha`` is ``lam`` of the theory. More than two classes are told apart one against
    the rest. Step and ridge are chosen from the data, no step among the candidates. Inputs are
    standardised first, see ``scale``.

    Parameters
    ----------
    n_components : int
        Number of features ``p``.
    activation : str, callable or (callable, derivative)
        A name of `spikedrf.activations.NAMES` (``"erf"`` is ``erf(z / sqrt(2))``, ``"erf_plain"``
        the function itself) or a vectorised function; a step needs the
        derivative.
    step_size : float, array_like or "auto"
        Size ``eta`` of the step for targets of variance one; 0 is no step. Of several, or of the
        grid that ``"auto"`` adapts to the data, the best is taken. No step is always a candidate
        beside several.
    n_steps : int or "auto"
        The most steps. 0 is plain random features, and 1 with ``metric=None`` the one gradient
        step that the parameters below describe. More, and ``"auto"`` (at most 30), are chosen
        together with the metric: see Notes. ``"auto"`` takes one step, as with ``metric=None``,
        if there are fewer than 1000 distinct rows or more than 2048 inputs, or if a parameter of
        the one step is given: ``step_size``, ``step_fraction``, ``readout``, ``update`` or ``W0``.
        With ``metric=None`` and a number for ``step_size`` every step has that size and an equal
        part of the rows for itself: the protocol of theory.md, section 13.
    metric : {"auto", "full", "diagonal"} or None
        Metric in which weights are drawn anew: that of all directions, of the inputs one by one,
        whichever is better, or none.
    alpha : float, array_like or "auto"
        Ridge, > 0, the same for all classes. Of several, or of the grid that ``"auto"`` adapts to
        the data, the best is taken.
    loss : {"logistic", "squared_hinge", "hinge"} or Loss
        Loss of the readout, of the margin ``y h``: a name or a member of `spikedrf.losses`.
        `predict_proba` needs the logistic one.
    class_weight : dict, "balanced" or None
        Weights of the classes, by which those of their rows are multiplied; ``"balanced"`` gives
        all classes the same total, ``n / (classes * count)`` for each of their rows.
    readout : "normal" or array_like, shape (K,)
        The vocabulary of the initial readout, in equal proportions; ``"normal"`` draws it.
        Three classes or more have a network each, of an equal share of the neurons.
    step_fraction : float or "auto"
        Share of the rows that feed the step; the rest feed the readout. With 1 or ``"auto"`` all
        rows do both; with ``"auto"`` the step is chosen by fits that leave out a fifth of the rows
        from both: see `SpikedRFRegressor`.
    update : {"full", "rank_one"}
        The real gradient, or only the spike that it plants, for O(n0 d) instead of O(n0 p d).
    bias : bool
        Whether a constant is appended to the inputs, so that the features have offsets.
    fit_intercept : bool
        Whether ``b``, which is not penalised, is fitted; otherwise it is 0.
    n_jobs : int, optional
        How many of the fits of the cross-fitting are made at a time, by threads unless
        `joblib.parallel_config` says otherwise. The result does not depend on it.
    scale : bool
        Whether the first layer sees each input less its mean, over its standard deviation, both
        from the rows of `fit` (of a stream, of the first call). Of a sparse matrix it is only over
        the root mean square. Without it inputs should have about unit variance.
    verbose : bool
        Whether a bar shows how many fits are done, on stderr and only if that is a terminal.
    W0 : array_like, shape (n_components, d) or (n_components, d + 1), optional
        The weights before the step, in units of the inputs, which are then not scaled; the extra
        column holds the offsets.
    random_state : int, RandomState or None
        Of the weights, the normal readout, and how the rows are dealt out.

    Attributes
    ----------
    classes_ : ndarray, shape (classes,)
        The labels, of rows of positive weight.
    weights_, offsets_, readout_, spike_, n_features_in_, feature_names_in_
        As in `SpikedRandomFeatures`; for two classes there is one spike, which points to the
        second.
    readout_coef_ : ndarray, shape (1, n_components) or (classes, n_components)
        ``a / sqrt p``: `decision_function` is ``transform(X) @ readout_coef_.T + intercept_``.
    intercept_ : ndarray, shape (1,) or (classes,)
        ``b``.
    alpha_ : float
        The ridge.
    step_size_ : float
        The step; 0 if none was better. Of several how far they have moved the weights, beside
        their length.
    steps_, metric_, feature_importances_, directions_, strengths_, bounds_
        As in `SpikedRFRegressor`; errors are those of labels +-1.
    alphas_ : ndarray, shape (A,)
        The ridges that were tried.
    cv_loss_, cv_losses_ : float; ndarray, shape (A,)
        If there was a ridge to choose, the estimated mean loss on new rows at the choice and for
        each: every row judged by a fit that left out a fifth of the rows, of the readout and of the
        step. Of several classes it is the mean over them.
    step_sizes_, step_errors_ : ndarray, shape (S,)
        The steps that were tried, and what they were chosen by: the estimated mean squared error
        of ridge regression of the labels +-1 at its best ridge.
    step_gain_, step_gain_sem_ : float
        What the best step gains over none, and its standard error: the step is taken if it gains
        more than two of them. In the loss, as part of what the best constant costs; of a step that
        does not even help ridge regression, in that, as R^2. NaN if there was no such comparison.
    n_iter_ : ndarray of int, shape (1,) or (classes,)
        Iterations of the solver.

    Raises
    ------
    TypeError, ValueError
        If a parameter or the data are out of range; the message names the parameter.

    Warns
    -----
    UserWarning
        If the gradient is zero; then no step is taken.
    sklearn.exceptions.ConvergenceWarning
        If the duality gap of a readout is above 1e-8 of the objective, which takes a ridge close
        to zero.

    See Also
    --------
    SpikedRFRegressor : The same for numbers.
    SpikedRandomFeatures : The features alone.

    Notes
    -----
    The gradient step is that of the squared loss. For two classes those of the other losses are
    proportional to it: at the best constant ``b`` their derivative has two values too.

    The size of the step is chosen as in `SpikedRFRegressor`, by the error of ridge regression of
    the labels, of which leave-one-out and cross-fitted errors for all ridges come from one
    factorisation; choosing it by the loss itself takes several times as long and is not better (see
    the documentation, real data). Whether it is taken, and the ridge, are then chosen by the loss
    itself, in five folds, the classes dealt out evenly, the step taken anew without the rows left
    out: what helps squares need not help the logarithm of a probability.

    Several steps are those of `SpikedRFRegressor` on labels +-1, searched for twice as long where
    they gain little, and kept if they improve the loss itself, on the rows held out of them, by two
    standard errors.

    The readout is minimised by SciPy's L-BFGS in white coordinates and then Newton's method; the
    hinge loss, which has a kink, by the method of multipliers
    (`spikedrf.readout.convex.fit_readout`). All features have to be in memory, O(n p), and there
    is no ``partial_fit``: only for the square loss do sums over rows determine the readout.

    Source: theory.md, sections 1, 5 and 11; Cui et al., ICML 2024, arXiv 2402.04980.

    Examples
    --------
    >>> import numpy as np
    >>> from spikedrf import SpikedRFClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((3000, 20))
    >>> y = np.where(np.sin(2.0 * X[:, 0]) > 0, "up", "down")
    >>> train, test = slice(0, 2000), slice(2000, 3000)
    >>> for n_steps in (0, "auto"):
    ...     model = SpikedRFClassifier(300, n_steps=n_steps, random_state=0)
    ...     print(round(model.fit(X[train], y[train]).score(X[test], y[test]), 1))
    0.7
    1.0
    """

    def __init__(
        self,
        n_components: int = 1000,
        *,
        activation: FunctionLike = "tanh",
        step_size: Any = "auto",
        n_steps: Any = "auto",
        metric: Any = "auto",
        alpha: Any = "auto",
        loss: LossLike = "logistic",
        class_weight: Any = None,
        readout: Any = (1.0, -1.0),
        step_fraction: Any = "auto",
        update: str = "full",
        bias: bool = True,
        scale: bool = True,
        fit_intercept: bool = True,
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
        self.alpha = alpha
        self.loss = loss
        self.class_weight = class_weight
        self.readout = readout
        self.step_fraction = step_fraction
        self.update = update
        self.bias = bias
        self.scale = scale
        self.fit_intercept = fit_intercept
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.W0 = W0
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Draw the first layer, choose and take the step, choose the ridge and fit the readout.

        Parameters
        ----------
        X : array_like, sparse matrix or Dask array, shape (n, d)
            Inputs, float64 or float32. A Dask array has all columns of a row in one block; step,
            gradients and Hessians are summed where the blocks are.
        y : array_like, shape (n,)
            Labels, of at least two classes.
        sample_weight : array_like, shape (n,), optional
            Weights, >= 0: weight 2 is a row twice, weight 0 a row absent.

        Returns
        -------
        SpikedRFClassifier
            Itself.
        """
        loss = resolve_loss(self.loss)
        if not loss.margin:
            raise ValueError(
                f"loss={loss.name!r} is for numbers: SpikedRFRegressor takes it; "
                f"SpikedRFClassifier takes losses of the margin"
            )
        rows = self._labelled_rows(X, y, sample_weight)
        for name in ("step_errors_", "step_gain_", "step_gain_sem_", "cv_loss_", "cv_losses_"):
            self.__dict__.pop(name, None)
        with metered(flag("verbose", self.verbose)):
            self._fit_under(loss, rows, per_target=False)
        return self

    def _labelled_rows(self, X: Any, y: Any, sample_weight: Any) -> Rows:
        """Check the data; labels become one column of +-1 for two classes, one a class for more."""
        X, y, sample_weight = lazy(X), lazy(y), lazy(sample_weight)
        if is_dask(X):
            y, sample_weight = in_memory(*aligned(X, y, sample_weight))
            self._require_columns(X)
            y = column_or_1d(y, warn=True)
        elif is_dask(y):
            raise ValueError("y must be in memory if X is: y.compute()")
        else:
            X, y = self._validated(X, y, reset=True)
        check_classification_targets(y)
        weight = self._weight(sample_weight, y[:, None]).copy()
        present = weight > 0
        self.classes_ = np.unique(y[present])
        if len(self.classes_) < 2:
            raise ValueError(
                f"y must have at least two classes of positive weight, got one class: "
                f"{self.classes_.tolist()[0]!r}"
            )
        label = np.searchsorted(self.classes_, y[present])
        weight[present] *= self._class_weight(label, weight[present])[label]
        self._one_target = len(self.classes_) == 2
        signs = np.full((len(y), len(self.classes_)), -1.0)
        signs[np.flatnonzero(present), label] = 1.0
        signs = signs[:, 1:] if self._one_target else signs
        if is_dask(X):
            return self._in_blocks(X, aligned(X, signs, weight), signs, weight)
        return self._present(X, signs, weight, reset=True)

    def _class_weight(self, label: NDArray[np.int64], weight: Floats) -> Floats:
        """Return the weight of each class."""
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            total = np.bincount(label, weight)
            return np.asarray(weight.sum() / (len(total) * total))
        # Numbers of labels, which are not needed otherwise, do not know of sample weights.
        factors = compute_class_weight(
            self.class_weight, classes=self.classes_, y=self.classes_[label]
        )
        return real_array("class_weight", factors, minimum=0.0, exclusive=True)

    # ---------------------------------------------------------------------------------------------
    # Using

    def _mapped(self, method: str, X: Any, one: bool, dtype: Any = None) -> Any:
        """Return what a method makes of a Dask array, ``one`` number of each row or several."""
        X = lazy(X)
        self._weights_for(X)
        return map_rows(self, method, X, () if one else (len(self.classes_),), dtype)

    def decision_function(self, X: Any) -> Any:
        """Return the output of the network for each class.

        Parameters
        ----------
        X : array_like, sparse matrix or Dask array, shape (n, d)
            Inputs.

        Returns
        -------
        ndarray, shape (n,) or (n, classes)
            For two classes the output for the second: with the logistic loss its log-odds.
        """
        if is_dask(lazy(X)):
            return self._mapped("decision_function", X, self._one_target)
        outputs = self._outputs(X)
        return np.asarray(outputs[:, 0] if self._one_target else outputs)

    def predict(self, X: Any) -> Any:
        """Predict labels: the class of the largest output.

        Parameters
        ----------
        X : array_like, sparse matrix or Dask array, shape (n, d)
            Inputs.

        Returns
        -------
        ndarray, shape (n,)
            Of ``classes_``.
        """
        if is_dask(lazy(X)):
            return self._mapped("predict", X, True, self.classes_.dtype)
        outputs = self.decision_function(X)
        at = (outputs > 0).astype(int) if self._one_target else np.argmax(outputs, axis=1)
        return np.asarray(self.classes_[at])

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> Any:
        """Estimate probabilities, by the logistic loss.

        Parameters
        ----------
        X : array_like, sparse matrix or Dask array, shape (n, d)
            Inputs.

        Returns
        -------
        ndarray, shape (n, classes)
            Of each of ``classes_``. For more than two they are those of one class against the rest,
            scaled to add up to 1.
        """
        if is_dask(lazy(X)):
            return self._mapped("predict_proba", X, False)
        return np.asarray(np.exp(self.predict_log_proba(X)))

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithms of `predict_proba`, also of those too small for it.

        Parameters
        ----------
        X : array_like, sparse matrix or Dask array, shape (n, d)
            Inputs.

        Returns
        -------
        ndarray, shape (n, classes)
        """
        if is_dask(lazy(X)):
            return self._mapped("predict_log_proba", X, False)
        outputs = self.decision_function(X)
        if self._one_target:
            return np.column_stack([log_expit(-outputs), log_expit(outputs)])
        against_rest = log_expit(outputs)
        return np.asarray(against_rest - logsumexp(against_rest, axis=1, keepdims=True))
