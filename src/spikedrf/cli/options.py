"""One vocabulary of options for all subcommands, and what the library is told by them."""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spikedrf import losses
from spikedrf.activations import NAMES
from spikedrf.cli import inputs
from spikedrf.losses import Loss
from spikedrf.parameters import ConvergenceWarning

if TYPE_CHECKING:
    from spikedrf import GradientStep, Spike

Floats = NDArray[np.float64]
T = TypeVar("T")

#: Suffixes of the pictures that can be drawn.
PICTURES = (".png", ".svg", ".pdf")

_MOST_POINTS = 1_000_000

#: The end of every subcommand's help.
EPILOG = f"""\
NAME is one of
  {", ".join(NAMES[:9])},
  {", ".join(NAMES[9:])}
where erf is erf(z / sqrt(2)) and erf_plain is erf(z).

exit status:
  0 done; 1 a file could not be written; 2 misuse;
  3 done, but some points did not reach --rtol (they are marked);
  4 a replicate of a simulation failed, 130 interrupted: replicates that had finished are printed
"""

#: Options of a simulation, and what they are unless given.
SIMULATION = {
    "d": 500, "replicates": 8, "seed": 0, "n_test": None, "workers": None, "checkpoint": None,
}  # fmt: skip


# --------------------------------------------------------------------------------------------------
# What can be said


def add_alpha(parser: argparse.ArgumentParser, help: str) -> None:
    """Add the points of a curve; without a default, `alpha_of` fills one in."""
    parser.add_argument("--alpha", nargs="+", type=grid, metavar="X", help=help)


def add_model(
    parser: argparse.ArgumentParser,
    *,
    grids: bool = False,
    several: bool = False,
    ridge: bool = True,
) -> None:
    """Add the options that say what network learns what.

    With ``grids``, `axes_of` tells which of the numbers have got one. With ``several``, one of
    them may take several values: `cases.expand`. Without ``ridge`` there is no readout.
    """
    group = parser.add_argument_group(
        "model", "one of eta, alpha0, beta, lam, noise may take several values" if several else None
    )
    single: dict[str, Any] = {"type": float, "metavar": "X"}
    number = single
    if grids:
        number = {"action": _InOrder, "type": _number_or_grid, "metavar": "X"}
    elif several:
        number = {"nargs": "+", "type": grid, "metavar": "X"}
    if grids:
        group.add_argument(
            "--alpha", default=2.0, help="samples over dimension; inf (%(default)g)", **number
        )
    group.add_argument(
        "--activation", metavar="NAME", default="tanh", help="of the network (%(default)s)"
    )
    group.add_argument(
        "--target",
        type=inputs.target,
        metavar="NAME[:M]",
        default="sin",
        help=f"{inputs.TARGET_HELP} (%(default)s)",
    )
    group.add_argument("--eta", default=3.0, help="size of the step (%(default)g)", **number)
    group.add_argument(
        "--alpha0",
        default=20.0,
        help="samples of the step over dimension; inf (%(default)g)",
        **number,
    )
    group.add_argument(
        "--u", nargs="+", default=[1.0], help="values of the initial readout (1)", **single
    )
    group.add_argument("--pi", nargs="+", help="their proportions (equal)", **single)
    group.add_argument("--beta", default=1.0, help="width over dimension (%(default)g)", **number)
    if ridge:
        group.add_argument("--lam", default=0.1, help="ridge (%(default)g)", **number)
    group.add_argument(
        "--noise", default=0.0, help="standard deviation of the labels (%(default)g)", **number
    )


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add what the inputs and the rows before the step are."""
    group = parser.add_argument_group("inputs")
    group.add_argument(
        "--inputs",
        type=inputs.inputs,
        metavar="INPUTS",
        help=f"{inputs.INPUTS_HELP} (white)",
    )
    group.add_argument(
        "--init",
        choices=("sphere", "gaussian"),
        default="sphere",
        help="rows of the first layer before the step (%(default)s)",
    )


def add_loss(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what the readout learns, and from what labels."""
    group = parser.add_argument_group("readout")
    group.add_argument(
        "--loss",
        type=loss,
        default="square",
        metavar="LOSS[:X]",
        help="square, huber:DELTA, pseudo_huber:DELTA, quantile:LEVEL, absolute; or logistic, "
        "hinge, squared_hinge, which need --labels sign (square)",
    )
    group.add_argument(
        "--labels",
        choices=losses.LABELS,
        default="real",
        help="whether it learns labels or their signs; errors are then rates of wrong signs "
        "(%(default)s)",
    )
    group.add_argument(
        "--flip",
        type=float,
        metavar="X",
        default=0.0,
        help="share of the signs that are turned around (%(default)g)",
    )


def add_bulk(parser: argparse.ArgumentParser, default: str | None = "isotropic") -> None:
    """Add the choice between the spiked model and the trained network's own bulk.

    With None as default it is isotropic too, and mentioned where it was asked for only.
    """
    group = parser.add_argument_group("first layer")
    group.add_argument(
        "--bulk",
        choices=("isotropic", "network"),
        default=default,
        help=(
            "the bulk of the weights after the step: isotropic as in the spiked model, or that of "
            "the trained network, which differs for small batches (isotropic)"
        ),
    )


def add_simulation(
    parser: argparse.ArgumentParser, *, tests: bool = True
) -> argparse._ArgumentGroup:
    """Add the options that say what is simulated; `fill_in_simulation` knows their defaults."""
    group = parser.add_argument_group("simulation")
    integer: dict[str, Any] = {"type": int, "metavar": "N"}
    group.add_argument("--d", help="input dimension (500)", **integer)
    group.add_argument("--replicates", help="independent repetitions (8)", **integer)
    if tests:
        group.add_argument("--n-test", help="test samples of each (4 d, at least 2000)", **integer)
    group.add_argument("--seed", type=seed, metavar="N", help="of the random streams (0)")
    group.add_argument(
        "--workers", help="replicates at a time, which changes no digit (one a core)", **integer
    )
    add_checkpoint(group, "; of several simulations each has its own, named after it")
    return group


def add_checkpoint(group: argparse._ArgumentGroup, more: str = "") -> None:
    """Add the file that keeps what is finished."""
    group.add_argument(
        "--checkpoint",
        type=writable,
        metavar="FILE",
        help="keep what is finished in a file; the same command goes on where it was stopped"
        + more,
    )


def check_checkpoint(args: argparse.Namespace) -> None:
    """Refuse a checkpoint that is to be overwritten by a result."""
    if args.checkpoint in args.out:
        args.parser.error(f"argument --checkpoint: {str(args.checkpoint)!r} is also in --out")


def checkpoint_of(args: argparse.Namespace, name: str) -> Path | None:
    """Return the checkpoint of one of several simulations, named after what distinguishes it."""
    file: Path | None = args.checkpoint
    return file and file.with_name(f"{file.stem}.{name}{file.suffix}")


class _InOrder(argparse.Action):
    """Remember which options were given, in this order."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)
        namespace.in_order = [*getattr(namespace, "in_order", []), self.dest]


def add_solver(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how accurate the theory is."""
    group = parser.add_argument_group("accuracy")
    group.add_argument(
        "--rtol", type=float, metavar="X", default=1e-8, help="relative accuracy (%(default)g)"
    )


def add_output(parser: argparse.ArgumentParser, suffixes: Sequence[str]) -> argparse._ArgumentGroup:
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
    return group


# --------------------------------------------------------------------------------------------------
# How single values are read


def grid(text: str) -> Floats:
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


def _number_or_grid(text: str) -> float | Floats:
    values = grid(text)
    return values if ":" in text else float(values[0])


def loss(text: str) -> Loss:
    """Read the name of a loss and, after a colon, its parameter."""
    name, colon, parameter = text.partition(":")
    try:
        kind = losses.resolve(name)
        names = [field.name for field in fields(kind)]
        if colon and not names:
            raise ValueError(f"{name} has no parameter")
        return type(kind)(**{names[0]: float(parameter)}) if colon else kind
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def seed(text: str) -> int:
    """Read what random streams begin with."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be >= 0, got {value}")
    return value


def writable(text: str) -> Path:
    """Read the name of a file that can be written, as far as one can tell."""
    file = Path(text)
    where = file if file.exists() else file.parent
    if file.is_dir() or not file.parent.is_dir() or not os.access(where, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written")
    return file


def _out(suffixes: Sequence[str]) -> Callable[[str], Path]:
    def path(text: str) -> Path:
        """Refuse what cannot be written while nothing has been computed yet."""
        file = Path(text)
        if file.suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(f"{text!r} must end in {', '.join(suffixes)}")
        writable(text)
        if file.suffix.lower() in PICTURES and importlib.util.find_spec("matplotlib") is None:
            raise argparse.ArgumentTypeError(
                f"{text!r} needs matplotlib: pip install 'spikedrf[plot]'"
            )
        return file

    return path


# --------------------------------------------------------------------------------------------------
# What the library is told


def alpha_of(args: argparse.Namespace, default: str) -> Floats:
    """Join the points given, or take the default grid."""
    return np.concatenate(args.alpha if args.alpha is not None else [grid(default)])


def axes_of(args: argparse.Namespace) -> list[str]:
    """Return the names of the parameters that have grids, in the order in which they got them."""
    given: list[str] = getattr(args, "in_order", [])
    return [name for name in dict.fromkeys(given) if isinstance(getattr(args, name), np.ndarray)]


def model_of(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of the theory and of a simulation, all but the step."""
    names = ("lam", "beta", "activation", "noise", "loss", "labels", "flip")
    model = {name: getattr(args, name) for name in names if hasattr(args, name)}
    model["target"] = inputs.target_of(args.target)
    if getattr(args, "inputs", None) is not None:
        model["inputs"] = inputs.inputs_of(args.inputs)
    if getattr(args, "init", "sphere") != "sphere":
        model["init"] = args.init
    return model


def is_ridge(args: argparse.Namespace) -> bool:
    """Whether the readout is ridge regression of real labels."""
    return bool(args.loss == losses.Square() and args.labels == "real")


def step_of(args: argparse.Namespace) -> tuple[GradientStep, Spike]:
    """Return the gradient step and the spike that it leaves."""
    from spikedrf import GradientStep

    step = GradientStep(eta=args.eta, alpha0=args.alpha0, u=args.u, pi=args.pi)
    model = model_of(args)
    if {"inputs", "init"} & set(model) or not isinstance(model["target"], str):
        from spikedrf.theory.latents.solution import spike_on

        names = ("activation", "target", "noise", "inputs", "init")
        return step, spike_on(step, **{name: model[name] for name in names if name in model})
    return step, step.spike(args.activation, args.target, args.noise)


def fill_in_simulation(args: argparse.Namespace) -> None:
    """Fill in defaults; round the ratios to what ``d`` realises, for theory and simulation."""
    for name, default in SIMULATION.items():
        if getattr(args, name, None) is None:
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


def checked(
    args: argparse.Namespace, compute: Callable[[], T], names: Mapping[str, str] | None = None
) -> T:
    """Compute; what the library refuses is misuse, reported under the option's name.

    ``names`` are the options that the library calls otherwise, by its name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # told by exit status and marks
            return compute()
    except (TypeError, ValueError, MemoryError) as error:
        message = str(error)
        word = re.match(r"\w+", message)
        name = (names or {}).get(word[0], word[0]) if word else ""
        if hasattr(args, name):
            message = f"argument --{name.replace('_', '-')}: {message}"
        parser: argparse.ArgumentParser = args.parser
        parser.error(message)
