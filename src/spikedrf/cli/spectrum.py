"""``spikedrf spectrum``."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikedrf.cli import options, output, simulated, values, vocabulary
from spikedrf.cli.options import Floats

if TYPE_CHECKING:
    from spikedrf import SimulatedSpectrum, Spike
    from spikedrf.theory import Spectrum

SUMMARY = "eigenvalues of the features, after the step and without it"
EXAMPLE = "spikedrf spectrum --activation relu --alpha 2 --beta 0.5 --out spectrum.png"

_OF_POINTS = ("x", "density", "by_group", "cumulative", "success", "status", "quadrature_error")
_OF_SPECTRUM = ("atom", "mass", "mean", "edges", "outliers", "growth")
_SIMULATION = ("d", "replicates", "seed", "workers", "checkpoint")

# Rows of the table, and points in JSON, unless --x says which.
_ROWS, _IN_JSON = 25, 300


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--alpha", type=float, default=2.0, metavar="X", help="samples over dimension (%(default)g)"
    )
    parser.add_argument(
        "--x",
        nargs="+",
        type=values.grid,
        metavar="X",
        help=(
            "where: values, ranges MIN:MAX:N with N evenly spaced values, or MIN:MAX:N:log (files: "
            "a grid that resolves each spectrum; JSON: some hundred points of it; the table: some "
            "points of its range)"
        ),
    )
    parser.add_argument(
        "--full", action="store_true", help="JSON: every point of the grid, thousands of them"
    )
    vocabulary.add(
        parser, "model", "inputs", "first layer", without=("alpha", "lam"), defaults={"bulk": None}
    )
    group = options.add_simulation(parser, tests=False)
    group.add_argument(
        "--simulate",
        choices=("srf", "network"),
        help=(
            "also compute the eigenvalues of spiked random features or of trained networks, and "
            "print how far their distribution is from the theory's"
        ),
    )
    vocabulary.add(parser, "accuracy")
    options.add_output(parser, (*output.PICTURES, ".csv"))


def run(args: argparse.Namespace) -> int:
    """Compute both spectra, and simulate if asked; print a table or JSON; write files."""
    if args.simulate is None:
        for name in _SIMULATION:
            if getattr(args, name) is not None:
                args.parser.error(f"argument --{name}: is for --simulate only")
    options.check_checkpoint(args)
    spike, spectra, simulations, status = options.checked(args, lambda: _compute(args))
    lost = sum(int(np.count_nonzero(~s.success)) for s in spectra.values())
    if lost:
        total = sum(s.x.size for s in spectra.values())
        output.say(
            f"spikedrf spectrum: {lost} of {total} points did not reach --rtol {args.rtol:g}; "
            f"they are marked"
        )
        status = status or output.NOT_CONVERGED
    distances = {name: s.distance(spectra[name]) for name, s in simulations.items()}
    status = _write_files(args, spectra, simulations) or status
    if args.json:
        _print_json(args, spike, spectra, simulations, distances)
    else:
        print(f"# {output.title(args)}: {output.spike_text(spike)}")
        _print_summary(args, spectra, simulations, distances)
        _print_table(args, spectra)
    return status


def _compute(
    args: argparse.Namespace,
) -> tuple[Spike, dict[str, Spectrum], dict[str, SimulatedSpectrum], int]:
    from spikedrf import simulate_spectrum, theory

    if args.simulate is not None:
        options.fill_in_simulation(args)
        args.alpha = float(args.alpha)
    step, spike = options.step_of(args)
    x = None if args.x is None else np.concatenate(args.x)
    model: dict[str, Any] = vocabulary.model_of(args)
    spectra = {
        name: theory.spectrum(x, alpha=args.alpha, step=taken, bulk=bulk, rtol=args.rtol, **model)
        for name, taken, bulk in (("without_step", None, None), ("with_step", step, args.bulk))
    }
    if args.simulate is None:
        return spike, spectra, {}, output.OK
    model |= {name: getattr(args, name) for name in ("d", "replicates", "workers")}
    model |= {"model": args.simulate}
    simulations, status = simulated.each(
        args,
        {"without_step": None, "with_step": step},
        lambda taken, more: simulate_spectrum(args.alpha, step=taken, **model, **more),
    )
    return spike, spectra, simulations, status


# --------------------------------------------------------------------------------------------------
# What is printed


def _print_json(
    args: argparse.Namespace,
    spike: Spike,
    spectra: dict[str, Spectrum],
    simulations: dict[str, SimulatedSpectrum],
    distances: dict[str, Floats],
) -> None:
    result: dict[str, Any] = {
        name: {key: getattr(spectrum, key) for key in _OF_SPECTRUM}
        | _points(spectrum, args.x is None and not args.full)
        for name, spectrum in spectra.items()
    }
    if simulations:
        first = next(iter(simulations.values()))
        sizes = {key: getattr(first, key) for key in ("model", "d", "p", "n")}
        result["simulation"] = sizes | {"seed": args.seed} | {
            name: {
                "n0": simulation.n0,
                "replicates": simulation.replicates,
                "distance": distances[name],
                "eigenvalues": simulation.eigenvalues,
            }
            for name, simulation in simulations.items()
        }  # fmt: skip
    output.print_json(args, result, spike=spike)


def _points(spectrum: Spectrum, thin: bool) -> dict[str, Any]:
    """Collect the points of a spectrum; of a fine grid some, which polygons lose least by."""
    at = np.arange(spectrum.x.size)
    if thin and at.size > _IN_JSON:
        at = _shown(spectrum)
    return {key: np.asarray(getattr(spectrum, key))[at] for key in _OF_POINTS}


def _shown(spectrum: Spectrum) -> NDArray[np.int64]:
    """Return the numbers of points at even distances along the curves of density and share."""
    along = np.zeros(spectrum.x.size)
    decades = np.log(np.maximum(spectrum.x, 1e-300))
    for curve in (spectrum.density, spectrum.cumulative, spectrum.x, decades):
        steps = np.abs(np.diff(np.where(np.isfinite(curve), curve, 0.0)))
        if steps.any():
            along[1:] += np.cumsum(steps / steps.sum())
    places = np.linspace(0.0, along[-1], _IN_JSON)
    at = np.searchsorted(along, places).clip(0, along.size - 1)
    # The ends of the support, where the density begins and ends, stay what they are.
    positive = np.pad(spectrum.density > 0.0, 1)
    change = np.flatnonzero(positive[1:] != positive[:-1])
    ends = np.concatenate([change - 1, change]).clip(0, along.size - 1)
    return np.unique(np.concatenate([at, ends]))


def _print_summary(
    args: argparse.Namespace,
    spectra: dict[str, Spectrum],
    simulations: dict[str, SimulatedSpectrum],
    distances: dict[str, Floats],
) -> None:
    for name, spectrum in spectra.items():
        words = [f"atom {spectrum.atom:.6g} at 0"] if spectrum.atom > 0 else []
        words += [f"{low:.6g} to {high:.6g}" for low, high in spectrum.edges]
        words.append(f"mean {spectrum.mean:.6g}")
        if spectrum.outliers.size:
            words.append("isolated " + " ".join(f"{x:.6g}" for x in spectrum.outliers))
        if spectrum.growth.size:
            words.append("isolated " + " ".join(f"{x:.6g} p" for x in spectrum.growth))
        print(f"# {name.replace('_', ' ')}: {', '.join(words)}")
    for name, simulation in simulations.items():
        sizes = {"d": simulation.d, "p": simulation.p, "n": simulation.n, "n0": simulation.n0}
        text = ", ".join(f"{key} {value}" for key, value in sizes.items() if value is not None)
        far = " ".join(f"{x:.2g}" for x in distances[name])
        print(
            f"# simulated {name.replace('_', ' ')}: {simulation.model}, {text}, seed {args.seed}: "
            f"Kolmogorov distance {far}"
        )


def _print_table(args: argparse.Namespace, spectra: dict[str, Spectrum]) -> None:
    x = np.concatenate(args.x) if args.x is not None else _rows(spectra)
    shown = spectra
    if args.x is None:
        shown = options.checked(args, lambda: {name: s.at(x) for name, s in spectra.items()})
    far = any(spectrum.growth.size for spectrum in spectra.values())
    about = "; isolated ... p: it grows with the width p" if far else ""
    print(f"# beyond: the share of the eigenvalues that are larger than x{about}")
    header, columns = ["x"], [[f"{value:.6g}" for value in x]]
    for name, spectrum in shown.items():
        header += [f"density {name.replace('_', ' ')}", "beyond"]
        columns.append(
            [
                f"{value:#.6g}{'' if good else '?'}"
                for value, good in zip(spectrum.density, spectrum.success, strict=True)
            ]
        )
        columns.append([f"{1.0 - value:#.4g}" for value in spectrum.cumulative])
    output.print_table(header, columns)


def _rows(spectra: dict[str, Spectrum]) -> Floats:
    """Points over the range of both spectra, even in the logarithm if that is wide."""
    low, high = np.inf, 0.0
    for spectrum in spectra.values():
        inside = spectrum.cumulative - spectrum.atom > 1e-3 * (1.0 - spectrum.atom)
        low = min(low, float(spectrum.x[inside].min(initial=np.inf)))
        high = max(high, float(spectrum.edges.max(initial=0.0)))
    if high == 0.0:  # nothing is known
        return np.empty(0)
    if 0.0 < low < 1e-3 * high:
        return np.geomspace(low, high, _ROWS)
    return np.linspace(0.0, high, _ROWS + 2)[1:-1]


# --------------------------------------------------------------------------------------------------
# What is written


def _write_files(
    args: argparse.Namespace,
    spectra: dict[str, Spectrum],
    simulations: dict[str, SimulatedSpectrum],
) -> int:
    status = output.OK
    for path in args.out:
        if path.suffix.lower() == ".csv":
            writer = partial(_write_csv, spectra)
        else:
            writer = partial(_draw, args, spectra, simulations)
        status = output.write(args, path, writer) or status
    return status


def _write_csv(spectra: dict[str, Spectrum], path: Path) -> None:
    """Write both spectra beneath each other, a point a line."""
    columns: dict[str, Any] = {"spectrum": [name for name, s in spectra.items() for _ in s.x]}
    for key in _OF_POINTS:
        parts = [np.asarray(getattr(s, key), dtype=float) for s in spectra.values()]
        if key != "by_group":
            columns[key] = np.concatenate(parts)
            continue
        groups = max(part.shape[1] for part in parts)
        for k in range(groups):
            # Without a step there is one group of neurons, whatever they will be after it.
            shares = [
                part[:, k] if k < part.shape[1] else np.full(len(part), np.nan) for part in parts
            ]
            columns[f"density_{k}"] = np.concatenate(shares)
    output.write_csv(path, columns)


def _draw(
    args: argparse.Namespace,
    spectra: dict[str, Spectrum],
    simulations: dict[str, SimulatedSpectrum],
    path: Path,
) -> None:
    from spikedrf.plotting import SpectrumDisplay

    display = SpectrumDisplay(spectra, simulated=simulations)
    display.plot(title=output.title(args, picture=True)).figure_.savefig(path)
