"""``spikedrf simulate``."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from spikedrf.cli import options, output, simulated

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
    options.add_model(parser)
    options.add_output(parser, (".csv",))


def run(args: argparse.Namespace) -> int:
    """Simulate; print a table or JSON; write files."""
    args.alpha = options.alpha_of(args, ALPHA)

    def compute() -> tuple[Spike, Simulation, int]:
        options.fill_in_simulation(args)
        step, spike = options.step_of(args)
        done, status = simulated.run(args, args.model, args.alpha, {"with_step": step})
        return spike, done["with_step"], status

    spike, simulation, status = options.checked(args, compute)
    columns = {"alpha": args.alpha}
    for name in simulated.ERRORS:
        columns[name] = getattr(simulation, name)
        columns[f"{name}_sem"] = getattr(simulation, f"{name}_sem")
    for path in args.out:
        writer = partial(output.write_csv, columns=columns)
        status = output.write(args, path, writer) or status
    if args.json:
        result = {
            **simulated.sizes(args, simulation),
            "alpha": args.alpha,
            "n": simulation.n,
            **simulated.numbers(simulation),
        }
        output.print_json(args, result, spike=spike)
        return status
    print(f"# {output.title(args)}: {output.spike_text(spike)}")
    print(simulated.text(args, simulation))
    header = ("alpha", "test", "sem", "train", "sem", "norm", "sem")
    alpha, *rest = columns.values()
    cells = [[f"{a:.6g}" for a in alpha]]
    for i, column in enumerate(rest):
        cells.append([f"{x:#.2g}" if i % 2 else f"{x:#.6g}" for x in column])
    output.print_table(header, cells)
    return status
