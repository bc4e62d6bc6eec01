"""High-order central differences, to hold exact derivatives against."""

import numpy as np

_WEIGHTS = {
    6: np.array([45, -9, 1]) / 60,
    8: np.array([672, -168, 32, -3]) / 840,
}


def central(f, x, h, order=8):
    """df/dx from values at x +- h, x +- 2h, ...: the error is of this order in h."""
    return (
        sum(w * (f(x + (i + 1) * h) - f(x - (i + 1) * h)) for i, w in enumerate(_WEIGHTS[order]))
        / h
    )


def forward(f, x, h):
    """df/dx from values at x, x + h, ..., x + 6h: for the end of a range, sixth order."""
    weights = np.array([-147, 360, -450, 400, -225, 72, -10]) / 60
    return sum(w * f(x + i * h) for i, w in enumerate(weights)) / h
