"""Figures whose files are fit for print."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.figure import Figure

# TrueType fonts in PDF and PostScript (venues refuse Type 3), and text as text in SVG.
_FONTS = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}


class PrintFigure(Figure):
    """A figure that embeds its fonts as fonts, whatever the settings of matplotlib are."""

    def savefig(self, *args: Any, **options: Any) -> None:
        """Save the figure: see `matplotlib.figure.Figure.savefig`."""
        with matplotlib.rc_context(_FONTS):  # type: ignore[arg-type]
            super().savefig(*args, **options)
