"""Simulations on the command line: how they are run, stopped and described."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from spikedrf.cli import options, output, vocabulary
from spikedrf.cli.options import Floats

if TYPE_CHECKING:
    from spikedrf import GradientStep, Simulation

T = TypeVar("T")

#: Quantities that a simulation shares with the theory.
ERRORS = ("test_error", "train_error", "norm")

_MEASURED = ("r", "c", "gamma")


def quantities(args: argparse.Namespace) -> tuple[str, ...]:
    """Return these quantities, and those that come with another loss or with signs."""
    names = ERRORS if options.is_ridge(args) else (*ERRORS, "test_loss", "train_loss")
    return names if args.labels == "real" else (*names, "margin", "train_margin")


def run(
    args: argparse.Namespace, model: str, alpha: Floats, steps: dict[str, GradientStep | None]
) -> tuple[dict[str, Simulation], int]:
    """Simulate the errors with each of the steps, as `each`."""
    from spikedrf import simulate

    sizes = {n: getattr(args, n) for n in ("d", "replicates", "n_test", "workers")}
    given = vocabulary.model_of(args) | sizes | {"model": model}
    return each(args, steps, lambda step, more: simulate(alpha, step=step, **given, **more))


def each(
    args: argparse.Namespace,
    steps: dict[str, GradientStep | None],
    simulate: Callable[[GradientStep | None, dict[str, Any]], T],
) -> tuple[dict[str, T], int]:
    """Simulate with each of the steps; what has finished counts, also if something stops it.

    ``simulate`` gets the step, and the random stream, the checkpoint and the report of progress by
    their names.
    """
    from spikedrf import SimulationFailed, SimulationInterrupted

    rng = np.random.default_rng(args.seed)
    done: dict[str, T] = {}
    for i, (name, step) in enumerate(steps.items()):
        checkpoint = options.checkpoint_of(args, name) if i else args.checkpoint
        more = {"rng": rng, "checkpoint": checkpoint}
        stopped: SimulationInterrupted | SimulationFailed
        try:
            done[name] = simulate(step, more | {"progress": output.progress(args, "replicate")})
            continue
        except SimulationInterrupted as error:
            stopped, status = error, output.INTERRUPTED
        except SimulationFailed as error:
            stopped, status = error, output.FAILED
        except OSError as error:
            output.say(f"spikedrf {args.command}: error: {checkpoint}: {error.strerror or error}")
            raise SystemExit(output.CANNOT_WRITE) from None
        if stopped.partial is not None:
            done[name] = stopped.partial
        if not done:
            raise stopped
        output.say(f"spikedrf {args.command}: {stopped}")
        if checkpoint is not None:
            output.say(
                f"spikedrf {args.command}: what is finished is in {checkpoint}, and the same "
                f"command goes on from there"
            )
        return done, status
    return done, output.OK


def sizes(args: argparse.Namespace, simulation: Simulation) -> dict[str, Any]:
    """Collect for JSON what was drawn."""
    names = ("model", "d", "p", "n0", "n_test")
    return {name: getattr(simulation, name) for name in names} | {"seed": args.seed}


def numbers(args: argparse.Namespace, simulation: Simulation) -> dict[str, Any]:
    """Collect for JSON what came out."""
    names = [name for name in quantities(args) + _MEASURED if getattr(simulation, name) is not None]
    return {"replicates": simulation.replicates} | {
        key: getattr(simulation, key) for name in names for key in (name, f"{name}_sem")
    }


def text(args: argparse.Namespace, simulation: Simulation) -> str:
    """Say what was simulated, and what the trained first layers look like."""
    drawn = {"d": simulation.d, "p": simulation.p, "n0": simulation.n0}
    size = ", ".join(f"{name} {value}" for name, value in drawn.items() if value is not None)
    lines = [
        f"# simulated: {simulation.model}, {size}, {simulation.replicates} replicates, "
        f"seed {args.seed}"
    ]
    if simulation.r is not None:
        measured = []
        for name in _MEASURED:
            mean = np.atleast_1d(getattr(simulation, name))
            sem = np.atleast_1d(getattr(simulation, f"{name}_sem"))
            cells = " ".join(
                # One replicate has no standard error.
                f"{m:.6g}+-{s:.1g}" if np.isfinite(s) else f"{m:.6g}"
                for m, s in zip(mean, sem, strict=True)
            )
            measured.append(f"{name} {cells}")
        lines.append(f"# measured on the first layers: {', '.join(measured)}")
    return "\n".join(lines)
