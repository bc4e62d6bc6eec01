"""The learning curve: test error over the number of samples, with the step and without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import theory
from spikedrf.activations import FunctionLike
from spikedrf.first_layer.producers import producer_of
from spikedrf.inputs.mixture import Mixture
from spikedrf.inputs.population import Inputs
from spikedrf.losses import LossLike
from spikedrf.multi_index import MultiIndex
from spikedrf.parameters import real_array
from spikedrf.plotting.curves import BEST_CLASSIFIER, BEST_LINEAR, Curve, draw_curves, legend
from spikedrf.plotting.display import Display
from spikedrf.plotting.style import NO_STEP, QUANTITIES, SIGN_QUANTITIES, STYLES, drawn_in, new_axes
from spikedrf.simulation.result import Simulation
from spikedrf.step import GradientStep, Spike

Floats = NDArray[np.float64]
Triple = tuple[ArrayLike, ArrayLike, ArrayLike | None]
Points = Simulation | Mapping[str, Triple | Simulation]

_STYLES = {"without_step": NO_STEP, "with_step": STYLES[0]}
_NETWORK_STYLE = STYLES[1]


class LearningCurveDisplay(Display):
    r"""Test error over ``alpha = n/d``, after the step and without it.

    Use `from_theory` to make one. Theory is drawn as lines, simulations as points with error bars.

    Parameters
    ----------
    alpha : array_like, shape (N,)
        Samples over dimension. At ``inf`` a triangle is drawn on the right edge.
    test_error : array_like, shape (N,)
        Test error after the step.
    test_error_without_step : array_like, shape (N,)
        Test error of plain random features.
    best_linear : float, optional
        Test error of the best linear function, drawn as a reference line if > 0.
    bayes_error : float, optional
        With sign labels, of which errors are rates, that of the best classifier, drawn if > 0.
    success, success_without_step : array_like of bool, shape (N,), optional
        Whether the point has converged; the others are marked by crosses.
    test_error_network : array_like, shape (N,), optional
        Test error after the step with ``bulk="network"``, drawn beside the isotropic one.
    success_network : array_like of bool, shape (N,), optional
        The same for it.
    steps : int, optional
        How many gradient steps there were, for the legend.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the last `plot`.
    figure_ : matplotlib.figure.Figure
        Its figure.
    lines_ : list of matplotlib.lines.Line2D
        The curve without the step and the curve after it; then, if drawn, that of the network's own
        bulk and the references.

    Raises
    ------
    TypeError, ValueError
        If the arrays are not one-dimensional and of the same length.

    Examples
    --------
    >>> from spikedrf import GradientStep
    >>> from spikedrf.plotting import LearningCurveDisplay
    >>> display = LearningCurveDisplay.from_theory(
    ...     [0.3, 1.0, 3.0], lam=0.1, target="sin", step=GradientStep(eta=3.0, alpha0=20.0)
    ... )
    >>> display.figure_.savefig("curve.svg")  # doctest: +SKIP
    """

    ax_: Any
    lines_: list[Any]

    def __init__(
        self,
        alpha: ArrayLike,
        test_error: ArrayLike,
        test_error_without_step: ArrayLike,
        *,
        best_linear: float | None = None,
        bayes_error: float | None = None,
        success: ArrayLike | None = None,
        success_without_step: ArrayLike | None = None,
        test_error_network: ArrayLike | None = None,
        success_network: ArrayLike | None = None,
        steps: int = 1,
    ) -> None:
        self.alpha = real_array("alpha", alpha, minimum=0.0, exclusive=True, infinite=True)
        if self.alpha.ndim != 1:
            raise ValueError(f"alpha must be one-dimensional, got shape {self.alpha.shape}")
        self.test_error = self._like_alpha("test_error", test_error)
        self.test_error_without_step = self._like_alpha(
            "test_error_without_step", test_error_without_step
        )
        self.best_linear, self.bayes_error = best_linear, bayes_error
        self.success = self._flags("success", success)
        self.success_without_step = self._flags("success_without_step", success_without_step)
        self.test_error_network = None
        if test_error_network is not None:
            self.test_error_network = self._like_alpha("test_error_network", test_error_network)
        self.success_network = self._flags("success_network", success_network)
        self.steps = steps

    def _like_alpha(self, name: str, value: ArrayLike) -> Floats:
        array = np.asarray(value, dtype=np.float64)
        if array.shape != self.alpha.shape:
            raise ValueError(
                f"{name} must have the shape of alpha, {self.alpha.shape}, got {array.shape}"
            )
        return array

    def _flags(self, name: str, value: ArrayLike | None) -> NDArray[np.bool_]:
        if value is None:
            return np.ones(self.alpha.shape, dtype=bool)
        return self._like_alpha(name, value).astype(bool)

    @classmethod
    def from_theory(
        cls,
        alpha: ArrayLike,
        *,
        lam: float,
        step: GradientStep | Spike,
        beta: float = 1.0,
        activation: FunctionLike = "tanh",
        target: FunctionLike | MultiIndex = "tanh",
        noise: float = 0.0,
        bulk: str = "isotropic",
        loss: LossLike = "square",
        labels: str = "real",
        flip: float = 0.0,
        inputs: Inputs = None,
        init: str = "sphere",
        rtol: float = 1e-8,
        points: Points | None = None,
        ax: Any = None,
        style: str | None = None,
    ) -> LearningCurveDisplay:
        """Solve with the step and without it, and draw both.

        Parameters
        ----------
        alpha : array_like, shape (N,)
            Samples over dimension, ``n/d``, > 0; ``inf`` is allowed.
        lam, beta, activation, target, noise, bulk, loss, labels, flip, inputs, init, rtol
            As in `theory.solve`, one value each. Without the step the bulk is isotropic.
        step : GradientStep or Spike
            How the first layer was trained.
        points : Simulation or mapping, optional
            Simulated points, as in `plot`.
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a figure of its own.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        LearningCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            As `theory.solve`; also if ``step`` is None or a parameter other than alpha varies.
        """
        if step is None:
            raise TypeError("step must be a GradientStep or a Spike, got None")
        model: dict[str, Any] = {
            "lam": lam,
            "beta": beta,
            "activation": activation,
            "target": target,
            "noise": noise,
            "loss": loss,
            "labels": labels,
            "flip": flip,
            "inputs": inputs,
            "init": init,
            "rtol": rtol,
        }
        at = np.asarray(alpha)
        with_step = theory.solve(alpha, step=step, bulk=bulk, **model)
        if with_step.shape != at.shape:
            raise ValueError(
                f"only alpha may vary along a learning curve: alpha has shape {at.shape}, the "
                f"parameters together {with_step.shape}"
            )
        without_step = theory.solve(alpha, **model)
        signs = labels == "sign"
        display = cls(
            alpha,
            with_step.test_error,
            without_step.test_error,
            best_linear=None if signs else theory.best_linear_error(target, noise, inputs),
            bayes_error=_bayes_error(target, noise, flip, inputs) if signs else None,
            success=with_step.success,
            success_without_step=without_step.success,
            steps=producer_of(step).parameters.get("steps", 1),
        )
        return display.plot(style=style, ax=ax, points=points)

    def plot(
        self,
        ax: Any = None,
        *,
        points: Points | None = None,
        title: str | None = None,
        style: str | None = None,
    ) -> LearningCurveDisplay:
        """Draw the curves.

        Axes are logarithmic where the data span a factor of five or more.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a figure of its own, not managed by pyplot.
        points : Simulation or mapping, optional
            Simulated points: ``{"with_step": (alpha, test_error, standard_error), ...}``, also for
            ``"without_step"``; the standard error may be None. A `Simulation` stands for its own
            triple, and alone for ``{"with_step": simulation}``.
        title : str, optional
            Title of the axes.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        LearningCurveDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``points`` has another key, or there is no such style.
        """
        with drawn_in(style):
            return self._plot(ax, points=points, title=title)

    def _plot(
        self, ax: Any = None, *, points: Points | None = None, title: str | None = None
    ) -> LearningCurveDisplay:
        given = _triples(points)
        if unknown := set(given) - set(_STYLES):
            raise ValueError(
                f"points may have the keys {', '.join(_STYLES)}; got {sorted(unknown)}"
            )
        own = ax is None
        if own:
            ax = new_axes()
        errors = {"without_step": self.test_error_without_step, "with_step": self.test_error}
        success = {"without_step": self.success_without_step, "with_step": self.success}
        one = self.steps == 1
        labels = {
            "without_step": "no step (random features)",
            "with_step": f"after {'one gradient step' if one else f'{self.steps} gradient steps'}",
        }
        curves = [
            Curve(label, _STYLES[name], errors[name], success[name], given.get(name))
            for name, label in labels.items()
        ]
        if self.test_error_network is not None:
            own_bulk = self.test_error_network, self.success_network
            label = f"after {'it' if one else 'them'}, with the trained network's own bulk"
            curves.append(Curve(label, _NETWORK_STYLE, *own_bulk))
        self.ax_, self.figure_ = ax, ax.figure
        quantities = QUANTITIES if self.bayes_error is None else SIGN_QUANTITIES
        self.lines_ = draw_curves(
            ax,
            "alpha",
            self.alpha,
            curves,
            references={BEST_LINEAR: self.best_linear, BEST_CLASSIFIER: self.bayes_error},
            ylabel=quantities["test_error"],
        )
        legend(ax, own=own)
        if title is not None:
            ax.set_title(title, fontsize="medium", loc="left")
        return self


def _bayes_error(
    target: FunctionLike | MultiIndex, noise: float, flip: float, inputs: Inputs
) -> float:
    """Return the best classifier's error; NaN for classes of inputs, whose own is not known."""
    if isinstance(inputs, Mixture):
        return np.nan
    return float(theory.bayes_error(target, noise, flip))


def _triples(points: Points | None) -> dict[str, Triple]:
    if points is None:
        return {}
    named = {"with_step": points} if isinstance(points, Simulation) else dict(points)
    triples = {}
    for name, given in named.items():
        if not isinstance(given, Simulation):
            triples[name] = given
            continue
        if len(given.shape) != 1 or np.shape(given.parameters["alpha"]) != given.shape:
            raise ValueError(
                f"the simulation must vary along alpha alone, its shape is {given.shape}"
            )
        triples[name] = given.parameters["alpha"], given.test_error, given.test_error_sem
    return triples
