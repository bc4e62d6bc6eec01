"""``spikedrf curve``."""

from __future__ import annotations

import argparse
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikedrf.cli import cases, options, output, simulated, vocabulary
from spikedrf.cli.options import Floats
from spikedrf.inputs.population import drawn_as
from spikedrf.parameters import ConvergenceWarning
from spikedrf.theory.convergence import INFINITE, UNDEFINED, one_warning_for_all

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

_COLUMNS = ("excess_error", "quadrature_error", "success", "status")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    options.add_alpha(
        parser,
        "samples over dimension: values (also inf), ranges MIN:MAX:N with N evenly spaced "
        f"values, or MIN:MAX:N:log ({ALPHA}; {SIMULATED_ALPHA} with --simulate)",
    )
    groups = ("model", "inputs", "first layer", "readout")
    vocabulary.add(parser, *groups, numbers="several", without=("alpha",))
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
    vocabulary.add(parser, "accuracy")
    options.add_output(parser, (*output.PICTURES, ".csv"))


@dataclass(frozen=True, eq=False)
class _Result:
    """All numbers of one learning curve."""

    args: argparse.Namespace
    spike: Spike
    best_linear: float | None
    bayes_error: float | None
    curves: dict[str, Solution]
    simulations: dict[str, Simulation]

    @property
    def beside(self) -> dict[str, dict[str, Any]]:
        """What was simulated, arranged like the points of the theory."""
        return {
            name: _beside(self.args, simulation, self.curves, name)
            for name, simulation in self.simulations.items()
        }


def run(args: argparse.Namespace) -> int:
    """Solve with the step and without it, and simulate if asked; print a table or JSON."""
    if args.simulate is None:
        for name in options.SIMULATION:
            if getattr(args, name) is not None:
                args.parser.error(f"argument --{name.replace('_', '-')}: is for --simulate only")
    options.check_checkpoint(args)
    args.alpha = options.alpha_of(args, ALPHA if args.simulate is None else SIMULATED_ALPHA)
    over, all_args = cases.expand(args)
    results, status = cases.compute(args, all_args, _compute if over is None else _compute_one)
    if all(_impossible(result) for result in results):
        options.checked(args, partial(_compute, results[0].args))
    failed = _write_files(args, over, results)
    status = status or failed
    lost = infinite = undefined = points = 0
    for result in results:
        for name, curve in result.curves.items():
            if name != _OTHER or args.simulate == "network":
                no_limit = curve.status == INFINITE
                no_answer = curve.status == UNDEFINED
                infinite += int(np.count_nonzero(no_limit))
                undefined += int(np.count_nonzero(no_answer))
                lost += int(np.count_nonzero(~(curve.success | no_limit | no_answer)))
                points += curve.success.size
    if lost:
        output.say(
            f"spikedrf curve: {lost} of {points} points did not reach "
            f"--rtol {args.rtol:g}; raise it, or read their errors off the table"
        )
    if infinite:
        output.say_infinite("curve", infinite, points)
    if undefined:
        output.say_undefined("curve", undefined, points)
    if lost or infinite or undefined:
        status = status or output.NOT_CONVERGED
    if args.json:
        _print_json(args, over, results)
    else:
        _print_table(args, over, results)
    return status


def _compute(args: argparse.Namespace) -> tuple[_Result, int]:
    from spikedrf import Mixture, theory

    if args.simulate is not None:
        options.fill_in_simulation(args)
    step, spike = options.step_of(args)
    curves = _solve(args, args.alpha)
    best_linear = bayes_error = None
    model = vocabulary.model_of(args)
    if args.labels == "real":
        best_linear = theory.best_linear_error(model["target"], args.noise, model.get("inputs"))
    elif not isinstance(model.get("inputs"), Mixture):
        # Of classes of inputs nobody has said what the best classifier knows.
        bayes_error = float(theory.bayes_error(model["target"], args.noise, args.flip))
    simulations: dict[str, Simulation] = {}
    status = output.OK
    if args.simulate is not None:
        finite = args.alpha[np.isfinite(args.alpha)]
        steps = {"with_step": step, "without_step": None}
        simulations, status = simulated.run(args, args.simulate, finite, steps)
    return _Result(args, spike, best_linear, bayes_error, curves, simulations), status


def _compute_one(args: argparse.Namespace) -> tuple[_Result, int]:
    """Compute one of several curves: one that has no answer at all does not stop the others."""
    with one_warning_for_all():
        return _compute(args)


def _impossible(result: _Result) -> bool:
    status = result.curves["with_step"].status
    return bool(np.isin(status, (INFINITE, UNDEFINED)).all())


def _solve(args: argparse.Namespace, alpha: Floats) -> dict[str, Solution]:
    """Solve at these points without the step and with it: the order of the table.

    With the step also for the other bulk, if that is not about the same by all means.
    """
    from spikedrf import theory

    model = vocabulary.model_of(args) | {"rtol": args.rtol}
    step, spike = options.step_of(args)
    with_step = theory.solve(alpha, step=step, bulk=args.bulk, **model)
    curves = {"without_step": theory.solve(alpha, **model), "with_step": with_step}
    if args.simulate == "network" or np.abs(spike.arrays()[1] - 1.0).max() > _ROUND:
        other = "network" if args.bulk == "isotropic" else "isotropic"
        if other == "isotropic" and "init" in model:
            model["init"] = drawn_as(model["init"])
        with suppress(ValueError):  # after several steps of several groups no other is known
            curves[_OTHER] = theory.solve(alpha, step=step, bulk=other, **model)
    return curves


def _beside(
    args: argparse.Namespace, simulation: Simulation, curves: dict[str, Solution], name: str
) -> dict[str, Any]:
    """Arrange simulated errors and z-scores like the rows of the table, NaN at alpha = inf."""
    alpha = args.alpha
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
    for quantity in simulated.quantities(args):
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


def _print_json(args: argparse.Namespace, over: str | None, results: list[_Result]) -> None:
    curves = [_json(result) for result in results]
    if over is None:
        output.print_json(results[0].args, curves[0], spike=results[0].spike)
        return
    for curve, result in zip(curves, results, strict=True):
        curve["spike"] = output.spike_numbers(result.spike)
    values = [getattr(result.args, over) for result in results]
    output.print_json(args, {"over": over, "values": values, "curves": curves})


def _json(result: _Result) -> dict[str, Any]:
    collected = {
        **_reference(result),
        "alpha": result.args.alpha,
        **{
            name: {column: getattr(curve, column) for column in _columns_of(result.args)}
            | {name: value for name, value in _by_class(curve).items() if value is not None}
            for name, curve in result.curves.items()
        },
        "gain": _gain(result.curves),
    }
    if result.simulations:
        beside = result.beside
        sizes = simulated.sizes(result.args, result.simulations["with_step"])
        collected["simulation"] = sizes | {
            name: simulated.numbers(result.args, simulation) | beside[name]
            for name, simulation in result.simulations.items()
        }
    return collected


def _by_class(curve: Solution) -> dict[str, Any]:
    """Return the errors of the classes of the inputs, None where there are none."""
    return {name: getattr(curve, name) for name in ("class_error", "class_error_rate")}


def _columns_of(args: argparse.Namespace) -> list[str]:
    """Return what is written of a curve."""
    errors = list(simulated.quantities(args))
    return [*errors[:2], _COLUMNS[0], *errors[2:], *_COLUMNS[1:]]


def _reference(result: _Result) -> dict[str, float | None]:
    """Return the error that a network without a step, or any classifier, cannot get below."""
    name = "best_linear" if result.args.labels == "real" else "bayes_error"
    return {name: getattr(result, name)}


def _print_table(args: argparse.Namespace, over: str | None, results: list[_Result]) -> None:
    if over is None:
        print(f"# {output.title(results[0].args)}: {output.spike_text(results[0].spike)}")
    else:
        print(f"# {output.title(args)}")
    for result in results:
        if over is not None:
            print(f"# {over} {getattr(result.args, over):g}: {output.spike_text(result.spike)}")
        if over in (None, "noise") or result is results[0]:
            if result.best_linear is not None:
                print(f"# best linear function: {result.best_linear:#.6g}")
            elif result.bayes_error is not None:
                print(f"# best classifier: {result.bayes_error:#.6g}")
        _print_difference(result.curves)
        if result.simulations:
            print(simulated.text(result.args, result.simulations["with_step"]))
    if args.simulate is None:
        print("# gain: error without the step over error with it")
    else:
        print("# z: standard errors by which the simulated test error is above the theory")
    values = [getattr(result.args, over) for result in results] if over else []
    columns = cases.stack(over, values, [_columns(result) for result in results], "nan")
    if over is not None:
        columns[over] = [f"{value:.6g}" for value in columns[over]]
    header = [key[-1] if isinstance(key, tuple) else key for key in columns]
    output.print_table(header, list(columns.values()))


def _columns(result: _Result) -> dict[tuple[str, str], list[str]]:
    """Collect the cells of a table under the name of their curve and the header."""
    curves, beside = result.curves, result.beside
    columns = {("", "alpha"): [f"{a:.6g}" for a in result.args.alpha]}
    for name, curve in curves.items():
        if name == _OTHER:
            continue
        columns[name, name.replace("_", " ")] = _cells(curve)
        if name in beside:
            mean, sem = beside[name]["test_error"], beside[name]["test_error_sem"]
            columns[name, "simulated"] = [f"{x:#.6g}" for x in mean]
            columns[name, "sem"] = [f"{x:#.2g}" for x in sem]
            columns[name, "z"] = [f"{x:.2f}" for x in beside[name]["z"]["test_error"]]
    if beside and _OTHER in curves:
        columns[_OTHER, f"{curves[_OTHER].bulk} bulk"] = _cells(curves[_OTHER])
        z = beside["with_step"][f"z_{_OTHER}"]["test_error"]
        columns[_OTHER, "z"] = [f"{x:.2f}" for x in z]
    for name, values in _by_class(curves["with_step"]).items():
        if values is not None:
            word = "wrong in class" if name.endswith("rate") else "class"
            for i, column in enumerate(values.T, 1):
                columns[name, f"{word} {i}"] = [f"{x:#.6g}" for x in column]
    if not beside:
        train = curves["with_step"].train_error
        columns["", "train with step"] = [f"{e:#.6g}" for e in train]
        columns["", "gain"] = [f"{g:#.4g}" for g in _gain(curves)]
    return columns


def _print_difference(curves: dict[str, Solution]) -> None:
    """Say so when it matters which bulk was asked for."""
    if _OTHER not in curves:
        return
    with np.errstate(invalid="ignore"):
        change = curves[_OTHER].test_error / curves["with_step"].test_error - 1.0
    change = change[np.isfinite(change)]
    if np.abs(change).max(initial=0.0) > _MATTERS:
        print(
            f"# the bulk matters: --bulk {curves[_OTHER].bulk} changes the test error with step by "
            f"{change.min():+.1%} to {change.max():+.1%}"
        )


def _cells(curve: Solution) -> list[str]:
    """Test errors; where a point has not converged, with the error that is left."""
    return [
        f"{error:#.6g}" if success or not np.isfinite(left) else f"{error:#.6g}+-{left:.0e}"
        for error, success, left in zip(
            curve.test_error,
            curve.success,
            curve.quadrature_error * curve.test_error,
            strict=True,
        )
    ]


# --------------------------------------------------------------------------------------------------
# What is written


def _write_files(args: argparse.Namespace, over: str | None, results: list[_Result]) -> int:
    status = output.OK
    values = [getattr(result.args, over) for result in results] if over else []
    for path in args.out:
        if path.suffix.lower() == ".csv":
            tables = [_csv_columns(result.args, result.curves, result.beside) for result in results]
            columns = cases.stack(over, values, tables, np.nan)
            writer = partial(output.write_csv, columns=columns)
        elif over is None:
            writer = partial(_draw, results[0])
        else:
            writer = partial(_draw_several, args, over, results)
        status = output.write(args, path, writer) or status
    return status


def _draw(result: _Result, path: Path) -> None:
    display = _display(result)
    points = {
        name: (numbers["alpha"], numbers["test_error"], numbers["test_error_sem"])
        for name, numbers in result.beside.items()
    }
    display.plot(title=output.title(result.args, picture=True), points=points)
    display.figure_.savefig(path)


def _draw_several(args: argparse.Namespace, over: str, results: list[_Result], path: Path) -> None:
    """Draw the curves after the step; that without one if all have the same."""
    labels = [cases.label(over, getattr(result.args, over)) for result in results]
    drawn = [_fine(result.args, result.curves) for result in results]
    alpha = drawn[0][0]
    curves = {name: solved["with_step"] for name, (_, solved) in zip(labels, drawn, strict=True)}
    plain = "no step (random features)"
    if over in ("eta", "alpha0"):
        curves = {plain: drawn[0][1]["without_step"]} | curves
    (name,) = _reference(results[0])
    levels = {getattr(result, name) for result in results}
    reference = {name: levels.pop()} if len(levels) == 1 else {}
    from spikedrf.plotting import ErrorCurvesDisplay

    display = ErrorCurvesDisplay(
        "alpha",
        alpha,
        {name: curve.test_error for name, curve in curves.items()},
        success={name: curve.success for name, curve in curves.items()},
        without_step=[plain],
        labels=args.labels,
        **reference,
    )
    points = {}
    for name, result in zip(labels, results, strict=True):
        if "with_step" in result.beside:
            numbers = result.beside["with_step"]
            points[name] = tuple(numbers[k] for k in ("alpha", "test_error", "test_error_sem"))
    display.plot(title=output.title(args, picture=True), points=points)
    display.figure_.savefig(path)


def _csv_columns(
    args: argparse.Namespace, curves: dict[str, Solution], beside: dict[str, dict[str, Any]]
) -> dict[str, Floats]:
    columns = {"alpha": args.alpha}
    for name, curve in curves.items():
        columns |= {f"{column}_{name}": getattr(curve, column) for column in _columns_of(args)}
    for name, numbers in beside.items():
        for quantity in simulated.quantities(args):
            if f"z_{_OTHER}" in numbers:
                columns[f"z_{quantity}_{_OTHER}"] = numbers[f"z_{_OTHER}"][quantity]
            for key in (quantity, f"{quantity}_sem"):
                columns[f"simulated_{key}_{name}"] = numbers[key]
            columns[f"z_{quantity}_{name}"] = numbers["z"][quantity]
    return columns


def _fine(
    args: argparse.Namespace, curves: dict[str, Solution]
) -> tuple[Floats, dict[str, Solution]]:
    """Return the points of the lines: those of the table; beside simulated points, more."""
    if args.simulate is None:
        return args.alpha, curves
    finite = args.alpha[np.isfinite(args.alpha)]
    alpha = np.unique([*args.alpha, *np.geomspace(finite.min(), finite.max(), 100)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return alpha, _solve(args, alpha)


def _display(result: _Result) -> LearningCurveDisplay:
    from spikedrf.plotting import LearningCurveDisplay

    args = result.args
    alpha, curves = _fine(args, result.curves)
    bulks = {curve.bulk: curve for curve in (curves["with_step"], curves.get(_OTHER)) if curve}
    if args.simulate != "network" or len(bulks) == 1:
        bulks = {"isotropic": curves["with_step"]}
    own = bulks.get("network")
    return LearningCurveDisplay(
        alpha,
        bulks["isotropic"].test_error,
        curves["without_step"].test_error,
        **_reference(result),
        success=bulks["isotropic"].success,
        success_without_step=curves["without_step"].success,
        steps=args.steps,
        test_error_network=None if own is None else own.test_error,
        success_network=None if own is None else own.success,
    )
