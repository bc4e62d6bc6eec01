"""What all pictures have in common."""

from __future__ import annotations

from typing import Any


class Display:
    """A picture: made once, drawn by its ``plot`` as often as wanted.

    How large it is drawn is the ``style`` of ``plot`` and of the methods that make it:

    ``"screen"``
        for a screen;
    ``"paper"``
        for one column of a paper: 3.3 inches, with letters of 8 points;
    ``"paper-wide"``
        for both columns: 6.9 inches;
    None
        as what is drawn around it, or else for a screen.

    A `ValueError` says if there is no such style, an `ImportError` if matplotlib is not installed.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        The figure of the last ``plot``.
    """

    figure_: Any
