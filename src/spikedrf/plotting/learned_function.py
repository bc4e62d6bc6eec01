"""The function of one direction that a network has learned, drawn with the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import theory
from spikedrf.activations import FunctionLike, resolve
from spikedrf.parameters import real_array
from spikedrf.plotting.curves import legend
from spikedrf.plotting.display import Display
from spikedrf.plotting.style import (
    BLACK,
    NO_STEP,
    drawn_in,
    finish,
    in_print,
    new_axes,
    scaled,
    styles,
)
from spikedrf.theory import Solution

Floats = NDArray[np.float64]
Points = tuple[ArrayLike, ArrayLike, ArrayLike | None]

_AXES = {
    "target": r"input along the target direction, $\langle\theta, x\rangle$",
    "spike": r"input along the spike, $\kappa = \langle v, x\rangle$",
}


class LearnedFunctionDisplay(Display):
    r"""The output of networks, averaged over all inputs with the same projection on one direction.

    Use `from_theory` or `from_estimator` to make one. Theory is drawn as lines, measurements as
    points with error bars, the target as a dotted line.

    Parameters
    ----------
    x : array_like, shape (N,)
        Projections of the input.
    functions : mapping of str to array_like, shape (N,)
        The averaged output of each network, by its label.
    target : array_like, shape (N,), optional
        The averaged target.
    without_step : iterable of str, optional
        Labels of networks without a step.
    along : {"target", "spike"}
        The direction.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the last `plot`.
    figure_ : matplotlib.figure.Figure
        Its figure.
    lines_ : list of matplotlib.lines.Line2D
        The target, if there is one, then the functions in the order given.
    points_ : dict of str to (x, output, standard error or None)
        The measurements drawn, by label.

    Raises
    ------
    ValueError
        If shapes differ or the direction is unknown.

    Examples
    --------
    >>> from spikedrf import GradientStep, theory
    >>> from spikedrf.plotting import LearnedFunctionDisplay
    >>> model = {"alpha": 3.0, "lam": 0.1, "target": "sin"}
    >>> before = theory.solve(**model)
    >>> after = theory.solve(**model, step=GradientStep(eta=3.0, alpha0=20.0))
    >>> display = LearnedFunctionDisplay.from_theory(
    ...     {"no step": before, "after the step": after}, target="sin"
    ... )
    >>> len(display.lines_)
    3
    """

    ax_: Any
    lines_: list[Any]
    points_: dict[str, Points]

    def __init__(
        self,
        x: ArrayLike,
        functions: Mapping[str, ArrayLike],
        *,
        target: ArrayLike | None = None,
        without_step: Any = (),
        along: str = "target",
    ) -> None:
        if along not in _AXES:
            raise ValueError(f"along must be 'target' or 'spike', got {along!r}")
        self.along = along
        self.x = real_array("x", x)
        if self.x.ndim != 1:
            raise ValueError(f"x must be one-dimensional, got shape {self.x.shape}")
        self.functions = {label: self._like_x(label, y) for label, y in functions.items()}
        self.target = None if target is None else self._like_x("target", target)
        self.without_step = frozenset(without_step)

    def _like_x(self, label: str, value: ArrayLike) -> Floats:
        array = np.asarray(value, dtype=np.float64)
        if array.shape != self.x.shape:
            raise ValueError(
                f"function {label!r} must have the shape of x, {self.x.shape}, got {array.shape}"
            )
        return array

    @classmethod
    def from_theory(
        cls,
        solutions: Mapping[str, Solution],
        *,
        target: FunctionLike,
        along: str = "target",
        x: ArrayLike | None = None,
        points: Mapping[str, Points] | None = None,
        ax: Any = None,
        style: str | None = None,
    ) -> LearnedFunctionDisplay:
        r"""Draw what networks of the theory have learned.

        Along the target direction that is `Solution.learned_along_target`, a straight line for
        random features, and ``g`` itself for the target. Along the spike it is
        `Solution.learned_function`, constant for random features, and `theory.conditional_target`.

        Parameters
        ----------
        solutions : mapping of str to Solution
            Single points, by label.
        target : str or callable
            Teacher function ``g``.
        along : {"target", "spike"}
            The direction; along the spike all solutions with one must have the same ``gamma``.
        x : array_like, shape (N,), optional
            Projections, by default 201 from -3 to 3.
        points : mapping, optional
            Measurements, as in `plot`.
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a figure of its own.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        LearnedFunctionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If a solution holds more than one point, or spikes differ in ``gamma``.
        """
        at = np.linspace(-3.0, 3.0, 201) if x is None else real_array("x", x)
        functions, plain, gammas = {}, set(), set()
        for label, solution in solutions.items():
            if solution.shape:
                raise ValueError(f"solution {label!r} must be one point, got {solution.shape}")
            r, _, gamma, _ = solution.spike.arrays()
            if np.any(r):
                gammas.add(float(gamma))
            else:
                plain.add(label)
            functions[label] = (
                solution.learned_along_target(at)
                if along == "target"
                else solution.learned_function(at)
            )
        if along == "target":
            truth = resolve(target, "target")(at)
        elif len(gammas) > 1:
            raise ValueError(f"solutions must have one gamma, got {sorted(gammas)}")
        else:
            truth = theory.conditional_target(at, target, *(gammas or {0.0}))
        display = cls(at, functions, target=truth, without_step=plain, along=along)
        return display.plot(style=style, ax=ax, points=points)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        bins: int = 20,
        label: str = "predicted",
        ax: Any = None,
        style: str | None = None,
    ) -> LearnedFunctionDisplay:
        """Draw predictions and targets of real data over the learned direction.

        Both are averaged in bins of equal count of ``<spike_, x>``, with standard errors.

        Parameters
        ----------
        estimator : SpikedRFRegressor or Pipeline that ends in one
            Fitted, with one target and a step.
        X : array_like, shape (n, d)
            Inputs, best those of rows that were held out.
        y : array_like, shape (n,)
            Targets.
        bins : int
            Number of bins.
        label : str
            What the predictions are called.
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a figure of its own.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        LearnedFunctionDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there is no learned direction, or several.
        """
        from sklearn.pipeline import Pipeline

        inputs, model = X, estimator
        if isinstance(estimator, Pipeline):
            inputs, model = estimator[:-1].transform(X), estimator[-1]
        if np.ndim(model.spike_) != 1 or not np.any(model.spike_):
            raise ValueError("estimator must have one target and have taken a step")
        along = np.asarray(inputs @ model.spike_)
        points = {
            "observed": binned(along, np.asarray(y, dtype=np.float64), bins),
            label: binned(along, np.asarray(estimator.predict(X), dtype=np.float64), bins),
        }
        return cls([], {}, along="spike").plot(style=style, ax=ax, points=points)

    def plot(
        self,
        ax: Any = None,
        *,
        points: Mapping[str, Points] | None = None,
        title: str | None = None,
        style: str | None = None,
    ) -> LearnedFunctionDisplay:
        """Draw the functions.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a figure of its own, not managed by pyplot.
        points : mapping, optional
            Measurements by the label of their network: ``(x, output, standard error or None)``.
        title : str, optional
            Title of the axes.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        LearnedFunctionDisplay
            Itself.

        Raises
        ------
        ImportError, ValueError
            As `Display` says.
        """
        with drawn_in(style):
            return self._plot(ax, points=points, title=title)

    def _plot(
        self,
        ax: Any = None,
        *,
        points: Mapping[str, Points] | None = None,
        title: str | None = None,
    ) -> LearnedFunctionDisplay:
        own = ax is None
        if own:
            ax = new_axes()
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, []
        if self.target is not None:
            name = (
                r"target, $g$" if self.along == "target" else r"target, $\mathbb{E}[g\,|\,\kappa]$"
            )
            (line,) = ax.plot(
                self.x,
                self.target,
                color=BLACK,
                linestyle=":",
                linewidth=scaled(1.8),
                label=name,
                zorder=9,
            )
            self.lines_.append(line)
        self.points_ = given = dict(points or {})
        labels = list(dict.fromkeys([*self.functions, *given]))
        free = iter(styles(len(set(labels) - self.without_step)))
        for zorder, label in enumerate(labels, start=3):
            style = NO_STEP if label in self.without_step else next(free)
            line_style = {name: style[name] for name in ("color", "linestyle")}
            if label in self.functions:
                (line,) = ax.plot(
                    self.x,
                    self.functions[label],
                    linewidth=scaled(2.0),
                    label=label,
                    zorder=zorder,
                    **line_style,
                )
                self.lines_.append(line)
            if label in given:
                x, mean, sem = given[label]
                ax.errorbar(
                    np.asarray(x, dtype=np.float64),
                    np.asarray(mean, dtype=np.float64),
                    yerr=sem,
                    fmt=style["marker"],
                    color=style["color"],
                    markerfacecolor="white",
                    markersize=scaled(5),
                    elinewidth=scaled(1.5),
                    capsize=scaled(2),
                    label=f"{label}, simulated" if label in self.functions else label,
                    zorder=21,
                )
        ax.set_xlabel(_AXES[self.along])
        ax.set_ylabel("mean output")
        finish(ax)
        if own and in_print():
            legend(ax, own=True)
        else:
            ax.legend(frameon=False, fontsize="small")
        if title is not None:
            ax.set_title(title, fontsize="medium", loc="left")
        return self


def binned(x: Floats, y: Floats, bins: int) -> tuple[Floats, Floats, Floats]:
    """Average over bins of equal count: mean of x, mean of y, its standard error."""
    parts = np.array_split(np.argsort(x, kind="stable"), bins)
    mean = np.array([[x[part].mean(), y[part].mean()] for part in parts])
    sem = np.array([y[part].std(ddof=1) / np.sqrt(part.size) for part in parts])
    return mean[:, 0], mean[:, 1], sem
