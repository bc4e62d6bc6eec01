"""The ``spikedrf`` command."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import spikedrf
from spikedrf import (
    ConvergenceWarning,
    GradientStep,
    Simulation,
    SimulationFailed,
    SimulationInterrupted,
    Spike,
    simulate,
    theory,
)
from spikedrf.activations import NAMES
from spikedrf.plotting import LearningCurveDisplay
from spikedrf.theory import Solution

Floats = NDArray[np.float64]
T = TypeVar("T")

#: Version of the layout of ``--json``.
SCHEMA = 1

OK, CANNOT_WRITE, MISUSE, NOT_CONVERGED, FAILED, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 4, 130, 141

_PICTURES = (".png", ".svg", ".pdf")
_MOST_POINTS = 1_000_000

_EPILOG = f"""\
NAME is one of
  {", ".join(NAMES[:9])},
  {", ".join(NAMES[9:])}

exit status:
  0 done; 1 a file could not be written; 2 misuse;
  3 done, but some points did not reach --rtol (they are marked);
  4 a replicate of a simulation failed, 130 interrupted: replicates that had finished are printed
"""

#: Where a curve has its points unless --alpha says: with a simulation, and without.
_SIMULATED_ALPHA = "0.1:10:7:log"
_CURVE_ALPHA = "0.1:100:25:log"

_SIMULATION_DEFAULTS = {"d": 500, "replicates": 8, "seed": 0, "n_test": None, "workers": None}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of the process.

    Returns
    -------
    int
        Exit status: 0 done, 1 a file could not be written, 3 some points did not converge,
        4 a replicate failed, 130 interrupted, 141 standard output was closed early.

    Raises
    ------
    SystemExit
        With status 2 on misuse, and with 0 after ``--help`` and ``--version``, as argparse does.
    """
    args = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        status = run(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        _say("spikedrf: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return BROKEN_PIPE
    except OSError as error:
        _say(f"spikedrf: error: cannot write to standard output: {error.strerror or error}")
        _discard_stdout()
        return CANNOT_WRITE


def _discard_stdout() -> None:
    """Give Python, which flushes stdout once more on its way out, somewhere to flush to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spikedrf",
        description=(
            "Exact test errors of two-layer networks after one large gradient step, in the limit "
            "of many samples, neurons and dimensions."
        ),
        epilog="example:\n  spikedrf curve --target sin --eta 3 --out curve.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"spikedrf {spikedrf.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_curve(commands)
    _add_simulate(commands)
    return parser


# --------------------------------------------------------------------------------------------------
# One vocabulary of options for all subcommands


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}\n\n{_EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, parser=parser, command=name)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what network learns what."""
    group = parser.add_argument_group("model")
    number: dict[str, Any] = {"type": float, "metavar": "X"}
    group.add_argument(
        "--activation", metavar="NAME", default="tanh", help="of the network (%(default)s)"
    )
    group.add_argument("--target", metavar="NAME", default="sin", help="teacher g (%(default)s)")
    group.add_argument("--eta", default=3.0, help="size of the step (%(default)g)", **number)
    group.add_argument(
        "--alpha0",
        default=20.0,
        help="samples of the step over dimension; inf (%(default)g)",
        **number,
    )
    group.add_argument(
        "--u", nargs="+", default=[1.0], help="values of the initial readout (1)", **number
    )
    group.add_argument("--pi", nargs="+", help="their proportions (equal)", **number)
    group.add_argument("--beta", default=1.0, help="width over dimension (%(default)g)", **number)
    group.add_argument("--lam", default=0.1, help="ridge (%(default)g)", **number)
    group.add_argument(
        "--noise", default=0.0, help="standard deviation of the labels (%(default)g)", **number
    )


def _add_simulation(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options that say what is simulated; `_simulation_options` fills in the defaults."""
    group = parser.add_argument_group("simulation")
    integer: dict[str, Any] = {"type": int, "metavar": "N"}
    group.add_argument("--d", help="input dimension (500)", **integer)
    group.add_argument("--replicates", help="independent repetitions (8)", **integer)
    group.add_argument("--n-test", help="test samples of each (4 d, at least 2000)", **integer)
    group.add_argument("--seed", type=_seed, metavar="N", help="of the random streams (0)")
    group.add_argument(
        "--workers", help="replicates at a time, which changes no digit (one a core)", **integer
    )
    return group


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be >= 0, got {value}")
    return value


def _simulation_options(args: argparse.Namespace) -> None:
    """Fill in defaults; round the ratios to what ``d`` realises, for theory and simulation."""
    for name, default in _SIMULATION_DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
    args.alpha = _realised(args.alpha, args.d)
    args.beta = float(_realised(args.beta, args.d))
    args.alpha0 = float(_realised(args.alpha0, args.d))


def _realised(ratio: Any, d: int) -> Floats:
    """Return ``round(ratio d)/d``, and what cannot be realised as it is: simulate will say so."""
    given = np.asarray(ratio, dtype=np.float64)
    size = np.rint(given * d)
    usable = np.isfinite(given) & (size >= 1)
    return np.where(usable, size / max(d, 1), given)


def _add_solver(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("accuracy")
    group.add_argument(
        "--rtol", type=float, metavar="X", default=1e-8, help="relative accuracy (%(default)g)"
    )


def _add_output(parser: argparse.ArgumentParser, suffixes: Sequence[str]) -> None:
    """Add the options that say where the result goes."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print JSON instead of a table")
    group.add_argument(
        "--out",
        action="extend",
        nargs="+",
        default=[],
        type=_out(suffixes),
        metavar="FILE",
        help=f"also write a file: {', '.join(suffixes)}; several are allowed",
    )
    group.add_argument("--quiet", action="store_true", help="no messages but errors")


def _grid(text: str) -> Floats:
    """Read one value, ``MIN:MAX:N`` or ``MIN:MAX:N:log``."""
    first, *rest = text.split(":")
    try:
        if not rest:
            return np.array([float(first)])
        low, high, count = float(first), float(rest[0]), int(rest[1])
    except (ValueError, IndexError):
        low = high = math.nan
        count = 0
    spacing = rest[2:] if rest else []
    if not (math.isfinite(low) and math.isfinite(high)) or spacing not in ([], ["log"]):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number nor MIN:MAX:N nor MIN:MAX:N:log"
        )
    if not 2 <= count <= _MOST_POINTS:
        raise argparse.ArgumentTypeError(f"N must be 2 to {_MOST_POINTS} in {text!r}")
    if not spacing:
        return np.linspace(low, high, count)
    if not (low > 0 and high > 0):
        raise argparse.ArgumentTypeError(f"MIN and MAX must be > 0 in {text!r}")
    return np.geomspace(low, high, count)


def _out(suffixes: Sequence[str]) -> Callable[[str], Path]:
    def path(text: str) -> Path:
        """Refuse what cannot be written while nothing has been computed yet."""
        file = Path(text)
        if file.suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(f"{text!r} must end in {', '.join(suffixes)}")
        where = file if file.exists() else file.parent
        if file.is_dir() or not file.parent.is_dir() or not os.access(where, os.W_OK):
            raise argparse.ArgumentTypeError(f"{text!r} cannot be written")
        if file.suffix.lower() in _PICTURES and importlib.util.find_spec("matplotlib") is None:
            raise argparse.ArgumentTypeError(
                f"{text!r} needs matplotlib: pip install 'spikedrf[plot]'"
            )
        return file

    return path


def _model(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of the theory, all but the step."""
    names = ("lam", "beta", "activation", "target", "noise", "rtol")
    return {name: getattr(args, name) for name in names}


def _step(args: argparse.Namespace) -> tuple[GradientStep, Spike]:
    step = GradientStep(eta=args.eta, alpha0=args.alpha0, u=args.u, pi=args.pi)
    return step, step.spike(args.activation, args.target, args.noise)


def _parameters(args: argparse.Namespace, spike: Spike) -> dict[str, Any]:
    """Collect what the numbers belong to, for JSON."""
    names = ("activation", "target", "eta", "alpha0", "u", "beta", "lam", "noise", "rtol")
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    return given | {"pi": spike.arrays()[3]}


def _title(args: argparse.Namespace, *, picture: bool = False) -> str:
    """Say in one line what is being solved; for a picture with mathematical symbols."""
    symbols = {
        "eta": r"\eta",
        "alpha0": r"\alpha_0",
        "u": "u",
        "pi": r"\pi",
        "beta": r"\beta",
        "lam": r"\lambda",
        "noise": r"\mathrm{noise}",
    }
    unsaid = {"u": [1.0], "pi": None, "noise": 0.0}
    parts = [f"{args.activation} on {args.target}"]
    for name, symbol in symbols.items():
        value = getattr(args, name)
        if name in unsaid and value == unsaid[name]:
            continue
        numbers = value if isinstance(value, list) else [value]
        if picture:
            text = ", ".join(map(_tex, numbers))
            text = text if len(numbers) == 1 else f"({text})"
            parts.append(f"${symbol} = {text}$")
        else:
            parts.append(f"{name} {' '.join(f'{x:g}' for x in numbers)}")
    if picture and len(parts) > 6:
        return ", ".join(parts[:4]) + ",\n" + ", ".join(parts[4:])
    return ", ".join(parts)


def _tex(x: float) -> str:
    mantissa, _, exponent = f"{x:g}".replace("inf", r"\infty").partition("e")
    if not exponent:
        return mantissa
    factor = "" if mantissa == "1" else rf"{mantissa} \times "
    return rf"{factor}10^{{{int(exponent)}}}"


def _checked(args: argparse.Namespace, compute: Callable[[], T]) -> T:
    """Compute; what the library refuses is misuse, reported under the option's name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # told by exit status and marks
            return compute()
    except (TypeError, ValueError, MemoryError) as error:
        message = str(error)
        word = re.match(r"\w+", message)
        if word and hasattr(args, word[0]):
            message = f"argument --{word[0].replace('_', '-')}: {message}"
        parser: argparse.ArgumentParser = args.parser
        parser.error(message)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _json(value: Any) -> Any:
    """Make a value strict JSON: arrays are lists, infinity is "inf", NaN is null."""
    if isinstance(value, dict):
        return {key: _json(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _json(value.tolist())
    if isinstance(value, list):
        return [_json(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


# --------------------------------------------------------------------------------------------------
# Simulations


def _simulate(
    args: argparse.Namespace, model: str, alpha: Floats, steps: dict[str, GradientStep | None]
) -> tuple[dict[str, Simulation], int]:
    """Simulate with each of the steps; what has finished counts, also if something stops it."""
    rng = np.random.default_rng(args.seed)
    done: dict[str, Simulation] = {}
    for name, step in steps.items():
        stopped: SimulationInterrupted | SimulationFailed
        try:
            done[name] = simulate(
                alpha,
                step=step,
                model=model,
                rng=rng,
                progress=_progress(args),
                **{n: getattr(args, n) for n in ("lam", "beta", "activation", "target", "noise")},
                **{n: getattr(args, n) for n in ("d", "replicates", "n_test", "workers")},
            )
            continue
        except SimulationInterrupted as error:
            stopped, status = error, INTERRUPTED
        except SimulationFailed as error:
            stopped, status = error, FAILED
        if stopped.partial is not None:
            done[name] = stopped.partial
        if not done:
            raise stopped
        _say(f"spikedrf {args.command}: {stopped}")
        return done, status
    return done, OK


def _progress(args: argparse.Namespace) -> Callable[[int, int], None] | None:
    if args.quiet or not sys.stderr.isatty():
        return None

    def report(finished: int, total: int) -> None:
        end = "\n" if finished == total else ""
        print(f"\rreplicate {finished} of {total}", end=end, file=sys.stderr, flush=True)

    return report


_SIMULATED = ("test_error", "train_error", "norm")
_MEASURED = ("r", "c", "gamma")


def _simulated_json(simulation: Simulation) -> dict[str, Any]:
    names = [name for name in _SIMULATED + _MEASURED if getattr(simulation, name) is not None]
    return {"replicates": simulation.replicates} | {
        key: getattr(simulation, key) for name in names for key in (name, f"{name}_sem")
    }


def _simulated_text(args: argparse.Namespace, simulation: Simulation) -> list[str]:
    """Say what was simulated, and what the trained first layers look like."""
    sizes = {"d": simulation.d, "p": simulation.p, "n0": simulation.n0}
    size = ", ".join(f"{name} {value}" for name, value in sizes.items() if value is not None)
    lines = [
        f"# simulated: {simulation.model}, {size}, {simulation.replicates} replicates, "
        f"seed {args.seed}"
    ]
    if simulation.r is not None:
        measured = []
        for name in _MEASURED:
            mean = np.atleast_1d(getattr(simulation, name))
            sem = np.atleast_1d(getattr(simulation, f"{name}_sem"))
            cells = " ".join(f"{m:.6g}+-{s:.1g}" for m, s in zip(mean, sem, strict=True))
            measured.append(f"{name} {cells}")
        lines.append(f"# measured on the first layers: {', '.join(measured)}")
    return lines


# --------------------------------------------------------------------------------------------------
# spikedrf curve


def _add_curve(commands: Any) -> None:
    parser = _command(
        commands,
        "curve",
        _curve,
        "test error over the number of samples, after the step and without it",
        "spikedrf curve --activation relu --target tanh --alpha 0.1:100:25:log --out relu.pdf",
    )
    parser.add_argument(
        "--alpha",
        nargs="+",
        type=_grid,
        metavar="X",
        help=(
            "samples over dimension: values (also inf), ranges MIN:MAX:N with N evenly spaced "
            f"values, or MIN:MAX:N:log ({_CURVE_ALPHA}; {_SIMULATED_ALPHA} with --simulate)"
        ),
    )
    _add_model(parser)
    group = _add_simulation(parser)
    group.add_argument(
        "--simulate",
        choices=("srf", "network"),
        help=(
            "also simulate every point of the table, spiked random features or the trained network "
            "itself, and print how many standard errors z it is above the theory"
        ),
    )
    _add_solver(parser)
    _add_output(parser, (*_PICTURES, ".csv"))


_CURVE_COLUMNS = (
    "test_error",
    "train_error",
    "excess_error",
    "norm",
    "quadrature_error",
    "success",
    "status",
)


def _curve(args: argparse.Namespace) -> int:
    if args.simulate is None:
        for name in _SIMULATION_DEFAULTS:
            if getattr(args, name) is not None:
                args.parser.error(f"argument --{name.replace('_', '-')}: is for --simulate only")
    if args.alpha is None:
        args.alpha = [_grid(_SIMULATED_ALPHA if args.simulate else _CURVE_ALPHA)]
    args.alpha = np.concatenate(args.alpha)

    def compute() -> tuple[Spike, Solution, Solution, float, dict[str, Simulation], int]:
        if args.simulate is not None:
            _simulation_options(args)
        step, spike = _step(args)
        with_step = theory.solve(args.alpha, step=step, **_model(args))
        without_step = theory.solve(args.alpha, **_model(args))
        best_linear = theory.best_linear_error(args.target, args.noise)
        simulated: dict[str, Simulation] = {}
        status = OK
        if args.simulate is not None:
            finite = args.alpha[np.isfinite(args.alpha)]
            steps = {"with_step": step, "without_step": None}
            simulated, status = _simulate(args, args.simulate, finite, steps)
        return spike, without_step, with_step, best_linear, simulated, status

    spike, without_step, with_step, best_linear, simulated, status = _checked(args, compute)
    alpha = args.alpha
    curves = {"without_step": without_step, "with_step": with_step}
    beside = {
        name: _beside(simulation, args.alpha, curves[name])
        for name, simulation in simulated.items()
    }
    for path in args.out:
        if path.suffix.lower() == ".csv":
            failed = _write(args, path, lambda path: _write_csv(path, alpha, curves, beside))
        else:
            display = _display(args, curves, best_linear)
            display.plot(
                title=_title(args, picture=True),
                points={
                    name: (columns["alpha"], columns["test_error"], columns["test_error_sem"])
                    for name, columns in beside.items()
                },
            )
            failed = _write(args, path, display.figure_.savefig)
        status = status or failed

    lost = sum(int(np.count_nonzero(~curve.success)) for curve in curves.values())
    if lost:
        _say(
            f"spikedrf curve: {lost} of {2 * alpha.size} points did not reach --rtol "
            f"{args.rtol:g}; raise it, or read their errors off the table"
        )
        status = status or NOT_CONVERGED
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = without_step.test_error / with_step.test_error
    if args.json:
        r, c, gamma, pi = spike.arrays()
        result = {
            "schema": SCHEMA,
            "command": args.command,
            "version": spikedrf.__version__,
            "parameters": _parameters(args, spike),
            "spike": {"r": r, "c": c, "gamma": gamma, "pi": pi},
            "best_linear": best_linear,
            "alpha": alpha,
            **{
                name: {column: getattr(curve, column) for column in _CURVE_COLUMNS}
                for name, curve in curves.items()
            },
            "gain": gain,
        }
        if simulated:
            result["simulation"] = _sizes_json(args, simulated["with_step"]) | {
                name: _simulated_json(simulation) | beside[name]
                for name, simulation in simulated.items()
            }
        print(json.dumps(_json(result), allow_nan=False))
        return status
    print(f"# {_title(args)}: {_spike_text(spike)}")
    print(f"# best linear function: {best_linear:#.6g}")
    header = ["alpha"]
    columns = [[f"{a:.6g}" for a in alpha]]
    for name, curve in curves.items():
        header.append(name.replace("_", " "))
        columns.append(_cells(curve))
        if name in beside:
            header += ["simulated", "sem", "z"]
            mean, sem = beside[name]["test_error"], beside[name]["test_error_sem"]
            columns.append([f"{x:#.6g}" for x in mean])
            columns.append([f"{x:#.2g}" for x in sem])
            columns.append([f"{x:.2f}" for x in beside[name]["z"]["test_error"]])
    if simulated:
        print("\n".join(_simulated_text(args, simulated["with_step"])))
        print("# z: standard errors by which the simulated test error is above the theory")
    else:
        print("# gain: error without the step over error with it")
        header += ["train with step", "gain"]
        columns += [[f"{e:#.6g}" for e in with_step.train_error], [f"{g:#.4g}" for g in gain]]
    _print_table(header, columns)
    return status


def _display(
    args: argparse.Namespace, curves: dict[str, Solution], best_linear: float
) -> LearningCurveDisplay:
    """Lines through the points of the table; beside simulated points, smooth ones."""
    alpha = args.alpha
    with_step, without_step = curves["with_step"], curves["without_step"]
    if args.simulate is not None:
        finite = alpha[np.isfinite(alpha)]
        alpha = np.unique([*alpha, *np.geomspace(finite.min(), finite.max(), 100)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            with_step = theory.solve(alpha, step=_step(args)[0], **_model(args))
            without_step = theory.solve(alpha, **_model(args))
    return LearningCurveDisplay(
        alpha,
        with_step.test_error,
        without_step.test_error,
        best_linear=best_linear,
        success=with_step.success,
        success_without_step=without_step.success,
    )


def _beside(simulation: Simulation, alpha: Floats, theirs: Solution) -> dict[str, Any]:
    """Arrange simulated errors and z-scores like the rows of the table, NaN at alpha = inf."""
    finite = np.isfinite(alpha)

    def spread(values: Any) -> Floats:
        column = np.full(alpha.shape, np.nan)
        column[finite] = values
        return column

    columns: dict[str, Any] = {"alpha": spread(alpha[finite]), "n": spread(simulation.n), "z": {}}
    for name in _SIMULATED:
        mean, sem = spread(getattr(simulation, name)), spread(getattr(simulation, f"{name}_sem"))
        columns |= {name: mean, f"{name}_sem": sem}
        with np.errstate(divide="ignore", invalid="ignore"):
            columns["z"][name] = (mean - getattr(theirs, name)) / sem
    return columns


def _spike_text(spike: Spike) -> str:
    r, c, gamma, _ = spike.arrays()
    numbers = {"r": r, "c": c, "gamma": np.atleast_1d(gamma)}
    return ", ".join(f"{k} {' '.join(f'{x:.6g}' for x in v)}" for k, v in numbers.items())


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


def _print_table(header: Sequence[str], columns: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; NumPy's ``loadtxt`` reads them, the header is a comment."""
    widths = [max(map(len, (name, *cells))) for name, cells in zip(header, columns, strict=True)]
    print("#", _aligned(header, widths))
    for row in zip(*columns, strict=True):
        print(" ", _aligned(row, widths))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _write_csv(
    path: Path, alpha: Floats, curves: dict[str, Solution], beside: dict[str, dict[str, Any]]
) -> None:
    columns = {"alpha": alpha}
    for name, curve in curves.items():
        columns |= {f"{column}_{name}": getattr(curve, column) for column in _CURVE_COLUMNS}
    for name, numbers in beside.items():
        for quantity in _SIMULATED:
            for key in (quantity, f"{quantity}_sem"):
                columns[f"simulated_{key}_{name}"] = numbers[key]
            columns[f"z_{quantity}_{name}"] = numbers["z"][quantity]
    _write_columns(path, columns)


# --------------------------------------------------------------------------------------------------
# spikedrf simulate


def _add_simulate(commands: Any) -> None:
    parser = _command(
        commands,
        "simulate",
        _simulate_command,
        "errors of networks of finite size, measured, with standard errors",
        "spikedrf simulate --alpha 0.5 1 2 --d 300 --replicates 4 --out errors.csv",
    )
    group = _add_simulation(parser)
    group.add_argument(
        "--model",
        choices=("srf", "network"),
        default="network",
        help="spiked random features, or the trained network itself (%(default)s)",
    )
    parser.add_argument(
        "--alpha",
        nargs="+",
        type=_grid,
        default=[_grid(_SIMULATED_ALPHA)],
        metavar="X",
        help=(
            f"samples over dimension: values, ranges MIN:MAX:N or MIN:MAX:N:log "
            f"({_SIMULATED_ALPHA})"
        ),
    )
    _add_model(parser)
    _add_output(parser, (".csv",))


def _simulate_command(args: argparse.Namespace) -> int:
    args.alpha = np.concatenate(args.alpha)

    def compute() -> tuple[Spike, Simulation, int]:
        _simulation_options(args)
        step, spike = _step(args)
        done, status = _simulate(args, args.model, args.alpha, {"with_step": step})
        return spike, done["with_step"], status

    spike, simulation, status = _checked(args, compute)
    columns = {"alpha": args.alpha}
    for name in _SIMULATED:
        columns[name] = getattr(simulation, name)
        columns[f"{name}_sem"] = getattr(simulation, f"{name}_sem")
    for path in args.out:
        status = _write(args, path, lambda path: _write_columns(path, columns)) or status
    if args.json:
        r, c, gamma, pi = spike.arrays()
        result = {
            "schema": SCHEMA,
            "command": args.command,
            "version": spikedrf.__version__,
            "parameters": _parameters(args, spike),
            "spike": {"r": r, "c": c, "gamma": gamma, "pi": pi},
            **_sizes_json(args, simulation),
            "alpha": args.alpha,
            "n": simulation.n,
            **_simulated_json(simulation),
        }
        print(json.dumps(_json(result), allow_nan=False))
    else:
        print(f"# {_title(args)}: {_spike_text(spike)}")
        print("\n".join(_simulated_text(args, simulation)))
        header = ("alpha", "test", "sem", "train", "sem", "norm", "sem")
        alpha, *rest = columns.values()
        cells = [[f"{a:.6g}" for a in alpha]]
        for i, column in enumerate(rest):
            cells.append([f"{x:#.2g}" if i % 2 else f"{x:#.6g}" for x in column])
        _print_table(header, cells)
    return status


def _sizes_json(args: argparse.Namespace, simulation: Simulation) -> dict[str, Any]:
    names = ("model", "d", "p", "n0", "n_test")
    return {name: getattr(simulation, name) for name in names} | {"seed": args.seed}


def _write(args: argparse.Namespace, path: Path, writer: Callable[[Path], None]) -> int:
    """Write a file and say so."""
    try:
        writer(path)
    except OSError as error:
        _say(f"spikedrf {args.command}: error: {path} cannot be written: {error.strerror or error}")
        return CANNOT_WRITE
    if not args.quiet:
        _say(f"wrote {path}")
    return OK


def _write_columns(path: Path, columns: dict[str, Floats]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        values = (np.asarray(column, dtype=float).tolist() for column in columns.values())
        writer.writerows(zip(*values, strict=True))
