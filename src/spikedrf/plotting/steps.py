"""The path of several steps: the error after each move, and the directions of the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikedrf.plotting.display import Display
from spikedrf.plotting.style import (
    BLACK,
    BLUE,
    STYLES,
    VERMILLION,
    drawn_in,
    finish,
    new_panels,
    scaled,
)

#: What the kinds of move are called.
_KINDS = {
    "plain": "no step",
    "scale": "scale",
    "gradient": "first gradient",
    "full": "metric",
    "diagonal": "metric of the inputs",
    "step": "step",
    "restart": "step, no momentum",
    "width": "all neurons",
}


class StepsDisplay(Display):
    """The moves that made a first layer, and the directions that they left.

    Use `from_estimator` to make one.

    Parameters
    ----------
    kinds : list of str
        Kind of each move.
    errors : array_like, shape (moves,)
        Mean squared error on rows held out after each.
    directions : array_like, shape (k, d)
        Leading directions of the layer among the scaled inputs.
    strengths : array_like, shape (k,)
        Root mean square of the weights along them.
    feature_names : list of str
        Names of the inputs.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
        The axes of the last `plot`: the path and the directions.
    figure_ : matplotlib.figure.Figure
        Its figure.
    """

    axes_: Any

    def __init__(
        self,
        kinds: list[str],
        errors: ArrayLike,
        directions: ArrayLike,
        strengths: ArrayLike,
        feature_names: list[str],
    ) -> None:
        self.kinds, self.feature_names = list(kinds), list(feature_names)
        self.errors = np.asarray(errors, dtype=np.float64)
        self.directions = np.asarray(directions, dtype=np.float64)
        self.strengths = np.asarray(strengths, dtype=np.float64)
        if self.errors.shape != (len(self.kinds),):
            raise ValueError(
                f"errors must have one value for each of {len(self.kinds)} kinds, "
                f"got shape {self.errors.shape}"
            )
        shape = len(self.strengths), len(self.feature_names)
        if self.directions.shape != shape:
            raise ValueError(
                f"directions must have shape {shape}, one row for each of strengths and one column "
                f"for each of feature_names, got {self.directions.shape}"
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        feature_names: list[str] | None = None,
        most: int = 20,
        axes: Any = None,
        style: str | None = None,
    ) -> StepsDisplay:
        """Draw the steps of an estimator.

        Parameters
        ----------
        estimator : SpikedRFRegressor, SpikedRFClassifier, SpikedRandomFeatures or Pipeline
            Fitted; of a pipeline its last step.
        feature_names : list of str, optional
            By default ``feature_names_in_``, or ``x0, x1, ...``.
        most : int
            Inputs shown, those of largest weight.
        axes : array of matplotlib.axes.Axes, optional
            Two: for the path and for the directions.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        StepsDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the names do not match the inputs.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        from sklearn.pipeline import Pipeline

        names = getattr(estimator, "feature_names_in_", None)
        if isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        moves, directions = estimator.steps_, estimator.directions_
        if feature_names is None:
            own = getattr(estimator, "feature_names_in_", names)
            d = directions.shape[1]
            feature_names = [f"x{i}" for i in range(d)] if own is None else [str(n) for n in own]
        display = cls(
            moves["kind"].tolist(), moves["error"], directions, estimator.strengths_, feature_names
        )
        return display.plot(style=style, axes=axes, most=most)

    def plot(self, axes: Any = None, *, most: int = 20, style: str | None = None) -> StepsDisplay:
        """Draw the path and the directions.

        Parameters
        ----------
        axes : array of matplotlib.axes.Axes, optional
            Two; by default those of a new figure, not managed by pyplot.
        most : int
            Inputs shown, those of largest weight.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        StepsDisplay
            Itself.

        Raises
        ------
        ImportError, ValueError
            As `Display` says.
        """
        with drawn_in(style):
            return self._plot(axes, most=most)

    def _plot(self, axes: Any = None, *, most: int = 20) -> StepsDisplay:
        if axes is None:
            axes = new_panels((9.5, 4.5), 2)
        self.axes_ = np.asarray(axes, dtype=object).ravel()
        self.figure_ = self.axes_[0].figure
        self._plot_path(self.axes_[0])
        self._plot_directions(self.axes_[1], most)
        return self

    def _plot_path(self, ax: Any) -> None:
        move = np.arange(len(self.kinds))
        ax.plot(move[1:], self.errors[1:], color=BLUE, linewidth=scaled(1.0), zorder=3)
        for i, kind in enumerate(dict.fromkeys(self.kinds)):
            ours = np.array([each == kind for each in self.kinds])
            marker = STYLES[i % len(STYLES)]["marker"]
            color = VERMILLION if kind == "plain" else BLUE
            ax.plot(
                move[ours],
                self.errors[ours],
                marker,
                color=color,
                markersize=scaled(6),
                label=_KINDS.get(kind, kind),
                zorder=4,
            )
        if np.isfinite(self.errors[0]):
            ax.axhline(
                self.errors[0], color=VERMILLION, linestyle="--", linewidth=scaled(1.0), zorder=2
            )
        positive = self.errors[np.isfinite(self.errors)]
        if positive.size and positive.min() > 0 and positive.max() > 10 * positive.min():
            ax.set_yscale("log")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_xlabel("move")
        ax.set_ylabel("error on rows held out")
        ax.legend(frameon=False, fontsize="small")
        finish(ax)

    def _plot_directions(self, ax: Any, most: int) -> None:
        weight = self.strengths[:, None] * self.directions
        order = np.argsort(-np.sum(weight**2, axis=0), kind="stable")[:most]
        reach = float(np.abs(weight).max(initial=1e-12))
        ax.imshow(
            weight[:, order].T, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto", zorder=1
        )
        ax.set_yticks(np.arange(len(order)), [self.feature_names[i] for i in order])
        ax.set_xticks(np.arange(len(self.strengths)), [f"{s:.2g}" for s in self.strengths])
        ax.set_xlabel("direction of the layer, by its strength")
        ax.tick_params(colors=BLACK)
