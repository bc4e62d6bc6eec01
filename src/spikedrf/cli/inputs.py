"""Targets of several directions and inputs, as the command line writes them."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from spikedrf.inputs.covariance import Covariance
from spikedrf.inputs.mixture import Mixture
from spikedrf.multi_index import NAMED, MultiIndex

#: What the helps say of them.
TARGET_HELP = f"teacher g; of several directions: {', '.join(NAMED)}, with :3 for three"
INPUTS_HELP = (
    "power:A[:B], eigenvalues k^-A, the target's shares k^-B; eigenvalues:1,2,.., each on as many "
    "dimensions; mixture:MEAN=LABEL;.., classes, e.g. 'mixture:1,0.6=1;-1,-0.6=-1' "
    "(without =LABEL the target labels them; 0.3*MEAN has proportion 0.3); or a .json or .csv file"
)


def target(text: str) -> str:
    """Check the name of a target; `target_of` turns it into what the library takes."""
    try:
        target_of(text)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def target_of(text: str) -> str | MultiIndex:
    """Return a name of one direction as it is, or ``NAME`` or ``NAME:M`` of several directions."""
    name, colon, count = text.partition(":")
    if name not in NAMED:
        return text
    if not colon:
        return MultiIndex(name)
    try:
        directions = int(count)
    except ValueError:
        raise ValueError(f"target {text!r} must end in a number of directions, 2 or 3") from None
    return MultiIndex(name, directions=directions)


def inputs(text: str) -> str:
    """Check a description of inputs; `inputs_of` turns it into what the library takes."""
    try:
        inputs_of(text)
    except (TypeError, ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    return text


def inputs_of(text: str) -> Covariance | Mixture:
    """Return the inputs that a description stands for.

    Raises
    ------
    TypeError, ValueError, OSError
        If it is none, or the file cannot be read.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind == "power":
        exponents = [_number(part) for part in rest.split(":")]
        if len(exponents) > 2:
            raise ValueError("power takes one or two exponents, power:A or power:A:B")
        return Covariance.power_law(
            exponents[0], target_exponent=exponents[1] if len(exponents) > 1 else None
        )
    if colon and kind == "eigenvalues":
        return Covariance([_number(part) for part in rest.split(",")])
    if colon and kind == "mixture":
        return _mixture(rest)
    path = Path(text)
    if path.suffix.lower() == ".json":
        return _from_json(json.loads(path.read_text("utf-8")))
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _from_table(list(csv.reader(file)))
    raise ValueError(
        "inputs are power:A, power:A:B, eigenvalues:1,2, mixture:1=1;-1=-1 or a .json or .csv file"
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _mixture(text: str) -> Mixture:
    means, proportions, labels = [], [], []
    for part in text.split(";"):
        share, star, rest = part.partition("*")
        if star:
            proportions.append(_number(share))
        mean, equal, label = (rest if star else part).partition("=")
        if equal:
            labels.append(_number(label))
        means.append([_number(x) for x in mean.split(",")])
    for name, given in (("proportion", proportions), ("label", labels)):
        if given and len(given) != len(means):
            raise ValueError(f"either every class has a {name}, or none")
    if len({len(mean) for mean in means}) > 1:
        raise ValueError("all means must have as many coordinates")
    return Mixture(means, proportions=proportions or None, labels=labels or None)


def _from_json(given: Any) -> Covariance | Mixture:
    """Read the arguments of `Covariance` or of `Mixture`, by their names."""
    if not isinstance(given, dict):
        raise ValueError("the file must hold the arguments of Covariance or Mixture, by name")
    covariance = {"eigenvalues", "dimensions", "target"}
    mixture = {"means", "proportions", "labels", "weights", "covariance"}
    unknown = set(given) - (mixture if "means" in given else covariance)
    if unknown or not {"means", "eigenvalues"} & set(given):
        raise ValueError(
            f"the file must hold means and, if wanted, {', '.join(sorted(mixture - {'means'}))}; "
            f"or eigenvalues, dimensions, target; got {', '.join(sorted(given)) or 'nothing'}"
        )
    if "means" not in given:
        return Covariance(**given)
    if given.get("covariance") is not None:
        given = given | {"covariance": _from_json(given["covariance"])}
    return Mixture(**given)


def _from_table(lines: list[list[str]]) -> Covariance | Mixture:
    """Read columns eigenvalue, dimensions, target.. or mean.., proportion, label, weight."""
    lines = [line for line in lines if any(cell.strip() for cell in line)]
    if len(lines) < 2:
        raise ValueError("the table must have a header and at least one line")
    header = [cell.strip().lower() for cell in lines[0]]
    try:
        columns = {name: [_number(line[i]) for line in lines[1:]] for i, name in enumerate(header)}
    except IndexError:
        raise ValueError("all lines of the table must have as many cells as the header") from None

    def several(prefix: str) -> list[list[float]] | None:
        found = [column for name, column in columns.items() if name.startswith(prefix)]
        return [list(row) for row in zip(*found, strict=True)] if found else None

    means = several("mean")
    if means is not None:
        return Mixture(
            means,
            proportions=columns.get("proportion"),
            labels=columns.get("label"),
            weights=columns.get("weight"),
        )
    if "eigenvalue" not in columns:
        raise ValueError(
            f"the table must have a column eigenvalue (and dimensions, target), or columns mean1, "
            f"mean2, .. (and proportion, label, weight); got {', '.join(header)}"
        )
    return Covariance(
        columns["eigenvalue"], dimensions=columns.get("dimensions"), target=several("target")
    )
