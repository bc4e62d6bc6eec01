"""What the first layer of an estimator has learned, and how its step and ridge were chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikedrf.plotting.curves import legend_beneath
from spikedrf.plotting.display import Display
from spikedrf.plotting.style import (
    BLACK,
    BLUE,
    SKY,
    VERMILLION,
    drawn_in,
    finish,
    in_print,
    new_panels,
    scaled,
)

#: Curves of the errors are told apart by these and by their labels.
_MAPS = "viridis"


class FirstLayerDisplay(Display):
    r"""What the inputs weigh after the step, and the errors of step sizes and ridges.

    Use `from_estimator` to make one. The direction shows what the step adds to every feature
    alike. To an input on which the target depends evenly features are drawn with either sign,
    and only the size of their weights shows it.

    Parameters
    ----------
    importances : array_like, shape (d,)
        Weight of each input in the learned direction, with its sign.
    feature_names : list of str
        Names of the inputs.
    sizes : array_like, shape (d,), optional
        Root mean square weight of each input over all features, on any scale; they are drawn as a
        vector of length one, like the direction, beside their value before the step.
    step_sizes, alphas, errors : array_like, shapes (S,), (A,) and (S, A), optional
        Estimated errors of the candidates; without them only the importances are drawn.
    step_size, alpha : float, optional
        What was chosen.
    error_name : str
        What the errors are.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
        The axes of the last `plot`: the importances and, if there are any, the errors.
    figure_ : matplotlib.figure.Figure
        Its figure.
    """

    axes_: Any

    def __init__(
        self,
        importances: ArrayLike,
        feature_names: list[str],
        *,
        sizes: ArrayLike | None = None,
        step_sizes: ArrayLike | None = None,
        alphas: ArrayLike | None = None,
        errors: ArrayLike | None = None,
        step_size: float | None = None,
        alpha: float | None = None,
        error_name: str = "leave-one-out error",
    ) -> None:
        self.importances = np.asarray(importances, dtype=np.float64)
        self.feature_names = list(feature_names)
        if self.importances.shape != (len(self.feature_names),):
            raise ValueError(
                f"feature_names must have one name for each of {self.importances.shape} "
                f"importances, got {len(self.feature_names)}"
            )
        self.sizes = None
        if sizes is not None:
            given = np.asarray(sizes, dtype=np.float64)
            if given.shape != self.importances.shape:
                raise ValueError(
                    f"sizes must have the shape of importances, {self.importances.shape}, "
                    f"got {given.shape}"
                )
            self.sizes = given / np.linalg.norm(given)
        self.step_sizes = None if step_sizes is None else np.asarray(step_sizes, dtype=np.float64)
        self.alphas = None if alphas is None else np.asarray(alphas, dtype=np.float64)
        self.errors = None if errors is None else np.asarray(errors, dtype=np.float64)
        self.step_size, self.alpha = step_size, alpha
        self.error_name = error_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        feature_names: list[str] | None = None,
        target: int = 0,
        most: int = 20,
        axes: Any = None,
        style: str | None = None,
    ) -> FirstLayerDisplay:
        """Draw what an estimator has learned.

        Parameters
        ----------
        estimator : SpikedRFRegressor, SpikedRFClassifier, SpikedRandomFeatures or Pipeline
            Fitted; of a pipeline its last step. Under a loss other than the square the errors are
            those of the ridges with the chosen step.
        feature_names : list of str, optional
            By default ``feature_names_in_``, or ``x0, x1, ...``.
        target : int
            Which target's direction, if there are several.
        most : int
            Inputs shown, those of largest weight.
        axes : array of matplotlib.axes.Axes, optional
            Where to draw: one for the importances, another for the errors.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        FirstLayerDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the names do not match the inputs, or there is no such target.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        from sklearn.pipeline import Pipeline
        from sklearn.utils.validation import check_is_fitted

        names = getattr(estimator, "feature_names_in_", None)
        if isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        check_is_fitted(estimator, "spike_")
        spikes = np.atleast_2d(estimator.spike_)
        if not 0 <= target < len(spikes):
            raise ValueError(f"target must be 0 to {len(spikes) - 1}, got {target}")
        d = spikes.shape[1]
        if feature_names is None:
            own = getattr(estimator, "feature_names_in_", names)
            feature_names = [f"x{i}" for i in range(d)] if own is None else [str(n) for n in own]
        alpha = getattr(estimator, "alpha_", None)
        errors = getattr(estimator, "loo_errors_", None)
        step_sizes = getattr(estimator, "step_sizes_", None)
        error_name = "leave-one-out error"
        if hasattr(estimator, "cv_losses_"):
            errors, step_sizes = estimator.cv_losses_[None], [estimator.step_size_]
            error_name = "loss on rows left out"
        display = cls(
            spikes[target],
            feature_names,
            sizes=np.sqrt(np.mean(np.square(estimator.weights_, dtype=np.float64), axis=0)),
            step_sizes=step_sizes,
            alphas=getattr(estimator, "alphas_", None),
            errors=errors,
            step_size=estimator.step_size_,
            alpha=None if alpha is None or np.ndim(alpha) else float(alpha),
            error_name=error_name,
        )
        return display.plot(style=style, axes=axes, most=most)

    def plot(
        self, axes: Any = None, *, most: int = 20, style: str | None = None
    ) -> FirstLayerDisplay:
        """Draw the importances and, if there was a choice, the errors.

        Parameters
        ----------
        axes : array of matplotlib.axes.Axes, optional
            One or two; by default those of a new figure, not managed by pyplot.
        most : int
            Inputs shown, those of largest weight.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        FirstLayerDisplay
            Itself.

        Raises
        ------
        ImportError, ValueError
            As `Display` says.
        """
        with drawn_in(style):
            return self._plot(axes, most=most)

    def _plot(self, axes: Any = None, *, most: int = 20) -> FirstLayerDisplay:
        chosen = self.errors is not None and self.errors.size > 1
        own = axes is None
        if own:
            axes = new_panels((9.5, 4.5), 2) if chosen else new_panels((4.5, 4.5), 1)
        self.axes_ = np.atleast_1d(np.asarray(axes, dtype=object))
        self.figure_ = self.axes_[0].figure
        self._plot_importances(self.axes_[0], most, own=own)
        if chosen and len(self.axes_) > 1:
            self._plot_errors(self.axes_[1], beside=own)
        return self

    def _plot_importances(self, ax: Any, most: int, *, own: bool) -> None:
        rank = np.abs(self.importances) if self.sizes is None else self.sizes
        order = np.argsort(-rank, kind="stable")[:most][::-1]
        values = self.importances[order]
        colors = np.where(values < 0, VERMILLION, BLUE)
        at = np.arange(len(order))
        ax.barh(at, values, color=list(colors), height=0.7, zorder=3)
        # Names are the user's: a dollar sign in one begins no formula.
        ax.set_yticks(at, [str(self.feature_names[i]) for i in order], parse_math=False)
        ax.axvline(0.0, color=BLACK, linewidth=scaled(0.8), zorder=4)
        if self.sizes is not None:
            before = 1.0 / np.sqrt(self.sizes.size)
            style = {"color": BLACK, "zorder": 5}
            ax.plot(
                self.sizes[order],
                at,
                "D",
                markersize=scaled(4),
                markerfacecolor="white",
                label="size of the weights",
                **style,
            )
            ax.axvline(
                before, linestyle=":", linewidth=scaled(1.2), label="before the step", **style
            )
            ax.barh([], [], color=BLUE, label="learned direction")
            if own and in_print():
                legend_beneath(ax)
            else:
                ax.legend(
                    loc="lower left",
                    bbox_to_anchor=(-0.05, 1.0),
                    ncols=3,
                    frameon=False,
                    fontsize="x-small",
                )
            values = np.append(values, self.sizes)
        reach = max(1e-3, 1.1 * float(np.abs(values).max(initial=0.0)))
        ax.set_xlim(-reach, reach)
        ax.set_xlabel("weight of the input")
        finish(ax)
        ax.grid(False, axis="y")
        if not self.importances.any():
            ax.text(0.5, 0.5, "no step was taken", transform=ax.transAxes, ha="center", zorder=5)

    def _plot_errors(self, ax: Any, *, beside: bool) -> None:
        import matplotlib

        assert self.step_sizes is not None
        assert self.alphas is not None
        assert self.errors is not None
        shades = matplotlib.colormaps[_MAPS](np.linspace(0.05, 0.85, len(self.step_sizes)))
        finite = self.alphas > 0
        for i, (eta, errors) in enumerate(zip(self.step_sizes, self.errors, strict=True)):
            plain = eta == 0.0
            ax.plot(
                self.alphas[finite],
                errors[finite],
                color=BLACK if plain else shades[i],
                linestyle="--" if plain else "-",
                marker="o" if np.count_nonzero(finite) == 1 else None,
                linewidth=scaled(2.0 if eta in (0.0, self.step_size) else 1.0),
                label="no step" if plain else rf"$\eta = {eta:.3g}$",
                zorder=3,
            )
        if self.alpha is not None and self.step_size is not None:
            at = np.flatnonzero(self.step_sizes == self.step_size), self.alphas == self.alpha
            if at[0].size and at[1].any():
                best = self.errors[at[0][0], at[1]][0]
                ax.plot(
                    [self.alpha],
                    [best],
                    "o",
                    color=SKY,
                    markeredgecolor=BLACK,
                    zorder=6,
                    label="chosen",
                )
        if np.count_nonzero(finite) > 1:
            ax.set_xscale("log")
        # Ridges so small that the fit goes wild would hide the rest.
        low = float(np.nanmin(self.errors))
        flat = float(np.nanmax(np.nanmin(self.errors, axis=1)))
        wild = float(self.errors[:, -1].max())
        top = 1.1 * max(flat, wild)
        ax.set_ylim(low - 0.05 * (top - low), top)
        ax.set_xlabel(r"ridge, $\alpha$")
        ax.set_ylabel(self.error_name)
        finish(ax)
        if beside and in_print():
            legend_beneath(ax, 3)
            return
        place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if beside else {"ncols": 2}
        ax.legend(frameon=False, fontsize="x-small", **place)
