"""Colours, axes and ticks of all pictures; matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Okabe and Ito's colours, told apart by colour-blind readers; line styles and markers repeat the
# distinction for grey print.
BLACK = "#000000"
BLUE = "#0072B2"
GREEN = "#009E73"
ORANGE = "#E69F00"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
VERMILLION = "#D55E00"

#: Random features without a step look the same in all pictures (several of them nearly so),
NO_STEPS: tuple[dict[str, Any], ...] = (
    {"color": VERMILLION, "linestyle": "--", "marker": "s"},
    {"color": "#8A3C00", "linestyle": (0, (2, 1.2)), "marker": "h"},
    {"color": "#F2A36E", "linestyle": (0, (6, 2, 1, 2)), "marker": "p"},
)
NO_STEP = NO_STEPS[0]
#: and other curves in this order.
STYLES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": GREEN, "linestyle": "-.", "marker": "^"},
    {"color": PURPLE, "linestyle": (0, (7, 1.5)), "marker": "D"},
    {"color": ORANGE, "linestyle": (0, (4, 1, 1, 1, 1, 1)), "marker": "v"},
    {"color": SKY, "linestyle": (0, (2, 1)), "marker": "P"},
    {"color": BLACK, "linestyle": (0, (7, 1, 1, 1)), "marker": "X"},
)

#: What the parameters are called along an axis.
LABELS = {
    "alpha": r"samples over dimension, $\alpha = n/d$",
    "beta": r"width over dimension, $\beta = p/d$",
    "lam": r"ridge, $\lambda$",
    "noise": "standard deviation of the label noise",
    "eta": r"size of the step, $\eta$",
    "alpha0": r"samples of the step over dimension, $\alpha_0 = n_0/d$",
    "r": "spike strength, $r$",
    "c": "bulk variance, $c$",
    "gamma": r"alignment of spike and target, $\gamma$",
}


#: What the quantities of a solution are called.
QUANTITIES = {
    "test_error": "test error",
    "train_error": "train error",
    "excess_error": "test error above the noise",
    "test_loss": "test loss",
    "train_loss": "train loss",
    "norm": r"norm of the readout, $|a|^2/p$",
}

#: Where labels are signs, what changes its meaning and what there is beside it.
SIGN_QUANTITIES = QUANTITIES | {
    "test_error": "rate of wrong signs",
    "train_error": "rate of wrong signs in training",
    "excess_error": "rate of wrong signs above the best classifier's",
    "margin": r"margin, $\langle y h \rangle$",
    "train_margin": r"margin in training, $\langle y h \rangle$",
}


def styles(count: int) -> list[dict[str, Any]]:
    """Return so many styles: of many curves, shades from dark to light."""
    if count <= len(STYLES):
        return [dict(style) for style in STYLES[:count]]
    import matplotlib

    shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, count))
    return [
        STYLES[i % len(STYLES)] | {"color": tuple(shade.tolist())} for i, shade in enumerate(shades)
    ]


def finish(ax: Any) -> None:
    """Draw a light grid behind the data and no frame on top and right."""
    ax.grid(True, which="major", color="#DDDDDD", linewidth=scaled(0.6), zorder=0)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


@dataclass(frozen=True)
class Look:
    """How large a figure and what is in it is drawn.

    Attributes
    ----------
    width : float or None
        Of figures, in inches; None leaves it to the picture.
    stacked : bool
        Whether panels lie beneath each other.
    lines : float
        Factor of the widths of lines and the sizes of markers.
    settings : dict
        Of matplotlib.
    """

    width: float | None = None
    stacked: bool = False
    lines: float = 1.0
    settings: dict[str, Any] = field(default_factory=dict)


_SIZES = {
    "font.size": 8.0, "lines.linewidth": 1.0, "lines.markersize": 4.0, "hatch.linewidth": 0.5,
}  # fmt: skip


def _print(width: float, stacked: bool) -> Look:
    thin = {"axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6}
    return Look(width, stacked, 0.65, {**_SIZES, **thin})


#: What ``style=`` takes: for a screen; one column of a paper, 3.3 inches; both columns of it.
STYLES_OF_FIGURES: dict[str, Look] = {
    "screen": Look(),
    "paper": _print(3.3, stacked=True),
    "paper-wide": _print(6.9, stacked=False),
}
_PANEL = 2.3  # height in inches of a panel in print
_look: ContextVar[Look] = ContextVar("look", default=STYLES_OF_FIGURES["screen"])


@contextmanager
def drawn_in(style: str | None) -> Iterator[None]:
    """Draw in a style; None keeps the style of what is around.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there is no such style.
    """
    if style is None:
        yield
        return
    if style not in STYLES_OF_FIGURES:
        known = ", ".join(repr(name) for name in STYLES_OF_FIGURES)
        raise ValueError(f"style must be one of {known}, or None, got {style!r}")
    look = STYLES_OF_FIGURES[style]
    token = _look.set(look)
    try:
        with _matplotlib().rc_context(look.settings):
            yield
    finally:
        _look.reset(token)


def scaled(size: float) -> float:
    """Return the width of a line or the size of a marker in the present style."""
    return size * _look.get().lines


def _matplotlib() -> Any:
    try:
        import matplotlib.figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'spikedrf[plot]'") from error
    return matplotlib


def new_figure(size: tuple[float, float] = (6.0, 4.0), panels: int = 1) -> Any:
    """Return a figure that pyplot does not manage.

    Parameters
    ----------
    size : (float, float)
        On a screen, in inches; styles for print have their own width.
    panels : int
        How many stand beside each other on a screen.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    _matplotlib()
    from spikedrf.plotting.print_figure import PrintFigure

    look = _look.get()
    if look.width is not None:
        beside = 1 if look.stacked else panels
        size = look.width, _PANEL * (panels // beside)
    dpi = 150 if look.width is None else 300
    return PrintFigure(figsize=size, dpi=dpi, layout="constrained", settings=look.settings)


def new_panels(size: tuple[float, float], panels: int) -> Any:
    """Return axes of a new figure, an array: beside each other, or in a column of a paper beneath.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figure = new_figure(size, panels)
    rows = (panels, 1) if _look.get().stacked else (1, panels)
    return figure.subplots(*rows, squeeze=False).ravel()


def new_axes() -> Any:
    """Return axes of a new figure, as `new_figure`."""
    return new_figure().add_subplot()


def in_print() -> bool:
    """Whether figures are drawn for print now."""
    return _look.get().width is not None


def spans(values: Floats) -> bool:
    """Whether the values span a factor of five, so that a logarithmic axis serves them."""
    values = values[np.isfinite(values)]
    return bool(values.size and values.max() >= 5.0 * values.min())


def plain_ticks(ax: Any) -> None:
    """Label logarithmic axes with plain numbers, and between the decades where they are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        if axis.get_scale() != "log":
            continue
        decades = np.log10(high / low)
        subs = (1.0,) if decades > 2.5 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
