"""The numbers that the page draws: a plain function of its parameters."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import theory
from spikedrf.explore.state import HIGHEST, LOWEST, SPECTRUM, State
from spikedrf.multi_index import NAMED, MultiIndex, resolve_target
from spikedrf.parameters import ConvergenceWarning
from spikedrf.step import GradientStep, Spike
from spikedrf.theory import Spectrum

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class View:
    """The numbers of the page.

    What cannot be had with these parameters is None, or NaN in a curve, and `missing` says why.

    Attributes
    ----------
    alpha : ndarray, shape (N,)
        Points of the learning curves.
    with_step, without_step : ndarray, shape (N,)
        Test errors there.
    best_linear : float
        Test error of the best linear function; NaN for labels that are signs.
    here, here_without : float
        Test errors at the alpha of the state.
    s : ndarray, shape (M,)
        Projections on the target's direction, the first of them if there are two.
    target, learned, learned_without : ndarray, shape (M,)
        The target and the mean outputs there, at the alpha of the state.
    spectrum, spectrum_without : Spectrum or None
        The spectra of the features at the alpha of the state; None for spikes that span a plane,
        and after several steps for the trained network's bulk.
    spike : Spike or None
        What the step leaves.
    lost : int
        Points of curves and spectra that did not reach their accuracy.
    missing : str
        Why there is nothing after the step; empty if there is.
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
    spectrum: Spectrum | None
    spectrum_without: Spectrum | None
    spike: Spike | None
    lost: int
    missing: str = ""


@dataclass(frozen=True, eq=False)
class _Network:
    """A network before the step or after it."""

    curve: Floats
    here: float
    learned: Floats
    spectrum: Spectrum | None
    spike: Spike
    lost: int


def view(state: State) -> View:
    """Compute what a page shows, in a tenth of a second; with other losses, in some.

    Raises
    ------
    ValueError
        If not even the network without a step can be had: the loss and the labels go together
        badly.
    """
    alpha = np.geomspace(LOWEST, HIGHEST, state.points)
    s = np.linspace(-3.0, 3.0, 121)
    missing = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by `lost`
        plain = _network(state, alpha, s, None)
        try:
            one = GradientStep(state.eta, state.alpha0, u=list(state.u), pi=list(state.pi) or None)
            step: Any = [one] * state.steps if state.steps > 1 else one
            stepped = _network(state, alpha, s, step)
        except ValueError as error:
            missing = str(error)
            nothing = np.full(alpha.size, np.nan), np.nan, np.full(s.size, np.nan)
            stepped = replace(plain, curve=nothing[0], here=np.nan, learned=nothing[2], lost=0)
    real = state.labels == "real"
    return View(
        alpha=alpha,
        with_step=stepped.curve,
        without_step=plain.curve,
        best_linear=theory.best_linear_error(state.target, state.noise, **state.inputs)
        if real
        else np.nan,
        here=stepped.here,
        here_without=plain.here,
        s=s,
        target=_along_first(state.target, s),
        learned=stepped.learned,
        learned_without=plain.learned,
        spectrum=None if missing else stepped.spectrum,
        spectrum_without=plain.spectrum,
        spike=None if missing else stepped.spike,
        lost=plain.lost + stepped.lost,
        missing=missing,
    )


def _plane(s: Floats) -> Floats:
    """Return points along the first of two directions of a target."""
    return np.stack([s, np.zeros_like(s)], axis=-1)


def _along_first(name: str, s: Floats) -> Floats:
    target = resolve_target(name)
    return target(_plane(s)) if isinstance(target, MultiIndex) else target(s)


def without_rounding(values: Floats) -> Floats:
    """Return zeros for a function that is nothing but rounding beside numbers of order one."""
    return np.zeros_like(values) if np.abs(values).max(initial=0.0) < 1e-12 else values


def _network(state: State, alpha: Floats, s: Floats, step: Any) -> _Network:
    features: dict[str, Any] = {
        "beta": state.beta,
        "noise": state.noise,
        "activation": state.activation,
        "target": state.target,
        **state.inputs,
    }
    if step is not None:
        features |= {"step": step, "bulk": state.bulk}
    curve, here = (
        theory.solve(at, lam=state.lam, **features, **state.readout) for at in (alpha, state.alpha)
    )
    spectrum = None
    if here.spike.span == 1 and (step is None or state.has_spectrum):
        spectrum = theory.spectrum(alpha=state.alpha, **SPECTRUM, **features)
    reached = [curve.success, *([] if spectrum is None else [spectrum.success])]
    return _Network(
        curve=curve.test_error,
        here=float(here.test_error),
        learned=without_rounding(
            here.learned_function(_plane(s))
            if state.target in NAMED
            else here.learned_along_target(s)
        ),
        spectrum=spectrum,
        spike=here.spike,
        lost=sum(int(np.count_nonzero(~np.asarray(success))) for success in reached),
    )
