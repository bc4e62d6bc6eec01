"""The page in Bokeh: sliders that change the state, and pictures of its view."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import (
    BasicTickFormatter,
    Button,
    ColumnDataSource,
    CustomJS,
    CustomJSTickFormatter,
    Div,
    PreText,
    Select,
    Slider,
    TextInput,
)
from bokeh.plotting import figure

from spikedrf.explore.state import CHOICES, RANGES, State, numbers
from spikedrf.explore.view import Floats, View, view
from spikedrf.plotting.style import BLACK, BLUE, VERMILLION
from spikedrf.theory import Spectrum

#: Sliders of a logarithm: their titles and where they begin and end.
_LOGARITHMIC = {
    "alpha0": ("samples of the step over dimension, α₀", 0.1, 1000.0),
    "alpha": ("samples over dimension, α", 0.1, 100.0),
    "beta": ("width over dimension, β", 0.1, 20.0),
    "lam": ("ridge, λ", 1e-6, 100.0),
}
_LINEAR = {
    "eta": ("size of the step, η", 20.0, 0.05),
    "noise": ("label noise", 2.0, 0.01),
}

#: Behind the end of the slider of alpha0 it is infinite.
_INFINITE = 0.1

#: Of the largest density: less than that is on the axis.
_VISIBLE = 2e-3

# Browsers have a clipboard for pages of this machine, or of a secure server, only.
_COPY = """
if (navigator.clipboard) navigator.clipboard.writeText(text.text)
else window.prompt('copy this', text.text)
"""
_DECADES = "return tick < 1e-3 ? tick.toExponential(0) : Number(tick.toPrecision(3)).toString()"
_FORMAT = "return {infinite} ? '∞' : Number(Math.pow(10, tick).toPrecision(3)).toString()"


class Page:
    """One visitor's page.

    Parameters
    ----------
    document : Document
        Of the visitor's session.
    default : State
        What is shown where the address says nothing.
    """

    def __init__(self, document: Document, default: State) -> None:
        self._document = document
        self._pending = False
        self._message = Div(name="message", styles={"color": "#B00020"})
        self._facts = Div(name="facts")
        request = document.session_context.request if document.session_context else None
        try:
            self.state = State.from_arguments(request.arguments if request else {}, default)
        except ValueError as error:
            self.state = default
            self._message.text = html.escape(f"The address was not understood: {error}.")
        self._curves = ColumnDataSource(name="curves")
        self._functions = ColumnDataSource(name="functions")
        self._point = ColumnDataSource(name="point")
        self._spectrum = ColumnDataSource(name="spectrum")
        self._spectrum_without = ColumnDataSource(name="spectrum_without")
        # The browser writes the state into its address bar; the history is left alone.
        self._query = TextInput(name="query", visible=False)
        replace_address = CustomJS(code="history.replaceState(null, '', '?' + cb_obj.value)")
        self._query.js_on_change("value", replace_address)
        self._command = PreText(name="command", width=900)
        self._python = PreText(name="python", width=900)
        # What is drawn first is computed before anything is drawn.
        shown = self._compute()
        if shown is None:
            self.state = State()
            shown = view(self.state)
        self._show(shown)
        document.title = "spikedrf explore"
        document.add_root(self._layout())

    # ---------------------------------------------------------------------------------------------
    # From the widgets to the state

    def _layout(self) -> Any:
        widgets = [
            self._select("activation", "activation of the network"),
            self._select("target", "target, g"),
            self._select("bulk", "bulk: of the spiked model, or of the trained network"),
            self._linear_slider("eta"),
            self._logarithmic_slider("alpha0"),
            self._logarithmic_slider("alpha"),
            self._logarithmic_slider("beta"),
            self._logarithmic_slider("lam"),
            self._linear_slider("noise"),
            self._vocabulary("u", "vocabulary: values of the initial readout, u"),
            self._vocabulary("pi", "their proportions, π (empty: equal)"),
            self._message,
        ]
        copies = []
        for text, title in ((self._command, "command line"), (self._python, "Python")):
            button = Button(label=f"copy the {title}", name=f"copy_{text.name}", width=180)
            button.js_on_click(CustomJS(args={"text": text}, code=_COPY))
            copies += [button, text]
        pictures = row(
            self._curve_figure(),
            self._function_figure(),
            self._spectrum_figure(),
            sizing_mode="stretch_width",
            styles={"flex-wrap": "wrap"},
        )
        return row(
            column(*widgets, width=320),
            column(self._facts, pictures, *copies, self._query, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def _changed(self, name: str, read: Callable[[Any], Any]) -> Callable[..., None]:
        def change(attr: str, old: Any, new: Any) -> None:
            try:
                self.state = replace(self.state, **{name: read(new)})
            except ValueError as error:
                self._message.text = html.escape(str(error))
                return
            # Events that come while a picture is being computed are drawn together.
            if not self._pending:
                self._pending = True
                self._document.add_next_tick_callback(self._redraw)

        return change

    def _select(self, name: str, title: str) -> Select:
        widget = Select(
            title=title,
            value=getattr(self.state, name),
            options=list(CHOICES[name]),
            name=name,
            width=300,
        )
        widget.on_change("value", self._changed(name, str))
        return widget

    def _linear_slider(self, name: str) -> Slider:
        title, end, step = _LINEAR[name]
        value = getattr(self.state, name)
        widget = Slider(
            title=title, start=0.0, end=max(end, value), step=step, value=value, name=name
        )
        widget.on_change("value", self._changed(name, lambda x: float(f"{x:.6g}")))
        return widget

    def _logarithmic_slider(self, name: str) -> Slider:
        title, low, high = _LOGARITHMIC[name]
        value = getattr(self.state, name)
        infinite = math.isinf(RANGES[name][1])
        start = math.log10(min(low, value))
        last = math.log10(high if math.isinf(value) else max(high, value))
        end = last + _INFINITE * infinite
        code = _FORMAT.format(infinite=f"tick > {last + _INFINITE / 2}" if infinite else "false")
        widget = Slider(
            title=title,
            start=start,
            end=end,
            step=0.01,
            value=end if math.isinf(value) else math.log10(value),
            format=CustomJSTickFormatter(code=code),
            name=name,
        )

        def read(x: float) -> float:
            if infinite and x > last + _INFINITE / 2:
                return math.inf
            low, high = RANGES[name]
            return min(max(float(f"{10.0**x:.3g}"), low), high)

        widget.on_change("value", self._changed(name, read))
        return widget

    def _vocabulary(self, name: str, title: str) -> TextInput:
        value = ", ".join(f"{x:g}" for x in getattr(self.state, name))
        widget = TextInput(title=title, value=value, name=name, width=300)

        widget.on_change("value", self._changed(name, partial(numbers, name)))
        return widget

    # ---------------------------------------------------------------------------------------------
    # From the state to the pictures

    def _redraw(self) -> None:
        self._pending = False
        shown = self._compute()
        if shown is not None:
            self._message.text = ""
            self._show(shown)

    def _compute(self) -> View | None:
        try:
            return view(self.state)
        except ValueError as error:
            self._message.text = html.escape(str(error))
            return None

    def _show(self, shown: View) -> None:
        self._curves.data = {
            "alpha": shown.alpha,
            "with_step": shown.with_step,
            "without_step": shown.without_step,
            # A logarithmic axis has no room for 0, that of a linear target without noise.
            "best_linear": np.full_like(shown.alpha, shown.best_linear or np.nan),
        }
        self._point.data = {
            "alpha": [self.state.alpha] * 2,
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
        self._facts.text = _facts(self.state, shown)
        self._query.value = self.state.query()
        self._command.text = self.state.command()
        self._python.text = self.state.python()

    def _curve_figure(self) -> Any:
        plot = _figure("α = n/d", "test error", x_axis_type="log", y_axis_type="log", name="curve")
        lines = {"source": self._curves, "line_width": 2.5}
        plot.line(
            "alpha",
            "without_step",
            color=VERMILLION,
            line_dash="dashed",
            legend_label="no step",
            **lines,
        )
        plot.line("alpha", "with_step", color=BLUE, legend_label="after the step", **lines)
        plot.line(
            "alpha",
            "best_linear",
            color=BLACK,
            line_dash="dotted",
            legend_label="best linear function",
            **lines,
        )
        plot.scatter(
            "alpha", "error", source=self._point, size=9, color="colour", line_color="white"
        )
        return _legend_beneath(plot)

    def _function_figure(self) -> Any:
        plot = _figure("⟨θ, x⟩", "mean output", name="function")
        lines = {"source": self._functions, "line_width": 2.5}
        plot.line("s", "target", color=BLACK, line_dash="dotted", legend_label="target", **lines)
        plot.line(
            "s",
            "learned_without",
            color=VERMILLION,
            line_dash="dashed",
            legend_label="no step",
            **lines,
        )
        plot.line("s", "learned", color=BLUE, legend_label="after the step", **lines)
        return _legend_beneath(plot)

    def _spectrum_figure(self) -> Any:
        plot = _figure(
            "eigenvalue x of the features",
            "density of ln x",
            x_axis_type="log",
            name="density",
        )
        plain = {"color": VERMILLION, "line_dash": "dashed", "legend_label": "no step"}
        stepped = {"color": BLUE, "legend_label": "after the step"}
        for source, look in ((self._spectrum_without, plain), (self._spectrum, stepped)):
            plot.line("x", "density", source=source, line_width=2.5, **look)
        plot.xaxis.formatter = CustomJSTickFormatter(code=_DECADES)
        return _legend_beneath(plot)


def _figure(x: str, y: str, **options: Any) -> Any:
    plot = figure(
        x_axis_label=x,
        y_axis_label=y,
        height=380,
        min_width=340,
        sizing_mode="stretch_width",
        tools="pan,wheel_zoom,box_zoom,reset,save",
        **options,
    )
    plot.axis.formatter = BasicTickFormatter(use_scientific=False)
    plot.axis.minor_tick_line_color = None
    return plot


def _of_logarithm(spectrum: Spectrum) -> dict[str, Floats]:
    """Return the density of ``ln x``, as far as it can be seen.

    On a logarithmic axis its areas are shares of the eigenvalues.
    """
    density = spectrum.x * spectrum.density
    visible = np.pad(density > _VISIBLE * np.nanmax(density), 1)
    drawn = (visible[:-2] | visible[1:-1] | visible[2:]) & (spectrum.x > 0)
    return {"x": spectrum.x[drawn], "density": density[drawn]}


def _legend_beneath(plot: Any) -> Any:
    legend = plot.legend[0]
    legend.orientation, legend.location, legend.border_line_color = "horizontal", "center", None
    plot.add_layout(legend, "below")
    return plot


def _facts(state: State, shown: View) -> str:
    """Say in a line what the step leaves and what it is worth."""
    r, c, gamma, _ = shown.spike.arrays()
    left = {"r": r, "c": c, "γ": np.atleast_1d(gamma)}
    spike = ", ".join(f"{k} = {' '.join(f'{x:.4g}' for x in v)}" for k, v in left.items())
    text = (
        f"At α = {state.alpha:g} the test error is <b>{shown.here:.5g}</b> after the step and "
        f"{shown.here_without:.5g} without it; the best linear function has "
        f"{shown.best_linear:.5g}. The step leaves {spike}."
    )
    if shown.lost:
        text += f" <b>{shown.lost} points of the curves did not reach the accuracy.</b>"
    return text
