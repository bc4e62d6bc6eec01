"""`Plan` and `Made`: the options of a figure, and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spikedrf.figures.series import Series
from spikedrf.plotting.error_curves import with_step
from spikedrf.running.progress import Progress
from spikedrf.simulation import Simulation, simulate

#: Arguments of `theory.solve` and `GradientStep`, and such settings by the label of their curve.
Setting = dict[str, Any]
Settings = dict[str, Setting]


class Skipped(Exception):
    """A figure cannot be made here; the message says what is missing."""


@dataclass(frozen=True, eq=False)
class Made:
    """A figure and what it holds.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        The picture.
    series : list of Series
        All numbers in it.
    finding : str
        What it shows, in a sentence with numbers.
    """

    figure: Any
    series: list[Series]
    finding: str

    @property
    def success(self) -> bool:
        """Whether every point of the theory has converged."""
        return all(s.success is None or bool(s.success.all()) for s in self.series)


@dataclass(frozen=True, eq=False)
class Plan:
    """What is simulated beside the theory, and where data are.

    Attributes
    ----------
    d : int or None
        Input dimension of simulations; None simulates nothing.
    replicates : int
        Networks at each point.
    seed : int
        Of the random streams; every figure begins anew with it.
    workers : int or None
        As in `simulate`.
    data : Path or None
        Folder of data sets.
    progress : callable or None
        Makes what reports progress in so many things of a kind.
    """

    d: int | None = None
    replicates: int = 8
    seed: int = 0
    workers: int | None = None
    data: Path | None = None
    progress: Callable[[str], Progress | None] = field(default=lambda _: None)

    def simulate(
        self,
        alpha: Any,
        curves: Mapping[str, Mapping[str, Any]],
        *,
        model: str = "network",
        **shared: Any,
    ) -> dict[str, Simulation]:
        """Simulate settings as `ErrorCurvesDisplay.from_theory` takes them, none without ``d``."""
        if self.d is None:
            return {}
        rng = np.random.default_rng(self.seed)
        return {
            label: simulate(
                alpha,
                d=self.d,
                model=model,
                replicates=self.replicates,
                rng=rng,
                workers=self.workers,
                progress=self.progress("replicate"),
                **with_step({**shared, **special}),
            )
            for label, special in curves.items()
        }
