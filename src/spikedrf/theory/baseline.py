"""What could be reached without any feature learning."""

from __future__ import annotations

from spikedrf.activations import FunctionLike, resolve, step_moments
from spikedrf.parameters import real_array


def best_linear_error(target: FunctionLike, noise: float = 0.0) -> float:
    r"""Return the test error of the best affine function of the input.

    ``Var g(z) - (E z g(z))^2 + noise^2`` with ``z ~ N(0, 1)``: what remains of the target when its
    constant and its linear part are known exactly.

    Parameters
    ----------
    target : str or callable
        Teacher function ``g``.
    noise : float
        Standard deviation of the label noise, >= 0.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If the target is unknown or the noise is out of range.

    Notes
    -----
    Source: theory.md, section 2 (``t1``) and section 5.
    """
    sd = float(real_array("noise", noise, minimum=0.0))
    moments = step_moments(resolve(target, "target"), slope=False)
    left = moments.second - moments.h0**2 - moments.h1**2
    # A linear target leaves nothing but rounding.
    return (left if left > 1e-14 * moments.second else 0.0) + sd**2
