"""The spectrum of the features, before the step and after it: density and tail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikedrf import theory
from spikedrf.activations import FunctionLike
from spikedrf.plotting.curves import legend
from spikedrf.plotting.display import Display
from spikedrf.plotting.style import (
    NO_STEP,
    STYLES,
    drawn_in,
    finish,
    new_panels,
    plain_ticks,
    scaled,
)
from spikedrf.simulation import SimulatedSpectrum, simulate_spectrum
from spikedrf.step import GradientStep, Spike
from spikedrf.theory import Spectrum

Floats = NDArray[np.float64]

_STYLES = {"without_step": NO_STEP, "with_step": STYLES[0]}
_LABELS = {
    "without_step": "no step (random features)",
    "with_step": "after one gradient step",
}

# Pictures need no more.
_RESOLUTION = 1e-5
_BINS = 60
_LEAST = 1e-4  # share of eigenvalues at which the tail leaves the picture
_WIDE = 1e-2  # a spectrum that spans more wants a logarithmic axis


class SpectrumDisplay(Display):
    r"""Eigenvalues of ``Phi^T Phi / p``: their density, and how many lie beyond.

    Use `from_theory` or `from_simulation` to make one. Theory is drawn as lines, simulated
    eigenvalues as histograms and, in the tail, as steps. Where the bulk spans decades the axis is
    logarithmic, and the density that of ``ln x``: areas are shares of the eigenvalues either way.

    Parameters
    ----------
    spectra : mapping of str to Spectrum
        Under the keys ``"without_step"``, ``"with_step"`` or one of them, on grids that resolve
        them.
    simulated : mapping of str to SimulatedSpectrum, optional
        Simulations of some of them.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the density of the last `plot`.
    tail_ax_ : matplotlib.axes.Axes or None
        Those of the tail, None if the density was drawn on given axes.
    figure_ : matplotlib.figure.Figure
        Their figure.
    lines_ : list of matplotlib.lines.Line2D
        The densities, without the step first.

    Raises
    ------
    ValueError
        If a key is another, or there is none.

    Examples
    --------
    >>> from spikedrf import GradientStep
    >>> from spikedrf.plotting import SpectrumDisplay
    >>> display = SpectrumDisplay.from_theory(alpha=2.0, step=GradientStep(eta=3.0, alpha0=20.0))
    >>> display.figure_.savefig("spectrum.svg")  # doctest: +SKIP
    """

    ax_: Any
    tail_ax_: Any
    lines_: list[Any]

    def __init__(
        self,
        spectra: Mapping[str, Spectrum],
        *,
        simulated: Mapping[str, SimulatedSpectrum] | None = None,
    ) -> None:
        simulated = simulated or {}
        for name, keys in (("spectra", spectra), ("simulated", simulated)):
            if unknown := set(keys) - set(_LABELS):
                raise ValueError(
                    f"{name} may have the keys {', '.join(_LABELS)}; got {sorted(unknown)}"
                )
        if not spectra:
            raise ValueError("spectra holds no spectrum")
        self.spectra = {name: spectra[name] for name in _LABELS if name in spectra}
        self.simulated = {name: simulated[name] for name in _LABELS if name in simulated}

    @classmethod
    def from_theory(
        cls,
        *,
        alpha: float,
        step: GradientStep | Spike,
        beta: float = 1.0,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: float = 0.0,
        rtol: float = 1e-8,
        simulated: Mapping[str, SimulatedSpectrum] | None = None,
        ax: Any = None,
        style: str | None = None,
    ) -> SpectrumDisplay:
        """Compute the spectrum before the step and after it, and draw both.

        Parameters
        ----------
        alpha, beta, activation, target, noise, rtol
            As in `theory.spectrum`.
        step : GradientStep or Spike
            How the first layer was trained.
        simulated : mapping, optional
            As for the class.
        ax : matplotlib.axes.Axes, optional
            Where to draw the density; by default a figure of its own, with the tail beside it.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        SpectrumDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            As `theory.spectrum`; also if ``step`` is None.
        """
        if step is None:
            raise TypeError("step must be a GradientStep or a Spike, got None")
        model: dict[str, Any] = {
            "alpha": alpha,
            "beta": beta,
            "activation": activation,
            "target": target,
            "noise": noise,
            "rtol": rtol,
            "resolution": _RESOLUTION,
        }
        spectra = {
            "without_step": theory.spectrum(**model),
            "with_step": theory.spectrum(step=step, **model),
        }
        return cls(spectra, simulated=simulated).plot(style=style, ax=ax)

    @classmethod
    def from_simulation(
        cls,
        *,
        alpha: float,
        d: int,
        step: GradientStep | Spike,
        beta: float = 1.0,
        activation: FunctionLike = "tanh",
        target: FunctionLike = "tanh",
        noise: float = 0.0,
        model: str = "srf",
        replicates: int = 1,
        rng: Any = None,
        ax: Any = None,
        style: str | None = None,
    ) -> SpectrumDisplay:
        """Simulate the spectrum before the step and after it, and draw both with the theory.

        Parameters
        ----------
        alpha, d, beta, activation, target, noise, model, replicates, rng
            As in `simulate_spectrum`. The theory is that of the realised ``n/d`` and ``p/d``.
        step : GradientStep or Spike
            How the first layer was trained.
        ax : matplotlib.axes.Axes, optional
            Where to draw the density; by default a figure of its own, with the tail beside it.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        SpectrumDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError, MemoryError, SimulationFailed, SimulationInterrupted
            As `simulate_spectrum` and `from_theory`.
        """
        if step is None:
            raise TypeError("step must be a GradientStep or a Spike, got None")
        common: dict[str, Any] = {"activation": activation, "target": target, "noise": noise}
        source = np.random.default_rng(rng)
        simulated = {
            name: simulate_spectrum(
                alpha, d=d, beta=beta, step=taken, model=model, replicates=replicates, rng=source,
                **common,
            )
            for name, taken in (("without_step", None), ("with_step", step))
        }  # fmt: skip
        drawn = simulated["with_step"]
        return cls.from_theory(
            alpha=drawn.n / d,
            beta=drawn.p / d,
            step=step,
            simulated=simulated,
            ax=ax,
            style=style,
            **common,
        )

    def plot(
        self, ax: Any = None, *, title: str | None = None, style: str | None = None
    ) -> SpectrumDisplay:
        """Draw the spectra.

        Eigenvalues that leave the bulk are triangles on the axis. The legend has the share of
        zero eigenvalues, and those that grow like ``p``. Points that did not converge are crosses.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw the density; by default a figure of its own, not managed by pyplot, with
            the tail beside it: the share of the eigenvalues beyond ``x``.
        title : str, optional
            Title.
        style : str, optional
            How large, see `Display`.

        Returns
        -------
        SpectrumDisplay
            Itself.

        Raises
        ------
        ImportError, ValueError
            As `Display` says.
        """
        with drawn_in(style):
            return self._plot(ax, title=title)

    def _plot(self, ax: Any = None, *, title: str | None = None) -> SpectrumDisplay:
        own = ax is None
        self.tail_ax_ = None
        if own:
            ax, self.tail_ax_ = new_panels((9.0, 4.4), 2)
        self.ax_, self.figure_ = ax, ax.figure
        low, high = self._range()
        # From the bulk's smallest eigenvalues to all that a simulation has near it.
        log = low < _WIDE * high
        limits = (0.7 * low, 1.4 * high) if log else (0.0, 1.05 * high)
        self.lines_ = self._draw_density(limits, log)
        if self.tail_ax_ is not None:
            self._draw_tail(limits, log)
        for axes in filter(None, (ax, self.tail_ax_)):
            axes.set_xscale("log" if log else "linear")
            axes.set_xlim(limits)
            axes.set_xlabel("eigenvalue, $x$")
            finish(axes)
            plain_ticks(axes)
        if title is not None:
            if own:
                self.figure_.suptitle(title, fontsize="medium", x=0.01, ha="left")
            else:
                ax.set_title(title, fontsize="medium", loc="left")
        legend(ax, own=own)
        return self

    def _range(self) -> tuple[float, float]:
        """Return where the bulks lie, but for a percent of their eigenvalues at the lower end."""
        low, high = np.inf, 0.0
        for spectrum in self.spectra.values():
            inside = spectrum.cumulative - spectrum.atom > 0.01 * (1.0 - spectrum.atom)
            low = min(low, *spectrum.x[inside & (spectrum.x > 0.0)].tolist(), np.inf)
            high = max(high, *spectrum.edges.ravel().tolist(), *spectrum.outliers.tolist())
        return min(low, high), high

    def _draw_density(self, limits: tuple[float, float], log: bool) -> list[Any]:
        ax, lines = self.ax_, []
        for name, simulation in self.simulated.items():
            self._draw_histogram(name, simulation, limits, log)
        for zorder, (name, spectrum) in enumerate(self.spectra.items(), start=3):
            style = {key: _STYLES[name][key] for key in ("color", "linestyle")}
            label, steps = _LABELS[name], spectrum.about.get("steps", 1)
            if name == "with_step" and steps > 1:
                label = f"after {steps} gradient steps"
            if spectrum.atom > 0.0:
                label += f"; {spectrum.atom:.3g} of all at 0"
            if spectrum.growth.size:
                sizes = ", ".join(f"${value:.3g}\\,p$" for value in spectrum.growth)
                label += f"; isolated at {sizes}"
            x, y = spectrum.x, spectrum.density * (spectrum.x if log else 1.0)
            # A line for each interval of the support, none along the axis between them.
            positive = np.pad(y > 0.0, 1)
            drawn = np.where(positive[:-2] | positive[1:-1] | positive[2:], y, np.nan)
            (line,) = ax.plot(x, drawn, label=label, zorder=zorder, linewidth=scaled(2.0), **style)
            lines.append(line)
            mark: dict[str, Any] = {"color": style["color"], "clip_on": False, "zorder": 20}
            foot = {"transform": ax.get_xaxis_transform(), "linestyle": "none"}
            if spectrum.outliers.size:
                ax.plot(spectrum.outliers, 0.0 * spectrum.outliers, "^", **foot, **mark)
            if not spectrum.success.all():
                bad = ~spectrum.success
                ax.plot(x[bad], y[bad], "x", color=style["color"], zorder=20)
        self._explain_marks()
        ax.set_ylim(bottom=0.0)
        ax.set_ylabel(r"density of eigenvalues" + (r", per unit of $\ln x$" if log else ""))
        return lines

    def _explain_marks(self) -> None:
        spectra = self.spectra.values()
        gray: dict[str, Any] = {"color": "#777777", "linestyle": "none"}
        if any(spectrum.outliers.size for spectrum in spectra):
            self.ax_.plot([], [], "^", label="isolated eigenvalue", **gray)
        if not all(spectrum.success.all() for spectrum in spectra):
            self.ax_.plot([], [], "x", label="not converged", **gray)

    def _draw_histogram(
        self, name: str, simulation: SimulatedSpectrum, limits: tuple[float, float], log: bool
    ) -> None:
        values = simulation.eigenvalues.ravel()
        space = np.geomspace if log else np.linspace
        edges = space(*limits, _BINS + 1)
        count, _ = np.histogram(values[values > 0.0], edges)
        width = np.diff(np.log(edges) if log else edges)
        style = _STYLES[name]
        self.ax_.stairs(
            count / (values.size * width),
            edges,
            fill=True,
            color=style["color"],
            alpha=0.25,
            label=f"simulated, $d = {simulation.d}$",
            zorder=2,
        )

    def _draw_tail(self, limits: tuple[float, float], log: bool) -> None:
        """Draw the share of the eigenvalues that are larger, on a logarithmic axis."""
        ax, least = self.tail_ax_, _LEAST
        for name, simulation in self.simulated.items():
            values = np.sort(simulation.eigenvalues.ravel())
            beyond = 1.0 - np.arange(values.size + 1) / values.size
            least = min(least, 0.5 / values.size)
            edges = np.concatenate([[limits[0] if log else 0.0], values, [2.0 * values[-1]]])
            color = _STYLES[name]["color"]
            ax.stairs(beyond, edges, baseline=None, color=color, alpha=0.45, zorder=2)
        for zorder, (name, spectrum) in enumerate(self.spectra.items(), start=3):
            style = {key: _STYLES[name][key] for key in ("color", "linestyle")}
            beyond = 1.0 - spectrum.cumulative
            shown = beyond > 0.1 * least
            ax.plot(spectrum.x[shown], beyond[shown], zorder=zorder, linewidth=scaled(2.0), **style)
        ax.set_yscale("log")
        ax.set_ylim(least, 1.5)
        ax.set_ylabel("share of eigenvalues beyond $x$")
