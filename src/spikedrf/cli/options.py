"""Options of simulations and output, and the step that the options of the model describe."""

from __future__ import annotations

import argparse
import importlib.util
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spikedrf import losses
from spikedrf.activations import NAMES
from spikedrf.cli import values
from spikedrf.cli.output import PICTURES, STYLES
from spikedrf.cli.vocabulary import model_of
from spikedrf.first_layer.producers import producer_of
from spikedrf.parameters import ConvergenceWarning

if TYPE_CHECKING:
    from spikedrf import Spike

Floats = NDArray[np.float64]
T = TypeVar("T")

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
    parser.add_argument("--alpha", nargs="+", type=values.grid, metavar="X", help=help)


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
    group.add_argument("--seed", type=values.seed, metavar="N", help="of the random streams (0)")
    group.add_argument(
        "--workers", help="replicates at a time, which changes no digit (one a core)", **integer
    )
    add_checkpoint(group, "; of several simulations each has its own, named after it")
    return group


def add_checkpoint(group: argparse._ArgumentGroup, more: str = "") -> None:
    """Add the file that keeps what is finished."""
    group.add_argument(
        "--checkpoint",
        type=values.writable,
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
    if set(PICTURES) & set(suffixes):
        add_style(group)
    group.add_argument("--quiet", action="store_true", help="no messages but errors")
    return group


def add_style(group: argparse._ArgumentGroup) -> None:
    """Add how large pictures are drawn."""
    group.add_argument(
        "--style",
        choices=STYLES,
        default="screen",
        help="of pictures: for a screen, or for one column of a paper (3.3 inches) or both (6.9), "
        "with letters of 8 points (%(default)s)",
    )


def _out(suffixes: Sequence[str]) -> Callable[[str], Path]:
    def path(text: str) -> Path:
        """Refuse what cannot be written while nothing has been computed yet."""
        file = Path(text)
        if file.suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(f"{text!r} must end in {', '.join(suffixes)}")
        values.writable(text)
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
    return np.concatenate(args.alpha if args.alpha is not None else [values.grid(default)])


def is_ridge(args: argparse.Namespace) -> bool:
    """Whether the readout is ridge regression of real labels."""
    return bool(args.loss == losses.Square() and args.labels == "real")


def step_of(args: argparse.Namespace) -> tuple[Any, Spike]:
    """Return the gradient step, or a list of several, and the spike that is left."""
    from spikedrf import GradientStep

    count = getattr(args, "steps", 1)
    each = [
        value if isinstance(value, list) else [value] * count for value in (args.eta, args.alpha0)
    ]
    taken = [
        GradientStep(eta, alpha0, u=args.u, pi=args.pi) for eta, alpha0 in zip(*each, strict=True)
    ]
    step: Any = taken if count > 1 else taken[0]
    model = model_of(args)
    if {"inputs", "init"} & set(model) or not isinstance(model["target"], str):
        from spikedrf.theory.latents.solution import spike_on

        names = ("activation", "target", "noise", "inputs", "init")
        return step, spike_on(step, **{name: model[name] for name in names if name in model})
    layer = producer_of(step).first_layer(args.activation, args.target, args.noise)
    return step, layer.spike


def fill_in_simulation(args: argparse.Namespace) -> None:
    """Fill in defaults; round the ratios to what ``d`` realises, for theory and simulation."""
    for name, default in SIMULATION.items():
        if getattr(args, name, None) is None:
            setattr(args, name, default)
    args.alpha = _realised(args.alpha, args.d)
    args.beta = float(_realised(args.beta, args.d))
    args.alpha0 = _realised(args.alpha0, args.d).tolist()


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
