"""``spikedrf phase``."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikedrf.cli import options, output, values, vocabulary
from spikedrf.theory.convergence import INFINITE, UNDEFINED
from spikedrf.theory.diagram import VALUES

if TYPE_CHECKING:
    from spikedrf.theory import PhaseDiagram

SUMMARY = "an error, the gain of the step, or the best ridge or step, over any two parameters"
EXAMPLE = "spikedrf phase --alpha 0.1:100:50:log --lam 1e-4:10:50:log --value gain --out gain.png"

#: The diagram that is drawn unless two parameters have grids: with ALPHA if eta is optimised.
ETA, ALPHA0, ALPHA = "0.1:10:40:log", "0.1:100:40:log", "0.1:100:40:log"

# So many columns and rows fit on a terminal; files and JSON have all.
_COLUMNS, _ROWS = 7, 15


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        f"{parser.description} Give two of the model's numbers a grid, MIN:MAX:N with N evenly "
        f"spaced values or MIN:MAX:N:log; the first is drawn horizontally "
        f"(--eta {ETA} --alpha0 {ALPHA0})."
    )
    parser.add_argument(
        "--value", choices=VALUES, default="test_error", help="what to compute (%(default)s)"
    )
    parser.add_argument(
        "--over",
        nargs="+",
        choices=("lam", "eta"),
        default=[],
        metavar="NAME",
        help="take the best lam, the best eta or both at every point; the gain then compares with "
        "the best without a step",
    )
    groups = ("model", "inputs", "first layer", "readout", "accuracy")
    vocabulary.add(parser, *groups, numbers="grids", without=("steps",))
    parser.add_argument(
        "--steps",
        action=vocabulary.InOrder,
        type=values.number_or_grid,
        default=1.0,
        metavar="X",
        help="how many such steps, each on fresh samples (1)",
    )
    group = parser.add_argument_group("work")
    group.add_argument(
        "--workers", type=int, metavar="N", help="threads, which change no digit (one a core)"
    )
    options.add_checkpoint(group)
    options.add_output(parser, (*output.PICTURES, ".csv", ".npz"))


def run(args: argparse.Namespace) -> int:
    """Compute the diagram; print a part of it or JSON; write files."""
    axes, given = vocabulary.axes_of(args), set(getattr(args, "in_order", []))
    if args.value in ("lam", "eta") and args.value not in args.over:
        args.over = [*args.over, args.value]
    first, grid = ("alpha", ALPHA) if "eta" in args.over else ("eta", ETA)
    if not axes and not {first, "alpha0"} & given:
        setattr(args, first, values.grid(grid))
        args.alpha0 = values.grid(ALPHA0)
        axes = [first, "alpha0"]
    for name in args.over:
        if name in given:
            args.parser.error(f"argument --{name}: it is optimised (--over)")
    if len(axes) != 2:
        args.parser.error(
            f"two parameters need a grid MIN:MAX:N, got {len(axes)} ({', '.join(axes) or 'none'})"
        )
    options.check_checkpoint(args)
    status = output.OK
    try:
        diagram = options.checked(args, lambda: _compute(args, axes))
    except KeyboardInterrupt as stop:
        partial_diagram = getattr(stop, "partial", None)
        if args.checkpoint is not None:
            output.say(
                f"spikedrf phase: interrupted; what is finished is in {args.checkpoint}, and the "
                f"same command goes on from there"
            )
            return output.INTERRUPTED
        if partial_diagram is None:
            raise
        diagram, status = partial_diagram, output.INTERRUPTED
        output.say(f"spikedrf phase: {stop}")
    except OSError as error:
        output.say(f"spikedrf phase: error: {args.checkpoint}: {error.strerror or error}")
        return output.CANNOT_WRITE
    failed = _write_files(args, diagram)
    status = status or failed
    infinite = int(np.count_nonzero(diagram.status == INFINITE))
    undefined = int(np.count_nonzero(diagram.status == UNDEFINED))
    lost = int(np.count_nonzero(diagram.status > 0)) - infinite - undefined
    if lost:
        output.say(
            f"spikedrf phase: {lost} of {diagram.success.size} points did not reach --rtol "
            f"{args.rtol:g}; they are marked"
        )
    if infinite:
        output.say_infinite("phase", infinite, diagram.success.size)
    if undefined:
        output.say_undefined("phase", undefined, diagram.success.size)
    if lost or infinite or undefined:
        status = status or output.NOT_CONVERGED
    if args.json:
        output.print_json(args, _arrays(diagram))
    else:
        _print_table(args, diagram)
    return status


def _compute(args: argparse.Namespace, axes: list[str]) -> PhaseDiagram:
    from spikedrf import theory

    model = vocabulary.model_of(args)
    numbers = {"alpha": args.alpha, "eta": args.eta, "alpha0": args.alpha0, "u": args.u}
    if np.any(args.steps != 1.0):
        numbers["steps"] = args.steps
    # The first array is the horizontal axis.
    given = {name: getattr(args, name) for name in axes} | numbers | model
    for name in args.over:
        del given[name]
    return theory.phase_diagram(
        **given | {"pi": args.pi, "rtol": args.rtol, "value": args.value, "over": args.over},
        bulk=args.bulk,
        workers=args.workers,
        checkpoint=args.checkpoint,
        progress=output.progress(args, "point"),
    )


def _arrays(diagram: PhaseDiagram) -> dict[str, Any]:
    """Collect what JSON and .npz files hold."""
    names = ("x_name", "y_name", "x", "y", "value_name", "value", "success", "status")
    return {name: getattr(diagram, name) for name in names} | _sides(diagram)


def _sides(diagram: PhaseDiagram) -> dict[str, Any]:
    return {f"side_{name}": side for name, side in diagram.side.items()}


def _print_table(args: argparse.Namespace, diagram: PhaseDiagram) -> None:
    """Print evenly spread rows and columns, the first and the last among them."""
    rows, columns = (
        np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(int))
        for size, most in zip(diagram.shape, (_ROWS, _COLUMNS), strict=True)
    )
    print(f"# {diagram.value_name}: {output.title(args)}")
    print(
        f"# {diagram.x_name} across, {diagram.y_name} down: {rows.size} x {columns.size} of "
        f"{diagram.y.size} x {diagram.x.size} points"
    )
    if np.isfinite(diagram.value).any():
        for word, at in (
            ("smallest", np.nanargmin(diagram.value)),
            ("largest", np.nanargmax(diagram.value)),
        ):
            i, j = np.unravel_index(int(at), diagram.shape)
            print(
                f"# {word} {diagram.value[i, j]:#.6g} at {diagram.x_name} {diagram.x[j]:.6g}, "
                f"{diagram.y_name} {diagram.y[i]:.6g}"
            )
    side = diagram.side.get(diagram.value_name)
    if side is not None and side.any():
        print("# < on the lower bound (no ridge, no step or the least), > on the upper one")
    header = [diagram.y_name, *(f"{x:.6g}" for x in diagram.x[columns])]
    cells = [[f"{y:.6g}" for y in diagram.y[rows]]]
    marks = {-1: "<", 0: "", 1: ">"}
    for j in columns:
        column = []
        for i in rows:
            mark = "" if side is None else marks[int(side[i, j])]
            mark += "" if diagram.success[i, j] else "?"
            column.append(f"{diagram.value[i, j]:#.6g}{mark}")
        cells.append(column)
    output.print_table(header, cells)


def _write_files(args: argparse.Namespace, diagram: PhaseDiagram) -> int:
    status = output.OK
    for path in args.out:
        suffix = path.suffix.lower()
        if suffix == ".csv":
            writer = partial(_write_csv, diagram)
        elif suffix == ".npz":
            writer = partial(_write_npz, args, diagram)
        else:
            writer = partial(_draw, args, diagram)
        status = output.write(args, path, writer) or status
    return status


def _write_csv(diagram: PhaseDiagram, path: Path) -> None:
    """Write one line a point."""
    y, x = np.meshgrid(diagram.y, diagram.x, indexing="ij")
    columns: dict[str, Any] = {
        diagram.x_name: x,
        diagram.y_name: y,
        diagram.value_name: diagram.value,
        "success": diagram.success,
        "status": diagram.status,
    } | _sides(diagram)
    output.write_csv(path, {name: np.ravel(column) for name, column in columns.items()})


def _write_npz(args: argparse.Namespace, diagram: PhaseDiagram, path: Path) -> None:
    """Write NumPy arrays, and the parameters as JSON."""
    with path.open("wb") as file:
        np.savez_compressed(
            file, parameters=output.to_json(output.parameters(args)), **_arrays(diagram)
        )


def _draw(args: argparse.Namespace, diagram: PhaseDiagram, path: Path) -> None:
    from spikedrf.plotting import PhaseDiagramDisplay

    display = PhaseDiagramDisplay(diagram).plot(title=output.title(args, picture=True))
    display.figure_.savefig(path)
