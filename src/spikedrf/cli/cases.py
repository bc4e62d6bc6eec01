"""Several values of a parameter: one command for each, and their tables in one."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from spikedrf.cli import options, output, vocabulary
from spikedrf.inputs.population import drawn_as

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

#: Parameters that may take several values.
PARAMETERS = ("eta", "alpha0", "beta", "lam", "noise")


def expand(args: argparse.Namespace) -> tuple[str | None, list[argparse.Namespace]]:
    """Return the parameter that has several values, and the arguments for each of them.

    In ``args`` itself, which stands for all of them, it becomes an array.
    """
    if args.steps == vocabulary.IN_TURN:
        _in_turn(args)
    several = []
    for name in PARAMETERS:
        given = getattr(args, name)
        if isinstance(given, list) and isinstance(given[0], np.ndarray):
            values = np.concatenate(given)
            setattr(args, name, values if values.size > 1 else float(values[0]))
            if values.size > 1:
                several.append(name)
    if not several:
        return None, [args]
    if len(several) > 1:
        args.parser.error(
            f"argument --{several[1]}: only one parameter beside alpha may take several values, "
            f"and --{several[0]} does"
        )
    (name,) = several
    values = getattr(args, name)
    if np.unique(values).size < values.size:
        args.parser.error(f"argument --{name}: a value comes twice")
    cases = []
    for value in values.tolist():
        checkpoint = options.checkpoint_of(args, f"{name}-{value!r}")
        cases.append(argparse.Namespace(**vars(args) | {name: value, "checkpoint": checkpoint}))
    return name, cases


def _in_turn(args: argparse.Namespace) -> None:
    """Give each step its own value, where there are several."""
    given = {name: getattr(args, name) for name in ("eta", "alpha0")}
    each = {
        name: np.concatenate(value).tolist() if isinstance(value, list) else [value]
        for name, value in given.items()
    }
    count = max(map(len, each.values()))
    if count == 1:
        args.parser.error(
            "argument --steps: without a number it is for several values of --eta or --alpha0, one "
            "for each step"
        )
    for name, value in each.items():
        if len(value) not in (1, count):
            args.parser.error(
                f"argument --{name}: {len(value)} values for {count} steps; give one for all or "
                f"one for each"
            )
        setattr(args, name, value[0] if len(value) == 1 else value)
    args.steps = count


def compute(
    args: argparse.Namespace,
    cases: Sequence[argparse.Namespace],
    run: Callable[[argparse.Namespace], tuple[R, int]],
) -> tuple[list[R], int]:
    """Run each case; on Ctrl-C what has finished counts, and after a failure no more is begun."""
    done: list[R] = []
    for case in cases:
        # What is wrong with the last is not to be found out after the others have taken their time.
        options.checked(case, partial(_check, case))
    for case in cases:
        try:
            result, status = options.checked(case, partial(run, case))
        except KeyboardInterrupt:
            if not done:
                raise
            output.say(
                f"spikedrf {args.command}: interrupted after {len(done)} of {len(cases)} values"
            )
            return done, output.INTERRUPTED
        done.append(result)
        if status:
            return done, status
    return done, output.OK


def _check(args: argparse.Namespace) -> None:
    from spikedrf import theory

    model = vocabulary.model_of(args)
    if "init" in model:  # the spiked model knows no gain
        model["init"] = drawn_as(model["init"])
    theory.solve([], step=options.step_of(args)[0], **model)


def stack(
    over: str | None, values: Sequence[float], tables: Sequence[Mapping[K, Any]], missing: Any
) -> dict[Any, Any]:
    """Put the columns of several tables beneath each other, the parameter before them.

    Parameters
    ----------
    over : str or None
        The parameter's name; None leaves the single table as it is.
    values : sequence of float
        Its value for each table.
    tables : sequence of mapping
        Columns of equal length by their key, which not all tables need have.
    missing : object
        What stands in a column that a table does not have.
    """
    if over is None:
        (table,) = tables
        return dict(table)
    lengths = [len(next(iter(table.values()))) for table in tables]
    keys = dict.fromkeys(key for table in tables for key in table)
    stacked: dict[Any, Any] = {
        over: np.repeat(np.asarray(values[: len(tables)], dtype=np.float64), lengths)
    }
    for key in keys:
        parts = [
            table.get(key, np.repeat(np.asarray(missing), length))
            for table, length in zip(tables, lengths, strict=True)
        ]
        stacked[key] = np.concatenate(parts)
    return stacked


def label(name: str, value: float) -> str:
    """Name a case in a picture."""
    return f"${output.SYMBOLS[name]} = {output.tex(value)}$"
