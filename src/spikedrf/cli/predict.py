"""``spikedrf predict``."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from spikedrf.cli import learned, model_file, options, output, preparation, reading
from spikedrf.cli.columns import stripped
from spikedrf.cli.model_file import About
from spikedrf.cli.table import Table, listed

if TYPE_CHECKING:
    import pandas
    from sklearn.pipeline import Pipeline

SUMMARY = "predictions of a model that fit has saved, for the rows of a table"
EXAMPLE = "spikedrf predict price.skops new.csv --out predicted.csv"
EPILOG = """\
exit status:
  0 done; 1 a file could not be written; 2 misuse
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        f"{parser.description} Columns are found by name and prepared as they were for the fit. "
        f"Predictions are printed as CSV, one a row; if the table has the target, how good they "
        f"are is said beside them."
    )
    group = parser.add_argument_group("data")
    group.add_argument(
        "model", type=saved_model, metavar="MODEL", help="file that fit --model has written"
    )
    reading.add_file(group)
    group.add_argument(
        "--id",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns to write beside the predictions",
    )
    reading.add_options(parser)
    group = options.add_output(parser, (".csv",))
    group.add_argument(
        "--probabilities", action="store_true", help="also those of the classes (for logistic)"
    )


def saved_model(text: str) -> Path:
    """Read the name of a file that holds a model."""
    if not os.path.isfile(text) or not os.access(text, os.R_OK):
        raise argparse.ArgumentTypeError(f"{text!r} is not a file that can be read")
    try:
        model_file.require_skops("a saved model")
    except ImportError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)


def load_model(args: argparse.Namespace) -> tuple[Pipeline, About]:
    """Read the model; what is wrong with it is misuse."""
    parser: argparse.ArgumentParser = args.parser
    try:
        return model_file.load(args.model)
    except OSError as error:
        parser.error(f"argument MODEL: {str(args.model)!r}: {error.strerror or error}")
    except ValueError as error:
        parser.error(f"argument MODEL: {error}")


def run(args: argparse.Namespace) -> int:
    """Read model and table, predict, print; write files."""
    pipeline, about = load_model(args)
    table = reading.read(args)
    for text in table.notes:
        reading.note(args, text)
    ids = reading.columns(args, "--id", table.names, args.id)
    values = _values(args, pipeline, about, table)
    classes = hasattr(pipeline[-1], "classes_")
    if args.probabilities and not (classes and hasattr(pipeline, "predict_proba")):
        args.parser.error("argument --probabilities: the model has none")
    X = values if about.named else values.to_numpy()
    predicted = options.checked(args, lambda: pipeline.predict(X))
    name = about.target or "prediction"
    columns: dict[str, Any] = {column: table.frame[column].tolist() for column in ids}
    columns[name if name not in columns else f"{name} predicted"] = predicted
    if args.probabilities:
        shares = pipeline.predict_proba(X)
        for label, share in zip(pipeline[-1].classes_, shares.T, strict=True):
            columns[f"probability of {learned.label_text(label)}"] = share
    score = _score(args, about, table, predicted, classes)
    if args.json:
        result = {"rows": len(predicted), "columns": columns, **score}
        given = {"model": str(args.model), "data": args.data, "target": about.target, "id": ids}
        output.print_json(args, result, given=given)
    elif not args.out:
        _write(columns, sys.stdout)
    print(end="", flush=True)
    for word, value in score.items():
        said = {"r2": "R^2", "accuracy": "share of right classes"}[word]
        reading.note(args, f"{said} on these rows: {value:.5g}")
    status = output.OK
    for path in args.out:
        status = output.write(args, path, partial(_write_file, columns)) or status
    return status


def _values(
    args: argparse.Namespace, pipeline: Pipeline, about: About, table: Table
) -> pandas.DataFrame:
    """Return the columns of the fit; say what was missing in them, or unknown."""
    parser: argparse.ArgumentParser = args.parser
    names = list(about.kinds)
    if not about.named and (table.header or set(names) - set(table.names)):
        # No names to go by: the columns of the fit in their order, and perhaps the target.
        if len(table.names) != len(names):
            parser.error(
                f"argument DATA: the model was fitted on {len(names)} columns without names, and "
                f"{args.data!r} has {len(table.names)} columns"
            )
        table.frame.columns = table.names = names
    elif about.named and not table.header:
        parser.error(
            f"argument DATA: the model knows its columns by name ({listed(names)}), and "
            f"{args.data!r} has no header"
        )
    elif not about.named and len(table.names) == len(names):
        table.frame.columns = table.names = names
    if absent := [name for name in names if name not in table.names]:
        parser.error(
            f"argument DATA: {args.data!r} lacks {listed(absent)}, which the model was fitted on; "
            f"it has {listed(table.names)}"
        )
    try:
        values = preparation.read_as(table, about.kinds, args.decimal)
    except ValueError as error:
        parser.error(f"argument DATA: {error}")
    missing = preparation.gaps(table, values)
    if missing and args.missing == "error":
        parser.error(
            f"argument --missing: {args.data!r} has missing cells in "
            f"{listed(list(missing.values()))}"
        )
    for name in missing:
        count = int(values[name].isna().sum())
        cells = "1 missing cell" if count == 1 else f"{count} missing cells"
        reading.note(args, f"{cells} in {name}: filled in as in the fit")
    for name, words in preparation.unseen(pipeline, names, values).items():
        reading.note(args, f"{name} holds categories that the fit has not seen: {listed(words)}")
    return values


def _score(
    args: argparse.Namespace, about: About, table: Table, predicted: Any, classes: bool
) -> dict[str, float]:
    """Return how good the predictions are, if the table tells."""
    if about.target not in table.names:
        return {}
    cells = stripped(table.frame[about.target])
    there = cells.notna().to_numpy()
    if not there.any():
        return {}
    if classes and predicted.dtype.kind in "USO":
        return {"accuracy": float(np.mean(cells[there].astype(str) == predicted[there]))}
    from spikedrf.cli.columns import Kind, Unfit, convert

    kind = Kind("number", args.decimal or preparation.decimal_of(table))
    try:
        y = convert(cells, kind).to_numpy()[there]
    except Unfit:
        return {}
    if classes:
        return {"accuracy": float(np.mean(y == predicted[there]))}
    if not np.var(y):
        return {}
    return {"r2": float(1.0 - np.mean((y - predicted[there]) ** 2) / np.var(y))}


def _write(columns: dict[str, Any], file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    values = [
        column.tolist() if isinstance(column, np.ndarray) else column for column in columns.values()
    ]
    writer.writerows(zip(*values, strict=True))


def _write_file(columns: dict[str, Any], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        _write(columns, file)
