"""Figures that are fit for print: fonts embedded as fonts, and nothing cut off at any width."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# TrueType fonts in PDF and PostScript (venues refuse Type 3), and text as text in SVG.
_FONTS = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}

# A word of a label is anything without spaces, or a formula.
_WORD = re.compile(r"(?:\$[^$]*\$|[^\s$])+")
_MOST_LINES = 5
_GAP = 3.0  # points between what belongs to an axis and a legend beneath it


@dataclass
class _Legend:
    """A legend beneath one of the axes, or beneath all of them."""

    ax: Any  # None beneath all
    handles: Sequence[Any]
    labels: Sequence[str]
    columns: int  # at most
    options: Mapping[str, Any]
    drawn: Any = None


class PrintFigure(Figure):
    """A figure for files, whatever the settings of matplotlib are, and whatever its size becomes.

    Before it is drawn, labels that are longer than their axes are broken into lines, and legends
    get as many columns as there is room for.
    """

    def __init__(self, *args: Any, settings: Mapping[str, Any], **options: Any) -> None:
        self._settings = {**settings, **_FONTS}
        self._legends: list[_Legend] = []
        # The text of each label as it was given, and as it was broken.
        self._given: dict[Any, tuple[str, str]] = {}
        super().__init__(*args, **options)

    def savefig(self, *args: Any, **options: Any) -> None:
        """Save the figure: see `matplotlib.figure.Figure.savefig`."""
        with matplotlib.rc_context(self._settings):  # type: ignore[arg-type]
            super().savefig(*args, **options)

    def draw(self, renderer: Any) -> None:
        """Draw the figure: see `matplotlib.figure.Figure.draw`."""
        with matplotlib.rc_context(self._settings):  # type: ignore[arg-type]
            self._fit(renderer)
            super().draw(renderer)

    def legend_beneath(
        self,
        handles: Sequence[Any],
        labels: Sequence[str],
        *,
        columns: int,
        ax: Any = None,
        grow: bool = False,
        **options: Any,
    ) -> None:
        """Put a legend beneath axes, or beneath all of them, of at most so many columns.

        With ``grow`` the figure becomes as much higher.
        """
        if not handles:
            return
        legend = _Legend(ax, handles, labels, columns, options)
        self._legends.append(legend)
        # There is a renderer only where something is drawn; to measure any will do.
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        renderer = FigureCanvasAgg(self).get_renderer()  # type: ignore[no-untyped-call]
        self._place(legend, renderer)
        if grow:
            height = legend.drawn.get_window_extent(renderer).height / self.dpi
            self.set_figheight(self.get_figheight() + height)

    def _place(self, legend: _Legend, renderer: Any) -> None:
        """Draw a legend anew with as many columns as fit, and shorter lines if one is too wide."""
        room = self.bbox.width if legend.ax is None else 1.25 * legend.ax.bbox.width
        room = min(room, self.bbox.width) - 4.0
        for columns in range(min(legend.columns, len(legend.labels)), 0, -1):
            if legend.drawn is not None:
                legend.drawn.remove()
            where = {"loc": "outside lower center"}
            owner: Any = self
            if legend.ax is not None:
                where, owner = {"loc": "upper center"}, legend.ax
            legend.drawn = owner.legend(
                legend.handles, legend.labels, ncols=columns, **where, **legend.options
            )
            if legend.ax is not None:
                self._hang(legend, renderer)
            if legend.drawn.get_window_extent(renderer).width <= room:
                return
        for text in legend.drawn.get_texts():
            width = legend.drawn.get_window_extent(renderer).width
            own = text.get_window_extent(renderer).width
            if own > room - (width - own):
                self._break(text, room - (width - own), renderer)

    def _hang(self, legend: _Legend, renderer: Any) -> None:
        """Put a legend beneath ticks and label of its axes."""
        from matplotlib.transforms import ScaledTranslation

        bounds = legend.ax.xaxis.get_tightbbox(renderer)
        below = 0.0 if bounds is None else max(legend.ax.bbox.y0 - bounds.y0, 0.0) / self.dpi
        shift = ScaledTranslation(0.0, -below - _GAP / 72.0, self.dpi_scale_trans)
        legend.drawn.set_bbox_to_anchor((0.5, 0.0), transform=legend.ax.transAxes + shift)

    def _fit(self, renderer: Any) -> None:
        engine = self.get_layout_engine()
        for legend in self._legends:
            self._place(legend, renderer)
        if engine is not None:
            engine.execute(self)
        self._break_labels(renderer)
        for legend in self._legends:
            if legend.ax is not None:
                self._hang(legend, renderer)

    def _break_labels(self, renderer: Any) -> None:
        width, height = self.bbox.width, self.bbox.height
        alone = len({round(ax.get_position().x0, 2) for ax in self.axes if _has_label(ax)}) < 2
        axes: list[Any] = self.axes
        for ax in axes:
            box = ax.bbox
            middle = 0.5 * (box.x0 + box.x1), 0.5 * (box.y0 + box.y1)
            side = 2.0 * min(middle[0], width - middle[0])
            self._break(ax.xaxis.label, side if alone else 1.15 * box.width, renderer)
            upright = 2.0 * min(middle[1], height - middle[1])
            self._break(ax.yaxis.label, min(upright, 1.1 * box.height), renderer)
            over = width - box.x0 if alone else box.width
            for title in (ax.title, ax._left_title, ax._right_title):
                self._break(title, over, renderer)
        title = getattr(self, "_suptitle", None)
        if title is not None:
            self._break(title, 0.97 * width, renderer)

    def _break(self, text: Any, room: float, renderer: Any) -> None:
        """Break a text into as few lines as the room, in pixels, asks for."""
        now = text.get_text()
        if not now:
            return
        given, broken = self._given.get(text, (now, now))
        if now != broken:  # it has been changed since
            given = now
        words = _WORD.findall(given)
        for lines in range(given.count("\n") + 1, _MOST_LINES + 1):
            tried = given if lines == given.count("\n") + 1 else _in_lines(words, lines)
            text.set_text(tried)
            box = text.get_window_extent(renderer)
            if (box.height if text.get_rotation() == 90.0 else box.width) <= room - 2.0:
                break
        self._given[text] = given, text.get_text()


def _has_label(ax: Any) -> bool:
    return bool(ax.get_xlabel())


def _in_lines(words: Sequence[str], count: int) -> str:
    """Join words to lines of about the same length, so many or fewer."""
    target = sum(map(_length, words)) / count
    lines, at = [""], 0.0
    for word in words:
        # A line ends where it is nearer to its share than with the next word.
        if lines[-1] and at + 0.5 * _length(word) > len(lines) * target:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
        at += _length(word)
    return "\n".join(lines)


def _length(word: str) -> float:
    """Return about how many letters a word is wide: commands of TeX are one letter."""
    return len(re.sub(r"[\\{}$^_]", "", re.sub(r"\\[a-zA-Z]+", "x", word))) + 1.0
