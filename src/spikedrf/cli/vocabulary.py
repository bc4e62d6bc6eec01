"""The options that say what is computed: one row for each, the same in all commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikedrf import losses
from spikedrf.cli import inputs
from spikedrf.cli.values import grid, loss, number_or_grid, several
from spikedrf.inputs.population import NETWORK_INITS


@dataclass(frozen=True)
class Option:
    """One option of the command line.

    Attributes
    ----------
    name : str
        Of the attribute that it sets; the option has two dashes before it.
    group : str
        Heading of the help under which it stands; commands take whole groups.
    help : str
    default : object
    varies : bool
        A number, for which some commands take several values or grids.
    passed : bool
        Whether theory and simulation take it as an argument of this name.
    read : callable, optional
        Turns the value into what the library takes.
    unsaid : object
        A value that goes without saying: neither passed on nor repeated in the output.
    arguments : dict
        Further arguments of ``add_argument``.
    of_several : dict
        The same where the numbers may have several values.
    """

    name: str
    group: str
    help: str
    default: Any = None
    varies: bool = False
    passed: bool = True
    read: Callable[[Any], Any] | None = None
    unsaid: Any = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    of_several: Mapping[str, Any] = field(default_factory=dict)


#: Of ``--steps``: the values of ``--eta`` and ``--alpha0`` are those of one step after another.
IN_TURN = 0

_NUMBER = {"type": float, "metavar": "X"}
_NUMBERS = {"nargs": "+", **_NUMBER}

#: All of them. Another option is another row.
OPTIONS = (
    Option(
        "alpha", "model", "samples over dimension; inf (%(default)g)", 2.0, varies=True,
        passed=False,
    ),
    Option(
        "activation", "model", "of the network (%(default)s)", "tanh", arguments={"metavar": "NAME"}
    ),
    Option(
        "target", "model", f"{inputs.TARGET_HELP} (%(default)s)", "sin", read=inputs.target_of,
        arguments={"type": inputs.target, "metavar": "NAME[:M]"},
    ),
    Option("eta", "model", "size of the step (%(default)g)", 3.0, varies=True, passed=False),
    Option(
        "alpha0", "model", "samples of the step over dimension; inf (%(default)g)", 20.0,
        varies=True, passed=False,
    ),
    Option(
        "steps", "model", "how many such steps, each on fresh samples (%(default)d)", 1,
        passed=False, unsaid=1, arguments={"type": several, "metavar": "N"},
        of_several={
            "nargs": "?",
            "const": IN_TURN,
            "help": "how many such steps, each on fresh samples (%(default)d); without a number "
            "the values of --eta and --alpha0 are those of one step after another",
        },
    ),
    Option(
        "u", "model", "values of the initial readout (1)", [1.0], passed=False, arguments=_NUMBERS
    ),
    Option("pi", "model", "their proportions (equal)", passed=False, arguments=_NUMBERS),
    Option("beta", "model", "width over dimension (%(default)g)", 1.0, varies=True),
    Option("lam", "model", "ridge (%(default)g)", 0.1, varies=True),
    Option("noise", "model", "standard deviation of the labels (%(default)g)", 0.0, varies=True),
    Option(
        "inputs", "inputs", f"{inputs.INPUTS_HELP} (white)", read=inputs.inputs_of,
        arguments={"type": inputs.inputs, "metavar": "INPUTS"},
    ),
    Option(
        "init", "inputs",
        "rows of the first layer before the step (sphere); the theory of --bulk network has the "
        "lengths of neurons in it if this is said, and with +gain the other gradient of longer "
        "rows, as trained networks do",
        arguments={"choices": NETWORK_INITS},
    ),
    Option(
        "bulk", "first layer",
        "the bulk of the weights after the step: isotropic as in the spiked model, or that of the "
        "trained network, which differs for small batches (isotropic)",
        "isotropic", passed=False, arguments={"choices": ("isotropic", "network")},
    ),
    Option(
        "loss", "readout",
        "square, huber:DELTA, pseudo_huber:DELTA, quantile:LEVEL, absolute; or logistic, hinge, "
        "squared_hinge, which need --labels sign (square)",
        "square", arguments={"type": loss, "metavar": "LOSS[:X]"},
    ),
    Option(
        "labels", "readout",
        "whether it learns labels or their signs; errors are then rates of wrong signs "
        "(%(default)s)",
        "real", arguments={"choices": losses.LABELS},
    ),
    Option(
        "flip", "readout", "share of the signs that are turned around (%(default)g)", 0.0,
        arguments=_NUMBER,
    ),
    Option(
        "rtol", "accuracy", "relative accuracy (%(default)g)", 1e-8, passed=False,
        arguments=_NUMBER,
    ),
)  # fmt: skip


def add(
    parser: argparse.ArgumentParser,
    *groups: str,
    numbers: str = "one",
    without: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Add the options of some groups.

    Parameters
    ----------
    parser : ArgumentParser
    *groups : str
        Names of `OPTIONS`, in this order.
    numbers : {"one", "several", "grids"}
        What the numbers among them take: one value; several, which one of them may have
        (`cases.expand`); or a grid, which some have (`axes_of`).
    without : collection of str
        Names of options that are left out.
    defaults : dict, optional
        Other defaults, by name.
    """
    arguments: dict[str, Any] = {
        "one": _NUMBER,
        "several": {"nargs": "+", "type": grid, "metavar": "X"},
        "grids": {"action": InOrder, "type": number_or_grid, "metavar": "X"},
    }[numbers]
    for name in groups:
        rows = [row for row in OPTIONS if row.group == name and row.name not in without]
        varying = ", ".join(row.name for row in rows if row.varies)
        about = f"one of {varying} may take several values" if numbers == "several" else None
        group = parser.add_argument_group(name, about if varying else None)
        for row in rows:
            own = {"help": row.help, **(arguments if row.varies else row.arguments)}
            if numbers == "several":
                own.update(row.of_several)
            group.add_argument(
                f"--{row.name.replace('_', '-')}",
                default=(defaults or {}).get(row.name, row.default),
                **own,
            )


class InOrder(argparse.Action):
    """Remember which options were given, in this order."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Set the value."""
        setattr(namespace, self.dest, values)
        namespace.in_order = [*getattr(namespace, "in_order", []), self.dest]


def axes_of(args: argparse.Namespace) -> list[str]:
    """Return the names of the parameters that have grids, in the order in which they got them."""
    given: list[str] = getattr(args, "in_order", [])
    return [name for name in dict.fromkeys(given) if isinstance(getattr(args, name), np.ndarray)]


def said(args: argparse.Namespace) -> dict[str, Any]:
    """Collect the options that do not go without saying, by name."""
    given = {row.name: (row, getattr(args, row.name, None)) for row in OPTIONS}
    return {
        name: value
        for name, (row, value) in given.items()
        if value is not None and (isinstance(value, np.ndarray) or value != row.unsaid)
    }


def model_of(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of the theory and of a simulation, all but the step."""
    given = said(args)
    return {
        row.name: row.read(given[row.name]) if row.read else given[row.name]
        for row in OPTIONS
        if row.passed and row.name in given
    }
