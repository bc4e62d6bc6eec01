"""Regression on random features that have learned a direction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from spikedrf.activations import FunctionLike
from spikedrf.estimators.distributed import is_dask, lazy, map_rows
from spikedrf.estimators.forecast import (
    curve_of,
    ridges_about,
    statistics_of,
    statistics_of_learned,
    statistics_of_sums,
)
from spikedrf.estimators.network import ChosenLayer
from spikedrf.estimators.rows import Rows, Units
from spikedrf.estimators.selection import Choice, judged
from spikedrf.estimators.streams import STATISTICS, StreamMixin, is_square
from spikedrf.losses import Huber, Loss, LossLike, PseudoHuber
from spikedrf.losses import resolve as resolve_loss
from spikedrf.parameters import Floats, flag, real_array
from spikedrf.readout.convex import robust_scale
from spikedrf.readout.leave_one_out import RidgePath
from spikedrf.running.progress import metered
from spikedrf.theory.forecast import Forecast

#: Where a Huber loss begins to be linear, in robust standard deviations of the target: 95% as
#: efficient as least squares if there are no outliers (Huber, Robust Statistics, 1981).
_EPSILON = 1.35
_OF_THE_SQUARE = ("loo_error_", "loo_errors_", "step_gain_", "step_gain_sem_")
_OF_OTHERS = ("delta_", "step_errors_", "cv_loss_", "cv_losses_", "n_iter_")


class SpikedRFRegressor(RegressorMixin, StreamMixin):
    r"""Ridge regression, or a robust or quantile one, on features that follow the target.

    A two-layer network of width ``p`` whose first layer, random features, takes gradient steps
    (`SpikedRandomFeatures`) and whose readout minimises::

        sum_mu loss(y_mu, b + Phi_mu . a / sqrt p) + (alpha/2) |a|^2

    so that ``alpha`` is ``lam`` of the theory, with the square loss ``(y - h)^2 / 2`` or another.
    Steps and ridge are chosen from the data, no step among the candidates. Inputs are standardised
    first, see ``scale``.

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
        Ridge, >= 0, and > 0 for losses other than the square. Of several, or of the grid that
        ``"auto"`` adapts to the data, the best is taken.
    loss : {"square", "huber", "pseudo_huber", "quantile", "absolute"} or Loss
        Loss of the readout: a name, or a member of `spikedrf.losses` with its parameters, such as
        ``losses.Huber(delta=0.1)``, in units of the targets, or ``losses.Quantile(level=0.9)``.
        The names ``"huber"`` and ``"pseudo_huber"`` take as ``delta`` 1.35 times a robust standard
        deviation of each target: 1.48 times the median distance from its median.
        With one other than the square there is no `partial_fit`: see Notes.
    readout : "normal" or array_like, shape (K,)
        The vocabulary of the initial readout, in equal proportions; ``"normal"`` draws it.
        Several targets have a network each, of an equal share of the neurons.
    step_fraction : float or "auto"
        Share of the rows that feed the step; the rest feed the readout, and the choice is made by
        their exact leave-one-out error. With 1 all rows do both, and that error is optimistic
        about large steps. ``"auto"`` also uses all rows for both, but makes the choice by fits
        that leave out a fifth of the rows from the step as well, and takes a step only if it
        improves on none by more than two standard errors: of the rules compared in
        docs/real_data.md, on real and synthetic data with 1 to 100 rows for each input, the one
        that gained most among those that hardly ever fell short of no step.
    update : {"full", "rank_one"}
        The real gradient, or only the spike that it plants, for O(n0 d) instead of O(n0 p d).
    bias : bool
        Whether a constant is appended to the inputs, so that the features have offsets.
    fit_intercept : bool
        Whether ``b``, which is not penalised, is fitted; otherwise it is 0.
    alpha_per_target : bool
        Whether each target has its own ridge.
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
    weights_, offsets_, readout_, spike_, n_features_in_, feature_names_in_
        As in `SpikedRandomFeatures`.
    readout_coef_ : ndarray, shape (n_components,) or (targets, n_components)
        ``a / sqrt p``: predictions are ``transform(X) @ readout_coef_.T + intercept_``.
    intercept_ : float or ndarray, shape (targets,)
        ``b``.
    alpha_ : float or ndarray, shape (targets,)
        The ridge; an array if ``alpha_per_target``.
    step_size_ : float
        The step; 0 if none was better. Of several how far they have moved the weights, beside
        their length.
    loo_error_ : float or ndarray, shape (targets,)
        Of the square loss. Estimated mean squared error on new rows at the choice: every row
        predicted by a fit that left it out, of the readout and, with ``step_fraction="auto"``
        where there was something to choose and a step was taken, of the step. Infinite without
        a ridge where a row alone determines its fit. An array if ``alpha_per_target``. After
        several steps the error on the rows held out of them.
    step_sizes_, alphas_ : ndarray, shapes (S,) and (A,)
        What was tried.
    loo_errors_ : ndarray, shape (S, A)
        The same estimate for each, averaged over targets. Of a step that was only screened, or
        compared with its neighbours, it is that of a fifth of the rows or some, scaled by the
        errors without a step there and everywhere, and, where half of the neurons screened, by
        those of a size that was tried with both; from 2000 rows on that also holds for ridges that
        are not near the best. After several
        steps one row: leave-one-out errors of the readout, scaled so that the chosen one is
        ``loo_error_``, of the rows that have taken none of the steps; of all where these are few.
    steps_ : structured ndarray
        The moves that made the first layer, in their order: ``kind``, ``size``, ``ridge`` and
        ``error``, the mean squared error on rows held out, NaN where none were. Kinds are
        ``"plain"`` (the plain features, which the others had to beat), ``"scale"`` (weights on a
        sphere of that radius), ``"gradient"`` (the gradient step of a readout +-1, beside the
        length of the weights; of one step its ``step_size_``), ``"full"`` and ``"diagonal"``
        (weights drawn in a metric), ``"step"`` and ``"restart"`` (a step with momentum and
        without, the root mean square distance that neurons move) and ``"width"`` (so many
        neurons, the new ones in the last metric).
    metric_ : ndarray, shape (d, d), or None
        Mean of ``grad f grad f^T`` of the fitted function over the scaled inputs, of trace d;
        None after `partial_fit`, without a derivative, and for more than 2048 inputs.
    feature_importances_ : ndarray, shape (d,)
        Its diagonal, over d. After `partial_fit`, which keeps no rows to measure the gradients at,
        their mean is over ``N(0, I)`` in the scaled inputs, by a sample that is always the same.
    directions_, strengths_ : ndarray, shapes (k, d) and (k,)
        Leading directions of the first layer among the scaled inputs, at most ten, and the root
        mean square of the weights along them.
    bounds_ : ndarray, shape (2, d), or None
        What scaled inputs are clipped at, after several steps: ten standard deviations, the range
        of the rows of the fit, and about that of all but the outermost thousandth.
    step_gain_, step_gain_sem_ : float
        What the best step gains over none, in R^2, by cross-fitting, and its standard error: the
        step is taken if it gains more than two of them. NaN if there was no such comparison. Of
        losses other than the square as in `SpikedRFClassifier`.
    cv_loss_ : float or ndarray, shape (targets,)
        Of other losses, if there was a ridge to choose. Estimated mean loss on new rows: every
        row predicted by a fit that left out a fifth of the rows, of the readout and of the step.
    cv_losses_ : ndarray, shape (A,)
        The same for each of ``alphas_``, averaged over targets.
    step_errors_ : ndarray, shape (S,)
        Of other losses, if there was a step to choose. What it was chosen by: the estimated mean
        squared error of ridge regression of the targets of the step (see Notes) at its best ridge.
    delta_ : float or ndarray, shape (targets,)
        Of a Huber loss. Where it begins to be linear, in units of the target.
    n_iter_ : ndarray of int, shape (targets,)
        Of other losses. Iterations of the solver.
    forecast_statistics_ : dict
        Of the square loss. What `forecast` reads: degrees of freedom and errors over the effective
        ridge, as far as the rows show them.

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
    SpikedRFClassifier : The same for classes.
    SpikedRandomFeatures : The features alone.
    spikedrf.theory.solve : What test error to expect.

    Notes
    -----
    Leave-one-out errors are exact, from one factorisation for each step: a residual over
    ``1 - leverage``. They are honest only if the row did not feed the step. Cross-fitting
    (``step_fraction="auto"``) judges the fit that will be used, step and readout from the same
    rows, which for most data is better than either half of them; where labels are noisy and rows
    few it finds that no step is best. Steps are chosen on at most ``max(10000, 10 p)`` rows.

    Several steps follow the fitted function ``f``, and every move is judged by rows that neither
    took it nor fitted its readout: a fifth of them from 3000 on, three folds below. First come
    the scale of the weights and the gradient step of a readout +-1. Then up to ten rounds draw
    the weights anew for inputs ``(M + 0.03)^(1/2) x``, ``M`` the mean of ``grad f grad f^T``, or
    its diagonal. Then neurons move down the gradient of the squared error at the fitted readout,
    by backtracking. Rounds end where the last two, and steps where the last four, have gained less
    than a hundredth; a metric clearly behind the other, and a start that is not needed, are given
    up. All that is done with 500 of the neurons; the others are then drawn in the metric. If the
    whole gains less than two standard errors over plain features, these are taken.

    A move costs ``2 n m d + n m^2 + m^3/3`` multiplications in single precision, ``m = min(p,
    500)`` and ``n`` at most 8192 rows: 25 to 50 of them, three times that many with three folds,
    and then ``2 n p^2`` once or twice for the width. Memory is ``O(p^2)`` and 8192 rows of inputs.
    It works on one thread, or ``n_jobs`` of them, and does not depend on their number.

    One step costs a pass over the rows, for the features and their p x p Gram matrix (n x n if
    there are fewer rows than features), for each of five fits without a fifth of the rows, a
    quarter of one for each of seven sizes, which half of the neurons rank, two for the neighbours
    of the best, and one without a step.
    From 2000 rows on these are in single precision unless the best ridge is below 1e-3 of the
    features' variance. Memory is O(p^2), not O(n p).

    With a loss other than the square the targets of the step are ``-loss'(y, b)`` at the best
    constant ``b``: deviations from the mean for the square loss, and bounded for those that do not
    trust every ``y``. Its size is chosen by ridge regression of them, as above; whether it is
    taken, and the ridge, by the loss itself on rows left out, in five folds. A smooth loss is
    minimised by SciPy's L-BFGS in white coordinates and then Newton's method, one with a kink by
    the method of multipliers (`spikedrf.readout.convex.fit_readout`). All features have to be in
    memory, O(n p).

    Source: theory.md, sections 1, 5 and 11; Cui et al., ICML 2024, arXiv 2402.04980.

    Examples
    --------
    >>> import numpy as np
    >>> from spikedrf import SpikedRFRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((3000, 20))
    >>> y = np.sin(2.0 * X[:, 0])
    >>> train, test = slice(0, 2000), slice(2000, 3000)
    >>> for n_steps in (0, "auto"):
    ...     model = SpikedRFRegressor(300, n_steps=n_steps, random_state=0)
    ...     print(round(model.fit(X[train], y[train]).score(X[test], y[test]), 1))
    0.2
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
        loss: LossLike = "square",
        readout: Any = (1.0, -1.0),
        step_fraction: Any = "auto",
        update: str = "full",
        bias: bool = True,
        scale: bool = True,
        fit_intercept: bool = True,
        alpha_per_target: bool = False,
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
        self.readout = readout
        self.step_fraction = step_fraction
        self.update = update
        self.bias = bias
        self.scale = scale
        self.fit_intercept = fit_intercept
        self.alpha_per_target = alpha_per_target
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.W0 = W0
        self.random_state = random_state

    # ---------------------------------------------------------------------------------------------
    # Fitting

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Draw the first layer, choose and take the step, choose the ridge and fit the readout.

        Parameters
        ----------
        X : array_like, sparse matrix or Dask array, shape (n, d)
            Inputs, float64 or float32. A Dask array has all columns of a row in one block; step,
            Gram matrix and, with another loss, gradients are summed where the blocks are.
        y : array_like, shape (n,) or (n, targets)
            Targets.
        sample_weight : array_like, shape (n,), optional
            Weights, >= 0: weight 2 is a row twice, weight 0 a row absent.

        Returns
        -------
        SpikedRFRegressor
            Itself.
        """
        loss = resolve_loss(self.loss)
        X = lazy(X)
        if loss.margin:
            raise ValueError(
                f"loss={loss.name!r} is for classes: SpikedRFClassifier takes it; "
                f"SpikedRFRegressor takes losses of y - h"
            )
        rows = self._rows(X, y, sample_weight, reset=True)
        self._forget()
        if not is_square(self):
            per_target = flag("alpha_per_target", self.alpha_per_target)
            with metered(flag("verbose", self.verbose)):
                self._fit_under(loss, rows, per_target=per_target)
            if isinstance(loss, Huber | PseudoHuber):
                units = rows.units
                inner = [
                    self._in_units_of(loss, y / units.y, rows.weight, units.y) for y in rows.y.T
                ]
                every = np.array([its.delta * units.y for its in inner])  # type: ignore[attr-defined]
                self.delta_: Any = float(every[0]) if self._one_target else every
            return self
        units = rows.units
        first, alpha = self._fit_ridge_layer(rows, units)
        layer, choice, rows = first.stepped.layer, first.choice, first.rows
        weights = self.layer_
        targets = rows.y.shape[1]
        # A path of one ridge says nothing of others, which the forecast wants.
        if choice is not None and choice.path is not None and first.alphas.size > 1:
            a, b = choice.path.readouts
            at = np.arange(targets)
            a, b = a[:, choice.alpha, at], b[choice.alpha, at]
            self._store_readout(a * units.y, b * units.y)
            self._store_metric(layer.activation, rows)
            self._remember(choice.path, first, units, first.alphas)
            return self
        coef, intercept = np.empty((len(weights), targets)), np.empty(targets)
        # Targets that share a ridge share a factorisation.
        for value in np.unique(alpha):
            # The first path tells what the forecast needs, from the errors of several ridges.
            known = hasattr(self, "forecast_statistics_")
            about = np.array([value]) if known else ridges_about(float(value), rows.weight)
            path = layer.ridge_path(rows, weights, about, intercept=bool(self.fit_intercept))
            ours = alpha == value
            a, b = path.readouts
            coef[:, ours], intercept[ours] = a[:, 0, ours], b[0, ours]
            if not known:
                self._remember(path, first, units, about)
            if choice is None:  # a single candidate, not judged yet
                self._store_errors(judged(path, self.step_size_), np.array([value]), units)
        self._store_readout(coef * units.y, intercept * units.y)
        self._store_metric(layer.activation, rows)
        return self

    def _fit_ridge_layer(self, rows: Rows, units: Units) -> tuple[ChosenLayer, Floats]:
        """Choose and take the step; return it and the ridge of each target, in units."""
        alphas = self._candidates("alpha", self.alpha, minimum=0.0)
        if alphas is not None:
            alphas = alphas / units.weight
        per_target = flag("alpha_per_target", self.alpha_per_target)
        with metered(flag("verbose", self.verbose)):
            first = self._fit_first_layer(rows.in_units(units), alphas, per_target=per_target)
        self._moves[:, 2] *= units.weight
        self._moves[:, 3] *= units.y**2
        if first.choice is None:
            alpha = np.broadcast_to(first.alphas, (rows.y.shape[1],))
        else:
            alpha = first.alphas[first.choice.alpha]
            self._store_errors(first.choice, first.alphas, units)
        ridge = alpha * units.weight
        self.alpha_: Any = ridge if per_target else float(ridge[0])
        return first, alpha

    def _remember(self, path: RidgePath, first: ChosenLayer, units: Units, lam: Floats) -> None:
        """Keep what `forecast` needs."""
        intercept, choice = bool(self.fit_intercept), first.choice
        kept = None
        if choice is not None:
            kept = statistics_of_learned(
                first.stepped,
                path,
                first.rows,
                lam,
                choice.error,
                salt=first.salt,
                intercept=intercept,
                units=units,
            )
        if kept is None:
            kept = statistics_of(path, first.rows, lam, intercept=intercept, units=units)
            if choice is not None and choice.step_size != 0.0:
                alpha = first.alphas[choice.alpha] * units.weight
                kept["cross_fitted"] = np.stack([alpha, choice.error])
        self.forecast_statistics_ = kept

    def _forget(self) -> None:
        """Forget what a fit under another loss, or a stream, has left."""
        left = [
            "stream_parameters_",
            "forecast_statistics_",
            *(f"statistics_{name}_" for name in STATISTICS),
        ]
        for name in [*left, *_OF_THE_SQUARE, *_OF_OTHERS]:
            self.__dict__.pop(name, None)

    def _in_units_of(self, loss: Loss, y: Floats, weight: Floats, unit: float) -> Loss:
        """Return the loss for a target that is in units of ``unit``.

        A Huber loss by name begins to be linear where a target's own scale says so.
        """
        if not (isinstance(self.loss, str) and isinstance(loss, Huber | PseudoHuber)):
            return loss.rescaled(unit)
        return type(loss)(_EPSILON * robust_scale(y, weight))

    # ---------------------------------------------------------------------------------------------
    # What a fit leaves

    def _store_errors(self, choice: Choice, alphas: Floats, units: Units) -> None:
        self.step_sizes_, self.alphas_ = choice.step_sizes, alphas * units.weight
        self.loo_errors_ = choice.errors.mean(axis=2) * units.y**2
        self.step_gain_, self.step_gain_sem_ = choice.gain, choice.gain_sem
        if self.alpha_per_target:
            self.loo_error_: Any = choice.error * units.y**2
        else:
            self.loo_error_ = float(choice.error.mean() * units.y**2)

    def _store_readout(self, coef: Floats, intercept: Floats) -> None:
        super()._store_readout(coef, intercept)
        if self._one_target:
            self.readout_coef_, self.intercept_ = self.readout_coef_[0], self.intercept_[0]

    # ---------------------------------------------------------------------------------------------
    # Using

    def forecast(
        self,
        n: ArrayLike,
        *,
        alpha: ArrayLike | None = None,
        n_components: int | None = None,
        level: float = 0.9,
    ) -> Forecast:
        """Forecast the errors of this first layer's readout fitted to other numbers of rows.

        The deterministic equivalent of ridge regression on the features, whose second moments and
        leave-one-out errors the fit has measured (`theory.from_features`). The first layer stays as
        it is: more rows may also find a better one, which no formula foresees, so for layers that
        have learned much from few rows the truth tends to be better than the forecast.

        Parameters
        ----------
        n : float or array_like
            Numbers of rows, > 0; ``inf`` is what no number of rows can better with these features.
        alpha : float or array_like, optional
            Ridge, > 0, broadcast with ``n``; by default the best at each ``n``.
        n_components : int, optional
            Another number of features of the same law: drawn, or learned, like these.
        level : float
            Probability of the range, between 0 and 1.

        Returns
        -------
        theory.Forecast
            ``r2``, ``test_error``, ``train_error``, their range, and the ridge.

        Raises
        ------
        TypeError, ValueError
            If an argument is out of range, or the loss is not the square.
        sklearn.exceptions.NotFittedError
            If there has been no fit.

        Notes
        -----
        Costs nothing that grows with the rows. After `partial_fit` only sums over rows are known:
        then the formula is not held to leave-one-out errors, and the range is wider. Features
        learned from the rows know their targets: these are measured on rows that were held out of
        that, of the layers made without them. Where forecasts fail, and how often ranges hold the
        truth, is in docs/forecasts.md. Sources: Schroeder et al., arXiv 2402.13999; Simon et al.,
        arXiv 2311.14646.

        Examples
        --------
        >>> import numpy as np
        >>> from spikedrf import SpikedRFRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.standard_normal((500, 5))
        >>> y = np.sin(X[:, 0]) + 0.3 * rng.standard_normal(500)
        >>> model = SpikedRFRegressor(100, random_state=0).fit(X, y)
        >>> bool((np.diff(model.forecast([250, 500, 5000, np.inf]).r2) > 0).all())
        True
        """
        check_is_fitted(self, "readout_coef_")
        if not is_square(self):
            raise ValueError(
                f"forecast needs loss='square', got loss={self.loss!r}: what 'huber', "
                f"'pseudo_huber', 'quantile' and 'absolute' do depends on more of the features "
                f"than their second moments"
            )
        if alpha is not None:
            alpha = real_array("alpha", alpha, minimum=0.0, exclusive=True)
        if not hasattr(self, "forecast_statistics_"):
            targets = np.atleast_2d(self.readout_coef_).shape[0]
            self.forecast_statistics_ = statistics_of_sums(self._statistics(targets))
        curve = curve_of(self.forecast_statistics_, single=self._one_target)
        return curve.solve(n, alpha, n_components=n_components, level=level)

    def predict(self, X: Any) -> Any:
        """Predict targets.

        Parameters
        ----------
        X : array_like, sparse matrix or Dask array, shape (n, d)
            Inputs.

        Returns
        -------
        ndarray or Dask array, shape (n,) or (n, targets)
            Of a Dask array not computed yet.
        """
        X = lazy(X)
        if is_dask(X):
            self._weights_for(X)
            return map_rows(self, "predict", X, np.shape(self.intercept_))
        return self._outputs(X)
