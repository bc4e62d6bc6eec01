"""``spikedrf reproduce``."""

from __future__ import annotations

import argparse
import importlib.util
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikedrf.cli import options, output, values
from spikedrf.running.workers import thread_count

if TYPE_CHECKING:
    from spikedrf.figures import Made, Plan, Series

SUMMARY = "the figures of the paper and what they show, each by its name"
EXAMPLE = "spikedrf reproduce learning-curve vocabulary --out figures"
EPILOG = """\
exit status:
  0 done; 1 a file could not be written; 2 misuse; 3 done, but some points did not converge;
  4 a replicate of a simulation failed, 130 interrupted: figures that were done are there
"""

#: Options of the simulation, and what they are unless given.
SIMULATION = {"d": 500, "replicates": 8, "seed": 0, "workers": None}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        f"{parser.description} Without a name, say which there are. Each is written as a picture, "
        f"with its numbers as CSV and JSON beside it. The theory takes seconds; simulated points "
        f"take as long as --d makes them."
    )
    parser.add_argument("names", nargs="*", metavar="FIGURE", help="figures to make")
    parser.add_argument("--all", action="store_true", help="make all of them")
    group = parser.add_argument_group("simulation")
    group.add_argument(
        "--simulate", action="store_true", help="also draw networks of finite size, as points"
    )
    integer: dict[str, Any] = {"type": int, "metavar": "N"}
    group.add_argument("--d", help="input dimension (500; the paper's own has 2000)", **integer)
    group.add_argument("--replicates", help="independent repetitions (8)", **integer)
    group.add_argument("--seed", type=values.seed, metavar="N", help="of the random streams (0)")
    group.add_argument(
        "--workers", help="replicates at a time, which changes no digit (one a core)", **integer
    )
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data", type=_folder, metavar="FOLDER", help="where the data sets of real-data are"
    )
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", type=Path, default=Path("figures"), metavar="FOLDER", help="where to (%(default)s)"
    )
    group.add_argument(
        "--format",
        nargs="+",
        choices=[suffix[1:] for suffix in output.PICTURES],
        default=["png"],
        help="of the pictures; several are allowed (png)",
    )
    options.add_style(group)
    group.add_argument("--json", action="store_true", help="print JSON instead of text")
    group.add_argument("--quiet", action="store_true", help="no messages but errors")


def run(args: argparse.Namespace) -> int:
    """Make the figures; say what each shows."""
    from spikedrf import figures

    if unknown := [name for name in args.names if name not in figures.NAMES]:
        args.parser.error(
            f"argument FIGURE: {unknown[0]!r} is not one of {', '.join(figures.NAMES)}"
        )
    if args.all and args.names:
        args.parser.error("argument --all: not allowed with the names of figures")
    if not args.simulate:
        for name in SIMULATION:
            if getattr(args, name) is not None:
                args.parser.error(f"argument --{name}: is for --simulate only")
    for name, default in SIMULATION.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
    names = list(figures.NAMES) if args.all else list(dict.fromkeys(args.names))
    if not names:
        return _list(args)
    if importlib.util.find_spec("matplotlib") is None:
        args.parser.error("pictures need matplotlib: pip install 'spikedrf[plot]'")
    plan = options.checked(args, lambda: _plan(args))
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        args.parser.error(f"argument --out: {str(args.out)!r}: {error.strerror or error}")
    if not os.access(args.out, os.W_OK):
        args.parser.error(f"argument --out: {str(args.out)!r} cannot be written")
    return _make(args, plan, names)


def _list(args: argparse.Namespace) -> int:
    from spikedrf import figures

    if args.json:
        summaries = {name: {"summary": figures.summary(name)} for name in figures.NAMES}
        output.print_json(args, {"figures": summaries}, given={})
        return output.OK
    width = max(map(len, figures.NAMES))
    for name in figures.NAMES:
        print(f"{name.ljust(width)}  {figures.summary(name)}")
    return output.OK


def _plan(args: argparse.Namespace) -> Plan:
    from spikedrf.figures import Plan

    for name, least in {"d": 10, "replicates": 2}.items():
        if getattr(args, name) < least:
            raise ValueError(f"{name} must be >= {least}, got {getattr(args, name)}")
    thread_count(args.workers)
    return Plan(
        d=args.d if args.simulate else None,
        replicates=args.replicates,
        seed=args.seed,
        workers=args.workers,
        data=args.data,
        progress=partial(output.progress, args),
    )


def _make(args: argparse.Namespace, plan: Plan, names: list[str]) -> int:
    from spikedrf import SimulationFailed, figures
    from spikedrf.plotting.style import drawn_in

    status = output.OK
    done: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    for name in names:
        try:
            with drawn_in(args.style):
                made = options.checked(args, partial(figures.make, name, plan))
        except figures.Skipped as reason:
            if not args.all:
                args.parser.error(f"argument --data: {name} {reason}")
            skipped[name] = str(reason)
            if not args.quiet:
                output.say(f"spikedrf reproduce: {name} was skipped: it {reason}")
            continue
        except KeyboardInterrupt:
            output.say(
                f"spikedrf reproduce: interrupted in {name}; {len(done)} of {len(names)} figures "
                f"are in {args.out}"
            )
            status = output.INTERRUPTED
            break
        except SimulationFailed as error:
            output.say(f"spikedrf reproduce: {name} was not made: {error}")
            status = output.FAILED
            continue
        files, failed = _write(args, name, made)
        status = status or failed or (output.OK if made.success else output.NOT_CONVERGED)
        done[name] = {
            "summary": figures.summary(name),
            "finding": made.finding,
            "success": made.success,
            "files": files,
            "series": [series.numbers() for series in made.series],
        }
        if not args.json:
            print(f"{name}: {made.finding}", flush=True)
    if args.json:
        given = {"d": plan.d, "replicates": plan.replicates, "seed": plan.seed}
        output.print_json(args, {"figures": done, "skipped": skipped}, given=given)
    return status


def _write(args: argparse.Namespace, name: str, made: Made) -> tuple[list[str], int]:
    """Write the pictures and the numbers of a figure; the files, and what failed."""
    writers: dict[str, Any] = dict.fromkeys(args.format, made.figure.savefig)
    writers["csv"] = partial(_write_csv, made.series)
    writers["json"] = partial(_write_json, name, made)
    files, status = [], output.OK
    for suffix, writer in writers.items():
        path = args.out / f"{name}.{suffix}"
        failed = output.write(args, path, writer)
        status = status or failed
        if not failed:
            files.append(str(path))
    return files, status


def _write_csv(series: list[Series], path: Path) -> None:
    """Write all series beneath each other, a number a line."""
    words = ("panel", "label", "kind", "x_name", "y_name")
    columns: dict[str, Any] = {
        word: [getattr(s, word) for s in series for _ in s.x] for word in words
    }
    for name in ("x", "y", "sem", "success"):
        parts = [getattr(s, name) for s in series]
        columns[name] = np.concatenate(
            [
                np.full(s.x.shape, np.nan) if part is None else np.asarray(part, dtype=np.float64)
                for s, part in zip(series, parts, strict=True)
            ]
        )
    output.write_csv(path, columns)


def _write_json(name: str, made: Made, path: Path) -> None:
    content = {
        "schema": output.SCHEMA,
        "figure": name,
        "finding": made.finding,
        "series": [series.numbers() for series in made.series],
    }
    path.write_text(output.to_json(content) + "\n", encoding="utf-8")


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return Path(text)
