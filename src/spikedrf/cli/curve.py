"""``spikedrf curve``."""

from __future__ import annotations

import argparse
import warnings
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spikedrf.cli import options, output, simulated
from spikedrf.cli.options import Floats
from spikedrf.parameters import ConvergenceWarning

if TYPE_CHECKING:
    from spikedrf import Simulation, Spike
    from spikedrf.plotting import LearningCurveDisplay
    from spikedrf.theory import Solution

SUMMARY = "test error over the number of samples, after the step and without it"
EXAMPLE = "spikedrf curve --activation relu --target tanh --alpha 0.1:100:25:log --out relu.pdf"

#: Where the curve has its points unless --alpha says: without a simulation, and with one.
ALPHA, SIMULATED_ALPHA = "0.1:100:25:log", "0.1:10:7:log"

#: Among the curves: with the step, and the bulk that was not asked for.
_OTHER = "other_bulk"

# A bulk whose variance is this near to one is isotropic for all practical purposes; a change of the
# test error by so much is told.
_ROUND, _MATTERS = 0.02, 0.01

_COLUMNS = (
    "test_error",
    "train_error",
    "excess_error",
    "norm",
    "quadrature_error",
    "success",
    "status",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    options.add_alpha(
        parser,
        "samples over dimension: values (also inf), ranges MIN:MAX:N with N evenly spaced "
        f"values, or MIN:MAX:N:log ({ALPHA}; {SIMULATED_ALPHA} with --simulate)",
    )
    options.add_model(parser)
    options.add_bulk(parser)
    group = options.add_simulation(parser)
    group.add_argument(
        "--simulate",
        choices=("srf", "network"),
        help=(
            "also simulate every point of the table, spiked random features or the trained network "
            "itself, and print how many standard errors z it is above the theory (for the network "
            "with both bulks)"
        ),
    )
    options.add_solver(parser)
    options.add_output(parser, (*options.PICTURES, ".csv"))


def run(args: argparse.Namespace) -> int:
    """Solve with the step and without it, and simulate if asked; print a table or JSON."""
    if args.simulate is None:
        for name in options.SIMULATION:
            if getattr(args, name) is not None:
                args.parser.error(f"argument --{name.replace('_', '-')}: is for --simulate only")
    args.alpha = options.alpha_of(args, ALPHA if args.simulate is None else SIMULATED_ALPHA)
    done = options.checked(args, lambda: _compute(args))
    spike, best_linear, curves, simulations, status = done
    beside = {
        name: _beside(simulation, args.alpha, curves, name)
        for name, simulation in simulations.items()
    }
    failed = _write_files(args, curves, best_linear, beside)
    status = status or failed
    shown = [c for name, c in curves.items() if name != _OTHER or args.simulate == "network"]
    lost = sum(int(np.count_nonzero(~curve.success)) for curve in shown)
    if lost:
        output.say(
            f"spikedrf curve: {lost} of {len(shown) * args.alpha.size} points did not reach "
            f"--rtol {args.rtol:g}; raise it, or read their errors off the table"
        )
        status = status or output.NOT_CONVERGED
    if args.json:
        _print_json(args, spike, best_linear, curves, simulations, beside)
    else:
        print(f"# {output.title(args)}: {output.spike_text(spike)}")
        print(f"# best linear function: {best_linear:#.6g}")
        _print_difference(curves)
        _print_table(args, curves, simulations, beside)
    return status


def _compute(
    args: argparse.Namespace,
) -> tuple[Spike, float, dict[str, Solution], dict[str, Simulation], int]:
    from spikedrf import theory

    if args.simulate is not None:
        options.fill_in_simulation(args)
    step, spike = options.step_of(args)
    curves = _solve(args, args.alpha)
    best_linear = theory.best_linear_error(args.target, args.noise)
    if args.simulate is None:
        return spike, best_linear, curves, {}, output.OK
    finite = args.alpha[np.isfinite(args.alpha)]
    steps = {"with_step": step, "without_step": None}
    return spike, best_linear, curves, *simulated.run(args, args.simulate, finite, steps)


def _solve(args: argparse.Namespace, alpha: Floats) -> dict[str, Solution]:
    """Solve at these points without the step and with it: the order of the table.

    With the step also for the other bulk, if that is not about the same by all means.
    """
    from spikedrf import theory

    model = options.model_of(args) | {"rtol": args.rtol}
    step, spike = options.step_of(args)
    with_step = theory.solve(alpha, step=step, bulk=args.bulk, **model)
    curves = {"without_step": theory.solve(alpha, **model), "with_step": with_step}
    if args.simulate == "network" or np.abs(spike.arrays()[1] - 1.0).max() > _ROUND:
        other = "network" if args.bulk == "isotropic" else "isotropic"
        with suppress(ValueError):  # what has no closed form has no other bulk
            curves[_OTHER] = theory.solve(alpha, step=step, bulk=other, **model)
    return curves


def _beside(
    simulation: Simulation, alpha: Floats, curves: dict[str, Solution], name: str
) -> dict[str, Any]:
    """Arrange simulated errors and z-scores like the rows of the table, NaN at alpha = inf."""
    finite = np.isfinite(alpha)

    def spread(values: Any) -> Floats:
        column = np.full(alpha.shape, np.nan)
        column[finite] = values
        return column

    theirs = {"z": curves[name]}
    if name == "with_step" and _OTHER in curves:
        theirs[f"z_{_OTHER}"] = curves[_OTHER]
    columns: dict[str, Any] = {"alpha": spread(alpha[finite]), "n": spread(simulation.n)}
    columns |= {z: {} for z in theirs}
    for quantity in simulated.ERRORS:
        mean = spread(getattr(simulation, quantity))
        sem = spread(getattr(simulation, f"{quantity}_sem"))
        columns |= {quantity: mean, f"{quantity}_sem": sem}
        for z, curve in theirs.items():
            with np.errstate(divide="ignore", invalid="ignore"):
                columns[z][quantity] = (mean - getattr(curve, quantity)) / sem
    return columns


def _gain(curves: dict[str, Solution]) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        gain: Floats = curves["without_step"].test_error / curves["with_step"].test_error
    return gain


# --------------------------------------------------------------------------------------------------
# What is printed


def _print_json(
    args: argparse.Namespace,
    spike: Spike,
    best_linear: float,
    curves: dict[str, Solution],
    simulations: dict[str, Simulation],
    beside: dict[str, dict[str, Any]],
) -> None:
    result = {
        "best_linear": best_linear,
        "alpha": args.alpha,
        **{
            name: {column: getattr(curve, column) for column in _COLUMNS}
            for name, curve in curves.items()
        },
        "gain": _gain(curves),
    }
    if simulations:
        result["simulation"] = simulated.sizes(args, simulations["with_step"]) | {
            name: simulated.numbers(simulation) | beside[name]
            for name, simulation in simulations.items()
        }
    output.print_json(args, result, spike=spike)


def _print_difference(curves: dict[str, Solution]) -> None:
    """Say so when it matters which bulk was asked for."""
    if _OTHER not in curves:
        return
    change = curves[_OTHER].test_error / curves["with_step"].test_error - 1.0
    if np.nanmax(np.abs(change)) > _MATTERS:
        print(
            f"# the bulk matters: --bulk {curves[_OTHER].bulk} changes the test error with step by "
            f"{np.nanmin(change):+.1%} to {np.nanmax(change):+.1%}"
        )


def _print_table(
    args: argparse.Namespace,
    curves: dict[str, Solution],
    simulations: dict[str, Simulation],
    beside: dict[str, dict[str, Any]],
) -> None:
    header = ["alpha"]
    columns = [[f"{a:.6g}" for a in args.alpha]]
    for name, curve in curves.items():
        if name == _OTHER:
            continue
        header.append(name.replace("_", " "))
        columns.append(_cells(curve))
        if name in beside:
            header += ["simulated", "sem", "z"]
            mean, sem = beside[name]["test_error"], beside[name]["test_error_sem"]
            columns.append([f"{x:#.6g}" for x in mean])
            columns.append([f"{x:#.2g}" for x in sem])
            columns.append([f"{x:.2f}" for x in beside[name]["z"]["test_error"]])
    if simulations and _OTHER in curves:
        header += [f"{curves[_OTHER].bulk} bulk", "z"]
        columns.append(_cells(curves[_OTHER]))
        z = beside["with_step"][f"z_{_OTHER}"]["test_error"]
        columns.append([f"{x:.2f}" for x in z])
    if simulations:
        print(simulated.text(args, simulations["with_step"]))
        print("# z: standard errors by which the simulated test error is above the theory")
    else:
        print("# gain: error without the step over error with it")
        header += ["train with step", "gain"]
        columns.append([f"{e:#.6g}" for e in curves["with_step"].train_error])
        columns.append([f"{g:#.4g}" for g in _gain(curves)])
    output.print_table(header, columns)


def _cells(curve: Solution) -> list[str]:
    """Test errors; where a point has not converged, with the error that is left."""
    return [
        f"{error:#.6g}" if success else f"{error:#.6g}+-{left:.0e}"
        for error, success, left in zip(
            curve.test_error,
            curve.success,
            curve.quadrature_error * curve.test_error,
            strict=True,
        )
    ]


# --------------------------------------------------------------------------------------------------
# What is written


def _write_files(
    args: argparse.Namespace,
    curves: dict[str, Solution],
    best_linear: float,
    beside: dict[str, dict[str, Any]],
) -> int:
    status = output.OK
    for path in args.out:
        if path.suffix.lower() == ".csv":
            columns = _csv_columns(args.alpha, curves, beside)
            writer = partial(output.write_csv, columns=columns)
            status = output.write(args, path, writer) or status
            continue
        display = _display(args, curves, best_linear)
        points = {
            name: (numbers["alpha"], numbers["test_error"], numbers["test_error_sem"])
            for name, numbers in beside.items()
        }
        display.plot(title=output.title(args, picture=True), points=points)
        status = output.write(args, path, display.figure_.savefig) or status
    return status


def _csv_columns(
    alpha: Floats, curves: dict[str, Solution], beside: dict[str, dict[str, Any]]
) -> dict[str, Floats]:
    columns = {"alpha": alpha}
    for name, curve in curves.items():
        columns |= {f"{column}_{name}": getattr(curve, column) for column in _COLUMNS}
    for name, numbers in beside.items():
        for quantity in simulated.ERRORS:
            if f"z_{_OTHER}" in numbers:
                columns[f"z_{quantity}_{_OTHER}"] = numbers[f"z_{_OTHER}"][quantity]
            for key in (quantity, f"{quantity}_sem"):
                columns[f"simulated_{key}_{name}"] = numbers[key]
            columns[f"z_{quantity}_{name}"] = numbers["z"][quantity]
    return columns


def _display(
    args: argparse.Namespace, curves: dict[str, Solution], best_linear: float
) -> LearningCurveDisplay:
    """Lines through the points of the table; beside simulated points, smooth ones."""
    from spikedrf.plotting import LearningCurveDisplay

    alpha = args.alpha
    if args.simulate is not None:
        finite = alpha[np.isfinite(alpha)]
        alpha = np.unique([*alpha, *np.geomspace(finite.min(), finite.max(), 100)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            curves = _solve(args, alpha)
    bulks = {curve.bulk: curve for curve in (curves["with_step"], curves.get(_OTHER)) if curve}
    if args.simulate != "network" or len(bulks) == 1:
        bulks = {"isotropic": curves["with_step"]}
    own = bulks.get("network")
    return LearningCurveDisplay(
        alpha,
        bulks["isotropic"].test_error,
        curves["without_step"].test_error,
        best_linear=best_linear,
        success=bulks["isotropic"].success,
        success_without_step=curves["without_step"].success,
        test_error_network=None if own is None else own.test_error,
        success_network=None if own is None else own.success,
    )
