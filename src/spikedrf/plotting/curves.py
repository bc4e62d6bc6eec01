"""How curves over a parameter are drawn: theory as lines, simulations as points with error bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.plotting.style import (
    BLACK,
    LABELS,
    finish,
    in_print,
    plain_ticks,
    scaled,
    spans,
)

Floats = NDArray[np.float64]

# Length of a line in a legend, in font sizes, at which its dashes can be told apart.
_SEEN = 3.0

#: What no network without a step gets below, however many samples it has, and what nothing does.
BEST_LINEAR, BEST_CLASSIFIER = "best linear function", "best classifier"

_REFERENCE = {"color": BLACK, "linestyle": ":"}


@dataclass(frozen=True, eq=False)
class Curve:
    """One line and the points that belong to it.

    Attributes
    ----------
    label : str
        What the legend says.
    style : dict
        ``color``, ``linestyle`` and ``marker``.
    y : ndarray, shape (N,), or None
        The line; None where there are points only.
    success : ndarray of bool, shape (N,), or None
        Whether each point of the line has converged.
    points : tuple of (x, y, standard error or None), or None
        Simulated points.
    """

    label: str
    style: dict[str, Any]
    y: Floats | None = None
    success: NDArray[np.bool_] | None = None
    points: tuple[Any, Any, Any] | None = None


def draw_curves(
    ax: Any,
    name: str,
    x: Floats,
    curves: Sequence[Curve],
    *,
    references: Mapping[str, float | None] | None = None,
    ylabel: str = "test error",
) -> list[Any]:
    """Draw curves over a parameter; axes are logarithmic where the data span a factor of five.

    A value at infinity is a triangle on the right edge, a point that has not converged a cross.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    name : str
        The parameter, one of `style.LABELS`.
    x : ndarray, shape (N,)
        Its values.
    curves : sequence of Curve
        What to draw; with several, later ones lie on top.
    references : mapping of str to float, optional
        Horizontal lines by their labels, drawn if > 0.
    ylabel : str
        Name of the quantity.

    Returns
    -------
    list of matplotlib.lines.Line2D
        The line of each curve that has one, then those of the references.
    """
    lines = []
    levels = {label: y for label, y in (references or {}).items() if y is not None and y > 0}
    finite = np.isfinite(x)
    order = np.argsort(x[finite], kind="stable")
    for zorder, curve in enumerate(curves, start=3):
        if curve.y is None:
            continue
        style = {name: curve.style[name] for name in ("color", "linestyle")}
        at, y = x[finite][order], curve.y[finite][order]
        (line,) = ax.plot(at, y, label=curve.label, zorder=zorder, linewidth=scaled(2.0), **style)
        lines.append(line)
        if np.count_nonzero(np.isfinite(y)) == 1:
            line.set_marker(curve.style["marker"])
        # Nothing is drawn where there is nothing: unclipped empty lines confuse matplotlib's
        # constrained layout.
        limit = curve.y[~finite]
        if limit.size:
            edge = {"transform": ax.get_yaxis_transform(), "clip_on": False}
            ax.plot(np.ones_like(limit), limit, "<", color=style["color"], zorder=20, **edge)
        if curve.success is not None and not curve.success[finite].all():
            bad = ~curve.success[finite][order]
            ax.plot(at[bad], y[bad], "x", color=style["color"], zorder=20)
    lines += [
        ax.axhline(y, label=label, zorder=2, linewidth=scaled(1.4), **_REFERENCE)
        for label, y in levels.items()
    ]
    for curve in curves:
        if curve.points is not None:
            _draw_points(ax, curve)
    if not finite.all() and any(curve.y is not None for curve in curves):
        ax.plot([], [], "<", color="#777777", label=r"at $\alpha = \infty$")
    if any(c.success is not None and not c.success[finite].all() for c in curves):
        ax.plot([], [], "x", color="#777777", label="not converged")
    _scale(ax, curves, x[finite], [*levels.values()])
    ax.set_xlabel(LABELS[name])
    ax.set_ylabel(ylabel)
    finish(ax)
    return lines


def _draw_points(ax: Any, curve: Curve) -> None:
    assert curve.points is not None
    x, mean, sem = curve.points
    ax.errorbar(
        np.asarray(x, dtype=np.float64),
        np.asarray(mean, dtype=np.float64),
        yerr=sem,
        fmt=curve.style["marker"],
        color=curve.style["color"],
        markerfacecolor="white",
        markersize=scaled(5),
        elinewidth=scaled(1.5),
        capsize=scaled(2),
        label=f"{curve.label}, simulated",
        zorder=21,
    )


def _scale(ax: Any, curves: Sequence[Curve], x: Floats, levels: Sequence[float]) -> None:
    simulated = [curve.points for curve in curves if curve.points is not None]
    along = np.concatenate([x, *(np.asarray(points[0], dtype=np.float64) for points in simulated)])
    if (along > 0).all() and spans(along):
        ax.set_xscale("log")
    drawn = np.concatenate(
        [
            *(curve.y for curve in curves if curve.y is not None),
            *(np.asarray(points[1], dtype=np.float64) for points in simulated),
            levels,
        ]
    )
    if spans(drawn[drawn > 0]):
        ax.set_yscale("log")
    plain_ticks(ax)


def legend(ax: Any, *, own: bool, columns: int | None = None) -> None:
    """Put the legend beneath axes that have the figure for themselves, else inside them."""
    if not own:
        ax.legend(frameon=False, fontsize="small", handlelength=_SEEN)
        return
    handles, labels = ax.get_legend_handles_labels()
    if columns is None:
        columns = 3 if len(labels) == 3 or len(labels) > 8 else 2
    ax.figure.legend_beneath(handles, labels, columns=columns, grow=in_print(), **_of_legend())


def legend_beneath(ax: Any, columns: int = 2) -> None:
    """Put the legend of one of several axes of a figure of ours beneath it."""
    handles, labels = ax.get_legend_handles_labels()
    ax.figure.legend_beneath(
        handles, labels, columns=columns, ax=ax, grow=in_print(), **_of_legend()
    )


def _of_legend() -> dict[str, Any]:
    spacing = {"columnspacing": 1.2, "borderaxespad": 0.2} if in_print() else {}
    return {"frameon": False, "fontsize": "small", "handlelength": _SEEN, **spacing}
