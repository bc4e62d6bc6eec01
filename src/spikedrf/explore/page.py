"""The page in Bokeh: controls that change the state, and pictures of its view."""

from __future__ import annotations

import html
from dataclasses import replace
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.layouts import column
from bokeh.models import Button, CustomJS, Div, InlineStyleSheet, PreText, TextInput
from numpy.typing import NDArray

from spikedrf.explore.controls import Controls
from spikedrf.explore.pictures import Pictures
from spikedrf.explore.state import State
from spikedrf.explore.view import View, view, without_rounding

_HEADING = "What one gradient step buys"
_SENTENCE = (
    "A two-layer network before one large gradient step on its first layer (red) and after it "
    "(blue), then fitted on fresh samples: computed exactly for many samples, neurons and "
    "dimensions. Move a slider or type a number, and everything is computed anew."
)

# Browsers have a clipboard for pages of this machine, or of a secure server, only.
_COPY = """
if (navigator.clipboard) navigator.clipboard.writeText(text.text)
else window.prompt('copy this', text.text)
"""

# A wide screen has the controls beside two columns of pictures, a tablet beside one. On a phone the
# first picture stays above the controls, so that one sees what they do.
_GRID = """
:host { display: grid !important; gap: 8px 20px; width: 100% !important;
        padding: 10px 16px; box-sizing: border-box; align-items: start;
        grid-template-columns: 330px minmax(0, 1fr) minmax(0, 1fr); }
@media (max-width: 1100px) { :host { grid-template-columns: 300px minmax(0, 1fr); } }
@media (max-width: 640px) { :host { grid-template-columns: minmax(0, 1fr); } }
"""
_PLACES = {
    "head": (":host { grid-column: 1 / -1; }", "", ""),
    "controls": (":host { grid-column: 1; grid-row: 2 / span 8; }", "", "grid-row: auto; order: 2"),
    "first": (":host { order: 0; }", "", "order: 1"),
    "more": (":host { order: 1; }", "", "order: 3"),
    "texts": (":host { grid-column: 3; order: 4; }", "grid-column: 2", "grid-column: 1"),
}

_TEMPLATE = """
{% block preamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>
  html, body { margin: 0; }
</style>
{% endblock %}
"""
_WORDS = """
h1 { margin: 0 0 4px; font: 600 24px system-ui, sans-serif; }
p { margin: 0; font: 15px/1.4 system-ui, sans-serif; max-width: 75em; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; font-size: 12px; }
:host { font-size: 15px; }
"""


class Page:
    """One visitor's page.

    Parameters
    ----------
    document : Document
        Of the visitor's session.
    default : State
        What is shown where the address says nothing, and after a reset.
    """

    def __init__(self, document: Document, default: State) -> None:
        self._document = document
        self._pending = False
        words = InlineStyleSheet(css=_WORDS)
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width", "stylesheets": [words]}
        self._message = Div(name="message", styles={"color": "#B00020"}, **stretch)
        self._facts = Div(name="facts", **stretch)
        request = document.session_context.request if document.session_context else None
        try:
            self.state = State.from_arguments(request.arguments if request else {}, default)
        except ValueError as error:
            self.state = default
            self._message.text = html.escape(f"The address was not understood: {error}.")
        # The browser writes the state into its address bar; the history is left alone.
        self._query = TextInput(name="query", visible=False)
        replace_address = CustomJS(code="history.replaceState(null, '', '?' + cb_obj.value)")
        self._query.js_on_change("value", replace_address)
        self._command = PreText(name="command", **stretch)
        self._python = PreText(name="python", **stretch)
        self._pictures = Pictures()
        self._default = default
        # What is drawn first is computed before anything is drawn.
        self._draw()
        self._controls = Controls(default, self._change)
        self._controls.follow(self.state)
        document.title = "spikedrf explore"
        document.template = _TEMPLATE
        document.add_root(self._layout(stretch))

    def _layout(self, stretch: dict[str, Any]) -> Any:
        heading = Div(text=f"<h1>{_HEADING}</h1><p>{_SENTENCE}</p>", name="heading", **stretch)
        copies = []
        for text, title in ((self._command, "command line"), (self._python, "Python")):
            button = Button(label=f"copy the {title}", name=f"copy_{text.name}", width=180)
            button.js_on_click(CustomJS(args={"text": text}, code=_COPY))
            copies += [button, text]
        first, *more = self._pictures.figures
        parts = {
            "head": [column(heading, self._facts, self._message, sizing_mode="stretch_width")],
            "controls": [column(*self._controls.widgets, sizing_mode="stretch_width")],
            "first": [first],
            "more": more,
            "texts": [column(*copies, self._query, sizing_mode="stretch_width")],
        }
        for name, models in parts.items():
            wide, tablet, phone = _PLACES[name]
            css = f"{wide} @media (max-width: 1100px) {{ :host {{ {tablet} }} }} "
            css += f"@media (max-width: 640px) {{ :host {{ {phone} }} }}"
            for model in models:
                model.stylesheets = [*model.stylesheets, InlineStyleSheet(css=css)]
        return column(
            *(model for models in parts.values() for model in models),
            stylesheets=[InlineStyleSheet(css=_GRID)],
            sizing_mode="stretch_width",
        )

    # ---------------------------------------------------------------------------------------------
    # From the controls to the pictures

    def _change(self, name: str, value: Any) -> None:
        """Take a new value of a parameter; without a name, a whole new state."""
        try:
            if isinstance(value, ValueError):
                raise value
            self.state = replace(self.state, **{name: value}) if name else value
        except ValueError as error:
            self._message.text = html.escape(str(error))
            return
        self._controls.follow(self.state)
        # Events that come while a picture is being computed are drawn together.
        if not self._pending:
            self._pending = True
            self._document.add_next_tick_callback(self._redraw)

    def _redraw(self) -> None:
        self._pending = False
        self._message.text = ""
        self._draw()

    def _draw(self) -> None:
        self._query.value = self.state.query()
        self._command.text = self.state.command()
        self._python.text = self.state.python()
        try:
            shown = view(self.state)
        except ValueError as error:
            self._message.text = html.escape(str(error))
            self._facts.text = ""
            self._pictures.clear()
            return
        self._pictures.show(self.state, shown)
        self._facts.text = _facts(self.state, shown)
        if shown.missing:
            self._message.text = html.escape(shown.missing)


def _listed(values: NDArray[np.float64]) -> str:
    """Write numbers with spaces between them; rows of a matrix with semicolons."""
    if values.ndim > 1:
        return "; ".join(map(_listed, values))
    return " ".join(f"{x:.4g}" for x in values)


def _facts(state: State, shown: View) -> str:
    """Say in a line what the step leaves and what it is worth."""
    error = {"real": "test error", "sign": "share of wrong signs"}[state.labels]
    text = f"At α = {state.alpha:g} the {error} is {shown.here_without:.5g} without the step"
    if not shown.missing:
        text += f" and <b>{shown.here:.5g}</b> after it"
    if not np.isnan(shown.best_linear):
        text += f"; the best linear function has {shown.best_linear:.5g}"
    if shown.spike is not None:
        r, c, gamma, _ = shown.spike.arrays()
        left = {"r": r, "c": c, "γ": without_rounding(np.atleast_1d(gamma))}
        spike = ", ".join(f"{k} = {_listed(v)}" for k, v in left.items())
        text += f". The step leaves {spike}"
        if not left["γ"].any():
            text += ": it has not turned towards the target"
    if not shown.learned.any():
        text += ". What is learned along this line is 0"
        text += ", as the target is" if not shown.target.any() else ""
    text = f"<p>{text}."
    if shown.lost:
        text += f" <b>{shown.lost} points of the curves did not reach the accuracy.</b>"
    return f"{text}</p>"
