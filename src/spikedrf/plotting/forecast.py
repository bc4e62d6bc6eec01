"""What more rows would buy: the forecast of a fitted estimator, and measured points beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikedrf.plotting.curves import legend
from spikedrf.plotting.display import Display
from spikedrf.plotting.style import (
    BLACK,
    BLUE,
    VERMILLION,
    drawn_in,
    finish,
    new_figure,
    plain_ticks,
    scaled,
)
from spikedrf.theory.forecast import Forecast

#: The curve goes from this share of the rows at hand to this many times them.
_FROM, _TO = 0.1, 20.0
_POINTS = 60


class ForecastDisplay(Display):
    r"""R^2 on new rows over the number of rows, with its range.

    Use `from_estimator` to make one.

    Parameters
    ----------
    forecast : Forecast
        Over several finite numbers of rows, of one target.
    limit : Forecast, optional
        At ``n = inf``.
    measured : tuple of array_like, optional
        Numbers of rows, R^2 of fits to them, and its standard error (or None): points.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the last `plot`.
    figure_ : matplotlib.figure.Figure
        Its figure.
    """

    ax_: Any

    def __init__(
        self,
        forecast: Forecast,
        *,
        limit: Forecast | None = None,
        measured: tuple[ArrayLike, ArrayLike, ArrayLike | None] | None = None,
    ) -> None:
        if np.ndim(forecast.n) != 1 or np.shape(forecast.r2) != np.shape(forecast.n):
            raise ValueError(
                "forecast must be over an array of numbers of rows and of one target, got n of "
                f"shape {np.shape(forecast.n)} and r2 of shape {np.shape(forecast.r2)}"
            )
        self.forecast, self.limit, self.measured = forecast, limit, measured

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        n: ArrayLike | None = None,
        X: Any = None,
        y: Any = None,
        cv: Any = 5,
        train_sizes: ArrayLike = (0.1, 0.2, 0.4, 0.7, 1.0),
        level: float = 0.9,
        ax: Any = None,
        style: str | None = None,
    ) -> ForecastDisplay:
        """Draw the forecast of a fitted estimator.

        Parameters
        ----------
        estimator : SpikedRFRegressor or Pipeline
            Fitted, of one target; of a pipeline its last step forecasts.
        n : array_like, optional
            Numbers of rows; by default from a tenth of the rows at hand to twenty times them.
        X, y : array_like, optional
            Rows, for measured points beside the forecast: `sklearn.model_selection.learning_curve`
            fits the estimator anew to parts of them, its first layer included.
        cv, train_sizes
            Of that function.
        level : float
            Probability of the range.
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default in a new figure.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        ForecastDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            If the estimator cannot forecast, or only one of ``X`` and ``y`` is given.
        """
        model = estimator[-1] if hasattr(estimator, "steps") else estimator
        if not hasattr(model, "forecast"):
            raise TypeError(
                f"estimator must have the method forecast, as SpikedRFRegressor has with the "
                f"square loss; got {type(model).__name__}"
            )
        limit = model.forecast(np.inf, level=level)
        if n is None:
            n = np.geomspace(_FROM * limit.rows, _TO * limit.rows, _POINTS)
        measured = None
        if (X is None) != (y is None):
            raise ValueError("X and y must be given together, for the measured points")
        if X is not None:
            from sklearn.model_selection import learning_curve

            sizes, _, scores = learning_curve(
                estimator, X, y, cv=cv, train_sizes=np.asarray(train_sizes), scoring="r2"
            )
            sem = scores.std(axis=1, ddof=1) / np.sqrt(scores.shape[1])
            measured = sizes, scores.mean(axis=1), sem
        display = cls(model.forecast(n, level=level), limit=limit, measured=measured)
        return display.plot(style=style, ax=ax)

    def plot(self, *, ax: Any = None, style: str | None = None) -> ForecastDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default in a new figure.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        ForecastDisplay
            Itself.

        Raises
        ------
        ImportError, ValueError
            As `Display` says.
        """
        with drawn_in(style):
            return self._plot(ax=ax)

    def _plot(self, *, ax: Any = None) -> ForecastDisplay:
        own = ax is None
        ax = new_figure().add_subplot() if own else ax
        f = self.forecast
        ax.fill_between(f.n, f.r2_lower, f.r2_upper, color=BLUE, alpha=0.18, linewidth=0.0)
        ax.plot(
            f.n, f.r2, color=BLUE, linewidth=scaled(2.0), label=f"forecast, {f.level:.0%} range"
        )
        shown = [f.r2]
        if self.limit is not None:
            text = f"no number of rows brings {f.n_components} features above"
            ax.axhline(self.limit.r2, color=BLACK, linestyle=":", linewidth=scaled(1.4), label=text)
            shown.append(np.array([self.limit.r2]))
        ax.axvline(
            f.rows, color="#777777", linewidth=scaled(1.0), label=f"the {f.rows:.0f} rows at hand"
        )
        if self.measured is not None:
            n, r2, sem = self.measured
            ax.errorbar(
                np.asarray(n),
                np.asarray(r2),
                yerr=None if sem is None else np.asarray(sem),
                fmt="o",
                color=VERMILLION,
                markerfacecolor="white",
                markersize=scaled(5),
                elinewidth=scaled(1.5),
                capsize=scaled(2),
                label="measured, fitted anew",
            )
            shown.append(np.asarray(r2, dtype=np.float64))
        ax.set_xscale("log")
        seen = np.concatenate(shown)
        # A range that is very wide, or a bad fit of few rows, must not flatten the rest.
        low, high = max(float(seen.min()), -0.2), float(seen.max())
        margin = 0.08 * max(high - low, 0.02)
        ax.set_ylim(low - 2.0 * margin, high + 2.0 * margin)
        ax.set_xlabel("rows")
        ax.set_ylabel(r"$R^2$ on new rows")
        plain_ticks(ax)
        finish(ax)
        legend(ax, own=own)
        self.ax_, self.figure_ = ax, ax.figure
        return self
