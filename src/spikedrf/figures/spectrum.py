"""The eigenvalues of the features before the step and after it."""

from __future__ import annotations

import numpy as np

from spikedrf import GradientStep
from spikedrf.figures.plan import Made, Plan, Setting
from spikedrf.figures.series import Series
from spikedrf.plotting import SpectrumDisplay

SUMMARY = "the spectrum of the features: what the step does to the bulk and to its tail"

MODEL: Setting = {"alpha": 2.0, "beta": 1.0, "activation": "relu", "target": "relu"}
STEP = GradientStep(eta=3.0, alpha0=20.0)
_LABELS = {"without_step": "no step", "with_step": "after the step"}


def make(plan: Plan) -> Made:
    """Draw densities and tails of the bulk, and eigenvalues of spiked models if asked for."""
    if plan.d is None:
        display = SpectrumDisplay.from_theory(step=STEP, **MODEL)
    else:
        display = SpectrumDisplay.from_simulation(
            step=STEP, d=plan.d, replicates=plan.replicates, rng=plan.seed, **MODEL
        )
    display.figure_.suptitle(
        r"relu on relu, $\eta = 3$, $\alpha_0 = 20$, $\alpha = 2$, $\beta = 1$",
        fontsize="medium",
        x=0.01,
        ha="left",
    )
    series = []
    for name, spectrum in display.spectra.items():
        for y_name in ("density", "cumulative"):
            series.append(
                Series(
                    y_name,
                    _LABELS[name],
                    "theory",
                    "eigenvalue",
                    y_name,
                    spectrum.x,
                    getattr(spectrum, y_name),
                    None,
                    spectrum.success,
                )
            )
    for name, simulated in display.simulated.items():
        values = np.sort(simulated.eigenvalues, axis=None)
        share = np.arange(1, values.size + 1) / values.size
        series.append(
            Series(
                "cumulative", _LABELS[name], "simulation", "eigenvalue", "cumulative", values, share
            )
        )
    before, after = (display.spectra[name] for name in _LABELS)
    finding = (
        f"the bulk ends at {before.edges.max():.3g} before the step and at {after.edges.max():.3g} "
        f"after it; its mean eigenvalue goes from {before.mean:.3f} to {after.mean:.3f}"
    )
    if display.simulated:
        distances = [display.simulated[name].distance(display.spectra[name]) for name in _LABELS]
        finding += f"; simulated, Kolmogorov distance {np.max(distances):.4f}"
    return Made(display.figure_, series, finding)
