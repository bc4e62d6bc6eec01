"""An error over one parameter, for several settings of the others."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikedrf import theory
from spikedrf.parameters import real_array
from spikedrf.plotting.curves import BEST_CLASSIFIER, BEST_LINEAR, Curve, draw_curves, legend
from spikedrf.plotting.display import Display
from spikedrf.plotting.style import (
    NO_STEPS,
    QUANTITIES,
    SIGN_QUANTITIES,
    drawn_in,
    new_axes,
    styles,
)
from spikedrf.simulation import Simulation
from spikedrf.step import GradientStep

Floats = NDArray[np.float64]
Points = tuple[ArrayLike, ArrayLike, ArrayLike | None]
Drawn = tuple[Floats, Floats, Floats | None]

#: What a curve may run over.
PARAMETERS = ("alpha", "beta", "lam", "noise", "eta", "alpha0")

_OF_STEP = ("eta", "alpha0", "u", "pi")


class ErrorCurvesDisplay(Display):
    r"""An error of the theory over one parameter, for several settings.

    Use `from_theory` or `from_simulation` to make one. Theory is drawn as lines, simulations as
    points with error bars. Curves without a step have one style in all pictures.

    Parameters
    ----------
    name : {"alpha", "beta", "lam", "noise", "eta", "alpha0"}
        The parameter that is drawn horizontally.
    x : array_like, shape (N,)
        Its values; one at ``inf`` is a triangle on the right edge.
    curves : mapping of str to array_like, shape (N,)
        The quantity of each setting, by its label.
    success : mapping of str to array_like of bool, optional
        Whether the points have converged; the others are marked by crosses.
    without_step : iterable of str, optional
        Labels of the settings without a step.
    best_linear : float, optional
        Test error of the best linear function, drawn as a reference line if > 0.
    bayes_error : float, optional
        That of the best classifier of sign labels.
    quantity : str
        What it is: ``"test_error"``, ``"train_error"``, ``"excess_error"``, ``"norm"``,
        ``"test_loss"`` or ``"train_loss"``; of sign labels also ``"margin"`` or ``"train_margin"``.
    labels : {"real", "sign"}
        What the network learns; with signs errors are rates.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the last `plot`.
    figure_ : matplotlib.figure.Figure
        Its figure.
    lines_ : list of matplotlib.lines.Line2D
        The curves in the order given and, if drawn, the reference.
    points_ : dict of str to (x, value, standard error or None)
        The points drawn, by label.

    Raises
    ------
    TypeError, ValueError
        If the arrays are not one-dimensional and of the same length, or a name is unknown.

    Examples
    --------
    >>> from spikedrf.plotting import ErrorCurvesDisplay
    >>> display = ErrorCurvesDisplay.from_theory(
    ...     "alpha",
    ...     [0.5, 1.0, 2.0],
    ...     {"no step": {"step": None}, "small batch": {"alpha0": 1.0}, "large": {"alpha0": 20.0}},
    ...     lam=0.1,
    ...     target="sin",
    ...     eta=2.0,
    ... )
    >>> len(display.lines_)
    4
    """

    ax_: Any
    lines_: list[Any]
    points_: dict[str, Drawn]

    def __init__(
        self,
        name: str,
        x: ArrayLike,
        curves: Mapping[str, ArrayLike],
        *,
        success: Mapping[str, ArrayLike] | None = None,
        without_step: Any = (),
        best_linear: float | None = None,
        bayes_error: float | None = None,
        quantity: str = "test_error",
        labels: str = "real",
    ) -> None:
        if name not in PARAMETERS:
            raise ValueError(f"name must be one of {', '.join(PARAMETERS)}, got {name!r}")
        known = SIGN_QUANTITIES if labels == "sign" else QUANTITIES
        if quantity not in known:
            raise ValueError(f"quantity must be one of {', '.join(known)}, got {quantity!r}")
        self.name, self.quantity, self.labels = name, quantity, labels
        self.best_linear, self.bayes_error = best_linear, bayes_error
        self.x = real_array(name, x, infinite=True)
        if self.x.ndim != 1:
            raise ValueError(f"{name} must be one-dimensional, got shape {self.x.shape}")
        self.curves = {label: self._like_x(label, y) for label, y in curves.items()}
        self.success = {
            label: self._like_x(label, flags).astype(bool)
            for label, flags in (success or {}).items()
        }
        self.without_step = frozenset(without_step)

    def _like_x(self, label: str, value: ArrayLike) -> Floats:
        array = np.asarray(value, dtype=np.float64)
        if array.shape != self.x.shape:
            raise ValueError(
                f"curve {label!r} must have the shape of {self.name}, {self.x.shape}, "
                f"got {array.shape}"
            )
        return array

    @classmethod
    def from_theory(
        cls,
        name: str,
        x: ArrayLike,
        curves: Mapping[str, Mapping[str, Any]],
        *,
        quantity: str = "test_error",
        points: Mapping[str, Simulation | Points] | None = None,
        ax: Any = None,
        style: str | None = None,
        **model: Any,
    ) -> ErrorCurvesDisplay:
        """Solve each setting over the parameter, and draw them.

        Parameters
        ----------
        name, x, quantity
            As for the class.
        curves : mapping of str to mapping
            What is special about each setting, by its label: arguments of `theory.solve` and of
            `GradientStep`. ``{"step": None}`` is random features without a step; so is a setting
            without any argument of a step.
        points : mapping, optional
            Simulated points, as in `plot`.
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a figure of its own.
        style : str, optional
            How large, see `Display`.
        **model
            What all settings share.

        Returns
        -------
        ErrorCurvesDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            As `theory.solve` and `GradientStep`; also if some settings learn real labels and others
            signs.
        """
        labels = {special.get("labels", model.get("labels", "real")) for special in curves.values()}
        if len(labels) > 1:
            raise ValueError(f"labels must be the same for all curves, got {sorted(labels)}")
        signs = labels == {"sign"}
        at = np.asarray(x, dtype=np.float64)
        values, success, plain, references = {}, {}, set(), set()
        for label, special in curves.items():
            arguments = with_step({**model, **special, name: at})
            if arguments.get("step") is None:
                plain.add(label)
            solution = theory.solve(**arguments)
            values[label] = np.broadcast_to(getattr(solution, quantity), at.shape)
            success[label] = np.broadcast_to(solution.success, at.shape)
            if quantity == "test_error":
                references.add(_reference(arguments, signs))
        common = references.pop() if len(references) == 1 else None
        display = cls(
            name,
            at,
            values,
            success=success,
            without_step=plain,
            best_linear=None if signs else common,
            bayes_error=common if signs else None,
            quantity=quantity,
            labels="sign" if signs else "real",
        )
        return display.plot(style=style, ax=ax, points=points)

    @classmethod
    def from_simulation(
        cls,
        simulations: Mapping[str, Simulation],
        *,
        quantity: str = "test_error",
        ax: Any = None,
        style: str | None = None,
    ) -> ErrorCurvesDisplay:
        """Draw simulations alone, over ``alpha``.

        Parameters
        ----------
        simulations : mapping of str to Simulation
            By label.
        quantity
            As for the class.
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a figure of its own.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        ErrorCurvesDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If some learn real labels and others signs.
        """
        kinds = {simulation.labels for simulation in simulations.values()}
        if len(kinds) > 1:
            raise ValueError(f"labels must be the same for all simulations, got {sorted(kinds)}")
        display = cls("alpha", [], {}, quantity=quantity, labels="".join(kinds) or "real")
        return display.plot(style=style, ax=ax, points=simulations)

    def plot(
        self,
        ax: Any = None,
        *,
        points: Mapping[str, Simulation | Points] | None = None,
        title: str | None = None,
        style: str | None = None,
    ) -> ErrorCurvesDisplay:
        """Draw the curves.

        Axes are logarithmic where the data span a factor of five or more.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a figure of its own, not managed by pyplot.
        points : mapping, optional
            Simulated points by the label of their curve: a `Simulation`, which is drawn over
            ``alpha = n/d``, or ``(x, value, standard error or None)``.
        title : str, optional
            Title of the axes.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        ErrorCurvesDisplay
            Itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If a `Simulation` is to be drawn over another parameter than ``alpha``, or there is
            no such style.
        """
        with drawn_in(style):
            return self._plot(ax, points=points, title=title)

    def _plot(
        self,
        ax: Any = None,
        *,
        points: Mapping[str, Simulation | Points] | None = None,
        title: str | None = None,
    ) -> ErrorCurvesDisplay:
        own = ax is None
        if own:
            ax = new_axes()
        simulated = {label: self._points(label, given) for label, given in (points or {}).items()}
        labels = list(dict.fromkeys([*self.curves, *simulated]))
        stepped = iter(styles(len(set(labels) - self.without_step)))
        plain = cycle(NO_STEPS)
        curves = [
            Curve(
                label,
                next(plain if label in self.without_step else stepped),
                self.curves.get(label),
                self.success.get(label),
                simulated.get(label),
            )
            for label in labels
        ]
        quantities = SIGN_QUANTITIES if self.labels == "sign" else QUANTITIES
        self.ax_, self.figure_, self.points_ = ax, ax.figure, simulated
        self.lines_ = draw_curves(
            ax,
            self.name,
            self.x,
            curves,
            references={BEST_LINEAR: self.best_linear, BEST_CLASSIFIER: self.bayes_error},
            ylabel=quantities[self.quantity],
        )
        legend(ax, own=own)
        if title is not None:
            ax.set_title(title, fontsize="medium", loc="left")
        return self

    def _points(self, label: str, given: Simulation | Points) -> Drawn:
        if not isinstance(given, Simulation):
            x, mean, sem = given
        elif self.name != "alpha":
            raise ValueError(
                f"points {label!r}: a simulation is drawn over alpha, not over {self.name}"
            )
        else:
            x, mean = np.divide(given.n, given.d), getattr(given, self.quantity)
            sem = getattr(given, f"{self.quantity}_sem")
        return _vector(x), _vector(mean), None if sem is None else _vector(sem)


def _reference(arguments: Mapping[str, Any], signs: bool) -> float:
    """Return what the test error of one setting is to be held against, NaN if that varies."""
    model = {name: arguments.get(name, 0.0) for name in ("noise", "flip")[: 1 + signs]}
    if any(np.ndim(value) for value in model.values()):
        return np.nan
    target = arguments.get("target", "tanh")
    if signs:
        return float(theory.bayes_error(target, **model))
    return theory.best_linear_error(target, inputs=arguments.get("inputs"), **model)


def _vector(values: ArrayLike) -> Floats:
    return np.atleast_1d(np.asarray(values, dtype=np.float64))


def with_step(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Put the arguments of a `GradientStep` among others together to one.

    A ``step`` among them, which may be None, makes those unnecessary.
    """
    rest = {key: value for key, value in arguments.items() if key not in _OF_STEP}
    of_step = {key: value for key, value in arguments.items() if key in _OF_STEP}
    if "step" not in rest and of_step:
        rest["step"] = GradientStep(**of_step)
    return rest
