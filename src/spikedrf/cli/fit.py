"""``spikedrf fit``."""

from __future__ import annotations

import argparse
import shlex
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikedrf import losses
from spikedrf.activations import NAMES
from spikedrf.cli import (
    forecast,
    learned,
    model_file,
    options,
    output,
    preparation,
    reading,
    values,
)
from spikedrf.cli.columns import Kind, Unfit, recognise, stripped
from spikedrf.cli.model_file import About
from spikedrf.cli.table import Table, listed
from spikedrf.losses import Loss

if TYPE_CHECKING:
    import pandas
    from sklearn.pipeline import Pipeline

SUMMARY = "fit a table by random features that have learned a direction"
EXAMPLE = "spikedrf fit data.csv --target price --out learned.png --model price.skops"

EPILOG = f"""\
NAME of --activation is one of
  {", ".join(name for name in NAMES[:11] if name != "sign")},
  {", ".join(NAMES[11:])}

exit status:
  0 done; 1 a file could not be written; 2 misuse; 130 interrupted
"""

#: What a column that is to be predicted is often called.
_OBVIOUS = frozenset({"target", "y", "label", "labels", "class", "outcome", "response", "output"})

#: What the estimator calls options that have other names here.
_LEAST_ROWS = 2
_HUGE = 1e75  # fourth powers can still be added up

_NAMES = {"n_components": "features", "readout": "u", "y": "target"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        f"{parser.description} Columns hold numbers, dates, yes or no, or categories; missing "
        f"cells are filled in, and inputs are standardised. Step and ridge are chosen by the error "
        f"on rows left out, and no step is taken where none is better. spikedrf predict and "
        f"spikedrf show read the saved model, a scikit-learn pipeline in a file without code."
    )
    group = parser.add_argument_group("data")
    reading.add_file(group)
    group.add_argument(
        "--target",
        metavar="COLUMN",
        help="what to predict: a name, or a position from 0, negative from the end (by default a "
        "column called target, y, label, class or the like; without a header the last)",
    )
    group.add_argument(
        "--drop", nargs="+", default=[], metavar="COLUMN", help="columns to leave out"
    )
    group.add_argument(
        "--categories",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns whose numbers are no quantities",
    )
    reading.add_options(parser)
    group = parser.add_argument_group("network")
    group.add_argument(
        "--features", type=int, default=1000, metavar="N", help="how many (%(default)d)"
    )
    group.add_argument(
        "--activation", metavar="NAME", default="tanh", help="of the features (%(default)s)"
    )
    several: dict[str, Any] = {"nargs": "+", "type": _number_or_auto, "metavar": "X"}
    group.add_argument(
        "--step-size",
        default=["auto"],
        help="of the gradient step, 0 for none; the best of several (auto)",
        **several,
    )
    group.add_argument(
        "--alpha", default=["auto"], help="ridge; the best of several (auto)", **several
    )
    group.add_argument(
        "--loss",
        type=values.loss,
        metavar="LOSS[:X]",
        help="of the readout: square, huber:DELTA, pseudo_huber:DELTA, quantile:LEVEL, absolute; "
        "or logistic, hinge, squared_hinge, which take the target's values for classes (square, "
        "and logistic where the target is words)",
    )
    group.add_argument(
        "--u",
        nargs="+",
        type=float,
        default=[1.0, -1.0],
        metavar="X",
        help="values of the initial readout (1 -1)",
    )
    group.add_argument(
        "--update",
        choices=("full", "rank_one"),
        default="full",
        help="the gradient, or only the direction that it has for all features (%(default)s)",
    )
    group.add_argument(
        "--step-fraction",
        type=_number_or_auto,
        default="auto",
        metavar="X",
        help="share of the rows that is kept for the step alone (auto: none is, and step and "
        "ridge are chosen by cross-fitting)",
    )
    group.add_argument(
        "--seed", type=values.seed, default=0, metavar="N", help="of the features (%(default)d)"
    )
    group = options.add_output(parser, (*output.PICTURES, ".csv"))
    group.add_argument(
        "--forecast", action="store_true", help="also say what more rows would bring"
    )
    group.add_argument(
        "--model", type=_saved, metavar="FILE", help=f"save what was fitted, {model_file.SUFFIX}"
    )


@dataclass(frozen=True, eq=False)
class _Data:
    """What is fitted, and by which loss."""

    about: About
    X: pandas.DataFrame
    y: Any
    loss: Loss


def run(args: argparse.Namespace) -> int:
    """Read, fit, print what was learned; write files."""
    data = _read(args)
    if args.forecast and data.loss.name != "square":
        args.parser.error(
            f"argument --forecast: only what the square loss fits can be forecast, and the loss is "
            f"{data.loss.name}"
        )
    pipeline = options.checked(args, lambda: _fit(args, data), _NAMES)
    given = _given(args, data)
    if args.json:
        result = learned.numbers(pipeline, data.about)
        result["columns"] = learned.columns(pipeline, data.about)
        if args.forecast:
            result["forecast"] = forecast.numbers(pipeline[-1])
        output.print_json(args, result, given=given)
    else:
        learned.print_network(pipeline, data.about)
        if args.forecast:
            forecast.print_forecast(forecast.of(pipeline[-1]))
            print(f"# {forecast.sentence(pipeline[-1])}")
    # What was computed is on its way before anything else can go wrong.
    print(end="", flush=True)
    status = output.OK
    if args.model is not None:
        save = partial(model_file.dump, pipeline, data.about)
        status = output.write(args, args.model, save)
    for path in args.out:
        if path.suffix.lower() == ".csv":
            writer = partial(_write_csv, pipeline, data.about)
        else:
            writer = partial(learned.draw, pipeline, data.about)
        status = output.write(args, path, writer) or status
    return status


# --------------------------------------------------------------------------------------------------
# What is given


def _saved(text: str) -> Path:
    if not text.lower().endswith(model_file.SUFFIX):
        raise argparse.ArgumentTypeError(f"{text!r} must end in {model_file.SUFFIX}")
    try:
        model_file.require_skops(repr(text))
    except ImportError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return values.writable(text)


def _number_or_auto(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor auto") from None


def _read(args: argparse.Namespace) -> _Data:
    """Read the file, find the target in it and what the others are; what is wrong is misuse."""
    parser: argparse.ArgumentParser = args.parser
    table = reading.read(args)
    for text in table.notes:
        reading.note(args, text)
    dropped = reading.columns(args, "--drop", table.names, args.drop)
    forced = reading.columns(args, "--categories", table.names, args.categories)
    if table.index is not None and args.target not in (table.index, "0"):
        dropped.append(table.index)
    try:
        kept = table.without(dropped)
    except ValueError as error:
        parser.error(f"argument --drop: {error}")
    target = _target(args, table, kept)
    if kept.names == [target]:
        parser.error(f"argument DATA: no column is left beside the target, {target!r}")
    rows, y, loss = _labels(args, kept, target)
    try:
        kinds, values = preparation.read_columns(
            rows.without([target]), [name for name in forced if name != target], args.decimal
        )
    except ValueError as error:
        # Not the advice for a target: only what is predicted from can be left out.
        parser.error(
            f"argument DATA: {error}; mend it, make it categories (--categories NAME), or leave "
            f"the column out (--drop NAME)"
        )
    for name in preparation.unused(kinds, values):
        reading.note(args, f"column {name} is empty and was left out")
        del kinds[name]
    if not kinds:
        parser.error(f"argument DATA: no column is left beside the target, {target!r}")
    values = values[list(kinds)]
    if len(y) < _LEAST_ROWS:
        parser.error(
            f"argument DATA: {args.data!r} has {len(y)} row{'s' * (len(y) != 1)} with {target}; "
            f"a fit needs {_LEAST_ROWS}"
        )
    _refuse_huge(args, {**{name: values[name] for name in kinds}, target: y})
    _tell_gaps(args, rows, values, kinds)
    for name in preparation.numbering(kinds, values):
        reading.note(
            args,
            f"{name} differs in every row and was taken for an input; if it only names the rows, "
            f"leave it out (--drop {shlex.quote(name)})",
        )
    variance = None if loss.margin else float(np.var(y))
    about = About(target, kinds, table.header, len(y), variance, Path(args.data).name)
    return _Data(about, values, y, loss)


def _refuse_huge(args: argparse.Namespace, columns: Mapping[str, Any]) -> None:
    """Numbers whose squares cannot be added up are misuse."""
    for name, column in columns.items():
        values = np.asarray(column)
        if values.dtype.kind != "f" or not np.abs(values).max(initial=0.0, where=values == values):
            continue
        most = float(np.nanmax(np.abs(values)))
        if most > _HUGE:
            args.parser.error(
                f"argument DATA: column {name!r} of {args.data!r} holds {most:.4g}; numbers must "
                f"be at most {_HUGE:g}: give it another unit, or leave the column out"
            )


def _target(args: argparse.Namespace, table: Table, kept: Table) -> str:
    """Return the target's name; where it is not obvious it is asked for."""
    parser: argparse.ArgumentParser = args.parser
    if args.target is not None:
        (name,) = reading.columns(args, "--target", table.names, [args.target])
        if name not in kept.names:
            parser.error(f"argument --drop: {name!r} is the target")
        return name
    if not table.header:
        return kept.names[-1]
    obvious = [name for name in kept.names if name.lower() in _OBVIOUS]
    if len(obvious) == 1:
        if obvious != kept.names[-1:]:
            reading.note(args, f"the target is {obvious[0]}; --target COLUMN for another")
        return obvious[0]
    if len(kept.names) == 2 and len(table.names) == 2:
        return kept.names[-1]
    parser.error(
        f"argument --target: which column is to be predicted? --target NAME, one of "
        f"{listed(kept.names)}"
    )


def _labels(args: argparse.Namespace, table: Table, target: str) -> tuple[Table, Any, Loss]:
    """Return the rows that have a target, the targets, and the loss that is for such."""
    parser: argparse.ArgumentParser = args.parser
    cells = stripped(table.frame[target])
    missing = np.flatnonzero(cells.isna().to_numpy())
    if missing.size:
        where = f"{missing.size} rows have no {target} (the first is {table.where(missing[0])})"
        if args.missing == "error" or missing.size == len(cells):
            parser.error(f"argument DATA: {where}")
        reading.note(args, f"{where}: they were left out")
        there = np.flatnonzero(cells.notna().to_numpy()).tolist()
        table, cells = table.rows(there), cells.iloc[there].reset_index(drop=True)
    decimal = args.decimal or preparation.decimal_of(table)
    classes = args.loss is not None and args.loss.margin
    try:
        kind, values = recognise(cells, decimal)
    except Unfit as error:
        if not classes:
            parser.error(
                f"argument --target: {target!r} {preparation.told(table, error)}: only numbers or "
                f"a few classes can be predicted"
            )
        kind, values = Kind("category"), cells
    words = kind.name in ("category", "truth")
    if kind.name == "date":
        parser.error(
            f"argument --target: {target!r} holds {kind}: make it a number, such as days since an "
            f"event"
        )
    if args.loss is None:
        loss = losses.resolve("logistic" if words else "square")
        if words:
            few = listed([str(word) for word in sorted(set(cells.astype(str)))])
            reading.note(args, f"{target} is classes ({few}), so --loss logistic was taken")
    else:
        loss = args.loss
    if words and not loss.margin:
        parser.error(
            f"argument --loss: {loss.name} is for numbers, and {target!r} holds words, such as "
            f"{str(cells.iloc[0])!r}: --loss logistic, hinge or squared_hinge"
        )
    if words:
        return table, cells.astype(str).to_numpy(dtype=str), loss
    return table, values.to_numpy(dtype=np.float64), loss


def _tell_gaps(
    args: argparse.Namespace, table: Table, values: pandas.DataFrame, kinds: dict[str, Kind]
) -> None:
    """Say which cells are missing and what stands there now, or refuse them."""
    missing = preparation.gaps(table, values)
    if not missing:
        return
    if args.missing == "error":
        where = listed(list(missing.values()))
        args.parser.error(f"argument --missing: {args.data!r} has missing cells in {where}")
    for name in missing:
        count = int(values[name].isna().sum())
        what = "most frequent category" if kinds[name].name == "category" else "median"
        cells = "1 missing cell" if count == 1 else f"{count} missing cells"
        reading.note(args, f"{cells} in {name}: filled in with the {what}")


def _given(args: argparse.Namespace, data: _Data) -> dict[str, Any]:
    """Collect what was asked for."""
    names = ("features", "activation", "u", "update", "step_fraction", "seed", "drop")
    return {
        "data": args.data,
        "target": data.about.target,
        **{name: getattr(args, name) for name in names},
        "step_size": _one_or_all(args.step_size),
        "alpha": _one_or_all(args.alpha),
        "loss": {"name": data.loss.name, **vars(data.loss)},
    }


def _one_or_all(values: list[float | str]) -> Any:
    return values[0] if len(values) == 1 else values


# --------------------------------------------------------------------------------------------------
# What is done


def _fit(args: argparse.Namespace, data: _Data) -> Pipeline:
    from spikedrf import SpikedRFClassifier, SpikedRFRegressor

    for name in ("step_size", "alpha"):
        if "auto" in getattr(args, name)[1:] + getattr(args, name)[:-1]:
            raise ValueError(f"{name} must be auto or numbers, not both")
    kind = SpikedRFClassifier if data.loss.margin else SpikedRFRegressor
    model = kind(
        args.features,
        activation=args.activation,
        step_size=_one_or_all(args.step_size),
        alpha=_one_or_all(args.alpha),
        # By its name where that says all: it is saved with the model.
        loss=data.loss.name if data.loss == losses.resolve(data.loss.name) else data.loss,
        readout=args.u,
        step_fraction=args.step_fraction,
        update=args.update,
        random_state=args.seed,
    )
    kinds, named = data.about.kinds, data.about.named
    words = any(kind.name == "category" for kind in kinds.values())
    pipeline = preparation.pipeline(kinds, named, model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if words and named:
            pipeline.fit(data.X, data.y)
        else:
            # The rows of an array lie together: the same numbers given from Python give this fit.
            pipeline.fit(np.array(data.X, dtype=object if words else np.float64, order="C"), data.y)
    for warning in caught:
        output.say(f"spikedrf fit: warning: {warning.message}")
    if named and not words:
        # scikit-learn takes names from data frames only; these then check those of new ones.
        pipeline[0].feature_names_in_ = np.array(list(kinds), dtype=object)
    return pipeline


# --------------------------------------------------------------------------------------------------
# What is written


def _write_csv(pipeline: Pipeline, about: About, path: Path) -> None:
    inputs = preparation.inputs(pipeline, list(about.kinds))
    columns: dict[str, Any] = {"input": inputs, "size": learned.sizes(pipeline[-1])}
    output.write_csv(path, columns | learned.directions(pipeline[-1]))
