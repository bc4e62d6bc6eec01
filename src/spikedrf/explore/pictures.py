"""The three pictures of the page: learning curves, learned functions, spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, CustomJSTickFormatter, LogTicker, Title
from bokeh.plotting import figure

from spikedrf.explore.state import State
from spikedrf.explore.view import Floats, View
from spikedrf.plotting.style import BLACK, BLUE, VERMILLION
from spikedrf.theory import Spectrum

#: Of the largest density: less than that is on the axis.
_VISIBLE = 2e-3

_GREY, _WHITE = "#E4E4E4", "#FFFFFF"

# Numbers as one writes them: 0.05, not 5e-2, and no digits that say nothing.
_PLAIN = (
    "return tick != 0 && (Math.abs(tick) < 1e-4 || Math.abs(tick) >= 1e5)"
    " ? tick.toExponential(0) : Number(tick.toPrecision(6)).toString()"
)

_PLAIN_LOOK = {"color": VERMILLION, "line_dash": "dashed", "legend_label": "no step"}
_STEPPED_LOOK = {"color": BLUE, "legend_label": "after the step"}
_REFERENCE_LOOK = {"color": BLACK, "line_dash": "dotted"}


class Pictures:
    """The pictures and the numbers in them.

    Attributes
    ----------
    figures : tuple of figure
        Learning curves, learned functions and spectra.
    """

    def __init__(self) -> None:
        self._curves = ColumnDataSource(name="curves")
        self._functions = ColumnDataSource(name="functions")
        self._point = ColumnDataSource(name="point")
        self._spectrum = ColumnDataSource(name="spectrum")
        self._spectrum_without = ColumnDataSource(name="spectrum_without")
        self._notes: list[Title] = []
        self.figures = self._curve_figure(), self._function_figure(), self._spectrum_figure()

    def show(self, state: State, shown: View) -> None:
        """Draw a view."""
        for note, plot in zip(self._notes, self.figures, strict=True):
            note.text = "after the step: nothing to draw" if shown.missing else ""
            plot.background_fill_color = _GREY if shown.missing else _WHITE
        error = {"real": "test error", "sign": "share of wrong signs"}[state.labels]
        self.figures[0].yaxis.axis_label = error
        self._curves.data = {
            "alpha": shown.alpha,
            "with_step": shown.with_step,
            "without_step": shown.without_step,
            # A logarithmic axis has no room for 0, that of a linear target without noise.
            "best_linear": np.full_like(shown.alpha, shown.best_linear or np.nan),
        }
        self._point.data = {
            "alpha": [state.alpha] * 2,
            "error": [shown.here, shown.here_without],
            "colour": [BLUE, VERMILLION],
        }
        self._functions.data = {
            "s": shown.s,
            "target": shown.target,
            "learned": shown.learned,
            "learned_without": shown.learned_without,
        }
        for source, spectrum in (
            (self._spectrum, shown.spectrum),
            (self._spectrum_without, shown.spectrum_without),
        ):
            source.data = _of_logarithm(spectrum)

    def clear(self) -> None:
        """Draw nothing: what was there belongs to other parameters."""
        for note, plot in zip(self._notes, self.figures, strict=True):
            note.text = "nothing to draw"
            plot.background_fill_color = _GREY
        for source in (
            self._curves,
            self._point,
            self._functions,
            self._spectrum,
            self._spectrum_without,
        ):
            source.data = {name: [] for name in source.data}

    def _curve_figure(self) -> Any:
        plot = self._figure(
            "How well it predicts",
            "samples over dimension, α",
            "test error",
            x_axis_type="log",
            y_axis_type="log",
            name="curve",
        )
        for axis in (plot.xaxis, plot.yaxis):
            axis.ticker = LogTicker(mantissas=[1, 2, 5], desired_num_ticks=8)
        lines = {"source": self._curves, "line_width": 2.5}
        plot.line("alpha", "without_step", **_PLAIN_LOOK, **lines)
        plot.line("alpha", "with_step", **_STEPPED_LOOK, **lines)
        plot.line(
            "alpha", "best_linear", legend_label="best linear function", **_REFERENCE_LOOK, **lines
        )
        plot.scatter(
            "alpha", "error", source=self._point, size=9, color="colour", line_color="white"
        )
        return _with_legend(plot, "top_right")

    def _function_figure(self) -> Any:
        plot = self._figure(
            "What it has learned", "input along the target direction", "output", name="function"
        )
        lines = {"source": self._functions, "line_width": 2.5}
        plot.line("s", "target", legend_label="target", **_REFERENCE_LOOK, **lines)
        plot.line("s", "learned_without", **_PLAIN_LOOK, **lines)
        plot.line("s", "learned", **_STEPPED_LOOK, **lines)
        return _with_legend(plot, "top_left")

    def _spectrum_figure(self) -> Any:
        plot = self._figure(
            "Eigenvalues of its features",
            "eigenvalue x",
            "density of ln x",
            x_axis_type="log",
            name="density",
        )
        plot.xaxis.ticker = LogTicker(mantissas=[1], desired_num_ticks=6)
        for source, look in (
            (self._spectrum_without, _PLAIN_LOOK),
            (self._spectrum, _STEPPED_LOOK),
        ):
            plot.line("x", "density", source=source, line_width=2.5, **look)
        return _with_legend(plot, "bottom_center")

    def _figure(self, title: str, x: str, y: str, **options: Any) -> Any:
        plot = figure(
            title=title,
            x_axis_label=x,
            y_axis_label=y,
            height=340,
            min_width=280,
            sizing_mode="stretch_width",
            tools="pan,wheel_zoom,box_zoom,reset,save",
            active_drag=None,  # a finger that moves over it scrolls the page
            **options,
        )
        plot.toolbar.autohide = True
        plot.title.text_font_size = "15px"
        note = Title(text="", text_color="#B00020", text_font_size="12px", text_font_style="normal")
        plot.add_layout(note, "above")
        self._notes.append(note)
        plot.axis.formatter = CustomJSTickFormatter(code=_PLAIN)
        plot.axis.minor_tick_line_color = None
        plot.axis.axis_label_text_font_style = "normal"
        return plot


def _with_legend(plot: Any, place: str) -> Any:
    legend = plot.legend[0]
    legend.location = place
    legend.background_fill_alpha, legend.border_line_color = 0.75, None
    legend.label_text_font_size, legend.padding, legend.spacing = "12px", 4, 0
    legend.glyph_width = 24
    return plot


def _of_logarithm(spectrum: Spectrum | None) -> dict[str, Floats]:
    """Return the density of ``ln x``, as far as it can be seen.

    On a logarithmic axis its areas are shares of the eigenvalues.
    """
    if spectrum is None:
        return {"x": np.empty(0), "density": np.empty(0)}
    density = spectrum.x * spectrum.density
    visible = np.pad(density > _VISIBLE * np.nanmax(density), 1)
    drawn = (visible[:-2] | visible[1:-1] | visible[2:]) & (spectrum.x > 0)
    return {"x": spectrum.x[drawn], "density": density[drawn]}
