"""Derivatives of the test error in latent coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.activations import Activation
from spikedrf.first_layer.producers import StepLike, producer_of
from spikedrf.inputs.frame import Frame
from spikedrf.inputs.population import Population, Rows
from spikedrf.theory.convergence import INFINITE
from spikedrf.theory.latents.core import differentiate_frame
from spikedrf.theory.latents.solve import Posed, pose_latents

Floats = NDArray[np.float64]

#: What it can be differentiated by: the readout's side.
NAMES = ("alpha", "beta", "lam", "noise")


def of_readout(name: str, step: StepLike) -> bool:
    """Whether a parameter leaves the first layer as it is."""
    return name in NAMES and not (name == "noise" and producer_of(step).sees_labels)


def differentiate_points(
    values: dict[str, Floats],
    sigma: Activation,
    population: Population,
    step: StepLike,
    rows: Rows,
    names: tuple[str, ...],
    rtol: float,
    threads: int | None,
) -> tuple[Posed, dict[str, NDArray[Any]]]:
    """Differentiate at every point: ``test, error, status`` and one array for each name, flat.

    Points that are impossible are set aside, as long as there are others: their error is infinite
    or NaN, their derivatives are NaN.

    Raises
    ------
    TypeError, ValueError
        As `pose_latents`.
    """
    posed = pose_latents(values, sigma, population, step, rows, set_aside=True)
    count = posed.which.size
    out: dict[str, NDArray[Any]] = {name: np.zeros(count) for name in ("test", "error", *names)}
    out["status"] = np.zeros(count, dtype=np.int32)

    def run(
        frame: Frame, live: NDArray[np.int64], points: NDArray[np.int64], threads: int | None
    ) -> None:
        found = differentiate_frame(frame, sigma, posed.at(points), names, rtol, threads)
        test, *slopes, error = found.scalars
        out["test"][points], out["error"][points] = test, error
        out["status"][points] = found.status
        for name in names:
            out[name][points] = slopes[NAMES.index(name)]

    posed.for_each_layer(run, threads)
    missed = posed.missed
    out["error"] = np.maximum(out["error"], missed)
    out["status"] = np.where((out["status"] == 0) & (missed > rtol), 1, out["status"])
    lost = posed.status != 0
    for name in names:
        out[name][lost] = np.nan
    for name in ("test", "error"):
        out[name][lost] = np.where(posed.status[lost] == INFINITE, np.inf, np.nan)
    out["status"][lost] = posed.status[lost]
    return posed, out
