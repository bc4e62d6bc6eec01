"""What the page draws, computed: a plain function of its parameters."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import theory
from spikedrf.activations import resolve
from spikedrf.explore.state import HIGHEST, LOWEST, POINTS, SPECTRUM, State
from spikedrf.parameters import ConvergenceWarning
from spikedrf.step import GradientStep, Spike
from spikedrf.theory import Spectrum

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class View:
    """The numbers of the page.

    Attributes
    ----------
    alpha : ndarray, shape (N,)
        Points of the learning curves.
    with_step, without_step : ndarray, shape (N,)
        Test errors there.
    best_linear : float
        Test error of the best linear function.
    here, here_without : float
        Test errors at the alpha of the state.
    s : ndarray, shape (M,)
        Projections on the target direction.
    target, learned, learned_without : ndarray, shape (M,)
        The target and the mean outputs there, at the alpha of the state.
    spectrum, spectrum_without : Spectrum
        The spectra of the features at the alpha of the state, with the bulk of the state.
    spike : Spike
        What the step leaves.
    lost : int
        Points of curves and spectra that did not reach their accuracy.
    """

    alpha: Floats
    with_step: Floats
    without_step: Floats
    best_linear: float
    here: float
    here_without: float
    s: Floats
    target: Floats
    learned: Floats
    learned_without: Floats
    spectrum: Spectrum
    spectrum_without: Spectrum
    spike: Spike
    lost: int


def view(state: State) -> View:
    """Compute what a page shows, in a tenth of a second; with the network's bulk, in one.

    Raises
    ------
    ValueError
        If the parameters go together badly, such as an activation without a gradient.
    """
    model: dict[str, Any] = {
        "beta": state.beta,
        "lam": state.lam,
        "noise": state.noise,
        "activation": state.activation,
        "target": state.target,
    }
    step = GradientStep(state.eta, state.alpha0, u=list(state.u), pi=list(state.pi) or None)
    alpha = np.geomspace(LOWEST, HIGHEST, POINTS)
    s = np.linspace(-3.0, 3.0, 121)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by `lost`
        curves, points = (
            [theory.solve(at, step=step, bulk=state.bulk, **model), theory.solve(at, **model)]
            for at in (alpha, state.alpha)
        )
        del model["lam"]
        spectra = [
            theory.spectrum(alpha=state.alpha, step=step, bulk=state.bulk, **SPECTRUM, **model),
            theory.spectrum(alpha=state.alpha, **SPECTRUM, **model),
        ]
    reached = [curve.success for curve in curves] + [spectrum.success for spectrum in spectra]
    return View(
        alpha=alpha,
        with_step=curves[0].test_error,
        without_step=curves[1].test_error,
        best_linear=theory.best_linear_error(state.target, state.noise),
        here=float(points[0].test_error),
        here_without=float(points[1].test_error),
        s=s,
        target=resolve(state.target, "target")(s),
        learned=points[0].learned_along_target(s),
        learned_without=points[1].learned_along_target(s),
        spectrum=spectra[0],
        spectrum_without=spectra[1],
        spike=points[0].spike,
        lost=sum(int(np.count_nonzero(~success)) for success in reached),
    )
