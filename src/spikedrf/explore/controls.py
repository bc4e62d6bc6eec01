"""The controls of the page: what changes its state, and what follows when it changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from bokeh.layouts import row
from bokeh.models import Button, CustomJSTickFormatter, Select, Slider, TextInput, Toggle

from spikedrf.explore.state import CHOICES, RANGES, State, numbers

#: Sliders of a logarithm: their titles and where they begin and end.
_LOGARITHMIC = {
    "alpha0": ("batch of the step, α₀", 0.1, 1000.0),
    "alpha": ("samples over dimension, α", 0.1, 100.0),
    "beta": ("width over dimension, β", 0.1, 20.0),
    "lam": ("ridge, λ", 1e-6, 100.0),
}
_LINEAR = {
    "eta": ("size of the step, η", 20.0, 0.05),
    "noise": ("noise of the labels", 2.0, 0.01),
    "power": ("inputs' eigenvalues k⁻ᵃ, a (0: white)", 1.5, 0.01),
    "steps": ("steps, on fresh samples", 5.0, 1.0),
}
_WORDS = {
    "activation": "activation of the network",
    "target": "target",
    "loss": "loss of the readout",
    "labels": "labels",
    "bulk": "first layer: the spiked model's, or the trained network's",
}
_LISTS = {
    "u": "values of the initial readout, u",
    "pi": "their proportions, π (empty: equal)",
}

#: Behind the end of the slider of alpha0 it is infinite.
_INFINITE = 0.1

_FORMAT = "return {infinite} ? '∞' : Number(Math.pow(10, tick).toPrecision(3)).toString()"


class Controls:
    """Widgets that all show one state.

    Parameters
    ----------
    state : State
        What they show first, and again after a reset.
    change : callable
        Is told the name of a parameter and its new value, or the error that its text is.

    Attributes
    ----------
    widgets : list
        In the order of the page.
    """

    def __init__(self, state: State, change: Callable[[str, Any], None]) -> None:
        self._first, self._change = state, change
        self._following = False
        self._by_name: dict[str, Any] = {}
        self._infinite = Toggle(label="α₀ = ∞", name="infinite", active=False, width=70)
        self._infinite.on_change("active", self._toggled)
        reset = Button(label="reset", name="reset", width=90)
        reset.on_click(self._reset)
        self.widgets = [
            *(self._select(name) for name in ("activation", "target")),
            *(self._number(name) for name in ("eta", "alpha0", "steps")),
            *(self._number(name) for name in ("alpha", "beta", "lam", "noise", "power")),
            *(self._select(name) for name in ("loss", "labels", "bulk")),
            *(self._list(name) for name in ("u", "pi")),
            reset,
        ]
        self.follow(state)

    def follow(self, state: State) -> None:
        """Show a state, without telling of a change."""
        self._following = True
        try:
            for name in (*_WORDS, *_LISTS):
                value = getattr(state, name)
                self._by_name[name].value = value if isinstance(value, str) else _listed(value)
            for name in (*_LINEAR, *_LOGARITHMIC):
                value = getattr(state, name)
                self._slide(name, value)
                self._by_name[f"{name}_typed"].value = f"{value:.6g}"
            self._infinite.active = math.isinf(state.alpha0)
        finally:
            self._following = False

    def _tell(self, name: str, read: Callable[[Any], Any]) -> Callable[..., None]:
        def changed(attr: str, old: Any, new: Any) -> None:
            if self._following:
                return
            try:
                value = read(new)
            except ValueError as error:
                value = error
            self._change(name, value)

        return changed

    def _reset(self) -> None:
        self._change("", self._first)

    def _toggled(self, attr: str, old: bool, new: bool) -> None:
        if not self._following:
            finite = self._first.alpha0 if math.isfinite(self._first.alpha0) else 20.0
            self._change("alpha0", math.inf if new else finite)

    def _select(self, name: str) -> Select:
        widget = Select(title=_WORDS[name], options=list(CHOICES[name]), name=name)
        widget.sizing_mode = "stretch_width"
        widget.on_change("value", self._tell(name, str))
        self._by_name[name] = widget
        return widget

    def _list(self, name: str) -> TextInput:
        widget = TextInput(title=_LISTS[name], name=name, sizing_mode="stretch_width")
        widget.on_change("value", self._tell(name, lambda text: numbers(name, text)))
        self._by_name[name] = widget
        return widget

    def _number(self, name: str) -> Any:
        """Return a slider with a field beside it where the number can be typed."""
        slider = self._linear(name) if name in _LINEAR else self._logarithmic(name)
        slider.sizing_mode = "stretch_width"
        typed = TextInput(name=f"{name}_typed", width=70, align="end")
        typed.on_change("value", self._tell(name, lambda text: _single(name, text)))
        self._by_name |= {name: slider, f"{name}_typed": typed}
        more = [self._infinite] if name == "alpha0" else []
        self._infinite.align = "end"
        return row(slider, typed, *more, sizing_mode="stretch_width")

    def _linear(self, name: str) -> Slider:
        title, end, step = _LINEAR[name]
        value = getattr(self._first, name)
        least = RANGES[name][0]
        slider = Slider(title=title, start=least, end=end, step=step, value=min(value, end))
        slider.name = name
        slider.on_change("value", self._tell(name, lambda x: float(f"{x:.6g}")))
        return slider

    def _logarithmic(self, name: str) -> Slider:
        title, low, high = _LOGARITHMIC[name]
        start, end = math.log10(low), math.log10(high)
        infinite = math.isinf(RANGES[name][1])
        slider = Slider(title=title, start=start, end=end + 1, step=0.01, value=start, name=name)

        def read(x: float) -> float:
            if infinite and x > slider.end - _INFINITE / 2:
                return math.inf
            least, most = RANGES[name]
            return min(max(float(f"{10.0**x:.3g}"), least), most)

        slider.on_change("value", self._tell(name, read))
        return slider

    def _slide(self, name: str, value: float) -> None:
        """Move a slider to a number, and its ends if that is beyond them."""
        slider = self._by_name[name]
        if name in _LINEAR:
            slider.end = max(_LINEAR[name][1], value)
            slider.value = value
            return
        _, low, high = _LOGARITHMIC[name]
        infinite = math.isinf(RANGES[name][1])
        slider.start = math.log10(min(low, value))
        last = math.log10(high if math.isinf(value) else max(high, value))
        slider.end = last + _INFINITE * infinite
        code = _FORMAT.format(infinite=f"tick > {last + _INFINITE / 2}" if infinite else "false")
        if slider.format is None or getattr(slider.format, "code", None) != code:
            slider.format = CustomJSTickFormatter(code=code)
        at = slider.end if math.isinf(value) else math.log10(value)
        # Where the slider stands already it is left alone: it may be being dragged.
        if abs(slider.value - at) > 0.005:
            slider.value = at


def _single(name: str, text: str) -> float:
    (value,) = numbers(name, text) if len(text.split()) == 1 else (math.nan,)
    if math.isnan(value):
        raise ValueError(f"{name} must be a number, got {text!r}")
    return value


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{x:g}" for x in values)
