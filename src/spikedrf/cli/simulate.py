"""``spikedrf simulate``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikedrf.cli import cases, options, output, simulated, vocabulary
from spikedrf.cli.options import Floats

if TYPE_CHECKING:
    from spikedrf import Simulation, Spike

SUMMARY = "errors of networks of finite size, measured, with standard errors"
EXAMPLE = "spikedrf simulate --alpha 0.5 1 2 --d 300 --replicates 4 --out errors.csv"

#: Where the curve has its points unless --alpha says.
ALPHA = "0.1:10:7:log"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = options.add_simulation(parser)
    group.add_argument(
        "--model",
        choices=("srf", "network"),
        default="network",
        help="spiked random features, or the trained network itself (%(default)s)",
    )
    options.add_alpha(
        parser, f"samples over dimension: values, ranges MIN:MAX:N or MIN:MAX:N:log ({ALPHA})"
    )
    groups = ("model", "inputs", "readout")
    vocabulary.add(parser, *groups, numbers="several", without=("alpha",))
    options.add_output(parser, (*output.PICTURES, ".csv"))


@dataclass(frozen=True, eq=False)
class _Result:
    """One simulated curve."""

    args: argparse.Namespace
    spike: Spike
    simulation: Simulation

    def columns(self) -> dict[str, Floats]:
        """Collect the columns of the table."""
        columns = {"alpha": self.args.alpha}
        for name in simulated.quantities(self.args):
            for key in (name, f"{name}_sem"):
                columns[key] = getattr(self.simulation, key)
        return columns

    def json(self) -> dict[str, Any]:
        """Collect all numbers."""
        return {
            **simulated.sizes(self.args, self.simulation),
            "alpha": self.args.alpha,
            "n": self.simulation.n,
            **simulated.numbers(self.args, self.simulation),
        }


def run(args: argparse.Namespace) -> int:
    """Simulate; print a table or JSON; write files."""
    options.check_checkpoint(args)
    args.alpha = options.alpha_of(args, ALPHA)
    over, all_args = cases.expand(args)
    results, status = cases.compute(args, all_args, _compute)
    values = [getattr(result.args, over) for result in results] if over else []
    columns = cases.stack(over, values, [result.columns() for result in results], np.nan)
    for path in args.out:
        if path.suffix.lower() == ".csv":
            writer = partial(output.write_csv, columns=columns)
        else:
            writer = partial(_draw, args, over, results)
        status = output.write(args, path, writer) or status
    if args.json:
        _print_json(args, over, results)
    else:
        _print_table(args, over, results, columns)
    return status


def _compute(args: argparse.Namespace) -> tuple[_Result, int]:
    options.fill_in_simulation(args)
    step, spike = options.step_of(args)
    done, status = simulated.run(args, args.model, args.alpha, {"with_step": step})
    return _Result(args, spike, done["with_step"]), status


def _draw(args: argparse.Namespace, over: str | None, results: list[_Result], path: Path) -> None:
    """Draw the points, those of each value of the parameter in a colour of their own."""
    from spikedrf.plotting import ErrorCurvesDisplay

    labels = ["test error"]
    if over is not None:
        labels = [cases.label(over, getattr(result.args, over)) for result in results]
    points = {}
    for label, result in zip(labels, results, strict=True):
        errors = result.simulation.test_error, result.simulation.test_error_sem
        points[label] = (result.args.alpha, *errors)
    shown = results[0].args if over is None else args
    sizes = f"{shown.model}, $d = {results[0].simulation.d}$"
    title = f"{output.title(shown, picture=True)}, {sizes}"
    display = ErrorCurvesDisplay("alpha", [], {}, labels=args.labels)
    display.plot(title=title, points=points).figure_.savefig(path)


def _print_json(args: argparse.Namespace, over: str | None, results: list[_Result]) -> None:
    if over is None:
        output.print_json(results[0].args, results[0].json(), spike=results[0].spike)
        return
    curves = [result.json() | {"spike": output.spike_numbers(result.spike)} for result in results]
    values = [getattr(result.args, over) for result in results]
    output.print_json(args, {"over": over, "values": values, "curves": curves})


def _print_table(
    args: argparse.Namespace, over: str | None, results: list[_Result], columns: dict[str, Floats]
) -> None:
    if over is not None:
        print(f"# {output.title(args)}")
    for result in results:
        what = (
            output.title(result.args) if over is None else f"{over} {getattr(result.args, over):g}"
        )
        print(f"# {what}: {output.spike_text(result.spike)}")
        print(simulated.text(result.args, result.simulation))
    words = {"test_error": "test", "train_error": "train"}
    header, cells = [], []
    for name, column in columns.items():
        if name.endswith("_sem"):
            header.append("sem")
            cells.append([f"{x:#.2g}" for x in column])
        elif name in simulated.quantities(args):
            header.append(words.get(name, name))
            cells.append([f"{x:#.6g}" for x in column])
        else:
            header.append(name)
            cells.append([f"{x:.6g}" for x in column])
    output.print_table(header, cells)
