"""What the estimators with a readout share: the choice of the step, the readout under a loss."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from spikedrf.arrays import Array
from spikedrf.estimators.base import FirstLayerMixin
from spikedrf.estimators.cross_fitting import MARGIN, cross_fit
from spikedrf.estimators.cross_validation import CrossFit, Penalties
from spikedrf.estimators.distributed import DistributedRows
from spikedrf.estimators.features_of_rows import problem_of
from spikedrf.estimators.layer import InitialLayer, LayerStep, SteppedLayer
from spikedrf.estimators.moves import Entry, Move
from spikedrf.estimators.planning import MOST_ROWS, Clipped, Plan, PlannedLayer
from spikedrf.estimators.rows import Rows, dense_blocks
from spikedrf.estimators.selection import Choice, Task, choose_on
from spikedrf.features import feature_map
from spikedrf.losses import Loss
from spikedrf.parameters import Floats, flag, real_array
from spikedrf.readout.convex import Readout, ReadoutProblem, best_constant

#: Rows that a step is chosen on: at least so many, and so many for each feature.
_ENOUGH_ROWS, _ENOUGH_PER_FEATURE = 10_000, 10
#: Relative duality gap that a readout is brought to, if rounding lets it, and that it must have.
_AIM, _ACCURACY = 1e-18, 1e-8
#: So many rows that have taken none of the moves choose the ridge alone.
_JUDGES = 500


class ChosenLayer(NamedTuple):
    """A first layer whose step has been chosen.

    Attributes
    ----------
    stepped : SteppedLayer
    rows : Rows
        The rows of the readout, of distinct inputs.
    alphas : ndarray, shape (alphas,)
        The ridges that there were to choose from with the step.
    choice : Choice or None
        None if there was nothing to choose.
    salt : int
        What rows are dealt out by.
    drawn : InitialLayer
        The layer before all.
    """

    stepped: SteppedLayer
    rows: Rows
    alphas: Floats
    choice: Choice | None
    salt: int
    drawn: InitialLayer


class NetworkMixin(FirstLayerMixin):
    """A first layer, its step chosen from the data, and a linear readout."""

    step_size: Any
    alpha: Any
    fit_intercept: bool
    n_jobs: int | None
    verbose: bool

    def _fit_first_layer(
        self, rows: Rows, alphas: Floats | None, *, per_target: bool, squares: bool = True
    ) -> ChosenLayer:
        """Choose and take the step, by the squared error of ridge regression on its features.

        Parameters
        ----------
        rows : Rows
            Their targets are those of the step; these and the weights in `Rows.units`.
        alphas : ndarray, shape (alphas,), optional
            Ridges to choose from at the same time, in the same units.
        per_target : bool
            Whether each target has its own ridge.
        squares : bool
            Whether the ridge is that of the readout; otherwise none is chosen with a plan.
        """
        step_sizes = self._candidates("step_size", self.step_size)
        layer, salt = self._draw(rows)
        rows = rows.distinct(salt)
        if self._intention.steps == 0 and not self._intention.planned:
            step_sizes = np.zeros(1)
        steps = step_sizes is None or bool(np.any(step_sizes != 0.0))
        feeding, fresh = self._split(rows, salt)
        if steps and not self._learns(rows):
            steps, step_sizes = False, np.zeros(1)
        found = None
        if steps and self._plans(rows):
            intercept = flag("fit_intercept", self.fit_intercept)
            found = self._search(
                layer, rows, salt, intercept=intercept, n_jobs=self.n_jobs, squares=squares
            )
            if found.layer is not None:
                return self._fit_planned_layer(
                    found, layer, rows, alphas, salt, per_target=per_target, squares=squares
                )
            steps, step_sizes = False, np.zeros(1)
        elif steps and self._protocol:
            assert step_sizes is not None
            layer = self._several_given(layer, feeding, float(step_sizes[0]), salt)
            feeding = self._parts(feeding, salt)[-1]
        if alphas is None:
            alphas = self._default_alphas(layer, rows, salt)
        step: LayerStep | None = layer.step(feeding) if steps else None
        if step is not None and step.degenerate:
            self._warn_degenerate()
            step, step_sizes = None, np.zeros(1)
        scalar = step_sizes is not None and np.ndim(self.step_size) == 0
        intercept = flag("fit_intercept", self.fit_intercept)
        choice = None
        if (scalar or step is None) and alphas.size == 1:
            eta = 0.0 if step is None else float(step_sizes[0])  # type: ignore[index]
        else:
            task = Task(layer, step_sizes, alphas, per_target, intercept, self.n_jobs)
            choice = self._choose(task, step, rows, fresh, salt, scalar)
            eta = choice.step_size
        step = step if eta != 0.0 else None
        self._store_layer(layer, step, eta, rows.y.shape[1])
        if found is not None:
            self._store_plan(found, rows)
            if choice is not None:
                choice = replace(choice, gain=found.gain, gain_sem=found.gain_sem)
        else:
            self._store_choice(choice, alphas, eta)
        same = step is not None and fresh is rows and not self._protocol
        stepped = SteppedLayer(layer, step, eta, rows if same else None)
        ours = rows if step is None else fresh
        return ChosenLayer(stepped, ours, alphas, choice, salt, layer)

    def _fit_planned_layer(
        self,
        found: Plan,
        drawn: InitialLayer,
        rows: Rows,
        alphas: Floats | None,
        salt: int,
        *,
        per_target: bool,
        squares: bool,
    ) -> ChosenLayer:
        """Choose the ridge on a layer that a plan has made, by the leave-one-out error.

        Of the rows that have taken no step, if there are enough of these. Of the others that error
        is optimistic, though it ranks ridges well. All errors are scaled so that the one at the
        choice is that of the rows held out of the plan.
        """
        planned = found.layer
        assert planned is not None
        layer, rows = planned.layer, found.rows
        self._store_layer(layer, None, 0.0, rows.y.shape[1])
        self._store_plan(found, rows)
        if not squares:
            error = found.error * np.where(rows.variance > 0, rows.variance, 1.0)
            sizes, at = np.array([found.size]), np.zeros(error.size, np.int64)
            gains = found.gain, found.gain_sem
            choice = Choice(found.size, at, error, sizes, error[None, None], *gains)
            return ChosenLayer(planned, rows, np.ones(1), choice, salt, drawn)
        if alphas is None:
            alphas = self._default_alphas(layer, rows, salt)
        intercept = flag("fit_intercept", self.fit_intercept)
        task = Task(layer, np.zeros(1), alphas, per_target, intercept, self.n_jobs)
        some = self._enough(rows, salt)
        apart = planned.apart(some)
        judging = apart if np.count_nonzero(apart) >= _JUDGES else None
        choice = choose_on(task, None, some, some, judging=judging)
        mean = float(np.mean(choice.error / task.unit(rows)))
        factor = found.error / mean if 0.0 < mean < np.inf else 1.0
        choice = replace(
            choice,
            step_size=found.size,
            step_sizes=np.array([found.size]),
            error=factor * choice.error,
            errors=factor * choice.errors,
            gain=found.gain,
            gain_sem=found.gain_sem,
            path=choice.path if len(some) == len(rows) else None,
        )
        return ChosenLayer(planned, rows, alphas, choice, salt, drawn)

    def _store_choice(self, choice: Choice | None, alphas: Floats, eta: float) -> None:
        """Keep what is known of no step and, if it was taken, one."""
        sizes = [0.0] if eta == 0.0 else [0.0, eta]
        known: dict[float, tuple[float, float]] = {}
        if choice is not None:
            means = choice.errors.mean(axis=2)
            for size, row in zip(choice.step_sizes.tolist(), means, strict=True):
                known[size] = float(alphas[np.argmin(row)]), float(row.min())
        self._store_steps(
            Entry(Move("gradient" if size else "plain", size), *known.get(size, (np.nan, np.nan)))
            for size in sizes
        )

    def _choose(
        self, task: Task, step: LayerStep | None, rows: Rows, fresh: Rows, salt: int, scalar: bool
    ) -> Choice:
        if step is None:
            return choose_on(task, None, rows, rows)
        forced = float(task.step_sizes[0]) if scalar and task.step_sizes is not None else None
        if isinstance(self.step_fraction, str):
            some = self._enough(rows, salt)
            choice = cross_fit(task, some, step.strength, salt, forced=forced)
            if choice.step_size == 0.0 and len(some) < len(rows):
                # The ridge of plain random features, from all rows, as if there were no step.
                plain = self._choose(task, None, rows, rows, salt, scalar)
                choice = replace(choice, alpha=plain.alpha, error=plain.error, path=plain.path)
            return choice
        return choose_on(task, step, fresh, rows, forced=forced)

    def _enough(self, rows: Rows, salt: int) -> Rows:
        """Return the rows, or of very many a random part that is enough to choose on: here."""
        enough = max(_ENOUGH_ROWS, _ENOUGH_PER_FEATURE * int(self.n_components))
        if len(rows) <= enough:
            return rows.here()
        rank = np.unique(rows.keys(salt), return_inverse=True)[1]
        return rows.here(rank < enough)

    def _candidates(
        self, name: str, value: Any, minimum: float = -np.inf, *, exclusive: bool = False
    ) -> Floats | None:
        if isinstance(value, str):
            if value != "auto":
                raise ValueError(f"{name} must be a number, an array or 'auto', got {value!r}")
            return None
        array = real_array(name, value, minimum=minimum, exclusive=exclusive)
        if array.ndim > 1 or array.size == 0:
            raise ValueError(
                f"{name} must be a number, a list of numbers or 'auto', got shape {array.shape}"
            )
        return np.atleast_1d(array)

    def _default_alphas(self, layer: InitialLayer, rows: Rows, salt: int) -> Floats:
        """Two ridges a decade, from next to nothing to more than all that the features hold.

        In units of the variance of a feature and the mean weight of the n distinct rows:
        ``Phi^T Phi / p`` has eigenvalues up to n times them.
        """
        _, first, copy = np.unique(rows.keys(salt), return_index=True, return_inverse=True)
        some = rows.here(first[:2000])
        whole = np.bincount(copy, rows.weight)
        share = whole[:2000] / whole[:2000].sum()
        mean, square = np.zeros(len(layer.W)), np.zeros(len(layer.W))
        for part, phi, _, _ in layer.feature_blocks(some, layer.W):
            mean += share[part] @ phi
            square += share[part] @ phi**2
        variance = float(np.mean(np.maximum(square - mean**2, 0.0)))
        top = max(3.0, np.ceil(np.log10(len(first))))
        grid = np.logspace(-6, top, int(2 * (top + 6)) + 1)
        return grid * (variance if variance > 0 else 1.0) * float(whole.mean())

    # ---------------------------------------------------------------------------------------------
    # The readout

    def _fit_under(self, loss: Loss, rows: Rows, *, per_target: bool) -> None:
        """Choose and take the step, choose the ridge by the loss on rows left out, fit.

        The targets of the step are what the loss pulls at if the network is the best constant,
        ``-loss'(y, b)``: for the square loss deviations from the mean, for a robust one bounded.
        Of two classes they are, standardised, the labels themselves.
        """
        alphas = self._candidates("alpha", self.alpha, minimum=0.0, exclusive=True)
        units = rows.units
        rows = rows.in_units(units)
        losses = [self._in_units_of(loss, y, rows.weight, units.y) for y in rows.y.T]
        # loss(y, h) is units.y^degree times that in units of it, and |a|^2 is units.y^2 times.
        ridge = units.weight * units.y ** (loss.degree - 2)
        if alphas is not None:
            alphas = alphas / ridge
        of_targets = list(zip(rows.y.T, losses, strict=True))
        constants = np.array([best_constant(y, its, rows.weight) for y, its in of_targets])
        pull = np.column_stack(
            [its.derivative(y, b) for (y, its), b in zip(of_targets, constants, strict=True)]
        )
        several = isinstance(self.step_size, str) or np.ndim(self.step_size) > 0
        first = self._fit_first_layer(
            rows.labelled(rows.y if loss.margin else -pull),
            None if several else np.ones(1),
            per_target=False,
            squares=False,
        )
        self.step_sizes_ = np.array([first.stepped.step_size])
        if first.choice is not None:
            self.step_sizes_ = first.choice.step_sizes
            self.step_errors_ = first.choice.errors.mean(axis=2).min(axis=1)
            self.step_gain_, self.step_gain_sem_ = first.choice.gain, first.choice.gain_sem
        self._moves[:, 2] *= units.weight
        given, rows = rows, rows.scaled(self._scaling)
        fresh = rows
        if first.stepped.step is not None:
            fresh = self._split(rows, first.salt)[1]
        stop_early = alphas is None
        expected = None
        if alphas is None:
            # In units of the parabola that pulls as much as the loss does.
            size = (rows.weight @ np.abs(rows.y - constants)).sum()
            unit = (rows.weight @ np.abs(pull)).sum() / size if size > 0 else 1.0
            alphas = unit * self._default_alphas(first.drawn, given, first.salt)
            expected = unit / units.weight * self._moves[:, 2]
        intercept = flag("fit_intercept", self.fit_intercept)
        stepped, ours, chosen = first.stepped, fresh, None
        planned = isinstance(stepped, PlannedLayer)
        task = CrossFit(
            losses, alphas, intercept, per_target, stop_early, first.salt, self.n_jobs, planned
        )
        if isinstance(stepped, PlannedLayer):
            stepped, ours, chosen = self._plan_that_helps(
                task, stepped, first.drawn, rows, expected
            )
        elif several and stepped.step is not None:
            stepped, ours, chosen = self._step_that_helps(task, stepped, fresh, rows)
        elif alphas.size > 1:
            chosen = task.judge(stepped, self._enough(ours, first.salt))
        if chosen is None:
            self.alphas_, alpha = ridge * alphas, np.broadcast_to(alphas, rows.y.shape[1])
        else:
            self.alphas_, alpha = ridge * chosen.alphas, chosen.alphas[chosen.best]
            self.cv_losses_ = chosen.mean * units.y**loss.degree
            error = chosen.losses[chosen.best, np.arange(alpha.size)] * units.y**loss.degree
            self.cv_loss_: Any = error if per_target else float(self.cv_losses_[chosen.best[0]])
        self.alpha_: Any = ridge * alpha if per_target else float(ridge * alpha[0])
        starts = [None] * len(losses) if chosen is None else chosen.starts
        self._fit_readout(stepped, ours, losses, alpha, intercept, units.y, starts)
        self._store_metric(first.drawn.activation, ours)

    def _in_units_of(self, loss: Loss, y: Floats, weight: Floats, unit: float) -> Loss:
        """Return the loss for a target that is in units of ``unit``."""
        return loss.rescaled(unit)

    def _step_that_helps(
        self, task: CrossFit, stepped: SteppedLayer, fresh: Rows, rows: Rows
    ) -> tuple[SteppedLayer, Rows, Penalties]:
        """Keep a step that squares have found only if it helps the loss on rows left out.

        Returns the layer, the rows of its readout, the choice of the ridge.
        """
        some = self._enough(fresh, task.salt)
        chosen = task.judge(stepped, some)
        still = SteppedLayer(stepped.layer, None, 0.0, None)
        plain = task.judge(still, some)
        copies = np.unique(some.keys(task.salt), return_inverse=True)[1]
        self.step_gain_, self.step_gain_sem_ = chosen.gain(plain, some.weight, copies)
        if self.step_gain_ > MARGIN * self.step_gain_sem_:
            return stepped, fresh, chosen
        self._store_layer(still.layer, None, 0.0, rows.y.shape[1])
        if len(fresh) < len(rows):
            plain = task.judge(still, self._enough(rows, task.salt))
        return still, rows, plain

    def _plan_that_helps(
        self,
        task: CrossFit,
        planned: PlannedLayer,
        drawn: InitialLayer,
        rows: Rows,
        expected: Floats | None,
    ) -> tuple[SteppedLayer, Rows, Penalties]:
        """Keep a plan that squares have found only if it helps the loss on rows held out of it.

        Beside what `_step_that_helps` takes it gets the ridges that squares have chosen, of the
        plain features first and of the plan last. Returns as that.
        """
        fold = planned.fold(rows)
        if len(rows) > MOST_ROWS:
            searched = np.isin(rows.number, planned.searched)
            some, fold = rows.take(searched).here(), fold[searched]
        else:
            some = rows.here()
        chosen = task.judge(planned, some, fold, None if expected is None else expected[-1])
        scaling = some.scaling
        assert isinstance(scaling, Clipped)
        still = SteppedLayer(drawn, None, 0.0, None)
        plain = task.judge(
            still, some.scaled(scaling.scaling), fold, None if expected is None else expected[0]
        )
        copies = np.unique(some.keys(task.salt), return_inverse=True)[1]
        self.step_gain_, self.step_gain_sem_ = chosen.gain(plain, some.weight, copies)
        if self.step_gain_ > MARGIN * self.step_gain_sem_:
            return planned, rows, chosen
        self.bounds_ = None
        self._moves = self._moves[:1].copy()
        self._store_layer(drawn, None, 0.0, rows.y.shape[1])
        rows = rows.scaled(scaling.scaling)
        return still, rows, task.judge(still, self._enough(rows, task.salt))

    def _fit_readout(
        self,
        stepped: SteppedLayer,
        rows: Rows,
        losses: Sequence[Loss],
        alpha: Floats,
        intercept: bool,
        unit: float,
        starts: Sequence[Readout | None],
    ) -> None:
        """Fit the readout to rows whose targets are in units of ``unit``."""
        weights = stepped.weights
        if isinstance(rows, DistributedRows) and len(rows) > len(weights):
            problem = problem_of(rows, stepped.layer, weights, intercept=intercept)
        else:
            rows = rows.here()
            features = stepped.features(rows, weights)
            problem = ReadoutProblem(features, rows.weight, intercept=intercept)
        fits = [
            problem.fit(y, loss, float(lam), start=start, tol=_AIM)
            for y, loss, lam, start in zip(rows.y.T, losses, alpha, starts, strict=True)
        ]
        self.n_iter_ = np.array([fit.nit for fit in fits])
        gap = max(fit.gap / fit.objective if fit.gap > 0.0 else 0.0 for fit in fits)
        if gap > _ACCURACY:
            warnings.warn(
                f"the readout may be above its minimum by {gap:.1e} of the objective, more than "
                f"{_ACCURACY:.0e}: take a larger alpha (here {alpha.min():.3g})",
                ConvergenceWarning,
                stacklevel=4,
            )
        scale = unit / np.sqrt(problem.p)
        self._store_readout(
            np.column_stack([fit.a * scale for fit in fits]),
            np.array([fit.b * unit for fit in fits]),
        )

    def _store_readout(self, coef: Floats, intercept: Floats) -> None:
        dtype = self.layer_.dtype
        self.readout_coef_ = np.ascontiguousarray(coef.T.astype(dtype))
        self.intercept_: Any = intercept.astype(dtype)

    def _outputs(self, X: Any) -> Array:
        """Return what the readout makes of the inputs, shape (n,) or (n, targets)."""
        X = self._checked(X)
        weights = self.layer_
        coef = self.readout_coef_.T
        out = np.empty((X.shape[0], *coef.shape[1:]), weights.dtype)
        blocks = dense_blocks(X, weights.dtype, bias=self.bias, scaling=self._scaling)
        for rows, x in blocks:
            out[rows] = feature_map(x, weights, self.activation) @ coef + self.intercept_
        return out
