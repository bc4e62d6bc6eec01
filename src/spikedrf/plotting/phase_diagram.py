"""One quantity over two parameters, in colours and with labelled contour lines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import theory
from spikedrf.plotting.display import Display
from spikedrf.plotting.style import (
    BLACK,
    LABELS,
    QUANTITIES,
    SIGN_QUANTITIES,
    drawn_in,
    in_print,
    new_axes,
    plain_ticks,
    scaled,
    spans,
)
from spikedrf.theory import PhaseDiagram

Floats = NDArray[np.float64]

_VALUES = {
    "gain": "gain: test error without / with the step",
    "lam": r"best ridge, $\lambda$",
    "eta": r"best size of the step, $\eta$",
}

# Where the best value is on a bound it says nothing: grey, and in words.
_BOUNDS = {
    "lam": {-1: ("#DDDDDD", "best: no ridge"), 1: ("#999999", "best: the largest ridge")},
    "eta": {
        -1: ("#DDDDDD", "best: no step, or the least"),
        1: ("#999999", "best: the largest step"),
    },
}


# Where an error is infinite.
_INFINITE = "#E8D5D5"


class PhaseDiagramDisplay(Display):
    r"""A phase diagram: colours, a scale, and contour lines that say their value.

    Use `from_theory` to make one. An axis is logarithmic if its grid is geometric; so are the
    colours if the values span a factor of five. The colours of a gain diverge from 1, where the
    step neither helps nor harms: equal factors are equally far from it. Where the best ridge or
    step is on a bound of its range, the diagram of it is grey.

    Parameters
    ----------
    diagram : PhaseDiagram
        What `theory.phase_diagram` returned; its axes must be finite.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the last `plot`.
    figure_ : matplotlib.figure.Figure
        Its figure.
    mesh_ : matplotlib.collections.QuadMesh
        The colours.
    contours_ : matplotlib.contour.ContourSet or None
        The contour lines, None if a diagram is constant or only one point high or wide.
    colorbar_ : matplotlib.colorbar.Colorbar
        The scale.

    Raises
    ------
    ValueError
        If a value of an axis is infinite or comes twice.

    Examples
    --------
    >>> from spikedrf import theory
    >>> from spikedrf.plotting import PhaseDiagramDisplay
    >>> diagram = theory.phase_diagram(
    ...     eta=[1.0, 2.0, 4.0], alpha0=[1.0, 10.0], alpha=2.0, lam=0.1, target="sin"
    ... )
    >>> display = PhaseDiagramDisplay(diagram).plot()
    >>> display.ax_.get_xlabel()
    'size of the step, $\\eta$'
    """

    ax_: Any
    mesh_: Any
    contours_: Any
    colorbar_: Any

    def __init__(self, diagram: PhaseDiagram) -> None:
        self.diagram = diagram
        for name, values in ((diagram.x_name, diagram.x), (diagram.y_name, diagram.y)):
            if not np.isfinite(values).all():
                raise ValueError(f"{name} must be finite to be drawn, got {values.tolist()}")
            if np.unique(values).size < values.size:
                raise ValueError(f"{name} must not hold a value twice to be drawn")
        x, y = np.argsort(diagram.x), np.argsort(diagram.y)
        self._x, self._y = diagram.x[x], diagram.y[y]
        self._raw = diagram.value[np.ix_(y, x)]
        self._value = np.ma.masked_invalid(self._raw)
        self._success = diagram.success[np.ix_(y, x)]
        self._side: NDArray[Any] = np.zeros(self._value.shape, dtype=np.int8)
        if diagram.value_name in diagram.side:
            self._side = diagram.side[diagram.value_name][np.ix_(y, x)]
            self._value[self._side != 0] = np.ma.masked

    @classmethod
    def from_theory(
        cls, *, ax: Any = None, style: str | None = None, **parameters: Any
    ) -> PhaseDiagramDisplay:
        """Compute and draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a figure of its own.
        style : str, optional
            How large, see `Display`.
        **parameters
            Those of `theory.phase_diagram`.

        Returns
        -------
        PhaseDiagramDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            As `theory.phase_diagram`.
        """
        return cls(theory.phase_diagram(**parameters)).plot(style=style, ax=ax)

    def plot(
        self, ax: Any = None, *, title: str | None = None, style: str | None = None
    ) -> PhaseDiagramDisplay:
        """Draw the diagram.

        Points that did not converge are hatched. Where there is no number, the legend says why: the
        error is infinite, or it is not defined.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a figure of its own, not managed by pyplot.
        title : str, optional
            Title of the axes.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        PhaseDiagramDisplay
            Itself.

        Raises
        ------
        ImportError, ValueError
            As `Display` says.
        """
        with drawn_in(style):
            return self._plot(ax, title=title)

    def _plot(self, ax: Any = None, *, title: str | None = None) -> PhaseDiagramDisplay:
        own = ax is None
        if own:
            ax = new_axes()
        self.ax_, self.figure_ = ax, ax.figure
        log_x, log_y = _geometric(self._x), _geometric(self._y)
        norm, colours, levels = self._scale()
        edges = self._cells = _edges(self._x, log_x), _edges(self._y, log_y)
        marks = self._draw_bounds()
        self.mesh_ = ax.pcolormesh(
            *edges,
            self._value,
            norm=norm,
            cmap=colours,
            rasterized=True,  # a million rectangles are no vector graphics
        )
        self.colorbar_ = self.figure_.colorbar(self.mesh_, ax=ax)
        signs = self.diagram.parameters.get("labels") == "sign"
        names = _VALUES | (SIGN_QUANTITIES if signs else QUANTITIES)
        self.colorbar_.set_label(names[self.diagram.value_name])
        told = _apart(levels, np.asarray(norm(levels)), 0.07 if in_print() else 0.03)
        self.colorbar_.set_ticks(told, labels=[f"{level:g}" for level in told])
        self.colorbar_.minorticks_off()
        if log_x:
            ax.set_xscale("log")
        if log_y:
            ax.set_yscale("log")
        self.contours_ = None
        if min(self._value.shape) > 1 and len(levels) and not self._value.mask.all():
            self._draw_contours(levels, norm)
        undefined = self._value.mask & (self._side == 0)
        if not (self._success | undefined).all():
            marks += self._hatch(~(self._success | undefined))
        marks += self._explain_undefined(undefined)
        if marks and own:
            labels = [mark.get_label() for mark in marks]
            self.figure_.legend_beneath(
                marks, labels, ax=ax, columns=2, grow=in_print(), frameon=False, fontsize="small"
            )
        elif marks:
            ax.legend(handles=marks, loc="best", fontsize="small")
        plain_ticks(ax)
        ax.set_xlabel(LABELS[self.diagram.x_name])
        ax.set_ylabel(LABELS[self.diagram.y_name])
        if title is not None:
            ax.set_title(title, fontsize="medium", loc="left")
        return self

    def _scale(self) -> tuple[Any, str, Floats]:
        """Choose how values become colours, and the values of the contour lines."""
        from matplotlib.colors import LogNorm, Normalize

        values = self._value.compressed()
        low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
        if self.diagram.value_name == "gain":
            values = values[values > 0]
            low, high = values.min(initial=1.0), values.max(initial=1.0)
            far = max(high, 1.0 / low, 1.01)
            levels = np.union1d(_levels(low, high, log=True), [1.0])
            return LogNorm(1.0 / far, far), "RdBu", levels
        if low > 0 and spans(values):
            return LogNorm(low, high), "viridis", _levels(low, high, log=True)
        return Normalize(low, high), "viridis", _levels(low, high, log=False)

    def _draw_contours(self, levels: Floats, norm: Any) -> None:
        gain = self.diagram.value_name == "gain"
        # Black or white, whichever stands out from the colour beneath.
        shade = np.asarray(norm(levels))
        bright = (shade > 0.2) & (shade < 0.8) if gain else shade > 0.55
        inside = (levels > self._value.min()) & (levels < self._value.max())
        if not inside.any():
            return
        self.contours_ = self.ax_.contour(
            self._x,
            self._y,
            self._value,
            levels=levels[inside],
            colors=[BLACK if b else "#FFFFFF" for b in bright[inside]],
            linewidths=[scaled(2.0 if gain and level == 1.0 else 0.8) for level in levels[inside]],
            linestyles="solid",
        )
        self.ax_.clabel(self.contours_, fmt=lambda level: f"{level:g}", fontsize="small")

    def _draw_bounds(self) -> list[Any]:
        """Colour what is on a bound; return entries of the legend."""
        from matplotlib.patches import Patch

        entries = []
        for side, (colour, label) in _BOUNDS.get(self.diagram.value_name, {}).items():
            there = self._side == side
            if there.any():
                self._fill(there, colour)
                entries.append(Patch(color=colour, label=label))
        return entries

    def _fill(self, there: NDArray[np.bool_], colour: str) -> None:
        from matplotlib.colors import ListedColormap

        cells = np.ma.masked_equal(there, False)
        self.ax_.pcolormesh(*self._cells, cells, cmap=ListedColormap([colour]), rasterized=True)

    def _explain_undefined(self, undefined: NDArray[np.bool_]) -> list[Any]:
        """Leave white what has no number; return what the legend says of it, and of infinity."""
        from matplotlib.patches import Patch

        infinite = undefined & np.isposinf(self._raw)
        missing = undefined & ~infinite
        entries = []
        for there, colour, label in (
            (infinite, _INFINITE, "infinite: no limit without a ridge"),
            (missing, "#FFFFFF", "undefined: no number"),
        ):
            if there.any():
                self._fill(there, colour)
                entries.append(Patch(facecolor=colour, edgecolor="#777777", label=label))
        return entries

    def _hatch(self, lost: NDArray[np.bool_]) -> list[Any]:
        """Hatch what did not converge; return entries of the legend."""
        if min(lost.shape) > 1:
            self.ax_.contourf(
                self._x,
                self._y,
                lost,
                levels=[0.5, 1.5],
                colors="none",
                hatches=["xxxx"],
            )
        return list(self.ax_.plot([], [], "x", color=BLACK, label="hatched: not converged"))


def _apart(levels: Floats, place: Floats, least: float) -> Floats:
    """Leave out levels that are nearer than that to one on the scale; round ones stay."""
    kept: list[int] = []
    mantissa = [float(f"{level:e}".partition("e")[0]) for level in levels]
    roundness = [(1.0, 5.0, 2.0).index(m) if m in (1.0, 5.0, 2.0) else 3 for m in mantissa]
    for i in sorted(range(len(levels)), key=lambda i: (roundness[i], i)):
        if all(abs(place[i] - place[j]) >= least for j in kept):
            kept.append(i)
    return levels[np.sort(np.array(kept, dtype=np.int64))]


def _levels(low: float, high: float, *, log: bool) -> Floats:
    """Round values from low to high for contour lines and the scale, at most about ten."""
    from matplotlib.ticker import MaxNLocator

    if low == high:
        return np.array([low])
    if log:
        decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        for digits in ([1.0], [1.0, 3.0], [1.0, 2.0, 5.0], [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0]):
            ticks = np.array([float(f"{d}e{int(n)}") for n in decades for d in digits])
            ticks = ticks[(ticks >= low) & (ticks <= high)]
            if ticks.size >= 5:
                break
        if ticks.size >= 3:
            return ticks
    ticks = np.asarray(MaxNLocator(8).tick_values(low, high))
    return ticks[(ticks >= low) & (ticks <= high)]


def _geometric(values: Floats) -> bool:
    """Whether a sorted grid has equal ratios rather than equal differences."""
    if values.size < 2 or values[0] <= 0:
        return False
    if values.size == 2:
        return spans(values)
    ratios, differences = np.diff(np.log(values)), np.diff(values)
    return bool(np.ptp(ratios) / ratios.mean() < np.ptp(differences) / differences.mean())


def _edges(values: Floats, log: bool) -> Floats:
    """Return the limits of the cells around sorted values."""
    at = np.log(values) if log else values
    if at.size == 1:
        half = 0.5 * max(1.0, abs(float(at[0])))
        edges = np.array([at[0] - half, at[0] + half])
    else:
        middle = 0.5 * (at[1:] + at[:-1])
        edges = np.array([2 * at[0] - middle[0], *middle, 2 * at[-1] - middle[-1]])
    return np.exp(edges) if log else edges
