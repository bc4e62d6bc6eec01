"""What subcommands print and write: exit statuses, messages, tables, JSON, files."""

from __future__ import annotations

import argparse
import csv
import json
import math
import platform
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import spikedrf
from spikedrf.cli.vocabulary import said

if TYPE_CHECKING:
    from spikedrf import Spike

Floats = NDArray[np.float64]

#: Version of the layout of ``--json``.
SCHEMA = 1

#: Suffixes of the pictures that can be drawn.
PICTURES = (".png", ".svg", ".pdf")

#: How large they are drawn: see `spikedrf.plotting.style`.
STYLES = ("screen", "paper", "paper-wide")

#: Exit statuses.
OK, CANNOT_WRITE, MISUSE, NOT_CONVERGED, FAILED, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 4, 130, 141

#: Exit status where something is wrong with this package.
FAULT = 70


# --------------------------------------------------------------------------------------------------
# To standard error


# What ends the line of progress that the terminal is at, before anything else is written.
_end_line: Callable[[], object] | None = None


def say(message: str) -> None:
    """Print a message that is no result."""
    global _end_line
    if _end_line is not None:
        _end_line()
        _end_line = None
    print(message, file=sys.stderr, flush=True)


def say_infinite(command: str, count: int, total: int) -> None:
    """Say that some points have no ridgeless limit."""
    say(
        f"spikedrf {command}: {count} of {total} points have no ridgeless limit, their error is "
        f"inf at --lam 0; raise it there"
    )


def say_undefined(command: str, count: int, total: int) -> None:
    """Say that some points have no answer."""
    say(
        f"spikedrf {command}: {count} of {total} points have no answer, they are nan: there "
        f"is no formula at --lam 0, --alpha inf or where all labels are the same"
    )


def progress(args: argparse.Namespace, what: str) -> Callable[[int, int], None] | None:
    """Return what reports progress on one line of a terminal; None if nobody reads it.

    That is a bar of tqdm, or a count where it is not installed.
    """
    if args.quiet or not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return partial(_count, what)
    bar = None

    def report(finished: int, total: int) -> None:
        global _end_line
        nonlocal bar
        if bar is None:
            bar = tqdm(total=total, unit=what, file=sys.stderr, dynamic_ncols=True)
        bar.update(finished - bar.n)
        _end_line = bar.close
        if finished == total:
            bar.close()
            _end_line = None

    return report


def _count(what: str, finished: int, total: int) -> None:
    global _end_line
    print(f"\r{what} {finished} of {total}", end="", file=sys.stderr, flush=True)
    _end_line = partial(print, file=sys.stderr)
    if finished == total:
        _end_line()
        _end_line = None


def report(error: BaseException) -> None:
    """Say of an error that nobody had foreseen what to report, and where it comes from."""
    places = [
        f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    system = f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.platform()}"
    say(
        f"  this is a fault of spikedrf and not yours; please report it with the command and\n"
        f"  {type(error).__name__}: {error}\n"
        f"  spikedrf {spikedrf.__version__}, {system}\n"
        f"  {' > '.join(places[-8:])}"
    )


# --------------------------------------------------------------------------------------------------
# To standard output


def print_json(
    args: argparse.Namespace,
    result: dict[str, Any],
    *,
    spike: Spike | None = None,
    given: dict[str, Any] | None = None,
) -> None:
    """Print a result as one line of strict JSON, beneath what it belongs to.

    ``given`` are the parameters of a command without a model of the theory.
    """
    head: dict[str, Any] = {
        "schema": SCHEMA,
        "command": args.command,
        "version": spikedrf.__version__,
        "parameters": parameters(args) if given is None else given,
    }
    if spike is not None:
        head["spike"] = spike_numbers(spike)
    print(to_json(head | result))


def parameters(args: argparse.Namespace) -> dict[str, Any]:
    """Collect the options that are the same for every number printed."""
    over = getattr(args, "over", [])
    given = {name: value for name, value in said(args).items() if name not in over}
    given |= {"over": over} if over else {}
    if "loss" in given:
        given["loss"] = {"name": args.loss.name, **vars(args.loss)}
    fixed = {name: value for name, value in given.items() if not isinstance(value, np.ndarray)}
    return fixed | {"pi": args.pi or [1.0 / len(args.u)] * len(args.u)}


def to_json(value: Any) -> str:
    """Write strict JSON in one line: arrays are lists, infinity is "inf", NaN is null."""
    return json.dumps(_strict(value), allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _strict(value.tolist())
    if isinstance(value, list):
        return [_strict(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def print_table(header: Sequence[str], columns: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; NumPy's ``loadtxt`` reads them, the header is a comment."""
    widths = [max(map(len, (name, *cells))) for name, cells in zip(header, columns, strict=True)]
    print("#", _aligned(header, widths))
    for row in zip(*columns, strict=True):
        print(" ", _aligned(row, widths))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


# --------------------------------------------------------------------------------------------------
# What was solved, in words


SYMBOLS = {
    "alpha": r"\alpha",
    "eta": r"\eta",
    "alpha0": r"\alpha_0",
    "steps": r"\mathrm{steps}",
    "u": "u",
    "pi": r"\pi",
    "beta": r"\beta",
    "lam": r"\lambda",
    "noise": r"\mathrm{noise}",
}


def title(args: argparse.Namespace, *, picture: bool = False) -> str:
    """Say in one line what is being solved; for a picture with mathematical symbols."""
    unsaid = {"u": [1.0], "pi": None, "noise": 0.0, "steps": 1}
    parts = [f"{args.activation} on {args.target}"]
    for name, symbol in SYMBOLS.items():
        value = getattr(args, name, None)
        if name in getattr(args, "over", ()):
            parts.append(f"best ${symbol}$" if picture else f"best {name}")
            continue
        if isinstance(value, np.ndarray):  # it varies
            continue
        if value is None or (name in unsaid and value == unsaid[name]):
            continue
        numbers = value if isinstance(value, list) else [value]
        if picture:
            text = ", ".join(map(tex, numbers))
            text = text if len(numbers) == 1 else f"({text})"
            parts.append(f"${symbol} = {text}$")
        else:
            parts.append(f"{name} {' '.join(f'{x:g}' for x in numbers)}")
    if getattr(args, "inputs", None) is not None:
        parts.append(f"inputs {args.inputs}")
    rows, _, gain = (getattr(args, "init", None) or "sphere").partition("+")
    if rows == "gaussian" or gain:
        parts.append({"gaussian": "Gaussian rows", "sphere": "rows on the sphere"}[rows])
        parts[-1] += " with their gain" if gain else ""
    if getattr(args, "bulk", "isotropic") == "network":
        parts.append("network's own bulk")
    if hasattr(args, "loss"):
        parts += _readout_text(args)
    if picture and len(parts) > 6:
        return ", ".join(parts[:4]) + ",\n" + ", ".join(parts[4:])
    return ", ".join(parts)


def _readout_text(args: argparse.Namespace) -> list[str]:
    parts = []
    if args.loss.name != "square":
        numbers = "".join(f" {name} {value:g}" for name, value in vars(args.loss).items())
        parts.append(f"{args.loss.name.replace('_', ' ')} loss{numbers}")
    if args.labels == "sign":
        parts += ["sign labels", *([f"flip {args.flip:g}"] if args.flip else [])]
    return parts


def tex(x: float) -> str:
    """Write a number in TeX."""
    mantissa, _, exponent = f"{x:g}".replace("inf", r"\infty").partition("e")
    if not exponent:
        return mantissa
    factor = "" if mantissa == "1" else rf"{mantissa} \times "
    return rf"{factor}10^{{{int(exponent)}}}"


def spike_numbers(spike: Spike) -> dict[str, Any]:
    """Collect for JSON what the step left behind."""
    r, c, gamma, pi = spike.arrays()
    return {"r": r, "c": c, "gamma": gamma, "pi": pi}


def spike_text(spike: Spike) -> str:
    """Say what the step left behind."""
    r, c, gamma, _ = spike.arrays()
    return f"r {listed(r)}, c {listed(c)}, gamma {listed(np.atleast_1d(gamma))}"


def listed(values: Floats, digits: int = 6) -> str:
    """Write numbers with spaces between them; rows of a matrix with semicolons."""
    if values.ndim > 1:
        return "; ".join(listed(row, digits) for row in values)
    return " ".join(f"{x:.{digits}g}" for x in values)


# --------------------------------------------------------------------------------------------------
# To files


def write(args: argparse.Namespace, path: Path, writer: Callable[[Path], None]) -> int:
    """Write a file and say so; whatever prevents it costs nothing but this file."""
    try:
        if path.suffix.lower() in PICTURES:
            _draw(args, path, writer)
        else:
            writer(path)
    except OSError as error:
        say(f"spikedrf {args.command}: error: {path} cannot be written: {error.strerror or error}")
        return CANNOT_WRITE
    except Exception as error:
        say(f"spikedrf {args.command}: error: {path} was not written")
        report(error)
        return CANNOT_WRITE
    if not args.quiet:
        say(f"wrote {path}")
    return OK


def _draw(args: argparse.Namespace, path: Path, writer: Callable[[Path], None]) -> None:
    from spikedrf.plotting.style import drawn_in

    with drawn_in(args.style):
        writer(path)


def write_csv(path: Path, columns: Mapping[str, Floats | Sequence[str]]) -> None:
    """Write columns of equal length under their names, every digit of them; words as they are."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        values = (
            column.astype(float).tolist() if isinstance(column, np.ndarray) else column
            for column in columns.values()
        )
        writer.writerows(zip(*values, strict=True))
